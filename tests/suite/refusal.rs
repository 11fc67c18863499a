//! Which lookups of credentials are answered with a user whom FreeSWITCH refuses, and which are not.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, credentials, recorded, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::stand_in],
        tests![
            from_the_tenth_failure_on_a_lookup_is_refused_whatever_the_user,
            lookups_whose_verdict_is_out_count_so_that_a_fast_guesser_gets_ten,
            a_phone_with_thirty_keys_at_a_new_address_is_not_refused,
            our_own_refusals_are_no_failures_and_leave_no_line,
            at_a_known_source_one_account_is_refused_alone,
            nobody_trusted_known_or_local_is_refused,
            a_client_that_only_sends_messages_is_not_refused_however_many_they_are,
            forgiving_ends_it_at_once,
            behind_a_proxy_the_client_is_refused_and_the_proxy_never,
            nothing_is_refused_unless_the_settings_say_so,
            no_other_lookup_is_answered,
            a_call_that_was_accepted_goes_on,
            the_call_id_of_anothers_call_is_no_way_in,
            a_call_id_that_freeswitch_leaves_out_is_no_way_in,
            a_name_that_looks_like_an_account_forgives_it_nothing,
            requests_that_are_refused_unread_hide_no_failure,
            names_that_mean_anybody_but_one_are_one_account_and_never_known,
            more_refusals_than_lookups_are_remembered_are_no_failures_and_hide_nothing,
        ],
    );
}

const REFUSING: &str = "<param name=\"format\" value=\"dated\"/><param name=\"known-for\" value=\"1d\"/>\
                        <param name=\"attacker-after\" value=\"10\"/><param name=\"refuse-attackers\" value=\"yes\"/>\
                        <param name=\"events\" value=\"register_failure\"/>";

fn refused() -> Option<String> {
    Some("mod_fail2ban".into())
}

/// A lookup of credentials; who answered it.
fn ask(switch: &Switch, method: &str, user: &str, ip: &str) -> Option<String> {
    let call_id = format!("attempt-{user}");
    ask_in(switch, method, &call_id, user, ip)
}

fn ask_in(switch: &Switch, method: &str, call_id: &str, user: &str, ip: &str) -> Option<String> {
    let params = credentials(method, call_id, ip, "udp");
    switch.look_up(
        &params.map(|(name, value)| if name == "sip_auth_username" { (name, user) } else { (name, value) }),
    )
}

/// The events of an attempt that FreeSWITCH has refused.
fn verdict(switch: &Switch, user: &str, ip: &str) {
    switch.fire_event(&Event::register_attempt(user, ip, "FORBIDDEN"));
    switch.fire_event(&Event::register_failure(user, ip));
}

/// Guesses, each with its verdict; how many were not refused.
fn guess(switch: &Switch, user: &str, ip: &str, times: usize) -> usize {
    let let_through = |_: &usize| {
        let is_refused = ask(switch, "REGISTER", user, ip).is_some();
        verdict(switch, user, ip);
        !is_refused
    };
    (0..times).filter(let_through).count()
}

fn log_in(switch: &Switch, user: &str, ip: &str) {
    assert_eq!(ask(switch, "REGISTER", user, ip), None);
    switch.fire_event(&Event::register_attempt(user, ip, "SUCCESS"));
    wait_until("the source to be known", || switch.api(&format!("fail2ban known {ip}")).contains(user));
}

fn refused_so_far(switch: &Switch) -> u64 {
    let status: serde_json::Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
    status["refused"].as_u64().expect("a count")
}

fn from_the_tenth_failure_on_a_lookup_is_refused_whatever_the_user() {
    let switch = Switch::loaded(REFUSING);
    assert_eq!(guess(&switch, "1009", "10.0.0.7", 50), 10);
    for (method, user) in
        [("REGISTER", "1001"), ("INVITE", "1002"), ("SUBSCRIBE", "1003"), ("MESSAGE", "1004")]
    {
        assert_eq!(ask(&switch, method, user, "10.0.0.7"), refused(), "{method}");
    }
    assert_eq!(ask(&switch, "PUBLISH", "1001", "10.0.0.7"), None);
    assert_eq!(ask(&switch, "REGISTER", "1009", "10.0.0.8"), None, "another address");
    // Any address of a network is the attacker.
    assert_eq!(guess(&switch, "1009", "2001:db9:1:2::1", 20), 10);
    assert_eq!(ask(&switch, "REGISTER", "1001", "2001:db9:1:2:3:4:5:6"), refused());
    assert_eq!(ask(&switch, "REGISTER", "1001", "2001:db9:1:3::1"), None);
    wait_until("the warnings", || {
        let log = switch.host_log();
        log.contains("10.0.0.7 is an attacker of level 1") && log.contains("10.0.0.7 is refused for ")
    });
}

fn lookups_whose_verdict_is_out_count_so_that_a_fast_guesser_gets_ten() {
    let switch = Switch::loaded(REFUSING);
    let guesses = |method: &str, ip: &str| {
        (0..100).filter(|number| ask_in(&switch, method, &format!("{number}"), "1009", ip).is_none()).count()
    };
    assert_eq!(guesses("REGISTER", "10.0.0.7"), 10);
    let by_subscribe = guesses("SUBSCRIBE", "10.0.0.8");
    assert!((10..=45).contains(&by_subscribe), "{by_subscribe}");
}

fn a_phone_with_thirty_keys_at_a_new_address_is_not_refused() {
    let switch = Switch::loaded(REFUSING);
    for key in 0..30 {
        assert_eq!(ask_in(&switch, "SUBSCRIBE", &format!("key{key}"), "1001", "10.0.0.1"), None);
    }
    assert_eq!(ask(&switch, "REGISTER", "1001", "10.0.0.1"), None);
    // An office after a power cut that has been forgotten meanwhile.
    for phone in 0..200 {
        let user = format!("2{phone:03}");
        for key in 0..3 {
            assert_eq!(ask_in(&switch, "SUBSCRIBE", &format!("{user}-{key}"), &user, "10.0.0.2"), None);
        }
        assert_eq!(ask(&switch, "REGISTER", &user, "10.0.0.2"), None);
    }
}

fn our_own_refusals_are_no_failures_and_leave_no_line() {
    let switch = Switch::loaded(REFUSING);
    guess(&switch, "1009", "10.0.0.7", 60);
    verdict(&switch, "1009", "10.0.0.9");
    let lines = switch.wait_for_lines(12);
    assert_eq!(lines.len(), 12, "ten failures, the attacker, and the other's: {lines:?}");
    assert_eq!(refused_so_far(&switch), 50);
    assert!(switch.api("fail2ban why 10.0.0.7").contains("10 of 10 points"));
}

fn at_a_known_source_one_account_is_refused_alone() {
    let switch = Switch::loaded(REFUSING);
    log_in(&switch, "1001", "10.0.0.1");
    // The old phone of the office is silenced, alone.
    assert_eq!(guess(&switch, "1002", "10.0.0.1", 30), 10);
    assert_eq!(ask(&switch, "REGISTER", "1001", "10.0.0.1"), None);
    assert_eq!(ask(&switch, "REGISTER", "1003", "10.0.0.1"), None);
    assert!(!switch.log_text().contains("attacker"), "{}", switch.log_text());
    let why = switch.api("fail2ban why 1002");
    assert!(why.contains("refused here, it alone"), "{why}");
}

fn nobody_trusted_known_or_local_is_refused() {
    let switch = Switch::loaded(&format!("{REFUSING}<param name=\"trusted-acl\" value=\"10.1.0.0/16\"/>"));
    for ip in ["10.1.0.1", "127.0.0.1", "::1"] {
        assert_eq!(guess(&switch, "1009", ip, 30), 30, "{ip}");
    }
    log_in(&switch, "1001", "10.0.0.1");
    assert_eq!(guess(&switch, "1001", "10.0.0.1", 30), 30, "an account that was accepted there");
}

/// Such a client is not known: it never registers.
fn a_client_that_only_sends_messages_is_not_refused_however_many_they_are() {
    let switch = Switch::loaded(REFUSING);
    let accepted = recorded("success-events-1.10.12.jsonl")
        .into_iter()
        .find(|event| event.get("Event-Name") == Some(b"MESSAGE"))
        .expect("one was recorded")
        .with("from_sip_ip", "10.0.0.7")
        .with("from_sip_port", "5070");
    for number in 0..150 {
        assert_eq!(ask(&switch, "MESSAGE", "1001", "10.0.0.7"), None, "{number}");
        switch.fire_event(&accepted);
    }
    // Who does not have the password has 32 that wait, and ten guesses.
    let guesses = (0..150).filter(|_| ask(&switch, "MESSAGE", "1002", "10.0.0.7").is_none()).count();
    assert_eq!(guesses, 42);
}

fn forgiving_ends_it_at_once() {
    let switch = Switch::loaded(REFUSING);
    guess(&switch, "1009", "10.0.0.7", 20);
    assert_eq!(ask(&switch, "REGISTER", "1001", "10.0.0.7"), refused());
    assert!(switch.api("fail2ban forgive 10.0.0.7").starts_with("+OK"));
    assert_eq!(ask(&switch, "REGISTER", "1001", "10.0.0.7"), None);
}

fn behind_a_proxy_the_client_is_refused_and_the_proxy_never() {
    let proxies = r#"<param name="proxy" value="10.9.0.1/32"/>"#;
    let switch = Switch::loaded(&format!("{REFUSING}{proxies}"));
    let by_proxy = |user: &str, headers: &[&str]| {
        let call_id = format!("attempt-{user}");
        let mut params = credentials("REGISTER", &call_id, "10.9.0.1", "tcp").to_vec();
        params.iter_mut().filter(|(name, _)| *name == "sip_auth_username").for_each(|pair| pair.1 = user);
        headers.iter().for_each(|value| params.insert(7, ("X-AUTH-IP", value)));
        let answer = switch.look_up(&params);
        verdict(&switch, user, "10.9.0.1");
        answer
    };
    let guesses = (0..30).filter(|_| by_proxy("1009", &["203.0.113.7"]).is_none()).count();
    assert_eq!(guesses, 10);
    assert_eq!(by_proxy("1001", &["203.0.113.8"]), None, "another client");
    for nobody in
        [&[][..], &["203.0.113.7", "203.0.113.7"], &["203.0.113.7, 203.0.113.8"], &["203.0.113.7:5060"]]
    {
        assert_eq!(by_proxy("1003", nobody), None, "{nobody:?}");
    }
    let lines = switch.wait_for_lines(12);
    assert_eq!(lines.len(), 12, "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains(" ip=203.0.113.") && line.contains(" via=10.9.0.1 ")),
        "{lines:?}"
    );
    // What came to the proxy may have been forged.
    assert!(lines.iter().all(|line| !line.contains(" transport=")), "{lines:?}");
    assert!(lines[10].contains(" attacker source=203.0.113.7 "), "{lines:?}");
    assert!(lines[10].contains(" proven=no "), "{lines:?}");
    // One warning an hour, whatever is reloaded.
    let warnings = || switch.host_lines("WARNING").iter().filter(|line| line.contains("the proxy ")).count();
    wait_until("the warning", || warnings() == 1);
    switch.write_config(&crate::support::configuration(&format!("{REFUSING}{proxies}{proxies}")));
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    assert_eq!(by_proxy("1004", &[]), None);
    assert_eq!(by_proxy("1005", &["203.0.113.9"]), None);
    switch.wait_for_lines(13);
    // Announcements are made once a second.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(warnings(), 1);
    // From anybody but the proxy the header means nothing.
    let mut params = credentials("REGISTER", "own", "10.0.0.5", "udp").to_vec();
    params.insert(7, ("X-AUTH-IP", "203.0.113.7"));
    assert_eq!(switch.look_up(&params), None);
}

fn nothing_is_refused_unless_the_settings_say_so() {
    let switch = Switch::loaded(
        &REFUSING.replace("\"refuse-attackers\" value=\"yes\"", "\"refuse-attackers\" value=\"no\""),
    );
    assert_eq!(guess(&switch, "1009", "10.0.0.7", 30), 30);
    switch.write_config(&crate::support::configuration(REFUSING));
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    assert_eq!(ask(&switch, "REGISTER", "1009", "10.0.0.7"), refused());
    switch.unload().unwrap();
    assert_eq!(ask(&switch, "REGISTER", "1009", "10.0.0.7"), None, "unloading ends it");
}

fn no_other_lookup_is_answered() {
    let switch = Switch::loaded(REFUSING);
    guess(&switch, "1009", "10.0.0.7", 20);
    let sofia = credentials("REGISTER", "attempt-1009", "10.0.0.7", "udp");
    let other =
        |action: &'static str| sofia.map(|pair| if pair.0 == "action" { ("action", action) } else { pair });
    for action in ["jsonrpc-authenticate", "user_call", "reverse-auth-lookup", ""] {
        assert_eq!(switch.look_up(&other(action)), None, "{action}");
    }
    let mut last = sofia.to_vec();
    last.push(("user", "1009"));
    assert_eq!(switch.look_up(&last), None, "its last parameter is not the address");
}

fn a_call_that_was_accepted_goes_on() {
    let switch = Switch::loaded(REFUSING);
    assert_eq!(ask_in(&switch, "INVITE", "call", "1009", "10.0.0.7"), None);
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "SUCCESS").with("call-id", "call"));
    wait_until("the source to be known", || switch.api("fail2ban known 10.0.0.7").contains("1009"));
    switch.api("fail2ban forget 10.0.0.7");
    guess(&switch, "1002", "10.0.0.7", 20);
    assert_eq!(ask_in(&switch, "INVITE", "another", "1009", "10.0.0.7"), refused());
    assert_eq!(ask_in(&switch, "INVITE", "call", "1009", "10.0.0.7"), None, "a re-INVITE");
}

/// On a stock FreeSWITCH anybody has an INVITE accepted, as a user who needs no password; here as one who does, and so
/// is known.
fn the_call_id_of_anothers_call_is_no_way_in() {
    let switch = Switch::loaded(REFUSING);
    for ip in ["10.0.0.6", "10.0.0.7"] {
        assert_eq!(ask_in(&switch, "INVITE", "call", "default", ip), None);
        switch.fire_event(&Event::register_attempt("default", ip, "SUCCESS").with("call-id", "call"));
        wait_until("the source to be known", || {
            switch.api(&format!("fail2ban known {ip}")).contains("default")
        });
    }
    let guesses = (0..30).filter(|_| {
        let is_refused = ask_in(&switch, "INVITE", "call", "1009", "10.0.0.7").is_some();
        switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "FORBIDDEN").with("call-id", "call"));
        switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
        !is_refused
    });
    assert_eq!(guesses.count(), 10);
}

/// FreeSWITCH adds no header whose value is "ARRAY::" to an event, nor to what it asks.
fn a_call_id_that_freeswitch_leaves_out_is_no_way_in() {
    let switch = Switch::loaded(REFUSING);
    for (method, ip) in [("REGISTER", "10.0.0.7"), ("INVITE", "10.0.0.8"), ("SUBSCRIBE", "10.0.0.9")] {
        let mut params = credentials(method, "", ip, "udp").to_vec();
        params.retain(|(name, _)| *name != "sip_call_id");
        let guesses = (0..100).filter(|_| {
            let is_refused = switch.look_up(&params).is_some();
            if method != "SUBSCRIBE" {
                switch.fire_event(&Event::register_attempt("1009", ip, "FORBIDDEN").without("call-id"));
                switch.fire_event(&Event::register_failure("1009", ip));
            }
            !is_refused
        });
        let guesses = guesses.count();
        assert!((10..=45).contains(&guesses), "{method}: {guesses}");
    }
    assert_eq!(guess(&switch, "1009", "10.0.0.7", 10), 0);
}

/// Where the realm is the domain, `1001@switch.example` of no domain is a user whom FreeSWITCH warns of, too.
fn a_name_that_looks_like_an_account_forgives_it_nothing() {
    let switch = Switch::loaded(REFUSING);
    log_in(&switch, "1005", "10.0.0.1");
    assert_eq!(guess(&switch, "1001", "10.0.0.1", 9), 9);
    let user = "1001@switch.example";
    let params = credentials("REGISTER", "forgiving", "10.0.0.1", "udp").map(|(name, value)| match name {
        "sip_auth_username" => (name, user),
        "sip_auth_realm" | "domain" => (name, ""),
        _ => (name, value),
    });
    assert_eq!(switch.look_up(&params), None);
    let text = format!(
        "Can't find user [{user}@] from 10.0.0.1\nYou must define a domain called '' in your directory and add a user \
         with the id=\"{user}\" attribute\nand you must configure your device to use the proper domain in its \
         authentication credentials.\n"
    );
    switch.log(4, "sofia_reg.c", &text);
    assert_eq!(guess(&switch, "1001", "10.0.0.1", 9), 1);
}

/// Where FreeSWITCH's events are late, and with `force-register-domain`, which accepts any realm.
fn requests_that_are_refused_unread_hide_no_failure() {
    let switch = Switch::loaded(REFUSING);
    log_in(&switch, "1005", "10.0.0.1");
    let mut guesses = 0;
    for number in 0..30 {
        let realm = format!("realm{number}");
        let params = credentials("REGISTER", "call", "10.0.0.1", "udp").map(|(name, value)| match name {
            "sip_auth_realm" => (name, realm.as_str()),
            _ => (name, value),
        });
        guesses += usize::from(switch.look_up(&params).is_none());
        // A request before it, whose names differ; its events come only now.
        let attempt = Event::register_attempt("other", "10.0.0.1", "FORBIDDEN").with("call-id", "call");
        switch.fire_event(&attempt.with("username", "unknown"));
        switch.fire_event(&Event::register_failure("other", "10.0.0.1"));
        let attempt = Event::register_attempt("1009", "10.0.0.1", "FORBIDDEN").with("call-id", "call");
        switch.fire_event(&attempt.with("realm", &realm));
        switch.fire_event(&Event::register_failure("1009", "10.0.0.1"));
    }
    assert_eq!(guesses, 10);
    let why = switch.api("fail2ban why 10.0.0.1");
    assert!(why.contains("1009@switch.example has 10 failures") && !why.contains("1009@realm"), "{why}");
}

fn names_that_mean_anybody_but_one_are_one_account_and_never_known() {
    let switch = Switch::loaded(REFUSING);
    let guess_at_new_names = |from: usize, to: usize| {
        (from..to).filter(|number| guess(&switch, &format!("!{number}"), "10.0.0.7", 1) == 1).count()
    };
    log_in(&switch, "1001", "10.0.0.7");
    assert_eq!(guess_at_new_names(0, 5), 5);
    // Right for the first user of the directory: that says nothing about the second, whom `!1000` means.
    assert_eq!(ask(&switch, "REGISTER", "!zzz", "10.0.0.7"), None);
    switch.fire_event(&Event::register_attempt("!zzz", "10.0.0.7", "SUCCESS"));
    assert_eq!(guess_at_new_names(5, 50), 5);
    assert!(!switch.api("fail2ban known").contains('!'));
    assert_eq!(ask(&switch, "REGISTER", "1001", "10.0.0.7"), None);
}

fn more_refusals_than_lookups_are_remembered_are_no_failures_and_hide_nothing() {
    let switch = Switch::loaded(REFUSING);
    assert_eq!(guess(&switch, "1009", "10.0.0.7", 20), 10);
    // More than are remembered, before the first event.
    let calls: Vec<String> = (0..9000).map(|number| format!("call{number}")).collect();
    for call_id in &calls {
        assert_eq!(ask_in(&switch, "REGISTER", call_id, "1009", "10.0.0.7"), refused());
    }
    // The first are forgotten.
    for call_id in &calls[..500] {
        switch.fire_event(&Event::register_attempt("1009", "10.0.0.7", "FORBIDDEN").with("call-id", call_id));
        switch.fire_event(&Event::register_failure("1009", "10.0.0.7"));
    }
    assert!(
        switch.api("fail2ban attackers").contains(" failure=10\n"),
        "{}",
        switch.api("fail2ban attackers")
    );
    let status = switch.api("fail2ban status");
    assert!(!status.contains("HIDDEN"), "{status}");
}
