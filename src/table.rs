//! A table of fixed size: nothing is allocated after it is made, and no step takes longer when it is full.
#![forbid(unsafe_code)]

/// Entries that are found by a 64-bit hash. Several may have the same hash; the caller tells them apart.
///
/// Hashes have to come from a keyed hasher (such as [`std::hash::RandomState`]), so that nobody outside can
/// make many of them meet.
pub struct Table<V> {
    /// Where each hash is looked for first, and then the places after it: a place in `entries` and one more,
    /// or zero. Twice as many as entries, so that a search is short.
    index: Box<[u32]>,
    entries: Vec<Option<(u64, V)>>,
    free: Vec<u32>,
    capacity: usize,
    /// Where [`Table::sweep`] goes on, and what [`Table::insert_over_oldest`] replaces next.
    hand: usize,
}

impl<V> Table<V> {
    /// Room for so many entries. Memory becomes resident as it is used.
    pub fn new(capacity: usize) -> Table<V> {
        Table {
            index: vec![0; (2 * capacity).next_power_of_two()].into_boxed_slice(),
            entries: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            capacity,
            hand: 0,
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The place of an entry with this hash for which `is_it` holds.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(&V) -> bool) -> Option<usize> {
        self.places(hash).find(|place| self.get(*place).is_some_and(&mut is_it))
    }

    /// Shows all entries with this hash, in the order in which they were added.
    pub fn find_all(&self, hash: u64, mut show: impl FnMut(usize, &V)) {
        for place in self.places(hash) {
            if let Some(value) = self.get(place) {
                show(place, value);
            }
        }
    }

    /// The entry at a place.
    pub fn get(&self, place: usize) -> Option<&V> {
        self.entries.get(place)?.as_ref().map(|(_, value)| value)
    }

    /// The entry at a place.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut V> {
        self.entries.get_mut(place)?.as_mut().map(|(_, value)| value)
    }

    /// Adds an entry and gives its place; `None` if there is no room.
    pub fn insert(&mut self, hash: u64, value: V) -> Option<usize> {
        let place = match self.free.pop() {
            Some(place) => place as usize,
            None if self.entries.len() < self.capacity => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => return None,
        };
        self.entries[place] = Some((hash, value));
        let mut slot = self.slot_of(hash);
        while self.index[slot] != 0 {
            slot = self.next(slot);
        }
        self.index[slot] = place as u32 + 1;
        Some(place)
    }

    /// Adds an entry; if there is no room, in the place of another: each place in its turn, so mostly of an old one.
    pub fn insert_over_oldest(&mut self, hash: u64, value: V) -> usize {
        if self.len() == self.capacity {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            self.remove(place);
        }
        self.insert(hash, value).expect("room was made")
    }

    /// Takes out the entry at a place.
    pub fn remove(&mut self, place: usize) -> Option<V> {
        let (hash, value) = self.entries.get_mut(place)?.take()?;
        self.free.push(place as u32);
        let mut hole = self.slot_of(hash);
        while self.index[hole] != place as u32 + 1 {
            hole = self.next(hole);
        }
        // What follows moves up where the hole would end its search too soon.
        let mut slot = self.next(hole);
        while let Some(there) = self.index[slot].checked_sub(1) {
            let (hash, _) = self.entries[there as usize].as_ref().expect("the index knows what there is");
            if self.distance(self.slot_of(*hash), slot) >= self.distance(hole, slot) {
                self.index[hole] = self.index[slot];
                hole = slot;
            }
            slot = self.next(slot);
        }
        self.index[hole] = 0;
        Some(value)
    }

    /// Looks at the next entries, `most` of them, and takes out those for which `is_over` holds; whether it has
    /// come round to the first.
    pub fn sweep(&mut self, most: usize, mut is_over: impl FnMut(usize, &mut V) -> bool) -> Sweep {
        for _ in 0..most {
            if self.hand >= self.entries.len() {
                self.hand = 0;
                return Sweep::Done;
            }
            let place = self.hand;
            self.hand += 1;
            if self.get_mut(place).is_some_and(|value| is_over(place, value)) {
                self.remove(place);
            }
        }
        Sweep::More
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().flatten().map(|(_, value)| value)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let mut slot = self.slot_of(hash);
        std::iter::from_fn(move || {
            loop {
                let place = self.index[slot].checked_sub(1)? as usize;
                slot = self.next(slot);
                if self.entries[place].as_ref().is_some_and(|(there, _)| *there == hash) {
                    return Some(place);
                }
            }
        })
    }

    fn slot_of(&self, hash: u64) -> usize {
        hash as usize & (self.index.len() - 1)
    }

    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.index.len() - 1)
    }

    /// How many steps from one slot to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.index.len() - 1)
    }
}

/// Whether a sweep has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// There are more entries to look at.
    More,
    /// All have been looked at.
    Done,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_table_takes_no_more_unless_it_may_drop_an_old_one() {
        let mut table = Table::new(3);
        for value in 0..3 {
            assert!(table.insert(7, value).is_some());
        }
        assert_eq!(table.insert(7, 3), None);
        table.insert_over_oldest(8, 4);
        assert_eq!(table.len(), 3);
        assert_eq!(table.find(7, |value| *value == 0), None, "the oldest went");
        assert!(table.find(8, |value| *value == 4).is_some());
    }

    #[test]
    fn entries_of_the_same_hash_are_shown_in_the_order_in_which_they_were_added() {
        let mut table = Table::new(8);
        let shown = |table: &Table<i32>| {
            let mut shown = Vec::new();
            table.find_all(7, |_, value| shown.push(*value));
            shown
        };
        // With some that are in between, and whose removal moves others up.
        for value in 0..8 {
            table.insert(if value % 2 == 0 { 7 } else { 8 }, value);
        }
        for gone in [2, 3, 5] {
            let place = (0..8).find(|place| table.get(*place) == Some(&gone)).unwrap();
            table.remove(place);
        }
        for value in [10, 12] {
            table.insert(7, value);
        }
        assert_eq!(shown(&table), [0, 4, 6, 10, 12]);
    }

    #[test]
    fn a_sweep_sees_every_entry_once() {
        let mut table = Table::new(100);
        for value in 0..100 {
            table.insert(value % 5, value);
        }
        let mut seen = Vec::new();
        while table.sweep(7, |_, value| {
            seen.push(*value);
            *value % 2 == 0
        }) == Sweep::More
        {}
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(table.len(), 50);
        assert!(table.iter().all(|value| value % 2 == 1));
    }

    #[test]
    fn each_place_is_given_away_in_its_turn() {
        let mut table = Table::new(3);
        for value in 0..8 {
            table.insert_over_oldest(7, value);
        }
        let mut left: Vec<i32> = table.iter().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [5, 6, 7]);
    }

    /// Some are the same, and their searches run into one another and past the end of the index.
    fn hash_of(key: u64) -> u64 {
        28 + key / 2
    }

    proptest! {
        /// Few hashes and a small table.
        #[test]
        fn it_holds_what_a_map_holds(steps in proptest::collection::vec((0_u64..24, any::<bool>()), 0..400)) {
            let mut table = Table::new(16);
            let mut map = HashMap::new();
            for (key, inserts) in steps {
                let hash = hash_of(key);
                let place = table.find(hash, |(there, _)| *there == key);
                prop_assert_eq!(place.is_some(), map.contains_key(&key));
                match (place, inserts) {
                    (None, true) => {
                        let inserted = table.insert(hash, (key, map.len())).is_some();
                        prop_assert_eq!(inserted, map.len() < 16);
                        if inserted {
                            map.insert(key, map.len());
                        }
                    }
                    (Some(place), false) => {
                        prop_assert_eq!(table.remove(place).map(|(there, _)| there), Some(key));
                        map.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for key in map.keys() {
                prop_assert!(table.find(hash_of(*key), |(there, _)| there == key).is_some());
            }
        }
    }
}
