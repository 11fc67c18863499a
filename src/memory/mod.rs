//! What is remembered of sources, calls and accounts, and what follows from it: which source is known, over which
//! transport something came, the event types that no event shows, and who is an attacker.
//!
//! An event goes in, an outcome comes out; what is overdue is pulled. Nothing here calls up.
#![forbid(unsafe_code)]

pub mod accepted;
pub mod account;
pub mod announcements;
pub mod busiest;
pub mod failing;
pub mod known;
pub mod lookup;
mod lookups;
pub mod marks;
mod observe;
pub mod outcome;
pub mod passwords;
pub mod pending;
pub mod proofs;
pub mod state_file;
pub mod subscribers;
pub mod unknown;
pub mod watch;

use crate::decision::{self, Engine, Source, Standing};
use crate::event::event_type::EventType;
use crate::settings::Settings;
use crate::text::bounded_text::BoundedText;
use crate::time::Now;

use account::Account;
use announcements::Announcements;
use failing::Failing;
use known::Known;
use passwords::{Passwords, Question};
use watch::Watch;

/// How many known accounts are looked at before others may have the lock.
const SWEEP_STEP: usize = 256;

/// All that is remembered. What the settings have no use for is absent.
pub struct Memory {
    /// Known sources.
    pub known: Option<Known>,
    /// Which accounts prove that a source is known.
    pub passwords: Option<Passwords>,
    /// Challenges and credentials.
    pub watch: Option<Watch>,
    /// Who is an attacker.
    pub engine: Option<Engine>,
    failing: Option<Failing>,
    /// When it was last announced that a proxy shows no client, in seconds of the monotonic clock.
    proxy_announced_at: i64,
    /// What FreeSWITCH's log is to say.
    pub announcements: Announcements,
    /// Something of what is saved has changed.
    pub has_changed: bool,
}

impl Memory {
    /// Room for what the settings need. Made before it is used: it allocates.
    pub fn new(settings: &Settings) -> Memory {
        let watches = settings.watches_lookups() || settings.decides();
        Memory {
            known: settings.tracks_known().then(|| Known::new(settings.known_for)),
            passwords: settings.tracks_known().then(Passwords::default),
            watch: watches.then(Watch::default),
            engine: settings.decides().then(|| Engine::new(engine_settings(settings))),
            failing: settings.logs(EventType::SuccessAfterFailures).then(Failing::default),
            proxy_announced_at: i64::MIN / 2,
            announcements: Announcements::default(),
            has_changed: false,
        }
    }

    /// Continues in the room that was made for new settings, with all that both have use for; returns what is to be
    /// freed.
    pub fn replace(&mut self, settings: &Settings, mut new: Memory) -> Memory {
        carry_over(&mut self.known, &mut new.known);
        carry_over(&mut self.passwords, &mut new.passwords);
        carry_over(&mut self.watch, &mut new.watch);
        carry_over(&mut self.engine, &mut new.engine);
        carry_over(&mut self.failing, &mut new.failing);
        new.has_changed = true;
        std::mem::swap(&mut self.announcements, &mut new.announcements);
        new.proxy_announced_at = self.proxy_announced_at;
        if let Some(known) = &mut new.known {
            known.set_lifetime(settings.known_for);
        }
        if let Some(engine) = &mut new.engine {
            engine.set_settings(engine_settings(settings));
        }
        std::mem::replace(self, new)
    }

    /// Whether a source is known; `None` where none can be.
    pub fn is_known(&self, now: Now, source: Source) -> Option<bool> {
        self.known.as_ref().map(|known| known.contains(now, source))
    }

    /// An account was accepted at a source, at `seen` (seconds of the monotonic clock). Whether the directory is to be
    /// asked first if the account needs a password.
    pub fn learn(&mut self, now: Now, seen: i64, source: Source, user: &[u8], domain: &[u8]) -> bool {
        let (Some(known), Some(passwords)) = (&mut self.known, &mut self.passwords) else { return false };
        let account = account::of_user(user, domain);
        match passwords.of(&account) {
            Some(true) => {
                self.has_changed = true;
                known.learn(now, seen, source, &account);
            }
            Some(false) => {}
            None => {
                let (user, domain) = (BoundedText::new(user), BoundedText::new(domain));
                return passwords.ask(Question { user, domain, account, source, seen });
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
        self.has_changed |= has_password;
        passwords.answer(account, has_password, |question| {
            if has_password {
                known.learn(now, question.seen, question.source, account);
            }
        });
    }

    /// This switch itself has registered with a gateway at a source.
    pub fn gateway_registered(&mut self, now: Now, source: Source, gateway: &[u8]) {
        if let Some(known) = &mut self.known {
            self.has_changed = true;
            known.learn(now, now.seconds(), source, &account::of_gateway(gateway));
        }
    }

    /// Drops a part of the sources that are known no more; whether all have been looked at.
    pub fn sweep_known(&mut self, now: Now) -> bool {
        self.known.as_mut().is_none_or(|known| known.sweep(now, SWEEP_STEP))
    }

    /// What is known of a source; `trusted` as well if it is this switch's own.
    fn standing(&self, now: Now, source: Source, trusted: bool) -> Standing {
        if trusted {
            Standing::Trusted
        } else if self.is_known(now, source) == Some(true) {
            Standing::Known
        } else {
            Standing::Stranger
        }
    }
}

fn engine_settings(settings: &Settings) -> decision::Settings {
    decision::Settings {
        attacker_after: settings.attacker_after,
        refuses: settings.refuse_attackers,
        tracks_known: settings.tracks_known(),
    }
}

fn carry_over<T>(old: &mut Option<T>, new: &mut Option<T>) {
    if old.is_some() && new.is_some() {
        std::mem::swap(old, new);
    }
}
