//! The shipped filter and jail, read by real fail2bans.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fail2ban::{self, Fail2ban};
use crate::support::suite::{Suite, tests};
use serde_json::Value;
use tempfile::TempDir;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[],
            release,
            get,
            tests![
                every_sample_gives_what_it_says_and_every_regex_has_one,
                no_line_keeps_the_filter_busy,
                the_checker_fails_on_a_wrong_address_a_wrong_time_and_a_missing_line,
                a_running_fail2ban_counts_in_each_mode_what_the_table_says,
                every_jail_is_off_until_the_user_enables_it,
                a_mode_set_in_the_jail_reaches_the_filter_and_one_that_is_not_there_is_refused,
                every_jail_bans_over_udp_and_tcp_and_asks_no_dns,
                what_is_set_in_the_first_jail_holds_for_the_others_and_their_chains_fit_iptables,
                each_jail_counts_in_the_mode_that_it_is_for,
            ],
        );
    }
}

const LINE: &str = "A registration failed user[1009] ip[192.0.2.1] at[2026-11-22T00:51:58.493952+0000]\n";

fn every_sample_gives_what_it_says_and_every_regex_has_one(fail2ban: &Fail2ban) {
    fail2ban.check_filter(&["samples"]).unwrap_or_else(|why| panic!("{why}"));
}

fn no_line_keeps_the_filter_busy(fail2ban: &Fail2ban) {
    fail2ban.check_filter(&["hostile"]).unwrap_or_else(|why| panic!("{why}"));
}

/// Guards the batches that other tests run: a checker that can't fail proves nothing.
fn the_checker_fails_on_a_wrong_address_a_wrong_time_and_a_missing_line(fail2ban: &Fail2ban) {
    let directory = tempfile::tempdir().unwrap();
    let [lines, expected] =
        ["lines", "expected"].map(|name| directory.path().join(name).display().to_string());
    fs::write(&lines, LINE.repeat(2)).unwrap();
    let right = r#"{"ip": "192.0.2.1", "time": 1795308718.493952}"#;
    for (second, passes) in [
        (right, true),
        ("null", false),
        ("", false),
        (r#"{"ip": "192.0.2.2", "time": 1795308718.493952}"#, false),
        (r#"{"ip": "192.0.2.1", "time": 1795308719.493952}"#, false),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "mode": "aggressive"}"#, false),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal", "aggressive"]}"#, true),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal"]}"#, false),
        (
            r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal", "aggressive", "known"]}"#,
            false,
        ),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": []}"#, false),
    ] {
        fs::write(&expected, format!("{right}\n{second}")).unwrap();
        let result = fail2ban.check_filter(&["batch", &lines, &expected]);
        assert_eq!(result.is_ok(), passes, "{fail2ban}, {second}: {result:?}");
    }
}

const MODES: [&str; 5] = ["normal", "aggressive", "proven", "known", "reported"];

/// A fail2ban-server that only counts, with one jail for each mode, all on the same log.
struct Counter {
    fail2ban: &'static Fail2ban,
    process: Child,
    directory: TempDir,
}

impl Counter {
    fn start(fail2ban: &'static Fail2ban, lines: &str) -> Counter {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("log"), lines).unwrap();
        fs::create_dir(path("etc")).unwrap();
        let jail = |mode: &str| {
            format!(
                "[{mode}]\nenabled = true\nfilter = freeswitch-fail2ban[mode={mode}]\nlogpath = {}\n\
                 backend = polling\nusedns = no\nignoreself = false\nmaxretry = 1\nfindtime = 36500d\n\
                 bantime = -1\naction =\n",
                path("log")
            )
        };
        fail2ban.configure(Path::new(&path("etc")), &MODES.map(jail).concat());
        let own_files = format!(
            "[Definition]\nlogtarget = {}\nsocket = {}\npidfile = {}\ndbfile = None\n",
            path("server.log"),
            path("socket"),
            path("pid")
        );
        fs::write(path("etc/fail2ban.local"), own_files).unwrap();
        let process = fail2ban
            .python(&[], &fail2ban.program("fail2ban-server"))
            .args(["-c", &path("etc"), "-xf", "start"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Counter { fail2ban, process, directory }
    }

    /// What it says of a jail, once it has banned `last`.
    fn status_after(&self, jail: &str, last: &str) -> String {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self
                .fail2ban
                .run("fail2ban-client", &["-c", &path("etc"), "-s", &path("socket"), "status", jail]);
            match status {
                Ok(status) if status.contains(last) => return status,
                _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
                other => panic!("{}: {other:?}\n{:?}", self.fail2ban, fs::read_to_string(path("server.log"))),
            }
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn a_running_fail2ban_counts_in_each_mode_what_the_table_says(fail2ban: &'static Fail2ban) {
    let table: Value = serde_json::from_str(include_str!("../support/fail2ban/samples/modes.json"))
        .expect("modes.json is JSON");
    let entries = table["lines"].as_array().expect("lines");
    // Read last, so that whoever has banned it has read all that stands before; one of the two counts in any mode.
    let last = "198.51.100.1";
    let ends =
        ["reported ip=LAST known=no transport=tcp user=\"\"", "register_failure ip=LAST known=yes user=\"\""]
            .map(|end| {
                format!("2026-11-22T00:51:58.493952+0000 mod_fail2ban: {}\n", end.replace("LAST", last))
            });
    let line = |entry: &Value| format!("{}\n", entry["line"].as_str().expect("a line"));
    let lines = entries.iter().map(line).chain(ends).collect::<String>();

    let counter = Counter::start(fail2ban, &lines);
    for mode in MODES {
        let counts = |entry: &&Value| entry["counts"].as_array().expect("counts").contains(&mode.into());
        let expected = entries.iter().filter(counts).count() + 1;
        let status = counter.status_after(mode, last);
        let total = status.lines().find_map(|line| line.split_once("Total failed:")).expect("a total").1;
        assert_eq!(total.trim(), expected.to_string(), "{fail2ban}, {mode}");
        println!("{fail2ban}, {mode}: {expected} of {} lines count", entries.len() + 2);
    }
}

/// The commands that fail2ban-client would send to its server for a jail.local, in which "LOG" stands
/// for a log that is there.
fn commands(fail2ban: &Fail2ban, jails: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("fail2ban.log");
    fs::write(&log, LINE).unwrap();
    fail2ban.configure(directory.path(), &jails.replace("LOG", &log.display().to_string()));
    let said = fail2ban.run("fail2ban-client", &["-c", &directory.path().display().to_string(), "-d"])?;
    Ok(said.replace(&log.display().to_string(), "LOG"))
}

/// Those of one jail.
fn commands_of<'a>(jail: &str, commands: &'a str) -> Vec<&'a str> {
    let name = format!("'{jail}'");
    commands.lines().filter(|line| line.contains(&name)).collect()
}

const JAILS: [&str; 3] = ["freeswitch-fail2ban", "freeswitch-fail2ban-known", "freeswitch-fail2ban-reported"];

/// A jail.local that enables these.
fn jails_on(enabled: &[&str]) -> String {
    enabled.iter().map(|jail| format!("[{jail}]\nenabled = true\nlogpath = LOG\n")).collect()
}

fn every_jail_is_off_until_the_user_enables_it(fail2ban: &Fail2ban) {
    let off = commands(fail2ban, &jails_on(&[])).unwrap();
    for enabled in JAILS {
        let on = commands(fail2ban, &jails_on(&[enabled])).unwrap();
        for jail in JAILS {
            let start = format!("['start', '{jail}']");
            assert!(!off.contains(&start), "{fail2ban}: {jail}");
            assert_eq!(on.contains(&start), jail == enabled, "{fail2ban}: {jail}, enabled: {enabled}");
        }
    }
}

fn a_mode_set_in_the_jail_reaches_the_filter_and_one_that_is_not_there_is_refused(fail2ban: &Fail2ban) {
    let regexes = |fail2ban: &Fail2ban, mode: &str| {
        let jail = format!("[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\n{mode}\n");
        let commands = commands(fail2ban, &jail)?;
        let regexes: Vec<_> = commands.lines().filter(|line| line.contains("addfailregex")).collect();
        Ok::<_, String>(regexes.join("\n"))
    };
    let [unset, normal, proven] =
        ["", "mode = normal", "mode = proven"].map(|mode| regexes(fail2ban, mode).unwrap());
    assert_eq!(unset, normal, "{fail2ban}: without a mode it is normal");
    assert_ne!(proven, normal, "{fail2ban}");
    assert!(proven.contains("transport=(?:tcp|"), "{fail2ban}: {proven}");
    let misspelt = regexes(fail2ban, "mode = agressive");
    assert!(!misspelt.is_ok_and(|regexes| regexes.contains("<ADDR>")), "{fail2ban}");
}

/// What would leave an attacker his UDP, or a ban waiting for the DNS.
fn every_jail_bans_over_udp_and_tcp_and_asks_no_dns(fail2ban: &Fail2ban) {
    let all = commands(fail2ban, &jails_on(&JAILS)).unwrap();
    for jail in JAILS {
        let commands = commands_of(jail, &all).join("\n");
        for setting in ["['protocol', 'tcp,udp']", "'usedns', 'no'", "'ignoreself', False"] {
            assert!(commands.contains(setting), "{fail2ban}, {jail}: no {setting} in {commands}");
        }
    }
}

fn what_is_set_in_the_first_jail_holds_for_the_others_and_their_chains_fit_iptables(fail2ban: &Fail2ban) {
    const LONGEST_CHAIN: usize = 28;
    let jails = "[freeswitch-fail2ban]\nlogpath = LOG\nignoreip = 198.51.100.7\nbackend = polling\n\
        banaction = iptables[type=allports, blocktype=DROP]\n\
        [freeswitch-fail2ban-known]\nenabled = true\n[freeswitch-fail2ban-reported]\nenabled = true\n";
    let commands = commands(fail2ban, jails).unwrap();
    for jail in &JAILS[1..] {
        let of_jail = commands_of(jail, &commands).join("\n");
        for setting in ["'addlogpath', 'LOG'", "'addignoreip', '198.51.100.7'", "'polling'", "iptables"] {
            assert!(of_jail.contains(setting), "{fail2ban}, {jail}: no {setting} in {of_jail}");
        }
        let name = of_jail.split_once("['name', '").unwrap().1.split_once('\'').unwrap().0;
        assert!("f2b-".len() + name.len() <= LONGEST_CHAIN, "{fail2ban}, {jail}: {name}");
    }
}

fn each_jail_counts_in_the_mode_that_it_is_for(fail2ban: &Fail2ban) {
    let told_apart_by = [
        ("freeswitch-fail2ban", "(?:wrong_call_state|"),
        ("freeswitch-fail2ban-known", "ip=<ADDR> known=yes"),
        ("freeswitch-fail2ban-reported", "^reported ip=<ADDR>"),
    ];
    let all = commands(fail2ban, &jails_on(&JAILS)).unwrap();
    for (jail, _) in told_apart_by {
        let regexes = commands_of(jail, &all).join("\n");
        for (of, regex) in told_apart_by {
            assert_eq!(regexes.contains(regex), jail == of, "{fail2ban}, {jail}: {regex} in {regexes}");
        }
    }
}
