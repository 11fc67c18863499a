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
                fail2bans_own_tests_pass_with_the_filter_and_its_samples_in_place,
                a_running_fail2ban_counts_in_each_mode_what_the_samples_say,
                every_jail_is_off_until_the_user_enables_it,
                a_mode_set_in_the_jail_reaches_the_filter_and_one_that_is_not_there_is_refused,
                every_jail_bans_over_udp_and_tcp_and_asks_no_dns,
                what_is_set_in_the_first_jail_holds_for_the_others_and_their_chains_fit_iptables,
                no_jail_local_of_release_1_1_0_bans_at_the_first_failure_or_nobody_or_stops_fail2ban,
                a_maxretry_of_release_1_1_0_still_bans_within_hours,
                failures_are_counted_by_who_asks_for_it,
                a_filter_made_for_the_c_module_works_beside_attacker_lines,
            ],
        );
    }
}

const LINE: &str = "A registration failed user[1009] ip[192.0.2.1] at[2026-11-22T00:51:58.493952+0000]\n";

fn every_sample_gives_what_it_says_and_every_regex_has_one(fail2ban: &Fail2ban) {
    fail2ban.check_filter(&["samples"]).unwrap_or_else(|why| panic!("{why}"));
}

/// So that they could be offered to fail2ban.
fn fail2bans_own_tests_pass_with_the_filter_and_its_samples_in_place(fail2ban: &Fail2ban) {
    fail2ban.check_filter(&["own-tests"]).unwrap_or_else(|why| panic!("{why}"));
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
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["failures"]}"#, true),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["failures", "attackers"]}"#, false),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal"]}"#, false),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": []}"#, false),
    ] {
        fs::write(&expected, format!("{right}\n{second}")).unwrap();
        let result = fail2ban.check_filter(&["batch", &lines, &expected]);
        assert_eq!(result.is_ok(), passes, "{fail2ban}, {second}: {result:?}");
    }
}

const MODES: [&str; 3] = ["attackers", "proven", "failures"];

/// A fail2ban-server that bans nobody in a firewall, with jails on one log.
struct Counter {
    fail2ban: &'static Fail2ban,
    process: Child,
    directory: TempDir,
}

impl Counter {
    /// With a jail for each mode.
    fn of_modes(fail2ban: &'static Fail2ban, lines: &str) -> Counter {
        let jail = |mode: &str| {
            format!(
                "[{mode}]\nenabled = true\nfilter = freeswitch-fail2ban[mode={mode}]\nlogpath = LOG\n\
                 backend = polling\nusedns = no\nignoreself = false\nmaxretry = 1\nfindtime = 36500d\n\
                 bantime = -1\naction =\n"
            )
        };
        Counter::start(fail2ban, lines, &MODES.map(jail).concat())
    }

    /// With the jails of a jail.local, in which "LOG" stands for the log.
    fn start(fail2ban: &'static Fail2ban, lines: &str, jails: &str) -> Counter {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("log"), lines).unwrap();
        fs::create_dir(path("etc")).unwrap();
        let etc = directory.path().join("etc");
        fail2ban.configure(&etc, &jails.replace("LOG", &path("log")));
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

fn a_running_fail2ban_counts_in_each_mode_what_the_samples_say(fail2ban: &'static Fail2ban) {
    let samples = samples();
    // Read last, so that a jail that has banned it has read all that is before; one of the two counts in any mode.
    let last = "198.51.100.1";
    let ends = [
        "attacker source=LAST ip=LAST known=no proven=yes points=10 level=1 user=\"\"",
        "register_failure ip=LAST known=no user=\"\"",
    ];
    let ends = ends
        .map(|end| format!("2026-11-22T00:51:58.493952+0000 mod_fail2ban: {}\n", end.replace("LAST", last)));
    let lines = samples.iter().map(|(_, line)| format!("{line}\n")).chain(ends).collect::<String>();

    let counter = Counter::of_modes(fail2ban, &lines);
    for mode in MODES {
        let expected = samples.iter().filter(|(modes, _)| modes.contains(&mode.to_owned())).count() + 1;
        let status = counter.status_after(mode, last);
        let total = status.lines().find_map(|line| line.split_once("Total failed:")).expect("a total").1;
        assert_eq!(total.trim(), expected.to_string(), "{fail2ban}, {mode}");
    }
}

/// The lines of all samples, each with the modes that match it.
fn samples() -> Vec<(Vec<String>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fail2ban/samples");
    let mut samples = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(said) = line.strip_prefix("# failJSON: ") else { continue };
            let said: Value = serde_json::from_str(said).unwrap();
            let modes = match &said["modes"] {
                Value::Array(modes) => modes.iter().map(|mode| mode.as_str().unwrap().to_owned()).collect(),
                _ if said["match"] == true => vec!["failures".to_owned()],
                _ => Vec::new(),
            };
            samples.push((modes, lines.next().unwrap().to_owned()));
        }
    }
    samples
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
    let regexes = |mode: &str| {
        let jail = format!("[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\n{mode}\n");
        let commands = commands(fail2ban, &jail).unwrap();
        let regexes: Vec<_> = commands.lines().filter(|line| line.contains("addfailregex")).collect();
        regexes.join("\n")
    };
    let [unset, attackers, proven, failures] =
        ["", "mode = attackers", "mode = proven", "mode = failures"].map(regexes);
    assert_eq!(unset, attackers, "{fail2ban}: without a mode it is attackers");
    assert!(proven.contains("proven=yes") && !attackers.contains("proven=yes"), "{fail2ban}: {proven}");
    assert!(failures.contains("A registration failed") && !failures.contains("attacker"), "{fail2ban}");
    // A regular expression without an address, which the server refuses.
    let misspelt = regexes("mode = atackers");
    assert!(misspelt.contains("'<mdre-atackers>'"), "{fail2ban}: {misspelt}");
}

/// What would leave an attacker his UDP, or a ban waiting for the DNS.
fn every_jail_bans_over_udp_and_tcp_and_asks_no_dns(fail2ban: &Fail2ban) {
    let all = commands(fail2ban, &jails_on(&JAILS)).unwrap();
    for jail in JAILS {
        let commands = commands_of(jail, &all).join("\n");
        for setting in ["['protocol', 'tcp,udp']", "'usedns', 'no'", "'ignoreself', False", "'maxretry', 1]"]
        {
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

/// What users of release 1.1.0 have in jail.local, and the modes and jails that it documents.
const OF_RELEASE_1_1_0: [&str; 7] = [
    "[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\n",
    "[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\nmode = normal\nbantime = 1h\nfindtime = 10m\n",
    "[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\nmode = aggressive\nignoreip = 127.0.0.1/8\n\
     [freeswitch-fail2ban-reported]\nenabled = true\n",
    "[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\nmode = proven\n",
    "[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\n\
     banaction = iptables[type=allports, blocktype=DROP]\n\
     [freeswitch-fail2ban-known]\nenabled = true\n[freeswitch-fail2ban-reported]\nenabled = true\n",
    "[freeswitch-fail2ban-known]\nenabled = true\nlogpath = LOG\nmode = known\nbantime = 5m\n",
    "[freeswitch-fail2ban-reported]\nenabled = true\nlogpath = LOG\nmode = reported\n",
];

fn no_jail_local_of_release_1_1_0_bans_at_the_first_failure_or_nobody_or_stops_fail2ban(
    fail2ban: &'static Fail2ban,
) {
    let time = timestamp(0);
    let attacker = |source: &str, ip: &str, proven: &str| {
        format!(
            "{time} mod_fail2ban: attacker source={source} ip={ip} known=no proven={proven} points=10 level=1 user=\"\"\n"
        )
    };
    let lines = [
        format!("{time} mod_fail2ban: register_failure ip=192.0.2.1 known=no user=\"1009\"\n").repeat(3),
        format!("{time} mod_fail2ban: reported ip=192.0.2.2 known=no user=\"\"\n"),
        format!("A registration failed user[1009] ip[192.0.2.3] at[{time}]\n").repeat(3),
        attacker("203.0.113.7", "203.0.113.7", "no"),
        attacker("2001:db8:1:2::/64", "2001:db8:1:2::5", "yes"),
        attacker("198.51.100.1", "198.51.100.1", "yes"),
    ];
    for jails in OF_RELEASE_1_1_0 {
        let counter = Counter::start(fail2ban, &lines.concat(), &format!("[DEFAULT]\naction =\n{jails}"));
        for jail in JAILS.iter().filter(|jail| jails.contains(&format!("[{jail}]"))) {
            let status = counter.status_after(jail, "198.51.100.1");
            let banned = status.lines().find_map(|line| line.split_once("Banned IP list:")).unwrap().1;
            let mut banned: Vec<_> = banned.split_whitespace().collect();
            banned.sort_unstable();
            let mut expected = vec!["198.51.100.1", "2001:db8:1:2::/64"];
            if !jails.contains("proven") {
                expected.push("203.0.113.7");
            }
            assert_eq!(banned, expected, "{fail2ban}, {jail}, with {jails}");
        }
    }
}

/// Each further level takes longer than the one before: 1, 2, 4 … 60 minutes.
fn a_maxretry_of_release_1_1_0_still_bans_within_hours(fail2ban: &'static Fail2ban) {
    for (maxretry, minutes_ago) in
        [(5, &[15, 14, 12, 8, 0][..]), (10, &[243, 242, 240, 236, 228, 212, 180, 120, 60, 0][..])]
    {
        let line = |minutes: &u64| {
            let time = timestamp(60 * minutes);
            format!(
                "{time} mod_fail2ban: attacker source=198.51.100.1 ip=198.51.100.1 known=no proven=no points=10 level=1 user=\"\"\n"
            )
        };
        let lines: String = minutes_ago.iter().map(line).collect();
        let jails = format!(
            "[DEFAULT]\naction =\n[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\nmaxretry = {maxretry}\n"
        );
        Counter::start(fail2ban, &lines, &jails).status_after("freeswitch-fail2ban", "198.51.100.1");
    }
}

fn failures_are_counted_by_who_asks_for_it(fail2ban: &'static Fail2ban) {
    let time = timestamp(0);
    let dated = |ip: &str, known: &str| {
        format!("{time} mod_fail2ban: register_failure ip={ip} known={known} user=\"1009\"\n")
    };
    let lines = [
        dated("192.0.2.1", "no").repeat(4),
        dated("192.0.2.2", "yes").repeat(10),
        format!("A known address caused register_failure user[1009] ip[192.0.2.3] at[{time}]\n").repeat(10),
        format!("{time} mod_fail2ban: attacker source=192.0.2.4 ip=192.0.2.4 known=no proven=yes points=10 user=\"\"\n")
            .repeat(10),
        dated("192.0.2.5", "no").repeat(5),
        format!("A registration failed user[1009] ip[192.0.2.6] at[{time}]\n").repeat(5),
        format!("{{\"time\":\"{time}\",\"event\":\"register_failure\",\"ip\":\"192.0.2.7\",\"known\":false}}\n").repeat(5),
        dated("198.51.100.1", "no").repeat(5),
    ];
    let jails = "[DEFAULT]\naction =\n[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\nmode = failures\n\
        maxretry = 5\nfindtime = 10m\n";
    let status =
        Counter::start(fail2ban, &lines.concat(), jails).status_after("freeswitch-fail2ban", "198.51.100.1");
    let banned = status.lines().find_map(|line| line.split_once("Banned IP list:")).unwrap().1;
    let mut banned: Vec<_> = banned.split_whitespace().collect();
    banned.sort_unstable();
    assert_eq!(banned, ["192.0.2.5", "192.0.2.6", "192.0.2.7", "198.51.100.1"], "{fail2ban}");
}

fn a_filter_made_for_the_c_module_works_beside_attacker_lines(fail2ban: &'static Fail2ban) {
    let time = timestamp(0);
    let failure = |ip: &str| format!("A registration failed user[1009] ip[{ip}] at[{time}]\n");
    let attacker = |source: &str| format!("An attacker was found user[1009] ip[{source}] at[{time}]\n");
    let lines = [
        failure("192.0.2.1").repeat(4),
        attacker("192.0.2.1"),
        attacker("2001:db8:1:2::/64").repeat(5),
        failure("2001:db8:1:2::5").repeat(4),
        attacker("192.0.2.2").repeat(5),
        failure("198.51.100.1").repeat(5),
    ];
    for failregex in [
        r"^.*A registration failed user\[.*\] ip\[<HOST>\]",
        r"^A registration failed user\[.*?\] ip\[<HOST>\] at\[",
    ] {
        let jails = format!(
            "[DEFAULT]\naction =\n[mine]\nenabled = true\nlogpath = LOG\nfilter =\nfailregex = {failregex}\nmaxretry = 5\n"
        );
        let counter = Counter::start(fail2ban, &lines.concat(), &jails);
        let status = counter.status_after("mine", "198.51.100.1");
        let (_, banned) = status.lines().find_map(|line| line.split_once("Banned IP list:")).unwrap();
        assert_eq!(banned.trim(), "198.51.100.1", "{fail2ban}: {failregex}");
    }
}

/// The time so many seconds ago as the module writes it.
fn timestamp(seconds_ago: u64) -> String {
    let ago = format!("{seconds_ago} seconds ago");
    let mut date = std::process::Command::new("date");
    date.args(["-u", "-d", &ago, "+%Y-%m-%dT%H:%M:%S.%6N+0000"]);
    fail2ban::output_of(&mut date).unwrap().trim().to_owned()
}
