//! The documents, the shipped settings, the fail2ban filter and the CrowdSec parser say the same as the code.
//!
//! Anyone who adds an event type, a cause, a parameter, a command or a metric sees here where else it belongs; for a message
//! it is `support/diagnostics.rs`, with whatever test provokes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, wait_until};
use mod_fail2ban::console::command as console;
use mod_fail2ban::decision::cause::CAUSES;
use mod_fail2ban::event::event_type::{EventType, Forgeable};
use mod_fail2ban::event::field::Field;
use mod_fail2ban::settings::format::Format;
use mod_fail2ban::settings::{Settings, parse::PARAMETERS};
use quick_xml::events::Event as Xml;
use serde_json::Value;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            the_manual_has_every_event_type_with_its_classic_message_and_no_other,
            the_security_document_says_of_every_event_type_what_the_table_says,
            the_manual_has_every_cause_with_what_the_table_says_of_it_and_no_other,
            the_filter_knows_the_names_and_messages_of_what_it_reads,
            the_crowdsec_parser_reads_attackers_alone,
            the_shipped_settings_have_every_parameter_with_a_comment_and_no_other,
            the_shipped_settings_are_for_new_installations,
            the_manual_has_every_parameter_and_no_other,
            the_manual_has_every_command_and_no_other,
            the_manual_has_every_mode_of_the_filter_and_no_other,
            the_manual_has_the_fields_in_their_order,
            the_manual_has_every_member_of_the_status_and_every_metric,
            the_manual_page_is_made_from_its_source_as_it_is_now,
            every_link_leads_somewhere,
            the_readme_has_at_most_150_lines_and_names_the_two_commands,
            the_chinese_quickstart_has_the_commands_of_the_readme_and_no_other,
            every_piece_of_xml_in_the_documents_can_be_read,
            the_picture_shows_the_recorded_terminal,
        ],
    );
}

const MANUAL: &str = "docs/mod_fail2ban.8.md";
const SETTINGS: &str = "conf/autoload_configs/fail2ban.conf.xml";
const FILTER: &str = "conf/fail2ban/filter.d/freeswitch-fail2ban.conf";
/// As an operator meets them in the shipped file.
const SHIPPED_ORDER: [&str; 12] = [
    "logfile",
    "format",
    "events",
    "trusted-acl",
    "known-for",
    "attacker-after",
    "refuse-attackers",
    "ipv6-prefix",
    "proxy",
    "client-address-header",
    "buffer-size",
    "challenge-timeout",
];
const CROWDSEC: &str = "conf/crowdsec/switch/parsers/s01-parse/freeswitch-fail2ban.yaml";

/// Good phones cause these all day, so they are not logged unless somebody asks for it.
const HARMLESS: [EventType; 2] = [EventType::RegisterAttempt, EventType::Challenge];

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    let path = project().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(event_types: impl IntoIterator<Item = EventType>) -> BTreeSet<&'static str> {
    event_types.into_iter().map(EventType::name).collect()
}

fn all() -> impl Iterator<Item = EventType> {
    EventType::ALL.iter().copied()
}

/// A section of a Markdown text: from its heading to the next one of that level or above.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + 1;
    let level = heading.len() - heading.trim_start_matches('#').len();
    let rest = &text[start + heading.len()..];
    let ends = (2..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

/// What stands between two texts, as often as it does.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once(before)
        && let Some((part, more)) = from.split_once(after)
    {
        found.push(part);
        rest = more;
    }
    found
}

/// With a space for each line break and the indentation after it.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn the_manual_has_every_event_type_with_its_classic_message_and_no_other() {
    let manual = read(MANUAL);
    let mut listed = Vec::new();
    for bullet in section(&manual, "## EVENT TYPES").lines().filter(|line| line.starts_with("- **")) {
        let name = between(bullet, "- **", "**")[0];
        let message = between(bullet, "(`", "`)").first().copied().unwrap_or_default();
        listed.push((name.to_owned(), message.to_owned()));
    }
    let table: Vec<_> =
        all().map(|these| (these.name().to_owned(), these.row().message.trim_end().to_owned())).collect();
    assert_eq!(listed, table, "{MANUAL}, EVENT TYPES");
}

fn the_security_document_says_of_every_event_type_what_the_table_says() {
    let text = read("docs/security.md");
    let rows = section(&text, "## Requests can be forged").lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<(String, String, String)> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), cells[3].to_owned())
        })
        .filter(|(name, ..)| !name.contains(' '))
        .collect();
    let table: Vec<_> = all()
        .map(|these| {
            let over_udp = match these.row().forgeable {
                Forgeable::OverUdp => "yes",
                Forgeable::Never => "no",
            };
            (these.name().to_owned(), over_udp.to_owned(), "no".to_owned())
        })
        .collect();
    assert_eq!(listed, table, "docs/security.md, the table of requests that can be forged");
}

fn the_manual_has_every_cause_with_what_the_table_says_of_it_and_no_other() {
    let manual = read(MANUAL);
    let bullets = between(section(&manual, "## THE DECISION"), "\n- **", "):");
    let table: Vec<_> = CAUSES
        .iter()
        .map(|row| {
            let s = if row.points == 1 { "" } else { "s" };
            let levels = if row.by_one_packet { "no level" } else { "raises levels" };
            let needs = if row.without_known { "always counts" } else { "needs known-for" };
            format!("{}** ({} point{s}; {levels}; {needs}", row.name, row.points)
        })
        .collect();
    assert_eq!(bullets, table, "{MANUAL}, THE DECISION");
}

fn the_filter_knows_the_names_and_messages_of_what_it_reads() {
    let filter = read(FILTER);
    let value = |name: &str| {
        let line = filter.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix("= "));
        line.unwrap_or_else(|| panic!("{FILTER}: no {name}")).to_owned()
    };
    let failures = [EventType::RegisterFailure, EventType::VertoLoginFailure].map(EventType::row);
    assert_eq!(value("_failure "), failures.map(|row| row.name).join("|"), "{FILTER}, _failure");
    assert_eq!(value("_failure_text "), failures.map(|row| row.message).join("|"), "{FILTER}, _failure_text");
    let attacker = EventType::Attacker.row();
    let (_, mode) = filter.split_once("\nmdre-attackers = ").expect("the mode attackers");
    let regexes: Vec<_> = mode.lines().take(3).map(str::trim).collect();
    let starts = [
        format!("^{} source=<SUBNET> ", attacker.name),
        format!("^{} ", attacker.message),
        format!("^\\{{\"time\":\"\",\"event\":\"{}\"", attacker.name),
    ];
    for (regex, start) in regexes.iter().zip(&starts) {
        assert!(regex.starts_with(start), "{FILTER}, mode attackers: {regex} does not begin with {start}");
    }
}

fn the_crowdsec_parser_reads_attackers_alone() {
    let parser = read(CROWDSEC);
    let events = between(&parser, "JsonExtract(evt.Parsed.message, 'event') == '", "'");
    assert_eq!(events, [EventType::Attacker.name()], "{CROWDSEC}, filter");
}

fn the_shipped_settings_have_every_parameter_with_a_comment_and_no_other() {
    let text = read(SETTINGS);
    assert_eq!(between(&text, "<param name=\"", "\""), SHIPPED_ORDER, "{SETTINGS}, parameters");
    let order: BTreeSet<_> = SHIPPED_ORDER.into_iter().collect();
    assert_eq!(order, PARAMETERS.into_iter().collect(), "the parameters in the code");
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("<param ")) {
        let before = lines[number - 1];
        assert!(
            before.ends_with("-->") && !before.contains("<param "),
            "{SETTINGS}: no comment before {line}"
        );
    }
}

fn the_shipped_settings_are_for_new_installations() {
    let (settings, warnings) = Settings::parse(&read(SETTINGS), Path::new("/var/log/freeswitch")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.format, Format::Dated);
    assert_eq!((settings.known_for, settings.attacker_after), (Duration::from_secs(86_400), 10));
    assert!(settings.refuse_attackers);
    let logged: BTreeSet<_> = settings.event_names().into_iter().collect();
    let mut expected: BTreeSet<_> = names(all()).difference(&names(HARMLESS)).copied().collect();
    // Attackers are logged, whatever is asked for.
    expected.remove(EventType::Attacker.name());
    assert_eq!(logged, expected, "{SETTINGS}, events");
}

fn the_manual_has_every_parameter_and_no_other() {
    let manual = read(MANUAL);
    let listed: Vec<_> = between(section(&manual, "## SETTINGS"), "\n### ", "\n");
    assert_eq!(listed, PARAMETERS, "{MANUAL}, SETTINGS");
}

fn the_manual_has_every_command_and_no_other() {
    let manual = read(MANUAL);
    let syntax = format!("`fail2ban {}`", console::SYNTAX.to_string_lossy());
    assert!(section(&manual, "## SYNOPSIS").contains(&syntax), "the synopsis lacks {syntax}");
    let listed: Vec<_> = between(section(&manual, "## CONSOLE"), "\n- **fail2ban ", "**")
        .into_iter()
        .filter_map(|command| command.split(' ').next())
        .collect();
    let mut commands: Vec<_> =
        console::COMPLETIONS.iter().filter_map(|words| words.split(' ').next()).collect();
    commands.dedup();
    assert_eq!(listed, commands, "{MANUAL}, CONSOLE");
}

fn the_manual_has_every_mode_of_the_filter_and_no_other() {
    let filter = read(FILTER);
    let manual = read(MANUAL);
    let (section, old) = section(&manual, "## THE FAIL2BAN JAIL")
        .split_once("Release 1.1.0's ")
        .expect("the modes of release 1.1.0");
    let mut listed = between(section, "\n- **", "**");
    let old = old.split("mean").next().unwrap_or_default();
    listed.extend(between(old, "`", "`"));
    let modes: Vec<_> = between(&filter, "\nmdre-", "=").into_iter().map(str::trim).collect();
    assert_eq!(listed, modes, "{MANUAL}, THE FAIL2BAN JAIL");
    let jails = read("conf/fail2ban/jail.d/freeswitch-fail2ban.conf");
    let enabled = between(&jails, "\n[", "]")[0];
    assert!(section.contains(&format!("**{enabled}** ")), "the manual lacks the jail {enabled}");
}

fn the_manual_has_the_fields_in_their_order() {
    let fields = Field::WRITTEN.map(|(_, name)| name);
    let all: Vec<_> = ["ip", "via", "known"].iter().chain(&fields).map(|name| format!("`{name}`")).collect();
    let sentence = format!("In this order: {}.", all.join(", "));
    assert!(joined(&read(MANUAL)).contains(&sentence), "expected: {sentence}");
}

fn the_manual_has_every_member_of_the_status_and_every_metric() {
    let manual = read(MANUAL);
    let code = between(section(&manual, "## STATUS"), "`", "`").join(" ");
    let listed: BTreeSet<_> =
        code.split(|char: char| !(char.is_ascii_alphanumeric() || "_-".contains(char))).collect();
    let switch = switch_with_everything_to_report();
    let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
    let mut members = BTreeSet::new();
    add_members(&status, &mut members);
    let (events, parameters) = (names(all()), BTreeSet::from(PARAMETERS));
    let causes: BTreeSet<_> = CAUSES.iter().map(|row| row.name).collect();
    let lacking: Vec<_> = members
        .iter()
        .map(String::as_str)
        .filter(|name| ![&listed, &events, &parameters, &causes].iter().any(|names| names.contains(name)))
        .collect();
    assert!(lacking.is_empty() && members.len() > 30, "STATUS lacks {lacking:?} of {members:?}");

    let section = section(&manual, "## METRICS");
    let text = switch.api("fail2ban metrics");
    let metrics: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    assert!(metrics.len() > 10, "{text}");
    for metric in metrics {
        assert!(section.contains(&format!("`{metric}`")), "METRICS lacks {metric}");
    }
}

/// A switch whose log can't be written, that knows an address, at which somebody has failed there and elsewhere until
/// an attacker was found and an account under attack: no list of its status is empty.
fn switch_with_everything_to_report() -> Switch {
    let params = [
        ("logfile", "/dev/full"),
        ("known-for", "1d"),
        ("attacker-after", "10"),
        ("events", "register_failure"),
    ];
    let params = params.map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>"));
    let switch = Switch::loaded(&params.concat());
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "SUCCESS"));
    wait_until("the login", || switch.api("fail2ban known 10.0.0.7").contains("1009"));
    switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
    for number in 0..20 {
        switch.fire_event(&Event::register_failure("1009", &format!("198.51.100.{}", number.min(10))));
    }
    wait_until("the failures in the status", || {
        let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
        let has_some = |list: &Value| list.get(0).is_some();
        status["last_error"].is_object()
            && has_some(&status["known"]["failing"])
            && has_some(&status["attackers"])
            && has_some(&status["accounts_under_attack"])
    });
    switch
}

/// The names of all members of an object, of those in it as well.
fn add_members(value: &Value, members: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            members.extend(object.keys().cloned());
            object.values().for_each(|value| add_members(value, members));
        }
        Value::Array(values) => values.iter().for_each(|value| add_members(value, members)),
        _ => {}
    }
}

fn the_manual_page_is_made_from_its_source_as_it_is_now() {
    let source = words(&read(MANUAL).replace("\\<", "<").replace("\\>", ">"));
    let mut page = String::new();
    for line in read("docs/mod_fail2ban.8").lines() {
        // Requests of roff's, of which only headings hold words.
        let text = match line.strip_prefix('.') {
            Some(request) => {
                let heading = ["SH ", "SS ", "TH "].iter().find_map(|name| request.strip_prefix(name));
                heading.unwrap_or_default()
            }
            None => line,
        };
        page += text;
        page += "\n";
    }
    for escape in ["\\fB", "\\fI", "\\fP", "\\fR", "\\&"] {
        page = page.replace(escape, "");
    }
    let page = words(&page.replace("\\-", "-").replace("\\(bu 2", ""));
    let differs = source.iter().zip(&page).position(|(there, here)| there != here);
    let around = |words: &[String]| {
        let at = differs.unwrap_or(0);
        words[at.saturating_sub(5)..words.len().min(at + 5)].join(" ")
    };
    assert!(
        differs.is_none() && source.len() == page.len(),
        "docs/mod_fail2ban.8 is not made from {MANUAL} as it is now: run `make man`\n{}\n{}",
        around(&source),
        around(&page)
    );
}

/// Words of letters and digits alone, so that no markup counts.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Every Markdown file of the project's.
fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for folder in [".", "docs", "tests", "benches"] {
        for file in fs::read_dir(project().join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    assert!(documents.len() > 8, "{documents:?}");
    documents
}

/// The text without what is between ``` and ```.
fn without_code(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = without_code(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|char| char.is_alphanumeric() || "-_ ".contains(*char));
            kept.map(|char| if char == ' ' { '-' } else { char }).collect()
        })
        .collect()
}

fn every_link_leads_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let without = without_code(&text);
        let images =
            between(&without, "srcset=\"", "\"").into_iter().chain(between(&without, "src=\"", "\""));
        for link in between(&without, "](", ")").into_iter().chain(images) {
            if link.starts_with("https://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: {link}: no such heading", document.display());
            }
        }
    }
    assert!(count > 30, "{count}");
}

fn the_readme_has_at_most_150_lines_and_names_the_two_commands() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    assert!(readme.contains("\nmake demo ") && readme.contains("\nmake test "));
}

/// What is to be typed or written between two headings: the lines of the pieces of code, without comments, but for what
/// is folded away.
fn commands(text: &str, from: &str, to: &str) -> Vec<String> {
    let (_, rest) = text.split_once(&format!("\n{from}\n")).unwrap_or_else(|| panic!("no {from}"));
    let (part, _) = rest.split_once(&format!("\n{to}\n")).unwrap_or_else(|| panic!("no {to}"));
    let code = part.split("```").skip(1).step_by(2).flat_map(str::lines);
    let lines = code.map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned());
    lines.filter(|line| !["", "sh", "xml"].contains(&line.as_str())).collect()
}

fn the_chinese_quickstart_has_the_commands_of_the_readme_and_no_other() {
    let there = commands(&read("README.md"), "## Install", "## Every day");
    let here = commands(&read("docs/quickstart.zh-CN.md"), "## 安装", "## 日常");
    assert_eq!(here, there, "docs/quickstart.zh-CN.md, README.md");
    assert!(here.len() > 15, "{here:?}");
}

fn every_piece_of_xml_in_the_documents_can_be_read() {
    let mut count = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for piece in between(&text, "```xml\n", "```") {
            let mut reader = quick_xml::Reader::from_str(piece);
            let mut depth = 0;
            loop {
                match reader.read_event() {
                    Ok(Xml::Eof) => break,
                    Ok(Xml::Start(_)) => depth += 1,
                    Ok(Xml::End(_)) => depth -= 1,
                    Ok(_) => {}
                    Err(error) => panic!("{}: {error}: {piece}", document.display()),
                }
            }
            assert_eq!(depth, 0, "{}: {piece}", document.display());
            count += 1;
        }
    }
    assert!(count > 2, "{count}");
}

fn the_picture_shows_the_recorded_terminal() {
    let transcript = read("docs/attack.txt");
    for part in [
        "     10 403 Forbidden\n",
        "# the correct password\n403 Forbidden\n",
        "# its owner, elsewhere\n200 OK\n",
        "\nattacker source=10.99.0.2 ",
        "\nswitch# fs_cli -x 'fail2ban attackers'\nsource ",
        "\n10.99.0.2: 10 of 10 points: ",
        "elements = { 10.99.0.2 }\n",
        "\nno answer\n",
    ] {
        assert!(transcript.contains(part), "record it again: {part} is not in {transcript}");
    }
    for theme in ["light", "dark"] {
        let picture = read(&format!("docs/attack-{theme}.svg"));
        let mut text = String::new();
        let mut inside_tag = false;
        for char in picture.chars() {
            match char {
                '<' => inside_tag = true,
                '>' => inside_tag = false,
                _ if !inside_tag => text.push(char),
                _ => {}
            }
        }
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        for line in transcript.lines() {
            assert!(text.lines().any(|shown| shown == line), "run scripts/picture: {theme} lacks {line}");
        }
    }
}
