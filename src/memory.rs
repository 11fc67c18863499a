//! What is remembered of addresses, calls and accounts, and what follows from it: which address is known, over
//! which transport something came, and the event types that no event tells.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::challenges::Challenges;
use crate::credentials::{Credentials, LookUp};
use crate::event_type::EventType;
use crate::kept::Kept;
use crate::known::{Account, Known};
use crate::settings::Settings;
use crate::signal::{Field, Signal, Verdict};
use crate::stats::Distinct;
use crate::table::{Sweep, Table};
use crate::timestamp::Now;

/// So many failures within an hour, and then a login, are `success_after_failures`.
pub const FAILURES_BEFORE_SUCCESS: usize = 5;
const HOUR: i64 = 3600;
/// How many entries are looked at before others may have the lock.
const SWEEP_STEP: usize = 64;

/// What follows from an event, besides its own line.
pub trait Follow {
    /// A line of this signal, which happened at that time.
    fn line(&mut self, at: Now, signal: &Signal<'_>, known: Option<bool>);
    /// Something for FreeSWITCH's own log.
    fn announce(&mut self, announcement: Announcement);
}

/// What FreeSWITCH's own log is told, at most once an hour for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// An address that was not known has logged in after failures.
    SuccessAfterFailures {
        /// The address.
        ip: IpAddr,
        /// The account.
        account: Account,
        /// How many failures there were within the hour, at least.
        failures: usize,
    },
    /// A known address has many failures.
    KnownAddressFails {
        /// The address.
        ip: IpAddr,
        /// The account by which it is known.
        account: Account,
        /// How many failures there were within the hour.
        failures: u32,
        /// For how many users.
        users: Distinct,
    },
}

/// Failures of an address that is not known.
struct Failing {
    ip: IpAddr,
    /// When the last ones were, in seconds of the monotonic clock; a ring.
    times: [i64; FAILURES_BEFORE_SUCCESS],
    next: usize,
    told_at: Option<i64>,
}

/// All that is remembered. What the settings have no use for is not there.
pub struct Memory {
    /// Known addresses.
    pub known: Option<Known>,
    /// Challenges that wait for credentials.
    pub challenges: Option<Challenges>,
    /// Credentials that were looked up.
    pub credentials: Option<Credentials>,
    failing: Option<Table<Failing>>,
    hasher: RandomState,
}

impl Memory {
    /// Room for what the settings need. Made before it is used: it allocates.
    pub fn new(settings: &Settings) -> Memory {
        Memory {
            known: settings.knows().then(|| Known::new(settings.known_for)),
            challenges: settings.watches_challenges().then(Challenges::default),
            credentials: settings.watches_look_ups().then(Credentials::default),
            failing: settings.logs(EventType::SuccessAfterFailures).then(|| Table::new(crate::known::MOST)),
            hasher: RandomState::new(),
        }
    }

    /// Goes on in the room that was made for new settings, with all that both have use for; gives back what
    /// is to be freed.
    pub fn replace(&mut self, settings: &Settings, mut new: Memory) -> Memory {
        keep_if_both(&mut self.known, &mut new.known);
        keep_if_both(&mut self.challenges, &mut new.challenges);
        keep_if_both(&mut self.credentials, &mut new.credentials);
        keep_if_both(&mut self.failing, &mut new.failing);
        // Entries are found by the hashes of this.
        new.hasher = self.hasher.clone();
        if let Some(known) = &mut new.known {
            known.set_lifetime(settings.known_for);
        }
        std::mem::replace(self, new)
    }

    /// Whether an address is known; `None` where no address can be.
    pub fn is_known(&self, now: Now, ip: IpAddr) -> Option<bool> {
        self.known.as_ref().map(|known| known.contains(now, ip))
    }

    /// Takes note of a signal, and completes it; whether it is worth a line. A trusted address is not watched,
    /// but its credentials count.
    pub fn observe(
        &mut self,
        now: Now,
        signal: &mut Signal<'_>,
        trusted: bool,
        follow: &mut impl Follow,
    ) -> bool {
        match signal.event_type {
            EventType::Challenge if !trusted => {
                if let Some(challenges) = &mut self.challenges {
                    challenges.insert(now, signal);
                }
            }
            EventType::WrongCallState => {
                if let Some(challenges) = &mut self.challenges {
                    challenges.abandon(now, signal);
                }
            }
            EventType::RegisterAttempt => self.attempt(now, signal, follow),
            EventType::RegisterFailure => {
                if let Some(credentials) = &mut self.credentials {
                    let transport = credentials.transport_of_failure(now, signal);
                    signal.set(Field::Transport, transport);
                }
                self.failure(now, signal, follow);
            }
            EventType::VertoLoginFailure => {
                // Verto is WebSocket, so its address can't be forged.
                signal.set(Field::Transport, Some(b"tcp"));
                if signal.verdict() == Verdict::Accepted {
                    self.accepted(now, signal, account_of(signal, None), follow);
                    return false;
                }
                self.failure(now, signal, follow);
            }
            _ => {}
        }
        true
    }

    fn attempt(&mut self, now: Now, attempt: &mut Signal<'_>, follow: &mut impl Follow) {
        let verdict = attempt.verdict();
        let mut domain = None;
        if let Some(credentials) = &mut self.credentials
            && verdict != Verdict::Stale
        {
            let proven = credentials.attempted(now, attempt);
            let transport = proven.as_ref().and_then(|proven| proven.transport);
            domain = proven.map(|proven| proven.domain);
            attempt.set(Field::Transport, transport);
            if verdict == Verdict::Refused {
                credentials.expect_failure(now, attempt, transport);
            }
        }
        if let (Some(challenges), Some(call_id)) = (&mut self.challenges, attempt.text(Field::CallId)) {
            match verdict {
                Verdict::Accepted => {
                    challenges.answer_all(call_id, attempt.text(Field::Profile), Some(attempt.ip));
                }
                Verdict::Refused => challenges.answer(call_id, attempt.ip),
                // Made up, or too late: FreeSWITCH asks again, and that is to be answered.
                Verdict::Stale => {}
            }
        }
        if verdict == Verdict::Accepted {
            let account = account_of(attempt, domain.as_ref().map(Kept::bytes));
            self.accepted(now, attempt, account, follow);
        }
    }

    /// FreeSWITCH has accepted an address's credentials.
    fn accepted(&mut self, now: Now, login: &Signal<'_>, account: Account, follow: &mut impl Follow) {
        let known = self.is_known(now, login.ip);
        if known != Some(true)
            && let Some(failures) = self.take_failures(now, login.ip)
        {
            let mut success = login.clone();
            success.event_type = EventType::SuccessAfterFailures;
            success.set(Field::User, Some(login.account().0));
            follow.line(now, &success, known);
            let (user, realm) = login.account();
            let account = user_in(user, realm);
            follow.announce(Announcement::SuccessAfterFailures { ip: login.ip, account, failures });
        }
        if let Some(known) = &mut self.known {
            known.learn(now, now.seconds(), login.ip, &account);
        }
    }

    /// This switch itself has registered with a gateway at an address.
    pub fn gateway_registered(&mut self, now: Now, ip: IpAddr, gateway: &[u8]) {
        if let Some(known) = &mut self.known {
            known.learn(now, now.seconds(), ip, &joined(&[b"gateway ", gateway]));
        }
    }

    fn failure(&mut self, now: Now, failure: &Signal<'_>, follow: &mut impl Follow) {
        if let Some(known) = &mut self.known
            && known.contains(now, failure.ip)
        {
            if let Some(there) = known.count_failure(now, failure.ip, failure.text_or_empty(Field::User)) {
                follow.announce(Announcement::KnownAddressFails {
                    ip: there.ip,
                    account: there.account,
                    failures: there.failures,
                    users: there.users,
                });
            }
            return;
        }
        let Some(failing) = &mut self.failing else { return };
        let hash = self.hasher.hash_one(failure.ip);
        let place = failing.find(hash, |there| there.ip == failure.ip).unwrap_or_else(|| {
            let times = [i64::MIN / 2; FAILURES_BEFORE_SUCCESS];
            failing.insert_over_oldest(hash, Failing { ip: failure.ip, times, next: 0, told_at: None })
        });
        if let Some(there) = failing.get_mut(place) {
            there.times[there.next] = now.seconds();
            there.next = (there.next + 1) % FAILURES_BEFORE_SUCCESS;
        }
    }

    /// How many failures an address had, if that is to be told now.
    fn take_failures(&mut self, now: Now, ip: IpAddr) -> Option<usize> {
        let failing = self.failing.as_mut()?;
        let place = failing.find(self.hasher.hash_one(ip), |there| there.ip == ip)?;
        let there = failing.get_mut(place)?;
        let is_recent = |time: i64| now.seconds() - time < HOUR;
        let all_recent = there.times.iter().all(|time| is_recent(*time));
        if !all_recent || there.told_at.is_some_and(is_recent) {
            return None;
        }
        there.told_at = Some(now.seconds());
        Some(FAILURES_BEFORE_SUCCESS)
    }

    /// FreeSWITCH has looked credentials up.
    pub fn looked_up(&mut self, now: Now, look_up: &LookUp<'_>, trusted: bool) {
        let Some(credentials) = &mut self.credentials else { return };
        let has_verdict = credentials.insert(now, look_up, trusted);
        if let Some(challenges) = &mut self.challenges
            && !has_verdict
        {
            challenges.answer_at_once(now, look_up.call_id, look_up.ip);
        }
    }

    /// A profile has accepted a SUBSCRIBE of this call.
    pub fn confirmed_call(&mut self, call_id: &[u8], profile: Option<&[u8]>) {
        let credentials = self.credentials.as_mut();
        let ip = credentials.and_then(|credentials| credentials.confirm_call(call_id, profile));
        if let Some(challenges) = &mut self.challenges {
            challenges.answer_all(call_id, profile, ip);
        }
    }

    /// A profile has accepted a MESSAGE from this address and port.
    pub fn confirmed_message(&mut self, now: Now, ip: IpAddr, port: Option<&[u8]>, profile: Option<&[u8]>) {
        if let Some(credentials) = &mut self.credentials {
            credentials.confirm_message(now, ip, port, profile);
        }
    }

    /// Looks at a part of what waits for something; whether all has been looked at. What is overdue follows.
    pub fn sweep(&mut self, settings: &Settings, now: Now, what: SweepOf, follow: &mut impl Follow) -> Sweep {
        match what {
            SweepOf::Challenges => {
                let Memory { challenges: Some(challenges), known, credentials, .. } = self else {
                    return Sweep::Done;
                };
                let timeout = settings.challenge_timeout.as_micros() as i64;
                challenges.sweep(now, timeout, SWEEP_STEP, |at, signal| {
                    let is_known = known.as_ref().map(|known| known.contains(now, signal.ip));
                    // Only REGISTER and INVITE tell their answers by an event; look-ups tell the others'.
                    let is_unsure =
                        credentials.as_ref().is_some_and(|it| it.may_have_answered(now, signal.ip));
                    if is_known != Some(true) && !is_unsure {
                        follow.line(at, signal, is_known);
                    }
                })
            }
            SweepOf::Credentials => {
                // Taken out meanwhile, so that what is overdue can be counted as a failure.
                let Some(mut credentials) = self.credentials.take() else { return Sweep::Done };
                let sweep = credentials.sweep(now, SWEEP_STEP, |at, signal| {
                    let is_known = self.is_known(now, signal.ip);
                    self.failure(now, signal, follow);
                    if is_known != Some(true) {
                        follow.line(at, signal, is_known);
                    }
                });
                self.credentials = Some(credentials);
                sweep
            }
            SweepOf::Known => self.known.as_mut().map_or(Sweep::Done, |known| known.sweep(now, SWEEP_STEP)),
        }
    }

    /// Whether anything waits that [`Memory::sweep`] should look at soon.
    pub fn is_waiting(&self) -> bool {
        self.challenges.as_ref().is_some_and(|challenges| challenges.waiting() > 0)
            || self.credentials.as_ref().is_some_and(|credentials| credentials.waiting() > 0)
    }
}

/// Which table [`Memory::sweep`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "what they say")]
pub enum SweepOf {
    Challenges,
    Credentials,
    Known,
}

impl SweepOf {
    /// All of it.
    pub const ALL: [SweepOf; 3] = [SweepOf::Challenges, SweepOf::Credentials, SweepOf::Known];
}

fn keep_if_both<T>(old: &mut Option<T>, new: &mut Option<T>) {
    if old.is_some() && new.is_some() {
        std::mem::swap(old, new);
    }
}

/// `user@domain`, by the domain in which FreeSWITCH has found the user. Where the look-up was not seen only the realm
/// is left, which the sender chooses: FreeSWITCH accepts any, where `force-register-domain` says what counts. In a
/// Verto login what stands behind the `@` may be as free, so there the user's name counts alone.
fn account_of(login: &Signal<'_>, domain: Option<&[u8]>) -> Account {
    let (user, realm) = login.account();
    let domain = domain.filter(|domain| !domain.is_empty()).unwrap_or(realm);
    if login.event_type == EventType::VertoLoginFailure {
        joined(&[user.split(|&byte| byte == b'@').next().unwrap_or(user)])
    } else {
        user_in(user, domain)
    }
}

fn user_in(user: &[u8], domain: &[u8]) -> Account {
    if domain.is_empty() { joined(&[user]) } else { joined(&[user, b"@", domain]) }
}

/// The account of a registration that FreeSWITCH had when the module was loaded.
pub fn account_of_registration(user: &[u8], realm: &[u8]) -> Account {
    joined(&[user, b"@", realm])
}

/// Several texts in one, in fixed room. FreeSWITCH takes a user's name in any case, so that another spelling is no
/// other account.
fn joined(texts: &[&[u8]]) -> Account {
    let mut room = [0; 512];
    let mut len = 0;
    for text in texts {
        let part = &text[..text.len().min(room.len() - len)];
        room[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    room.make_ascii_lowercase();
    Account::new(&room[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    /// What followed.
    #[derive(Default)]
    struct Followed(Vec<(EventType, Option<bool>)>, Vec<Announcement>);

    impl Follow for Followed {
        fn line(&mut self, _: Now, signal: &Signal<'_>, known: Option<bool>) {
            self.0.push((signal.event_type, known));
        }

        fn announce(&mut self, announcement: Announcement) {
            self.1.push(announcement);
        }
    }

    /// One that watches for logins after failures.
    fn memory(known: bool) -> Memory {
        Memory {
            known: known.then(|| Known::new(std::time::Duration::from_secs(86_400))),
            challenges: None,
            credentials: None,
            failing: Some(Table::new(100)),
            hasher: RandomState::new(),
        }
    }

    fn fail(memory: &mut Memory, seconds: i64) {
        let mut failure = Signal::new(EventType::RegisterFailure, IP, b"1001");
        assert!(memory.observe(at(seconds), &mut failure, false, &mut Followed::default()));
    }

    /// Whether a login is told as one after failures.
    fn log_in(memory: &mut Memory, seconds: i64) -> bool {
        let mut login = Signal::new(EventType::RegisterAttempt, IP, b"1001");
        login.set(Field::Result, Some(b"SUCCESS"));
        login.set(Field::AuthUser, Some(b"1001"));
        let mut followed = Followed::default();
        memory.observe(at(seconds), &mut login, false, &mut followed);
        assert_eq!(followed.0.len(), followed.1.len());
        assert!(followed.0.iter().all(|(event_type, _)| *event_type == EventType::SuccessAfterFailures));
        !followed.0.is_empty()
    }

    #[test]
    fn a_login_is_told_after_five_failures_within_an_hour() {
        let mut memory = memory(false);
        (10..14).for_each(|second| fail(&mut memory, second));
        assert!(!log_in(&mut memory, 14), "four, and soon after the machine has started");
        fail(&mut memory, 20);
        assert!(!log_in(&mut memory, 10 + HOUR), "the first one is over");
        assert!(log_in(&mut memory, 9 + HOUR));
        // The sixth takes the place of the first.
        fail(&mut memory, 30);
        (0..5).for_each(|second| fail(&mut memory, 3 * HOUR + second));
        assert!(log_in(&mut memory, 3 * HOUR + 5));
    }

    #[test]
    fn a_login_after_failures_is_told_once_an_hour() {
        let mut memory = memory(false);
        (0..5).for_each(|second| fail(&mut memory, second));
        assert!(log_in(&mut memory, 10) && !log_in(&mut memory, 11));
        (0..5).for_each(|second| fail(&mut memory, HOUR + second));
        assert!(!log_in(&mut memory, HOUR + 9));
        assert!(log_in(&mut memory, HOUR + 10));
    }

    #[test]
    fn a_login_of_a_known_address_is_nothing_to_tell() {
        let mut memory = memory(true);
        assert!(!log_in(&mut memory, 0));
        (0..5).for_each(|second| fail(&mut memory, second));
        assert!(!log_in(&mut memory, 6));
        assert_eq!(memory.is_known(at(6), IP), Some(true));
        assert_eq!(memory.is_known(at(6), [10, 0, 0, 2].into()), Some(false));
    }

    #[test]
    fn a_good_verto_login_is_worth_no_line_but_is_known_and_a_bad_one_counts() {
        let mut memory = memory(true);
        let mut followed = Followed::default();
        let mut login = Signal::new(EventType::VertoLoginFailure, IP, b"1001@x");
        (0..5).for_each(|_| assert!(memory.observe(at(0), &mut login.clone(), false, &mut followed)));
        assert!(followed.0.is_empty());
        login.set(Field::Success, Some(b"1"));
        assert!(!memory.observe(at(1), &mut login, false, &mut followed));
        assert_eq!(followed.0, [(EventType::SuccessAfterFailures, Some(false))]);
        assert_eq!(memory.is_known(at(1), IP), Some(true));
    }

    #[test]
    fn the_realm_that_a_client_chooses_makes_no_other_account() {
        let login = |event_type, user: &'static [u8], realm: &'static [u8]| {
            let mut signal = Signal::new(event_type, IP, b"");
            signal.set(Field::AuthUser, Some(user));
            signal.set(Field::Realm, Some(realm));
            signal
        };
        let sip =
            |realm| account_of(&login(EventType::RegisterAttempt, b"1001", realm), Some(b"Switch.Example"));
        assert_eq!((sip(b"a"), sip(b"b")), (joined(&[b"1001@switch.example"]), sip(b"a")));
        let verto = |user| account_of(&login(EventType::VertoLoginFailure, user, b""), None);
        assert_eq!((verto(b"1001@a"), verto(b"1001")), (verto(b"1001@b"), verto(b"1001@c")));
    }

    #[test]
    fn unconfirmed_credentials_of_a_known_address_are_counted_and_not_told() {
        let mut memory = memory(true);
        memory.credentials = Some(Credentials::default());
        log_in(&mut memory, 0);
        let settings = Settings::defaults(std::path::Path::new("/"));
        let mut followed = Followed::default();
        for number in 0..100 {
            let call_id = number.to_string();
            let look_up = LookUp {
                ip: IP,
                port: None,
                method: b"SUBSCRIBE",
                call_id: call_id.as_bytes(),
                transport: None,
                user: b"1002",
                realm: b"",
                domain: b"",
                profile: b"",
                agent: b"",
            };
            memory.looked_up(at(1), &look_up, false);
        }
        while memory.sweep(&settings, at(10), SweepOf::Credentials, &mut followed) == Sweep::More {}
        assert_eq!((followed.0.len(), followed.1.len()), (0, 1));
        assert!(matches!(followed.1[0], Announcement::KnownAddressFails { failures: 100, .. }));
    }

    #[test]
    fn another_spelling_of_a_users_name_is_the_same_account() {
        let login = |user: &'static [u8], realm: &'static [u8]| {
            let mut signal = Signal::new(EventType::RegisterAttempt, [10, 0, 0, 1].into(), b"");
            signal.set(Field::AuthUser, Some(user));
            signal.set(Field::Realm, Some(realm));
            account_of(&signal, None)
        };
        assert_eq!(login(b"Alice", b"Switch.Example"), login(b"aLICE", b"switch.example"));
        assert_eq!(login(b"Alice", b"x"), account_of_registration(b"alice", b"X"));
        assert_eq!(login(b"Alice@x", b""), login(b"alice", b"x"));
        assert_ne!(login(b"alice", b"x"), login(b"bob", b"x"));
    }
}
