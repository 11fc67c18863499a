//! What an operator asks for: what a source has done, where an account fails, and forgiving both.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::account::Typed;
use super::engine::Engine;
use super::guessed::AccountUnderAttack;
use super::neighbours::Neighbour;
use super::report::{AccountAtSource, AccountReport, SourceReport};
use super::saved::{seconds, text};
use super::source::Source;
use super::sources::Place;
use crate::time::Now;

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
                unknown: tried.is_unknown,
                ago: seconds(at - tried.last),
                level: attack.map(|attack| attack.level),
                alone: false,
                remaining: attack.map_or(0, |attack| seconds(attack.until() - at)),
                refused: attack.map_or(0, |attack| attack.refused),
            }));
        }
        let neighbours = self.neighbours.iter(at).filter(|there| typed.means(&there.account.name));
        sources.extend(neighbours.map(|there| at_known_source(at, &there)));
        sources.sort_by_key(|there| (there.level.is_none(), there.ago));
        let count = sources.iter().map(|there| there.source).collect::<BTreeSet<_>>().len();
        let more = sources.len().saturating_sub(MOST_SOURCES);
        sources.truncate(MOST_SOURCES);
        let under_attack =
            self.guessed.under_attack(at).filter(|there| typed.means(&there.account)).collect();
        AccountReport { sources, count, more, under_attack }
    }

    /// The accounts that are refused by themselves at known sources, or have failed there.
    pub fn at_known_sources(&self, now: Now, source: Source) -> Vec<AccountAtSource> {
        let at = now.monotonic;
        let all = self.neighbours.iter(at).filter(|there| there.source == source);
        all.map(|there| at_known_source(at, &there)).take(MOST_SOURCES).collect()
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
}

fn at_known_source(at: i64, there: &Neighbour) -> AccountAtSource {
    AccountAtSource {
        source: there.source,
        account: text(&there.account),
        failures: there.failures,
        unknown: false,
        ago: seconds(at - there.last),
        level: None,
        alone: true,
        remaining: seconds(there.until.saturating_sub(at)),
        refused: there.refused,
    }
}
