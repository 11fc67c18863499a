//! How many different things there were, in fixed memory.
#![forbid(unsafe_code)]

const BITS: u32 = 256;

/// A set of hashes of which one bit each is left: counts up to about a thousand, the more roughly the more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distinct([u64; BITS as usize / 64]);

impl Distinct {
    /// One more, by its keyed hash.
    pub fn insert(&mut self, hash: u64) {
        let bit = hash as u32 % BITS;
        self.0[bit as usize / 64] |= 1 << (bit % 64);
    }

    /// Whether it was there, or one with the same bit.
    pub fn may_contain(&self, hash: u64) -> bool {
        let bit = hash as u32 % BITS;
        self.0[bit as usize / 64] & (1 << (bit % 64)) != 0
    }

    /// How many there were, by the bits that are left.
    pub fn estimate(&self) -> u32 {
        let empty = self.0.iter().map(|bits| bits.count_zeros()).sum::<u32>();
        let bits = f64::from(BITS);
        (bits * (bits / f64::from(empty.max(1))).ln()).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn the_estimate_is_near() {
        let hasher = RandomState::new();
        for count in [0_u32, 1, 30, 200, 500] {
            let mut distinct = Distinct::default();
            for number in 0..count {
                distinct.insert(hasher.hash_one(number));
                distinct.insert(hasher.hash_one(number));
                assert!(distinct.may_contain(hasher.hash_one(number)));
            }
            let estimate = distinct.estimate();
            assert!(estimate.abs_diff(count) <= count / 3, "{count}: {estimate}");
        }
        assert!(!Distinct::default().may_contain(7));
    }
}
