//! Every signal that FreeSWITCH shows, in every format, and none from an address that is trusted.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, recorded, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            failed_verto_logins_are_signals_and_good_ones_are_not,
            dated_and_json_lines_tell_all_that_an_event_tells,
            only_a_challenge_that_nobody_answers_is_logged_with_the_time_of_the_challenge,
            credentials_of_a_trusted_address_answer_its_challenge,
            a_trusted_address_is_counted_and_never_logged
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            a_flood_of_challenges_takes_bounded_memory_and_never_blames_a_phone,
            acl_rejections_are_read_from_the_hosts_own_warnings
        ],
    );
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

fn settings(params: &[(&str, &str)]) -> String {
    params.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect()
}

/// The lines that the recorded attack gives, without their times.
fn recorded_lines(format: &str, events: &str, count: usize) -> Vec<String> {
    let switch = Switch::loaded(&settings(&[("format", format), ("events", events)]));
    for event in recorded("events-1.10.12.jsonl") {
        switch.fire_event(&event);
    }
    let time = "2026-11-22T00:51:58.493952+0000".len();
    let lines = switch.wait_for_lines(count);
    assert_eq!(lines.len(), count);
    lines
        .iter()
        .map(|line| match format {
            "classic" => line[..line.len() - time - 2].to_owned(),
            "dated" => line[time..].to_owned(),
            _ => line.replacen(&line[9..9 + time], "", 1),
        })
        .collect()
}

fn failed_verto_logins_are_signals_and_good_ones_are_not() {
    assert_eq!(
        recorded_lines("classic", "verto_login_failure", 4),
        [
            "A verto login failed user[1009@10.99.0.1] ip[10.99.0.2] at",
            "A verto login failed user[9999@10.99.0.1] ip[10.99.0.2] at",
            "A verto login failed user[1009@10.99.0.1] ip[10.99.0.2] at",
            "A verto login failed user[x%5D ip%5B8.8.8.8%5D at%5B] ip[10.99.0.2] at",
        ]
    );
    assert_eq!(
        recorded_lines("dated", "verto_login_failure", 4)[1],
        " mod_fail2ban: verto_login_failure ip=10.99.0.2 port=49372 profile=\"default-v4\" \
         transport=tcp result=\"Login Incorrect\" user=\"9999@10.99.0.1\""
    );
    assert_eq!(
        recorded_lines("json", "verto_login_failure", 4)[3],
        "{\"time\":\"\",\"event\":\"verto_login_failure\",\"ip\":\"10.99.0.2\",\"port\":49408,\
         \"profile\":\"default-v4\",\"transport\":\"tcp\",\"result\":\"Login Incorrect\",\"user\":\"x%5D ip%5B8.8.8.8%5D at%5B\"}"
    );
}

fn dated_and_json_lines_tell_all_that_an_event_tells() {
    let lines = recorded_lines("dated", "register_attempt,register_failure,wrong_call_state", 46);
    assert_eq!(
        lines[0],
        " mod_fail2ban: register_attempt ip=10.99.0.2 port=5070 profile=\"internal\" result=FORBIDDEN \
         realm=\"10.99.0.1\" agent=\"friendly-scanner\" call_id=\"1-2872@10.99.0.2\" auth_user=\"1009\" \
         from_user=\"1009\" to_user=\"1009\" user=\"1009\""
    );
    assert_eq!(
        lines[13],
        " mod_fail2ban: register_failure ip=10.99.0.2 port=5070 profile=\"internal\" method=INVITE \
         agent=\"friendly-scanner\" to_user=\"9196\" user=\"9196\""
    );
    assert_eq!(
        lines[45],
        " mod_fail2ban: wrong_call_state ip=10.99.0.2 port=5070 from_user=\"1009\" user=\"1009\""
    );
    let lines = recorded_lines("json", "challenge", 31);
    let first: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        first,
        json!({
            "time": "", "event": "challenge", "ip": "10.99.0.2", "port": 5070, "profile": "internal",
            "agent": "friendly-scanner", "call_id": "1-2872@10.99.0.2", "from_user": "1009",
            "to_user": "1009", "user": "1009"
        })
    );
}

fn challenge(call_id: &str, ip: &str) -> Event {
    Event::new(&[
        ("Event-Name", "CUSTOM"),
        ("Event-Subclass", "sofia::pre_register"),
        ("profile-name", "internal"),
        ("from-user", "1009"),
        ("call-id", call_id),
        ("status", "Registered(TCP)"),
        ("to-user", "1009"),
        ("network-ip", ip),
        ("network-port", "5070"),
        ("user-agent", "friendly-scanner"),
    ])
}

fn answer(call_id: &str, ip: &str) -> Event {
    challenge(call_id, ip).with("Event-Subclass", "sofia::register_attempt").with("auth-result", "SUCCESS")
}

fn only_a_challenge_that_nobody_answers_is_logged_with_the_time_of_the_challenge() {
    let events = ("events", "challenge_unanswered");
    let switch = Switch::loaded(&settings(&[events, ("challenge-timeout", "1"), ("format", "json")]));
    let time = || status(&switch)["time"].as_str().unwrap().to_owned();
    let before = time();
    switch.fire_event(&challenge("phone", "192.0.2.1"));
    switch.fire_event(&challenge("scanner", "192.0.2.7"));
    wait_until("the challenges", || status(&switch)["challenges"]["waiting"] == 2);
    let after = time();
    // Credentials that FreeSWITCH does not even look at are no answer: anyone can make them up.
    switch.fire_event(&answer("scanner", "192.0.2.7").with("auth-result", "STALE"));
    // A phone whose router has given it another address meanwhile.
    switch.fire_event(&answer("phone", "192.0.2.2"));
    let line: Value = serde_json::from_str(&switch.wait_for_lines(1)[0]).unwrap();
    assert_eq!((&line["event"], &line["ip"]), (&json!("challenge_unanswered"), &json!("192.0.2.7")));
    // What the sender wrote into Contact proves nothing.
    assert_eq!((&line["transport"], &line["call_id"]), (&Value::Null, &json!("scanner")));
    let told = line["time"].as_str().unwrap();
    assert!(
        *before <= *told && *told <= *after,
        "{told} is not the time of the challenge: {before} to {after}"
    );
    // A later line would show whether the phone is logged after all.
    switch.fire_event(&challenge("later", "192.0.2.8"));
    assert!(switch.wait_for_lines(2)[1].contains("192.0.2.8"));
    assert_eq!(status(&switch)["challenges"], json!({ "waiting": 0, "untracked": 0 }));
}

/// An address may come to be trusted while its challenge waits.
fn credentials_of_a_trusted_address_answer_its_challenge() {
    let list = |node: &str| format!("<list name=\"lan\" default=\"deny\">{node}</list>");
    let params = [("events", "challenge_unanswered"), ("challenge-timeout", "2"), ("trusted-acl", "lan")];
    let switch = Switch::start_with(Some(&configuration(&settings(&params))), &list(""));
    switch.load().unwrap();
    switch.fire_event(&challenge("phone", "192.0.2.1"));
    wait_until("the challenge", || status(&switch)["challenges"]["waiting"] == 1);
    switch.write_acl(&list("<node type=\"allow\" cidr=\"192.0.2.1/32\"/>"));
    switch.fire_event(&answer("phone", "192.0.2.1"));
    switch.fire_event(&challenge("scanner", "192.0.2.7"));
    let lines = switch.wait_for_lines(1);
    assert!(lines.len() == 1 && lines[0].contains(" ip[192.0.2.7] "), "{lines:?}");
}

fn a_flood_of_challenges_takes_bounded_memory_and_never_blames_a_phone() {
    let timeout = |seconds| settings(&[("events", "challenge_unanswered"), ("challenge-timeout", seconds)]);
    let switch = Switch::loaded(&timeout("3600"));
    let flood: u64 = 20_000;
    switch.storm(2, flood as usize, &challenge("flood-{n}", "10.9.9.9"));
    for phone in 0..100 {
        let call_id = format!("phone-{phone}");
        switch.fire_event(&challenge(&call_id, "192.0.2.1"));
        switch.fire_event(&answer(&call_id, "192.0.2.1"));
    }
    let of = |name: &str| status(&switch)["challenges"][name].as_u64().unwrap();
    let (waiting, untracked) = (of("waiting"), of("untracked"));
    assert!(waiting > 1000 && waiting <= 8192, "{waiting}");
    assert!(waiting + untracked >= flood && waiting + untracked <= flood + 100, "{waiting} {untracked}");

    switch.write_config(&configuration(&timeout("1")));
    wait_until("the flood's lines", || of("waiting") == 0);
    let lines = switch.wait_for_lines(waiting as usize);
    assert_eq!(lines.len(), waiting as usize);
    assert!(lines.iter().all(|line| line.contains(" ip[10.9.9.9] ")), "a phone that answered");
}

fn acl_rejections_are_read_from_the_hosts_own_warnings() {
    let switch = Switch::start(&settings(&[("events", "acl_reject"), ("format", "dated")]));
    // Without a profile it would not be certain that the address is not the text of a header.
    let profile = "<configuration name=\"sofia.conf\"><profiles><profile name=\"internal\"/></profiles></configuration>";
    switch.write_other_config("sofia.conf.xml", profile);
    switch.load().unwrap();
    let acl = "IP 192.0.2.7 Rejected by acl \"lan\"";
    switch.log(4, "sofia.c", acl);
    switch.log(4, "mod_other.c", acl);
    switch.log(5, "sofia.c", acl);
    switch.log(4, "sofia_reg.c", "SIP auth failure (REGISTER) for [IP 9.9.9.9 Rejected by acl \"lan\"]");
    switch.log(4, "sofia_reg.c", "IP 9.9.9.9 ip[8.8.8.8] Rejected by acl \"lan\"");
    switch.log(4, "sofia_reg.c", "IP 2001:db8::1 Rejected by register acl \"domains\"");
    switch.log(4, "mod_event_socket.c", "IP 192.0.2.8 Rejected by acl \"loopback.auto\"");
    let lines: Vec<_> = switch.wait_for_lines(3).iter().map(|line| line[31..].to_owned()).collect();
    assert_eq!(
        lines,
        [
            " mod_fail2ban: acl_reject ip=192.0.2.7 acl=\"lan\" user=\"\"",
            " mod_fail2ban: acl_reject ip=2001:db8::1 method=REGISTER acl=\"domains\" user=\"\"",
            " mod_fail2ban: acl_reject ip=192.0.2.8 acl=\"loopback.auto\" user=\"\"",
        ]
    );
    assert_eq!(status(&switch)["signals"]["acl_reject"]["no_address"], 1);
    switch.unload().unwrap();
}

fn a_trusted_address_is_counted_and_never_logged() {
    let lists = "<list name=\"lan\" default=\"deny\"><node type=\"allow\" cidr=\"192.0.2.0/28\"/>\
                 <node type=\"allow\" cidr=\"2001:db8:1::/48\"/></list>";
    let params =
        settings(&[("trusted-acl", "lan"), ("trusted-acl", "nowhere"), ("trusted-acl", "198.51.100.0/24")]);
    let switch = Switch::start_with(Some(&configuration(&params)), lists);
    switch.load().unwrap();
    for trusted in ["192.0.2.7", "2001:db8:1::7", "198.51.100.9"] {
        switch.fire_event(&Event::register_failure("1009", trusted));
    }
    for other in ["192.0.2.77", "2001:db8:2::7"] {
        switch.fire_event(&Event::register_failure("1009", other));
    }
    let lines = switch.wait_for_lines(2);
    assert!(
        lines.len() == 2 && lines[0].contains("ip[192.0.2.77]") && lines[1].contains("ip[2001:db8:2::7]")
    );
    let of = status(&switch)["signals"]["register_failure"].clone();
    assert_eq!((&of["seen"], &of["trusted"]), (&json!(2), &json!(3)));
    let warnings = switch.host_lines("WARNING");
    assert!(warnings.len() == 1 && warnings[0].contains("trusted-acl=\"nowhere\""), "{warnings:?}");
}
