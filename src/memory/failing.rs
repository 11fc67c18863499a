//! Failures of addresses that are not known: several of them and then a login are worth a line.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::decision::Source;
use crate::table::Table;
use crate::time::Now;

/// This many failures within an hour, and then a login, are `success_after_failures`.
pub const FAILURES_BEFORE_SUCCESS: usize = 5;
const MOST: usize = 16_384;
const HOUR: i64 = 3600;

struct Entry {
    source: Source,
    /// When the last ones were, in seconds of the monotonic clock; a ring.
    times: [i64; FAILURES_BEFORE_SUCCESS],
    next: usize,
    reported_at: i64,
}

/// Addresses with failures.
pub struct Failing {
    entries: Table<Entry>,
    hasher: RandomState,
}

impl Default for Failing {
    fn default() -> Failing {
        Failing { entries: Table::new(MOST), hasher: RandomState::new() }
    }
}

impl Failing {
    /// An address that is not known has failed.
    pub fn add(&mut self, now: Now, source: Source) {
        const NEVER: i64 = i64::MIN / 2;
        let key = self.hasher.hash_one(source);
        let slot = self.entries.find(key, |entry| entry.source == source).unwrap_or_else(|| {
            let times = [NEVER; FAILURES_BEFORE_SUCCESS];
            self.entries.insert_evicting(key, Entry { source, times, next: 0, reported_at: NEVER })
        });
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.times[entry.next] = now.seconds();
            entry.next = (entry.next + 1) % FAILURES_BEFORE_SUCCESS;
        }
    }

    /// An address has logged in; whether that is to be reported, at most once an hour.
    pub fn is_success_suspicious(&mut self, now: Now, source: Source) -> bool {
        let slot = self.entries.find(self.hasher.hash_one(source), |entry| entry.source == source);
        let Some(entry) = slot.and_then(|slot| self.entries.get_mut(slot)) else { return false };
        let is_recent = |time: i64| now.seconds() - time < HOUR;
        let reports = entry.times.iter().all(|time| is_recent(*time)) && !is_recent(entry.reported_at);
        if reports {
            entry.reported_at = now.seconds();
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source::single([10, 0, 0, 1].into())
    }

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    #[test]
    fn a_login_is_reported_after_five_failures_within_an_hour() {
        let mut failing = Failing::default();
        (10..14).for_each(|second| failing.add(at(second), source()));
        assert!(
            !failing.is_success_suspicious(at(14), source()),
            "four, and soon after the machine has started"
        );
        failing.add(at(20), source());
        assert!(!failing.is_success_suspicious(at(10 + HOUR), source()), "the first one is over");
        assert!(failing.is_success_suspicious(at(9 + HOUR), source()));
        // The sixth takes the place of the first.
        failing.add(at(30), source());
        (0..5).for_each(|second| failing.add(at(3 * HOUR + second), source()));
        assert!(failing.is_success_suspicious(at(3 * HOUR + 5), source()));
    }

    #[test]
    fn a_login_after_failures_is_reported_once_an_hour() {
        let mut failing = Failing::default();
        (0..5).for_each(|second| failing.add(at(second), source()));
        assert!(
            failing.is_success_suspicious(at(10), source())
                && !failing.is_success_suspicious(at(11), source())
        );
        (0..5).for_each(|second| failing.add(at(HOUR + second), source()));
        assert!(!failing.is_success_suspicious(at(HOUR + 9), source()));
        assert!(failing.is_success_suspicious(at(HOUR + 10), source()));
    }
}
