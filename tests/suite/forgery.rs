//! No line can be forged: whatever bytes an attacker puts into an event, one event is one line, and the line
//! says what happened and who did it.

use std::net::IpAddr;

use mod_fail2ban::decision::{Found, Source};
use mod_fail2ban::event::event_type::EventType;
use mod_fail2ban::event::field::{Field, Texts};
use mod_fail2ban::event::host_line;
use mod_fail2ban::event::signal::Signal;
use mod_fail2ban::log::line;
use mod_fail2ban::settings::format::Format;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::fail2ban::{self, Fail2ban};
use crate::support::reader;
use crate::support::suite::{Suite, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            one_event_is_one_line_that_says_who_did_what,
            an_address_is_parsed_or_there_is_no_line,
            a_line_of_the_hosts_log_gives_no_more_than_the_address_it_begins_with,
            the_strict_reader_is_strict,
        ],
    );
    for (release, get) in fail2ban::STABLE {
        suite.add_with(
            &[],
            release,
            get,
            tests![real_fail2bans_find_the_true_address_and_time_of_the_lines_that_count_and_nothing_else],
        );
    }
}

/// Bytes as they come, and bytes as an attacker would choose them.
fn hostile_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        "\\PC{0,10}".prop_map(String::into_bytes),
        proptest::sample::select(
            &[
                "x] ip[8.8.8.8] at[",
                "] ip[",
                "at[2020-01-01T00:00:00.000000+0000]",
                "\r\n A registration failed user[q] ip[9.9.9.9] at[",
                "\nA registration failed user[] ip[9.9.9.9] at[2026-11-22T00:51:58.493952+0000]\n",
                "2020-01-01T00:00:00.000000+0000 mod_fail2ban: register_failure ip=9.9.9.9 user=\"",
                "\" ip=9.9.9.9 user=\"",
                "%22 %5D %00 %",
                "%...",
                "\",\"ip\":\"9.9.9.9\",\"user\":\"",
                "\\",
                "\u{2028}\u{2029}\u{85}\u{202e}\u{feff}\u{200b}",
                "\u{ff3b}\u{ff3d}\u{3164}\u{ad}",
                "20200101T000000",
                "\0\u{1b}[31m\t\u{7f}",
                "张三 o'brien <sip:a@b;x=y>",
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        Just(vec![b'a'; 300]),
        Just(vec![0xC3; 300]),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn event_type() -> impl Strategy<Value = EventType> {
    // An attacker has a line of its own kind.
    let types = EventType::ALL.iter().copied().filter(|event_type| *event_type != EventType::Attacker);
    proptest::sample::select(types.collect::<Vec<_>>())
}

/// An event's texts, each there or not.
fn event_texts() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    proptest::collection::vec(proptest::option::of(hostile_text()), Field::COUNT)
}

fn borrowed(texts: &[Option<Vec<u8>>]) -> Texts<'_> {
    std::array::from_fn(|at| texts[at].as_deref()).into()
}

proptest! {
    fn one_event_is_one_line_that_says_who_did_what(event_type in event_type(), ip in address(), texts in event_texts()) {
        let ip_text = ip.to_string();
        let mut texts = borrowed(&texts);
        texts.set(Field::Ip, Some(ip_text.as_bytes()));
        texts.set(Field::Success, Some(b"0"));
        let signal = Signal::from_texts(event_type, texts).expect("an event with an address is a signal");
        prop_assert_eq!(signal.ip, ip.to_canonical());
        reader::check(&signal);
    }

    fn an_address_is_parsed_or_there_is_no_line(event_type in event_type(), texts in event_texts()) {
        let mut texts = borrowed(&texts);
        texts.set(Field::Success, Some(b"0"));
        if let Some(signal) = Signal::from_texts(event_type, texts) {
            reader::check(&signal);
        }
    }

    fn a_line_of_the_hosts_log_gives_no_more_than_the_address_it_begins_with(ip in address(), rest in hostile_text()) {
        let line = [format!(" IP {ip} Rejected by acl \"").as_bytes(), &rest].concat();
        let signal = host_line::parse(&line, false).expect("a rejection").signal.expect("an address");
        prop_assert_eq!(signal.ip, ip.to_canonical());
        reader::check(&signal);
        if let Some(signal) = host_line::parse(&rest, false).and_then(|rejection| rejection.signal) {
            reader::check(&signal);
        }
    }
}

/// What fail2ban has to find in a line: address, time and the filter's modes that match it; `known` is what the
/// line says of the address.
fn expected(signal: &Signal<'_>, known: Option<bool>) -> Value {
    let is_failure = matches!(signal.event_type, EventType::RegisterFailure | EventType::VertoLoginFailure);
    if !is_failure || known == Some(true) {
        return Value::Null;
    }
    json!({ "ip": signal.ip, "time": 1_795_308_718.493952, "modes": ["failures"] })
}

fn real_fail2bans_find_the_true_address_and_time_of_the_lines_that_count_and_nothing_else(
    fail2ban: &Fail2ban,
) {
    let mut runner = TestRunner::deterministic();
    let events = (event_type(), address(), event_texts());
    for format in [Format::Classic, Format::Dated, Format::Json] {
        let (mut lines, mut expectations) = (Vec::new(), String::new());
        for known in [None, Some(true), Some(false)].into_iter().cycle().take(3000) {
            let (event_type, ip, texts) = events.new_tree(&mut runner).expect("an event").current();
            // fail2ban 1.0.2 can't read "::", from where nobody sends.
            let ip = if ip.is_unspecified() { IpAddr::from([192, 0, 2, 7]) } else { ip }.to_string();
            let mut texts = borrowed(&texts);
            texts.set(Field::Ip, Some(ip.as_bytes()));
            texts.set(Field::Success, Some(b"0"));
            // What the sender writes is never a transport.
            texts.set(Field::Transport, None);
            let signal = Signal::from_texts(event_type, texts).expect("a signal");
            lines.extend(reader::written(format, &signal, known));
            let found = match format {
                // Of known addresses alone it says what they are.
                Format::Classic => expected(&signal, known.filter(|known| *known)),
                Format::Dated | Format::Json => expected(&signal, known),
            };
            expectations.push_str(&format!("{found}\n"));
            if signal.event_type == EventType::Reported {
                let found = Found::of_test(Source::of(signal.ip, 64, |_| false), signal.ip, 10);
                let mut line = Vec::new();
                line::write_attacker(&mut line, format, reader::AT, &signal, &found).unwrap();
                lines.extend(line);
                let source = found.source.to_string();
                let expected = json!({ "ip": source, "time": 1_795_308_718.493952, "modes": ["attackers"] });
                expectations.push_str(&format!("{expected}\n"));
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let [log, expected] = ["log", "expected"].map(|name| folder.path().join(name).display().to_string());
        std::fs::write(&log, lines).expect("the lines");
        std::fs::write(&expected, expectations).expect("the expectations");
        fail2ban.check_filter(&["batch", &log, &expected]).unwrap_or_else(|why| panic!("{fail2ban}: {why}"));
    }
}

fn the_strict_reader_is_strict() {
    for (format, line) in [
        (
            Format::Classic,
            "A registration failed user[x] ip[8.8.8.8] at[] ip[10.99.0.2] at[2026-11-22T00:51:58.493952+0000]\n",
        ),
        (
            Format::Classic,
            "A registration failed user[a\nb] ip[10.99.0.2] at[2026-11-22T00:51:58.493952+0000]\n",
        ),
        (Format::Classic, "A registration failed user[a] ip[10.99.0.2] at[2026-11-22T00:51:58.493952+0000]"),
        (
            Format::Dated,
            "2026-11-22T00:51:58.493952+0000 mod_fail2ban: register_failure ip=1.1.1.1 user=\"\" ip=9.9.9.9 user=\"\"\n",
        ),
        (
            Format::Dated,
            "2026-11-22T00:51:58.493952+0000 mod_fail2ban: register_failure ip=1.1.1.1 user=\"%\"\n",
        ),
        (
            Format::Json,
            "{\"time\":\"t\",\"event\":\"register_failure\",\"ip\":\"1.1.1.1\",\"other\":\"\",\"user\":\"\"}\n",
        ),
    ] {
        assert!(reader::read(format, line.as_bytes()).is_err(), "{line}");
    }
}
