//! `fail2ban attackers`: who is one now.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::console::standing::trusted_by;
use crate::console::words;
use crate::decision::{AttackReport, SourceReport};
use crate::target::Target;

/// An attacker, and what it did.
pub struct Attacker {
    /// Its level, and since when.
    pub attack: AttackReport,
    /// What it did.
    pub report: SourceReport,
}

impl Attacker {
    /// `failure=7 unknown_user=1`, as in the log.
    pub fn causes(&self) -> String {
        let causes = self.report.causes.iter().map(|there| format!("{}={}", there.cause, there.count));
        causes.collect::<Vec<_>>().join(" ")
    }
}

/// The attackers, the highest level first, then the latest; without those that are known or trusted by now.
pub fn current(target: &Target) -> Vec<Attacker> {
    let settings = target.journal.settings().clone();
    let reports = target.journal.attackers().into_iter();
    let mut attackers: Vec<Attacker> = reports
        .filter(|report| trusted_by(&settings, report.ip).is_none())
        .filter_map(|report| Some(Attacker { attack: report.attack.clone()?, report }))
        .collect();
    attackers.sort_by_key(|there| (Reverse(there.attack.level), there.attack.level_ago));
    attackers
}

/// The answer to the command.
pub fn answer(target: &Target) -> String {
    let settings = target.journal.settings().clone();
    if !settings.decides() {
        return "-ERR nobody is ever an attacker: attacker-after is 0\n".into();
    }
    table(&current(target), settings.refuse_attackers)
}

fn table(attackers: &[Attacker], refuses: bool) -> String {
    let mut out = format!(
        "{:<40}{:>5}{:>7}  {:<16}{:<23}{:>8}  causes\n",
        "source", "level", "points", "found", "refused for", "attempts"
    );
    for there in attackers {
        let remaining = match there.attack.remaining() {
            _ if !refuses => "not refused".into(),
            0 => "one attempt at a time".into(),
            seconds => format!("another {}", words::time(seconds)),
        };
        let _ = writeln!(
            out,
            "{:<40}{:>5}{:>7}  {:<16}{remaining:<23}{:>8}  {}",
            there.report.source,
            there.attack.level,
            there.report.points,
            words::ago(there.attack.ago),
            there.attack.refused,
            there.causes()
        );
    }
    let _ = writeln!(out, "{}", words::count(attackers.len() as u64, "attacker"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::CauseReport;

    #[test]
    fn each_attacker_is_a_row() {
        let attack = AttackReport { level: 2, ago: 7200, level_ago: 60, refused: 5 };
        let cause = |cause: &str, count| CauseReport { cause: cause.into(), count, ago: 0 };
        let report = SourceReport {
            source: "2001:db8:1:2::/64".parse().unwrap(),
            ip: "2001:db8:1:2::9".parse().unwrap(),
            ago: 0,
            points: 13,
            proven_points: 0,
            proven: false,
            forgiving: 0,
            proven_forgiving: 0,
            causes: vec![cause("failure", 7), cause("unknown_user", 2)],
            accounts: 0,
            tried: vec![],
            attack: Some(attack.clone()),
        };
        let over = AttackReport { level_ago: 120, ..attack.clone() };
        let attackers = [attack, over].map(|attack| Attacker { attack, report: report.clone() });
        assert_eq!(
            table(&attackers, true),
            "source                                  level points  found           refused for            attempts  \
             causes\n\
             2001:db8:1:2::/64                           2     13  2 hours ago     another 60 seconds            5  \
             failure=7 unknown_user=2\n\
             2001:db8:1:2::/64                           2     13  2 hours ago     one attempt at a time         5  \
             failure=7 unknown_user=2\n\
             2 attackers\n"
        );
        assert!(table(&attackers, false).contains("  not refused "));
        assert!(table(&[], true).ends_with("\n0 attackers\n"));
    }
}
