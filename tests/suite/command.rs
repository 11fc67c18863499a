//! The command `fail2ban`: what an operator sees and does in the console.

use std::fs;

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            status_tells_what_is_in_force_and_what_was_written,
            status_shows_that_the_log_can_not_be_written,
            a_changed_setting_is_put_in_force_and_a_bad_one_refused,
            reloadxml_changes_which_signals_are_heard,
            a_test_writes_lines_that_a_jail_bans_and_for_nobodys_address_only,
            help_and_completion_name_every_command
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            status_names_the_ten_busiest_of_twenty_thousand_addresses,
            a_hundred_changes_of_settings_under_attack_lose_and_double_nothing
        ],
    );
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}
fn status_tells_what_is_in_force_and_what_was_written() {
    let switch = Switch::loaded("<param name=\"events\" value=\"register_failure\"/>");
    for _ in 0..3 {
        switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    }
    switch.fire_event(&Event::register_failure("1009", "2001:db8::1"));
    switch.fire_event(&Event::register_failure("1009", "no address"));
    switch.wait_for_lines(4);
    wait_until("the count of what was written", || {
        let of = &status(&switch)["signals"]["register_failure"];
        of["written"] == 4 && of["no_address"] == 1
    });
    let status = status(&switch);
    assert_eq!(status["state"], "writing");
    assert_eq!(status["log_is_on_disk"], true);
    assert_eq!(status["last_error"], Value::Null);
    assert_eq!(status["settings"]["events"], json!(["register_failure"]));
    assert_eq!(status["settings"]["format"], "classic");
    assert_eq!(status["settings"]["logfile"], switch.log_file().to_str().unwrap());
    let of = &status["signals"]["register_failure"];
    assert_eq!(
        (&of["seen"], &of["written"], &of["waiting"], &of["dropped"]),
        (&json!(4), &json!(4), &json!(0), &json!(0))
    );
    let last_seen = of["last_seen"].as_str().expect("a time");
    assert!(switch.log_text().contains(last_seen), "{last_seen} is the time of no line");
    assert_eq!(status["signals"]["challenge"]["last_seen"], Value::Null);
    for (name, value) in [
        ("attacker-after", json!(0)),
        ("refuse-attackers", json!(false)),
        ("ipv6-prefix", json!(64)),
        ("proxy", json!([])),
        ("client-address-header", json!("X-AUTH-IP")),
    ] {
        assert_eq!(status["settings"][name], value, "{name}");
    }
    assert_eq!(status["busiest"][0], json!({ "ip": "192.0.2.7", "count": 3, "error": 0 }));

    let text = switch.api("fail2ban status");
    for part in [
        "writing",
        "classic",
        "register_failure",
        "192.0.2.7",
        "##############################",
        "last error  none",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("register_attempt"), "{text}");
}
fn status_shows_that_the_log_can_not_be_written() {
    let switch = Switch::start("");
    fs::create_dir(switch.path("own")).unwrap();
    let log = switch.path("own/f.log");
    switch.write_config(&configuration(&format!("<param name=\"logfile\" value=\"{}\"/>", log.display())));
    switch.load().unwrap();
    fs::remove_dir_all(switch.path("own")).unwrap();
    wait_until("the loss", || status(&switch)["log_is_on_disk"] == false);
    wait_until("the state", || status(&switch)["state"] == "failing");
    assert!(switch.api("fail2ban status").contains("can't be written"));
    assert!(status(&switch)["last_error"]["error"].as_str().unwrap().contains("No such file"));
}
fn status_names_the_ten_busiest_of_twenty_thousand_addresses() {
    let switch = Switch::loaded(
        "<param name=\"events\" value=\"register_failure\"/><param name=\"ipv6-prefix\" value=\"128\"/>",
    );
    for _ in 0..50 {
        switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    }
    for network in ["2001:db8", "2001:db9"] {
        switch.storm(2, 10_000, &Event::register_failure("1009", &format!("{network}::{{n}}")));
    }
    let busiest = status(&switch)["busiest"].as_array().unwrap().clone();
    assert_eq!(busiest.len(), 10);
    assert_eq!(busiest[0]["ip"], "192.0.2.7");
}
fn a_changed_setting_is_put_in_force_and_a_bad_one_refused() {
    let switch = Switch::loaded("");
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    let change = |text: &str| {
        // Without a word to the host: the command alone has to have the file read.
        fs::write(switch.path("conf/autoload_configs/fail2ban.conf.xml"), text).unwrap();
        switch.api("fail2ban reload")
    };
    assert!(change(&configuration("<param name=\"format\" value=\"dated\"/>")).starts_with("+OK"));
    assert_eq!(status(&switch)["settings"]["format"], "dated");
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    assert!(switch.wait_for_lines(1)[0].ends_with(
        " mod_fail2ban: register_failure ip=192.0.2.7 port=5070 profile=\"internal\" method=REGISTER \
         agent=\"friendly-scanner\" to_user=\"1009\" user=\"1009\""
    ));

    let answer = change(&configuration("<param name=\"format\" value=\"yaml\"/>"));
    assert!(
        answer.starts_with("-ERR") && answer.contains("yaml") && answer.contains("classic, dated or json")
    );
    let answer = change("<configuration name=\"fail2ban.conf\"><bindings>");
    assert!(answer.starts_with("-ERR") && answer.contains("XML"), "{answer}");
    assert_eq!(status(&switch)["settings"]["format"], "dated");
    wait_until("the refusal", || {
        switch
            .host_lines("ERR")
            .iter()
            .any(|line| line.contains("reload rejected, previous settings stay active: "))
    });
}
fn reloadxml_changes_which_signals_are_heard() {
    let switch = Switch::loaded("<param name=\"events\" value=\"register_failure\"/>");
    let attempt =
        Event::register_failure("1009", "192.0.2.7").with("Event-Subclass", "sofia::register_attempt");
    switch.fire_event(&attempt);
    // FreeSWITCH delivers events in their order, but later than it says.
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    switch.wait_for_lines(1);
    switch.write_config(&configuration("<param name=\"events\" value=\"register_attempt\"/>"));
    wait_until("the settings", || status(&switch)["settings"]["events"] == json!(["register_attempt"]));
    switch.fire_event(&attempt);
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    let lines = switch.wait_for_lines(2);
    let starts: Vec<_> = lines.iter().map(|line| line.split(" user").next().unwrap_or_default()).collect();
    assert_eq!(starts, ["A registration failed", "A registration was attempted"]);
}
fn a_hundred_changes_of_settings_under_attack_lose_and_double_nothing() {
    let switch = Switch::loaded(
        "<param name=\"events\" value=\"register_failure\"/><param name=\"attacker-after\" value=\"0\"/>",
    );
    switch.begin_storm(3, &Event::register_failure("u{n}", "192.0.2.7"));
    for turn in 0..100 {
        let format = ["classic", "dated", "json"][turn % 3];
        let log = ["log/fail2ban.log", "log/other.log"][turn % 2];
        switch.write_config(&configuration(&format!(
            "<param name=\"events\" value=\"register_failure\"/><param name=\"attacker-after\" value=\"0\"/>\
             <param name=\"format\" value=\"{format}\"/>\
             <param name=\"logfile\" value=\"{}\"/><param name=\"buffer-size\" value=\"{}m\"/>",
            switch.path(log).display(),
            4 + turn % 5
        )));
        let answer = switch.api("fail2ban reload");
        assert!(answer.starts_with("+OK"), "{answer}");
    }
    let calls = switch.end_storm()["calls"].as_u64().unwrap() as usize;
    let of = status(&switch)["signals"]["register_failure"].clone();
    let dropped = of["dropped"].as_u64().unwrap() as usize;
    assert_eq!(of["seen"], calls);
    switch.unload().unwrap();
    let mut users = Vec::new();
    for log in ["log/fail2ban.log", "log/other.log"] {
        for line in fs::read_to_string(switch.path(log)).unwrap().lines() {
            let user = ["user[", " user=\"", "\"user\":\""].iter().find_map(|start| {
                let rest = line.split_once(start)?.1;
                rest.split_once([']', '"']).map(|(user, _)| user)
            });
            users.extend(user.map(str::to_owned));
        }
    }
    assert_eq!(users.len() + dropped, calls);
    users.sort();
    users.dedup();
    assert_eq!(users.len() + dropped, calls, "a line is there twice");
}
fn a_test_writes_lines_that_a_jail_bans_and_for_nobodys_address_only() {
    let switch = Switch::loaded(
        "<param name=\"events\" value=\"acl_reject\"/><param name=\"attacker-after\" value=\"10\"/>",
    );
    assert!(switch.api("fail2ban test").starts_with("+OK 10 lines for 192.0.2.1"));
    assert!(switch.api("fail2ban test 2001:db8::7 2").starts_with("+OK 2 lines"));
    let lines = switch.wait_for_lines(13);
    assert!(
        lines[..10]
            .iter()
            .all(|line| line.starts_with("A registration failed user[fail2ban-test] ip[192.0.2.1] at["))
    );
    assert!(
        lines[10].starts_with("An attacker was found user[fail2ban-test] ip[192.0.2.1] at["),
        "{lines:?}"
    );
    assert!(lines[11..].iter().all(|line| line.contains(" ip[2001:db8::7] ")));
    for refused in ["test 10.0.0.1", "test 192.0.2.1 0", "test 192.0.2.1 x", "tets", "status now"] {
        let answer = switch.api(&format!("fail2ban {refused}"));
        assert!(answer.starts_with("-ERR") && answer.contains("expected"), "{answer}");
    }
    assert_eq!(switch.log_text().lines().count(), 14);
}
fn help_and_completion_name_every_command() {
    let switch = Switch::loaded("");
    for answer in [switch.api("fail2ban help"), switch.api("fail2ban")] {
        for command in [
            "status [json]",
            "attackers",
            "why IP|USER[@DOMAIN]",
            "forgive IP|USER[@DOMAIN]",
            "known [IP]",
            "forget IP",
            "report IP REASON",
            "metrics",
            "reload",
            "reopen",
            "test [IP [COUNT]]",
            "help",
        ] {
            assert!(answer.contains(&format!("fail2ban {command}")), "{answer}");
        }
    }
    // FreeSWITCH writes its table of them some time later.
    wait_until("the completions", || switch.completions().len() == 13);
    switch.unload().unwrap();
    wait_until("the completions to go", || switch.completions().is_empty());
}
