//! Which lookups are refused.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::engine::{Engine, TEN_SECONDS};
use super::event::{Method, Standing};
use super::excuse::Request;
use super::outstanding::Marks;
use super::source::Source;
use crate::time::Now;

/// So many lookups by SUBSCRIBE and MESSAGE at once are a phone with many keys.
const KEYS: u32 = 32;

/// FreeSWITCH asks for an account, to check credentials.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The source of the credentials.
    pub source: Source,
    /// Its address.
    pub ip: IpAddr,
    /// The port there, in digits.
    pub port: Option<&'a [u8]>,
    /// What is known of the source.
    pub standing: Standing,
    /// The account, `user@domain` in any case.
    pub account: &'a [u8],
    /// It was accepted at this source within `known-for`.
    pub accepted_here: bool,
    /// The request. Of a call whose INVITE was accepted, nothing is to be asked.
    pub method: Method,
    /// The call.
    pub call_id: &'a [u8],
}

/// What becomes of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// FreeSWITCH compares the password; its verdict is to be given to the engine.
    LetThrough,
    /// FreeSWITCH is to refuse it.
    Refuse(Refusal),
}

/// A lookup that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// For how long, in microseconds from now.
    pub remaining: i64,
    /// The first refused attempt of a period: a WARNING.
    pub first: bool,
}

/// Why a lookup is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The source is an attacker of this level.
    Attacker {
        /// From 1 on.
        level: u32,
    },
    /// At a known source, too many failures for this account.
    Account,
    /// Too many lookups of the account have no verdict yet.
    Outstanding,
}

impl Engine {
    /// Whether a lookup is refused. One that is let through counts as a failure until its verdict is in, for
    /// the same source and account and ten seconds at most; a minute where events are late.
    pub fn lookup(&mut self, now: Now, lookup: &Lookup<'_>) -> Answer {
        let is_exempt =
            lookup.standing == Standing::Trusted || lookup.accepted_here || lookup.source.is_loopback();
        if is_exempt || !self.settings.refuses || self.settings.attacker_after == 0 {
            return Answer::LetThrough;
        }
        let refusal = match lookup.standing {
            Standing::Known => self.refuse_at_known(now.monotonic, lookup),
            _ => self.refuse_stranger(now.monotonic, lookup),
        };
        let Some(refusal) = refusal else { return Answer::LetThrough };
        self.refused += 1;
        if !lookup.method.is_slow() {
            let Lookup { call_id, method, ip, port, .. } = *lookup;
            let lasts = self.event_limit(now.monotonic);
            self.excuses.add(now.monotonic, lasts, &Request { call_id, method, ip, port });
        }
        Answer::Refuse(refusal)
    }

    fn refuse_stranger(&mut self, at: i64, lookup: &Lookup<'_>) -> Option<Refusal> {
        let account = self.account(lookup.account);
        let key = self.sources.key(lookup.source);
        let place = self.sources.find(at, key);
        if let Some(there) = place.and_then(|place| self.sources.attacker_mut(place)) {
            let until = there.attack.refuses(at, account.id)?;
            let first = !std::mem::replace(&mut there.attack.announced, true);
            let why = Why::Attacker { level: there.attack.level };
            return Some(Refusal { why, remaining: until - at, first });
        }
        let points = place.and_then(|place| self.sources.record(place)).map_or(0, |record| record.points());
        self.refuse_outstanding(at, lookup.method, account.at(key.hash), points)
    }

    fn refuse_at_known(&mut self, at: i64, lookup: &Lookup<'_>) -> Option<Refusal> {
        let account = self.account(lookup.account);
        let key = self.sources.key(lookup.source);
        let mut failures = 0;
        if let Some(there) = self.neighbours.get(at, key, &account) {
            failures = there.failures;
            if at < there.until {
                there.refused += 1;
                let first = !std::mem::replace(&mut there.announced, true);
                return Some(Refusal { why: Why::Account, remaining: there.until - at, first });
            }
        }
        self.refuse_outstanding(at, lookup.method, account.at(key.hash), failures)
    }

    /// Counts lookups without a verdict as failures, and marks this one if it is let through.
    fn refuse_outstanding(&mut self, at: i64, method: Method, key: u64, failures: u32) -> Option<Refusal> {
        let Marks { prompt, late, slow } = self.outstanding.count(at, key);
        let attacker_after = self.settings.attacker_after;
        // Once there are enough failures, it is one at a time.
        let allowance = if failures < attacker_after { KEYS } else { 0 };
        let prompt = if self.are_events_late(at) { late } else { prompt };
        let counted = prompt + slow.saturating_sub(allowance);
        if counted > 0 && failures + counted >= attacker_after {
            return Some(Refusal { why: Why::Outstanding, remaining: TEN_SECONDS, first: false });
        }
        self.outstanding.add(at, key, method.is_slow());
        None
    }
}
