//! What an operator can type: `fail2ban status | reload | reopen | test | help`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr};

use once_cell::sync::Lazy;

/// A command that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    Status { json: bool },
    Reload,
    Reopen,
    Test { ip: IpAddr, count: u32 },
    Help,
}

/// As the console's own help shows it.
pub const SYNTAX: &CStr = c"status [json] | reload | reopen | test [IP [COUNT]] | help";

/// What the console completes.
pub const COMPLETIONS: [&str; 6] = ["status", "status json", "reload", "reopen", "test", "help"];

/// The answer to `fail2ban help`.
pub static HELP: Lazy<String> = Lazy::new(|| {
    let lines = [
        ("status [json]", "what is in force, what was written and dropped, who is busiest".to_string()),
        ("reload", "read fail2ban.conf.xml again; a bad one changes nothing".into()),
        ("reopen", "open the log file anew".into()),
        (
            "test [IP [COUNT]]",
            format!(
                "write COUNT failures (default {TEST_COUNT}, at most {MOST_TESTS}) for a documentation address (default {TEST_IP}): a jail bans it like any other"
            ),
        ),
        ("help", "this".into()),
    ];
    lines.iter().map(|(syntax, what)| format!("fail2ban {syntax:<18} {what}\n")).collect()
});

const TEST_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// As many as the shipped jail bans for.
const TEST_COUNT: u32 = 10;
const MOST_TESTS: u32 = 1000;

impl Command {
    /// Understands what was typed after `fail2ban`.
    pub fn parse(arguments: &str) -> Result<Command, String> {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        match words[..] {
            [] | ["help"] => Ok(Command::Help),
            ["status"] => Ok(Command::Status { json: false }),
            ["status", "json"] => Ok(Command::Status { json: true }),
            ["reload"] => Ok(Command::Reload),
            ["reopen"] => Ok(Command::Reopen),
            ["test"] => Ok(Command::Test { ip: TEST_IP, count: TEST_COUNT }),
            ["test", ip] => Ok(Command::Test { ip: test_ip(ip)?, count: TEST_COUNT }),
            ["test", ip, count] => Ok(Command::Test { ip: test_ip(ip)?, count: test_count(count)? }),
            _ => Err(format!(
                "fail2ban \"{}\" is unknown: expected {}",
                arguments.trim(),
                SYNTAX.to_string_lossy()
            )),
        }
    }
}

/// Only an address that is nobody's (RFC 5737, RFC 3849): a test must not ban anyone.
fn test_ip(text: &str) -> Result<IpAddr, String> {
    let ip: Option<IpAddr> = text.parse().ok();
    let nobodys = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_documentation(),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0x0db8],
    };
    ip.filter(nobodys).ok_or_else(|| {
        format!("test \"{text}\": expected an address in 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 or 2001:db8::/32")
    })
}

fn test_count(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST_TESTS).contains(count));
    count.ok_or_else(|| format!("test: count \"{text}\": expected a number from 1 to {MOST_TESTS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_understood() {
        assert_eq!(Command::parse(""), Ok(Command::Help));
        assert_eq!(Command::parse(" status  json "), Ok(Command::Status { json: true }));
        assert_eq!(Command::parse("test"), Ok(Command::Test { ip: TEST_IP, count: 10 }));
        let ip = "2001:db8::7".parse().unwrap();
        assert_eq!(Command::parse("test 2001:db8::7 3"), Ok(Command::Test { ip, count: 3 }));
    }

    #[test]
    fn what_is_refused_names_the_value_and_what_is_accepted() {
        for (typed, value, accepted) in [
            ("statsu", "statsu", "status [json]"),
            ("status xml", "xml", "status [json]"),
            ("reload now", "now", "reload"),
            ("test 10.0.0.1", "10.0.0.1", "192.0.2.0/24"),
            ("test 2001:db9::1", "2001:db9::1", "2001:db8::/32"),
            ("test example.com", "example.com", "192.0.2.0/24"),
            ("test 192.0.2.1 0", "\"0\"", "1 to 1000"),
            ("test 192.0.2.1 1001", "1001", "1 to 1000"),
            ("test 192.0.2.1 x", "\"x\"", "1 to 1000"),
        ] {
            let error = Command::parse(typed).unwrap_err();
            assert!(error.contains(value) && error.contains(accepted), "{error}");
        }
    }

    #[test]
    fn help_and_completion_cover_every_command() {
        for words in COMPLETIONS {
            Command::parse(words).unwrap();
            assert!(HELP.contains(&format!("fail2ban {}", words.split(' ').next().unwrap())));
        }
    }
}
