//! A table of fixed size: nothing is allocated after it is made, and no step takes longer when it is full.
#![forbid(unsafe_code)]

/// Entries that are found by a 64-bit hash. Several may have the same hash; the caller tells them apart.
///
/// Hashes have to come from a keyed hasher (such as [`std::hash::RandomState`]), so that nobody outside can
/// make many of them meet.
pub struct Table<V> {
    /// Where each hash is searched first, then the positions after it: a slot in `entries` plus one, or zero. Twice
    /// as many as entries, so that a search is short.
    index: Box<[u32]>,
    entries: Vec<Option<(u64, V)>>,
    free: Vec<u32>,
    capacity: usize,
    /// Where [`Table::sweep`] continues, and what [`Table::insert_evicting`] replaces next.
    hand: usize,
}

impl<V> Table<V> {
    /// Room for `capacity` entries. Memory becomes resident as it is used.
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

    /// The slot of an entry with this hash for which `is_it` holds.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(&V) -> bool) -> Option<usize> {
        self.slots(hash).find(|slot| self.get(*slot).is_some_and(&mut is_it))
    }

    /// Shows all entries with this hash, in the order in which they were added.
    pub fn find_all(&self, hash: u64, mut show: impl FnMut(usize, &V)) {
        for slot in self.slots(hash) {
            if let Some(value) = self.get(slot) {
                show(slot, value);
            }
        }
    }

    /// The entry at a slot.
    pub fn get(&self, slot: usize) -> Option<&V> {
        self.entries.get(slot)?.as_ref().map(|(_, value)| value)
    }

    /// The entry at a slot.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut V> {
        self.entries.get_mut(slot)?.as_mut().map(|(_, value)| value)
    }

    /// Adds an entry and gives its slot; `None` if there is no room.
    pub fn insert(&mut self, hash: u64, value: V) -> Option<usize> {
        let slot = match self.free.pop() {
            Some(slot) => slot as usize,
            None if self.entries.len() < self.capacity => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => return None,
        };
        self.entries[slot] = Some((hash, value));
        let mut position = self.position_of(hash);
        while self.index[position] != 0 {
            position = self.next(position);
        }
        self.index[position] = slot as u32 + 1;
        Some(slot)
    }

    /// Adds an entry; if there is no room, in the slot of another: each slot in its turn, so mostly of an old one.
    pub fn insert_evicting(&mut self, hash: u64, value: V) -> usize {
        if self.len() == self.capacity {
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            self.remove(slot);
        }
        self.insert(hash, value).expect("room was made")
    }

    /// Takes out the entry at a slot.
    pub fn remove(&mut self, slot: usize) -> Option<V> {
        let (hash, value) = self.entries.get_mut(slot)?.take()?;
        self.free.push(slot as u32);
        let mut hole = self.position_of(hash);
        while self.index[hole] != slot as u32 + 1 {
            hole = self.next(hole);
        }
        // What follows moves up where the hole would end its search too soon.
        let mut position = self.next(hole);
        while let Some(there) = self.index[position].checked_sub(1) {
            let (hash, _) = self.entries[there as usize].as_ref().expect("the index knows what there is");
            if self.distance(self.position_of(*hash), position) >= self.distance(hole, position) {
                self.index[hole] = self.index[position];
                hole = position;
            }
            position = self.next(position);
        }
        self.index[hole] = 0;
        Some(value)
    }

    /// Looks at the next entries, `most` of them, and takes out the first for which `is_over` holds.
    pub fn sweep(&mut self, most: usize, mut is_over: impl FnMut(&V) -> bool) -> Sweep<V> {
        for _ in 0..most {
            if self.hand >= self.entries.len() {
                self.hand = 0;
                return Sweep::Done;
            }
            let slot = self.hand;
            self.hand += 1;
            if self.get(slot).is_some_and(&mut is_over) {
                return self.remove(slot).map_or(Sweep::More, Sweep::Taken);
            }
        }
        Sweep::More
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().flatten().map(|(_, value)| value)
    }

    fn slots(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let mut position = self.position_of(hash);
        std::iter::from_fn(move || {
            loop {
                let slot = self.index[position].checked_sub(1)? as usize;
                position = self.next(position);
                if self.entries[slot].as_ref().is_some_and(|(there, _)| *there == hash) {
                    return Some(slot);
                }
            }
        })
    }

    fn position_of(&self, hash: u64) -> usize {
        hash as usize & (self.index.len() - 1)
    }

    fn next(&self, position: usize) -> usize {
        (position + 1) & (self.index.len() - 1)
    }

    /// How many steps from one position to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.index.len() - 1)
    }
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep<V> {
    /// An entry that is over.
    Taken(V),
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
        table.insert_evicting(8, 4);
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
            let slot = (0..8).find(|slot| table.get(*slot) == Some(&gone)).unwrap();
            table.remove(slot);
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
        loop {
            let swept = table.sweep(7, |value| {
                seen.push(*value);
                *value % 2 == 0
            });
            match swept {
                Sweep::Taken(value) => assert_eq!(value % 2, 0),
                Sweep::More => {}
                Sweep::Done => break,
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(table.len(), 50);
        assert!(table.iter().all(|value| value % 2 == 1));
    }

    #[test]
    fn each_slot_is_given_away_in_its_turn() {
        let mut table = Table::new(3);
        for value in 0..8 {
            table.insert_evicting(7, value);
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
                let slot = table.find(hash, |(there, _)| *there == key);
                prop_assert_eq!(slot.is_some(), map.contains_key(&key));
                match (slot, inserts) {
                    (None, true) => {
                        let inserted = table.insert(hash, (key, map.len())).is_some();
                        prop_assert_eq!(inserted, map.len() < 16);
                        if inserted {
                            map.insert(key, map.len());
                        }
                    }
                    (Some(slot), false) => {
                        prop_assert_eq!(table.remove(slot).map(|(there, _)| there), Some(key));
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
