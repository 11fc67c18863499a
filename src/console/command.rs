//! The console command: `fail2ban status | known | forget | report | …`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::console::metrics;
use crate::console::status::{Status, duration};
use crate::dispatch;
use crate::event::address::is_documentation;
use crate::event::event_type::EventType;
use crate::host::clock;
use crate::memory::known::Address;
use crate::settings::xml::FILE;
use crate::target::{self, Target};

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command<'a> {
    Status { json: bool },
    Known { ip: Option<IpAddr> },
    Forget { ip: IpAddr },
    Report { ip: IpAddr, reason: &'a str },
    Metrics,
    Reload,
    Reopen,
    Test { ip: IpAddr, count: u32 },
    Help,
}

/// As the console's own help shows it.
pub const SYNTAX: &CStr =
    c"status [json] | known [IP] | forget IP | report IP REASON | metrics | reload | reopen | test [IP [COUNT]] | help";

/// What the console completes.
pub const COMPLETIONS: [&str; 10] =
    ["status", "status json", "known", "forget", "report", "metrics", "reload", "reopen", "test", "help"];

const TEST_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// As many as the shipped jail bans for.
const TEST_COUNT: u32 = 10;
const MOST_TESTS: u32 = 1000;

/// The answer to what was typed after `fail2ban`.
pub fn answer(arguments: &str) -> String {
    let command = match Command::parse(arguments) {
        Ok(command) => command,
        Err(why) => return format!("-ERR {why}\n"),
    };
    match target::current() {
        Some(target) => run(&target, &command),
        None if command == Command::Help => help(),
        None => "-ERR mod_fail2ban is being loaded or unloaded\n".into(),
    }
}

fn run(target: &Target, command: &Command<'_>) -> String {
    let journal = &target.journal;
    let logfile = || journal.settings().logfile.display().to_string();
    match command {
        Command::Status { json } => {
            let status = Status::of(target);
            if *json { status.json() } else { status.text() }
        }
        Command::Known { ip } => known(target, *ip),
        Command::Forget { ip } => {
            let was_known = journal.with_memory(|now, memory| {
                let source = source_of(target, *ip);
                let was_known = memory.known.as_mut().is_some_and(|known| known.forget(now, source));
                memory.has_changed |= was_known;
                was_known
            });
            if was_known {
                format!("+OK {ip} is known no more, until its credentials are accepted again\n")
            } else {
                format!("-ERR {ip} is not known\n")
            }
        }
        Command::Report { ip, reason } => {
            if !journal.settings().logs(EventType::Reported) {
                return format!("-ERR reported is not among the events in {}.xml\n", FILE);
            }
            if dispatch::report(target, *ip, reason) {
                format!("+OK {ip} is trusted: the report is counted, not logged\n")
            } else {
                format!("+OK {ip} is reported in {}\n", logfile())
            }
        }
        Command::Metrics => metrics::text(&Status::of(target)),
        Command::Reload => match target.requests.reload() {
            Some(Ok(_)) => format!("+OK the settings in {}.xml are active\n", FILE),
            Some(Err(why)) => format!("-ERR reload rejected, previous settings stay active: {why}\n"),
            None => {
                "+OK the reload is still in progress; fail2ban status and FreeSWITCH's log show how it ends\n"
                    .into()
            }
        },
        Command::Reopen => {
            journal.reopen();
            format!("+OK {} is opened again\n", logfile())
        }
        Command::Test { ip, count } => {
            journal.record_test(&journal.settings(), *ip, *count);
            format!("+OK {count} lines for {ip} in {}\n", logfile())
        }
        Command::Help => help(),
    }
}

fn source_of(target: &Target, ip: IpAddr) -> crate::decision::Source {
    target.journal.settings().source_of(ip)
}

/// The known addresses, those first that were seen last.
fn known(target: &Target, ip: Option<IpAddr>) -> String {
    if !target.journal.settings().tracks_known() {
        return "-ERR no address is ever known: known-for is 0\n".into();
    }
    let mut all = target.journal.known_addresses();
    all.retain(|address| ip.is_none_or(|ip| address.source.contains(ip)));
    if let (Some(ip), true) = (ip, all.is_empty()) {
        return format!("-ERR {ip} is not known\n");
    }
    all.sort_by_key(|address| (std::cmp::Reverse(address.seen), address.source));
    let now = clock::now().seconds();
    let mut out = format!("{:<40} {:>14} {:>9}  account\n", "address", "accepted", "failures");
    for Address { source, seen, failures, account, .. } in &all {
        let ago = duration(std::time::Duration::from_secs((now - seen).unsigned_abs()));
        let _ = writeln!(out, "{source:<40} {ago:>10} ago {failures:>9}  {}", account.readable());
    }
    let _ = writeln!(out, "{} known", all.len());
    out
}

fn help() -> String {
    let test = format!(
        "write COUNT failures (default {TEST_COUNT}, at most {MOST_TESTS}) for a documentation address (default \
         {TEST_IP}): a jail bans it like any other"
    );
    let lines = [
        ("status [json]", "the active settings, what was written and dropped, who is busiest"),
        ("known [IP]", "the addresses whose credentials were accepted lately, and for which account"),
        ("forget IP", "make an address unknown, until its credentials are accepted again"),
        ("report IP REASON", "write a line that reports an address: the jail for reports bans it"),
        ("metrics", "the counters in the OpenMetrics text format"),
        ("reload", "read fail2ban.conf.xml again; a bad one changes nothing"),
        ("reopen", "open the log file again"),
        ("test [IP [COUNT]]", &test),
        ("help", "this"),
    ];
    lines.iter().map(|(syntax, what)| format!("fail2ban {syntax:<18} {what}\n")).collect()
}

impl Command<'_> {
    fn parse(arguments: &str) -> Result<Command<'_>, String> {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        match words[..] {
            [] | ["help"] => Ok(Command::Help),
            ["status"] => Ok(Command::Status { json: false }),
            ["status", "json"] => Ok(Command::Status { json: true }),
            ["known"] => Ok(Command::Known { ip: None }),
            ["known", ip] => Ok(Command::Known { ip: Some(any_ip("known", ip)?) }),
            ["forget", ip] => Ok(Command::Forget { ip: any_ip("forget", ip)? }),
            ["report", ip, first, ..] => {
                // All that stands after the address, as it was typed.
                let start = first.as_ptr() as usize - arguments.as_ptr() as usize;
                Ok(Command::Report { ip: any_ip("report", ip)?, reason: arguments[start..].trim_end() })
            }
            ["metrics"] => Ok(Command::Metrics),
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

fn any_ip(command: &str, text: &str) -> Result<IpAddr, String> {
    let ip = text.parse::<IpAddr>().map(|ip| ip.to_canonical());
    ip.map_err(|_| format!("{command} \"{text}\": expected an IPv4 or IPv6 address"))
}

/// Only an address that is nobody's: a test must not ban anyone.
fn test_ip(text: &str) -> Result<IpAddr, String> {
    let ip: Option<IpAddr> = text.parse().ok();
    ip.filter(|ip| is_documentation(*ip)).ok_or_else(|| {
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
        let ip: IpAddr = "2001:db8::7".parse().unwrap();
        for (typed, command) in [
            ("", Command::Help),
            (" status  json ", Command::Status { json: true }),
            ("known", Command::Known { ip: None }),
            ("known 2001:db8::7", Command::Known { ip: Some(ip) }),
            ("known ::ffff:10.0.0.1", Command::Known { ip: Some([10, 0, 0, 1].into()) }),
            ("forget 2001:db8::7", Command::Forget { ip }),
            ("report  2001:db8::7  calls to  nowhere ", Command::Report { ip, reason: "calls to  nowhere" }),
            ("metrics", Command::Metrics),
            ("test", Command::Test { ip: TEST_IP, count: 10 }),
            ("test 2001:db8::7 3", Command::Test { ip, count: 3 }),
        ] {
            assert_eq!(Command::parse(typed), Ok(command), "{typed}");
        }
    }

    #[test]
    fn what_is_refused_names_the_value_and_what_is_accepted() {
        for (typed, value, accepted) in [
            ("statsu", "statsu", "status [json]"),
            ("status xml", "xml", "status [json]"),
            ("reload now", "now", "reload"),
            ("known me", "\"me\"", "IPv4 or IPv6"),
            ("forget", "forget", "forget IP"),
            ("forget 1.2.3", "\"1.2.3\"", "IPv4 or IPv6"),
            ("report 1.2.3.4", "report 1.2.3.4", "report IP REASON"),
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
            let first = words.split(' ').next().unwrap();
            assert!(help().contains(&format!("fail2ban {first}")), "{words}");
            assert!(SYNTAX.to_string_lossy().contains(first), "{words}");
        }
    }
}
