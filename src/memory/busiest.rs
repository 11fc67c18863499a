//! The keys that most events have, in little and fixed memory.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

// The standard library's hasher would take a tenth of the handler's time (`make bench`); an attacker who makes keys meet
// here only falsifies a list of the busiest.
use foldhash::fast::RandomState;

/// How many different things were seen, exactly up to [`Distinct::MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distinct {
    hashes: [u32; Distinct::MOST],
    len: u8,
}

impl Distinct {
    /// More are not told apart.
    pub const MOST: usize = 16;

    /// One more, by its hash.
    pub fn add(&mut self, hash: u32) {
        let len = usize::from(self.len);
        if len < Distinct::MOST && !self.hashes[..len].contains(&hash) {
            self.hashes[len] = hash;
            self.len += 1;
        }
    }

    /// How many; [`Distinct::MOST`] stands for as many or more.
    pub fn count(&self) -> usize {
        self.len.into()
    }

    /// The same in words.
    pub fn words(&self) -> String {
        let or_more = if self.count() == Distinct::MOST { " or more" } else { "" };
        format!("{}{or_more}", self.count())
    }
}

const SETS: usize = 64;
const WAYS: usize = 8;

/// The keys that most events have. Each key has its place in one set of eight; a new one takes the place of
/// the set's least busy and its count (the "space saving" algorithm), so that a busy one can't be flooded out
/// and a count is never too low.
#[derive(Clone)]
pub struct Busiest<K> {
    sets: Box<[[Option<Count<K>>; WAYS]]>,
    hasher: RandomState,
}

/// How often a key was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<K> {
    /// The key.
    pub key: K,
    /// At most so many events.
    pub count: u64,
    /// Of these, so many may have been another's, whose place it took.
    pub error: u64,
    /// What else was different between these events.
    pub others: Distinct,
}

impl<K: Copy> Default for Busiest<K> {
    fn default() -> Busiest<K> {
        Busiest { sets: vec![[None; WAYS]; SETS].into_boxed_slice(), hasher: RandomState::default() }
    }
}

impl<K: Copy + Eq + Hash> Busiest<K> {
    /// One more event of this key.
    pub fn add(&mut self, key: K) {
        self.count(key);
    }

    /// One more event of this key, and of this other thing.
    pub fn add_with(&mut self, key: K, other: &impl Hash) {
        let hash = self.hasher.hash_one(other) as u32;
        self.count(key).others.add(hash);
    }

    fn count(&mut self, key: K) -> &mut Count<K> {
        let set = &mut self.sets[self.hasher.hash_one(key) as usize % SETS];
        let place = match set.iter().position(|way| way.is_none_or(|there| there.key == key)) {
            Some(place) => place,
            None => least_busy(set),
        };
        let way = &mut set[place];
        let before = way.map_or(0, |there| there.count);
        let there = way.get_or_insert(Count { key, count: 0, error: 0, others: Distinct::default() });
        if there.key != key {
            *there = Count { key, count: before, error: before, others: Distinct::default() };
        }
        there.count += 1;
        there
    }

    /// The busiest, busiest first.
    pub fn top(&self, most: usize) -> Vec<Count<K>> {
        let mut all: Vec<Count<K>> = self.sets.iter().flatten().flatten().copied().collect();
        all.sort_by_key(|there| (std::cmp::Reverse(there.count - there.error), there.error));
        all.truncate(most);
        all
    }
}

fn least_busy<K>(set: &[Option<Count<K>>]) -> usize {
    let count = |place: &usize| set[*place].as_ref().map_or(0, |there| there.count);
    (0..set.len()).min_by_key(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_key_is_found_among_a_million_others() {
        let mut busiest = Busiest::default();
        for number in 0..1_000_000 {
            busiest.add(number);
            if number % 10 == 0 {
                busiest.add(u32::MAX);
            }
        }
        let top = busiest.top(10);
        assert_eq!(top.len(), 10);
        assert_eq!(top[0].key, u32::MAX);
        assert!(top[0].count >= 100_000 && top[0].count - top[0].error <= 100_000);
    }

    #[test]
    fn the_busiest_are_those_that_surely_were_and_the_least_busy_makes_room() {
        let of = |key, count, error| Some(Count { key, count, error, others: Distinct::default() });
        let set = [of(1, 10, 9), of(2, 5, 0), of(3, 4, 1), of(4, 6, 1)];
        assert_eq!(least_busy(&set), 2);
        let mut busiest = Busiest::default();
        busiest.sets[0][..4].copy_from_slice(&set);
        let keys: Vec<i32> = busiest.top(9).into_iter().map(|there| there.key).collect();
        assert_eq!(keys, [2, 4, 3, 1]);
    }

    #[test]
    fn few_keys_are_counted_exactly_and_so_is_what_differs() {
        let mut busiest = Busiest::default();
        for (key, other) in [(7, 'a'), (7, 'b'), (8, 'a'), (7, 'a'), (9, 'a')] {
            busiest.add_with(key, &other);
        }
        let top = busiest.top(2);
        assert_eq!((top[0].key, top[0].count, top[0].error, top[0].others.count()), (7, 3, 0, 2));
        assert_eq!(top.len(), 2);
    }

    #[test]
    fn more_than_sixteen_different_things_are_sixteen_or_more() {
        let mut distinct = Distinct::default();
        (0..16).for_each(|hash| distinct.add(hash));
        assert_eq!(distinct.words(), "16 or more");
        distinct.add(99);
        assert_eq!(distinct.count(), 16);
    }
}
