//! How the console's answers put times, counts and accounts: so that an operator can read them out.
#![forbid(unsafe_code)]

use crate::decision::Source;
use crate::text::bounded_text::BoundedText;

/// A time in seconds, in the largest unit of which there are two or more.
pub fn time(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    match seconds {
        0..120 => count(seconds, "second"),
        120..7200 => count(seconds / 60, "minute"),
        7200..172_800 => count(seconds / 3600, "hour"),
        _ => count(seconds / 86_400, "day"),
    }
}

/// When it was, this many seconds before now.
pub fn ago(seconds: i64) -> String {
    format!("{} ago", time(seconds))
}

/// A number of things, whose plural ends in s.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// An account, whose name an attacker may have made up: escaped, and in quotes unless it is a plain word.
pub fn account(name: &[u8]) -> String {
    let readable = BoundedText::<128>::new(name).readable();
    let is_plain = |char: char| char.is_alphanumeric() || "@.-_+*#".contains(char);
    if !readable.is_empty() && readable.chars().all(is_plain) { readable } else { format!("\"{readable}\"") }
}

/// What to type to lift fail2ban's own bans, which may last longer than the module's decision.
pub fn unban(sources: &[Source]) -> String {
    let sources: Vec<String> = sources.iter().map(Source::to_string).collect();
    format!(
        "if fail2ban has banned it: fail2ban-client set freeswitch-fail2ban unbanip {}\n",
        sources.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_one_unit() {
        for (seconds, words) in [
            (-1, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (86_400, "24 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(time(seconds), words);
        }
    }

    #[test]
    fn an_account_cannot_be_mistaken_for_the_answers_own_words() {
        for (name, words) in [
            ("1009@switch.example", "1009@switch.example"),
            ("张三", "张三"),
            ("", "\"\""),
            ("x; not refused", "\"x; not refused\""),
            ("x\" y", "\"x%22 y\""),
            ("a\nb", "\"a%0Ab\""),
        ] {
            assert_eq!(account(name.as_bytes()), words);
        }
    }
}
