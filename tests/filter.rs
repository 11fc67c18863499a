//! The shipped filter and jail, read by real fail2bans.

#[path = "support/fail2ban/mod.rs"]
mod fail2ban;
#[path = "support/suite.rs"]
mod suite;

use std::fs;
use std::process::ExitCode;

use fail2ban::Fail2ban;
use suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::default();
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[],
            release,
            get,
            tests![
                every_sample_gives_what_it_says_and_every_regex_has_one,
                no_line_keeps_the_filter_busy,
                the_checker_fails_on_a_wrong_address_a_wrong_time_and_a_missing_line,
                the_jail_is_off_until_the_user_enables_it,
                a_mode_set_in_the_jail_reaches_the_filter,
            ],
        );
    }
    suite.run()
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
    ] {
        fs::write(&expected, format!("{right}\n{second}")).unwrap();
        let result = fail2ban.check_filter(&["batch", &lines, &expected]);
        assert_eq!(result.is_ok(), passes, "{fail2ban}, {second}: {result:?}");
    }
}

/// The commands that fail2ban-client would send to its server for a jail.local.
fn commands(fail2ban: &Fail2ban, jails: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("fail2ban.log");
    fs::write(&log, LINE).unwrap();
    let jails = format!("{jails}logpath = {}\n", log.display());
    fail2ban.configure(directory.path(), &jails);
    fail2ban.run("fail2ban-client", &["-c", &directory.path().display().to_string(), "-d"]).unwrap()
}

fn the_jail_is_off_until_the_user_enables_it(fail2ban: &Fail2ban) {
    let start = "['start', 'freeswitch-fail2ban']";
    assert!(!commands(fail2ban, "[freeswitch-fail2ban]\n").contains(start), "{fail2ban}");
    assert!(commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\n").contains(start), "{fail2ban}");
}

fn a_mode_set_in_the_jail_reaches_the_filter(fail2ban: &Fail2ban) {
    let normal = commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\n");
    let aggressive = commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\nmode = aggressive\n");
    for (regex, in_normal) in [("register_failure", true), ("acl_reject", false)] {
        assert_eq!(normal.contains(regex), in_normal, "{fail2ban}: {regex}");
        assert!(aggressive.contains(regex), "{fail2ban}: {regex}");
    }
}
