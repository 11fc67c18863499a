//! Challenges that wait for credentials: who is challenged and never answers is no phone.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::event_type::EventType;
use crate::kept::Kept;
use crate::signal::{Field, Signal};
use crate::table::{Sweep, Table};
use crate::timestamp::Now;

/// Most calls that are watched at a time; about 3 MiB.
pub const MOST: usize = 8192;
/// Most calls that were abandoned lately and whose challenge is therefore not told once more.
const MOST_ABANDONED: usize = 1024;
/// Most answers that came before their challenge.
const MOST_EARLY: usize = 1024;
/// Most challenges that are told in one step, so that no handler waits long.
const MOST_AT_ONCE: u32 = 64;
/// FreeSWITCH's events may come so late, in microseconds; a look-up is seen at once.
const EARLY_BY: i64 = 10_000_000;

/// The challenges of one call that nobody has answered yet.
struct Pending {
    ip: IpAddr,
    port: Option<u16>,
    /// The first and the last of them.
    first: Now,
    last: Now,
    count: u32,
    profile: Kept<32>,
    agent: Kept<64>,
    call_id: Kept<96>,
    from_user: Kept<48>,
    to_user: Kept<48>,
    port_text: Kept<5>,
}

/// A call that was challenged and then abandoned: it has a line of its own.
struct Abandoned {
    ip: IpAddr,
    port: u16,
    at: Now,
}

/// An answer that was seen before the event of its challenge.
struct Early {
    at: Now,
}

/// The challenges that wait. Nothing is allocated after it is made.
pub struct Challenges {
    calls: Table<Pending>,
    abandoned: Table<Abandoned>,
    early: Table<Early>,
    hasher: RandomState,
    /// Challenges that found no room. A flood fills the table with its own; then others are not watched until
    /// there is room. Those that are watched are never dropped for it, so that a phone which answers is never
    /// taken for a scanner.
    pub untracked: u64,
    /// Not all that was overdue could be told in this round of sweeping.
    has_more: bool,
}

impl Default for Challenges {
    fn default() -> Challenges {
        Challenges {
            calls: Table::new(MOST),
            abandoned: Table::new(MOST_ABANDONED),
            early: Table::new(MOST_EARLY),
            hasher: RandomState::new(),
            untracked: 0,
            has_more: false,
        }
    }
}

impl Challenges {
    /// How many calls wait.
    pub fn waiting(&self) -> usize {
        self.calls.len()
    }

    /// FreeSWITCH has challenged. Without a call-id, credentials could never be matched to it.
    pub fn insert(&mut self, now: Now, challenge: &Signal<'_>) {
        let Some(call_id) = challenge.text(Field::CallId) else { return };
        let hash = self.hasher.hash_one(call_id);
        if self.take_early(now, hash) {
            return;
        }
        if let Some(place) = self.calls.find(hash, |there| there.ip == challenge.ip)
            && let Some(there) = self.calls.get_mut(place)
        {
            there.count = there.count.saturating_add(1);
            there.last = now;
            return;
        }
        let pending = Pending {
            ip: challenge.ip,
            port: challenge.port(),
            first: now,
            last: now,
            count: 1,
            profile: Kept::new(challenge.text_or_empty(Field::Profile)),
            agent: Kept::new(challenge.text_or_empty(Field::Agent)),
            call_id: Kept::new(call_id),
            from_user: Kept::new(challenge.text_or_empty(Field::FromUser)),
            to_user: Kept::new(challenge.text_or_empty(Field::ToUser)),
            port_text: Kept::new(challenge.text_or_empty(Field::Port)),
        };
        if self.calls.insert(hash, pending).is_none() {
            self.untracked += 1;
        }
    }

    /// Credentials came for a call: they answer one challenge. A NAT may have given the phone another address
    /// meanwhile, so one of that call from any address, if there is none from this.
    pub fn answer(&mut self, call_id: &[u8], ip: IpAddr) {
        self.answer_one(self.hasher.hash_one(call_id), ip);
    }

    /// As [`Challenges::answer`], where a look-up has told it: that is seen at once, while the challenge's event
    /// may still be on its way.
    pub fn answer_at_once(&mut self, now: Now, call_id: &[u8], ip: IpAddr) {
        let call = self.hasher.hash_one(call_id);
        if !self.answer_one(call, ip) {
            self.early.insert_over_oldest(call, Early { at: now });
        }
    }

    fn take_early(&mut self, now: Now, call: u64) -> bool {
        let found = self.early.find(call, |_| true);
        let answer = found.and_then(|place| self.early.remove(place));
        answer.is_some_and(|answer| now.monotonic - answer.at.monotonic < EARLY_BY)
    }

    /// Whether there was a challenge to be answered.
    fn answer_one(&mut self, hash: u64, ip: IpAddr) -> bool {
        let here = self.calls.find(hash, |there| there.ip == ip);
        let Some(place) = here.or_else(|| self.calls.find(hash, |_| true)) else { return false };
        if let Some(there) = self.calls.get_mut(place).filter(|there| there.count > 1) {
            there.count -= 1;
        } else {
            self.calls.remove(place);
        }
        true
    }

    /// Good credentials came for a call: they answer all of its challenges by that profile at that address, and at
    /// one other, since a NAT may have changed it. Not at more: who has one account does not clear a whole crowd that
    /// shares a call-id.
    pub fn answer_all(&mut self, call_id: &[u8], profile: Option<&[u8]>, ip: Option<IpAddr>) {
        let hash = self.hasher.hash_one(call_id);
        let profile = profile.map(Kept::new);
        let is_its = |there: &Pending| profile.is_none_or(|profile| there.profile == profile);
        if let Some(here) = self.calls.find(hash, |there| ip == Some(there.ip) && is_its(there)) {
            self.calls.remove(here);
        }
        if let Some(other) = self.calls.find(hash, is_its) {
            self.calls.remove(other);
        }
    }

    /// A call was abandoned after its challenge, and that was told.
    pub fn abandon(&mut self, now: Now, abandoned: &Signal<'_>) {
        if let Some(port) = abandoned.port() {
            let ip = abandoned.ip;
            self.abandoned
                .insert_over_oldest(self.hasher.hash_one((ip, port)), Abandoned { ip, port, at: now });
        }
    }

    /// Looks at some of those that wait, and takes out those that have waited for so many microseconds: gives
    /// each challenge as a signal, and when it was.
    pub fn sweep(
        &mut self,
        now: Now,
        timeout: i64,
        most: usize,
        mut overdue: impl FnMut(Now, &Signal<'_>),
    ) -> Sweep {
        let Challenges { calls, abandoned, hasher, has_more, .. } = self;
        let mut room = MOST_AT_ONCE;
        let sweep = calls.sweep(most, |_, pending| {
            if now.monotonic - pending.first.monotonic < timeout {
                return false;
            }
            // The last one of the call has its own time; those in between count with the first.
            let is_last_overdue = now.monotonic - pending.last.monotonic >= timeout;
            let mut overdue_now = if is_last_overdue { pending.count } else { pending.count - 1 };
            while overdue_now > 0 && take_abandoned(abandoned, hasher, pending) {
                overdue_now -= 1;
                pending.count -= 1;
            }
            let told = overdue_now.min(room);
            room -= told;
            for number in 1..=told {
                let at = if is_last_overdue && number == overdue_now { pending.last } else { pending.first };
                overdue(at, &pending.signal());
            }
            if told < overdue_now {
                pending.count -= told;
                *has_more = true;
                return false;
            }
            (pending.count, pending.first) = (1, pending.last);
            is_last_overdue
        });
        // In another round it goes on with those that had more.
        if sweep == Sweep::Done && std::mem::take(has_more) { Sweep::More } else { sweep }
    }
}

/// Whether the call was abandoned since it was challenged; that is told once.
fn take_abandoned(abandoned: &mut Table<Abandoned>, hasher: &RandomState, pending: &Pending) -> bool {
    let Some(port) = pending.port else { return false };
    let found = abandoned.find(hasher.hash_one((pending.ip, port)), |there| {
        there.ip == pending.ip && there.port == port && there.at.monotonic >= pending.first.monotonic
    });
    found.and_then(|place| abandoned.remove(place)).is_some()
}

impl Pending {
    fn signal(&self) -> Signal<'_> {
        let mut signal = Signal::new(EventType::ChallengeUnanswered, self.ip, self.to_user.bytes());
        if self.to_user.is_cut() {
            signal.set_cut(Field::User);
        }
        keep(&mut signal, Field::Port, &self.port_text);
        keep(&mut signal, Field::Profile, &self.profile);
        keep(&mut signal, Field::Agent, &self.agent);
        keep(&mut signal, Field::CallId, &self.call_id);
        keep(&mut signal, Field::FromUser, &self.from_user);
        keep(&mut signal, Field::ToUser, &self.to_user);
        signal
    }
}

/// Gives a signal a text that was kept; an empty one is none.
pub fn keep<'a, const N: usize>(signal: &mut Signal<'a>, field: Field, kept: &'a Kept<N>) {
    if !kept.bytes().is_empty() {
        signal.set(field, Some(kept.bytes()));
        if kept.is_cut() {
            signal.set_cut(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: i64 = 32_000_000;

    fn at(seconds: i64) -> Now {
        Now { wall: 1_000_000_000 + seconds, monotonic: seconds * 1_000_000 }
    }

    fn signal(event_type: EventType, ip: u32, call_id: &str) -> Signal<'_> {
        let mut signal = Signal::new(event_type, IpAddr::V4(ip.into()), b"1009");
        signal.set(Field::ToUser, Some(b"1009"));
        signal.set(Field::CallId, Some(call_id.as_bytes()));
        signal.set(Field::Port, Some(b"5060"));
        signal
    }

    fn challenge(challenges: &mut Challenges, seconds: i64, ip: u32, call_id: &str) {
        challenges.insert(at(seconds), &signal(EventType::Challenge, ip, call_id));
    }

    fn answer(challenges: &mut Challenges, ip: u32, call_id: &str) {
        challenges.answer(call_id.as_bytes(), IpAddr::V4(ip.into()));
    }

    /// The wall clocks and addresses of those that are overdue at a time.
    fn sweep(challenges: &mut Challenges, seconds: i64) -> Vec<(i64, IpAddr)> {
        let mut overdue = Vec::new();
        while challenges.sweep(at(seconds), TIMEOUT, 100, |at, signal| {
            assert_eq!(signal.text_or_empty(Field::User), b"1009");
            overdue.push((at.wall - 1_000_000_000, signal.ip));
        }) == Sweep::More
        {}
        overdue
    }

    #[test]
    fn only_a_challenge_that_stays_unanswered_is_overdue_and_has_its_own_time() {
        let mut challenges = Challenges::default();
        challenge(&mut challenges, 10, 1, "phone");
        challenge(&mut challenges, 11, 2, "scanner");
        answer(&mut challenges, 1, "phone");
        assert_eq!(challenges.waiting(), 1);
        assert!(sweep(&mut challenges, 42).is_empty());
        assert_eq!(sweep(&mut challenges, 43), [(11, IpAddr::V4(2.into()))]);
        assert_eq!(challenges.waiting(), 0);
    }

    #[test]
    fn each_probe_of_a_constant_call_id_counts() {
        let mut challenges = Challenges::default();
        (10..50).for_each(|second| challenge(&mut challenges, second, 1, "constant"));
        assert!(sweep(&mut challenges, 41).is_empty());
        assert_eq!(sweep(&mut challenges, 42).len(), 39, "the last one may still be answered");
        answer(&mut challenges, 1, "constant");
        assert!(sweep(&mut challenges, 1000).is_empty());
    }

    #[test]
    fn an_answer_may_be_seen_before_its_challenge() {
        let mut challenges = Challenges::default();
        let ip = IpAddr::V4(1.into());
        challenges.answer_at_once(at(100), b"early", ip);
        challenge(&mut challenges, 101, 1, "early");
        assert_eq!(challenges.waiting(), 0);
        // It has answered that one and no other, and an old answer none.
        challenge(&mut challenges, 102, 1, "early");
        challenges.answer_at_once(at(100), b"old", ip);
        challenge(&mut challenges, 110, 1, "old");
        assert_eq!(challenges.waiting(), 2);
        challenges.answer_at_once(at(111), b"old", ip);
        challenge(&mut challenges, 112, 1, "old");
        assert_eq!(challenges.waiting(), 2, "an answer of a challenge that waits is not early");
        assert_eq!(sweep(&mut challenges, 200).len(), 2);
    }

    #[test]
    fn credentials_answer_one_challenge_and_good_ones_all_of_the_call() {
        let mut challenges = Challenges::default();
        (0..3).for_each(|second| challenge(&mut challenges, second, 1, "c"));
        answer(&mut challenges, 1, "c");
        assert_eq!(sweep(&mut challenges, 100).len(), 2);
        (0..3).for_each(|second| challenge(&mut challenges, second, 1, "c"));
        challenges.answer_all(b"c", Some(b"internal"), Some(IpAddr::V4(1.into())));
        assert_eq!(challenges.waiting(), 1, "another profile's");
        challenges.answer_all(b"c", None, Some(IpAddr::V4(1.into())));
        assert!(sweep(&mut challenges, 100).is_empty());
    }

    #[test]
    fn good_credentials_answer_for_one_machine_and_not_for_all_that_share_its_call_id() {
        let mut challenges = Challenges::default();
        (1..=4).for_each(|ip| challenge(&mut challenges, 0, ip, "crowd"));
        challenges.answer_all(b"crowd", None, Some(IpAddr::V4(3.into())));
        let left: Vec<_> = sweep(&mut challenges, 100).into_iter().map(|(_, ip)| ip).collect();
        assert_eq!(left.len(), 2);
        assert!(!left.contains(&IpAddr::V4(3.into())));
    }

    #[test]
    fn a_flood_with_one_call_id_is_told_a_part_at_a_time() {
        let mut challenges = Challenges::default();
        let abandoned = signal(EventType::WrongCallState, 1, "-");
        (0..1000).for_each(|_| challenge(&mut challenges, 10, 1, "flood"));
        challenge(&mut challenges, 11, 1, "flood");
        challenges.abandon(at(12), &abandoned);
        let mut parts = Vec::new();
        loop {
            let (mut told, mut last) = (0, 0);
            let sweep = challenges.sweep(at(50), TIMEOUT, 100, |at, _| {
                told += 1;
                last = at.monotonic / 1_000_000;
            });
            parts.push((told, last));
            if sweep == Sweep::Done {
                break;
            }
        }
        assert_eq!(parts.iter().map(|(told, _)| told).sum::<u32>(), 1000);
        assert!(parts.iter().all(|(told, _)| *told <= MOST_AT_ONCE));
        assert_eq!(parts.last().map(|(_, last)| *last), Some(11));
        assert_eq!(challenges.waiting(), 0);
    }

    #[test]
    fn floods_among_many_calls_are_told_in_one_sweep_and_no_step_is_long() {
        let mut challenges = Challenges::default();
        for call in 0..300 {
            let count = if call % 100 == 7 { 500 } else { 1 };
            (0..count).for_each(|_| challenge(&mut challenges, 10, call, &format!("call {call}")));
        }
        let (mut told, mut steps) = (0, 0);
        loop {
            let mut now = 0;
            let sweep = challenges.sweep(at(50), TIMEOUT, 64, |_, _| now += 1);
            assert!(now <= MOST_AT_ONCE);
            told += now;
            steps += 1;
            if sweep == Sweep::Done {
                break;
            }
        }
        assert_eq!((told, challenges.waiting()), (3 * 500 + 297, 0));
        assert!(steps < 500, "{steps}");
    }

    #[test]
    fn the_first_and_the_last_of_a_call_have_their_own_times() {
        let mut challenges = Challenges::default();
        [1, 3, 6].iter().for_each(|&second| challenge(&mut challenges, second, 1, "c"));
        let times: Vec<_> = sweep(&mut challenges, 100).into_iter().map(|(at, _)| at).collect();
        assert_eq!(times, [1, 1, 6]);
    }

    #[test]
    fn an_answer_is_for_the_challenge_of_its_own_address_where_there_is_one() {
        for order in [[1, 2], [2, 1]] {
            let mut challenges = Challenges::default();
            order.iter().for_each(|&ip| challenge(&mut challenges, 0, ip, "the call-id of another"));
            answer(&mut challenges, 2, "the call-id of another");
            assert_eq!(sweep(&mut challenges, 100), [(0, IpAddr::V4(1.into()))]);
        }
    }

    #[test]
    fn a_phone_whose_nat_gives_it_another_address_has_answered() {
        let mut challenges = Challenges::default();
        challenge(&mut challenges, 0, 1, "c");
        answer(&mut challenges, 2, "c");
        assert!(sweep(&mut challenges, 100).is_empty());
    }

    #[test]
    fn a_call_that_was_abandoned_is_told_once() {
        let mut challenges = Challenges::default();
        challenge(&mut challenges, 0, 1, "a");
        challenge(&mut challenges, 1, 1, "b");
        challenges.abandon(at(10), &signal(EventType::WrongCallState, 1, "-"));
        assert_eq!(sweep(&mut challenges, 100).len(), 1);
    }

    #[test]
    fn a_call_that_was_abandoned_before_the_challenge_is_another_and_each_is_one() {
        let mut challenges = Challenges::default();
        let abandoned = signal(EventType::WrongCallState, 1, "-");
        challenges.abandon(at(9), &abandoned);
        challenge(&mut challenges, 10, 1, "a");
        assert_eq!(sweep(&mut challenges, 100).len(), 1);
        let mut another = signal(EventType::WrongCallState, 1, "-");
        another.set(Field::Port, Some(b"5061"));
        challenges.abandon(at(101), &another);
        challenge(&mut challenges, 100, 1, "a");
        assert_eq!(sweep(&mut challenges, 200).len(), 1, "another port is another client");
        (101..=104).for_each(|second| challenges.abandon(at(second), &abandoned));
        (100..=102).for_each(|second| challenge(&mut challenges, second, 1, &format!("b{second}")));
        assert!(sweep(&mut challenges, 200).is_empty());
    }

    #[test]
    fn a_million_challenges_take_no_more_memory_and_phones_that_answer_are_never_overdue() {
        let mut challenges = Challenges::default();
        assert!(MOST * size_of::<Option<(u64, Pending)>>() < 4 << 20);
        for ip in 0..1_000_000 {
            challenge(&mut challenges, 0, ip, &format!("flood{ip}"));
            if ip % 1000 == 0 {
                let phone = format!("phone{ip}");
                challenge(&mut challenges, 0, ip, &phone);
                answer(&mut challenges, ip, &phone);
                answer(&mut challenges, ip, &format!("flood{ip}"));
            }
        }
        assert!(challenges.waiting() <= MOST && challenges.untracked > 900_000);
        for (_, ip) in sweep(&mut challenges, 1000) {
            let IpAddr::V4(ip) = ip else { panic!() };
            assert_ne!(u32::from(ip) % 1000, 0, "a phone that answered");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = "x".repeat(1000);
        let mut challenges = Challenges::default();
        let mut challenge = signal(EventType::Challenge, 1, &long);
        challenge.set(Field::Agent, Some(long.as_bytes()));
        challenges.insert(at(0), &challenge);
        let mut seen = 0;
        challenges.sweep(at(100), TIMEOUT, 100, |_, signal| {
            assert_eq!(signal.text_or_empty(Field::Agent).len(), 64);
            assert!(
                signal.is_cut(Field::Agent) && signal.is_cut(Field::CallId) && !signal.is_cut(Field::User)
            );
            assert_eq!(signal.text(Field::FromUser), None);
            seen += 1;
        });
        assert_eq!(seen, 1);
    }
}
