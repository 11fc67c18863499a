//! `fail2ban …` in the console.

use super::common::wait_until;
use super::daemon::Daemon;
use super::fail2ban;
use super::network::Family::V4;
use super::site::{self, Site};

#[test]
fn status_help_and_completion_are_there_for_the_operator() {
    let Some(site) = Site::start("") else { return };
    let mut caller = site.caller(V4);
    for _ in 0..3 {
        assert_eq!(caller.fail(b"1000"), Some(403));
    }
    site.wait_for_lines(6);
    let text = site.fs_cli("fail2ban status");
    for told in [
        &site.log_file().display().to_string(),
        "classic",
        "register_failure",
        &site.attacker(V4).to_string(),
    ] {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    let status = site.status();
    let failures = &status["signals"]["register_failure"];
    assert_eq!((&failures["seen"], &failures["written"]), (&3.into(), &3.into()), "{status}");
    assert_eq!(status["state"], "writing");
    assert_eq!(status["log_is_on_disk"], true);
    assert_eq!(status["busiest"][0]["ip"], site.attacker(V4).to_string());

    let help = site.cli("fail2ban help");
    let complete = site.cli("show complete");
    for command in ["status", "reload", "reopen", "test", "help"] {
        assert!(help.contains(&format!("fail2ban {command}")), "{help}");
        assert!(complete.lines().any(|row| row.contains("fail2ban") && row.contains(command)), "{complete}");
    }
    assert!(site.cli("show api").contains("fail2ban,"), "{}", site.cli("show api"));
    for refused in
        ["fail2ban statsu", "fail2ban status xml", "fail2ban test 10.0.0.1", "fail2ban test 192.0.2.1 0"]
    {
        let answer = site.cli(refused);
        assert!(answer.starts_with("-ERR"), "{refused}: {answer}");
    }
    site.cli("unload mod_fail2ban");
    // FreeSWITCH's own table is written later.
    wait_until("the completions to go", || !site.cli("show complete").contains("fail2ban"));
    println!("{text}\n{help}");
}

#[test]
fn the_command_test_bans_a_documentation_address() {
    if site::prefix().is_none() {
        return;
    }
    for fail2ban in fail2ban::all() {
        let Some(site) = Site::start("") else { return };
        let daemon = Daemon::start(fail2ban, &site.network.server, &site.log_file(), "");
        wait_until("the jail", || daemon.is_up());
        for (command, ip) in [("fail2ban test", "192.0.2.1"), ("fail2ban test 2001:db8::7 10", "2001:db8::7")]
        {
            let answer = site.cli(command);
            assert!(answer.starts_with("+OK 10 lines"), "{answer}");
            wait_until("the ban", || daemon.banned().lines().any(|line| line.starts_with(&format!("{ip} "))));
        }
        assert!(site.caller(V4).knock(b"1000").is_some(), "nobody else is banned");
    }
}
