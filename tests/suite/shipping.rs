//! What leaves the switch: the log, shipped to one place by Debian's rsyslog with the shipped configuration, and
//! the figures for node_exporter.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs;
use crate::support::rsyslog::{Rsyslog, rsyslog};
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, wait_until};
use tempfile::TempDir;

const SETTINGS: &str =
    r#"<param name="format" value="json"/><param name="events" value="register_failure"/>"#;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add_with(
        &[needs::stand_in],
        "rsyslog",
        rsyslog,
        tests![no_line_is_lost_or_changed_over_rotations_and_while_the_far_end_is_away],
    );
    suite.add(&[], tests![figures_are_written_whole_or_not_at_all]);
}

fn no_line_is_lost_or_changed_over_rotations_and_while_the_far_end_is_away(root: PathBuf) {
    let folder = TempDir::with_prefix("shipping-").unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = format!("port=\"{port}\"");
    let arrived = folder.path().join("arrived");
    let arrived_folder = format!("{}/", arrived.display());
    let receive = || {
        Rsyslog::start(
            &root,
            &[],
            &folder.path().join("receiver"),
            "freeswitch-fail2ban-receive.conf",
            &[("/var/log/freeswitch-fail2ban/", &arrived_folder), ("port=\"2514\"", &port)],
        )
    };
    // Named by the address that it really comes from.
    let arrived_text = || fs::read(arrived.join("127.0.0.1.log")).unwrap_or_default();

    let switch = Switch::loaded(SETTINGS);
    let log = switch.log_file();
    let receiver = receive();
    let _sender = Rsyslog::start(
        &root,
        &[],
        &folder.path().join("sender"),
        "freeswitch-fail2ban-send.conf",
        &[
            ("/var/log/freeswitch/fail2ban.log", log.to_str().unwrap()),
            ("loghost.example", "127.0.0.1"),
            ("port=\"2514\"", &port),
            ("action.resumeInterval=\"5\"", "action.resumeInterval=\"1\""),
        ],
    );

    // A file that was renamed before it was ever read would be no loss of the sender's.
    wait_until("the first line to arrive", || !arrived_text().is_empty());

    let names: [&[u8]; 6] = [
        b"1009",
        b"x\",\"ip\":\"8.8.8.8",
        b"x\n<13>1 2026-11-22T00:00:00Z evil app - - - {\"ip\":\"9.9.9.9\"}",
        b"x\r\n\t{\"event\":\"register_failure\",\"ip\":\"9.9.9.9\"}\\",
        "日本 %msg% \\u0041 \u{202e}".as_bytes(),
        b"\xff\xfe\x1b[2J",
    ];
    let mut written = Vec::new();
    let mut receiver = Some(receiver);
    for round in 0..5 {
        for (number, name) in (0..120).zip(names.iter().cycle()) {
            let from = format!("203.0.113.{number}");
            switch.fire_event(&Event::register_failure(name, &from));
        }
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        let all = || [&written[..], &fs::read(&log).unwrap_or_default()].concat();
        // In the file that is about to be renamed is all of this round, and what the module says of itself.
        wait_until("the module to write", || lines(&all()) >= 120 * (round + 1));
        match round {
            1 => {
                // What it has not acknowledged before it dies would come twice.
                wait_until("what was written to arrive", || arrived_text() == all());
                receiver = None;
            }
            3 => receiver = Some(receive()),
            // Also while the far end is away and the lines wait.
            _ => {
                let old = log.with_extension(format!("log.{round}"));
                fs::rename(&log, &old).unwrap();
                written.extend(fs::read(&old).unwrap());
            }
        }
    }
    let written = || [&written[..], &fs::read(&log).unwrap_or_default()].concat();
    wait_until("all that was written to arrive", || arrived_text() == written());
    let text = String::from_utf8(arrived_text()).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("register_failure")).count(), 600);
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let from = line["ip"].as_str().unwrap_or("203.0.113.");
        assert!(from.starts_with("203.0.113."), "{line}");
    }
    drop(receiver);
}

fn figures_are_written_whole_or_not_at_all() {
    let folder = TempDir::with_prefix("figures-").unwrap();
    let file = folder.path().join("freeswitch-fail2ban.prom");
    let answer_file = folder.path().join("answer");
    // Written by another process: a program that this one has written can't be run while any other test of it
    // starts a process, which has the file open for writing for an instant.
    let fs_cli = format!(
        "cd '{}' && printf '#!/bin/sh\\ncat \"{}\"\\n' >fs_cli && chmod 755 fs_cli",
        folder.path().display(),
        answer_file.display()
    );
    assert!(Command::new("sh").args(["-c", &fs_cli]).status().unwrap().success());
    // Runs the script with an fs_cli that gives this answer.
    let run = |answer: &str| {
        fs::write(&answer_file, format!("{answer}\n")).unwrap();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/node_exporter/freeswitch-fail2ban-metrics");
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        Command::new(script).arg(folder.path()).env("PATH", path).output().unwrap()
    };
    let good = Switch::loaded("").api("fail2ban metrics");
    assert!(good.contains("# TYPE fail2ban info\n") && good.ends_with("# EOF\n"), "{good}");
    assert!(run(good.trim_end()).status.success());
    // node_exporter refuses a file in which it finds an info.
    let figures = good
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(figures.contains("fail2ban_lines_written_total{event=\"register_failure\"} 0\n"), "{figures}");
    assert_eq!(fs::read_to_string(&file).unwrap(), figures);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);

    for bad in ["-ERR fail2ban Command not found!", "fail2ban_lines_written_total{event=", ""] {
        let output = run(bad);
        assert_eq!(output.status.code(), Some(1), "{bad}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("# EOF"), "{output:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), figures, "{bad}");
    }
    // Nothing half written is left behind.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}
