//! The stand-in does what the other tests take for granted. A small module in C calls all that it offers.

use std::process::Command;

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, look_up, module_path, probe, stand_in_path, wait_until};
use serde_json::json;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::stand_in],
        tests![
            events_reach_those_who_bound_to_them_with_their_own_data,
            loggers_get_lines_of_their_level_and_above_on_every_channel,
            look_ups_ask_in_the_order_of_binding_and_unloading_waits_for_them,
            an_application_sees_the_call,
            the_database_has_the_registrations_that_have_not_expired,
            the_settings_may_be_slow_while_all_else_goes_on,
            each_call_of_a_load_can_be_made_to_fail,
            a_destructor_left_on_a_thread_of_the_hosts_keeps_the_code_mapped,
            a_storm_may_last_for_some_time
        ],
    );
    suite.add(&[], tests![the_demo_shows_ten_guesses_and_the_right_password_refused]);
}

/// The end of each line that the probe has written, in order.
fn said(switch: &Switch) -> Vec<String> {
    let log = switch.host_log();
    log.lines().filter_map(|line| line.split_once("probe: ")).map(|(_, said)| said.to_owned()).collect()
}

fn loaded() -> Switch {
    let switch = Switch::start("");
    switch.load_file(&probe(&switch.path(""), "probe")).expect("the probe loads");
    switch
}

fn events_reach_those_who_bound_to_them_with_their_own_data() {
    let switch = loaded();
    switch.fire(&[("Event-Subclass", "sofia::register_attempt")]);
    switch.fire(&[("Event-Name", "MESSAGE")]);
    switch.fire(&[("Event-Name", "TRAP")]);
    assert_eq!(said(&switch), ["event 0 for the first", "event 37 for the second"]);
}

fn loggers_get_lines_of_their_level_and_above_on_every_channel() {
    let switch = loaded();
    switch.log(4, "sofia.c", "a warning");
    switch.log(5, "sofia.c", "a notice");
    switch.log_on(1, 3, "sofia.c", "an error");
    let expected = ["line of level 4 on channel 0:  a warning", "line of level 3 on channel 1: an error"];
    wait_until("the lines", || said(&switch) == expected);
}

fn look_ups_ask_in_the_order_of_binding_and_unloading_waits_for_them() {
    let switch = Switch::start("");
    switch.bind_search("first", false, false);
    switch.load_file(&probe(&switch.path(""), "probe")).unwrap();
    switch.bind_search("last", true, true);
    let slow = switch.begin(&look_up(&[("user", "1000")]));
    wait_until("the look-up", || switch.waiting("last") == 1);
    assert_eq!(said(&switch), ["look-up directory domain name switch.example user=1000 for the search"]);

    let unload = switch.begin(&json!({ "unload": {} }));
    wait_until("the unloading", || switch.leaks()["event bindings"] == 0 && switch.leaks()["loggers"] == 0);
    assert_eq!(switch.leaks()["search functions"], 1);
    assert!(!unload.is_done() && switch.has_code_mapped());
    // Whoever waits to unbind does not keep others from looking up.
    let another = switch.begin(&look_up(&[("user", "1001")]));
    wait_until("the second look-up", || switch.waiting("last") == 2);
    switch.release("last");
    assert_eq!(slow.end().unwrap(), "last");
    assert_eq!(another.end().unwrap(), "last");
    unload.end().unwrap();
    assert!(!switch.has_code_mapped());
    assert_eq!(switch.look_up(&[]).as_deref(), Some("last"));
    assert_eq!(said(&switch).len(), 2);

    let switch = Switch::start("");
    switch.bind_search("first", true, false);
    switch.load_file(&probe(&switch.path(""), "probe")).unwrap();
    assert_eq!(switch.look_up(&[]).as_deref(), Some("first"));
    assert!(said(&switch).is_empty(), "a binding made earlier that answers hides the look-up");
}

fn an_application_sees_the_call() {
    let switch = loaded();
    let profile = json!({ "network_addr": "192.0.2.7", "destination_number": "9011" });
    switch.execute("fail2ban_report", "a reason", &profile, &json!({ "sip_via_protocol": "tcp" })).unwrap();
    let profile = json!({ "network_addr": null, "destination_number": "9011" });
    switch.execute("fail2ban_report", "", &profile, &json!({})).unwrap();
    assert_eq!(
        said(&switch),
        ["a reason from 192.0.2.7 to 9011 by tcp", " from nowhere to 9011 by no variable"]
    );
    switch.execute("another", "", &profile, &json!({})).unwrap_err();
}

fn the_database_has_the_registrations_that_have_not_expired() {
    let switch = loaded();
    let row = |user: &str, expires| json!({ "reg_user": user, "realm": "switch.example", "network_ip": "192.0.2.7", "expires": expires });
    switch.set_registrations(&json!([row("1000", 101), row("1001", 100), row("1002", 2_000_000_000)]));
    let line = |user: &str| format!("network_ip=192.0.2.7 reg_user={user} realm=switch.example\n");
    assert_eq!(switch.api("fail2ban registrations"), line("1000") + &line("1002"));
    switch.fail_call("_switch_core_db_handle", 1);
    assert_eq!(switch.api("fail2ban registrations"), "no handle\n");
    assert_eq!(switch.leaks()["database handles"], 0);
}

fn the_settings_may_be_slow_while_all_else_goes_on() {
    let switch = loaded();
    switch.slow_settings();
    let slow = switch.begin(&json!({ "api": "fail2ban settings" }));
    wait_until("someone to wait", || switch.waiting("settings") == 1);
    assert_eq!(switch.api("fail2ban"), "probe");
    switch.fire_event(&Event::register_failure("1000", "192.0.2.7"));
    assert_eq!(switch.look_up(&[]), None);
    assert_eq!(switch.unload().unwrap_err(), "Module in use.");
    switch.end_slow_settings();
    assert_eq!(slow.end().unwrap(), "open\n");
    switch.unload().unwrap();
}

fn each_call_of_a_load_can_be_made_to_fail() {
    let switch = Switch::start("");
    let module = probe(&switch.path(""), "probe");
    for (function, calls) in [
        ("switch_loadable_module_create_module_interface", 1),
        ("switch_loadable_module_create_interface", 2),
        ("switch_event_bind_removable", 2),
        ("switch_log_bind_logger", 1),
        ("switch_xml_bind_search_function_ret", 1),
    ] {
        for nth in 1..=calls {
            switch.fail_call(function, nth);
            switch.load_file(&module).unwrap_err();
            assert!(!switch.take_failure_back(), "{function} was called");
            let leaks = switch.leaks();
            assert!(leaks.as_object().unwrap().values().all(|count| *count == 0), "{leaks}");
        }
        switch.fail_call(function, calls + 1);
        switch.load_file(&module).unwrap();
        assert!(switch.take_failure_back(), "{function} is called no more");
        switch.unload().unwrap();
    }
}

/// What the tests of unloading look for can be seen.
fn a_destructor_left_on_a_thread_of_the_hosts_keeps_the_code_mapped() {
    let switch = loaded();
    switch.unload().unwrap();
    assert!(!switch.has_code_mapped());
    switch.load_file(&probe(&switch.path(""), "probe")).unwrap();
    assert!(switch.has_code_mapped());
    switch.api("fail2ban leave");
    switch.unload().unwrap();
    assert!(switch.has_code_mapped());
}

fn a_storm_may_last_for_some_time() {
    let switch = loaded();
    let calls = switch.storm_for(4, 0.1, &Event::new(&[("Event-Name", "MESSAGE")]))["calls"].as_u64();
    assert!(calls > Some(0));
}

fn the_demo_shows_ten_guesses_and_the_right_password_refused() {
    let output = Command::new(stand_in_path()).arg("demo").env("MOD_FAIL2BAN_SO", module_path()).output();
    let output = output.expect("the stand-in runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (let_through, refused, accepted) = match std::env::var_os("FREESWITCH_PREFIX") {
        Some(_) => ("403 Forbidden", "403 Forbidden", "200 OK"),
        None => ("the directory", "mod_fail2ban", "the directory"),
    };
    let attempts: Vec<_> = text.lines().filter(|line| line.contains(" password ")).collect();
    assert_eq!(attempts.len(), 12, "{text}");
    let expected = [[let_through; 10].as_slice(), &[refused, accepted]].concat();
    assert!(attempts.iter().zip(expected).all(|(line, answer)| line.ends_with(answer)), "{text}");
    assert!(text.contains(" attacker source=198.51.100.7 ") && text.contains("(1 attempt so far)"), "{text}");
}
