//! What became of challenges and credentials: what waits, what lookups prove, what was accepted.
#![forbid(unsafe_code)]

use crate::decision::Method;
use crate::event::field::Field;
use crate::event::signal::Signal;
use crate::memory::accepted::Accepted;
use crate::memory::account::{self, Account};
use crate::memory::lookup::{Lookup, LookupOrder};
use crate::memory::marks::Marks;
use crate::memory::pending::{Entry, Kind, Pending, Sender};
use crate::memory::proofs::{Proof, Proofs, SLOW};
use crate::memory::subscribers::Subscribers;
use crate::memory::unknown::Unknown;
use crate::table::Sweep;
use crate::time::Now;

/// Success shows within milliseconds (seen in FreeSWITCH 1.10.12 and 1.11.2) of FreeSWITCH having looked credentials
/// up, which a directory elsewhere may make long. In microseconds.
pub const CONFIRM_WITHIN: i64 = 10_000_000;
/// The same where the directory was slow [lately](SLOW_LASTS): SIP gives no request longer, in microseconds.
const CONFIRM_WITHIN_IF_SLOW: i64 = 32_000_000;
/// The success of a SUBSCRIBE may show more than half a second after it (seen in FreeSWITCH 1.10.12): only from this
/// time on, in microseconds, is it a sign of a slow directory.
const LATE: i64 = 2_000_000;
/// After a directory was seen to be slow, nothing is judged for at least this long, in microseconds: answers may wait
/// behind the one that took long.
const GRACE: i64 = 5_000_000;
/// A directory that was slow may be so again for this long, in microseconds.
const SLOW_LASTS: i64 = 60_000_000;
/// FreeSWITCH's events may be this late, in microseconds; a lookup is seen at once.
const EARLY_BY: i64 = 60_000_000;
const MOST_EARLY: usize = 1024;
const MOST_ABANDONED: usize = 1024;
const MOST_MESSAGES: usize = 1024;
const MOST_CALLS: usize = 8192;
/// How many entries are looked at before others may have the lock.
const SWEEP_STEP: usize = 64;

/// What is watched of challenges and credentials.
pub struct Watch {
    /// What waits.
    pub pending: Pending,
    /// What lookups prove.
    pub proofs: Proofs,
    accepted: Accepted,
    /// Answers that were seen before the event of their challenge, by call.
    early: Marks,
    /// Calls that were abandoned after their challenge, which has a line of its own; by address and port.
    abandoned: Marks,
    /// Accepted MESSAGEs whose lookup was not seen, by address, port and profile.
    messages: Marks,
    /// MESSAGEs of which nobody awaits a success: what follows them is theirs, and confirms nobody else's. By address
    /// and port, and profile.
    not_awaited: Marks,
    subscribers: Subscribers,
    /// When the last SUBSCRIBE or MESSAGE was looked up, in microseconds of the monotonic clock, unless it is confirmed.
    unconfirmed_at: Option<i64>,
    /// When that was last out for longer than usual: wrong credentials, or a directory that takes long.
    suspected_at: i64,
    /// Calls whose INVITE was accepted, with the account: anybody may write the call-id of a call.
    calls: Marks,
    /// Lookups that FreeSWITCH may find nobody for.
    pub unknown: Unknown,
    /// Lookups of credentials that were seen.
    pub looked_up: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            pending: Pending::default(),
            proofs: Proofs::default(),
            accepted: Accepted::default(),
            early: Marks::new(MOST_EARLY),
            abandoned: Marks::new(MOST_ABANDONED),
            messages: Marks::new(MOST_MESSAGES),
            not_awaited: Marks::new(MOST_MESSAGES),
            subscribers: Subscribers::default(),
            unconfirmed_at: None,
            suspected_at: i64::MIN / 2,
            calls: Marks::new(MOST_CALLS),
            unknown: Unknown::default(),
            looked_up: 0,
        }
    }
}

impl Watch {
    /// FreeSWITCH has challenged.
    pub fn challenged(&mut self, now: Now, challenge: &Signal<'_>) {
        let call_id = challenge.text_or_empty(Field::CallId);
        if !self.early.take(call_id, |at| now.monotonic - at.monotonic < EARLY_BY) {
            self.pending.challenge(self.order(now), challenge);
        }
    }

    /// A call was abandoned after its challenge, and that has a line of its own.
    pub fn abandoned(&mut self, now: Now, abandoned: &Signal<'_>) {
        if let Some(port) = abandoned.port() {
            self.abandoned.leave(now, (abandoned.ip, port));
        }
    }

    /// FreeSWITCH has looked credentials up, so they answer a challenge.
    pub fn looked_up(&mut self, now: Now, lookup: &Lookup<'_>, success: Success) {
        self.looked_up += 1;
        self.suspect(now);
        let order = self.order(now);
        if lookup.has_verdict_event() {
            self.proofs.looked_up(order, lookup);
        } else {
            self.unconfirmed_at = Some(now.monotonic);
            let is_awaited = success == Success::Awaited && !self.is_accepted(order, lookup);
            if is_awaited {
                self.pending.credentials(order, lookup);
            }
            match lookup.method {
                _ if success == Success::Impossible => {}
                b"SUBSCRIBE" => {
                    self.subscribers.add(now, lookup.call_id, lookup.profile, &lookup.account());
                }
                b"MESSAGE" if !is_awaited => {
                    self.not_awaited.leave(now, Sender::of(lookup).key());
                }
                _ => {}
            }
        }
        if !self.pending.answer(lookup.call_id, lookup.ip) {
            self.early.leave(now, lookup.call_id);
        }
    }

    /// Whether the account was accepted at the client's address lately.
    pub fn accepted_lately(&self, now: Now, lookup: &Lookup<'_>) -> bool {
        self.is_accepted(self.order(now), lookup)
    }

    fn is_accepted(&self, order: LookupOrder, lookup: &Lookup<'_>) -> bool {
        lookup.client.is_some_and(|client| self.accepted.holds(order, client.ip, &lookup.account()))
    }

    /// Whether a call's INVITE was accepted lately, with credentials of this account.
    pub fn is_accepted_call(&self, call_id: &[u8], account: &Account) -> bool {
        self.calls.contains((call_id, account))
    }

    /// Credentials came with a REGISTER or an INVITE, and FreeSWITCH has accepted them; returns what their lookup
    /// proves.
    pub fn accepted(&mut self, now: Now, attempt: &Signal<'_>) -> Option<Proof> {
        let proof = self.proofs.attempted(now, attempt);
        // As it was looked up; if that was not seen, only the realm is left.
        let realm = attempt.text_or_empty(Field::Realm);
        let domain = proof.as_ref().map_or(realm, |proof| proof.domain.bytes());
        let account = attempt.text(Field::AuthUser).map(|user| account::of_user(user, domain));
        let account = account.filter(account::is_somebodys);
        if let Some(account) = &account {
            // From its lookup on: the event comes later.
            let order = proof.as_ref().map_or(self.order(now), |proof| proof.order);
            let client = proof.as_ref().and_then(|proof| proof.client).map_or(attempt.ip, |client| client.ip);
            self.accepted.insert(order, client, account);
        }
        if let Some(call_id) = attempt.text(Field::CallId) {
            self.pending.answer_all(call_id, attempt.text(Field::Profile), Some(attempt.ip));
            if let Some(account) = account
                && proof.as_ref().is_some_and(|proof| proof.method == Some(Method::Invite))
            {
                self.calls.leave(now, (call_id, account));
            }
        }
        proof
    }

    /// The same where FreeSWITCH has refused them.
    pub fn refused(&mut self, now: Now, attempt: &Signal<'_>) -> Option<Proof> {
        let proof = self.proofs.attempted(now, attempt);
        if let (None, Some(call_id)) = (&proof, attempt.text(Field::CallId)) {
            self.pending.answer(call_id, attempt.ip);
        }
        proof
    }

    /// A profile has accepted a SUBSCRIBE of this call; returns the credentials that are confirmed by it.
    pub fn confirmed_call(&mut self, now: Now, call_id: &[u8], profile: Option<&[u8]>) -> Option<Entry> {
        let subscribers = &self.subscribers;
        let is_its = |entry: &Entry| {
            profile.is_none_or(|profile| !subscribers.has_another(now, call_id, profile, &entry.account))
        };
        let confirmed = self.pending.confirm_call(call_id, profile, is_its);
        self.pending.answer_all(call_id, profile, confirmed.as_ref().map(|entry| entry.ip));
        self.confirmed(now, confirmed)
    }

    /// The same of somebody's MESSAGE.
    pub fn confirmed_message(&mut self, now: Now, sender: &Sender<'_>) -> Option<Entry> {
        if self.not_awaited.take(sender.key(), |at| now.monotonic - at.monotonic < EARLY_BY) {
            return None;
        }
        let confirmed = self.pending.confirm_message(sender);
        if confirmed.is_none() {
            self.messages.leave(now, sender.key());
        }
        self.confirmed(now, confirmed)
    }

    fn confirmed(&mut self, now: Now, entry: Option<Entry>) -> Option<Entry> {
        let entry = entry?;
        if now.monotonic - entry.order.at.monotonic > LATE {
            self.proofs.answered_after(now, entry.order);
        }
        self.unconfirmed_at.take_if(|at| *at == entry.order.at.monotonic);
        if !entry.account.is_cut() {
            self.accepted.insert(entry.order, entry.client.ip, &entry.account);
        }
        Some(entry)
    }

    /// Looks at a part of what waits, and takes out the first that nothing answered or confirmed in time:
    /// `challenge_timeout` is in microseconds. While the directory is slow, nothing is judged.
    pub fn next_overdue(&mut self, now: Now, challenge_timeout: i64) -> Sweep<Entry> {
        let fast_for = now.monotonic - self.proofs.slow_at(now);
        let was_slow = fast_for < SLOW_LASTS;
        // After a verdict FreeSWITCH may ask the directory more, which nothing shows.
        let grace = if was_slow { GRACE.max(2 * self.proofs.slow_for) } else { GRACE };
        self.suspect(now);
        // Its success may show only after the next lookup has begun.
        let may_be_slow = now.monotonic - self.suspected_at < GRACE;
        let swept = self.pending.sweep(SWEEP_STEP, |entry| {
            let limit = match entry.kind {
                Kind::Challenge if may_be_slow && was_slow => return false,
                Kind::Challenge if may_be_slow => challenge_timeout.max(CONFIRM_WITHIN),
                Kind::Challenge => challenge_timeout,
                Kind::Credentials if was_slow => CONFIRM_WITHIN_IF_SLOW,
                Kind::Credentials => CONFIRM_WITHIN,
            };
            now.monotonic - entry.order.at.monotonic >= limit
                && fast_for >= limit.min(CONFIRM_WITHIN).max(grace)
        });
        match swept {
            Sweep::Taken(entry) if self.is_excused(now, &entry) => Sweep::More,
            swept => swept,
        }
    }

    /// Sees whether the last SUBSCRIBE or MESSAGE is without a success for longer than usual. Challenges wait behind it
    /// then, but not for long unless the directory is known to be slow: anybody can send wrong credentials.
    fn suspect(&mut self, now: Now) {
        let unconfirmed_for = self.unconfirmed_at.map_or(0, |at| now.monotonic - at);
        if (SLOW..CONFIRM_WITHIN).contains(&unconfirmed_for) {
            self.suspected_at = now.monotonic;
        }
    }

    fn is_excused(&mut self, now: Now, entry: &Entry) -> bool {
        match entry.kind {
            Kind::Challenge => {
                let since = entry.order.at.monotonic;
                let is_abandoned = entry
                    .port()
                    .is_some_and(|port| self.abandoned.take((entry.ip, port), |at| at.monotonic >= since));
                // Only REGISTER and INVITE show their answers by an event; lookups show the others', unless another
                // module's binding hides them.
                let may_have_answered = self.proofs.hidden > 0
                    && (self.accepted.holds_address(self.order(now), entry.ip)
                        || self.messages.take(entry.sender().key(), |at| at.monotonic >= since));
                is_abandoned || may_have_answered
            }
            // The event of an acceptance before it may have come after it.
            Kind::Credentials => self.accepted.holds(entry.order, entry.client.ip, &entry.account),
        }
    }

    /// Behind all lookups that were seen.
    fn order(&self, now: Now) -> LookupOrder {
        LookupOrder { number: self.looked_up, at: now }
    }
}

/// Whether credentials that no event will show to be wrong can be seen to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// They are refused.
    Impossible,
    /// Nobody asks for it.
    Possible,
    /// Without it they count as wrong.
    Awaited,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::event_type::EventType;

    const TIMEOUT: i64 = 3_000_000;

    fn at(tenths: i64) -> Now {
        Now { wall: 0, monotonic: 1_000_000_000 + tenths * 100_000 }
    }

    fn challenge(watch: &mut Watch, now: Now, call_id: &str) {
        let mut signal = Signal::new(EventType::Challenge, [10, 0, 0, 1].into(), b"1001");
        signal.set(Field::CallId, Some(call_id.as_bytes()));
        watch.challenged(now, &signal);
    }

    fn subscribe(watch: &mut Watch, now: Now, call_id: &str) {
        let (method, user) = (b"SUBSCRIBE", call_id.as_bytes());
        let lookup = Lookup { method, call_id: call_id.as_bytes(), user, ..Lookup::default() };
        watch.looked_up(now, &lookup, Success::Awaited);
    }

    /// What is overdue by now.
    fn overdue(watch: &mut Watch, now: Now) -> Vec<Kind> {
        let mut kinds = Vec::new();
        loop {
            match watch.next_overdue(now, TIMEOUT) {
                Sweep::Taken(entry) => kinds.push(entry.kind),
                Sweep::More => {}
                Sweep::Done => return kinds,
            }
        }
    }

    #[test]
    fn phones_that_wait_for_a_slow_directory_are_not_accused_whatever_they_asked_for() {
        let mut watch = Watch::default();
        for phone in 0..6 {
            challenge(&mut watch, at(0), &format!("phone{phone}"));
        }
        // One after the other, each for seven seconds.
        for phone in 0..6 {
            let call_id = format!("phone{phone}");
            subscribe(&mut watch, at(1 + 70 * phone), &call_id);
            for tenth in (1 + 70 * phone)..=(70 + 70 * phone) {
                assert_eq!(overdue(&mut watch, at(tenth)), [], "phone {phone}, {tenth} tenths of a second");
                // The success of the one before shows later than the next lookup.
                if phone > 0 && tenth == 7 + 70 * phone {
                    let call_id = format!("phone{}", phone - 1);
                    assert!(watch.confirmed_call(at(tenth), call_id.as_bytes(), None).is_some());
                }
            }
        }
        assert!(watch.confirmed_call(at(428), b"phone5", None).is_some());
        assert_eq!(overdue(&mut watch, at(5000)), []);
    }

    #[test]
    fn wrong_credentials_hold_up_no_judgement_for_long() {
        let mut watch = Watch::default();
        challenge(&mut watch, at(0), "scanner");
        // Of each guess it looks as if the directory took long over it.
        subscribe(&mut watch, at(1), "guess");
        assert_eq!(overdue(&mut watch, at(99)), []);
        assert_eq!(overdue(&mut watch, at(100)), [Kind::Challenge]);
        assert_eq!(overdue(&mut watch, at(101)), [Kind::Credentials]);
        challenge(&mut watch, at(400), "alone");
        assert_eq!(overdue(&mut watch, at(429)), []);
        assert_eq!(overdue(&mut watch, at(430)), [Kind::Challenge]);
    }
}
