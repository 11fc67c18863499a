//! Credentials that FreeSWITCH has looked up in its directory, and what became of them.
//!
//! Each set of credentials with a valid nonce is looked up, whatever request it came with. For REGISTER and
//! INVITE an event tells what FreeSWITCH made of it; the look-up adds the transport, as sofia-sip has verified
//! it. For SUBSCRIBE and MESSAGE nothing tells a failure, but success shows: what no success follows within
//! [`CONFIRM_WITHIN`] is `auth_unconfirmed`.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::challenges::keep;
use crate::event_type::EventType;
use crate::kept::Kept;
use crate::signal::{Field, Signal, transport};
use crate::table::{Sweep, Table};
use crate::timestamp::Now;

/// Success shows within this time, in microseconds; seen in FreeSWITCH 1.10.12 and 1.11.2: within milliseconds.
pub const CONFIRM_WITHIN: i64 = 5_000_000;
/// The event of an attempt follows its look-up at once; a transport that is older is not the attempt's.
const TRANSPORT_LASTS: i64 = 60_000_000;
/// Most credentials that wait for a success.
pub const MOST: usize = 4096;
const MOST_TRANSPORTS: usize = 1024;

/// Credentials, as a look-up tells them.
#[derive(Clone, Copy, Debug)]
pub struct LookUp<'a> {
    /// The address that sent them.
    pub ip: IpAddr,
    /// The port there, in digits.
    pub port: Option<&'a [u8]>,
    /// The request that they came with.
    pub method: &'a [u8],
    /// The call.
    pub call_id: &'a [u8],
    /// `udp`, `tcp`, …, where the look-up tells it.
    pub transport: Option<&'static [u8]>,
    /// The user.
    pub user: &'a [u8],
    /// The realm.
    pub realm: &'a [u8],
    /// The profile.
    pub profile: &'a [u8],
    /// The user agent.
    pub agent: &'a [u8],
}

struct Waiting {
    at: Now,
    ip: IpAddr,
    /// How the transport reads in a line.
    transport: Option<&'static [u8]>,
    method: Kept<16>,
    port: Kept<5>,
    call_id: Kept<96>,
    user: Kept<48>,
    realm: Kept<48>,
    profile: Kept<32>,
    agent: Kept<64>,
}

/// The transport of a request whose event is to come.
struct Proven {
    at: Now,
    hash: u64,
    transport: Option<&'static [u8]>,
}

/// What is remembered of look-ups.
pub struct Credentials {
    waiting: Table<Waiting>,
    /// By call, address and port.
    of_attempts: Table<Proven>,
    /// By address, port and user.
    of_failures: Table<Proven>,
    hasher: RandomState,
    /// Look-ups of credentials that were seen.
    pub looked_up: u64,
    /// Attempts that must have been looked up, and whose look-up was seen, or was not.
    pub attempts_seen: u64,
    /// See `attempts_seen`.
    pub attempts_hidden: u64,
    /// Credentials that found no room.
    pub untracked: u64,
}

impl Default for Credentials {
    fn default() -> Credentials {
        Credentials {
            waiting: Table::new(MOST),
            of_attempts: Table::new(MOST_TRANSPORTS),
            of_failures: Table::new(MOST_TRANSPORTS),
            hasher: RandomState::new(),
            looked_up: 0,
            attempts_seen: 0,
            attempts_hidden: 0,
            untracked: 0,
        }
    }
}

impl Credentials {
    /// Credentials were looked up; whether an event will tell what became of them. Of a trusted address only
    /// that event matters.
    pub fn insert(&mut self, now: Now, look_up: &LookUp<'_>, trusted: bool) -> bool {
        self.looked_up += 1;
        match look_up.method {
            b"REGISTER" | b"INVITE" => {
                let hash = self.hasher.hash_one((look_up.call_id, look_up.ip, look_up.port));
                self.of_attempts
                    .insert_over_oldest(hash, Proven { at: now, hash, transport: look_up.transport });
                true
            }
            method => {
                // Only of these is it known how success shows.
                let hash = match method {
                    b"SUBSCRIBE" => self.hasher.hash_one(look_up.call_id),
                    b"MESSAGE" => self.hasher.hash_one((look_up.ip, look_up.port)),
                    _ => return false,
                };
                if trusted {
                    return false;
                }
                let waiting = Waiting {
                    at: now,
                    ip: look_up.ip,
                    transport: look_up.transport,
                    method: Kept::new(method),
                    port: Kept::new(look_up.port.unwrap_or_default()),
                    call_id: Kept::new(look_up.call_id),
                    user: Kept::new(look_up.user),
                    realm: Kept::new(look_up.realm),
                    profile: Kept::new(look_up.profile),
                    agent: Kept::new(look_up.agent),
                };
                if self.waiting.insert(hash, waiting).is_none() {
                    self.untracked += 1;
                }
                false
            }
        }
    }

    /// A SUBSCRIBE of this call was accepted.
    pub fn confirm_call(&mut self, call_id: &[u8]) {
        self.confirm(self.hasher.hash_one(call_id), b"SUBSCRIBE");
    }

    /// A MESSAGE from this address and port was accepted.
    pub fn confirm_message(&mut self, ip: IpAddr, port: Option<&[u8]>) {
        self.confirm(self.hasher.hash_one((ip, port)), b"MESSAGE");
    }

    /// One success confirms one set of credentials: the last, since guesses may have gone before it.
    fn confirm(&mut self, hash: u64, method: &[u8]) {
        let mut last: Option<(i64, usize)> = None;
        self.waiting.find_all(hash, |place, there| {
            if there.method.bytes() == method && last.is_none_or(|(at, _)| at <= there.at.monotonic) {
                last = Some((there.at.monotonic, place));
            }
        });
        if let Some((_, place)) = last {
            self.waiting.remove(place);
        }
    }

    /// The transport over which this attempt came, if its look-up was seen.
    pub fn transport_of_attempt(&mut self, now: Now, attempt: &Signal<'_>) -> Option<&'static [u8]> {
        let key = (attempt.text_or_empty(Field::CallId), attempt.ip, attempt.text(Field::Port));
        let found = take(&mut self.of_attempts, now, self.hasher.hash_one(key));
        // Names that do not match are refused before anything is looked up, and then the user is "unknown".
        if found.is_some() {
            self.attempts_seen += 1;
        } else if attempt.text(Field::AuthUser).is_some_and(|user| user != b"unknown") {
            self.attempts_hidden += 1;
        }
        found.flatten()
    }

    /// The failure of this attempt is to follow, and does not tell the call.
    pub fn expect_failure(&mut self, now: Now, attempt: &Signal<'_>, transport: Option<&'static [u8]>) {
        // In an attempt FreeSWITCH has From and To the other way round than in a failure.
        let hash = self.failure_key(attempt, Field::FromUser);
        // The last word counts: an attempt without a look-up takes the place of one with.
        take(&mut self.of_failures, now, hash);
        self.of_failures.insert_over_oldest(hash, Proven { at: now, hash, transport });
    }

    /// The transport over which the credentials came that have failed.
    pub fn transport_of_failure(&mut self, now: Now, failure: &Signal<'_>) -> Option<&'static [u8]> {
        let hash = self.failure_key(failure, Field::ToUser);
        take(&mut self.of_failures, now, hash).flatten()
    }

    fn failure_key(&self, signal: &Signal<'_>, user: Field) -> u64 {
        self.hasher.hash_one((signal.ip, signal.text(Field::Port), signal.text(user)))
    }

    /// Looks at some of those that wait and takes out those that no success has confirmed: gives each as a
    /// signal, and when it was.
    pub fn sweep(&mut self, now: Now, most: usize, mut overdue: impl FnMut(Now, &Signal<'_>)) -> Sweep {
        self.waiting.sweep(most, |_, there| {
            let is_over = now.monotonic - there.at.monotonic >= CONFIRM_WITHIN;
            if is_over {
                overdue(there.at, &there.signal());
            }
            is_over
        })
    }

    /// How many wait for a success.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

fn take(table: &mut Table<Proven>, now: Now, hash: u64) -> Option<Option<&'static [u8]>> {
    let place = table.find(hash, |there| there.hash == hash)?;
    let proven = table.remove(place)?;
    (now.monotonic - proven.at.monotonic < TRANSPORT_LASTS).then_some(proven.transport)
}

impl Waiting {
    fn signal(&self) -> Signal<'_> {
        let mut signal = Signal::new(EventType::AuthUnconfirmed, self.ip, self.user.bytes());
        if self.user.is_cut() {
            signal.set_cut(Field::User);
        }
        signal.set(Field::Transport, self.transport);
        keep(&mut signal, Field::Port, &self.port);
        keep(&mut signal, Field::Method, &self.method);
        keep(&mut signal, Field::CallId, &self.call_id);
        keep(&mut signal, Field::AuthUser, &self.user);
        keep(&mut signal, Field::Realm, &self.realm);
        keep(&mut signal, Field::Profile, &self.profile);
        keep(&mut signal, Field::Agent, &self.agent);
        signal
    }
}

impl<'a> LookUp<'a> {
    /// Reads what sofia asks the directory: see `host::directory` for which parameter is which field.
    pub fn from_texts(texts: &crate::signal::Texts<'a>) -> Option<LookUp<'a>> {
        let text = |field: Field| texts[field as usize];
        let (ip, _) = crate::address::parse(text(Field::Ip)?)?;
        Some(LookUp {
            ip,
            port: text(Field::Port).filter(|port| crate::address::is_port(port)),
            method: text(Field::Method)?,
            call_id: text(Field::CallId)?,
            transport: text(Field::Transport).and_then(transport),
            user: text(Field::AuthUser).unwrap_or_default(),
            realm: text(Field::Realm).unwrap_or_default(),
            profile: text(Field::Profile).unwrap_or_default(),
            agent: text(Field::Agent).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    fn look_up<'a>(method: &'a str, call_id: &'a str) -> LookUp<'a> {
        LookUp {
            ip: [10, 0, 0, 1].into(),
            port: Some(b"5060"),
            method: method.as_bytes(),
            call_id: call_id.as_bytes(),
            transport: Some(b"tcp"),
            user: b"1001",
            realm: b"x",
            profile: b"internal",
            agent: b"",
        }
    }

    fn attempt(call_id: &str) -> Signal<'_> {
        let mut signal = Signal::new(EventType::RegisterAttempt, [10, 0, 0, 1].into(), b"");
        signal.set(Field::CallId, Some(call_id.as_bytes()));
        signal.set(Field::Port, Some(b"5060"));
        signal.set(Field::FromUser, Some(b"1001"));
        signal.set(Field::AuthUser, Some(b"1001"));
        signal
    }

    fn failure() -> Signal<'static> {
        let mut signal = Signal::new(EventType::RegisterFailure, [10, 0, 0, 1].into(), b"1001");
        signal.set(Field::Port, Some(b"5060"));
        signal.set(Field::ToUser, Some(b"1001"));
        signal
    }

    fn unconfirmed(credentials: &mut Credentials, seconds: i64) -> usize {
        let mut count = 0;
        while credentials.sweep(at(seconds), 100, |_, signal| {
            assert_eq!(signal.text_or_empty(Field::User), b"1001");
            count += 1;
        }) == Sweep::More
        {}
        count
    }

    #[test]
    fn what_no_success_follows_is_unconfirmed() {
        let mut credentials = Credentials::default();
        credentials.insert(at(0), &look_up("SUBSCRIBE", "good"), false);
        credentials.insert(at(0), &look_up("SUBSCRIBE", "bad"), false);
        credentials.insert(at(0), &look_up("MESSAGE", "-"), false);
        credentials.insert(at(0), &look_up("PUBLISH", "nobody knows"), false);
        credentials.confirm_call(b"good");
        assert_eq!(unconfirmed(&mut credentials, 4), 0);
        credentials.confirm_message([10, 0, 0, 1].into(), Some(b"5060"));
        assert_eq!(unconfirmed(&mut credentials, 5), 1);
    }

    #[test]
    fn the_right_guess_does_not_hide_the_wrong_ones() {
        let mut credentials = Credentials::default();
        for _ in 0..30 {
            credentials.insert(at(0), &look_up("SUBSCRIBE", "c"), false);
        }
        credentials.insert(at(1), &look_up("SUBSCRIBE", "c"), false);
        credentials.confirm_call(b"c");
        assert_eq!(unconfirmed(&mut credentials, 5), 30);
        assert_eq!(unconfirmed(&mut credentials, 6), 0);
    }

    #[test]
    fn a_transport_is_told_once_and_for_the_call_that_it_was_seen_of() {
        let mut credentials = Credentials::default();
        credentials.insert(at(0), &look_up("REGISTER", "a"), false);
        assert_eq!(credentials.transport_of_attempt(at(0), &attempt("b")), None);
        assert_eq!(credentials.transport_of_attempt(at(0), &attempt("a")), Some(&b"tcp"[..]));
        assert_eq!(credentials.transport_of_attempt(at(0), &attempt("a")), None);
        assert_eq!((credentials.attempts_seen, credentials.attempts_hidden), (1, 2));
    }

    #[test]
    fn a_failure_has_the_transport_of_its_attempt_and_no_other() {
        let mut credentials = Credentials::default();
        credentials.expect_failure(at(0), &attempt("a"), Some(b"tcp"));
        assert_eq!(credentials.transport_of_failure(at(0), &failure()), Some(&b"tcp"[..]));
        assert_eq!(credentials.transport_of_failure(at(0), &failure()), None);
        // A forged attempt without a look-up, in the name of someone on TCP, proves nothing.
        credentials.expect_failure(at(0), &attempt("a"), Some(b"tcp"));
        credentials.expect_failure(at(0), &attempt("forged"), None);
        assert_eq!(credentials.transport_of_failure(at(0), &failure()), None);
        credentials.expect_failure(at(0), &attempt("a"), Some(b"tcp"));
        assert_eq!(credentials.transport_of_failure(at(61), &failure()), None, "too long ago");
    }
}
