//! What lookups prove of a REGISTER or an INVITE, whose event is to come: the transport, as sofia-sip has verified it,
//! and the domain of the account. They also show how fast the directory answers.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::decision::Method;
use crate::event::field::Field;
use crate::event::signal::Signal;
use crate::memory::account::Account;
use crate::memory::lookup::{Client, Lookup, LookupOrder};
use crate::table::Table;
use crate::text::bounded_text::BoundedText;
use crate::time::Now;

/// The event of an attempt follows its lookup within this time, in microseconds.
const LASTS: i64 = 60_000_000;
/// A directory that takes eight seconds, and a thousand requests a second.
const MOST: usize = 8192;
/// A verdict that takes longer than this, in microseconds, shows a slow directory.
pub const SLOW: i64 = 500_000;
/// FreeSWITCH fires a failure right after its attempt, but several of its threads do so at once for INVITEs: their
/// attempts may all come before their failures. At most so many, and within this time, in microseconds.
const AT_ONCE: usize = 8;
const TOGETHER: i64 = 2_000_000;
/// For this long after the module was bound, an attempt may be of a lookup before that, in microseconds.
const UNDER_WAY: i64 = 2_000_000;

/// What a lookup proves.
#[derive(Clone, Debug)]
pub struct Proof {
    /// When it was.
    pub order: LookupOrder,
    /// For whom it counts.
    pub client: Option<Client>,
    /// The request.
    pub method: Option<Method>,
    /// The transport that the request came over.
    pub transport: Option<&'static [u8]>,
    /// The domain of the user.
    pub domain: BoundedText<64>,
}

struct Attempt {
    /// What the last lookup proves.
    proof: Proof,
    /// Lookups whose attempts have not been seen.
    lookups: u32,
    /// No attempt has been seen since the last lookup.
    is_awaited: bool,
}

/// An attempt that was refused, and whose failure is to follow.
#[derive(Clone, Debug)]
pub struct Refused {
    /// For whom it counts, if its lookup was seen.
    pub client: Option<Client>,
    /// The transport, if it is proven.
    pub transport: Option<&'static [u8]>,
    /// The account.
    pub account: Account,
    /// The request, if its lookup was seen.
    pub method: Option<Method>,
    /// No password was looked at, since the user names differ.
    pub is_unread: bool,
    /// The module had FreeSWITCH refuse it.
    pub is_ours: bool,
}

struct Failure {
    at: Now,
    refused: Refused,
}

/// Lookups whose events are to come.
pub struct Proofs {
    /// By call, address, port, user and realm: a sender may have several requests of one call under way, and some are
    /// refused before anything is looked up.
    attempts: Table<Attempt>,
    /// By address, port and user: of attempts that were refused, since a failure does not show the call. The first of
    /// these is taken first.
    failures: Table<Failure>,
    hasher: RandomState,
    bound_at: Option<Now>,
    /// When a lookup was last pushed out before its attempt was seen, in microseconds of the monotonic clock.
    lost_at: i64,
    /// When the directory was last seen to be slow, in microseconds of the monotonic clock.
    slow_at: i64,
    /// How long it took at most, of late, in microseconds.
    pub slow_for: i64,
    /// When that was last looked for.
    looked_at: i64,
    /// Attempts that must have been looked up, and whose lookup was seen.
    pub seen: u64,
    /// The same of those whose lookup was not seen.
    pub hidden: u64,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs {
            attempts: Table::new(MOST),
            failures: Table::new(MOST),
            hasher: RandomState::new(),
            bound_at: None,
            lost_at: i64::MIN / 2,
            slow_at: i64::MIN / 2,
            slow_for: 0,
            looked_at: i64::MIN,
            seen: 0,
            hidden: 0,
        }
    }
}

impl Proofs {
    /// A REGISTER or an INVITE was looked up.
    pub fn looked_up(&mut self, order: LookupOrder, lookup: &Lookup<'_>) {
        let key = (lookup.call_id, lookup.ip, lookup.port, lookup.user, lookup.realm);
        let key = self.hasher.hash_one(key);
        let proof = Proof {
            order,
            client: lookup.client,
            method: Method::of(lookup.method),
            transport: lookup.transport,
            domain: BoundedText::new(lookup.domain),
        };
        let found = self.attempts.find(key, |_| true).and_then(|slot| self.attempts.get_mut(slot));
        if let Some(attempt) = found {
            *attempt = Attempt { proof, lookups: attempt.lookups.saturating_add(1), is_awaited: true };
        } else {
            if self.attempts.len() == MOST {
                self.lost_at = order.at.monotonic;
            }
            self.attempts.insert_evicting(key, Attempt { proof, lookups: 1, is_awaited: true });
        }
    }

    /// An attempt came; returns what its lookup proves, if that was seen.
    pub fn attempted(&mut self, now: Now, attempt: &Signal<'_>) -> Option<Proof> {
        let (call_id, port) = (attempt.text_or_empty(Field::CallId), attempt.text(Field::Port));
        let (user, realm) = (attempt.text_or_empty(Field::AuthUser), attempt.text_or_empty(Field::Realm));
        let key = (call_id, attempt.ip, port, user, realm);
        // Nothing is looked up for in vain where lookups are not seen.
        let found = if self.attempts.is_empty() {
            None
        } else {
            self.attempts.find(self.hasher.hash_one(key), |_| true)
        };
        let proof = found.and_then(|slot| {
            let there = self.attempts.get_mut(slot)?;
            (there.lookups, there.is_awaited) = (there.lookups - 1, false);
            let proof = there.proof.clone();
            if there.lookups == 0 {
                self.attempts.remove(slot);
            }
            Some(proof)
        });
        let proof = proof.filter(|proof| now.monotonic - proof.order.at.monotonic < LASTS);
        if let Some(proof) = &proof {
            self.seen += 1;
            self.answered_after(now, proof.order);
        } else if attempt.text(Field::AuthUser).is_some_and(|user| user != b"unknown")
            && self.bound_at.is_some_and(|at| now.monotonic - at.monotonic >= UNDER_WAY)
            && now.monotonic - self.lost_at >= LASTS
        {
            // Names that do not match are refused before anything is looked up, and then the user is "unknown".
            self.hidden += 1;
        }
        proof
    }

    /// The module sees lookups from now on. Binding has waited for those in progress, but their events are still to come.
    pub fn bound(&mut self, now: Now) {
        self.bound_at.get_or_insert(now);
    }

    /// The failure of this attempt is to follow.
    pub fn expect_failure(&mut self, now: Now, attempt: &Signal<'_>, refused: Refused) {
        // In an attempt FreeSWITCH has From and To the other way round than in a failure.
        let key = self.failure_key(attempt, Field::FromUser);
        // What is left of one whose failure never came must not be taken for this one's.
        loop {
            let (mut count, mut first) = (0, None);
            self.failures.find_all(key, |slot, there| {
                count += 1;
                first.get_or_insert((slot, there.at));
            });
            let Some((slot, at)) = first else { break };
            let is_stale = now.monotonic - at.monotonic >= TOGETHER;
            if is_stale || count >= AT_ONCE {
                self.failures.remove(slot);
            }
            if !is_stale {
                break;
            }
        }
        self.failures.insert_evicting(key, Failure { at: now, refused });
    }

    /// The attempt of a failure.
    pub fn refused(&mut self, now: Now, failure: &Signal<'_>) -> Option<Refused> {
        let found = self.take_failure(self.failure_key(failure, Field::ToUser))?;
        (now.monotonic - found.at.monotonic < LASTS).then_some(found.refused)
    }

    fn take_failure(&mut self, key: u64) -> Option<Failure> {
        let slot = self.failures.find(key, |_| true)?;
        self.failures.remove(slot)
    }

    fn failure_key(&self, signal: &Signal<'_>, user: Field) -> u64 {
        self.hasher.hash_one((signal.ip, signal.text(Field::Port), signal.text(user)))
    }

    /// FreeSWITCH has a verdict on what was looked up then.
    pub fn answered_after(&mut self, now: Now, order: LookupOrder) {
        let took = now.monotonic - order.at.monotonic;
        if took > SLOW {
            self.is_slow(now, took);
        }
    }

    fn is_slow(&mut self, now: Now, took: i64) {
        if now.monotonic - self.slow_at >= LASTS {
            self.slow_for = 0;
        }
        self.slow_at = now.monotonic;
        self.slow_for = self.slow_for.max(took);
    }

    /// When the directory was last slow, in microseconds of the monotonic clock: now, if a lookup has been without a
    /// verdict for longer than usual.
    pub fn slow_at(&mut self, now: Now) -> i64 {
        if std::mem::replace(&mut self.looked_at, now.monotonic) == now.monotonic {
            return self.slow_at;
        }
        let ages = self.attempts.iter().filter(|attempt| attempt.is_awaited);
        let ages = ages.map(|attempt| now.monotonic - attempt.proof.order.at.monotonic);
        if let Some(age) = ages.filter(|age| (SLOW..LASTS).contains(age)).max() {
            self.is_slow(now, age);
        }
        self.slow_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::event_type::EventType;

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    fn look_up(proofs: &mut Proofs, seconds: i64, call_id: &str) {
        let lookup = Lookup { call_id: call_id.as_bytes(), ..Lookup::default() };
        proofs.looked_up(LookupOrder { number: 0, at: at(seconds) }, &lookup);
    }

    fn attempt(call_id: &str) -> Signal<'_> {
        let mut signal = Signal::new(EventType::RegisterAttempt, [10, 0, 0, 1].into(), b"");
        signal.set(Field::CallId, Some(call_id.as_bytes()));
        signal.set(Field::Port, Some(b"5060"));
        signal.set(Field::FromUser, Some(b"1001"));
        signal.set(Field::AuthUser, Some(b"1001"));
        signal.set(Field::Realm, Some(b"x"));
        signal
    }

    fn refused(transport: Option<&'static [u8]>) -> Refused {
        let account = Account::new(b"1001@y");
        Refused { client: None, transport, account, method: None, is_unread: false, is_ours: false }
    }

    fn failure() -> Signal<'static> {
        let mut signal = Signal::new(EventType::RegisterFailure, [10, 0, 0, 1].into(), b"1001");
        signal.set(Field::Port, Some(b"5060"));
        signal.set(Field::ToUser, Some(b"1001"));
        signal
    }

    #[test]
    fn the_transport_of_an_attempt_is_that_of_its_lookup_and_its_failures_too() {
        let mut proofs = Proofs::default();
        proofs.bound(at(-10));
        look_up(&mut proofs, 0, "a");
        let proof = proofs.attempted(at(0), &attempt("a")).unwrap();
        assert_eq!((proof.transport, proof.domain.bytes()), (Some(&b"tcp"[..]), &b"y"[..]));
        proofs.expect_failure(at(0), &attempt("a"), refused(proof.transport));
        assert_eq!(proofs.refused(at(1), &failure()).unwrap().transport, Some(&b"tcp"[..]));
        assert!(proofs.refused(at(1), &failure()).is_none());
        assert!(proofs.attempted(at(0), &attempt("a")).is_none());
        assert_eq!((proofs.seen, proofs.hidden), (1, 1));
        look_up(&mut proofs, 0, "late");
        assert!(proofs.attempted(at(60), &attempt("late")).is_none());
    }

    #[test]
    fn an_attempt_without_a_lookup_takes_the_place_of_one_with() {
        let mut proofs = Proofs::default();
        proofs.expect_failure(at(0), &attempt("a"), refused(Some(b"tcp")));
        proofs.expect_failure(at(2), &attempt("b"), refused(None));
        assert_eq!(proofs.refused(at(3), &failure()).unwrap().transport, None);
        assert!(proofs.refused(at(3), &failure()).is_none());
    }

    #[test]
    fn attempts_that_come_at_once_have_a_failure_each() {
        let mut proofs = Proofs::default();
        for (call_id, transport) in [("a", None), ("b", Some(&b"tcp"[..])), ("c", None)] {
            proofs.expect_failure(at(0), &attempt(call_id), refused(transport));
        }
        let transports =
            [(); 3].map(|()| proofs.refused(at(0), &failure()).expect("it is its own").transport);
        assert_eq!(transports, [None, Some(&b"tcp"[..]), None]);
        assert!(proofs.refused(at(0), &failure()).is_none());
        // Where failures never come, not all of the table is theirs.
        (0..1000).for_each(|_| proofs.expect_failure(at(1), &attempt("d"), refused(None)));
        assert_eq!(proofs.failures.len(), AT_ONCE);
    }

    #[test]
    fn a_lookup_whose_event_never_comes_puts_no_later_one_off() {
        let mut proofs = Proofs::default();
        look_up(&mut proofs, 0, "constant");
        for second in 100..200 {
            look_up(&mut proofs, second, "constant");
            let proof = proofs.attempted(at(second), &attempt("constant")).expect("it was looked up");
            assert_eq!(proof.order.at, at(second));
        }
        assert_eq!((proofs.seen, proofs.hidden), (100, 0));
        assert_eq!(proofs.slow_at(at(210)), i64::MIN / 2, "nothing is awaited");
    }

    #[test]
    fn many_requests_of_one_call_are_all_seen() {
        let mut proofs = Proofs::default();
        proofs.bound(at(-10));
        (0..50).for_each(|_| look_up(&mut proofs, 0, "flood"));
        (0..50).for_each(|_| {
            proofs.attempted(at(1), &attempt("flood"));
        });
        assert_eq!((proofs.seen, proofs.hidden), (50, 0));
    }

    #[test]
    fn an_attempt_that_was_under_way_at_the_load_hides_nothing() {
        let mut proofs = Proofs::default();
        proofs.bound(at(10));
        assert!(proofs.attempted(at(11), &attempt("before")).is_none());
        assert_eq!(proofs.hidden, 0);
        assert!(proofs.attempted(at(12), &attempt("after")).is_none());
        assert_eq!(proofs.hidden, 1);
    }

    #[test]
    fn names_that_do_not_match_hide_no_lookup() {
        let mut proofs = Proofs::default();
        proofs.bound(at(-10));
        let mut mismatch = attempt("a");
        mismatch.set(Field::AuthUser, Some(b"unknown"));
        assert!(proofs.attempted(at(0), &mismatch).is_none());
        assert_eq!(proofs.hidden, 0);
    }

    #[test]
    fn a_request_that_nothing_was_looked_up_for_takes_no_proof_of_another_of_its_call() {
        let mut proofs = Proofs::default();
        look_up(&mut proofs, 0, "a");
        let mut mismatch = attempt("a");
        mismatch.set(Field::AuthUser, Some(b"unknown"));
        assert!(proofs.attempted(at(0), &mismatch).is_none());
        let mut another = attempt("a");
        another.set(Field::Realm, Some(b"z"));
        assert!(proofs.attempted(at(0), &another).is_none());
        assert!(proofs.attempted(at(0), &attempt("a")).is_some());
    }

    #[test]
    fn a_directory_is_slow_while_a_verdict_is_out_and_when_one_came_late() {
        let mut proofs = Proofs::default();
        look_up(&mut proofs, 10, "a");
        assert!(proofs.slow_at(at(10)) < 0);
        assert_eq!(proofs.slow_at(at(12)), 12_000_000);
        let _ = proofs.attempted(at(17), &attempt("a"));
        assert_eq!(proofs.slow_at(at(30)), 17_000_000);
        look_up(&mut proofs, 40, "never");
        assert_eq!(proofs.slow_at(at(200)), 17_000_000, "its event will not come any more");
    }
}
