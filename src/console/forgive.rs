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
    format!("{answer}, and {attackers} less\n{}", words::unban(free))
}
