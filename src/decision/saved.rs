//! Sources with their points, copied to be shown or saved, and put back.
#![forbid(unsafe_code)]

use super::account::Account;
use super::attack::{Attack, Attacker};
use super::cause::{CAUSES, Cause};
use super::engine::{Engine, is_proven};
use super::record::{HOUR, MOST_ACCOUNTS, MOST_POINTS, Record};
use super::report::{AttackReport, CauseReport, SourceReport, TriedReport};
use super::sources::Place;
use crate::time::Now;

const SECOND: i64 = 1_000_000;
/// Sources that are copied at a time.
const PAGE: usize = 32;

impl Engine {
    /// Some of the sources to be saved, and where the next part begins: so that no event has to wait while all are
    /// copied. Begin with 0.
    pub fn page(&mut self, now: Now, from: usize) -> (Vec<SourceReport>, Option<usize>) {
        self.reports(now, self.sources.places(), from)
    }

    pub(super) fn reports(
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

    pub(super) fn report_of(&mut self, now: Now, place: Place) -> Option<SourceReport> {
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

pub(super) fn text(account: &Account) -> String {
    String::from_utf8_lossy(account.name.bytes()).into_owned()
}

/// In whole seconds, none before now.
pub(super) fn seconds(micros: i64) -> i64 {
    micros.max(0) / SECOND
}
