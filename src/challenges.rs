//! Challenges that wait for credentials: who asks to register, is challenged and never answers is no phone.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::signal::{Field, Kind, Signal, Texts};

/// The table's buckets. Memory is fixed: 1024 buckets of 8 are about 3 MiB, for 8192 challenges at a time.
const BUCKETS: usize = 1024;
const WAYS: usize = 8;

/// What of a challenge is kept for its line, with the room that each text has.
const KEPT: [(Field, usize); 8] = [
    (Field::Port, 5),
    (Field::Profile, 32),
    (Field::Transport, 4),
    (Field::Agent, 64),
    (Field::CallId, 96),
    (Field::FromUser, 48),
    (Field::ToUser, 48),
    (Field::User, 48),
];
const ROOM: usize = 345;

/// A challenge that nobody has answered yet.
#[derive(Clone)]
pub struct Pending {
    key: u64,
    /// When it was made, in microseconds since 1970.
    pub at: i64,
    ip: IpAddr,
    lens: [Option<u8>; KEPT.len()],
    texts: [u8; ROOM],
}

impl Pending {
    fn new(key: u64, at: i64, challenge: &Signal<'_>) -> Pending {
        let mut pending = Pending { key, at, ip: challenge.ip, lens: [None; KEPT.len()], texts: [0; ROOM] };
        let mut start = 0;
        for ((field, room), len) in KEPT.into_iter().zip(&mut pending.lens) {
            if let Some(text) = challenge.text(field) {
                let text = &text[..text.len().min(room)];
                pending.texts[start..start + text.len()].copy_from_slice(text);
                *len = Some(text.len() as u8);
            }
            start += room;
        }
        pending
    }

    /// The signal that it has become.
    pub fn signal(&self) -> Signal<'_> {
        let mut texts: Texts<'_> = [None; Field::COUNT];
        let mut start = 0;
        for ((field, room), len) in KEPT.into_iter().zip(self.lens) {
            texts[field as usize] = len.map(|len| &self.texts[start..start + usize::from(len)]);
            start += room;
        }
        Signal { kind: Kind::ChallengeUnanswered, ip: self.ip, texts }
    }
}

/// The challenges that wait. Nothing is allocated after it is made, and each step looks at one bucket.
pub struct Challenges {
    table: Box<[[Option<Pending>; WAYS]]>,
    hasher: RandomState,
    waiting: usize,
    /// Challenges that found no room. A flood fills the table with its own; then others are not watched
    /// until room is made, and are counted here. Those watched are never forgotten for it, so that a phone
    /// which answers is never taken for a scanner.
    pub untracked: u64,
    next_bucket: usize,
}

impl Default for Challenges {
    fn default() -> Challenges {
        Challenges {
            table: vec![[const { None }; WAYS]; BUCKETS].into_boxed_slice(),
            hasher: RandomState::new(),
            waiting: 0,
            untracked: 0,
            next_bucket: 0,
        }
    }
}

impl Challenges {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The host has challenged. A further challenge in the same call changes nothing: the first still counts.
    pub fn made(&mut self, at: i64, challenge: &Signal<'_>) {
        let Some(key) = self.key(challenge) else { return };
        let bucket = &mut self.table[bucket_of(key)];
        if bucket.iter().flatten().any(|pending| pending.key == key) {
            return;
        }
        match bucket.iter_mut().find(|way| way.is_none()) {
            Some(way) => {
                *way = Some(Pending::new(key, at, challenge));
                self.waiting += 1;
            }
            None => self.untracked += 1,
        }
    }

    /// Credentials came, good or bad.
    pub fn answered(&mut self, attempt: &Signal<'_>) {
        let Some(key) = self.key(attempt) else { return };
        for way in &mut self.table[bucket_of(key)] {
            if way.as_ref().is_some_and(|pending| pending.key == key) {
                *way = None;
                self.waiting -= 1;
            }
        }
    }

    /// Goes on to the next bucket and takes out those challenges that were made before `before`; whether the
    /// round is over.
    pub fn sweep_bucket(&mut self, before: i64, mut overdue: impl FnMut(&Pending)) -> bool {
        for way in &mut self.table[self.next_bucket] {
            if way.as_ref().is_some_and(|pending| pending.at <= before) {
                overdue(&way.take().expect("there is a challenge"));
                self.waiting -= 1;
            }
        }
        self.next_bucket = (self.next_bucket + 1) % BUCKETS;
        self.next_bucket == 0
    }

    /// The call it belongs to; without a call-id, credentials could never be matched to it.
    fn key(&self, signal: &Signal<'_>) -> Option<u64> {
        Some(self.hasher.hash_one((signal.text(Field::CallId)?, signal.ip)))
    }
}

fn bucket_of(key: u64) -> usize {
    key as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(kind: Kind, ip: u32, call_id: &str) -> Signal<'_> {
        let mut signal = Signal::new(kind, IpAddr::V4(ip.into()), b"1009");
        signal.texts[Field::CallId as usize] = Some(call_id.as_bytes());
        signal
    }

    fn sweep(challenges: &mut Challenges, before: i64) -> Vec<(IpAddr, Vec<u8>)> {
        let mut overdue = Vec::new();
        while !challenges.sweep_bucket(before, |pending| {
            let signal = pending.signal();
            overdue.push((signal.ip, signal.text(Field::User).unwrap().to_vec()));
        }) {}
        overdue
    }

    #[test]
    fn only_a_challenge_that_stays_unanswered_is_overdue() {
        let mut challenges = Challenges::default();
        challenges.made(10, &signal(Kind::Challenge, 1, "phone"));
        challenges.made(10, &signal(Kind::Challenge, 2, "scanner"));
        challenges.answered(&signal(Kind::RegisterAttempt, 1, "phone"));
        // Another's credentials under the same call-id answer nothing.
        challenges.answered(&signal(Kind::RegisterAttempt, 1, "scanner"));
        assert!(sweep(&mut challenges, 9).is_empty());
        assert_eq!(sweep(&mut challenges, 10), [(IpAddr::V4(2.into()), b"1009".to_vec())]);
        assert_eq!(challenges.waiting(), 0);
        assert!(sweep(&mut challenges, i64::MAX).is_empty());
    }

    #[test]
    fn the_first_challenge_of_a_call_counts() {
        let mut challenges = Challenges::default();
        challenges.made(10, &signal(Kind::Challenge, 1, "c"));
        challenges.made(20, &signal(Kind::Challenge, 1, "c"));
        assert_eq!(challenges.waiting(), 1);
        assert_eq!(sweep(&mut challenges, 10).len(), 1);
    }

    #[test]
    fn a_million_challenges_take_no_more_memory_and_phones_that_answer_are_never_overdue() {
        let mut challenges = Challenges::default();
        let size = std::mem::size_of_val(&*challenges.table);
        assert!(size < 4 << 20, "{size}");
        for ip in 0..1_000_000 {
            challenges.made(i64::from(ip), &signal(Kind::Challenge, ip, "flood"));
            if ip % 1000 == 0 {
                challenges.made(i64::from(ip), &signal(Kind::Challenge, ip, "phone"));
                challenges.answered(&signal(Kind::RegisterAttempt, ip, "phone"));
                challenges.answered(&signal(Kind::RegisterAttempt, ip, "flood"));
            }
        }
        assert!(challenges.waiting() <= BUCKETS * WAYS && challenges.untracked > 900_000);
        for (ip, _) in sweep(&mut challenges, i64::MAX) {
            let IpAddr::V4(ip) = ip else { panic!() };
            assert_ne!(u32::from(ip) % 1000, 0, "a phone that answered");
        }
    }

    #[test]
    fn what_is_kept_fits_and_long_texts_are_cut() {
        assert_eq!(KEPT.iter().map(|(_, room)| room).sum::<usize>(), ROOM);
        let long = "x".repeat(1000);
        let mut challenge = signal(Kind::Challenge, 1, &long);
        challenge.texts[Field::Agent as usize] = Some(long.as_bytes());
        let pending = Pending::new(0, 0, &challenge);
        assert_eq!(pending.signal().text(Field::Agent).unwrap().len(), 64);
        assert_eq!(pending.signal().text(Field::CallId).unwrap().len(), 96);
        assert_eq!(pending.signal().text(Field::FromUser), None);
    }
}
