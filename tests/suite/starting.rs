//! Loaded from `pre_load_modules.conf.xml` the module starts before FreeSWITCH's database and the modules that serve
//! its configuration, and is shut down after them. While the stand-in is not ready, using the database takes it down.

use std::fs;
use std::time::Duration;

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, wait_at_most, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::stand_in],
        tests![
            what_had_to_wait_for_freeswitch_is_made_up_for_within_seconds,
            while_freeswitch_starts_it_can_be_reloaded_and_unloaded,
            when_freeswitch_shuts_down_all_that_waits_is_written,
            a_pause_of_all_calls_changes_nothing,
        ],
    );
}

const PHONE: &str = "10.0.0.7";

/// What is made up for comes within this time.
const SECONDS: Duration = Duration::from_secs(10);

const PARAMS: &str = "<param name=\"known-for\" value=\"1d\"/><param name=\"trusted-acl\" value=\"lan\"/>\
    <param name=\"events\" value=\"register_failure,acl_reject,auth_unconfirmed\"/>\
    <param name=\"format\" value=\"dated\"/>";

const SOFIA: &str =
    "<configuration name=\"sofia.conf\"><profiles><profile name=\"internal\"/></profiles></configuration>";

/// A switch that has not started, with one registration of a phone.
fn starting() -> Switch {
    let switch = Switch::start(PARAMS);
    let row = json!({ "reg_user": "1009", "realm": "switch.example", "network_ip": PHONE, "expires": 9_999_999_999_i64 });
    switch.set_registrations(&json!([row]));
    switch.set_ready(false);
    switch
}

fn is_known(switch: &Switch, ip: &str) -> bool {
    !switch.api(&format!("fail2ban known {ip}")).starts_with("-ERR")
}

fn reject(switch: &Switch, ip: &str) {
    switch.log(4, "sofia.c", &format!("IP {ip} Rejected by acl \"domains\""));
}

fn what_had_to_wait_for_freeswitch_is_made_up_for_within_seconds() {
    let switch = starting();
    switch.load().unwrap();
    assert!(switch.completions().is_empty() && !is_known(&switch, PHONE));
    // Sofia's settings are not served yet: the address may be the text of a header.
    reject(&switch, "8.8.8.8");
    switch.fire_event(&Event::register_failure("1009", "10.0.0.8"));
    let lines = switch.wait_for_lines(1);
    assert!(lines.len() == 1 && lines[0].contains(" register_failure ip=10.0.0.8 known=no "), "{lines:?}");
    switch.write_other_config("sofia.conf.xml", SOFIA);
    switch.write_acl("<list name=\"lan\" default=\"deny\"/>");
    reject(&switch, "8.8.8.8");

    switch.set_ready(true);
    wait_at_most(SECONDS, "the completions", || !switch.completions().is_empty());
    wait_at_most(SECONDS, "the registration", || is_known(&switch, PHONE));
    wait_at_most(SECONDS, "sofia's settings", || {
        reject(&switch, "10.0.0.9");
        switch.log_text().contains(" acl_reject ip=10.0.0.9 ")
    });
    assert!(!switch.log_text().contains("8.8.8.8"), "{}", switch.log_text());
    switch.unload().unwrap();
    assert!(switch.completions().is_empty());
    for level in ["WARNING", "ERR"] {
        let said = switch.host_lines(level);
        assert!(said.iter().all(|line| !line.contains("fail2ban")), "{said:?}");
    }
}

fn while_freeswitch_starts_it_can_be_reloaded_and_unloaded() {
    let switch = starting();
    for format in ["json", "dated"] {
        switch.load().unwrap();
        let format = format!("<param name=\"format\" value=\"{format}\"/>");
        switch.write_config(&configuration(
            &PARAMS.replace("<param name=\"format\" value=\"dated\"/>", &format),
        ));
        assert!(switch.api("fail2ban reload").starts_with("+OK"));
        switch.fire_event(&Event::register_failure("1009", PHONE));
        switch.reload().unwrap();
        switch.unload().unwrap();
        assert!(!switch.has_code_mapped());
    }
    let text = switch.log_text();
    assert_eq!(
        (text.matches("\"event\":\"register_failure\"").count(), text.matches(": register_failure ").count()),
        (1, 1)
    );
    assert!(switch.is_up() && switch.completions().is_empty());
}

fn when_freeswitch_shuts_down_all_that_waits_is_written() {
    let switch = starting();
    switch.load().unwrap();
    switch.set_ready(true);
    wait_at_most(SECONDS, "the registration", || is_known(&switch, PHONE));
    switch.set_ready(false);
    switch.storm(2, 5_000, &Event::register_failure("u{n}", "10.0.0.8"));
    switch.unload().unwrap();
    assert_eq!(switch.log_text().matches(" register_failure ip=10.0.0.8 ").count(), 5_000);
    assert!(switch.log_text().lines().last().is_some_and(|line| line.contains("Fail2ban stoping")));
    assert!(fs::read_to_string(switch.path("db/fail2ban.state")).unwrap().contains(PHONE));
    assert!(switch.is_up() && !switch.has_code_mapped());
}

/// `fsctl pause` looks like a switch that has not started.
fn a_pause_of_all_calls_changes_nothing() {
    let switch = starting();
    switch.set_ready(true);
    switch.write_acl("<list name=\"lan\" default=\"deny\"/>");
    switch.write_other_config("sofia.conf.xml", SOFIA);
    switch.load().unwrap();
    wait_until("the registration", || is_known(&switch, PHONE));
    switch.set_ready(false);
    let json = PARAMS.replace("\"dated\"", "\"json\"");
    switch.write_config(&configuration(&json));
    let format = || -> Value {
        let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).expect("JSON");
        status["settings"]["format"].clone()
    };
    wait_until("the settings", || format() == "json");
    reject(&switch, "10.0.0.9");
    assert!(switch.wait_for_lines(1)[0].contains("\"event\":\"acl_reject\",\"ip\":\"10.0.0.9\""));
}
