//! `fail2ban forgive`: no points, no attacker, not refused.
#![forbid(unsafe_code)]

use crate::console::words;
use crate::decision::{Source, Typed};
use crate::target::Target;

/// The answer to the command for a source.
pub fn source(target: &Target, source: Source) -> String {
    let any = target
        .journal
        .with_memory(|now, memory| memory.engine.as_mut().is_some_and(|engine| engine.forgive(now, source)));
    let answer = match any {
        true => format!("+OK {source} is forgiven: no points, no attacker, not refused\n"),
        false => format!("+OK {source} has nothing to be forgiven: no points, no attacker, not refused\n"),
    };
    answer + &words::unban(&[source])
}

/// The answer to the command for an account.
pub fn account(target: &Target, text: &str) -> String {
    let typed = Typed::new(text);
    let (free, any) = target.journal.with_memory(|now, memory| {
        memory.engine.as_mut().map_or((vec![], false), |engine| engine.forgive_account(now, &typed))
    });
    account_words(text, &free, any)
}

fn account_words(text: &str, free: &[Source], any: bool) -> String {
    let account = words::account(text.as_bytes());
    if !any {
        return format!("+OK account {account} has nothing to be forgiven: no source has points for it\n");
    }
    let answer = format!("+OK account {account} is forgiven: no source has points for it");
    if free.is_empty() {
        return answer + "\n";
    }
    let attackers = words::count(free.len() as u64, "attacker");
    format!("{answer}; {attackers} forgiven\n{}", words::unban(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_is_forgiven_names_the_attackers_that_are_none_any_more() {
        let free = ["198.51.100.7".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
        let answer = account_words("1009", &free, true);
        assert!(
            answer.starts_with("+OK account 1009 is forgiven: ")
                && answer.contains("; 2 attackers forgiven\n")
        );
        assert!(answer.ends_with(" unbanip 198.51.100.7 2001:db8::/64\n"), "{answer}");
        assert!(!account_words("1009", &[], true).contains("unbanip"));
        assert!(account_words("x\ny", &[], false).starts_with("+OK account \"x%0Ay\" has nothing"));
    }
}
