//! A table of fixed size that says what goes when it is full: of the lowest rank, what was touched longest ago.
#![forbid(unsafe_code)]

use crate::table::Table;

const NONE: u32 = u32::MAX;

/// Entries found by a keyed 64-bit hash, each in the list of its rank, in the order in which they were touched.
/// Every step takes the same time however full it is; nothing is allocated after it is made.
pub struct Ranked<V, const RANKS: usize> {
    table: Table<V>,
    capacity: usize,
    links: Box<[Link]>,
    lists: [List; RANKS],
}

#[derive(Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
    rank: usize,
}

#[derive(Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
}

impl<V, const RANKS: usize> Ranked<V, RANKS> {
    /// Room for `capacity` entries, at least one.
    pub fn new(capacity: usize) -> Ranked<V, RANKS> {
        Ranked {
            table: Table::new(capacity),
            capacity,
            links: vec![Link { older: NONE, newer: NONE, rank: 0 }; capacity].into_boxed_slice(),
            lists: [List { oldest: NONE, newest: NONE }; RANKS],
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The slot of an entry with this hash for which `is_it` holds.
    pub fn find(&self, hash: u64, is_it: impl FnMut(&V) -> bool) -> Option<usize> {
        self.table.find(hash, is_it)
    }

    /// The entry in a slot.
    pub fn get(&self, slot: usize) -> Option<&V> {
        self.table.get(slot)
    }

    /// The entry in a slot.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut V> {
        self.table.get_mut(slot)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.table.iter()
    }

    /// The slots that may hold entries.
    pub fn slots(&self) -> std::ops::Range<usize> {
        0..self.capacity
    }

    /// Adds an entry as the newest of its rank. If there is no room, another goes and is given back: the oldest of
    /// a rank if it `is_over`, else the oldest of the lowest rank.
    pub fn insert(
        &mut self,
        hash: u64,
        value: V,
        rank: usize,
        is_over: impl Fn(&V) -> bool,
    ) -> (usize, Option<V>) {
        let evicted = if self.len() == self.capacity { self.evict(is_over) } else { None };
        let slot = self.table.insert(hash, value).expect("room was made");
        self.link(slot, rank);
        (slot, evicted)
    }

    /// The rank of the entry in a slot.
    pub fn rank(&self, slot: usize) -> usize {
        self.links[slot].rank
    }

    /// Makes an entry the newest of this rank.
    pub fn touch(&mut self, slot: usize, rank: usize) {
        if self.get(slot).is_some() {
            self.unlink(slot);
            self.link(slot, rank);
        }
    }

    /// Takes out the entry in a slot.
    pub fn remove(&mut self, slot: usize) -> Option<V> {
        let value = self.table.remove(slot)?;
        self.unlink(slot);
        Some(value)
    }

    fn evict(&mut self, is_over: impl Fn(&V) -> bool) -> Option<V> {
        let oldest =
            || self.lists.iter().map(|list| list.oldest as usize).filter(|slot| *slot != NONE as usize);
        let over = oldest().find(|slot| self.get(*slot).is_some_and(&is_over));
        let slot = over.or_else(|| oldest().next())?;
        self.remove(slot)
    }

    fn link(&mut self, slot: usize, rank: usize) {
        let rank = rank.min(RANKS - 1);
        let list = &mut self.lists[rank];
        let newest = list.newest;
        list.newest = slot as u32;
        if newest == NONE {
            list.oldest = slot as u32;
        } else {
            self.links[newest as usize].newer = slot as u32;
        }
        self.links[slot] = Link { older: newest, newer: NONE, rank };
    }

    fn unlink(&mut self, slot: usize) {
        let Link { older, newer, rank } = self.links[slot];
        match older {
            NONE => self.lists[rank].oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        match newer {
            NONE => self.lists[rank].newest = older,
            newer => self.links[newer as usize].older = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u32, usize),
        Remove(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u32..20, 0_usize..4).prop_map(|(key, rank)| Step::Put(key, rank)),
            1 => (0_u32..20).prop_map(Step::Remove),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        /// The model is a list, oldest first, with ranks; odd keys are over when they are the oldest of their rank.
        #[test]
        fn of_the_lowest_rank_the_oldest_goes(steps in steps()) {
            let mut ranked = Ranked::<u32, 3>::new(6);
            let mut model: Vec<(u32, usize)> = Vec::new();
            let is_over = |key: &u32| key % 5 == 1;
            for step in steps {
                match step {
                    Step::Put(key, rank) => {
                        let at = model.iter().position(|(there, _)| *there == key);
                        match ranked.find(u64::from(key % 3), |there| *there == key) {
                            Some(slot) => {
                                model.remove(at.unwrap());
                                ranked.touch(slot, rank);
                            }
                            None => {
                                prop_assert_eq!(at, None);
                                let expected = (model.len() == 6).then(|| {
                                    let oldest = |rank| model.iter().position(|(_, there)| *there == rank);
                                    let all: Vec<usize> = (0..3).filter_map(oldest).collect();
                                    let over = all.iter().find(|at| is_over(&model[**at].0));
                                    model.remove(*over.unwrap_or(&all[0])).0
                                });
                                let (_, evicted) = ranked.insert(u64::from(key % 3), key, rank, is_over);
                                prop_assert_eq!(evicted, expected);
                            }
                        }
                        model.push((key, rank.min(2)));
                    }
                    Step::Remove(key) => {
                        let slot = ranked.find(u64::from(key % 3), |there| *there == key);
                        let at = model.iter().position(|(there, _)| *there == key);
                        prop_assert_eq!(slot.is_some(), at.is_some());
                        if let (Some(slot), Some(at)) = (slot, at) {
                            prop_assert_eq!(ranked.remove(slot), Some(model.remove(at).0));
                        }
                    }
                }
                prop_assert_eq!(ranked.len(), model.len());
            }
        }
    }
}
