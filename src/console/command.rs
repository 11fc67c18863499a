//! The console command: `fail2ban status | attackers | why | forgive | …`.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::console::status::{Status, duration};
use crate::console::{attackers, forgive, metrics, why, why_account, words};
use crate::decision::Source;
use crate::dispatch;
use crate::event::address::{self, is_documentation};
use crate::event::event_type::EventType;
use crate::host::clock;
use crate::memory::known::Address;
use crate::settings::xml::FILE;
use crate::target::{self, Target};

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command<'a> {
    Status { json: bool },
    Attackers,
    Why(Whom<'a>),
    Forgive(Whom<'a>),
    Known(Option<Source>),
    Forget(Source),
    Report { ip: IpAddr, reason: &'a str },
    Metrics,
    Reload,
    Reopen,
    Test { ip: IpAddr, count: u32 },
    Help,
}

/// Of whom an operator speaks. A source is an address in it, or a network as the answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom<'a> {
    Source(Source),
    Account(&'a str),
}

/// As the console's own help shows it.
pub const SYNTAX: &CStr =
    c"status [json] | attackers | why IP|USER[@DOMAIN] | forgive IP|USER[@DOMAIN] | known [IP] | forget IP | report IP REASON | metrics | reload | reopen | test [IP [COUNT]] | help";

/// What the console completes.
pub const COMPLETIONS: [&str; 13] = [
    "status",
    "status json",
    "attackers",
    "why",
    "forgive",
    "known",
    "forget",
    "report",
    "metrics",
    "reload",
    "reopen",
    "test",
    "help",
];

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
        Command::Attackers => attackers::answer(target),
        Command::Why(Whom::Source(typed)) => why::answer(target, meant(target, *typed)),
        Command::Why(Whom::Account(typed)) => why_account::answer(target, typed),
        Command::Forgive(Whom::Source(typed)) => forgive::source(target, meant(target, *typed)),
        Command::Forgive(Whom::Account(typed)) => forgive::account(target, typed),
        Command::Known(typed) => known(target, *typed),
        Command::Forget(typed) => {
            let source = meant(target, *typed);
            let was_known = journal.with_memory(|now, memory| {
                let was_known = memory.known.as_mut().is_some_and(|known| known.forget(now, source));
                memory.has_changed |= was_known;
                was_known
            });
            if was_known {
                format!("+OK {source} is known no more, until its credentials are accepted again\n")
            } else {
                format!("-ERR {source} is not known\n")
            }
        }
        Command::Report { ip, reason } => report(target, *ip, reason),
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
            let settings = journal.settings();
            let attacker = match journal.record_test(&settings, *ip, *count) {
                true => format!(", and the attacker line of {}", settings.source_of(*ip)),
                false if !settings.decides() => "; no attacker line, since attacker-after is 0".into(),
                false => format!("; no attacker line, which comes at failure {TEST_COUNT}"),
            };
            format!("+OK {count} lines for {ip} in {}{attacker}\n", settings.logfile.display())
        }
        Command::Help => help(),
    }
}

/// The source that is meant by what was typed.
fn meant(target: &Target, typed: Source) -> Source {
    if typed.is_network() { typed } else { target.journal.settings().source_of(typed.first()) }
}

/// An operator's report, whether or not it is logged: the source is an attacker, unless it is known or trusted.
fn report(target: &Target, ip: IpAddr, reason: &str) -> String {
    let settings = target.journal.settings().clone();
    let is_logged = settings.logs(EventType::Reported);
    if !is_logged && !settings.decides() {
        return format!(
            "-ERR nothing follows from a report: attacker-after is 0, and reported is not among the events in \
             {FILE}.xml\n"
        );
    }
    if dispatch::report(target, ip, reason) {
        return format!("+OK {ip} is trusted: it is no attacker, and the report is not logged\n");
    }
    let source = settings.source_of(ip);
    let (is_known, report) = target.journal.with_memory(|now, memory| {
        let report = memory.engine.as_mut().and_then(|engine| engine.why(now, source));
        (memory.is_known(now, source), report)
    });
    let attack = report.and_then(|report| report.attack).filter(|_| is_known != Some(true));
    let what_follows = match attack {
        Some(attack) if !settings.is_own(ip) => {
            let refused = match attack.remaining() {
                seconds if settings.refuse_attackers && seconds > 0 => {
                    format!(", refused for another {}", words::time(seconds))
                }
                _ => String::new(),
            };
            format!("{source} is an attacker of level {}{refused}", attack.level)
        }
        _ if is_known == Some(true) => format!("{source} is known, and so no attacker"),
        _ if settings.is_own(ip) => "an address of this switch is no attacker".into(),
        _ => "nobody is an attacker, since attacker-after is 0".into(),
    };
    let place = if is_logged { format!(" in {}", settings.logfile.display()) } else { String::new() };
    format!("+OK {ip} is reported{place}: {what_follows}\n")
}

/// The known sources, those first that were seen last.
fn known(target: &Target, typed: Option<Source>) -> String {
    if !target.journal.settings().tracks_known() {
        return "-ERR no address is ever known: known-for is 0\n".into();
    }
    let mut all = target.journal.known_addresses();
    all.retain(|address| typed.is_none_or(|typed| address.source.contains(typed.first())));
    if let (Some(typed), true) = (typed, all.is_empty()) {
        return format!("-ERR {} is not known\n", meant(target, typed));
    }
    all.sort_by_key(|address| (std::cmp::Reverse(address.seen), address.source));
    let now = clock::now().seconds();
    let mut out = format!("{:<40} {:>14} {:>9}  account\n", "source", "accepted", "failures");
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
         {TEST_IP}), and at the tenth that it is an attacker: the jail bans it like any other"
    );
    let lines = [
        ("status [json]", "the active settings, what was written and dropped, who is busiest"),
        (
            "attackers",
            "who is an attacker now: level, causes, since when, refused for how long and how often",
        ),
        (
            "why IP|USER[@DOMAIN]",
            "what a source did and what follows from it; where an account fails and is refused",
        ),
        ("forgive IP|USER[@DOMAIN]", "no points, no attacker, not refused"),
        ("known [IP]", "the sources whose credentials were accepted lately, and for which account"),
        ("forget IP", "make a source unknown, until its credentials are accepted again"),
        ("report IP REASON", "make a source an attacker, unless it is known or trusted"),
        ("metrics", "the counters in the OpenMetrics text format"),
        ("reload", "read fail2ban.conf.xml again; a bad one changes nothing"),
        ("reopen", "open the log file again"),
        ("test [IP [COUNT]]", &test),
        ("help", "this"),
    ];
    lines.iter().map(|(syntax, what)| format!("fail2ban {syntax:<24} {what}\n")).collect()
}

impl Command<'_> {
    fn parse(arguments: &str) -> Result<Command<'_>, String> {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        match words[..] {
            [] | ["help"] => Ok(Command::Help),
            ["status"] => Ok(Command::Status { json: false }),
            ["status", "json"] => Ok(Command::Status { json: true }),
            ["attackers"] => Ok(Command::Attackers),
            ["why", first, ..] => Ok(Command::Why(whom(rest(arguments, first)))),
            ["forgive", first, ..] => Ok(Command::Forgive(whom(rest(arguments, first)))),
            ["known"] => Ok(Command::Known(None)),
            ["known", source] => Ok(Command::Known(Some(any_source("known", source)?))),
            ["forget", source] => Ok(Command::Forget(any_source("forget", source)?)),
            ["report", ip, first, ..] => {
                Ok(Command::Report { ip: any_ip("report", ip)?, reason: rest(arguments, first) })
            }
            ["metrics"] => Ok(Command::Metrics),
            ["reload"] => Ok(Command::Reload),
            ["reopen"] => Ok(Command::Reopen),
            ["test"] => Ok(Command::Test { ip: TEST_IP, count: TEST_COUNT }),
            ["test", ip] => Ok(Command::Test { ip: test_ip(ip)?, count: TEST_COUNT }),
            ["test", ip, count] => Ok(Command::Test { ip: test_ip(ip)?, count: test_count(count)? }),
            _ => Err(format!(
                "fail2ban \"{}\" is not understood: expected {}",
                arguments.trim(),
                SYNTAX.to_string_lossy()
            )),
        }
    }
}

/// All that was typed from a word on.
fn rest<'a>(arguments: &'a str, word: &str) -> &'a str {
    arguments[word.as_ptr() as usize - arguments.as_ptr() as usize..].trim_end()
}

/// As it is copied from somewhere: an address may have a port, an account `sip:` before it.
fn whom(text: &str) -> Whom<'_> {
    let text = text.trim_start_matches('<').trim_end_matches('>');
    let scheme = ["sip:", "sips:"].into_iter().find_map(|scheme| {
        text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| scheme.len())
    });
    let text = &text[scheme.unwrap_or(0)..];
    let source =
        text.parse().ok().or_else(|| address::parse(text.as_bytes()).map(|(ip, _)| Source::single(ip)));
    source.map_or(Whom::Account(text), Whom::Source)
}

fn any_source(command: &str, text: &str) -> Result<Source, String> {
    text.parse()
        .map_err(|_| format!("{command} \"{text}\": expected an IPv4 or IPv6 address, or an IPv6 network"))
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
            ("attackers", Command::Attackers),
            ("why 2001:db8::7", Command::Why(Whom::Source(Source::single(ip)))),
            ("why 2001:db8::/64", Command::Why(Whom::Source("2001:db8::/64".parse().unwrap()))),
            ("why 1009@switch.example ", Command::Why(Whom::Account("1009@switch.example"))),
            ("why [2001:db8::7]:5060", Command::Why(Whom::Source(Source::single(ip)))),
            ("why <SIP:1009@switch.example>", Command::Why(Whom::Account("1009@switch.example"))),
            ("forgive a  b", Command::Forgive(Whom::Account("a  b"))),
            ("known", Command::Known(None)),
            ("known 2001:db8::7", Command::Known(Some(Source::single(ip)))),
            ("known ::ffff:10.0.0.1", Command::Known(Some(Source::single([10, 0, 0, 1].into())))),
            ("forget 2001:db8::7", Command::Forget(Source::single(ip))),
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
            ("why", "why", "why IP|USER[@DOMAIN]"),
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
