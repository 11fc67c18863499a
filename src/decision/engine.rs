//! The decision: what happened and a time in, what follows from it out.
#![forbid(unsafe_code)]

use std::hash::RandomState;
use std::net::IpAddr;

use super::account::Account;
use super::attack::{Attacker, period};
use super::cause::{Cause, UNKNOWN_USER_AGAIN};
use super::event::{Event, Method, Standing, What};
use super::excuse::{Excuses, Request};
use super::guessed::GuessedAccounts;
use super::neighbours::Neighbours;
use super::outcome::{Found, Outcome, Settings};
use super::outstanding::Outstanding;
use super::record::{Added, Record};
use super::source::Source;
use super::sources::{Key, Place, Sources};
use crate::time::Now;

/// Most points of one report.
pub const MOST_REPORTED: u32 = 1000;
/// For how long the directory counts as at fault, in microseconds.
const AT_FAULT: i64 = 600_000_000;
/// A verdict that took longer than this shows that FreeSWITCH's events are late, in microseconds.
const LATE: i64 = 5_000_000;
/// For how long they then count as late, and for how long what waits for them lasts, in microseconds.
const MINUTE: i64 = 60_000_000;
/// How long what waits for an event lasts otherwise, in microseconds.
pub(super) const TEN_SECONDS: i64 = 10_000_000;

/// Decides who is an attacker, and whose lookups are refused. In memory of fixed size: about 40 MB once all of it
/// has been used; no step allocates.
pub struct Engine {
    pub(super) settings: Settings,
    pub(super) sources: Sources,
    pub(super) guessed: GuessedAccounts,
    pub(super) neighbours: Neighbours,
    pub(super) outstanding: Outstanding,
    pub(super) excuses: Excuses,
    pub(super) hasher: RandomState,
    /// Until when the directory is at fault, in microseconds of the monotonic clock.
    at_fault_until: i64,
    /// Until when FreeSWITCH's events are late, likewise.
    late_until: i64,
    /// Lookups that were refused.
    pub refused: u64,
    /// Attackers found, and levels.
    pub found: u64,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(settings: Settings) -> Engine {
        Engine {
            settings,
            sources: Sources::new(),
            guessed: GuessedAccounts::new(),
            neighbours: Neighbours::new(),
            outstanding: Outstanding::new(),
            excuses: Excuses::new(),
            hasher: RandomState::new(),
            at_fault_until: i64::MIN,
            late_until: i64::MIN,
            refused: 0,
            found: 0,
        }
    }

    /// Other settings, from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Something happened.
    pub fn add(&mut self, now: Now, event: &Event<'_>) -> Outcome {
        let at = now.monotonic;
        let account = self.account(event.what.account());
        let key = self.sources.key(event.source);
        if self.settings.refuses
            && let What::Failure { method: Some(method), .. } = event.what
        {
            self.outstanding.settle(at, account.at(key.hash), method.is_slow());
        }
        if !self.counts(event.what.cause()) {
            return Outcome::default();
        }
        match event.standing {
            Standing::Trusted => Outcome::default(),
            _ if event.source.is_loopback() => Outcome::default(),
            Standing::Known => self.add_known(at, event, key, &account),
            Standing::Stranger => self.add_stranger(at, event, key, &account),
        }
    }

    /// An operator reports a source: an attacker at once, unless it is known or trusted.
    pub fn report(&mut self, now: Now, source: Source, ip: IpAddr, standing: Standing) -> Outcome {
        let is_exempt = standing != Standing::Stranger || source.is_loopback();
        if is_exempt || !self.counts(Cause::Report) {
            return Outcome::default();
        }
        let at = now.monotonic;
        let place = self.sources.find_or_insert(at, self.sources.key(source), ip);
        let Some(record) = self.sources.record_mut(place) else { return Outcome::default() };
        let added = record.add(at, Cause::Report, self.settings.attacker_after, true);
        Outcome { attacker: self.judge(at, place, added), ..Outcome::default() }
    }

    /// FreeSWITCH has accepted an account's credentials: the points that the source has for it go. `method` as
    /// with a failure.
    pub fn login(&mut self, now: Now, source: Source, account: &[u8], method: Option<Method>) {
        let at = now.monotonic;
        let account = self.account(account);
        let key = self.sources.key(source);
        if let Some(method) = method {
            self.settle(at, key, &account, method);
        }
        self.neighbours.forget(at, key, &account);
        if let Some(place) = self.sources.find(at, key)
            && let Some(record) = self.sources.record_mut(place)
            && record.clear(|there| there.id == account.id)
        {
            self.sources.remove(place);
        }
    }

    /// The verdict of a lookup is in, and is neither a failure nor a login that the engine is given.
    pub fn settled(&mut self, now: Now, source: Source, account: &[u8], method: Method) {
        let account = self.account(account);
        self.settle(now.monotonic, self.sources.key(source), &account, method);
    }

    /// Whether this attempt failed because we refused it. If so it is no failure, nor is the failure that
    /// FreeSWITCH reports for it. Each refusal excuses one attempt.
    pub fn excuses(&mut self, now: Now, request: &Request<'_>) -> bool {
        self.excuses.take(now.monotonic, self.event_limit(now.monotonic), request)
    }

    /// The verdict of a lookup has come this late, in microseconds. Where another module's handler takes its time over
    /// each event, all are late.
    pub fn verdict_took(&mut self, now: Now, took: i64) {
        if took > LATE {
            self.late_until = now.monotonic + MINUTE;
        }
    }

    pub(super) fn are_events_late(&self, at: i64) -> bool {
        at < self.late_until
    }

    /// For how long an event is waited for, in microseconds.
    pub(super) fn event_limit(&self, at: i64) -> i64 {
        if self.are_events_late(at) { MINUTE } else { TEN_SECONDS }
    }

    fn counts(&self, cause: Cause) -> bool {
        self.settings.attacker_after > 0 && (self.settings.tracks_known || cause.row().without_known)
    }

    /// Only a failure matters there, and for its own account alone.
    fn add_known(&mut self, at: i64, event: &Event<'_>, key: Key, account: &Account) -> Outcome {
        match event.what {
            What::Failure { .. } => {
                self.neighbours.fail(at, key, account, self.settings.attacker_after);
                Outcome::default()
            }
            What::UnknownUser { accepted, .. } => {
                self.neighbours.forget(at, key, account);
                Outcome { directory_at_fault: self.note_directory(at, accepted), ..Outcome::default() }
            }
            _ => Outcome::default(),
        }
    }

    fn add_stranger(&mut self, at: i64, event: &Event<'_>, key: Key, account: &Account) -> Outcome {
        let mut outcome = Outcome::default();
        let place = self.sources.find_or_insert(at, key, event.ip);
        if let What::Failure { method: Some(_), .. } = event.what
            && let Some(there) = self.sources.attacker_mut(place)
        {
            there.attack.settle(account.id);
        }
        let added = match event.what {
            What::Failure { .. } => self.fail(at, event, key, place, account, &mut outcome),
            What::UnknownUser { accepted, .. } => {
                outcome.directory_at_fault = self.note_directory(at, accepted);
                if !accepted {
                    self.guessed.forget(account);
                }
                let points = match accepted {
                    true => Some(0),
                    false => (at < self.at_fault_until).then_some(UNKNOWN_USER_AGAIN),
                };
                let record = self.sources.record_mut(place);
                record.map(|record| record.unknown_user(at, account, points, event.proven))
            }
            What::Report { points } => self.add_simple(at, event, place, points.min(MOST_REPORTED)),
            _ => self.add_simple(at, event, place, event.what.cause().row().points),
        };
        outcome.attacker = added.and_then(|added| self.judge(at, place, added));
        outcome
    }

    fn fail(
        &mut self,
        at: i64,
        event: &Event<'_>,
        key: Key,
        place: Place,
        account: &Account,
        outcome: &mut Outcome,
    ) -> Option<Added> {
        let record = self.sources.record_mut(place)?;
        if record.is_warned(at, account) {
            // It counts as unknown_user already, and nobody can guess at an account that does not exist.
            return record.failure(at, account, false, event.proven);
        }
        let mut is_guessed = false;
        if self.settings.tracks_known {
            let verdict = self.guessed.fail(at, account, key.hash);
            (is_guessed, outcome.account_under_attack) = (verdict.is_guessed, verdict.announce);
        }
        self.sources.record_mut(place)?.failure(at, account, is_guessed, event.proven)
    }

    fn add_simple(&mut self, at: i64, event: &Event<'_>, place: Place, points: u32) -> Option<Added> {
        let record = self.sources.record_mut(place)?;
        Some(record.add(at, event.what.cause(), points, event.proven))
    }

    /// Whether it is to be announced that the directory is at fault. It stays so for ten minutes after the last
    /// account that it should have had.
    fn note_directory(&mut self, at: i64, accepted: bool) -> bool {
        let was_at_fault = at < self.at_fault_until;
        if accepted {
            self.at_fault_until = at + AT_FAULT;
        }
        accepted && !was_at_fault
    }

    /// Whether what was added makes an attacker, or the next level of one.
    fn judge(&mut self, at: i64, place: Place, added: Added) -> Option<Found> {
        let attacker_after = self.settings.attacker_after;
        match place {
            Place::Suspect(slot) => {
                if added.points <= 0 || self.sources.record(place)?.points() < attacker_after {
                    return None;
                }
                let there = self.sources.promote(at, slot)?;
                self.found += 1;
                Some(found(there, attacker_after))
            }
            Place::Attacker(_) => {
                let there = self.sources.attacker_mut(place)?;
                if added.cause.row().by_one_packet || !there.attack.rises(at, added.points) {
                    return None;
                }
                let found = found(there, attacker_after);
                self.sources.touch(place);
                self.found += 1;
                Some(found)
            }
        }
    }

    /// The verdict of a lookup is in.
    fn settle(&mut self, at: i64, key: Key, account: &Account, method: Method) {
        if !self.settings.refuses {
            return;
        }
        self.outstanding.settle(at, account.at(key.hash), method.is_slow());
        if let Some(place) = self.sources.find(at, key)
            && let Some(there) = self.sources.attacker_mut(place)
        {
            there.attack.settle(account.id);
        }
    }

    pub(super) fn account(&self, text: &[u8]) -> Account {
        Account::new(&self.hasher, text)
    }
}

fn found(there: &Attacker, attacker_after: u32) -> Found {
    let Attacker { record, attack } = there;
    Found {
        source: record.source,
        ip: record.ip,
        proven: is_proven(record, attacker_after),
        points: record.points(),
        level: attack.level,
        causes: record.counts,
        accounts: record.accounts(),
        period: period(attack.level),
    }
}

/// Whether the points that nobody can have forged suffice alone.
pub(super) fn is_proven(record: &Record, attacker_after: u32) -> bool {
    record.proven() >= attacker_after
}
