//! Which headers are read from an event, and which field each of them is.
#![forbid(unsafe_code)]

use crate::event::field::Field;

/// Headers that are looked up together.
#[derive(Debug, PartialEq, Eq)]
pub struct Headers {
    /// The headers.
    pub list: &'static [Header],
    /// A bit for the hash of each, so that most other headers are skipped after one look.
    pub bits: u64,
}

impl Headers {
    /// These headers.
    pub const fn new(list: &'static [Header]) -> Headers {
        let mut bits = 0;
        let mut at = 0;
        while at < list.len() {
            bits |= Headers::bit(list[at].hash);
            at += 1;
        }
        Headers { list, bits }
    }

    /// The bit for a hash.
    pub const fn bit(hash: u64) -> u64 {
        1 << (hash & 63)
    }
}

/// A header of an event, and what it is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; the host takes upper and lower case for the same.
    pub name: &'static str,
    /// The name's hash, as the host keeps it beside each header.
    pub hash: u64,
    /// What the value is.
    pub field: Field,
}

impl Header {
    /// A header.
    pub const fn new(name: &'static str, field: Field) -> Header {
        Header { name, hash: hash(name.as_bytes()), field }
    }
}

/// The host's hash of a header's name (Bernstein's, over lower case, in 32 bits).
pub const fn hash(name: &[u8]) -> u64 {
    let mut hash = 0_u32;
    let mut at = 0;
    while at < name.len() {
        hash = hash.wrapping_mul(33).wrapping_add(name[at].to_ascii_lowercase() as u32);
        at += 1;
    }
    hash as u64
}
