//! What an operator asks for, and what is saved: sources with their points, accounts, and forgiving both.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::account::{Account, Typed};
use super::attack::{Attack, Attacker, DAY, period};
use super::cause::{CAUSES, Cause};
use super::engine::{Engine, is_proven};
use super::guessed::AccountUnderAttack;
use super::record::{HOUR, MOST_ACCOUNTS, MOST_POINTS, Record};
use super::source::Source;
use super::sources::Place;
use crate::time::Now;

const SECOND: i64 = 1_000_000;
/// Sources that are copied at a time.
const PAGE: usize = 32;

/// A source with points, as it is shown and saved. Times are in seconds before it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The source.
    pub source: Source,
    /// The address that it used last.
    pub ip: IpAddr,
    /// When it did something last.
    pub ago: i64,
    /// Points that are not forgiven.
    pub points: u32,
    /// Points that there would be, had nothing come over UDP.
    pub proven_points: u32,
    /// The points that nobody can have forged suffice alone.
    pub proven: bool,
    /// Since when the next point is being forgiven: less than an hour.
    pub forgiving: i64,
    /// The same for proven points.
    pub proven_forgiving: i64,
    /// What it did, in the order of the table of causes.
    pub causes: Vec<CauseReport>,
    /// How many different accounts it tried.
    pub accounts: u32,
    /// Of these some, the last one first.
    pub tried: Vec<TriedReport>,
    /// If it is an attacker.
    pub attack: Option<AttackReport>,
}

/// One cause of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseReport {
    /// Its name.
    pub cause: String,
    /// How often.
    pub count: u32,
    /// When last.
    pub ago: i64,
}

/// One account that a source tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedReport {
    /// The account, as the sender wrote it, in lower case: to be escaped.
    pub account: String,
    /// Points for it.
    pub points: u32,
    /// Of these over TCP, TLS, WS or WSS.
    pub proven_points: u32,
    /// Failures for it.
    pub failures: u32,
    /// The directory does not have it.
    pub unknown: bool,
    /// When last.
    pub ago: i64,
}

/// An attacker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackReport {
    /// From 1 on.
    pub level: u32,
    /// When it became one.
    pub ago: i64,
    /// When it came to this level.
    pub level_ago: i64,
    /// Attempts that were refused.
    pub refused: u64,
}

impl AttackReport {
    /// For how many seconds more it is refused; 0 once one lookup at a time is let through.
    pub fn remaining(&self) -> i64 {
        (period(self.level) / SECOND - self.level_ago).max(0)
    }

    /// For how many seconds more it is an attacker, if it does nothing more.
    pub fn ends_in(&self) -> i64 {
        (DAY / SECOND - self.level_ago).max(0)
    }
}

/// An account: where it fails, and where it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountReport {
    /// The sources, attackers first, then the last one first; at most 100.
    pub sources: Vec<AccountAtSource>,
    /// How many more there are.
    pub more: usize,
    /// Accounts of this name that are under attack.
    pub under_attack: Vec<AccountUnderAttack>,
}

/// An account at one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountAtSource {
    /// The source.
    pub source: Source,
    /// The account, as in [`TriedReport`].
    pub account: String,
    /// Failures for it.
    pub failures: u32,
    /// The last one, in seconds before now.
    pub ago: i64,
    /// The source is an attacker of this level: all of its accounts are refused.
    pub level: Option<u32>,
    /// The source was known when it failed: only this account may be refused there.
    pub alone: bool,
    /// For how many seconds more it is refused there.
    pub remaining: i64,
    /// Attempts that were refused.
    pub refused: u64,
}

const MOST_SOURCES: usize = 100;

impl Engine {
    /// How many suspects and how many attackers there are, those included that are over and have not gone yet.
    pub fn sizes(&self) -> (usize, usize) {
        self.sources.len()
    }

    /// Attackers that were forgotten early, because there were too many.
    pub fn evicted_attackers(&self) -> u64 {
        self.sources.evicted_attackers
    }

    /// Some of the attackers, in no order, and where the next part begins. Begin with 0.
    pub fn attackers_page(&mut self, now: Now, from: usize) -> (Vec<SourceReport>, Option<usize>) {
        self.reports(now, self.sources.attacker_places(), from)
    }

    /// What a source has done.
    pub fn why(&mut self, now: Now, source: Source) -> Option<SourceReport> {
        let place = self.sources.find(now.monotonic, self.sources.key(source))?;
        self.report_of(now, place)
    }

    /// Where an account fails.
    pub fn why_account(&mut self, now: Now, typed: &Typed) -> AccountReport {
        let at = now.monotonic;
        let mut sources = Vec::new();
        for place in self.sources.places() {
            let attack = self.sources.attacker(place).map(|there| there.attack);
            let Some(record) = self.sources.record(place) else { continue };
            if attack.map_or(record.is_over(at), |attack| attack.is_over(at)) {
                continue;
            }
            let tried = record.tried().filter(|tried| typed.means(&tried.account.name));
            sources.extend(tried.map(|tried| AccountAtSource {
                source: record.source,
                account: text(&tried.account),
                failures: tried.failures,
                ago: seconds(at - tried.last),
                level: attack.map(|attack| attack.level),
                alone: false,
                remaining: attack.map_or(0, |attack| seconds(attack.until() - at)),
                refused: attack.map_or(0, |attack| attack.refused),
            }));
        }
        let neighbours = self.neighbours.iter(at).filter(|there| typed.means(&there.account.name));
        sources.extend(neighbours.map(|there| AccountAtSource {
            source: there.source,
            account: text(&there.account),
            failures: there.failures,
            ago: seconds(at - there.last),
            level: None,
            alone: true,
            remaining: seconds(there.until.saturating_sub(at)),
            refused: there.refused,
        }));
        sources.sort_by_key(|there| (there.level.is_none(), there.ago));
        let more = sources.len().saturating_sub(MOST_SOURCES);
        sources.truncate(MOST_SOURCES);
        let under_attack =
            self.guessed.under_attack(at).filter(|there| typed.means(&there.account)).collect();
        AccountReport { sources, more, under_attack }
    }

    /// The accounts that are refused by themselves at known sources, or have failed there.
    pub fn at_known_sources(&self, now: Now, source: Source) -> Vec<AccountAtSource> {
        let at = now.monotonic;
        let all = self.neighbours.iter(at).filter(|there| there.source == source);
        all.map(|there| AccountAtSource {
            source,
            account: text(&there.account),
            failures: there.failures,
            ago: seconds(at - there.last),
            level: None,
            alone: true,
            remaining: seconds(there.until.saturating_sub(at)),
            refused: there.refused,
        })
        .take(MOST_SOURCES)
        .collect()
    }

    /// The accounts under attack.
    pub fn accounts_under_attack(&self, now: Now) -> impl Iterator<Item = AccountUnderAttack> {
        self.guessed.under_attack(now.monotonic)
    }

    /// A source has no points, is no attacker and not refused; whether there was anything to forgive.
    pub fn forgive(&mut self, now: Now, source: Source) -> bool {
        let place = self.sources.find(now.monotonic, self.sources.key(source));
        if let Some(place) = place {
            self.sources.remove(place);
        }
        self.neighbours.forget_all(|there, _| there == source) > 0 || place.is_some()
    }

    /// No source has points for an account, or is an attacker for the sake of it; gives the sources that are no
    /// attackers any more, and whether there was anything to forgive.
    pub fn forgive_account(&mut self, now: Now, typed: &Typed) -> (Vec<Source>, bool) {
        let at = now.monotonic;
        let mut free = Vec::new();
        let mut any = self.neighbours.forget_all(|_, name| typed.means(name)) > 0;
        self.guessed.forget_all(|name| typed.means(name));
        for place in self.sources.places() {
            let Some(record) = self.sources.record_mut(place) else { continue };
            if !record.tried().any(|tried| typed.means(&tried.account.name)) {
                continue;
            }
            any = true;
            record.forgive(at);
            record.clear(|account| typed.means(&account.name));
            let (source, points) = (record.source, record.points());
            if let Place::Attacker(slot) = place
                && points < self.settings.attacker_after
            {
                self.sources.demote(at, slot);
                free.push(source);
            }
        }
        (free, any)
    }

    /// Some of the sources to be saved, and where the next part begins: so that no event has to wait while all are
    /// copied. Begin with 0.
    pub fn page(&mut self, now: Now, from: usize) -> (Vec<SourceReport>, Option<usize>) {
        self.reports(now, self.sources.places(), from)
    }

    fn reports(
        &mut self,
        now: Now,
        places: impl Iterator<Item = Place>,
        from: usize,
    ) -> (Vec<SourceReport>, Option<usize>) {
        let mut places = places.skip(from);
        let page: Vec<Place> = places.by_ref().take(PAGE).collect();
        let next = places.next().map(|_| from + page.len());
        (page.into_iter().filter_map(|place| self.report_of(now, place)).collect(), next)
    }

    /// Puts back a source that was saved `elapsed` seconds ago. What the file says is limited to what can be; what
    /// has been forgiven meanwhile is forgiven. Not for a source that is known by now to be something else.
    pub fn restore(&mut self, now: Now, saved: &SourceReport, elapsed: i64) {
        const LONG: i64 = 366 * 86_400;
        let at = now.monotonic;
        let before = |ago: i64| at - ago.clamp(0, LONG).saturating_add(elapsed.clamp(0, LONG)) * SECOND;
        let key = self.sources.key(saved.source);
        if self.sources.find(at, key).is_some() || saved.source.is_loopback() {
            return;
        }
        let mut record = Record::new(saved.source, saved.ip, before(saved.ago));
        record.points_since = before(saved.forgiving.clamp(0, HOUR / SECOND));
        record.proven_since = before(saved.proven_forgiving.clamp(0, HOUR / SECOND));
        let mut points = saved.points.min(MOST_POINTS);
        let mut proven = saved.proven_points.min(points);
        // `restore` fills the rooms in this order; the file has the last account first.
        for tried in saved.tried.iter().take(MOST_ACCOUNTS) {
            let own = tried.points.min(points);
            let own_proven = tried.proven_points.min(proven);
            (points, proven) = (points - own, proven - own_proven);
            let account = self.account(tried.account.as_bytes());
            record.restore(account, own, own_proven, tried.failures, before(tried.ago), tried.unknown);
        }
        (record.other_points, record.other_proven) = (points, proven);
        for there in &saved.causes {
            if let Some(cause) = Cause::of_name(&there.cause) {
                record.counts.add(cause, there.count);
                record.lasts[cause as usize] = before(there.ago);
            }
        }
        record.forgive(at);
        if let Some(saved) = &saved.attack {
            let mut attack = Attack::restore(saved.level, before(saved.ago), before(saved.level_ago));
            attack.refused = saved.refused;
            if !attack.is_over(at) {
                self.sources.insert_attacker(at, Attacker { record, attack });
            }
        } else if !record.is_over(at) {
            self.sources.insert(at, key.hash, record);
        }
    }

    fn report_of(&mut self, now: Now, place: Place) -> Option<SourceReport> {
        let at = now.monotonic;
        // Forgives, and drops what is over.
        let source = self.sources.record(place)?.source;
        let place = self.sources.find(at, self.sources.key(source))?;
        let record = self.sources.record(place)?;
        let causes = CAUSES.iter().filter_map(|row| {
            let count = record.counts.of(row.cause);
            let ago = seconds(at - record.lasts[row.cause as usize]);
            (count > 0).then(|| CauseReport { cause: row.name.to_owned(), count, ago })
        });
        let mut tried: Vec<TriedReport> = record
            .tried()
            .map(|tried| TriedReport {
                account: text(&tried.account),
                points: tried.points,
                proven_points: tried.proven,
                failures: tried.failures,
                unknown: tried.is_unknown,
                ago: seconds(at - tried.last),
            })
            .collect();
        tried.sort_by_key(|tried| tried.ago);
        let attack = self.sources.attacker(place).map(|there| AttackReport {
            level: there.attack.level,
            ago: seconds(at - there.attack.since),
            level_ago: seconds(at - there.attack.level_since),
            refused: there.attack.refused,
        });
        Some(SourceReport {
            source,
            ip: record.ip,
            ago: seconds(at - record.last),
            points: record.points(),
            proven_points: record.proven(),
            proven: is_proven(record, self.settings.attacker_after),
            forgiving: seconds(at - record.points_since),
            proven_forgiving: seconds(at - record.proven_since),
            causes: causes.collect(),
            accounts: record.accounts(),
            tried,
            attack,
        })
    }
}

fn text(account: &Account) -> String {
    String::from_utf8_lossy(account.name.bytes()).into_owned()
}

/// In whole seconds, none before now.
fn seconds(micros: i64) -> i64 {
    micros.max(0) / SECOND
}
