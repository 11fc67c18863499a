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
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal", "aggressive"]}"#, true),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal"]}"#, false),
        (
            r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": ["normal", "aggressive", "known"]}"#,
            false,
        ),
        (r#"{"ip": "192.0.2.1", "time": 1795308718.493952, "modes": []}"#, false),
    ] {
        fs::write(&expected, format!("{right}\n{second}")).unwrap();
        for fail2ban in fail2ban::all() {
            let result = fail2ban.check_filter(&["batch", &lines, &expected]);
            assert_eq!(result.is_ok(), passes, "{fail2ban}, {second}: {result:?}");
        }
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

#[test]
fn every_jail_is_off_until_the_user_enables_it() {
    for fail2ban in fail2ban::all() {
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
}

#[test]
fn a_mode_set_in_the_jail_reaches_the_filter_and_one_that_is_not_there_is_refused() {
    let regexes = |fail2ban: &Fail2ban, mode: &str| {
        let jail = format!("[freeswitch-fail2ban]\nenabled = true\nlogpath = LOG\n{mode}\n");
        let commands = commands(fail2ban, &jail)?;
        let regexes: Vec<_> = commands.lines().filter(|line| line.contains("addfailregex")).collect();
        Ok::<_, String>(regexes.join("\n"))
    };
    for fail2ban in fail2ban::all() {
        let mut seen = Vec::new();
        for mode in ["normal", "aggressive", "proven", "known", "reported"] {
            let regexes = regexes(fail2ban, &format!("mode = {mode}")).unwrap();
            assert!(regexes.contains("ip=<ADDR>"), "{fail2ban}, {mode}: {regexes}");
            assert!(!seen.contains(&regexes), "{fail2ban}: {mode} is the same as another mode");
            seen.push(regexes);
        }
        assert_eq!(regexes(fail2ban, "").as_ref(), Ok(&seen[0]), "{fail2ban}: without a mode it is normal");
        let misspelt = regexes(fail2ban, "mode = agressive");
        assert!(!misspelt.is_ok_and(|regexes| regexes.contains("<ADDR>")), "{fail2ban}");
    }
}

/// What would leave an attacker his UDP, or a ban waiting for the DNS.
#[test]
fn every_jail_bans_over_udp_and_tcp_and_asks_no_dns() {
    for fail2ban in fail2ban::all() {
        for jail in JAILS {
            let commands = commands(fail2ban, &jails_on(&[jail])).unwrap();
            let commands = commands_of(jail, &commands).join("\n");
            for setting in ["['protocol', 'tcp,udp']", "'usedns', 'no'", "'ignoreself', False"] {
                assert!(commands.contains(setting), "{fail2ban}, {jail}: no {setting} in {commands}");
            }
        }
    }
}

#[test]
fn what_is_set_in_the_first_jail_holds_for_the_others_and_their_chains_fit_iptables() {
    const LONGEST_CHAIN: usize = 28;
    for fail2ban in fail2ban::all() {
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
}
