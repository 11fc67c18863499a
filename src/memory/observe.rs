//! What follows from an event.
#![forbid(unsafe_code)]

use super::Memory;
use super::account::{self, Account};
use super::announcements::Announcement;
use super::failing::FAILURES_BEFORE_SUCCESS;
use super::lookup::Client;
use super::outcome::Outcome;
use super::pending::{Entry, Kind};
use super::proofs::Refused;
use crate::decision::{self, Method, Request, Source, What};
use crate::event::event_type::EventType;
use crate::event::field::Field;
use crate::event::signal::{Signal, Verdict};
use crate::settings::Settings;
use crate::table::Sweep;
use crate::time::Now;

impl Memory {
    /// Takes note of an event. A trusted address is not watched, but its credentials count.
    pub fn observe(&mut self, settings: &Settings, now: Now, signal: &Signal<'_>, trusted: bool) -> Outcome {
        let sender = Client { ip: signal.ip, trusted };
        let is_proxy = settings.is_proxy(signal.ip);
        let mut outcome = match signal.event_type {
            EventType::RegisterAttempt => self.attempted(settings, now, signal, sender),
            EventType::RegisterFailure => self.register_failed(settings, now, signal, sender),
            _ if is_proxy => Outcome::of_nobody(settings, signal.ip),
            _ => self.observe_directly(settings, now, signal, sender),
        };
        outcome.known = self.is_known(now, outcome.source);
        outcome
    }

    /// What no proxy passes on.
    fn observe_directly(
        &mut self,
        settings: &Settings,
        now: Now,
        signal: &Signal<'_>,
        sender: Client,
    ) -> Outcome {
        let mut outcome = Outcome::new(settings, sender);
        match signal.event_type {
            EventType::Challenge if !sender.trusted && settings.watches_challenges() => {
                if let Some(watch) = &mut self.watch {
                    watch.challenged(now, signal);
                }
            }
            EventType::WrongCallState => {
                if let Some(watch) = &mut self.watch {
                    watch.abandoned(now, signal);
                }
                self.judge(settings, now, None, What::Abandoned, &mut outcome);
            }
            EventType::VertoLoginFailure => {
                // Verto is WebSocket, so its address can't be forged.
                outcome.transport = Some(b"tcp");
                if signal.verdict() == Verdict::Accepted {
                    outcome.is_silent = true;
                    self.logged_in(now, signal, None, None, &mut outcome);
                } else {
                    let user = signal.text_or_empty(Field::User);
                    let account = account::of_name(user);
                    self.failed(now, user, &outcome);
                    let what = What::Failure { account: account.bytes(), method: None };
                    self.judge(settings, now, outcome.transport, what, &mut outcome);
                }
            }
            EventType::AclReject => self.judge(settings, now, None, What::Acl, &mut outcome),
            EventType::CallToNowhere => {
                self.judge(settings, now, signal.text(Field::Transport), What::Nowhere, &mut outcome);
            }
            _ => {}
        }
        outcome
    }

    /// Credentials came with a REGISTER or an INVITE, and FreeSWITCH has a verdict.
    fn attempted(&mut self, settings: &Settings, now: Now, attempt: &Signal<'_>, sender: Client) -> Outcome {
        let verdict = attempt.verdict();
        let proof = self.watch.as_mut().and_then(|watch| match verdict {
            Verdict::Accepted => watch.accepted(now, attempt),
            Verdict::Refused => watch.refused(now, attempt),
            // Made up, or too late: FreeSWITCH challenges again, and that is to be answered.
            Verdict::Stale => None,
        });
        if let (Some(engine), Some(proof)) = (&mut self.engine, &proof) {
            engine.verdict_took(now, now.monotonic - proof.order.at.monotonic);
        }
        let client = proof.as_ref().map_or(Some(sender), |proof| proof.client);
        let client = client.filter(|client| !settings.is_proxy(client.ip));
        let Some(client) = client else { return Outcome::of_nobody(settings, attempt.ip) };
        let mut outcome = Outcome::new(settings, client);
        outcome.transport = proof.as_ref().and_then(|proof| proof.transport);
        let method = proof.as_ref().and_then(|proof| proof.method);
        let domain = proof.as_ref().map(|proof| proof.domain.bytes());
        match verdict {
            Verdict::Accepted => self.logged_in(now, attempt, domain, method, &mut outcome),
            Verdict::Refused => self.refused(now, attempt, domain, method, &mut outcome),
            Verdict::Stale => {}
        }
        outcome
    }

    /// An attempt was refused; its failure is to follow.
    fn refused(
        &mut self,
        now: Now,
        attempt: &Signal<'_>,
        domain: Option<&[u8]>,
        method: Option<Method>,
        outcome: &mut Outcome,
    ) {
        if self.watch.is_none() {
            return;
        }
        let is_unread = attempt.text(Field::AuthUser) == Some(b"unknown");
        let methods: &[Method] = match &method {
            Some(method) => std::slice::from_ref(method),
            // Of what was not looked up, nothing was refused.
            None if is_unread => &[],
            // So many lookups are under way that this one is forgotten.
            None => &[Method::Register, Method::Invite],
        };
        let (call_id, ip, port) =
            (attempt.text_or_empty(Field::CallId), attempt.ip, attempt.text(Field::Port));
        outcome.is_silent = self.engine.as_mut().is_some_and(|engine| {
            methods.iter().any(|&method| engine.excuses(now, &Request { call_id, method, ip, port }))
        });
        let domain = domain.unwrap_or(attempt.text_or_empty(Field::Realm));
        let refused = Refused {
            client: outcome.client,
            transport: outcome.transport,
            account: account::of_user(attempt.auth_user(), domain),
            method,
            is_unread,
            is_ours: outcome.is_silent,
        };
        if let Some(watch) = &mut self.watch {
            watch.proofs.expect_failure(now, attempt, refused);
        }
    }

    fn register_failed(
        &mut self,
        settings: &Settings,
        now: Now,
        failure: &Signal<'_>,
        sender: Client,
    ) -> Outcome {
        let user = failure.text_or_empty(Field::User);
        let refused = self.watch.as_mut().and_then(|watch| watch.proofs.refused(now, failure));
        let client = refused.as_ref().map_or(Some(sender), |refused| refused.client);
        let client = client.filter(|client| !settings.is_proxy(client.ip));
        let Some(client) = client else { return Outcome::of_nobody(settings, failure.ip) };
        let mut outcome = Outcome::new(settings, client);
        outcome.transport = refused.as_ref().and_then(|refused| refused.transport);
        if refused.as_ref().is_some_and(|refused| refused.is_ours) {
            outcome.is_silent = true;
            return outcome;
        }
        self.failed(now, user, &outcome);
        if refused.as_ref().is_some_and(|refused| refused.is_unread) {
            return outcome;
        }
        let (account, method) = match &refused {
            Some(refused) => (refused.account, refused.method),
            None => (account::of_name(user), None),
        };
        let what = What::Failure { account: account.bytes(), method };
        self.judge(settings, now, outcome.transport, what, &mut outcome);
        outcome
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
            if outcome.client.is_some_and(|client| !client.trusted) {
                self.announcements.push(Announcement::SuccessAfterFailures {
                    source,
                    account,
                    failures: FAILURES_BEFORE_SUCCESS,
                });
            }
        }
        self.clear(now, source, &account, method);
        if login.event_type == EventType::VertoLoginFailure {
            let name = user.split(|&byte| byte == b'@').next().unwrap_or(user);
            if let Some(known) = &mut self.known {
                self.has_changed = true;
                known.learn(now, now.seconds(), source, &account::of_name(name));
            }
        } else {
            outcome.has_question = self.learn(now, now.seconds(), source, user, realm);
        }
    }

    /// A source has shown that it has the password of an account: its failures there are forgiven.
    pub(super) fn clear(&mut self, now: Now, source: Source, account: &Account, method: Option<Method>) {
        match (&mut self.engine, method) {
            (Some(engine), _) if account::is_somebodys(account) => {
                engine.login(now, source, account.bytes(), method);
            }
            (Some(engine), Some(method)) => engine.settled(now, source, account.bytes(), method),
            _ => {}
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
        let mut outcome = Outcome::new(settings, entry.client);
        outcome.known = self.is_known(now, outcome.source);
        outcome.is_silent = outcome.known == Some(true);
        match entry.kind {
            Kind::Challenge => self.judge(settings, now, None, What::Unanswered, &mut outcome),
            Kind::Credentials => {
                self.failed(now, entry.user.bytes(), &outcome);
                let what = What::Failure { account: entry.account.bytes(), method: entry.method() };
                self.judge(settings, now, entry.transport, what, &mut outcome);
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
        if settings.is_proxy(report.ip) {
            return Outcome::of_nobody(settings, report.ip);
        }
        let mut outcome = Outcome::new(settings, Client { ip: report.ip, trusted });
        outcome.known = self.is_known(now, outcome.source);
        if let Some(points) = points {
            let transport = report.text(Field::Transport);
            self.judge(settings, now, transport, What::Report { points }, &mut outcome);
            return outcome;
        }
        let standing = self.standing(now, outcome.source, trusted || settings.is_own(report.ip));
        if let Some(engine) = &mut self.engine {
            outcome.attacker = engine.report(now, outcome.source, report.ip, standing).attacker;
            self.has_changed = true;
            self.announce_attacker(&outcome, b"");
        }
        outcome
    }

    /// A failure, for the warnings about known sources and about logins after failures.
    fn failed(&mut self, now: Now, user: &[u8], outcome: &Outcome) {
        let source = outcome.source;
        if let Some(known) = self.known.as_mut().filter(|known| known.contains(now, source)) {
            if let Some(address) = known.count_failure(now, source, user)
                && outcome.client.is_some_and(|client| !client.trusted)
            {
                self.announcements.push(Announcement::KnownSourceFails {
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

    /// Has what a client did judged.
    pub(super) fn judge(
        &mut self,
        settings: &Settings,
        now: Now,
        transport: Option<&[u8]>,
        what: What<'_>,
        outcome: &mut Outcome,
    ) {
        let Some(Client { ip, trusted }) = outcome.client else { return };
        let standing = self.standing(now, outcome.source, trusted || settings.is_own(ip));
        if let Some(engine) = &mut self.engine {
            let proven = transport.is_some_and(|transport| transport != b"udp");
            let event = decision::Event { source: outcome.source, ip, standing, proven, what };
            let decided = engine.add(now, &event);
            outcome.attacker = decided.attacker;
            self.has_changed = true;
            if let Some(account) = decided.account_under_attack {
                self.announcements.push(Announcement::AccountUnderAttack(account));
            }
            if decided.directory_at_fault {
                self.announcements.push(Announcement::DirectoryAtFault);
            }
            self.announce_attacker(outcome, what.account());
        }
    }

    fn announce_attacker(&mut self, outcome: &Outcome, account: &[u8]) {
        if let Some(found) = outcome.attacker {
            self.announcements.push(Announcement::Attacker(found, Account::new(account)));
        }
    }
}
