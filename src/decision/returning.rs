//! What was pushed out of a table a short while ago.
#![forbid(unsafe_code)]

const WAYS: usize = 4;
/// A tick of its clock, in microseconds.
const TICK: i64 = 4_000_000;
/// An hour, in ticks: after that the one point is forgiven.
const LASTS: u16 = 900;

/// Remembers what was pushed out by 16 bits of its keyed hash, for up to an hour. A flood of addresses, each seen
/// once, pushes a slow guesser out of the table of suspects between two guesses; this recognises it when
/// it returns. A mistake costs nobody anything: what returns is kept for longer, it gets no point.
pub struct Returning {
    /// Each a fingerprint and the tick at which it was pushed out; zero is empty. Resident as it is used.
    marks: Box<[u32]>,
}

impl Returning {
    /// Room for about `capacity`, four bytes each.
    pub fn new(capacity: usize) -> Returning {
        Returning { marks: vec![0; capacity.next_multiple_of(WAYS)].into_boxed_slice() }
    }

    /// Something was pushed out. `at` is in microseconds of the monotonic clock.
    pub fn insert(&mut self, at: i64, hash: u64) {
        let bucket = self.bucket(hash);
        let bucket = &mut self.marks[bucket];
        let tick = tick(at);
        let same = bucket.iter().position(|mark| fingerprint(*mark) == own_fingerprint(hash));
        let way = same.unwrap_or_else(|| {
            let ages = bucket.iter().map(|mark| if *mark == 0 { u16::MAX } else { age(*mark, tick) });
            ages.enumerate().max_by_key(|(_, age)| *age).map_or(0, |(way, _)| way)
        });
        bucket[way] = u32::from(own_fingerprint(hash)) << 16 | u32::from(tick);
    }

    /// Whether it was pushed out within the hour.
    pub fn contains(&self, at: i64, hash: u64) -> bool {
        let tick = tick(at);
        let is_it = |mark: &u32| fingerprint(*mark) == own_fingerprint(hash) && age(*mark, tick) < LASTS;
        self.marks[self.bucket(hash)].iter().any(is_it)
    }

    fn bucket(&self, hash: u64) -> std::ops::Range<usize> {
        let first = hash as usize % (self.marks.len() / WAYS) * WAYS;
        first..first + WAYS
    }
}

/// Never zero: that is an empty mark's.
fn own_fingerprint(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

fn fingerprint(mark: u32) -> u16 {
    (mark >> 16) as u16
}

fn tick(at: i64) -> u16 {
    at.div_euclid(TICK) as u16
}

fn age(mark: u32, tick: u16) -> u16 {
    tick.wrapping_sub(mark as u16)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn most_of_a_minutes_flood_are_recognised_and_almost_nobody_else() {
        let hasher = RandomState::new();
        let mut returning = Returning::new(1 << 20);
        for number in 0..720_000_i64 {
            returning.insert(number * 60 * SECOND / 720_000, hasher.hash_one(number));
        }
        let recognised = |from: i64| {
            (from..from + 720_000)
                .filter(|number| returning.contains(60 * SECOND, hasher.hash_one(number)))
                .count()
        };
        assert!(recognised(0) > 500_000, "{}", recognised(0));
        assert!(recognised(1_000_000) < 200, "{}", recognised(1_000_000));
    }

    #[test]
    fn after_an_hour_nobody_returns() {
        let mut returning = Returning::new(16);
        returning.insert(0, 7);
        assert!(returning.contains(3590 * SECOND, 7));
        assert!(!returning.contains(3600 * SECOND, 7));
    }
}
