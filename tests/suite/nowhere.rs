//! Calls to nowhere, from the end of each call.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, recorded, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        // The recorded headers have line breaks, which no event socket passes on.
        &[needs::stand_in],
        tests![
            a_strangers_call_to_nowhere_is_one_line_and_no_other_call_is_any,
            in_every_format_a_line_shows_the_call_and_what_the_caller_wrote_is_escaped,
            an_acl_of_the_calls_profile_lets_a_caller_in_whatever_freeswitch_shows_of_it,
            the_end_of_calls_is_bound_only_if_it_is_needed,
            a_call_that_was_reported_counts_once,
        ],
    );
}

fn params(params: &[(&str, &str)]) -> String {
    params.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect()
}

fn loaded(format: &str) -> Switch {
    Switch::loaded(&params(&[("events", "call_to_nowhere"), ("format", format)]))
}

fn counts(switch: &Switch) -> Value {
    let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).expect("JSON");
    status["signals"]["call_to_nowhere"].clone()
}

fn ended_calls() -> Vec<Event> {
    recorded("hangup-events-1.10.12.jsonl")
}

/// A recorded call to nowhere.
fn nowhere() -> Event {
    ended_calls().remove(0)
}

/// The lines without their times.
fn lines(switch: &Switch, count: usize) -> Vec<String> {
    let lines = switch.wait_for_lines(count);
    assert_eq!(lines.len(), count, "{lines:?}");
    let event = |line: &String| line.split_once(" mod_fail2ban: ").expect("a dated line").1.to_owned();
    lines.iter().map(event).collect()
}

fn a_strangers_call_to_nowhere_is_one_line_and_no_other_call_is_any() {
    let switch = loaded("dated");
    ended_calls().iter().for_each(|event| switch.fire_event(event));
    assert_eq!(
        lines(&switch, 2),
        [
            "call_to_nowhere ip=10.99.0.2 port=50531 profile=\"external\" transport=udp agent=\"lab\" \
             call_id=\"71d8e633e15a49a598d26cd5faa4d750\" from_user=\"a\" to_user=\"9011441234567\" user=\"\"",
            "call_to_nowhere ip=10.99.0.3 port=43673 profile=\"external\" transport=tcp agent=\"lab\" \
             call_id=\"a1e75f86f4794a40ab54a818ea4c1c1f\" from_user=\"a\" to_user=\"00442012345678\" user=\"\"",
        ]
    );
    switch.fire_event(&nowhere().with("variable_sip_network_ip", "nonsense"));
    wait_until("the call without an address", || counts(&switch)["no_address"] == 1);
    switch.unload().unwrap();
}

fn in_every_format_a_line_shows_the_call_and_what_the_caller_wrote_is_escaped() {
    let time = "2026-11-22T00:51:58.493952+0000".len();
    let call = nowhere()
        .with("Caller-Caller-ID-Number", "x\" ip=8.8.8.8 [\u{202e}]\r\n")
        .with("Caller-Destination-Number", "900\nA call went nowhere user[] ip[9.9.9.9] at[]")
        .with("variable_sip_network_ip", "2001:db9::7")
        .with("variable_sip_via_protocol", "x\" ip=8.8.8.8");
    let line = |format: &str| {
        let switch = loaded(format);
        switch.fire_event(&call);
        switch.wait_for_lines(1).remove(0)
    };
    let classic = line("classic");
    assert_eq!(classic[..classic.len() - time - 2], *"A call went nowhere user[] ip[2001:db9::7] at");
    assert_eq!(
        line("dated")[time..],
        *" mod_fail2ban: call_to_nowhere ip=2001:db9::7 port=50531 profile=\"external\" agent=\"lab\" \
          call_id=\"71d8e633e15a49a598d26cd5faa4d750\" from_user=\"x%22 ip=8.8.8.8 %5B%E2%80%AE%5D%0D%0A\" \
          to_user=\"900%0AA call went nowhere user%5B%5D ip%5B9.9.9.9%5D at%5B%5D\" user=\"\""
    );
    let json: Value = serde_json::from_str(&line("json")).expect("JSON");
    assert_eq!((&json["event"], &json["ip"]), (&json!("call_to_nowhere"), &json!("2001:db9::7")));
    assert_eq!((&json["port"], &json["user"]), (&json!(50531), &json!("")));
    assert_eq!(json["transport"], Value::Null);
}

fn an_acl_of_the_calls_profile_lets_a_caller_in_whatever_freeswitch_shows_of_it() {
    let lists = "<list name=\"trunks\" default=\"deny\"><node type=\"allow\" cidr=\"10.99.0.0/29\"/></list>";
    let params = params(&[("events", "call_to_nowhere"), ("format", "dated")]);
    let switch = Switch::start_with(Some(&configuration(&params)), lists);
    switch.write_other_config(
        "sofia.conf.xml",
        "<configuration name=\"sofia.conf\"><profiles>\
         <profile name=\"external\"><settings><param name=\"apply-inbound-acl\" value=\"trunks:pass:fail\"/>\
         </settings></profile><profile name=\"other\"><settings/></profile></profiles></configuration>",
    );
    switch.load().unwrap();
    let from = |ip: &str, profile: &str| {
        nowhere().with("variable_sip_network_ip", ip).with("variable_sofia_profile_name", profile)
    };
    for (ip, profile) in [("10.99.0.2", "external"), ("10.99.0.2", "other"), ("10.99.0.9", "external")] {
        switch.fire_event(&from(ip, profile));
    }
    let lines = lines(&switch, 2);
    assert!(lines[0].contains(" ip=10.99.0.2 ") && lines[0].contains(" profile=\"other\" "), "{lines:?}");
    assert!(lines[1].contains(" ip=10.99.0.9 "), "{lines:?}");
}

fn the_end_of_calls_is_bound_only_if_it_is_needed() {
    let switch = Switch::loaded(&params(&[("events", "register_failure")]));
    let has = |name: &str| {
        let status: Value = serde_json::from_str(&switch.api("fail2ban status json")).expect("JSON");
        status["settings"]["events"].as_array().is_some_and(|events| events.contains(&json!(name)))
    };
    switch.fire_event(&nowhere());
    switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
    assert!(switch.wait_for_lines(1)[0].contains("10.0.0.7"));
    switch.write_config(&configuration(&params(&[("events", "call_to_nowhere")])));
    wait_until("the settings", || has("call_to_nowhere"));
    switch.fire_event(&nowhere());
    assert!(switch.wait_for_lines(2)[1].starts_with("A call went nowhere user[] ip[10.99.0.2] "));
    switch.write_config(&configuration(&params(&[("events", "register_failure")])));
    wait_until("the settings", || has("register_failure"));
    switch.fire_event(&nowhere());
    switch.fire_event(&Event::register_failure("1009", "10.0.0.8"));
    assert!(switch.wait_for_lines(3)[2].contains("10.0.0.8"));
}

fn a_call_that_was_reported_counts_once() {
    let switch = Switch::loaded(&params(&[("events", "reported,call_to_nowhere"), ("format", "dated")]));
    let variables = json!({ "sip_network_ip": "10.0.0.7" });
    let call = switch.execute("fail2ban_report", "x", &json!({}), &variables).unwrap();
    // As the core shows a channel's variables.
    let mut end = nowhere();
    for (name, value) in call.as_object().expect("the call's variables") {
        end = end.with(&format!("variable_{name}"), value.as_str().expect("a text"));
    }
    switch.fire_event(&end);
    switch.fire_event(&nowhere());
    let lines = lines(&switch, 2);
    assert!(lines[0].starts_with("reported ip=10.0.0.7 "), "{lines:?}");
    assert!(lines[1].starts_with("call_to_nowhere ip=10.99.0.2 "), "{lines:?}");
}
