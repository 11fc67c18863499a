//! What is remembered of addresses, calls and accounts, and what follows from it: which address is known, over which
//! transport something came, and the event types that no event shows.
//!
//! An event goes in, an [`Outcome`] comes out; what is overdue is pulled. Nothing here calls up.
#![forbid(unsafe_code)]

pub mod accepted;
pub mod busiest;
pub mod failing;
pub mod known;
pub mod lookup;
pub mod marks;
pub mod passwords;
pub mod pending;
pub mod proofs;
pub mod state_file;
pub mod table;
pub mod watch;

use std::net::IpAddr;

use crate::event::event_type::EventType;
use crate::event::field::Field;
use crate::event::signal::{Signal, Verdict};
use crate::settings::Settings;
use crate::text::bounded_text::BoundedText;
use crate::time::Now;

use busiest::Distinct;
use failing::{FAILURES_BEFORE_SUCCESS, Failing};
use known::{Account, Known};
use lookup::Lookup;
use passwords::{Passwords, Question};
use pending::{Entry, Kind};
use table::Sweep;
use watch::Watch;

/// How many known accounts are looked at before others may have the lock.
const SWEEP_STEP: usize = 256;

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the address is known; `None` where no address can be.
    pub known: Option<bool>,
    /// The transport that the request came over, if that is proven.
    pub transport: Option<&'static [u8]>,
    /// The event is not worth a line.
    pub is_silent: bool,
    /// It is a login after failures as well, by an address that was not known.
    pub is_success_after_failures: bool,
    /// What FreeSWITCH's own log is to say.
    pub announcement: Option<Announcement>,
    /// The directory is to be asked: see [`Memory::next_question`].
    pub has_question: bool,
}

/// What FreeSWITCH's own log is to say, at most once an hour for an address.
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

/// All that is remembered. What the settings have no use for is absent.
pub struct Memory {
    /// Known addresses.
    pub known: Option<Known>,
    /// Which accounts prove that an address is known.
    pub passwords: Option<Passwords>,
    /// Challenges and credentials.
    pub watch: Option<Watch>,
    failing: Option<Failing>,
}

impl Memory {
    /// Room for what the settings need. Made before it is used: it allocates.
    pub fn new(settings: &Settings) -> Memory {
        Memory {
            known: settings.tracks_known().then(|| Known::new(settings.known_for)),
            passwords: settings.tracks_known().then(Passwords::default),
            watch: settings.watches_lookups().then(Watch::default),
            failing: settings.logs(EventType::SuccessAfterFailures).then(Failing::default),
        }
    }

    /// Continues in the room that was made for new settings, with all that both have use for; returns what is to be
    /// freed.
    pub fn replace(&mut self, settings: &Settings, mut new: Memory) -> Memory {
        carry_over(&mut self.known, &mut new.known);
        carry_over(&mut self.passwords, &mut new.passwords);
        carry_over(&mut self.watch, &mut new.watch);
        carry_over(&mut self.failing, &mut new.failing);
        if let Some(known) = &mut new.known {
            known.set_lifetime(settings.known_for);
        }
        std::mem::replace(self, new)
    }

    /// Whether an address is known; `None` where no address can be.
    pub fn is_known(&self, now: Now, ip: IpAddr) -> Option<bool> {
        self.known.as_ref().map(|known| known.contains(now, ip))
    }

    /// Takes note of an event. A trusted address is not watched, but its credentials count.
    pub fn observe(&mut self, settings: &Settings, now: Now, signal: &Signal<'_>, trusted: bool) -> Outcome {
        let mut outcome = Outcome::default();
        match signal.event_type {
            EventType::Challenge if !trusted && settings.logs(EventType::ChallengeUnanswered) => {
                if let Some(watch) = &mut self.watch {
                    watch.challenged(now, signal);
                }
            }
            EventType::WrongCallState => {
                if let Some(watch) = &mut self.watch {
                    watch.abandoned(now, signal);
                }
            }
            EventType::RegisterAttempt => {
                let proof = self.watch.as_mut().and_then(|watch| watch.attempted(now, signal));
                outcome.transport = proof.as_ref().and_then(|proof| proof.transport);
                if signal.verdict() == Verdict::Accepted {
                    let domain = proof.as_ref().map(|proof| proof.domain.bytes());
                    self.logged_in(now, signal, domain, &mut outcome);
                }
            }
            EventType::RegisterFailure => {
                let watch = self.watch.as_mut();
                outcome.transport = watch.and_then(|watch| watch.proofs.transport_of_failure(now, signal));
                outcome.announcement = self.failed(now, signal.ip, signal.text_or_empty(Field::User));
            }
            EventType::VertoLoginFailure => {
                // Verto is WebSocket, so its address can't be forged.
                outcome.transport = Some(b"tcp");
                if signal.verdict() == Verdict::Accepted {
                    outcome.is_silent = true;
                    self.logged_in(now, signal, None, &mut outcome);
                } else {
                    outcome.announcement = self.failed(now, signal.ip, signal.text_or_empty(Field::User));
                }
            }
            _ => {}
        }
        outcome.known = self.is_known(now, signal.ip);
        outcome
    }

    /// FreeSWITCH has accepted an address's credentials. The domain is the one in which FreeSWITCH has found the user.
    /// If that lookup was not seen only the realm is left, which the sender chooses: FreeSWITCH accepts any where
    /// `force-register-domain` is set. In a Verto login what follows the `@` may be as free, so there the user alone
    /// counts; but mod_verto accepts no empty password.
    fn logged_in(&mut self, now: Now, login: &Signal<'_>, domain: Option<&[u8]>, outcome: &mut Outcome) {
        let user = login.auth_user();
        let realm = domain.filter(|domain| !domain.is_empty()).unwrap_or(login.text_or_empty(Field::Realm));
        if self.is_known(now, login.ip) != Some(true)
            && let Some(failing) = &mut self.failing
            && failing.is_success_suspicious(now, login.ip)
        {
            outcome.is_success_after_failures = true;
            outcome.announcement = Some(Announcement::SuccessAfterFailures {
                ip: login.ip,
                account: account(user, realm),
                failures: FAILURES_BEFORE_SUCCESS,
            });
        }
        if login.event_type == EventType::VertoLoginFailure {
            let name = user.split(|&byte| byte == b'@').next().unwrap_or(user);
            if let Some(known) = &mut self.known {
                known.learn(now, now.seconds(), login.ip, &account(name, b""));
            }
        } else {
            outcome.has_question = self.learn(now, now.seconds(), login.ip, user, realm);
        }
    }

    /// An account was accepted at an address, at `seen` (seconds of the monotonic clock). Whether the directory is to
    /// be asked first if the account needs a password.
    pub fn learn(&mut self, now: Now, seen: i64, ip: IpAddr, user: &[u8], domain: &[u8]) -> bool {
        let (Some(known), Some(passwords)) = (&mut self.known, &mut self.passwords) else { return false };
        let account = account(user, domain);
        match passwords.of(&account) {
            Some(true) => known.learn(now, seen, ip, &account),
            Some(false) => {}
            None => {
                let (user, domain) = (BoundedText::new(user), BoundedText::new(domain));
                return passwords.ask(Question { user, domain, account, ip, seen });
            }
        }
        false
    }

    /// Whether the directory should be asked before more is to be asked.
    pub fn has_many_questions(&self) -> bool {
        self.passwords.as_ref().is_some_and(Passwords::is_filling)
    }

    /// What the directory is to be asked next.
    pub fn next_question(&self) -> Option<Question> {
        self.passwords.as_ref()?.next()
    }

    /// The directory has answered.
    pub fn answer(&mut self, now: Now, account: &Account, has_password: bool) {
        let (Some(known), Some(passwords)) = (&mut self.known, &mut self.passwords) else { return };
        passwords.answer(account, has_password, |question| {
            if has_password {
                known.learn(now, question.seen, question.ip, account);
            }
        });
    }

    /// This switch itself has registered with a gateway at an address.
    pub fn gateway_registered(&mut self, now: Now, ip: IpAddr, gateway: &[u8]) {
        if let Some(known) = &mut self.known {
            known.learn(now, now.seconds(), ip, &lower_case(&[b"gateway ", gateway]));
        }
    }

    /// FreeSWITCH has looked credentials up.
    pub fn looked_up(&mut self, settings: &Settings, now: Now, lookup: &Lookup<'_>, trusted: bool) {
        if let Some(watch) = &mut self.watch {
            watch.looked_up(now, lookup, settings.watches_confirmations() && !trusted);
        }
    }

    /// Pulls what nobody answered or confirmed in time, with what follows from it.
    pub fn next_overdue(&mut self, settings: &Settings, now: Now) -> Sweep<(Entry, Outcome)> {
        let timeout = settings.challenge_timeout.as_micros() as i64;
        let entry = match self.watch.as_mut().map(|watch| watch.next_overdue(now, timeout)) {
            None | Some(Sweep::Done) => return Sweep::Done,
            Some(Sweep::More) => return Sweep::More,
            Some(Sweep::Taken(entry)) => entry,
        };
        let known = self.is_known(now, entry.ip);
        let mut outcome = Outcome { known, is_silent: known == Some(true), ..Outcome::default() };
        if entry.kind == Kind::Credentials {
            outcome.announcement = self.failed(now, entry.ip, entry.user.bytes());
        }
        Sweep::Taken((entry, outcome))
    }

    /// Drops a part of the addresses that are known no more; whether all have been looked at.
    pub fn sweep_known(&mut self, now: Now) -> bool {
        self.known.as_mut().is_none_or(|known| known.sweep(now, SWEEP_STEP))
    }

    fn failed(&mut self, now: Now, ip: IpAddr, user: &[u8]) -> Option<Announcement> {
        if let Some(known) = self.known.as_mut().filter(|known| known.contains(now, ip)) {
            let address = known.count_failure(now, ip, user)?;
            return Some(Announcement::KnownAddressFails {
                ip,
                account: address.account,
                failures: address.failures,
                users: address.users,
            });
        }
        if let Some(failing) = &mut self.failing {
            failing.add(now, ip);
        }
        None
    }
}

fn carry_over<T>(old: &mut Option<T>, new: &mut Option<T>) {
    if old.is_some() && new.is_some() {
        std::mem::swap(old, new);
    }
}

/// `user@domain`. FreeSWITCH takes a user's name in any case, so that another spelling is no other account.
pub fn account(user: &[u8], domain: &[u8]) -> Account {
    if domain.is_empty() { lower_case(&[user]) } else { lower_case(&[user, b"@", domain]) }
}

fn lower_case(texts: &[&[u8]]) -> Account {
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
