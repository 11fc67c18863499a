//! `fail2ban why` of a source: what it did, and what follows from it.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::console::standing::trusted_by;
use crate::console::words;
use crate::decision::{AccountAtSource, AttackReport, Cause, CauseReport, Source, SourceReport};
use crate::memory::account::Account;
use crate::settings::Settings;
use crate::target::Target;

const HOUR: i64 = 3600;

/// All that is known of a source.
struct About {
    source: Source,
    report: Option<SourceReport>,
    /// Accounts that failed here while it was known, and were not accepted here.
    alone: Vec<AccountAtSource>,
    is_known: Option<bool>,
    /// Accounts that were accepted here and how many seconds ago, the last one first.
    accepted: Vec<(String, i64)>,
    trusted_by: Option<String>,
    is_proxy: bool,
    attacker_after: u32,
    refuses: bool,
}

/// The answer to the command.
pub fn answer(target: &Target, source: Source) -> String {
    let settings = target.journal.settings().clone();
    About::collect(target, &settings, source).words()
}

impl About {
    fn collect(target: &Target, settings: &Settings, source: Source) -> About {
        let (now, is_known, report, alone) = target.journal.with_memory(|now, memory| {
            let mut alone =
                memory.engine.as_ref().map_or(vec![], |engine| engine.at_known_sources(now, source));
            if let Some(known) = &memory.known {
                let account = |there: &AccountAtSource| Account::new(there.account.as_bytes());
                alone.retain(|there| !known.has_account(now, source, &account(there)));
            }
            let report = memory.engine.as_mut().and_then(|engine| engine.why(now, source));
            (now, memory.is_known(now, source), report, alone)
        });
        let mut accounts = target.journal.known_accounts();
        accounts.retain(|there| there.source == source);
        accounts.sort_by_key(|there| std::cmp::Reverse(there.seen));
        let accepted = accounts.iter().map(|there| {
            let ago = now.seconds() - there.seen;
            (words::account(there.account.bytes()), ago)
        });
        let ip = report.as_ref().map_or(source.first(), |report| report.ip);
        About {
            source,
            alone,
            is_known,
            accepted: accepted.collect(),
            trusted_by: trusted_by(settings, ip),
            is_proxy: settings.is_proxy(ip),
            report,
            attacker_after: settings.attacker_after,
            refuses: settings.refuse_attackers,
        }
    }

    /// A line that can be read out, what it is made of, and what to type next.
    fn words(&self) -> String {
        let mut out = format!("{}: {}\n", self.source, self.summary());
        if let Some(report) = &self.report {
            self.write_report(&mut out, report);
        }
        for (account, ago) in &self.accepted {
            let _ = writeln!(out, "  {account} was accepted here, last {}", words::ago(*ago));
        }
        for there in &self.alone {
            let _ = writeln!(
                out,
                "  {} {}",
                words::account(there.account.as_bytes()),
                alone(there, self.attacker_after, self.refuses)
            );
        }
        out + &words::unban(&[self.source])
    }

    fn summary(&self) -> String {
        let points = match &self.report {
            _ if self.attacker_after == 0 => "nothing is counted, since attacker-after is 0".into(),
            Some(report) if !report.causes.is_empty() => {
                format!("{} of {} points: {}", report.points, self.attacker_after, what_it_did(report))
            }
            _ => format!("0 of {} points", self.attacker_after),
        };
        let mut parts = vec![points, self.known_words()];
        if let Some(by) = &self.trusted_by {
            parts.push(format!("trusted ({by})"));
        } else if self.is_proxy {
            parts.push("a proxy, which is never judged itself".into());
        }
        if let Some(attack) = self.attack() {
            parts.push(format!(
                "an attacker of level {}, found {}, for another {}",
                attack.level,
                words::ago(attack.ago),
                words::time(attack.ends_in())
            ));
        }
        parts.push(self.refused_words());
        parts.join("; ")
    }

    fn known_words(&self) -> String {
        match (self.is_known, self.accepted.split_first()) {
            (None, _) => "nobody is known, since known-for is 0".into(),
            (Some(true), Some(((account, _), others))) if !others.is_empty() => {
                format!("known by {account} and {}", words::count(others.len() as u64, "other account"))
            }
            (Some(true), Some(((account, _), _))) => format!("known by {account}"),
            (Some(true), None) => "known".into(),
            (Some(false), _) => "not known".into(),
        }
    }

    /// What makes it an attacker: nothing while it is known or trusted.
    fn attack(&self) -> Option<&AttackReport> {
        let is_judged = self.is_known != Some(true) && self.trusted_by.is_none();
        self.report.as_ref().and_then(|report| report.attack.as_ref()).filter(|_| is_judged)
    }

    fn refused_words(&self) -> String {
        let alone = self.alone.iter().filter(|there| there.remaining > 0).count();
        match self.attack() {
            Some(_) if !self.refuses => "not refused, since refuse-attackers is no".into(),
            Some(attack) => {
                let attempts = words::count(attack.refused, "attempt");
                match attack.remaining() {
                    0 => format!("{attempts} refused; one at a time is let through now"),
                    seconds => format!("refused for another {} ({attempts} so far)", words::time(seconds)),
                }
            }
            None if alone > 0 && self.refuses => {
                format!("not refused, but for {} (below)", words::count(alone as u64, "account"))
            }
            None => "not refused".into(),
        }
    }

    fn write_report(&self, out: &mut String, report: &SourceReport) {
        for cause in &report.causes {
            let (name, times) = (&cause.cause, words::count(cause.count.into(), "time"));
            let _ = writeln!(out, "  {name}: {times}, last {}", words::ago(cause.ago));
        }
        for tried in &report.tried {
            let unknown = if tried.unknown { ", which the directory does not have" } else { "" };
            let _ = writeln!(
                out,
                "  for {}{unknown}: {}, {}, last {}",
                words::account(tried.account.as_bytes()),
                words::count(tried.points.into(), "point"),
                words::count(tried.failures.into(), "failure"),
                words::ago(tried.ago)
            );
        }
        if report.accounts as usize > report.tried.len() {
            let others = report.accounts as usize - report.tried.len();
            let _ = writeln!(out, "  for {}, roughly", words::count(others as u64, "other account"));
        }
        if report.points > 0 {
            let next = words::time(HOUR - report.forgiving);
            let _ = writeln!(out, "  a point is forgiven each hour, the next in {next}");
        }
        if self.source.is_network() {
            let _ = writeln!(out, "  the last address was {}", report.ip);
        }
    }
}

/// An account at a known source, which is judged by itself.
pub fn alone(there: &AccountAtSource, attacker_after: u32, refuses: bool) -> String {
    let failures = words::count(there.failures.into(), "failure");
    let refused = match there.remaining {
        0 => "not refused".into(),
        _ if !refuses => "not refused, since refuse-attackers is no".into(),
        seconds => format!(
            "refused here, it alone, for another {} ({} so far)",
            words::time(seconds),
            words::count(there.refused, "attempt")
        ),
    };
    format!("has {failures} of {attacker_after} here, the last {}; {refused}", words::ago(there.ago))
}

/// `4 failures for account 1009, the last 2 minutes ago`
fn what_it_did(report: &SourceReport) -> String {
    let causes: Vec<String> = report.causes.iter().map(in_words).collect();
    let accounts = match (report.accounts, &report.tried[..]) {
        (0, _) => String::new(),
        (1, [tried]) => format!(" for account {}", words::account(tried.account.as_bytes())),
        (many, _) => format!(" for {}", words::count(many.into(), "account")),
    };
    format!("{}{accounts}, the last {}", causes.join(", "), words::ago(report.ago))
}

fn in_words(there: &CauseReport) -> String {
    let (one, many) = match Cause::of_name(&there.cause) {
        Some(Cause::Failure) => ("failure", "failures"),
        Some(Cause::Unanswered) => ("challenge never answered", "challenges never answered"),
        Some(Cause::Abandoned) => ("abandoned call", "abandoned calls"),
        Some(Cause::Acl) => ("request rejected by an ACL", "requests rejected by an ACL"),
        Some(Cause::Nowhere) => ("call to nowhere", "calls to nowhere"),
        Some(Cause::UnknownUser) => ("attempt as an unknown user", "attempts as an unknown user"),
        Some(Cause::GuessedAccount) => {
            ("guess at an account under attack", "guesses at an account under attack")
        }
        Some(Cause::Report) => ("report", "reports"),
        None => (there.cause.as_str(), there.cause.as_str()),
    };
    format!("{} {}", there.count, if there.count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(points: u32, attack: Option<AttackReport>) -> SourceReport {
        let cause = |cause: &str, count| CauseReport { cause: cause.into(), count, ago: 120 };
        SourceReport {
            source: "198.51.100.7".parse().unwrap(),
            ip: [198, 51, 100, 7].into(),
            ago: 120,
            points,
            proven_points: 0,
            proven: false,
            forgiving: 600,
            proven_forgiving: 0,
            causes: vec![cause("failure", 1), cause("unknown_user", 2)],
            accounts: 3,
            tried: vec![],
            attack,
        }
    }

    fn about(report: Option<SourceReport>) -> About {
        About {
            source: "198.51.100.7".parse().unwrap(),
            report,
            alone: vec![],
            is_known: Some(false),
            accepted: vec![],
            trusted_by: None,
            is_proxy: false,
            attacker_after: 10,
            refuses: true,
        }
    }

    fn attack(level_ago: i64) -> Option<AttackReport> {
        Some(AttackReport { level: 2, ago: 7200, level_ago, refused: 5 })
    }

    #[test]
    fn the_first_line_says_what_it_did() {
        let did =
            "7 of 10 points: 1 failure, 2 attempts as an unknown user for 3 accounts, the last 2 minutes ago";
        assert_eq!(about(Some(report(7, None))).summary(), format!("{did}; not known; not refused"));
        assert_eq!(about(None).summary(), "0 of 10 points; not known; not refused");
    }

    #[test]
    fn an_attacker_is_refused_for_its_period_and_then_one_attempt_at_a_time() {
        let ends = |about: About, end: &str| {
            let summary = about.summary();
            assert!(summary.ends_with(end), "{summary}");
        };
        let attacker = "; not known; an attacker of level 2, found 2 hours ago, for another 23 hours; ";
        let during = about(Some(report(13, attack(60))));
        ends(during, &format!("{attacker}refused for another 60 seconds (5 attempts so far)"));
        let after = about(Some(report(13, attack(120))));
        ends(after, &format!("{attacker}5 attempts refused; one at a time is let through now"));
        let only_logged = About { refuses: false, ..about(Some(report(13, attack(60)))) };
        ends(only_logged, &format!("{attacker}not refused, since refuse-attackers is no"));
    }

    #[test]
    fn one_that_is_known_or_trusted_is_neither_an_attacker_nor_refused() {
        let accepted = vec![("1001".into(), 5), ("1002".into(), 7), ("1003".into(), 9)];
        let known = About { is_known: Some(true), accepted, ..about(Some(report(13, attack(60)))) };
        assert!(known.summary().ends_with("; known by 1001 and 2 other accounts; not refused"));
        let by = Some("trusted-acl lan".into());
        let trusted = About { trusted_by: by, ..about(Some(report(13, attack(60)))) };
        assert!(trusted.summary().ends_with("; not known; trusted (trusted-acl lan); not refused"));
    }

    #[test]
    fn an_account_that_is_refused_alone_at_a_known_source_is_mentioned() {
        let there = AccountAtSource {
            source: "198.51.100.7".parse().unwrap(),
            account: "1007".into(),
            failures: 11,
            unknown: false,
            ago: 3,
            level: None,
            alone: true,
            remaining: 57,
            refused: 1,
        };
        let about = About {
            is_known: Some(true),
            accepted: vec![("1001".into(), 5)],
            alone: vec![there],
            ..about(None)
        };
        assert_eq!(
            about.words(),
            "198.51.100.7: 0 of 10 points; known by 1001; not refused, but for 1 account (below)\n  1001 was accepted \
             here, last 5 seconds ago\n  1007 has 11 failures of 10 here, the last 3 seconds ago; refused here, it \
             alone, for another 57 seconds (1 attempt so far)\nif fail2ban has banned it: fail2ban-client set \
             freeswitch-fail2ban unbanip 198.51.100.7\n"
        );
    }
}
