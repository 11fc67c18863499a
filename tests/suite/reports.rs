//! What somebody reports, the dialplan with `fail2ban_report` or an operator with `fail2ban report`, and what ACLs
//! have turned away.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            an_operators_report_is_a_line_with_its_reason,
            a_report_that_is_wrong_or_not_logged_is_refused,
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            a_call_that_the_dialplan_reports_is_a_line_that_tells_the_call,
            a_call_is_reported_for_the_address_that_it_really_came_from,
            the_dialplan_can_report_at_any_time,
            a_rejection_after_which_sofia_goes_on_is_none,
            behind_a_proxy_only_what_comes_from_the_network_counts,
            a_users_acl_is_told_once,
            a_sofia_conf_without_profiles_makes_nothing_certain,
        ],
    );
}

fn loaded(events: &str) -> Switch {
    Switch::loaded(&settings(events))
}

/// What follows for the decision is in `answers.rs`.
fn settings(events: &str) -> String {
    format!(
        "<param name=\"events\" value=\"{events}\"/><param name=\"known-for\" value=\"1d\"/>\
         <param name=\"attacker-after\" value=\"0\"/>\
         <param name=\"format\" value=\"dated\"/>"
    )
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

/// Waits for so many lines, and gives them from the event's name on.
fn lines(switch: &Switch, count: usize) -> Vec<String> {
    let lines = switch.wait_for_lines(count);
    assert_eq!(lines.len(), count, "{lines:?}");
    let after_date = |line: &String| line.split_once(" mod_fail2ban: ").expect("a dated line").1.to_owned();
    lines.iter().map(after_date).collect()
}

fn an_operators_report_is_a_line_with_its_reason() {
    let switch = loaded("reported");
    let answer = switch.api("fail2ban report 10.0.0.7 calls  to nowhere");
    assert!(answer.starts_with("+OK 10.0.0.7 is reported in ") && answer.contains("log/fail2ban.log: "));
    switch.api("fail2ban report 2001:0db9::7 x\" ip=8.8.8.8 [\u{202e}]");
    assert!(switch.api("fail2ban report ::ffff:10.0.0.8 x").starts_with("+OK 10.0.0.8 "));
    assert_eq!(
        lines(&switch, 3),
        [
            "reported ip=10.0.0.7 known=no reason=\"calls  to nowhere\" user=\"\"",
            "reported ip=2001:db9::7 known=no reason=\"x%22 ip=8.8.8.8 %5B%E2%80%AE%5D\" user=\"\"",
            "reported ip=10.0.0.8 known=no reason=\"x\" user=\"\"",
        ]
    );
    // Of a known address the line says so.
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "SUCCESS"));
    wait_until("the login", || switch.api("fail2ban known 10.0.0.7").contains("1009"));
    switch.api("fail2ban report 10.0.0.7 x");
    assert_eq!(lines(&switch, 4)[3], "reported ip=10.0.0.7 known=yes reason=\"x\" user=\"\"");
    assert_eq!(status(&switch)["signals"]["reported"]["seen"], 4);
}

fn a_report_that_is_wrong_or_not_logged_is_refused() {
    let switch = loaded("register_failure");
    let answer = switch.api("fail2ban report 10.0.0.7 x");
    assert!(answer.starts_with("-ERR") && answer.contains("events in fail2ban.conf.xml"), "{answer}");
    switch.write_config(&configuration(
        &(settings("reported") + "<param name=\"trusted-acl\" value=\"10.9.0.0/16\"/>"),
    ));
    wait_until("the settings", || status(&switch)["settings"]["events"] == json!(["reported"]));
    for wrong in ["report", "report 10.0.0.7", "report me x", "report 10.0.0 x", "report 10.0.0.7:5060 x"] {
        let answer = switch.api(&format!("fail2ban {wrong}"));
        assert!(answer.starts_with("-ERR") && answer.contains("expected"), "{answer}");
    }
    let answer = switch.api("fail2ban report 10.9.0.7 x");
    assert!(answer.starts_with("+OK 10.9.0.7 is trusted"), "{answer}");
    let of = &status(&switch)["signals"]["reported"];
    assert_eq!((&of["seen"], &of["trusted"]), (&json!(0), &json!(1)));
    switch.unload().unwrap();
    let text = switch.log_text();
    assert!(text.lines().count() == 2 && !text.contains("ip="), "{text}");
}

/// A call as sofia makes it, with these variables more.
fn call(more: &[(&str, &str)]) -> Value {
    let mut variables = json!({
        "sip_network_ip": "10.0.0.7", "sip_network_port": "5070", "sip_via_protocol": "udp",
        "sofia_profile_name": "external", "sip_call_id": "call-1", "sip_user_agent": "friendly-scanner",
    });
    for (name, value) in more {
        variables[*name] = json!(value);
    }
    variables
}

fn profile() -> Value {
    json!({ "network_addr": "10.0.0.7", "caller_id_number": "100", "destination_number": "900441234567" })
}

fn a_call_that_the_dialplan_reports_is_a_line_that_tells_the_call() {
    let switch = loaded("reported");
    switch.execute("fail2ban_report", " calls to nowhere ", &profile(), &call(&[])).unwrap();
    let authorized = [("sip_authorized", "true"), ("sip_auth_username", "1009"), ("sip_via_protocol", "TLS")];
    switch.execute("fail2ban_report", "x", &profile(), &call(&authorized)).unwrap();
    let claimed = [("sip_auth_username", "1009")];
    switch.execute("fail2ban_report", "", &profile(), &call(&claimed)).unwrap();
    assert_eq!(
        lines(&switch, 3),
        [
            "reported ip=10.0.0.7 known=no port=5070 profile=\"external\" transport=udp \
             reason=\"calls to nowhere\" agent=\"friendly-scanner\" call_id=\"call-1\" from_user=\"100\" \
             to_user=\"900441234567\" user=\"\"",
            "reported ip=10.0.0.7 known=no port=5070 profile=\"external\" transport=tls reason=\"x\" \
             agent=\"friendly-scanner\" call_id=\"call-1\" from_user=\"100\" to_user=\"900441234567\" user=\"1009\"",
            "reported ip=10.0.0.7 known=no port=5070 profile=\"external\" transport=udp reason=\"\" \
             agent=\"friendly-scanner\" call_id=\"call-1\" from_user=\"100\" to_user=\"900441234567\" user=\"\"",
        ]
    );
}

fn a_call_is_reported_for_the_address_that_it_really_came_from() {
    let switch = loaded("reported");
    // What a caller may send gets names of its own.
    let headers =
        [("sip_h_X-AUTH-IP", "8.8.8.8"), ("sip_h_sip_network_ip", "8.8.8.8"), ("sip_via_protocol", "x")];
    switch.execute("fail2ban_report", "headers", &profile(), &call(&headers)).unwrap();
    // Verto and others set no sip_network_ip.
    let other = json!({ "network_addr": "2001:db9::7" });
    switch.execute("fail2ban_report", "other", &other, &json!({})).unwrap();
    // A call between extensions of this switch, and texts that are no address.
    switch.execute("fail2ban_report", "inside", &json!({}), &json!({})).unwrap();
    let nowhere = call(&[("sip_network_ip", "10.0.0.7] ip[8.8.8.8")]);
    switch.execute("fail2ban_report", "nowhere", &profile(), &nowhere).unwrap();
    let lines = lines(&switch, 2);
    assert!(
        lines[0].starts_with("reported ip=10.0.0.7 known=no port=5070 ") && !lines[0].contains("8.8.8.8")
    );
    assert!(!lines[0].contains("transport="), "{lines:?}");
    assert_eq!(lines[1], "reported ip=2001:db9::7 known=no reason=\"other\" user=\"\"");
    assert_eq!(status(&switch)["signals"]["reported"]["no_address"], 2);
}

fn the_dialplan_can_report_at_any_time() {
    let switch = loaded("register_failure");
    // Not logged: the call goes on.
    switch.execute("fail2ban_report", "x", &profile(), &call(&[])).unwrap();
    switch.unload().unwrap();
    let text = switch.log_text();
    assert!(text.lines().count() == 2 && !text.contains("reported"), "{text}");
    switch.execute("fail2ban_report", "x", &profile(), &call(&[])).unwrap_err();
    assert!(!switch.has_code_mapped());
}

/// `sofia.conf` with one profile that has these settings.
fn sofia(params: &[(&str, &str)]) -> String {
    let params: String =
        params.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect();
    format!(
        "<configuration name=\"sofia.conf\"><profiles><profile name=\"external\"><gateways/><settings>{params}\
         </settings></profile></profiles></configuration>"
    )
}

/// A switch whose sofia has these settings, with what its log says of rejections by each kind of ACL.
fn after_rejections(events: &str, sofia_params: &[(&str, &str)]) -> Switch {
    let switch = Switch::start(&settings(events));
    switch.write_other_config("sofia.conf.xml", &sofia(sofia_params));
    switch.load().unwrap();
    for (file, text) in [
        ("sofia.c", "IP 10.0.0.1 Rejected by acl \"lan\""),
        ("sofia_reg.c", "IP 10.0.0.2 Rejected by register acl \"domains\""),
        ("sofia_reg.c", "IP 10.0.0.3 Rejected by user acl [10.0.0.0/8]"),
        ("sofia.c", "IP 10.0.0.4 Rejected by acl \"others\""),
    ] {
        switch.log(4, file, text);
    }
    switch
}

fn rejected(switch: &Switch, count: usize) -> Vec<String> {
    let lines = lines(switch, count);
    let ip = |line: &String| {
        line.split_once("acl_reject ip=").expect("a rejection").1.split(' ').next().map(str::to_owned)
    };
    lines.iter().filter_map(ip).collect()
}

fn a_rejection_after_which_sofia_goes_on_is_none() {
    let switch = after_rejections("acl_reject", &[("apply-inbound-acl", "others")]);
    assert_eq!(rejected(&switch, 4), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let goes_on = [("apply-inbound-acl", "lan:pass:fail"), ("apply-inbound-acl", "others")];
    let switch = after_rejections("acl_reject", &goes_on);
    assert_eq!(rejected(&switch, 3), ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    // A change of sofia's settings is one of these.
    switch.write_other_config("sofia.conf.xml", &sofia(&[]));
    wait_until("the settings", || {
        switch.log(4, "sofia.c", "IP 10.0.0.5 Rejected by acl \"lan\"");
        switch.log_text().contains("10.0.0.5")
    });
}

fn behind_a_proxy_only_what_comes_from_the_network_counts() {
    let switch = after_rejections("acl_reject", &[("apply-proxy-acl", "proxies")]);
    // Of the others, the address may be the text of a header.
    assert_eq!(rejected(&switch, 1), ["10.0.0.2"]);
}

fn a_users_acl_is_told_once() {
    // As a failure, which FreeSWITCH fires as well.
    let switch = after_rejections("acl_reject,register_failure", &[]);
    assert_eq!(rejected(&switch, 3), ["10.0.0.1", "10.0.0.2", "10.0.0.4"]);
    let switch = after_rejections("acl_reject", &[]);
    assert_eq!(rejected(&switch, 4)[2], "10.0.0.3");
}

/// mod_lua or mod_xml_curl may serve it later: that a profile trusts proxies is not known until then.
fn a_sofia_conf_without_profiles_makes_nothing_certain() {
    let nothing = "<configuration name=\"sofia.conf\"><profiles/></configuration>";
    for sofia_conf in [None, Some(nothing)] {
        let switch = Switch::start(&settings("acl_reject"));
        if let Some(text) = sofia_conf {
            switch.write_other_config("sofia.conf.xml", text);
        }
        switch.load().unwrap();
        switch.log(4, "sofia.c", "IP 8.8.8.8 Rejected by acl \"lan\"");
        switch.log(4, "sofia_reg.c", "IP 10.0.0.2 Rejected by register acl \"domains\"");
        assert_eq!(rejected(&switch, 1), ["10.0.0.2"]);
        switch.write_other_config("sofia.conf.xml", &sofia(&[]));
        wait_until("the settings", || {
            switch.log(4, "sofia.c", "IP 10.0.0.5 Rejected by acl \"lan\"");
            switch.log_text().contains("10.0.0.5")
        });
    }
}
