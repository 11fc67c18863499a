//! Suspects and attackers: two tables, neither of which pushes out the other.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::attack::{Attack, Attacker};
use super::ranked::Ranked;
use super::record::Record;
use super::returning::Returning;
use super::source::Source;

/// Most sources with points that are no attackers.
pub const MOST_SUSPECTS: usize = 16_384;
/// Most attackers.
pub const MOST_ATTACKERS: usize = 4096;
/// Levels from this one on go in the order of time alone.
const RANKS: usize = 12;

/// A source and its keyed hash, which is computed once for each event.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The source.
    pub source: Source,
    /// Its hash.
    pub hash: u64,
}

/// Where a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the suspects.
    Suspect(usize),
    /// Among the attackers.
    Attacker(usize),
}

/// All sources with points.
///
/// Of suspects the one goes whose last cause is longest ago, first among those that came once, then among those
/// that came again after they had been pushed out: so a flood of addresses, each seen once, can't hide a source
/// that guesses once a minute, nor can a forged packet between two guesses. Of attackers the lowest level goes,
/// then the longest ago.
pub struct Sources {
    suspects: Ranked<Record, 2>,
    attackers: Ranked<Attacker, RANKS>,
    returning: Returning,
    hasher: RandomState,
    /// Attackers that had to go for others.
    pub evicted_attackers: u64,
}

impl Sources {
    /// None yet.
    pub fn new() -> Sources {
        Sources {
            suspects: Ranked::new(MOST_SUSPECTS),
            attackers: Ranked::new(MOST_ATTACKERS),
            returning: Returning::new(1 << 20),
            hasher: RandomState::new(),
            evicted_attackers: 0,
        }
    }

    /// A source with its hash.
    pub fn key(&self, source: Source) -> Key {
        Key { source, hash: self.hash(source) }
    }

    fn hash(&self, source: Source) -> u64 {
        self.hasher.hash_one(source)
    }

    /// How many are suspects, and how many attackers; those that are over are among them for a while.
    pub fn len(&self) -> (usize, usize) {
        (self.suspects.len(), self.attackers.len())
    }

    /// Where a source is, with what has been forgiven meanwhile; an attacker whose day is over is nowhere.
    pub fn find(&mut self, at: i64, Key { source, hash }: Key) -> Option<Place> {
        if let Some(slot) = self.attackers.find(hash, |there| there.record.source == source) {
            let there = self.attackers.get_mut(slot)?;
            if there.attack.is_over(at) {
                self.attackers.remove(slot);
                return None;
            }
            there.record.forgive(at);
            return Some(Place::Attacker(slot));
        }
        let slot = self.suspects.find(hash, |there| there.source == source)?;
        let there = self.suspects.get_mut(slot)?;
        if there.is_over(at) {
            self.suspects.remove(slot);
            return None;
        }
        there.forgive(at);
        Some(Place::Suspect(slot))
    }

    /// The same for a source that did something: a new one becomes a suspect.
    pub fn find_or_insert(&mut self, at: i64, key: Key, ip: IpAddr) -> Place {
        let found = self.find(at, key);
        let place = found.unwrap_or_else(|| self.insert(at, key.hash, Record::new(key.source, ip, at)));
        match place {
            Place::Suspect(slot) => {
                let rank = self.suspects.rank(slot);
                self.suspects.touch(slot, rank);
            }
            Place::Attacker(_) => self.touch(place),
        }
        if let Some(record) = self.record_mut(place) {
            record.ip = ip;
        }
        place
    }

    /// Adds a suspect that has this hash.
    pub fn insert(&mut self, at: i64, hash: u64, record: Record) -> Place {
        let rank = usize::from(self.returning.contains(at, hash));
        let (slot, evicted) = self.suspects.insert(hash, record, rank, |there| there.is_over(at));
        if let Some(evicted) = evicted {
            self.returning.insert(at, self.hash(evicted.source));
        }
        Place::Suspect(slot)
    }

    /// Adds an attacker.
    pub fn insert_attacker(&mut self, at: i64, attacker: Attacker) -> Place {
        let hash = self.hash(attacker.record.source);
        let (slot, evicted) =
            self.attackers.insert(hash, attacker, rank(&attacker), |there| there.attack.is_over(at));
        self.evicted_attackers += u64::from(evicted.is_some_and(|there| !there.attack.is_over(at)));
        Place::Attacker(slot)
    }

    /// A suspect is an attacker from now on.
    pub fn promote(&mut self, at: i64, suspect: usize) -> Option<&mut Attacker> {
        let record = self.suspects.remove(suspect)?;
        let place = self.insert_attacker(at, Attacker { record, attack: Attack::new(at) });
        self.attacker_mut(place)
    }

    /// An attacker is a suspect from now on.
    pub fn demote(&mut self, at: i64, attacker: usize) {
        if let Some(there) = self.attackers.remove(attacker) {
            self.insert(at, self.hash(there.record.source), there.record);
        }
    }

    /// An attacker has come to another level.
    pub fn touch(&mut self, place: Place) {
        if let Place::Attacker(slot) = place {
            let rank = self.attackers.get(slot).map_or(0, rank);
            self.attackers.touch(slot, rank);
        }
    }

    /// What a source has done.
    pub fn record(&self, place: Place) -> Option<&Record> {
        match place {
            Place::Suspect(slot) => self.suspects.get(slot),
            Place::Attacker(slot) => self.attackers.get(slot).map(|there| &there.record),
        }
    }

    /// The same, to be changed.
    pub fn record_mut(&mut self, place: Place) -> Option<&mut Record> {
        match place {
            Place::Suspect(slot) => self.suspects.get_mut(slot),
            Place::Attacker(slot) => self.attackers.get_mut(slot).map(|there| &mut there.record),
        }
    }

    /// The attacker in a place.
    pub fn attacker(&self, place: Place) -> Option<&Attacker> {
        match place {
            Place::Attacker(slot) => self.attackers.get(slot),
            Place::Suspect(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn attacker_mut(&mut self, place: Place) -> Option<&mut Attacker> {
        match place {
            Place::Attacker(slot) => self.attackers.get_mut(slot),
            Place::Suspect(_) => None,
        }
    }

    /// Forgets a source.
    pub fn remove(&mut self, place: Place) {
        match place {
            Place::Suspect(slot) => drop(self.suspects.remove(slot)),
            Place::Attacker(slot) => drop(self.attackers.remove(slot)),
        }
    }

    /// All places, suspects first, that may hold a source.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        self.suspects.slots().map(Place::Suspect).chain(self.attackers.slots().map(Place::Attacker))
    }

    /// The places that may hold an attacker.
    pub fn attacker_places(&self) -> impl Iterator<Item = Place> + use<> {
        self.attackers.slots().map(Place::Attacker)
    }
}

fn rank(attacker: &Attacker) -> usize {
    attacker.attack.level as usize - 1
}
