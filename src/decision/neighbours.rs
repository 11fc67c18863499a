//! At a source that somebody has logged in from each account is judged on its own: the old phone of an office is
//! refused, not the office, and a neighbour of good people can't guess at others' accounts.
#![forbid(unsafe_code)]

use super::account::{Account, Name};
use super::ranked::Ranked;
use super::record::HOUR;
use super::returning::Returning;
use super::source::Source;
use super::sources::Key;

/// Most accounts at known sources that are judged.
pub const MOST: usize = 8192;
/// For how long an account is refused each time, in microseconds.
pub const REFUSED_FOR: i64 = 60_000_000;
/// Failures above `attacker-after` that are counted: more make it no worse.
const MORE: u32 = 24;

/// An account at a known source. Times are in microseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    hash: u64,
    /// The source.
    pub source: Source,
    /// The account.
    pub account: Account,
    /// Failures that are not forgiven.
    pub failures: u32,
    /// Since when the next one is being forgiven.
    since: i64,
    /// The last failure.
    pub last: i64,
    /// Until when it is refused.
    pub until: i64,
    /// Attempts that were refused.
    pub refused: u64,
    /// The first refused attempt of this time has been announced.
    pub announced: bool,
}

impl Neighbour {
    fn forgive(&mut self, at: i64) {
        let hours = (at - self.since).max(0) / HOUR;
        self.since += hours * HOUR;
        self.failures = self.failures.saturating_sub(u32::try_from(hours).unwrap_or(u32::MAX));
    }

    fn is_over(&self, at: i64) -> bool {
        (at - self.since) / HOUR >= i64::from(self.failures)
    }
}

/// The accounts that have failed at known sources. Those with few failures go first.
pub struct Neighbours {
    table: Ranked<Neighbour, 4>,
    returning: Returning,
}

impl Neighbours {
    /// None yet.
    pub fn new() -> Neighbours {
        Neighbours { table: Ranked::new(MOST), returning: Returning::new(1 << 16) }
    }

    /// A failure; from `attacker_after` on the account is refused for a minute each time.
    pub fn fail(&mut self, at: i64, key: Key, account: &Account, attacker_after: u32) {
        let hash = account.at(key.hash);
        let slot = self.find(at, key, account).unwrap_or_else(|| {
            let new = Neighbour {
                hash,
                source: key.source,
                account: *account,
                failures: 0,
                since: at,
                last: at,
                until: i64::MIN,
                refused: 0,
                announced: false,
            };
            let rank = usize::from(self.returning.contains(at, hash));
            let (slot, evicted) = self.table.insert(hash, new, rank, |there| there.is_over(at));
            if let Some(evicted) = evicted {
                self.returning.insert(at, evicted.hash);
            }
            slot
        });
        let Some(there) = self.table.get_mut(slot) else { return };
        there.failures = (there.failures + 1).min(attacker_after.saturating_add(MORE));
        there.last = there.last.max(at);
        let is_refused = there.failures >= attacker_after;
        if is_refused && at >= there.until {
            (there.until, there.announced) = (at + REFUSED_FOR, false);
        }
        let rank = match there.failures {
            _ if is_refused => 3,
            0..2 => 0,
            2..5 => 1,
            _ => 2,
        };
        self.table.touch(slot, rank.max(self.table.rank(slot)));
    }

    /// An account at a source, with what has been forgiven meanwhile.
    pub fn get(&mut self, at: i64, key: Key, account: &Account) -> Option<&mut Neighbour> {
        let slot = self.find(at, key, account)?;
        self.table.get_mut(slot)
    }

    /// It has logged in, or does not exist.
    pub fn forget(&mut self, at: i64, key: Key, account: &Account) {
        if let Some(slot) = self.find(at, key, account) {
            self.table.remove(slot);
        }
    }

    /// Forgets all that are meant.
    pub fn forget_all(&mut self, is_meant: impl Fn(Source, &Name) -> bool) -> usize {
        let before = self.table.len();
        for slot in self.table.slots() {
            if self.table.get(slot).is_some_and(|there| is_meant(there.source, &there.account.name)) {
                self.table.remove(slot);
            }
        }
        before - self.table.len()
    }

    /// All that matter.
    pub fn iter(&self, at: i64) -> impl Iterator<Item = Neighbour> {
        let alive = self.table.iter().filter(move |there| !there.is_over(at));
        alive.map(move |there| {
            let mut there = *there;
            there.forgive(at);
            there
        })
    }

    fn find(&mut self, at: i64, key: Key, account: &Account) -> Option<usize> {
        let is_it = |there: &Neighbour| there.source == key.source && there.account.id == account.id;
        let slot = self.table.find(account.at(key.hash), is_it)?;
        let there = self.table.get_mut(slot)?;
        if there.is_over(at) {
            self.table.remove(slot);
            return None;
        }
        there.forgive(at);
        Some(slot)
    }
}
