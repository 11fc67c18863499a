//! Lookups whose verdict is out.
//!
//! FreeSWITCH's events come late, so a guesser must be counted when its credentials are looked up. The marks are
//! counted in a table of counters (a count-min sketch), not in a list: nothing that is sent can push a mark out,
//! and memory is the same whatever comes. A count is never too low; too high it is only for one whose three
//! counters are all shared by others at that moment, which a keyed hash leaves to chance: with 100,000 lookups
//! under way less than once in a thousand, and then by one or two.
#![forbid(unsafe_code)]

const ROWS: usize = 3;
const WIDTH: usize = 1 << 16;
const PARTS: usize = 4;
/// For how long a mark counts, by [`Kind`]: four parts of this length, in microseconds, less what had gone of the first.
const PART: [i64; KINDS] = [2_500_000, 15_000_000, 15_000_000];
const KINDS: usize = 3;

/// What a mark is of.
#[derive(Clone, Copy)]
enum Kind {
    /// REGISTER and INVITE, whose verdict is an event: 7.5 to 10 s.
    Prompt,
    /// The same: 45 to 60 s.
    Late,
    /// SUBSCRIBE and MESSAGE: 45 to 60 s. They are failures ten seconds after they came, later while the directory is
    /// slow, and never if there was no room to wait for their success: none may be forgotten before that.
    Slow,
}

fn kinds(is_slow: bool) -> &'static [Kind] {
    if is_slow { &[Kind::Slow] } else { &[Kind::Prompt, Kind::Late] }
}

/// Lookups of one account by one source, by how their verdict shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// REGISTER and INVITE, of the last ten seconds.
    pub prompt: u32,
    /// The same, of the last minute: where events come late, a guesser that waits ten seconds must not get as many
    /// guesses again.
    pub late: u32,
    /// SUBSCRIBE and MESSAGE, whose verdict takes seconds, of the last minute.
    pub slow: u32,
}

#[derive(Clone, Copy, Default)]
struct Counter {
    /// The parts of time that it was brought up to.
    part: [u32; KINDS],
    /// The marks of the last four parts.
    counts: [[u16; PARTS]; KINDS],
}

/// Counts of lookups whose verdict is out.
pub struct Outstanding {
    counters: Box<[Counter]>,
}

impl Outstanding {
    /// None. About 7 MB.
    pub fn new() -> Outstanding {
        Outstanding { counters: vec![Counter::default(); ROWS * WIDTH].into_boxed_slice() }
    }

    /// How many there are; `key` is a keyed hash of source and account.
    pub fn count(&mut self, at: i64, key: u64) -> Marks {
        Marks {
            prompt: self.least(at, key, Kind::Prompt),
            late: self.least(at, key, Kind::Late),
            slow: self.least(at, key, Kind::Slow),
        }
    }

    /// One more lookup.
    pub fn add(&mut self, at: i64, key: u64, is_slow: bool) {
        for kind in kinds(is_slow) {
            for place in places(key) {
                let counter = &mut self.counters[place];
                let part = counter.advance(at, *kind);
                let count = &mut counter.counts[*kind as usize][part as usize % PARTS];
                *count = count.saturating_add(1);
            }
        }
    }

    /// The verdict of one is in.
    pub fn settle(&mut self, at: i64, key: u64, is_slow: bool) {
        for kind in kinds(is_slow) {
            // A verdict whose lookup was not marked takes nothing from others that share its counters.
            if self.least(at, key, *kind) > 0 {
                places(key).into_iter().for_each(|place| self.counters[place].take_oldest(*kind));
            }
        }
    }

    fn least(&mut self, at: i64, key: u64, kind: Kind) -> u32 {
        let counts = places(key).map(|place| {
            let counter = &mut self.counters[place];
            counter.advance(at, kind);
            counter.sum(kind)
        });
        counts.into_iter().min().unwrap_or_default()
    }
}

impl Counter {
    /// Forgets what is over, and gives the part of time that it is now. Threads may come with times a little out of
    /// order: an earlier one changes nothing.
    fn advance(&mut self, at: i64, kind: Kind) -> u32 {
        let kind = kind as usize;
        let part = at.div_euclid(PART[kind]) as u32;
        let passed = part.wrapping_sub(self.part[kind]) as i32;
        if passed > 0 {
            for ago in 0..(passed as usize).min(PARTS) {
                self.counts[kind][part.wrapping_sub(ago as u32) as usize % PARTS] = 0;
            }
            self.part[kind] = part;
        }
        self.part[kind]
    }

    fn sum(&self, kind: Kind) -> u32 {
        self.counts[kind as usize].iter().map(|count| u32::from(*count)).sum()
    }

    fn take_oldest(&mut self, kind: Kind) {
        let part = self.part[kind as usize];
        let oldest_first = (1..=PARTS as u32).map(|next| part.wrapping_add(next) as usize % PARTS);
        let counts = &mut self.counts[kind as usize];
        let oldest = oldest_first.into_iter().find(|index| counts[*index] > 0);
        // One that is full has lost count, and stays until it is over.
        if let Some(index) = oldest.filter(|index| counts[*index] < u16::MAX) {
            counts[index] -= 1;
        }
    }
}

fn places(key: u64) -> [usize; ROWS] {
    std::array::from_fn(|row| row * WIDTH + (key >> (16 * row)) as usize % WIDTH)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn lookups_count_until_their_verdict_and_for_so_long_at_most() {
        let mut outstanding = Outstanding::new();
        let marks = |prompt, late, slow| Marks { prompt, late, slow };
        for _ in 0..5 {
            outstanding.add(0, 7, false);
            outstanding.add(0, 7, true);
        }
        outstanding.settle(SECOND, 7, false);
        assert_eq!(outstanding.count(SECOND, 7), marks(4, 4, 5));
        outstanding.add(5 * SECOND, 7, false);
        outstanding.add(5 * SECOND, 7, true);
        assert_eq!(outstanding.count(7 * SECOND, 7), marks(5, 5, 6));
        assert_eq!(outstanding.count(10 * SECOND, 7), marks(1, 5, 6));
        // The clock of another thread is a little behind: nothing is lost.
        assert_eq!(outstanding.count(9 * SECOND, 7), marks(1, 5, 6));
        outstanding.add(30 * SECOND, 7, false);
        assert_eq!(outstanding.count(59 * SECOND, 7), marks(0, 6, 6));
        outstanding.settle(59 * SECOND, 7, false);
        assert_eq!(outstanding.count(59 * SECOND, 7), marks(0, 5, 6));
        assert_eq!(outstanding.count(60 * SECOND, 7), marks(0, 1, 0));
        assert_eq!(outstanding.count(90 * SECOND, 7), marks(0, 0, 0));
    }

    #[test]
    fn verdicts_without_lookups_take_nothing_from_others() {
        let hasher = RandomState::new();
        let mut outstanding = Outstanding::new();
        for key in 0..1000 {
            outstanding.add(0, hasher.hash_one(key), false);
        }
        for key in 1000..100_000 {
            outstanding.settle(0, hasher.hash_one(key), false);
        }
        let kept = (0..1000).filter(|key| outstanding.count(0, hasher.hash_one(key)).prompt > 0).count();
        assert!(kept >= 980, "{kept}");
    }

    #[test]
    fn a_hundred_thousand_lookups_of_others_accuse_nobody() {
        let hasher = RandomState::new();
        let mut outstanding = Outstanding::new();
        for key in 0..100_000 {
            outstanding.add(0, hasher.hash_one(key), false);
        }
        let most = (100_000..200_000).map(|key| outstanding.count(0, hasher.hash_one(key)).prompt).max();
        assert!(most < Some(9), "{most:?}");
    }

    #[test]
    fn a_guesser_is_counted_among_a_million_lookups_of_others() {
        let hasher = RandomState::new();
        let mut outstanding = Outstanding::new();
        for key in 1..1_000_000 {
            outstanding.add(key, hasher.hash_one(key), false);
            if key % 1000 == 0 {
                outstanding.add(key, hasher.hash_one(0), false);
            }
        }
        assert!(outstanding.count(SECOND, hasher.hash_one(0)).prompt >= 999);
    }
}
