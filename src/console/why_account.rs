//! `fail2ban why` of an account: where it fails, and where it is refused.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::console::standing::trusted_by;
use crate::console::{why, words};
use crate::decision::{AccountAtSource, AccountReport, Name, Source, Typed};
use crate::memory::account::Account;
use crate::target::Target;

/// All that is known of an account.
struct About {
    typed: String,
    report: AccountReport,
    /// Sources at which it was accepted and how many seconds ago, the last one first.
    accepted: Vec<(Source, i64)>,
    attacker_after: u32,
    refuses: bool,
}

/// The answer to the command.
pub fn answer(target: &Target, text: &str) -> String {
    let settings = target.journal.settings().clone();
    let typed = Typed::new(text);
    let (now, mut report) = target.journal.with_memory(|now, memory| {
        let engine = memory.engine.as_mut();
        let mut report = engine.map(|engine| engine.why_account(now, &typed)).unwrap_or_default();
        for there in &mut report.sources {
            let is_known = memory.is_known(now, there.source) == Some(true);
            let account = Account::new(there.account.as_bytes());
            let is_accepted =
                memory.known.as_ref().is_some_and(|known| known.has_account(now, there.source, &account));
            if (is_known && !there.alone) || is_accepted {
                spare(there);
            }
        }
        (now, report)
    });
    for there in &mut report.sources {
        if trusted_by(&settings, there.source.first()).is_some() {
            spare(there);
        }
    }
    let mut accounts = target.journal.known_accounts();
    accounts.retain(|there| typed.means(&Name::new(there.account.bytes())));
    accounts.sort_by_key(|there| std::cmp::Reverse(there.seen));
    let accepted = accounts.iter().map(|there| (there.source, now.seconds() - there.seen)).collect();
    let (attacker_after, refuses) = (settings.attacker_after, settings.refuse_attackers);
    About { typed: text.into(), report, accepted, attacker_after, refuses }.words()
}

/// Known, trusted or accepted there by now: it is not refused.
fn spare(there: &mut AccountAtSource) {
    (there.level, there.remaining) = (None, 0);
}

impl About {
    fn words(&self) -> String {
        let AccountReport { sources, count, more, under_attack } = &self.report;
        let mut parts = vec![match *count {
            0 => "no failures that count".to_owned(),
            all => format!("failures at {}", words::count(all as u64, "source")),
        }];
        let refused = sources.iter().filter(|there| self.refuses && there.remaining > 0);
        let refused = refused.map(|there| there.source).collect::<BTreeSet<_>>().len();
        parts.push(match refused {
            0 => "refused nowhere".into(),
            _ => format!("refused at {}", words::count(refused as u64, "source")),
        });
        parts.push(match self.accepted.len() {
            0 => "accepted nowhere lately".into(),
            all => format!("accepted at {}", words::count(all as u64, "source")),
        });
        let mut out = format!("account {}: {}\n", words::account(self.typed.as_bytes()), parts.join("; "));
        for there in under_attack {
            let account = words::account(there.account.bytes());
            let sources = words::count(there.sources.into(), "source");
            let _ = writeln!(
                out,
                "  {account} is under attack: {sources} that are not known failed within an hour"
            );
        }
        for there in sources {
            let _ = writeln!(out, "  at {}: {}", there.source, self.at_source(there));
        }
        if *more > 0 {
            let _ = writeln!(out, "  at {more} more");
        }
        for (source, ago) in &self.accepted {
            let _ = writeln!(out, "  at {source}: accepted, last {}", words::ago(*ago));
        }
        // Of many, an operator is to choose: most of them are none of the customer's.
        let mut attackers = sources.iter().filter(|there| there.level.is_some());
        match (attackers.next(), attackers.next()) {
            (None, _) => {}
            (Some(there), None) => out += &words::unban(&[there.source]),
            _ => out += "for more of a source, and to lift its ban: fail2ban why SOURCE\n",
        }
        out
    }

    fn at_source(&self, there: &AccountAtSource) -> String {
        let account = words::account(there.account.as_bytes());
        if there.alone {
            return format!("{account} {}", why::alone(there, self.attacker_after, self.refuses));
        }
        let failures = words::count(there.failures.into(), "failure");
        let refused = match (there.level, there.remaining) {
            (None, _) => "not refused".into(),
            (Some(level), _) if !self.refuses => {
                format!("an attacker of level {level}, not refused, since refuse-attackers is no")
            }
            (Some(level), 0) => {
                format!("an attacker of level {level}, one attempt at a time is let through now")
            }
            (Some(level), seconds) => format!(
                "an attacker of level {level}, refused with all its accounts for another {} ({} so far)",
                words::time(seconds),
                words::count(there.refused, "attempt")
            ),
        };
        let has = match there.unknown {
            true => "is not in the directory, and was tried".into(),
            false => format!("has {failures}"),
        };
        format!("{account} {has}, the last {}; {refused}", words::ago(there.ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_shows_each_source_and_only_the_ban_of_a_single_attacker() {
        let at = |source: &str, level, remaining| AccountAtSource {
            source: source.parse().unwrap(),
            account: "1009@a".into(),
            failures: 10,
            unknown: false,
            ago: 120,
            level,
            alone: false,
            remaining,
            refused: 3,
        };
        let sources = vec![at("198.51.100.7", Some(1), 57), at("198.51.100.8", None, 0)];
        let report = AccountReport { sources, count: 4, more: 2, under_attack: vec![] };
        let accepted = vec![("2001:db8::/64".parse().unwrap(), 7200)];
        let mut about = About { typed: "1009".into(), report, accepted, attacker_after: 10, refuses: true };
        assert_eq!(
            about.words(),
            "account 1009: failures at 4 sources; refused at 1 source; accepted at 1 source\n  at 198.51.100.7: 1009@a \
             has 10 failures, the last 2 minutes ago; an attacker of level 1, refused with all its accounts for \
             another 57 seconds (3 attempts so far)\n  at 198.51.100.8: 1009@a has 10 failures, the last 2 minutes \
             ago; not refused\n  at 2 more\n  at 2001:db8::/64: accepted, last 2 hours ago\nif fail2ban has banned \
             it: fail2ban-client set freeswitch-fail2ban unbanip 198.51.100.7\n"
        );
        about.report.sources[1].unknown = true;
        let not_there =
            "198.51.100.8: 1009@a is not in the directory, and was tried, the last 2 minutes ago; not";
        assert!(about.words().contains(not_there), "{}", about.words());
        about.report.sources.push(at("198.51.100.9", Some(2), 0));
        assert!(
            about.words().ends_with("\nfor more of a source, and to lift its ban: fail2ban why SOURCE\n")
        );
        about.refuses = false;
        assert!(about.words().contains("; refused nowhere; "));
    }
}
