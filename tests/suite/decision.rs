//! Who is an attacker: what adds up, over accounts, networks and days, and what does not.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, credentials, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            the_tenth_failure_makes_an_attacker_in_each_format,
            a_network_is_one_source_and_a_household_that_logs_in_is_known,
            a_known_or_trusted_source_is_never_an_attacker,
            one_account_that_many_guess_makes_attackers_of_them_sooner,
            failures_of_verto_add_up_with_those_of_sip,
            with_known_for_0_only_failures_and_reports_count,
            attackers_are_remembered_over_a_reload_of_the_module,
            nothing_is_decided_where_attacker_after_is_0,
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            a_user_that_the_directory_does_not_have_counts_three_for_each_new_name,
            a_warning_whose_text_is_a_senders_accuses_nobody_else,
            a_directory_that_loses_its_users_accuses_nobody_who_was_good,
            names_that_differ_and_stale_nonces_are_no_guesses,
            our_own_loopback_is_never_an_attacker,
        ],
    );
}

const DATED: &str = "<param name=\"format\" value=\"dated\"/><param name=\"known-for\" value=\"1d\"/>\
                     <param name=\"attacker-after\" value=\"10\"/><param name=\"events\" value=\"attacker\"/>";

/// A switch that logs attackers alone.
fn switch() -> Switch {
    Switch::loaded(DATED)
}

/// An attempt that was refused, and its failure, as FreeSWITCH fires them.
fn fail(switch: &Switch, user: &str, ip: &str, times: usize) {
    for _ in 0..times {
        switch.fire_event(&Event::register_attempt(user, ip, "FORBIDDEN"));
        switch.fire_event(&Event::register_failure(user, ip));
    }
}

fn log_in(switch: &Switch, user: &str, ip: &str) {
    switch.fire_event(&Event::register_attempt(user, ip, "SUCCESS"));
    wait_until("the source to be known", || switch.api(&format!("fail2ban known {ip}")).contains(user));
}

/// The attacker lines, each once what precedes it has been handled.
fn attackers(switch: &Switch, count: usize) -> Vec<String> {
    let found = || -> Vec<String> {
        let text = switch.log_text();
        text.lines().filter(|line| line.contains("attacker")).map(str::to_owned).collect()
    };
    wait_until("the attackers", || found().len() >= count);
    let lines = found();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

fn the_tenth_failure_makes_an_attacker_in_each_format() {
    for (format, expected) in [
        ("classic", "An attacker was found user[1009] ip[10.0.0.7] at["),
        (
            "dated",
            " mod_fail2ban: attacker source=10.0.0.7 ip=10.0.0.7 known=no proven=no points=10 level=1 \
             causes=\"failure=10\" accounts=1 user=\"1009\"",
        ),
        (
            "json",
            ",\"event\":\"attacker\",\"ip\":\"10.0.0.7\",\"known\":false,\"source\":\"10.0.0.7\",\"proven\":false,\
             \"points\":10,\"level\":1,\"causes\":{\"failure\":10},\"accounts\":1,\"user\":\"1009\"}",
        ),
    ] {
        let switch = Switch::loaded(&format!("{DATED}<param name=\"format\" value=\"{format}\"/>"));
        fail(&switch, "1009", "10.0.0.7", 9);
        fail(&switch, "1009", "10.0.0.8", 9);
        fail(&switch, "1009", "10.0.0.7", 1);
        let lines = attackers(&switch, 1);
        assert!(lines[0].contains(expected), "{lines:?}");
    }
}

fn a_network_is_one_source_and_a_household_that_logs_in_is_known() {
    let switch = switch();
    (1..=10).for_each(|host| fail(&switch, "1009", &format!("2001:db9:1:2::{host:x}"), 1));
    let lines = attackers(&switch, 1);
    assert!(lines[0].contains(" source=2001:db9:1:2::/64 ip=2001:db9:1:2::a known=no "), "{lines:?}");
    // The next network is another household, and one of its phones has an old password.
    log_in(&switch, "1001", "2001:db9:1:3::1");
    fail(&switch, "1002", "2001:db9:1:3::2", 30);
    fail(&switch, "1009", "10.0.0.7", 10);
    assert!(attackers(&switch, 2)[1].contains(" source=10.0.0.7 "));
}

fn a_known_or_trusted_source_is_never_an_attacker() {
    let switch = Switch::loaded(&format!("{DATED}<param name=\"trusted-acl\" value=\"10.1.0.0/16\"/>"));
    log_in(&switch, "1001", "10.0.0.1");
    fail(&switch, "1002", "10.0.0.1", 30);
    fail(&switch, "1002", "10.1.0.1", 30);
    fail(&switch, "1009", "10.0.0.7", 10);
    assert!(attackers(&switch, 1)[0].contains(" source=10.0.0.7 "));
}

fn one_account_that_many_guess_makes_attackers_of_them_sooner() {
    let switch = switch();
    for round in 0..3 {
        (1..=50).for_each(|bot| fail(&switch, "1001", &format!("10.2.0.{bot}"), 1));
        if round == 0 {
            // Whoever guesses at another account is no part of it.
            fail(&switch, "1002", "10.0.0.9", 5);
        }
    }
    let lines = attackers(&switch, 50);
    assert!(lines.iter().all(|line| line.contains("guessed_account=2")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains(" source=10.2.0.")), "{lines:?}");
}

fn failures_of_verto_add_up_with_those_of_sip() {
    let switch = switch();
    fail(&switch, "1009", "10.0.0.7", 5);
    (0..5).for_each(|_| switch.fire_event(&Event::verto_login("1009@x", "10.0.0.7", false)));
    let lines = attackers(&switch, 1);
    assert!(lines[0].contains(" proven=no points=10 level=1 causes=\"failure=10\" accounts=2 "), "{lines:?}");
    (0..10).for_each(|_| switch.fire_event(&Event::verto_login("1009@x", "10.0.0.8", false)));
    assert!(attackers(&switch, 2)[1].contains(" source=10.0.0.8 ip=10.0.0.8 known=no proven=yes "));
}

fn with_known_for_0_only_failures_and_reports_count() {
    let switch = Switch::loaded(&format!("{DATED}<param name=\"known-for\" value=\"0\"/>"));
    (0..30).for_each(|_| switch.fire_event(&Event::wrong_call_state("1009", "10.0.0.8")));
    fail(&switch, "1009", "10.0.0.7", 10);
    let lines = attackers(&switch, 1);
    assert!(lines[0].contains(" source=10.0.0.7 "), "{lines:?}");
}

fn attackers_are_remembered_over_a_reload_of_the_module() {
    let switch = switch();
    fail(&switch, "1009", "10.0.0.7", 10);
    fail(&switch, "1009", "10.0.0.8", 9);
    attackers(&switch, 1);
    switch.reload().expect("the module is loaded again");
    fail(&switch, "1009", "10.0.0.8", 1);
    let lines = attackers(&switch, 2);
    assert!(
        lines[1].contains(" source=10.0.0.8 ip=10.0.0.8 known=no proven=no points=10 level=1 "),
        "{lines:?}"
    );
    // The first one is an attacker still: what it does makes no new one, nor a level before its period is over.
    fail(&switch, "1009", "10.0.0.7", 5);
    fail(&switch, "1009", "10.0.0.9", 10);
    assert!(attackers(&switch, 3)[2].contains(" source=10.0.0.9 "));
}

fn nothing_is_decided_where_attacker_after_is_0() {
    let params = DATED.replace("\"attacker-after\" value=\"10\"", "\"attacker-after\" value=\"0\"");
    let switch = Switch::loaded(&params.replace("value=\"attacker\"", "value=\"register_failure\""));
    fail(&switch, "1009", "10.0.0.7", 50);
    assert!(switch.wait_for_lines(50).iter().all(|line| line.contains("register_failure")));
}

/// A lookup of a REGISTER's credentials, and if the directory has no such user, FreeSWITCH's warning.
fn look_up(switch: &Switch, user: &str, ip: &str, is_found: bool) {
    let call_id = format!("attempt-{user}");
    let params = credentials("REGISTER", &call_id, ip, "udp");
    let params =
        params.map(|(name, value)| if name == "sip_auth_username" { (name, user) } else { (name, value) });
    switch.look_up(&params);
    if !is_found {
        warn(switch, user, ip);
    }
}

fn warn(switch: &Switch, user: &str, ip: &str) {
    let text = format!(
        "Can't find user [{user}@switch.example] from {ip}\nYou must define a domain called 'switch.example' in your \
         directory and add a user with the id=\"{user}\" attribute\nand you must configure your device to use the \
         proper domain in its authentication credentials.\n"
    );
    switch.log(4, "sofia_reg.c", &text);
}

fn a_user_that_the_directory_does_not_have_counts_three_for_each_new_name() {
    let switch = switch();
    for user in ["admin", "test", "100", "101"] {
        look_up(&switch, user, "10.0.0.7", false);
        fail(&switch, user, "10.0.0.7", 1);
    }
    let lines = attackers(&switch, 1);
    assert!(lines[0].contains(" points=12 level=1 causes=\"unknown_user=4\" accounts=4 "), "{lines:?}");
    // A phone with a mistyped name tries it again and again: one point each.
    for _ in 0..6 {
        look_up(&switch, "misspelt", "10.0.0.8", false);
        fail(&switch, "misspelt", "10.0.0.8", 1);
    }
    fail(&switch, "1009", "10.0.0.9", 10);
    assert!(attackers(&switch, 2)[1].contains(" source=10.0.0.9 "));
}

fn a_warning_whose_text_is_a_senders_accuses_nobody_else() {
    let switch = switch();
    for number in 0..10 {
        // The victim has a lookup as well, with a user that exists.
        look_up(&switch, "1001", "10.0.0.1", true);
        let name = format!("{number}@switch.example] from 10.0.0.1\nYou");
        look_up(&switch, &name, "10.0.0.7", false);
        // Nobody has looked this up.
        warn(&switch, &format!("nobody{number}"), "10.0.0.1");
    }
    let lines = attackers(&switch, 1);
    assert!(lines[0].contains(" source=10.0.0.7 "), "{lines:?}");
}

fn a_directory_that_loses_its_users_accuses_nobody_who_was_good() {
    let switch = switch();
    for phone in 1..=20 {
        let (user, ip) = (format!("10{phone:02}"), format!("10.3.0.{phone}"));
        look_up(&switch, &user, &ip, true);
        log_in(&switch, &user, &ip);
    }
    // The phones come back at other addresses while the directory server is down.
    for _ in 0..4 {
        for phone in 1..=20 {
            let (user, ip) = (format!("10{phone:02}"), format!("10.4.0.{phone}"));
            look_up(&switch, &user, &ip, false);
            fail(&switch, &user, &ip, 1);
        }
    }
    wait_until("one warning", || {
        switch.host_log().matches("the directory does not find an account").count() == 1
    });
    fail(&switch, "1009", "10.0.0.9", 10);
    assert!(attackers(&switch, 1)[0].contains(" source=10.0.0.9 "));
}

fn names_that_differ_and_stale_nonces_are_no_guesses() {
    let switch = switch();
    for _ in 0..30 {
        let differ = Event::register_attempt("1009", "10.0.0.7", "FORBIDDEN").with("username", "unknown");
        switch.fire_event(&differ);
        switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
        switch.fire_event(&Event::register_attempt("1009", "10.0.0.8", "STALE"));
    }
    fail(&switch, "1009", "10.0.0.9", 10);
    assert!(attackers(&switch, 1)[0].contains(" source=10.0.0.9 "));
}

fn our_own_loopback_is_never_an_attacker() {
    let switch = switch();
    fail(&switch, "1009", "127.0.0.1", 30);
    fail(&switch, "1009", "::1", 30);
    fail(&switch, "1009", "10.0.0.9", 10);
    assert!(attackers(&switch, 1)[0].contains(" source=10.0.0.9 "));
}
