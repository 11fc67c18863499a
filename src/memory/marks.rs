//! Marks that are left for something that comes later, or comes late.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash, RandomState};

use crate::table::Table;
use crate::time::Now;

/// Most marks of one key: a search takes longer the more there are.
const MOST_OF_ONE: usize = 64;

/// Marks, each with its time. When there is no room, the oldest goes.
pub struct Marks {
    times: Table<Now>,
    hasher: RandomState,
}

impl Marks {
    /// Room for `most` marks.
    pub fn new(most: usize) -> Marks {
        Marks { times: Table::new(most), hasher: RandomState::new() }
    }

    /// Leaves a mark.
    pub fn leave(&mut self, now: Now, key: impl Hash) {
        let key = self.hasher.hash_one(key);
        let (mut count, mut oldest) = (0, None);
        self.times.find_all(key, |slot, time| {
            count += 1;
            oldest = oldest.into_iter().chain([(time.monotonic, slot)]).min();
        });
        match oldest.filter(|_| count >= MOST_OF_ONE).and_then(|(_, slot)| self.times.get_mut(slot)) {
            Some(time) => *time = now,
            None => {
                self.times.insert_evicting(key, now);
            }
        }
    }

    /// Whether there is a mark of this key.
    pub fn contains(&self, key: impl Hash) -> bool {
        self.times.find(self.hasher.hash_one(key), |_| true).is_some()
    }

    /// Takes one mark of this key back whose time fits; whether there was one.
    pub fn take(&mut self, key: impl Hash, mut fits: impl FnMut(Now) -> bool) -> bool {
        let slot = self.times.find(self.hasher.hash_one(key), |time| fits(*time));
        slot.is_some_and(|slot| self.times.remove(slot).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_taken_once_and_only_if_its_time_fits() {
        let at = |monotonic| Now { wall: 0, monotonic };
        let mut marks = Marks::new(8);
        (1..=3).for_each(|time| marks.leave(at(time), ("a", 1)));
        assert!(!marks.take(("a", 2), |_| true) && !marks.take(("a", 1), |time| time.monotonic > 3));
        assert!(
            marks.take(("a", 1), |time| time.monotonic == 2)
                && !marks.take(("a", 1), |time| time.monotonic == 2)
        );
        (0..16).for_each(|_| marks.leave(at(9), "b"));
        assert!(!marks.take(("a", 1), |_| true), "it had to make room");
    }

    #[test]
    fn a_flood_of_one_key_takes_no_room_from_others_and_no_more_time() {
        let mut marks = Marks::new(1024);
        let at = |monotonic| Now { wall: 0, monotonic };
        marks.leave(at(0), "a");
        (0..10_000).for_each(|time| marks.leave(at(time), "b"));
        assert!(marks.contains("a"));
        let mut left = 0;
        while marks.take("b", |time| time.monotonic >= 10_000 - 64) {
            left += 1;
        }
        assert_eq!((left, marks.contains("b")), (64, false));
    }
}
