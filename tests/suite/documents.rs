//! The documents, the shipped settings, the fail2ban filter and the CrowdSec parser say the same as the code.
//!
//! Anyone who adds an event type, a parameter, a command or a metric sees here where else it belongs; for a message
//! it is `support/diagnostics.rs`, with whatever test provokes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, wait_until};
use mod_fail2ban::console::command as console;
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
            the_manual_tells_every_event_type_with_its_classic_message_and_no_other,
            the_security_document_says_of_every_event_type_what_the_table_says,
            the_filter_counts_every_event_type_that_may_be_counted_and_knows_its_classic_message,
            the_crowdsec_parser_reads_every_event_type_but_the_harmless,
            the_shipped_settings_explain_every_parameter_and_every_event_type_and_no_other,
            the_shipped_settings_log_what_the_shipped_jail_counts,
            the_manual_has_every_parameter_and_no_other,
            the_manual_has_every_command_and_no_other,
            the_manual_has_every_mode_of_the_filter_and_no_other,
            the_manual_has_the_fields_in_their_order,
            the_manual_has_every_member_of_the_status_and_every_metric,
            the_manual_page_is_made_from_its_source_as_it_is_now,
            every_link_leads_somewhere,
            the_readme_has_at_most_150_lines_and_names_the_two_commands,
            every_piece_of_xml_in_the_documents_can_be_read,
            the_picture_shows_the_recorded_terminal,
        ],
    );
}

const MANUAL: &str = "docs/mod_fail2ban.8.md";
const SETTINGS: &str = "conf/autoload_configs/fail2ban.conf.xml";
const FILTER: &str = "conf/fail2ban/filter.d/freeswitch-fail2ban.conf";
const CROWDSEC: &str = "conf/crowdsec/switch/parsers/s01-parse/freeswitch-fail2ban.yaml";

/// Good phones cause these all day: nothing that bans may read them.
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

fn the_manual_tells_every_event_type_with_its_classic_message_and_no_other() {
    let manual = read(MANUAL);
    let mut told = Vec::new();
    for bullet in section(&manual, "## EVENT TYPES").lines().filter(|line| line.starts_with("- **")) {
        let name = between(bullet, "- **", "**")[0];
        let message = between(bullet, "(`", "`)").first().copied().unwrap_or_default();
        told.push((name.to_owned(), message.to_owned()));
    }
    let table: Vec<_> =
        all().map(|these| (these.name().to_owned(), these.row().message.trim_end().to_owned())).collect();
    assert_eq!(told, table, "{MANUAL}, EVENT TYPES");
}

fn the_security_document_says_of_every_event_type_what_the_table_says() {
    let text = read("docs/security.md");
    let rows = section(&text, "## Requests can be forged").lines().filter(|line| line.starts_with("| `"));
    let told: Vec<(String, String, String)> = rows
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
    assert_eq!(told, table, "docs/security.md, the table of requests that can be forged");
}

fn the_filter_counts_every_event_type_that_may_be_counted_and_knows_its_classic_message() {
    let filter = read(FILTER);
    let value = |name: &str| {
        let line = filter.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix("= "));
        line.unwrap_or_else(|| panic!("{FILTER}: no {name}")).to_owned()
    };
    let mut counted = BTreeSet::new();
    for list in ["_failure", "_other"] {
        let types: Vec<EventType> = value(list)
            .split('|')
            .map(|name| EventType::of_name(name).unwrap_or_else(|| panic!("{FILTER}: {name} in {list}")))
            .collect();
        let messages: Vec<_> = types.iter().map(|these| these.row().message).collect();
        assert_eq!(value(&format!("{list}_text")), messages.join("|"), "{list}_text");
        counted.extend(names(types));
    }
    let uncounted = HARMLESS.into_iter().chain([EventType::SuccessAfterFailures]);
    let expected: BTreeSet<_> = names(all()).difference(&names(uncounted)).copied().collect();
    assert_eq!(counted, expected, "{FILTER}, _failure and _other");
}

fn the_crowdsec_parser_reads_every_event_type_but_the_harmless() {
    let parser = read(CROWDSEC);
    let list = between(&parser, "in\n", "]")[0];
    let read: BTreeSet<_> = between(list, "'", "'").into_iter().collect();
    let expected: BTreeSet<_> = names(all()).difference(&names(HARMLESS)).copied().collect();
    assert_eq!(read, expected, "{CROWDSEC}, filter");
}

fn the_shipped_settings_explain_every_parameter_and_every_event_type_and_no_other() {
    let text = read(SETTINGS);
    let parameters: BTreeSet<_> = between(&text, "<param name=\"", "\"").into_iter().collect();
    assert_eq!(parameters, PARAMETERS.into_iter().collect(), "{SETTINGS}, parameters");
    // A name, at least two spaces, and what it is.
    let explained: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let (name, what) = line.trim_start().split_once("  ")?;
            let is_name =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            (is_name && !what.trim().is_empty()).then_some(name)
        })
        .collect();
    let mut expected = names(all());
    expected.extend(Format::ALL.map(|(_, name)| name));
    assert_eq!(explained, expected, "{SETTINGS}, what the comments explain");
}

fn the_shipped_settings_log_what_the_shipped_jail_counts() {
    let (settings, warnings) = Settings::parse(&read(SETTINGS), Path::new("/var/log/freeswitch")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.format, Format::Dated);
    assert!(settings.tracks_known());
    let logged: BTreeSet<_> = settings.event_names().into_iter().collect();
    let expected: BTreeSet<_> = names(all()).difference(&names(HARMLESS)).copied().collect();
    assert_eq!(logged, expected, "{SETTINGS}, events");
}

fn the_manual_has_every_parameter_and_no_other() {
    let manual = read(MANUAL);
    let told: Vec<_> = between(section(&manual, "## SETTINGS"), "\n### ", "\n");
    assert_eq!(told, PARAMETERS, "{MANUAL}, SETTINGS");
}

fn the_manual_has_every_command_and_no_other() {
    let manual = read(MANUAL);
    let syntax = format!("`fail2ban {}`", console::SYNTAX.to_string_lossy());
    assert!(section(&manual, "## SYNOPSIS").contains(&syntax), "the synopsis lacks {syntax}");
    let told: Vec<_> = between(section(&manual, "## CONSOLE"), "\n- **fail2ban ", "**")
        .into_iter()
        .filter_map(|command| command.split(' ').next())
        .collect();
    let mut commands: Vec<_> =
        console::COMPLETIONS.iter().filter_map(|words| words.split(' ').next()).collect();
    commands.dedup();
    assert_eq!(told, commands, "{MANUAL}, CONSOLE");
}

fn the_manual_has_every_mode_of_the_filter_and_no_other() {
    let filter = read(FILTER);
    let modes = between(&filter, "\nmdre-", " =");
    let manual = read(MANUAL);
    let told: Vec<_> = between(section(&manual, "## THE FAIL2BAN JAILS"), "\n- **", "**")
        .into_iter()
        .filter(|name| !name.starts_with("freeswitch-"))
        .collect();
    assert_eq!(told, modes, "{MANUAL}, THE FAIL2BAN JAILS");
    let jails = read("conf/fail2ban/jail.d/freeswitch-fail2ban.conf");
    for jail in between(&jails, "\n[", "]") {
        assert!(manual.contains(&format!("- **{jail}** ")), "the manual lacks the jail {jail}");
    }
}

fn the_manual_has_the_fields_in_their_order() {
    let fields = Field::WRITTEN.map(|(_, name)| name);
    let all: Vec<_> = ["ip", "known"].iter().chain(&fields).map(|name| format!("`{name}`")).collect();
    let sentence = format!("In this order: {}.", all.join(", "));
    assert!(joined(&read(MANUAL)).contains(&sentence), "expected: {sentence}");
}

fn the_manual_has_every_member_of_the_status_and_every_metric() {
    let manual = read(MANUAL);
    let code = between(section(&manual, "## STATUS"), "`", "`").join(" ");
    let told: BTreeSet<_> =
        code.split(|char: char| !(char.is_ascii_alphanumeric() || "_-".contains(char))).collect();
    let switch = switch_with_everything_to_report();
    let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
    let mut members = BTreeSet::new();
    add_members(&status, &mut members);
    let (events, parameters) = (names(all()), BTreeSet::from(PARAMETERS));
    let lacking: Vec<_> = members
        .iter()
        .map(String::as_str)
        .filter(|name| ![&told, &events, &parameters].iter().any(|names| names.contains(name)))
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

/// A switch whose log can't be written, that knows an address, and at which somebody has failed: no list of its
/// status is empty.
fn switch_with_everything_to_report() -> Switch {
    let params = [("logfile", "/dev/full"), ("known-for", "1d"), ("events", "register_failure")];
    let params = params.map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>"));
    let switch = Switch::loaded(&params.concat());
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "SUCCESS"));
    wait_until("the login", || switch.api("fail2ban known 10.0.0.7").contains("1009"));
    switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
    wait_until("the failures in the status", || {
        let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
        status["last_error"].is_object() && status["known"]["failing"].get(0).is_some()
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
    for folder in [".", "docs", "tests"] {
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
    assert!(transcript.contains("\nno answer\n") && transcript.contains("Banned IP list:"), "{transcript}");
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
