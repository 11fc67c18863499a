//! What is remembered of sources, calls and accounts, and what follows from it: which source is known, over which
//! transport something came, the event types that no event shows, and who is an attacker.
//!
//! An event goes in, an [`Outcome`] comes out; what is overdue is pulled. Nothing here calls up.
#![forbid(unsafe_code)]

pub mod accepted;
pub mod account;
pub mod busiest;
pub mod failing;
pub mod known;
pub mod lookup;
pub mod marks;
pub mod outcome;
pub mod passwords;
pub mod pending;
pub mod proofs;
pub mod state_file;
pub mod table;
pub mod unknown;
pub mod watch;

use std::net::IpAddr;

use crate::decision::{self, Answer, Engine, Method, Request, Source, Standing, What};
use crate::event::event_type::EventType;
use crate::event::field::Field;
use crate::event::signal::{Signal, Verdict};
use crate::settings::Settings;
use crate::text::bounded_text::BoundedText;
use crate::time::Now;

use account::Account;
use failing::{FAILURES_BEFORE_SUCCESS, Failing};
use known::Known;
use lookup::Lookup;
use outcome::{Announcement, Outcome};
use passwords::{Passwords, Question};
use pending::{Entry, Kind};
use proofs::Refused;
use table::Sweep;
use unknown::Looked;
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

    /// Takes note of an event. A trusted address is not watched, but its credentials count.
    pub fn observe(&mut self, settings: &Settings, now: Now, signal: &Signal<'_>, trusted: bool) -> Outcome {
        let mut outcome = Outcome::new(settings.source_of(signal.ip));
        let from =
            From { source: outcome.source, ip: signal.ip, trusted: trusted || settings.is_own(signal.ip) };
        match signal.event_type {
            EventType::Challenge if !trusted && settings.watches_challenges() => {
                if let Some(watch) = &mut self.watch {
                    watch.challenged(now, signal);
                }
            }
            EventType::WrongCallState => {
                if let Some(watch) = &mut self.watch {
                    watch.abandoned(now, signal);
                }
                self.judge(now, from, None, What::Abandoned, &mut outcome);
            }
            EventType::RegisterAttempt => match signal.verdict() {
                Verdict::Accepted => {
                    let proof = self.watch.as_mut().and_then(|watch| watch.accepted(now, signal));
                    outcome.transport = proof.as_ref().and_then(|proof| proof.transport);
                    let domain = proof.as_ref().map(|proof| proof.domain.bytes());
                    let method = proof.as_ref().and_then(|proof| proof.method);
                    self.logged_in(now, signal, domain, method, &mut outcome);
                }
                Verdict::Refused => self.refused(now, signal, &mut outcome),
                Verdict::Stale => {}
            },
            EventType::RegisterFailure => self.register_failed(now, from, signal, &mut outcome),
            EventType::VertoLoginFailure => {
                // Verto is WebSocket, so its address can't be forged.
                outcome.transport = Some(b"tcp");
                if signal.verdict() == Verdict::Accepted {
                    outcome.is_silent = true;
                    self.logged_in(now, signal, None, None, &mut outcome);
                } else {
                    let user = signal.text_or_empty(Field::User);
                    let account = account::of_user(user, b"");
                    self.failed(now, from, user, &mut outcome);
                    let what = What::Failure { account: account.bytes(), method: None };
                    self.judge(now, from, outcome.transport, what, &mut outcome);
                }
            }
            EventType::AclReject => self.judge(now, from, None, What::Acl, &mut outcome),
            _ => {}
        }
        outcome.known = self.is_known(now, from.source);
        outcome
    }

    /// An attempt was refused; its failure is to follow.
    fn refused(&mut self, now: Now, attempt: &Signal<'_>, outcome: &mut Outcome) {
        let Some(watch) = &mut self.watch else { return };
        let proof = watch.refused(now, attempt);
        outcome.transport = proof.as_ref().and_then(|proof| proof.transport);
        let method = proof.as_ref().and_then(|proof| proof.method);
        let request = method.map(|method| Request {
            call_id: attempt.text_or_empty(Field::CallId),
            method,
            ip: attempt.ip,
            port: attempt.text(Field::Port),
        });
        let engine = self.engine.as_mut();
        let is_ours = engine.zip(request).is_some_and(|(engine, request)| engine.excuses(now, &request));
        outcome.is_silent = is_ours;
        let realm = attempt.text_or_empty(Field::Realm);
        let domain = proof.as_ref().map_or(realm, |proof| proof.domain.bytes());
        let refused = Refused {
            transport: outcome.transport,
            account: account::of_user(attempt.auth_user(), domain),
            method,
            is_unread: attempt.text(Field::AuthUser) == Some(b"unknown"),
            is_ours,
        };
        watch.proofs.expect_failure(now, attempt, refused);
    }

    fn register_failed(&mut self, now: Now, from: From, failure: &Signal<'_>, outcome: &mut Outcome) {
        let user = failure.text_or_empty(Field::User);
        let refused = self.watch.as_mut().and_then(|watch| watch.proofs.refused(now, failure));
        outcome.transport = refused.as_ref().and_then(|refused| refused.transport);
        if refused.as_ref().is_some_and(|refused| refused.is_ours) {
            outcome.is_silent = true;
            return;
        }
        self.failed(now, from, user, outcome);
        if refused.as_ref().is_some_and(|refused| refused.is_unread) {
            return;
        }
        let (account, method) = match &refused {
            Some(refused) => (refused.account, refused.method),
            None => (account::of_user(user, b""), None),
        };
        let what = What::Failure { account: account.bytes(), method };
        self.judge(now, from, outcome.transport, what, outcome);
    }

    /// FreeSWITCH has accepted an address's credentials. The domain is the one in which FreeSWITCH has found the user.
    /// If that lookup was not seen only the realm is left, which the sender chooses: FreeSWITCH accepts any where
    /// `force-register-domain` is set. In a Verto login what follows the `@` may be as free, so there the user alone
    /// counts; but mod_verto accepts no empty password.
    fn logged_in(
        &mut self,
        now: Now,
        login: &Signal<'_>,
        domain: Option<&[u8]>,
        method: Option<Method>,
        outcome: &mut Outcome,
    ) {
        let (source, user) = (outcome.source, login.auth_user());
        let realm = domain.filter(|domain| !domain.is_empty()).unwrap_or(login.text_or_empty(Field::Realm));
        let account = account::of_user(user, realm);
        if self.is_known(now, source) != Some(true)
            && let Some(failing) = &mut self.failing
            && failing.is_success_suspicious(now, source)
        {
            outcome.is_success_after_failures = true;
            outcome.announcement = Some(Announcement::SuccessAfterFailures {
                source,
                account,
                failures: FAILURES_BEFORE_SUCCESS,
            });
        }
        if let Some(engine) = &mut self.engine {
            engine.login(now, source, account.bytes(), method);
        }
        if login.event_type == EventType::VertoLoginFailure {
            let name = user.split(|&byte| byte == b'@').next().unwrap_or(user);
            if let Some(known) = &mut self.known {
                known.learn(now, now.seconds(), source, &account::of_user(name, b""));
            }
        } else {
            outcome.has_question = self.learn(now, now.seconds(), source, user, realm);
        }
    }

    /// An account was accepted at a source, at `seen` (seconds of the monotonic clock). Whether the directory is to be
    /// asked first if the account needs a password.
    pub fn learn(&mut self, now: Now, seen: i64, source: Source, user: &[u8], domain: &[u8]) -> bool {
        let (Some(known), Some(passwords)) = (&mut self.known, &mut self.passwords) else { return false };
        let account = account::of_user(user, domain);
        match passwords.of(&account) {
            Some(true) => known.learn(now, seen, source, &account),
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
        passwords.answer(account, has_password, |question| {
            if has_password {
                known.learn(now, question.seen, question.source, account);
            }
        });
    }

    /// This switch itself has registered with a gateway at a source.
    pub fn gateway_registered(&mut self, now: Now, source: Source, gateway: &[u8]) {
        if let Some(known) = &mut self.known {
            known.learn(now, now.seconds(), source, &account::of_gateway(gateway));
        }
    }

    /// FreeSWITCH has looked credentials up; whether it is to refuse them, with what FreeSWITCH's log is to say then.
    pub fn looked_up(
        &mut self,
        settings: &Settings,
        now: Now,
        lookup: &Lookup<'_>,
        trusted: bool,
    ) -> Option<Outcome> {
        let refusal = self.refusal(settings, now, lookup, trusted);
        if let Some(watch) = &mut self.watch {
            let awaited = settings.watches_confirmations() && !trusted && refusal.is_none();
            watch.looked_up(now, lookup, awaited);
            if settings.decides_by_all() && refusal.is_none() {
                watch.unknown.looked_up(lookup);
            }
        }
        refusal
    }

    fn refusal(
        &mut self,
        settings: &Settings,
        now: Now,
        lookup: &Lookup<'_>,
        trusted: bool,
    ) -> Option<Outcome> {
        let source = settings.source_of(lookup.ip);
        let trusted = trusted || settings.is_own(lookup.ip);
        let standing = self.standing(now, source, trusted);
        let (Some(engine), Some(method)) = (&mut self.engine, Method::of(lookup.method)) else { return None };
        if method == Method::Invite
            && self.watch.as_ref().is_some_and(|watch| watch.is_accepted_call(lookup.call_id))
        {
            return None;
        }
        let account = lookup.account();
        let accepted_here = self.known.as_ref().is_some_and(|known| known.has_account(now, source, &account));
        let asked = decision::Lookup {
            source,
            ip: lookup.ip,
            port: lookup.port,
            standing,
            account: account.bytes(),
            accepted_here,
            method,
            call_id: lookup.call_id,
        };
        match engine.lookup(now, &asked) {
            Answer::LetThrough => None,
            Answer::Refuse(refusal) => {
                let announcement =
                    refusal.first.then_some(Announcement::Refused { source, account, refusal });
                Some(Outcome { announcement, ..Outcome::new(source) })
            }
        }
    }

    /// A profile has accepted a SUBSCRIBE of this call.
    pub fn confirmed_call(&mut self, settings: &Settings, now: Now, call_id: &[u8], profile: Option<&[u8]>) {
        let confirmed = self.watch.as_mut().and_then(|watch| watch.confirmed_call(now, call_id, profile));
        self.confirmed(settings, now, confirmed);
    }

    /// A profile has accepted a MESSAGE from this address and port.
    pub fn confirmed_message(
        &mut self,
        settings: &Settings,
        now: Now,
        ip: IpAddr,
        port: Option<&[u8]>,
        profile: Option<&[u8]>,
    ) {
        let watch = self.watch.as_mut();
        let confirmed = watch.and_then(|watch| watch.confirmed_message(now, ip, port, profile));
        self.confirmed(settings, now, confirmed);
    }

    fn confirmed(&mut self, settings: &Settings, now: Now, entry: Option<Entry>) {
        if let (Some(entry), Some(engine)) = (entry, &mut self.engine) {
            engine.login(now, settings.source_of(entry.ip), entry.account.bytes(), entry.method());
        }
    }

    /// FreeSWITCH warns that its directory has no such user; returns the lookup that it is about, and what follows.
    pub fn unknown_user(
        &mut self,
        settings: &Settings,
        now: Now,
        warning: &[u8],
    ) -> Option<(Looked, Outcome)> {
        let looked = self.watch.as_mut()?.unknown.warned(warning)?;
        let mut outcome = Outcome::new(settings.source_of(looked.ip));
        outcome.is_silent = true;
        let accepted = self.known.as_ref()?.has_account_anywhere(now, &looked.account);
        let from = From { source: outcome.source, ip: looked.ip, trusted: settings.is_own(looked.ip) };
        let what = What::UnknownUser { account: looked.account.bytes(), accepted };
        self.judge(now, from, looked.transport, what, &mut outcome);
        Some((looked, outcome))
    }

    /// Pulls what nobody answered or confirmed in time, with what follows from it.
    pub fn next_overdue(&mut self, settings: &Settings, now: Now) -> Sweep<(Entry, Outcome)> {
        let timeout = settings.challenge_timeout.as_micros() as i64;
        let entry = match self.watch.as_mut().map(|watch| watch.next_overdue(now, timeout)) {
            None | Some(Sweep::Done) => return Sweep::Done,
            Some(Sweep::More) => return Sweep::More,
            Some(Sweep::Taken(entry)) => entry,
        };
        let mut outcome = Outcome::new(settings.source_of(entry.ip));
        outcome.known = self.is_known(now, outcome.source);
        outcome.is_silent = outcome.known == Some(true);
        let from = From { source: outcome.source, ip: entry.ip, trusted: settings.is_own(entry.ip) };
        match entry.kind {
            Kind::Challenge => self.judge(now, from, None, What::Unanswered, &mut outcome),
            Kind::Credentials => {
                self.failed(now, from, entry.user.bytes(), &mut outcome);
                let what = What::Failure { account: entry.account.bytes(), method: entry.method() };
                self.judge(now, from, entry.transport, what, &mut outcome);
            }
        }
        Sweep::Taken((entry, outcome))
    }

    /// A call was reported, with these points, or by an operator: then the source is an attacker at once.
    pub fn report(
        &mut self,
        settings: &Settings,
        now: Now,
        report: &Signal<'_>,
        points: Option<u32>,
        trusted: bool,
    ) -> Outcome {
        let mut outcome = Outcome::new(settings.source_of(report.ip));
        outcome.known = self.is_known(now, outcome.source);
        let trusted = trusted || settings.is_own(report.ip);
        let from = From { source: outcome.source, ip: report.ip, trusted };
        match (points, &mut self.engine) {
            (Some(points), _) => {
                let transport = report.text(Field::Transport);
                self.judge(now, from, transport, What::Report { points }, &mut outcome);
            }
            (None, Some(engine)) => {
                let standing = standing(outcome.known, trusted);
                outcome.decided(engine.report(now, from.source, from.ip, standing));
            }
            _ => {}
        }
        outcome
    }

    /// Drops a part of the sources that are known no more; whether all have been looked at.
    pub fn sweep_known(&mut self, now: Now) -> bool {
        self.known.as_mut().is_none_or(|known| known.sweep(now, SWEEP_STEP))
    }

    /// A failure, for the warnings about known sources and about logins after failures.
    fn failed(&mut self, now: Now, from: From, user: &[u8], outcome: &mut Outcome) {
        let source = from.source;
        if let Some(known) = self.known.as_mut().filter(|known| known.contains(now, source)) {
            if let Some(address) = known.count_failure(now, source, user) {
                outcome.announcement = Some(Announcement::KnownSourceFails {
                    source,
                    account: address.account,
                    failures: address.failures,
                    users: address.users,
                });
            }
        } else if let Some(failing) = &mut self.failing {
            failing.add(now, source);
        }
    }

    fn judge(
        &mut self,
        now: Now,
        from: From,
        transport: Option<&[u8]>,
        what: What<'_>,
        outcome: &mut Outcome,
    ) {
        let standing = self.standing(now, from.source, from.trusted);
        if let Some(engine) = &mut self.engine {
            let proven = transport.is_some_and(|transport| transport != b"udp");
            let event = decision::Event { source: from.source, ip: from.ip, standing, proven, what };
            outcome.decided(engine.add(now, &event));
        }
    }

    fn standing(&self, now: Now, source: Source, trusted: bool) -> Standing {
        standing(if trusted { None } else { self.is_known(now, source) }, trusted)
    }
}

/// Where something came from.
#[derive(Clone, Copy)]
struct From {
    source: Source,
    ip: IpAddr,
    /// Trusted, or this switch's own address.
    trusted: bool,
}

fn standing(known: Option<bool>, trusted: bool) -> Standing {
    match known {
        _ if trusted => Standing::Trusted,
        Some(true) => Standing::Known,
        _ => Standing::Stranger,
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
