//! What has been going on lately: how much of what, and from where, in little and fixed memory.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::signal::{Kind, PerKind};

/// Counts by kind over the last 60 seconds or minutes.
pub struct Window {
    unit: i64,
    slots: [PerKind<u32>; 60],
    /// The unit of time that is being counted, and its slot.
    now: i64,
    slot: usize,
    /// The first second of the next unit.
    next: i64,
}

impl Window {
    /// Over 60 times so many seconds.
    pub fn of_60(unit_seconds: i64) -> Window {
        Window { unit: unit_seconds, slots: [[0; Kind::COUNT]; 60], now: 0, slot: 0, next: unit_seconds }
    }

    /// One more at this second.
    pub fn add(&mut self, second: i64, kind: Kind) {
        self.advance(second);
        self.slots[self.slot][kind as usize] += 1;
    }

    /// The counts of the last 60 units, up to this second.
    pub fn counts(&mut self, second: i64) -> PerKind<u64> {
        self.advance(second);
        let mut counts = [0; Kind::COUNT];
        for slot in &self.slots {
            for (sum, count) in counts.iter_mut().zip(slot) {
                *sum += u64::from(*count);
            }
        }
        counts
    }

    /// Forgets what is too long ago. A clock that was put back counts on in the newest slot.
    fn advance(&mut self, second: i64) {
        if second < self.next {
            return;
        }
        let unit = second.div_euclid(self.unit);
        for passed in (self.now + 1).max(unit - 59)..=unit {
            self.slots[passed.rem_euclid(60) as usize] = [0; Kind::COUNT];
        }
        self.now = unit;
        self.slot = unit.rem_euclid(60) as usize;
        self.next = (unit + 1) * self.unit;
    }
}

const SETS: usize = 64;
const WAYS: usize = 8;

/// The addresses that most signals come from. Each address has its place in one set of eight; a new one takes
/// the place of the set's least busy and its count (the "space saving" algorithm), so that a busy one can't
/// be flooded out and a count is never too low.
#[derive(Clone)]
pub struct Sources {
    table: Box<[[Option<Source>; WAYS]; SETS]>,
}

/// How often an address was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub ip: IpAddr,
    /// At most so many signals.
    pub count: u64,
    /// Of these, so many may have been another's, whose place it took.
    pub error: u64,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources { table: Box::new([[None; WAYS]; SETS]) }
    }
}

impl Sources {
    /// One more signal from this address.
    pub fn add(&mut self, ip: IpAddr) {
        let set = &mut self.table[set_of(ip)];
        for way in &mut *set {
            match way {
                Some(source) if source.ip == ip => return source.count += 1,
                Some(_) => {}
                None => return *way = Some(Source { ip, count: 1, error: 0 }),
            }
        }
        if let Some(least) = set.iter_mut().flatten().min_by_key(|source| source.count) {
            *least = Source { ip, count: least.count + 1, error: least.count };
        }
    }

    /// The busiest, busiest first.
    pub fn busiest(&self, most: usize) -> Vec<Source> {
        let mut all: Vec<Source> = self.table.iter().flatten().flatten().copied().collect();
        all.sort_by_key(|source| (std::cmp::Reverse(source.count - source.error), source.error));
        all.truncate(most);
        all
    }
}

fn set_of(ip: IpAddr) -> usize {
    let bits = match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
    };
    (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_window_forgets_what_is_longer_ago() {
        let mut minute = Window::of_60(1);
        minute.add(1000, Kind::Challenge);
        minute.add(1059, Kind::Challenge);
        assert_eq!(minute.counts(1059)[Kind::Challenge as usize], 2);
        assert_eq!(minute.counts(1060)[Kind::Challenge as usize], 1);
        minute.add(1010, Kind::Challenge);
        assert_eq!(minute.counts(1060)[Kind::Challenge as usize], 2);
        assert_eq!(minute.counts(9999)[Kind::Challenge as usize], 0);
    }

    #[test]
    fn a_busy_address_is_found_among_a_million_others() {
        let mut sources = Sources::default();
        for number in 0..1_000_000 {
            sources.add(ip(number));
            if number % 10 == 0 {
                sources.add(ip(u32::MAX));
            }
        }
        let busiest = sources.busiest(10);
        assert_eq!(busiest.len(), 10);
        assert_eq!(busiest[0].ip, ip(u32::MAX));
        assert!(busiest[0].count >= 100_000 && busiest[0].count - busiest[0].error <= 100_000);
    }

    #[test]
    fn few_addresses_are_counted_exactly() {
        let mut sources = Sources::default();
        for number in [7, 7, 8, 7, 9] {
            sources.add(ip(number));
        }
        let counts: Vec<_> =
            sources.busiest(2).iter().map(|source| (source.ip, source.count, source.error)).collect();
        assert_eq!(counts[0], (ip(7), 3, 0));
        assert_eq!(counts.len(), 2);
    }
}
