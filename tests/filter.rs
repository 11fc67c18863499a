//! The shipped filter and jail, read by real fail2bans.

mod fail2ban;

use std::fs;

use fail2ban::Fail2ban;

const LINE: &str = "A registration failed user[1009] ip[192.0.2.1] at[2026-11-22T00:51:58.493952+0000]\n";

fn check(args: &[&str]) {
    for fail2ban in fail2ban::all() {
        match fail2ban.check_filter(args) {
            Ok(said) => print!("{said}"),
            Err(why) => panic!("{why}"),
        }
    }
}

#[test]
fn every_sample_gives_what_it_says_and_every_regex_has_one() {
    check(&["samples"]);
}

#[test]
fn no_line_keeps_the_filter_busy() {
    check(&["hostile"]);
}

/// Guards the batches that other tests run: a checker that can't fail proves nothing.
#[test]
fn the_checker_fails_on_a_wrong_address_a_wrong_time_and_a_missing_line() {
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
        for fail2ban in fail2ban::all() {
            let result = fail2ban.check_filter(&["batch", &lines, &expected]);
            assert_eq!(result.is_ok(), passes, "{fail2ban}, {second}: {result:?}");
        }
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

#[test]
fn the_jail_is_off_until_the_user_enables_it() {
    for fail2ban in fail2ban::all() {
        let start = "['start', 'freeswitch-fail2ban']";
        assert!(!commands(fail2ban, "[freeswitch-fail2ban]\n").contains(start), "{fail2ban}");
        assert!(commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\n").contains(start), "{fail2ban}");
    }
}

#[test]
fn a_mode_set_in_the_jail_reaches_the_filter() {
    for fail2ban in fail2ban::all() {
        let normal = commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\n");
        let aggressive = commands(fail2ban, "[freeswitch-fail2ban]\nenabled = true\nmode = aggressive\n");
        for (regex, in_normal) in [("register_failure", true), ("acl_reject", false)] {
            assert_eq!(normal.contains(regex), in_normal, "{fail2ban}: {regex}");
            assert!(aggressive.contains(regex), "{fail2ban}: {regex}");
        }
    }
}
