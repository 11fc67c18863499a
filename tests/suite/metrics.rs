//! `fail2ban metrics`: read by Prometheus' own parser, and held against what the shipped rules, the dashboard and
//! the scripts ask for.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::needs;
use crate::support::suite::{Suite, Why, tests};
use crate::support::{Event, Switch, wait_until};
use mod_fail2ban::event::event_type::EventType;
use serde::Deserialize;
use serde_json::Value;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add_with(
        &[needs::stand_in],
        "prometheus",
        parser,
        tests![
            all_is_there_from_the_start_and_counters_at_0,
            no_label_holds_what_an_attacker_has_written,
            the_figures_are_those_of_status,
            attackers_suspects_and_accounts_under_attack_are_counted,
        ],
    );
    suite.add(&[], tests![every_figure_that_is_asked_for_is_there]);
}

fn events() -> Vec<&'static str> {
    EventType::ALL.iter().map(|event_type| event_type.name()).collect()
}

fn everything() -> String {
    let events = events().join(",");
    format!("<param name=\"events\" value=\"{events}\"/><param name=\"known-for\" value=\"1d\"/>")
}

/// Where Prometheus' client library for Python is unpacked: Debian's package.
fn parser() -> Result<PathBuf, Why> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-client");
    let mut command = Command::new(root.join("tests/support/unpack.sh"));
    command.arg(&folder).args(["own", "python3-prometheus-client", "python3-decorator"]);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if output.status.success() {
        Ok(folder.join("usr/lib/python3/dist-packages"))
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Why::Missing(format!("Debian's python3-prometheus-client is not to be had: {why}")))
    }
}

/// A sample, as the parser gives it.
#[derive(Debug, Deserialize)]
struct Sample {
    kind: String,
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads the text as Prometheus does.
fn parsed(parser: &Path, text: &str) -> Vec<Sample> {
    const SCRIPT: &str = "import json, sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as families\n\
        print(json.dumps([[f.type, s.name, sorted(s.labels.items()), s.value] \
        for f in families(sys.stdin.read()) for s in f.samples]))";
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", parser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    python.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "Prometheus' parser refuses this:\n{text}");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

fn metrics(switch: &Switch) -> String {
    switch.api("fail2ban metrics")
}

/// What a sample is about, without its value.
fn series(samples: &[Sample]) -> BTreeSet<(String, Vec<(String, String)>)> {
    samples.iter().map(|sample| (sample.name.clone(), sample.labels.clone())).collect()
}

fn value(samples: &[Sample], name: &str, label: &str) -> f64 {
    let found = samples
        .iter()
        .find(|sample| sample.name == name && sample.labels.iter().all(|(_, value)| value == label));
    found.unwrap_or_else(|| panic!("no {name} of {label:?}: {samples:?}")).value
}

fn all_is_there_from_the_start_and_counters_at_0(parser: PathBuf) {
    let switch = Switch::loaded(&everything());
    let samples = parsed(&parser, &metrics(&switch));
    assert_eq!(series(&samples).len(), samples.len(), "a sample is there twice: {samples:?}");
    for sample in samples.iter().filter(|sample| sample.kind == "counter") {
        assert!(sample.value == 0.0 && sample.name.ends_with("_total"), "{sample:?}");
    }
    for name in [
        "fail2ban_events_seen_total",
        "fail2ban_lines_written_total",
        "fail2ban_lines_dropped_total",
        "fail2ban_lines_waiting",
        "fail2ban_events_known_total",
        "fail2ban_events_trusted_total",
        "fail2ban_events_no_address_total",
    ] {
        let of_name = samples.iter().filter(|sample| sample.name == name);
        let labels: Vec<_> = of_name
            .flat_map(|sample| &sample.labels)
            .map(|(label, value)| (&label[..], &value[..]))
            .collect();
        let expected: Vec<_> = events().into_iter().map(|event| ("event", event)).collect();
        assert_eq!(labels, expected, "{name}");
    }
    for (state, expected) in [("writing", 1.0), ("failing", 0.0), ("stuck", 0.0)] {
        assert_eq!(value(&samples, "fail2ban_writer_state", state), expected, "{state}");
    }
    assert_eq!(value(&samples, "fail2ban_buffer_size_bytes", ""), f64::from(8 << 20));
    for name in [
        "fail2ban_attackers",
        "fail2ban_suspects",
        "fail2ban_accounts_under_attack",
        "fail2ban_attackers_found_total",
        "fail2ban_attackers_evicted_total",
        "fail2ban_refused_total",
    ] {
        assert_eq!(value(&samples, name, ""), 0.0, "{name}");
    }
}

fn no_label_holds_what_an_attacker_has_written(parser: PathBuf) {
    let switch = Switch::loaded(&everything());
    let before = parsed(&parser, &metrics(&switch));
    let hostile = "x\"} 1\n# EOF\nfail2ban_lines_dropped_total{event=\"hostile";
    for ip in ["10.0.0.7", "2001:db9::7"] {
        for _ in 0..6 {
            switch.fire_event(&Event::register_failure(hostile, ip));
        }
        switch.fire_event(&Event::verto_login(hostile, ip, false));
        switch.fire_event(&Event::wrong_call_state(hostile, ip));
        switch.fire_event(&Event::challenge(hostile, ip).with("user-agent", hostile));
        switch.fire_event(&Event::register_attempt(hostile, ip, "SUCCESS").with("realm", hostile));
        switch.api(&format!("fail2ban report {ip} {}", hostile.replace('\n', " ")));
    }
    let answer = metrics(&switch);
    for theirs in ["hostile", "10.0.0.7", "2001:db9::7"] {
        assert!(!answer.contains(theirs), "{answer}");
    }
    let after = parsed(&parser, &answer);
    assert_eq!(series(&before), series(&after));
    assert_eq!(value(&after, "fail2ban_events_seen_total", "success_after_failures"), 2.0);
    assert_eq!(value(&after, "fail2ban_known_addresses", ""), 2.0);
}

fn the_figures_are_those_of_status(parser: PathBuf) {
    let switch = Switch::loaded(&(everything() + "<param name=\"trusted-acl\" value=\"10.9.0.0/16\"/>"));
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "SUCCESS"));
    wait_until("the login", || switch.api("fail2ban known 10.0.0.7").contains("1009"));
    for (times, ip) in [(3, "10.0.0.7"), (2, "10.9.0.7"), (4, "10.0.0.8"), (1, "nobody")] {
        (0..times).for_each(|_| switch.fire_event(&Event::register_failure("1009", ip)));
    }
    let status = || -> Value {
        serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
    };
    wait_until("the lines", || status()["signals"]["register_failure"]["written"] == 7);
    let samples = parsed(&parser, &metrics(&switch));
    for (name, member, expected) in [
        ("fail2ban_events_seen_total", "seen", 7),
        ("fail2ban_lines_written_total", "written", 7),
        ("fail2ban_lines_dropped_total", "dropped", 0),
        ("fail2ban_events_known_total", "known", 3),
        ("fail2ban_events_trusted_total", "trusted", 2),
        ("fail2ban_events_no_address_total", "no_address", 1),
    ] {
        assert_eq!(value(&samples, name, "register_failure"), f64::from(expected), "{name}");
        assert_eq!(status()["signals"]["register_failure"][member], expected, "{member}");
    }
}

fn attackers_suspects_and_accounts_under_attack_are_counted(parser: PathBuf) {
    let switch = Switch::loaded(&(everything() + "<param name=\"attacker-after\" value=\"10\"/>"));
    for number in 1..=12 {
        switch.fire_event(&Event::register_failure("1009", &format!("198.51.100.{number}")));
    }
    for _ in 0..10 {
        switch.fire_event(&Event::register_failure("1010", "198.51.100.1"));
    }
    wait_until("the attacker", || switch.api("fail2ban attackers").contains("\n1 attacker\n"));
    let samples = parsed(&parser, &metrics(&switch));
    for (name, expected) in [
        ("fail2ban_attackers", 1.0),
        ("fail2ban_attackers_found_total", 1.0),
        ("fail2ban_suspects", 11.0),
        ("fail2ban_accounts_under_attack", 1.0),
    ] {
        assert_eq!(value(&samples, name, ""), expected, "{name}");
    }
}

/// The words in a text that begin with `fail2ban_`.
fn figures(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("fail2ban_")).collect()
}

/// What a text asks of a label: `LABEL="a"`, `LABEL!~"a|b"`, …; a dashboard escapes the quotes.
fn label_values<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    let values = text.match_indices(label).filter_map(|(at, _)| {
        let rest = text[at + label.len()..].trim_start_matches(['!', '=', '~', '\\']).strip_prefix('"')?;
        let is_matcher = text[at + label.len()..].starts_with(['!', '=']);
        if is_matcher { rest.split(['"', '\\']).next() } else { None }
    });
    values.flat_map(|value| value.split('|')).collect()
}

fn every_figure_that_is_asked_for_is_there() {
    let switch = Switch::loaded(&everything());
    let answer = metrics(&switch);
    let samples: String =
        answer.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let there = figures(&samples);
    let mut asked = 0;
    for file in ["conf/prometheus/freeswitch-fail2ban.rules.yml", "docs/grafana.json"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
        for figure in figures(&text) {
            assert!(there.contains(figure), "{file} asks for {figure}, which is not in\n{answer}");
            asked += 1;
        }
        for label in ["state", "event"] {
            let there = label_values(&samples, label);
            for value in label_values(&text, label) {
                assert!(
                    there.contains(value),
                    "{file} asks for {label}=\"{value}\", which is not in\n{answer}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 15, "no more than {asked} figures and labels found");
}
