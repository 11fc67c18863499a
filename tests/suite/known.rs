//! Known addresses: who becomes one, for how long, what lines and FreeSWITCH's log say of them, and what is left of
//! it after a restart.

use std::fs;

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, credentials, recorded, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            lines_tell_of_a_login_from_then_on_in_every_format,
            with_known_for_0_no_line_tells_it_and_nobody_is_known,
            registers_calls_and_verto_logins_that_are_accepted_make_known_and_nothing_else_does,
            a_gateway_that_has_registered_makes_its_address_known,
            one_account_makes_no_more_than_32_addresses_known,
            addresses_for_documentation_are_never_known,
            an_address_is_known_no_more_after_its_time,
            an_operator_sees_who_is_known_and_makes_them_forgotten,
            many_failures_of_a_known_address_are_a_warning_once,
            a_login_after_five_failures_is_a_line_and_a_warning_once,
            a_login_after_four_failures_or_from_a_known_address_is_neither,
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            known_addresses_are_not_blamed_for_challenges_and_credentials,
            known_addresses_outlive_an_unload_and_a_restart,
            a_file_that_is_not_whole_is_a_warning_and_nobody_is_known,
            a_disk_that_takes_no_file_is_a_warning_and_all_goes_on,
            who_is_registered_already_is_known_at_the_load,
            who_is_registered_is_known_when_the_setting_is_switched_on,
            an_account_that_needs_no_password_makes_nobody_known,
            what_release_1_1_knew_is_taken_over_but_for_accounts_without_a_password,
        ],
    );
}

const PHONE: &str = "10.0.0.7";

/// Settings with `known-for` 1d and these events.
fn knowing(events: &str) -> String {
    format!("<param name=\"known-for\" value=\"1d\"/><param name=\"events\" value=\"{events}\"/>")
}

fn login(switch: &Switch, user: &str, ip: &str) {
    switch.fire_event(&Event::register_attempt(user, ip, "SUCCESS"));
}

/// Logs in, and waits until the address is known: the directory is asked first whether the account needs a password.
fn become_known(switch: &Switch, user: &str, ip: &str) {
    login(switch, user, ip);
    wait_until("the login", || is_known(switch, ip));
}

fn fail(switch: &Switch, times: usize, ip: &str) {
    (0..times).for_each(|_| switch.fire_event(&Event::register_failure("1009", ip)));
}

/// Whether `fail2ban known` lists an address; FreeSWITCH delivers events later than it says, so a test that
/// expects `false` waits for a later event first.
fn is_known(switch: &Switch, ip: &str) -> bool {
    let answer = switch.api(&format!("fail2ban known {ip}"));
    assert!(answer.contains(" ago ") || answer.ends_with(" is not known\n"), "{answer}");
    !answer.starts_with("-ERR")
}

/// The addresses that are known, as listed.
fn all_known(switch: &Switch) -> Vec<String> {
    let answer = switch.api("fail2ban known");
    let rows: Vec<&str> = answer.lines().collect();
    let (count, rows) = rows[1..].split_last().expect("it ends with a count");
    assert_eq!(*count, format!("{} known", rows.len()));
    rows.iter().map(|row| row.split(' ').next().unwrap_or_default().to_owned()).collect()
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

fn lines_tell_of_a_login_from_then_on_in_every_format() {
    let time = "2026-11-22T00:51:58.493952+0000".len();
    for (format, stranger, phone) in [
        (
            "classic",
            "A registration failed user[1009] ip[10.0.0.7] at[",
            "A known address caused register_failure user[1009] ip[10.0.0.7] at[",
        ),
        (
            "dated",
            " mod_fail2ban: register_failure ip=10.0.0.7 known=no port=5070 ",
            " mod_fail2ban: register_failure ip=10.0.0.7 known=yes port=5070 ",
        ),
        (
            "json",
            "\"event\":\"register_failure\",\"ip\":\"10.0.0.7\",\"known\":false,\"port\":5070,",
            "\"event\":\"register_failure\",\"ip\":\"10.0.0.7\",\"known\":true,\"port\":5070,",
        ),
    ] {
        let format_param = format!("<param name=\"format\" value=\"{format}\"/>");
        let switch = Switch::loaded(&(knowing("register_failure") + &format_param));
        fail(&switch, 1, PHONE);
        become_known(&switch, "1009", PHONE);
        fail(&switch, 1, PHONE);
        let lines = switch.wait_for_lines(2);
        for (line, expected) in lines.iter().zip([stranger, phone]) {
            let place = match format {
                "classic" => 0,
                "dated" => time,
                _ => "{\"time\":\"\",".len() + time,
            };
            assert!(line[place..].starts_with(expected), "{expected} expected: {line}");
        }
        wait_until("the counts", || {
            let of = status(&switch)["signals"]["register_failure"].clone();
            (&of["seen"], &of["known"]) == (&json!(2), &json!(1))
        });
    }
}

fn with_known_for_0_no_line_tells_it_and_nobody_is_known() {
    let switch = Switch::loaded("<param name=\"format\" value=\"dated\"/>");
    login(&switch, "1009", PHONE);
    fail(&switch, 1, PHONE);
    let lines = switch.wait_for_lines(2);
    assert!(lines.iter().all(|line| line.contains(" ip=10.0.0.7 port=")), "{lines:?}");
    assert!(switch.api("fail2ban known").starts_with("-ERR"));
    assert_eq!(switch.api("fail2ban forget 10.0.0.7"), "-ERR 10.0.0.7 is not known\n");
    assert!(status(&switch)["known"].is_null());
    switch.unload().unwrap();
    assert!(!switch.path("db/fail2ban.state").exists());
}

fn registers_calls_and_verto_logins_that_are_accepted_make_known_and_nothing_else_does() {
    // What has to be bound for it is bound, whatever is logged.
    let switch = Switch::loaded(&knowing("reported"));
    let accepted = ["10.0.0.1", "10.0.0.2", "2001:db9::3", "10.0.0.4"];
    login(&switch, "1", accepted[0]);
    switch.fire_event(&Event::register_attempt("2", accepted[1], "RENEWED"));
    // Of an INVITE: the same event.
    let call = Event::register_attempt("3", accepted[2], "SUCCESS").with("status", "Unknown");
    switch.fire_event(&call.with("network-ip", "[2001:db9::3]"));
    for refused in ["FORBIDDEN", "STALE", "success", "SUCCESSFUL"] {
        switch.fire_event(&Event::register_attempt("5", "10.0.0.5", refused));
    }
    switch.fire_event(&Event::register_attempt("5", "10.0.0.5", "").without("auth-result"));
    switch.fire_event(&Event::register_failure("5", "10.0.0.5"));
    switch.fire_event(&Event::verto_login("5", "10.0.0.5", false));
    switch.fire_event(&Event::challenge("5", "10.0.0.5"));
    switch.fire_event(&Event::verto_login("4@switch.example", accepted[3], true));
    wait_until("the logins", || accepted.iter().all(|ip| is_known(&switch, ip)));
    let mut known = all_known(&switch);
    known.sort();
    assert_eq!(known, ["10.0.0.1", "10.0.0.2", "10.0.0.4", "2001:db9::/64"]);
    let text = switch.api("fail2ban known");
    assert!(text.contains("1@switch.example") && text.contains("  4\n"), "{text}");
}

fn a_gateway_that_has_registered_makes_its_address_known() {
    let switch = Switch::loaded(&knowing("register_failure"));
    let states: Vec<Event> = recorded("success-events-1.10.12.jsonl")
        .into_iter()
        .filter(|event| event.get("Event-Subclass") == Some(b"sofia::gateway_state"))
        .collect();
    let (registered, before) = states.split_last().expect("there are some");
    assert_eq!(registered.get("State"), Some(&b"REGED"[..]));
    before.iter().for_each(|event| switch.fire_event(event));
    fail(&switch, 1, "10.99.0.32");
    switch.fire_event(registered);
    fail(&switch, 1, "10.99.0.32");
    let lines = switch.wait_for_lines(2);
    assert!(lines[0].starts_with("A registration failed") && lines[1].starts_with("A known address caused "));
    assert!(switch.api("fail2ban known 10.99.0.32").contains("gateway trunk"));
}

fn one_account_makes_no_more_than_32_addresses_known() {
    let switch = Switch::loaded(&knowing("register_failure"));
    login(&switch, "office", "10.1.0.1");
    for host in 1..=80 {
        login(&switch, "stolen", &format!("10.0.0.{host}"));
    }
    wait_until("the last login", || is_known(&switch, "10.0.0.80"));
    let known = all_known(&switch);
    assert_eq!(known.len(), 33, "{known:?}");
    assert!(known.contains(&"10.1.0.1".to_owned()), "another account's address was pushed out: {known:?}");
    // Which of those it keeps that came within one second does not matter.
    assert!(known.contains(&"10.0.0.80".to_owned()), "{known:?}");
}

fn addresses_for_documentation_are_never_known() {
    let switch = Switch::loaded(&knowing("register_failure"));
    for nobody in ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"] {
        login(&switch, "1009", nobody);
    }
    login(&switch, "1009", PHONE);
    wait_until("the last login", || is_known(&switch, PHONE));
    assert_eq!(all_known(&switch), [PHONE]);
    // So a test proves the chain, whatever happened before.
    switch.api("fail2ban test 192.0.2.1 1");
    assert!(switch.wait_for_lines(1)[0].starts_with("A registration failed user[fail2ban-test]"));
}

fn an_address_is_known_no_more_after_its_time() {
    let events = "<param name=\"known-for\" value=\"2\"/><param name=\"events\" value=\"register_failure\"/>";
    let switch = Switch::loaded(events);
    become_known(&switch, "1009", PHONE);
    fail(&switch, 1, PHONE);
    assert!(switch.wait_for_lines(1)[0].starts_with("A known address caused"));
    wait_until("its time to be over", || !is_known(&switch, PHONE));
    fail(&switch, 1, PHONE);
    assert!(switch.wait_for_lines(2)[1].starts_with("A registration failed"));
}

fn an_operator_sees_who_is_known_and_makes_them_forgotten() {
    let switch = Switch::loaded(&knowing("register_failure"));
    assert!(all_known(&switch).is_empty());
    become_known(&switch, "x] ip[8.8.8.8] at[\u{1b}[2J", PHONE);
    become_known(&switch, "1001", "2001:db9::7");
    fail(&switch, 3, PHONE);
    switch.wait_for_lines(3);
    let answer = switch.api("fail2ban known 10.0.0.7");
    assert!(!answer.contains(['[', '\u{1b}']) && answer.contains(" 3 "), "{answer}");
    assert_eq!(all_known(&switch).len(), 2);
    let failing = &status(&switch)["known"]["failing"];
    assert_eq!((&failing[0]["ip"], &failing[0]["failures"]), (&json!(PHONE), &json!(3)));

    assert!(switch.api("fail2ban forget 10.0.0.7").starts_with("+OK 10.0.0.7 "));
    assert_eq!(switch.api("fail2ban forget 10.0.0.7"), "-ERR 10.0.0.7 is not known\n");
    assert!(switch.api("fail2ban forget 2001:0db9:0::7").starts_with("+OK 2001:db9::/64 "));
    assert!(all_known(&switch).is_empty());
    for wrong in ["forget", "forget me", "forget 10.0.0.7 now", "known me", "known 10.0.0.7 now"] {
        let answer = switch.api(&format!("fail2ban {wrong}"));
        assert!(answer.starts_with("-ERR") && answer.contains("expected"), "{answer}");
    }
    fail(&switch, 1, PHONE);
    assert!(switch.wait_for_lines(4)[3].starts_with("A registration failed"));
    become_known(&switch, "1009", PHONE);
}

fn warnings(switch: &Switch, part: &str) -> Vec<String> {
    switch.host_lines("WARNING").into_iter().filter(|line| line.contains(part)).collect()
}

fn many_failures_of_a_known_address_are_a_warning_once() {
    let switch = Switch::loaded(&knowing("register_failure"));
    become_known(&switch, "1009", PHONE);
    become_known(&switch, "1001", "10.0.0.8");
    let fail_once = |ip: &str, user: usize| {
        switch.fire_event(&Event::register_failure(user.to_string(), ip));
    };
    (0..99).for_each(|user| fail_once(PHONE, user % 3));
    (0..250).for_each(|_| fail_once("10.0.0.8", 1));
    wait_until("the warning of the other", || !warnings(&switch, "10.0.0.8").is_empty());
    assert!(warnings(&switch, "10.0.0.7").is_empty(), "99 failures are no warning");
    (0..150).for_each(|user| fail_once(PHONE, user % 3));
    wait_until("the warning", || !warnings(&switch, "10.0.0.7").is_empty());
    switch.wait_for_lines(499);
    switch.unload().unwrap();
    for (ip, users) in [(PHONE, " 3 users"), ("10.0.0.8", " 1 user")] {
        let warnings = warnings(&switch, ip);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("100 failures") && warnings[0].contains(users), "{warnings:?}");
    }
}

fn a_login_after_five_failures_is_a_line_and_a_warning_once() {
    let settings = knowing("success_after_failures") + "<param name=\"format\" value=\"dated\"/>";
    let switch = Switch::loaded(&settings);
    for _ in 0..2 {
        fail(&switch, 3, PHONE);
        switch.fire_event(&Event::verto_login("1009", PHONE, false));
        fail(&switch, 1, PHONE);
        // A known address is none that this is about.
        become_known(&switch, "1009", PHONE);
        switch.api(&format!("fail2ban forget {PHONE}"));
    }
    fail(&switch, 5, "10.0.0.8");
    switch.fire_event(&Event::verto_login("1008@switch.example", "10.0.0.8", true));
    let lines: Vec<_> = switch.wait_for_lines(2).iter().map(|line| line[31..].to_owned()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let of_the_phone = " mod_fail2ban: success_after_failures ip=10.0.0.7 known=no port=5070 ";
    assert!(lines[0].starts_with(of_the_phone) && lines[0].ends_with(" user=\"1009\""), "{lines:?}");
    let of_verto = " mod_fail2ban: success_after_failures ip=10.0.0.8 known=no port=49364 ";
    assert!(lines[1].starts_with(of_verto) && lines[1].contains(" transport=tcp "), "{lines:?}");
    for (ip, user) in [(PHONE, "1009"), ("10.0.0.8", "1008@switch.example")] {
        wait_until("the warning", || !warnings(&switch, ip).is_empty());
        let warnings = warnings(&switch, ip);
        assert!(warnings.len() == 1 && warnings[0].contains(user), "{warnings:?}");
    }
}

fn a_login_after_four_failures_or_from_a_known_address_is_neither() {
    let switch = Switch::loaded(&knowing("success_after_failures"));
    fail(&switch, 4, PHONE);
    become_known(&switch, "1009", PHONE);
    fail(&switch, 20, PHONE);
    login(&switch, "1009", PHONE);
    fail(&switch, 5, "10.0.0.8");
    login(&switch, "1009", "10.0.0.8");
    let lines = switch.wait_for_lines(1);
    assert!(lines.len() == 1 && lines[0].contains(" ip[10.0.0.8] "), "{lines:?}");
    assert!(warnings(&switch, PHONE).is_empty());
}

fn known_addresses_are_not_blamed_for_challenges_and_credentials() {
    let timeout = "<param name=\"challenge-timeout\" value=\"1\"/>";
    let switch =
        Switch::loaded(&(knowing("challenge_unanswered,auth_unconfirmed,wrong_call_state") + timeout));
    become_known(&switch, "1009", PHONE);
    for ip in [PHONE, "10.0.0.8"] {
        switch.fire_event(&Event::challenge(&format!("challenge of {ip}"), ip));
        switch.look_up(&credentials("SUBSCRIBE", &format!("subscription of {ip}"), ip, "udp"));
    }
    let waiting = || {
        let status = status(&switch);
        (status["challenges"]["waiting"].clone(), status["look_ups"]["unconfirmed_waiting"].clone())
    };
    wait_until("all to be overdue", || waiting() == (json!(0), json!(0)));
    // That one has a line, which says that it is known.
    switch.fire_event(&Event::wrong_call_state("1009", PHONE));
    let lines = switch.wait_for_lines(3);
    let (own, others): (Vec<&String>, Vec<_>) =
        lines.iter().partition(|line| line.contains(" ip[10.0.0.7] "));
    assert_eq!(others.len(), 2, "{lines:?}");
    assert!(own.len() == 1 && own[0].starts_with("A known address caused wrong_call_state "), "{own:?}");
}

fn put_state_file(switch: &Switch, text: &str) {
    fs::create_dir_all(switch.path("db")).unwrap();
    fs::write(switch.path("db/fail2ban.state"), text).unwrap();
}

fn known_addresses_outlive_an_unload_and_a_restart() {
    let settings = knowing("register_failure");
    let switch = Switch::loaded(&settings);
    become_known(&switch, "1009", PHONE);
    become_known(&switch, "x\ny z", "2001:db9::7");
    switch.unload().unwrap();
    let text = fs::read_to_string(switch.path("db/fail2ban.state")).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    switch.load().unwrap();
    assert_eq!(all_known(&switch).len(), 2);
    assert!(switch.host_lines("WARNING").is_empty());

    let restarted = Switch::start(&settings);
    put_state_file(&restarted, &text);
    restarted.load().unwrap();
    fail(&restarted, 1, PHONE);
    assert!(restarted.wait_for_lines(1)[0].starts_with("A known address caused"));
    assert!(restarted.api("fail2ban known 2001:db9::7").contains("x%0Ay"));
    // Who has been forgotten stays forgotten.
    restarted.api("fail2ban forget 10.0.0.7");
    restarted.reload().unwrap();
    assert_eq!(all_known(&restarted), ["2001:db9::/64"]);
}

fn a_file_that_is_not_whole_is_a_warning_and_nobody_is_known() {
    let whole = "{\"mod_fail2ban_state\":1}\n\
                 {\"known\":{\"source\":\"10.0.0.7\",\"account\":\"1009@switch.example\",\"seen\":99999999999}}\n\
                 {\"end\":1}\n";
    for (text, is_whole) in [(whole, true), (&whole[..90], false), ("", false), ("nonsense\n", false)] {
        let switch = Switch::start(&knowing("register_failure"));
        put_state_file(&switch, text);
        switch.load().unwrap();
        let warnings = switch.host_lines("WARNING");
        assert_eq!(is_known(&switch, PHONE), is_whole, "{text}");
        assert_eq!(warnings.len(), usize::from(!is_whole), "{warnings:?}");
        assert!(is_whole || warnings[0].contains("db/fail2ban.state"), "{warnings:?}");
        become_known(&switch, "1009", "10.0.0.8");
        switch.reload().unwrap();
        assert!(is_known(&switch, "10.0.0.8"), "the next one is whole");
        assert_eq!(switch.host_lines("WARNING").len(), warnings.len());
    }
}

fn a_disk_that_takes_no_file_is_a_warning_and_all_goes_on() {
    let switch = Switch::start(&knowing("register_failure"));
    // A folder in the place of the file that is written beside and renamed.
    fs::create_dir_all(switch.path("db/fail2ban.state.new/in use")).unwrap();
    switch.load().unwrap();
    become_known(&switch, "1009", PHONE);
    fail(&switch, 1, PHONE);
    assert!(switch.wait_for_lines(1)[0].starts_with("A known address caused"));
    switch.unload().unwrap();
    let warnings = switch.host_lines("WARNING");
    assert!(warnings.len() == 1 && warnings[0].contains("can't be saved"), "{warnings:?}");
    assert!(!switch.has_code_mapped());
}

fn registrations(rows: &[(&str, &str)]) -> Value {
    let row = |(user, ip): &(&str, &str)| json!({ "reg_user": user, "realm": "switch.example", "network_ip": ip, "expires": 9_999_999_999_i64 });
    rows.iter().map(row).collect()
}

fn who_is_registered_already_is_known_at_the_load() {
    let proxy = r#"<param name="proxy" value="10.9.0.0/24"/>"#;
    let switch = Switch::start(&(knowing("register_failure") + proxy));
    let mut rows = registrations(&[
        ("1005", "10.9.0.1"),
        ("1009", PHONE),
        ("1001", "2001:db9::7"),
        ("1002", "nowhere"),
        ("1003", "192.0.2.1"),
    ]);
    let expired =
        json!({ "reg_user": "1004", "realm": "switch.example", "network_ip": "10.0.0.9", "expires": 1000 });
    rows.as_array_mut().unwrap().push(expired);
    switch.set_registrations(&rows);
    switch.load().unwrap();
    wait_until("the registrations", || is_known(&switch, PHONE) && is_known(&switch, "2001:db9::7"));
    let mut known = all_known(&switch);
    known.sort();
    assert_eq!(known, [PHONE, "2001:db9::/64"]);
    assert!(switch.api("fail2ban known 10.0.0.7").contains(" 1009@switch.example"));
    // The account is the one of its logins.
    for host in 1..=32 {
        login(&switch, "1009", &format!("10.1.0.{host}"));
    }
    wait_until("the 33rd address to push out the first", || !is_known(&switch, PHONE));
}

fn who_is_registered_is_known_when_the_setting_is_switched_on() {
    let switch = Switch::loaded("");
    switch.set_registrations(&registrations(&[("1009", PHONE)]));
    switch.write_config(&configuration(&knowing("register_failure")));
    wait_until("the setting", || !switch.api("fail2ban known").starts_with("-ERR"));
    wait_until("the registration", || is_known(&switch, PHONE));
    // Switched off and on again, the addresses that logged in meanwhile are not made up.
    switch.write_config(&configuration(""));
    wait_until("the setting", || switch.api("fail2ban known").starts_with("-ERR"));
    fail(&switch, 1, PHONE);
    assert!(switch.wait_for_lines(1)[0].starts_with("A registration failed"));
}

fn an_account_that_needs_no_password_makes_nobody_known() {
    let switch = Switch::start(&(knowing("register_failure") + "<param name=\"format\" value=\"dated\"/>"));
    switch.set_without_password(&["default@switch.example"]);
    switch.set_registrations(&registrations(&[("default", "10.0.0.9"), ("1001", "10.0.0.10")]));
    switch.load().unwrap();
    wait_until("the registration", || is_known(&switch, "10.0.0.10"));
    for user in ["default", "DEFAULT", "default"] {
        login(&switch, user, PHONE);
    }
    // The directory is asked about one after the other.
    become_known(&switch, "1009", "10.0.0.8");
    login(&switch, "default", PHONE);
    assert_eq!(all_known(&switch).len(), 2, "{}", switch.api("fail2ban known"));
    fail(&switch, 30, PHONE);
    let lines = switch.wait_for_lines(30);
    assert!(lines.iter().all(|line| line.contains(" ip=10.0.0.7 known=no ")), "{lines:?}");
    // The directory is asked again once its files have been read again.
    switch.set_without_password(&[]);
    switch.api("reloadxml");
    wait_until("the new directory", || {
        login(&switch, "default", PHONE);
        is_known(&switch, PHONE)
    });
}

fn what_release_1_1_knew_is_taken_over_but_for_accounts_without_a_password() {
    let switch = Switch::start(&knowing("register_failure"));
    switch.set_without_password(&["default@switch.example"]);
    fs::create_dir_all(switch.path("db")).unwrap();
    let text = "mod_fail2ban known addresses 1\n10.0.0.9 99999999999 default@switch.example\n\
                10.0.0.7 99999999999 1009@switch.example\nend 2\n";
    fs::write(switch.path("db/fail2ban.known"), text).unwrap();
    switch.load().unwrap();
    wait_until("the addresses", || is_known(&switch, PHONE));
    assert_eq!(all_known(&switch), [PHONE]);
    // From then on the new file is the one.
    switch.unload().unwrap();
    fs::write(switch.path("db/fail2ban.known"), text.replace("10.0.0.7", "10.0.0.8")).unwrap();
    switch.load().unwrap();
    become_known(&switch, "1001", "10.0.0.1");
    assert!(is_known(&switch, PHONE) && !is_known(&switch, "10.0.0.8"));
}
