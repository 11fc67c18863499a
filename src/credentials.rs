//! Credentials that FreeSWITCH has looked up in its directory, and what became of them.
//!
//! Each set of credentials with a valid nonce is looked up, whatever request it came with. For REGISTER and
//! INVITE an event tells what FreeSWITCH made of it; the look-up adds the transport, as sofia-sip has verified
//! it. For SUBSCRIBE and MESSAGE nothing tells a failure, but success shows: what no success follows within
//! [`CONFIRM_WITHIN`] is `auth_unconfirmed`.
//!
//! Success does not show for every request: not for the event packages `call-info` and `line-seize`, for a
//! package with parameters (`dialog;sla`), for the end of a message-summary subscription, nor for a MESSAGE that
//! only tells that somebody is typing. So whom FreeSWITCH has accepted for an account at an address is not
//! accused for that account there for a while: whoever has the password need not guess it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::challenges::keep;
use crate::event_type::EventType;
use crate::kept::Kept;
use crate::signal::{Field, Signal, Verdict, transport};
use crate::table::{Sweep, Table};
use crate::timestamp::Now;

/// Success shows within this time, in microseconds; seen in FreeSWITCH 1.10.12 and 1.11.2: within milliseconds.
pub const CONFIRM_WITHIN: i64 = 5_000_000;
/// The event of an attempt follows its look-up at once; a transport that is older is not the attempt's.
const TRANSPORT_LASTS: i64 = 60_000_000;
/// Most credentials that wait for a success.
pub const MOST: usize = 4096;
const MOST_TRANSPORTS: usize = 1024;
/// For so long an accepted account is not accused at its address, in microseconds: phones register once an hour,
/// if not more often.
const ACCEPTED_LASTS: i64 = 7_200_000_000;
const MOST_ACCEPTED: usize = 32_768;

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
    /// The realm, which the sender chooses.
    pub realm: &'a [u8],
    /// The domain in which FreeSWITCH looks for the user.
    pub domain: &'a [u8],
    /// The profile.
    pub profile: &'a [u8],
    /// The user agent.
    pub agent: &'a [u8],
}

struct Waiting {
    place: Place,
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

/// What the look-up proves of a request whose event is to come.
pub struct Proven {
    place: Place,
    /// The transport that it came over.
    pub transport: Option<&'static [u8]>,
    /// The domain of the user.
    pub domain: Kept<64>,
}

/// Where in the order of look-ups something came, and when. The order tells a guess from what follows the right
/// one; the clock ticks too slowly for that.
#[derive(Clone, Copy)]
struct Place {
    number: u64,
    at: Now,
}

/// FreeSWITCH has accepted an account at an address: since which look-up, and when last, in microseconds of the
/// monotonic clock.
struct Accepted {
    first: u64,
    last: i64,
}

/// What is remembered of look-ups.
pub struct Credentials {
    waiting: Table<Waiting>,
    /// By call, address and port.
    of_attempts: Table<Proven>,
    /// By address, port and user.
    of_failures: Table<Proven>,
    /// By address and user, and by address alone.
    accepted: Table<Accepted>,
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
            accepted: Table::new(MOST_ACCEPTED),
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
        let place = self.now(now);
        match look_up.method {
            b"REGISTER" | b"INVITE" => {
                let hash = self.hasher.hash_one((look_up.call_id, look_up.ip, look_up.port));
                self.of_attempts.insert_over_oldest(
                    hash,
                    Proven { place, transport: look_up.transport, domain: Kept::new(look_up.domain) },
                );
                true
            }
            method => {
                // Only of these is it known how success shows.
                let hash = match method {
                    b"SUBSCRIBE" => self.hasher.hash_one(look_up.call_id),
                    b"MESSAGE" => self.hasher.hash_one((look_up.ip, look_up.port)),
                    _ => return false,
                };
                if trusted || self.was_accepted(place, look_up.ip, look_up.user) {
                    return false;
                }
                let waiting = Waiting {
                    place,
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

    /// A SUBSCRIBE of this call was accepted by a profile (another may ask for no credentials); gives its address.
    pub fn confirm_call(&mut self, call_id: &[u8], profile: Option<&[u8]>) -> Option<IpAddr> {
        self.confirm(self.hasher.hash_one(call_id), profile)
    }

    /// A MESSAGE from this address and port was accepted by a profile.
    pub fn confirm_message(&mut self, now: Now, ip: IpAddr, port: Option<&[u8]>, profile: Option<&[u8]>) {
        self.accept_address(self.now(now), ip);
        self.confirm(self.hasher.hash_one((ip, port)), profile);
    }

    /// One success confirms one set of credentials: the last, since guesses may have gone before it.
    fn confirm(&mut self, hash: u64, profile: Option<&[u8]>) -> Option<IpAddr> {
        let profile = profile.map(Kept::new);
        let mut last = None;
        self.waiting.find_all(hash, |place, there| {
            if profile.is_none_or(|profile| there.profile == profile) {
                last = Some(place);
            }
        });
        let there = last.and_then(|place| self.waiting.remove(place))?;
        if !there.user.is_cut() {
            self.accept(there.place, there.ip, there.user.bytes());
        }
        Some(there.ip)
    }

    /// FreeSWITCH has accepted this account's credentials from this address.
    fn accept(&mut self, place: Place, ip: IpAddr, user: &[u8]) {
        self.remember_accepted(place, self.hasher.hash_one((ip, user)));
        self.accept_address(place, ip);
    }

    fn accept_address(&mut self, place: Place, ip: IpAddr) {
        self.remember_accepted(place, self.hasher.hash_one(ip));
    }

    fn remember_accepted(&mut self, Place { number, at }: Place, hash: u64) {
        let at = at.monotonic;
        let place = self.accepted.find(hash, |_| true);
        if let Some(there) = place.and_then(|place| self.accepted.get_mut(place)) {
            if at - there.last >= ACCEPTED_LASTS {
                there.first = number;
            }
            there.last = there.last.max(at);
        } else {
            self.accepted.insert_over_oldest(hash, Accepted { first: number, last: at });
        }
    }

    /// Whether a challenge of this address may have been answered unseen: some look-ups are hidden, and
    /// FreeSWITCH has accepted credentials from there lately.
    pub fn may_have_answered(&self, now: Now, ip: IpAddr) -> bool {
        self.attempts_hidden > 0 && self.accepted.holds(self.now(now), self.hasher.hash_one(ip))
    }

    /// Behind all look-ups that were seen.
    fn now(&self, now: Now) -> Place {
        Place { number: self.looked_up, at: now }
    }

    /// Whether FreeSWITCH had accepted an account at an address before this, and not long before.
    fn was_accepted(&self, place: Place, ip: IpAddr, user: &[u8]) -> bool {
        self.accepted.holds(place, self.hasher.hash_one((ip, user)))
    }

    /// An attempt came; gives what its look-up proves, if that was seen. One that FreeSWITCH has
    /// accepted is remembered from the time of its look-up on: the event comes later.
    pub fn attempted(&mut self, now: Now, attempt: &Signal<'_>) -> Option<Proven> {
        let key = (attempt.text_or_empty(Field::CallId), attempt.ip, attempt.text(Field::Port));
        let found = take(&mut self.of_attempts, now, self.hasher.hash_one(key));
        // Names that do not match are refused before anything is looked up, and then the user is "unknown".
        if found.is_some() {
            self.attempts_seen += 1;
        } else if attempt.text(Field::AuthUser).is_some_and(|user| user != b"unknown") {
            self.attempts_hidden += 1;
        }
        if let (Verdict::Accepted, Some(user)) = (attempt.verdict(), attempt.text(Field::AuthUser)) {
            let place = found.as_ref().map_or(self.now(now), |proven| proven.place);
            self.accept(place, attempt.ip, user);
        }
        found
    }

    /// The failure of this attempt is to follow, and does not tell the call.
    pub fn expect_failure(&mut self, now: Now, attempt: &Signal<'_>, transport: Option<&'static [u8]>) {
        // In an attempt FreeSWITCH has From and To the other way round than in a failure.
        let hash = self.failure_key(attempt, Field::FromUser);
        // The last word counts: an attempt without a look-up takes the place of one with.
        take(&mut self.of_failures, now, hash);
        self.of_failures
            .insert_over_oldest(hash, Proven { place: self.now(now), transport, domain: Kept::new(b"") });
    }

    /// The transport over which the credentials came that have failed.
    pub fn transport_of_failure(&mut self, now: Now, failure: &Signal<'_>) -> Option<&'static [u8]> {
        let hash = self.failure_key(failure, Field::ToUser);
        take(&mut self.of_failures, now, hash)?.transport
    }

    fn failure_key(&self, signal: &Signal<'_>, user: Field) -> u64 {
        self.hasher.hash_one((signal.ip, signal.text(Field::Port), signal.text(user)))
    }

    /// Looks at some of those that wait and takes out those that no success has confirmed: gives each as a
    /// signal, and when it was.
    pub fn sweep(&mut self, now: Now, most: usize, mut overdue: impl FnMut(Now, &Signal<'_>)) -> Sweep {
        let Credentials { waiting, accepted, hasher, .. } = self;
        waiting.sweep(most, |_, there| {
            let is_over = now.monotonic - there.place.at.monotonic >= CONFIRM_WITHIN;
            // The event that told of an acceptance before it may have come after it.
            let account = hasher.hash_one((there.ip, there.user.bytes()));
            if is_over && !accepted.holds(there.place, account) {
                overdue(there.place.at, &there.signal());
            }
            is_over
        })
    }

    /// How many wait for a success.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Table<Accepted> {
    /// Whether what has this hash was accepted by then, and not long before.
    fn holds(&self, by: Place, hash: u64) -> bool {
        let found = self.find(hash, |_| true).and_then(|place| self.get(place));
        found.is_some_and(|there| there.first <= by.number && by.at.monotonic - there.last < ACCEPTED_LASTS)
    }
}

fn take(table: &mut Table<Proven>, now: Now, hash: u64) -> Option<Proven> {
    let place = table.find(hash, |_| true)?;
    table.remove(place).filter(|proven| now.monotonic - proven.place.at.monotonic < TRANSPORT_LASTS)
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
        if text(Field::Action) != Some(b"sip_auth") {
            return None;
        }
        Some(LookUp {
            ip,
            port: text(Field::Port).filter(|port| crate::address::is_port(port)),
            method: text(Field::Method)?,
            call_id: text(Field::CallId)?,
            transport: text(Field::Transport).and_then(transport),
            user: text(Field::AuthUser).unwrap_or_default(),
            realm: text(Field::Realm).unwrap_or_default(),
            domain: text(Field::Domain).unwrap_or_default(),
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
            domain: b"y",
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
        credentials.insert(at(0), &look_up("SUBSCRIBE", "bad"), false);
        credentials.insert(at(0), &look_up("MESSAGE", "-"), false);
        credentials.insert(at(0), &LookUp { port: Some(b"5061"), ..look_up("MESSAGE", "-") }, false);
        credentials.insert(at(1), &look_up("SUBSCRIBE", "good"), false);
        credentials.insert(at(0), &look_up("PUBLISH", "nobody knows"), false);
        credentials.confirm_call(b"good", None);
        assert_eq!(unconfirmed(&mut credentials, 4), 0);
        credentials.confirm_message(at(4), [10, 0, 0, 1].into(), Some(b"5060"), Some(b"internal"));
        assert_eq!(unconfirmed(&mut credentials, 5), 2);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut credentials = Credentials::default();
        for number in 0..3 * MOST {
            credentials.insert(at(0), &look_up("SUBSCRIBE", &number.to_string()), false);
        }
        assert!(credentials.waiting() > MOST / 2);
        assert_eq!(credentials.waiting() as u64 + credentials.untracked, 3 * MOST as u64);
    }

    #[test]
    fn a_success_is_of_the_last_credentials_wherever_they_are_kept() {
        let mut credentials = Credentials::default();
        for second in 0..2 {
            credentials.insert(at(second), &look_up("SUBSCRIBE", "c"), false);
        }
        assert_eq!(unconfirmed(&mut credentials, 5), 1);
        // Where the first one was.
        credentials.insert(at(5), &look_up("SUBSCRIBE", "c"), false);
        credentials.confirm_call(b"c", None);
        assert_eq!(unconfirmed(&mut credentials, 6), 1);
        assert_eq!(unconfirmed(&mut credentials, 100), 0);
    }

    #[test]
    fn another_profile_confirms_nothing() {
        let mut credentials = Credentials::default();
        credentials.insert(at(0), &look_up("SUBSCRIBE", "c"), false);
        assert_eq!(credentials.confirm_call(b"c", Some(b"open")), None);
        credentials.confirm_message(at(0), [10, 0, 0, 1].into(), Some(b"5060"), Some(b"open"));
        assert_eq!(unconfirmed(&mut credentials, 5), 1);
        credentials.insert(at(5), &look_up("SUBSCRIBE", "c"), false);
        assert_eq!(credentials.confirm_call(b"c", Some(b"internal")), Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn the_right_guess_does_not_hide_the_wrong_ones() {
        let mut credentials = Credentials::default();
        for _ in 0..30 {
            credentials.insert(at(0), &look_up("SUBSCRIBE", "c"), false);
        }
        credentials.insert(at(1), &look_up("SUBSCRIBE", "c"), false);
        credentials.confirm_call(b"c", None);
        assert_eq!(unconfirmed(&mut credentials, 5), 30);
        assert_eq!(unconfirmed(&mut credentials, 6), 0);
    }

    #[test]
    fn who_was_accepted_is_not_accused_of_what_shows_no_success() {
        let mut credentials = Credentials::default();
        // As a phone does: it subscribes to its messages, and ends that when it is switched off.
        credentials.insert(at(0), &look_up("SUBSCRIBE", "messages"), false);
        credentials.confirm_call(b"messages", None);
        credentials.insert(at(60), &look_up("SUBSCRIBE", "messages"), false);
        credentials.insert(at(60), &look_up("MESSAGE", "typing"), false);
        assert_eq!(unconfirmed(&mut credentials, 100), 0);
        // Another account there, the account elsewhere, or long after.
        credentials.insert(at(100), &LookUp { user: b"1002", ..look_up("SUBSCRIBE", "guess") }, false);
        assert_eq!(credentials.waiting(), 1);
        credentials.insert(
            at(100),
            &LookUp { ip: [10, 0, 0, 2].into(), ..look_up("SUBSCRIBE", "guess") },
            false,
        );
        assert_eq!(credentials.waiting(), 2);
        credentials.insert(at(7200), &look_up("SUBSCRIBE", "late"), false);
        assert_eq!(credentials.waiting(), 3);
        // A registration shows it as well, and lets it begin anew.
        credentials.accept(credentials.now(at(7200)), [10, 0, 0, 1].into(), b"1001");
        credentials.insert(at(7300), &look_up("SUBSCRIBE", "keys"), false);
        assert_eq!(credentials.waiting(), 3);
    }

    #[test]
    fn what_came_after_an_acceptance_is_not_accused_even_if_the_event_comes_last() {
        let mut credentials = Credentials::default();
        let mut login = attempt("login");
        login.set(Field::Result, Some(b"SUCCESS"));
        credentials.insert(at(0), &look_up("SUBSCRIBE", "guess"), false);
        credentials.insert(at(1), &look_up("REGISTER", "login"), false);
        credentials.insert(at(2), &look_up("SUBSCRIBE", "line"), false);
        credentials.attempted(at(3), &login);
        credentials.insert(at(4), &look_up("SUBSCRIBE", "line"), false);
        assert_eq!(unconfirmed(&mut credentials, 10), 1, "only what came before it");
        assert_eq!(credentials.waiting(), 0);
    }

    #[test]
    fn a_second_login_takes_nothing_back_of_what_the_first_has_shown() {
        let mut credentials = Credentials::default();
        for (second, call_id) in [(8000, "first"), (8002, "second")] {
            let mut login = attempt(call_id);
            login.set(Field::Result, Some(b"SUCCESS"));
            credentials.insert(at(second), &look_up("REGISTER", call_id), false);
            if call_id == "first" {
                // Before the event tells of the login.
                credentials.insert(at(8001), &look_up("SUBSCRIBE", "line"), false);
            }
            credentials.attempted(at(second + 1), &login);
        }
        assert_eq!(unconfirmed(&mut credentials, 8010), 0);
    }

    #[test]
    fn a_challenge_may_have_been_answered_unseen_only_where_look_ups_are_hidden() {
        let mut credentials = Credentials::default();
        let ip = IpAddr::from([10, 0, 0, 1]);
        credentials.accept(credentials.now(at(0)), ip, b"1001");
        assert!(!credentials.may_have_answered(at(1), ip), "all look-ups are seen");
        credentials.attempted(at(1), &attempt("hidden"));
        assert!(credentials.may_have_answered(at(1), ip));
        assert!(!credentials.may_have_answered(at(1), [10, 0, 0, 2].into()));
        assert!(!credentials.may_have_answered(at(7200), ip), "too long ago");
        credentials.confirm_message(at(7200), ip, None, None);
        assert!(credentials.may_have_answered(at(7200), ip));
    }

    #[test]
    fn a_transport_is_told_once_and_for_the_call_that_it_was_seen_of() {
        let mut credentials = Credentials::default();
        credentials.insert(at(0), &look_up("REGISTER", "a"), false);
        assert!(credentials.attempted(at(0), &attempt("b")).is_none());
        let proven = credentials.attempted(at(0), &attempt("a")).unwrap();
        assert_eq!((proven.transport, proven.domain.bytes()), (Some(&b"tcp"[..]), &b"y"[..]));
        assert!(credentials.attempted(at(0), &attempt("a")).is_none());
        assert_eq!((credentials.attempts_seen, credentials.attempts_hidden), (1, 2));
    }

    #[test]
    fn a_failure_has_the_transport_of_its_attempt_and_no_other() {
        let mut credentials = Credentials::default();
        credentials.expect_failure(at(1000), &attempt("a"), Some(b"tcp"));
        assert_eq!(credentials.transport_of_failure(at(1000), &failure()), Some(&b"tcp"[..]));
        assert_eq!(credentials.transport_of_failure(at(1000), &failure()), None);
        // A forged attempt without a look-up, in the name of someone on TCP, proves nothing.
        credentials.expect_failure(at(1000), &attempt("a"), Some(b"tcp"));
        credentials.expect_failure(at(1000), &attempt("forged"), None);
        assert_eq!(credentials.transport_of_failure(at(1000), &failure()), None);
        credentials.expect_failure(at(1000), &attempt("a"), Some(b"tcp"));
        let mut another = failure();
        another.set(Field::ToUser, Some(b"1002"));
        assert_eq!(credentials.transport_of_failure(at(1000), &another), None);
        assert_eq!(credentials.transport_of_failure(at(1060), &failure()), None, "too long ago");
    }

    #[test]
    fn a_look_up_is_read_where_it_is_for_credentials_and_tells_all_that_it_must() {
        let mut texts = [None; Field::COUNT];
        for (field, text) in [
            (Field::Action, "sip_auth"),
            (Field::Ip, "10.0.0.1"),
            (Field::Method, "SUBSCRIBE"),
            (Field::CallId, "c"),
            (Field::Port, "5060"),
            (Field::Domain, "y"),
        ] {
            texts[field as usize] = Some(text.as_bytes());
        }
        let look_up = LookUp::from_texts(&texts).unwrap();
        assert_eq!(
            (look_up.call_id, look_up.port, look_up.domain),
            (&b"c"[..], Some(&b"5060"[..]), &b"y"[..])
        );
        for field in [Field::Action, Field::Ip, Field::Method, Field::CallId] {
            let mut less = texts;
            less[field as usize] = None;
            assert!(LookUp::from_texts(&less).is_none(), "{field:?}");
        }
        texts[Field::Action as usize] = Some(b"jsonrpc-authenticate");
        assert!(LookUp::from_texts(&texts).is_none());
    }
}
