//! What FreeSWITCH looks up in its directory: it shows credentials for which no event is fired, and over which
//! transport any came.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, credentials, recorded, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::stand_in],
        tests![
            credentials_that_nothing_confirms_are_a_line_with_the_time_of_the_look_up,
            each_success_confirms_the_credentials_that_it_is_about,
            thirty_wrong_guesses_and_the_right_one_are_thirty_lines,
            unconfirmed_credentials_are_failures_before_a_success,
            whom_freeswitch_has_accepted_is_not_accused_whatever_else_is_logged,
            a_user_of_that_name_in_another_domain_is_accused,
            a_success_of_ones_own_confirms_no_guess_at_anothers_account,
            look_ups_that_a_stranger_shapes_are_nobodys_credentials,
            the_realm_that_a_client_chooses_makes_no_address_more_known,
            credentials_without_an_event_answer_a_challenge,
            a_transport_is_told_where_a_look_up_proves_it_and_nowhere_else,
            look_ups_that_somebody_else_answers_first_are_told_of_in_status,
            no_look_up_is_ever_answered,
            a_directory_that_takes_seven_seconds_accuses_nobody,
            a_look_up_whose_event_is_lost_puts_no_later_one_off,
            a_message_that_nobody_had_to_log_in_for_clears_no_address,
        ],
    );
    // The stand-in's events are the real ones, so these need no look-up.
    suite.add(&[], tests![each_probe_of_a_constant_call_counts_whatever_stale_credentials_it_brings]);
}

const PHONE: &str = "10.0.0.7";

fn loaded(events: &str) -> Switch {
    Switch::loaded(&format!(
        "<param name=\"events\" value=\"{events}\"/><param name=\"known-for\" value=\"1d\"/>\
         <param name=\"format\" value=\"dated\"/><param name=\"challenge-timeout\" value=\"1\"/>"
    ))
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

fn look_up(switch: &Switch, method: &str, call_id: &str) {
    assert_eq!(switch.look_up(&credentials(method, call_id, PHONE, "udp")), None);
}

/// The same for an account of its own: FreeSWITCH accepts an account, and then it is not accused there for a while.
fn look_up_of(switch: &Switch, user: &str, method: &str, call_id: &str) {
    let mut credentials = credentials(method, call_id, PHONE, "udp");
    for (name, value) in &mut credentials {
        if *name == "sip_auth_username" {
            *value = user;
        }
    }
    assert_eq!(switch.look_up(&credentials), None);
}

/// Waits until no credentials wait for a success any more.
fn wait_for_all(switch: &Switch) {
    wait_until("all credentials to be settled", || status(switch)["look_ups"]["unconfirmed_waiting"] == 0);
}

fn credentials_that_nothing_confirms_are_a_line_with_the_time_of_the_look_up() {
    let switch = loaded("auth_unconfirmed");
    let time = || status(&switch)["time"].as_str().unwrap().to_owned();
    let before = time();
    switch.look_up(&credentials("SUBSCRIBE", "call \"1\"", PHONE, "TLS"));
    switch.look_up(&credentials("MESSAGE", "2", "2001:db9::7", "udp"));
    let after = time();
    // What has an event of its own, or no address, and a look-up that is not about credentials at all.
    for method in ["REGISTER", "INVITE"] {
        look_up(&switch, method, "3");
        switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("call-id", "3"));
    }
    look_up(&switch, "PUBLISH", "3");
    switch.look_up(&credentials("SUBSCRIBE", "4", "nowhere", "udp"));
    switch.look_up(&[("action", "jsonrpc-authenticate"), ("user", "1009")]);
    let mut lines = switch.wait_for_lines(2);
    lines.sort_by_key(|line| line.contains("MESSAGE"));
    let time = "2026-11-22T00:51:58.493952+0000".len();
    assert_eq!(
        lines.iter().map(|line| &line[time..]).collect::<Vec<_>>(),
        [
            " mod_fail2ban: auth_unconfirmed ip=10.0.0.7 known=no port=5070 profile=\"internal\" transport=tls \
             method=SUBSCRIBE realm=\"switch.example\" agent=\"friendly-scanner\" call_id=\"call %221%22\" \
             auth_user=\"1009\" user=\"1009\"",
            " mod_fail2ban: auth_unconfirmed ip=2001:db9::7 known=no port=5070 profile=\"internal\" transport=udp \
             method=MESSAGE realm=\"switch.example\" agent=\"friendly-scanner\" call_id=\"2\" auth_user=\"1009\" \
             user=\"1009\"",
        ]
    );
    for line in &lines {
        assert!(
            *before <= line[..time] && line[..time] <= *after,
            "{line}: not between {before} and {after}"
        );
    }
    assert_eq!(status(&switch)["look_ups"]["unconfirmed_waiting"], 0);
}

fn each_success_confirms_the_credentials_that_it_is_about() {
    let switch = loaded("auth_unconfirmed,register_failure");
    let successes = recorded("success-events-1.10.12.jsonl");
    let recorded = |name: &str| {
        let found = successes.iter().find(|event| event.get("Event-Name") == Some(name.as_bytes()));
        found.unwrap_or_else(|| panic!("no {name} was recorded")).clone()
    };
    look_up_of(&switch, "user1", "SUBSCRIBE", "presence");
    switch.fire_event(&recorded("PRESENCE_PROBE").with("sub-call-id", "presence"));
    look_up_of(&switch, "user2", "SUBSCRIBE", "voicemail");
    switch.fire(&[
        ("Event-Name", "MESSAGE_QUERY"),
        ("VM-sub-call-id", "voicemail"),
        ("VM-Sofia-Profile", "internal"),
    ]);
    look_up_of(&switch, "user3", "SUBSCRIBE", "features");
    switch.fire(&[
        ("Event-Name", "PHONE_FEATURE_SUBSCRIBE"),
        ("call-id", "features"),
        ("profile_name", "internal"),
    ]);
    look_up_of(&switch, "user4", "SUBSCRIBE", "conference");
    switch.fire(&[
        ("Event-Name", "CONFERENCE_DATA_QUERY"),
        ("call-id", "conference"),
        ("Sofia-Profile", "internal"),
    ]);
    look_up_of(&switch, "user5", "MESSAGE", "message");
    switch.fire_event(&recorded("MESSAGE").with("from_sip_ip", PHONE).with("from_sip_port", "5070"));
    assert_eq!(status(&switch)["look_ups"]["unconfirmed_waiting"], 0, "a success has not confirmed");

    // Those of others confirm nothing.
    look_up_of(&switch, "user6", "SUBSCRIBE", "wrong");
    look_up_of(&switch, "user7", "MESSAGE", "presence");
    switch.fire_event(&recorded("PRESENCE_PROBE").with("sub-call-id", "presence"));
    switch.fire_event(&recorded("PRESENCE_PROBE"));
    switch.fire_event(&recorded("PRESENCE_PROBE").with("sub-call-id", "wrong").with("sip_profile", "open"));
    switch.fire(&[
        ("Event-Name", "MESSAGE_QUERY"),
        ("VM-sub-call-id", "wrong"),
        ("VM-Sofia-Profile", "open"),
    ]);
    switch.fire(&[("Event-Name", "PHONE_FEATURE_SUBSCRIBE"), ("call-id", "wrong"), ("profile_name", "open")]);
    switch.fire(&[("Event-Name", "CONFERENCE_DATA_QUERY"), ("call-id", "wrong"), ("Sofia-Profile", "open")]);
    let message = recorded("MESSAGE").with("from_sip_ip", PHONE).with("from_sip_port", "5070");
    switch.fire_event(&message.with("sip_profile", "open"));
    switch.fire_event(&recorded("MESSAGE_QUERY"));
    switch.fire_event(&recorded("MESSAGE").with("from_sip_ip", PHONE).with("from_sip_port", "5071"));
    switch.fire_event(&recorded("MESSAGE").with("from_sip_ip", "10.0.0.8").with("from_sip_port", "5070"));
    let lines = switch.wait_for_lines(2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for method in ["SUBSCRIBE", "MESSAGE"] {
        assert!(lines.iter().any(|line| line.contains(&format!(" method={method} "))), "{lines:?}");
    }
}

fn thirty_wrong_guesses_and_the_right_one_are_thirty_lines() {
    let switch = loaded("auth_unconfirmed");
    (0..31).for_each(|_| look_up(&switch, "SUBSCRIBE", "one call"));
    switch.fire(&[("Event-Name", "PRESENCE_PROBE"), ("sub-call-id", "one call")]);
    wait_for_all(&switch);
    let lines = switch.wait_for_lines(30);
    assert_eq!(lines.len(), 30);
}

fn unconfirmed_credentials_are_failures_before_a_success() {
    let switch = loaded("auth_unconfirmed,success_after_failures");
    (0..5).for_each(|_| look_up(&switch, "SUBSCRIBE", "one call"));
    switch.wait_for_lines(5);
    switch.fire_event(&Event::register_attempt("1009", PHONE, "SUCCESS"));
    let lines = switch.wait_for_lines(6);
    assert!(lines[5].contains(" success_after_failures ip=10.0.0.7 known=no "), "{lines:?}");
}

/// As mod_verto asks with a client's `loginParams`, and sofia with the headers of an INVITE without credentials: what
/// FreeSWITCH appends comes last, and tells no address.
fn look_ups_that_a_stranger_shapes_are_nobodys_credentials() {
    let switch = loaded("auth_unconfirmed,register_attempt,challenge_unanswered");
    let forged = credentials("MESSAGE", "forged", "8.8.8.8", "tls");
    let (domain, rest): (Vec<_>, Vec<_>) = forged.into_iter().partition(|(name, _)| *name == "domain");
    for tail in
        [&[("key", "id"), ("user", "1009")][..], &[("action", "jsonrpc-authenticate"), ("key", "id")], &[]]
    {
        let params: Vec<_> = rest.iter().chain(tail).chain(&domain).copied().collect();
        assert_eq!(switch.look_up(&params), None);
    }
    let another: Vec<_> =
        forged.iter().map(|&(name, value)| (name, if name == "action" { "x" } else { value })).collect();
    assert_eq!(switch.look_up(&another), None);
    assert_eq!(status(&switch)["look_ups"]["seen"], 0);
    // Nor do they prove a transport.
    let forged = credentials("REGISTER", "call", PHONE, "tls");
    let params: Vec<_> = forged.iter().copied().chain([("domain", "switch.example")]).collect();
    assert_eq!(switch.look_up(&params), None);
    switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("call-id", "call"));
    let lines = switch.wait_for_lines(1);
    assert!(!lines[0].contains("transport="), "{lines:?}");
}

fn the_realm_that_a_client_chooses_makes_no_address_more_known() {
    let switch = loaded("auth_unconfirmed,register_attempt");
    for number in 0..80 {
        let (ip, realm) = (format!("10.1.0.{number}"), format!("realm{number}"));
        let mut look_up = credentials("REGISTER", "call", &ip, "udp");
        for (name, value) in &mut look_up {
            if *name == "sip_auth_realm" {
                *value = &realm;
            }
        }
        assert_eq!(switch.look_up(&look_up), None);
        let login =
            Event::register_attempt("1009", &ip, "SUCCESS").with("call-id", "call").with("realm", &realm);
        switch.fire_event(&login.with("network-port", "5070"));
    }
    wait_until("the logins", || status(&switch)["signals"]["register_attempt"]["seen"] == 80);
    let is_known = |ip: &str| !switch.api(&format!("fail2ban known {ip}")).starts_with("-ERR");
    wait_until("the last login", || is_known("10.1.0.79"));
    assert_eq!(status(&switch)["known"]["addresses"], 32);
    let known = switch.api("fail2ban known");
    assert_eq!(known.matches("1009@switch.example").count(), 32, "{known}");
}

/// With nothing else to listen for, and nobody known.
fn whom_freeswitch_has_accepted_is_not_accused_whatever_else_is_logged() {
    let switch = Switch::loaded(r#"<param name="events" value="auth_unconfirmed"/>"#);
    switch.fire_event(&Event::register_attempt("1009", PHONE, "SUCCESS"));
    look_up_of(&switch, "1009", "SUBSCRIBE", "messages");
    assert_eq!(status(&switch)["look_ups"]["unconfirmed_waiting"], 0);
    look_up_of(&switch, "1010", "SUBSCRIBE", "guess");
    let lines = switch.wait_for_lines(1);
    assert!(lines.len() == 1 && lines[0].contains("user[1010]"), "{lines:?}");
    wait_for_all(&switch);
}

fn a_user_of_that_name_in_another_domain_is_accused() {
    let switch = loaded("auth_unconfirmed");
    let params = credentials("REGISTER", "attempt-1009", PHONE, "udp");
    assert_eq!(switch.look_up(&params), None);
    switch.fire_event(&Event::register_attempt("1009", PHONE, "SUCCESS"));
    look_up(&switch, "SUBSCRIBE", "own");
    assert_eq!(status(&switch)["look_ups"]["unconfirmed_waiting"], 0);
    let of_another = credentials("SUBSCRIBE", "guess", PHONE, "udp").map(|(name, value)| match name {
        "domain" | "sip_auth_realm" => (name, "another.example"),
        _ => (name, value),
    });
    assert_eq!(switch.look_up(&of_another), None);
    assert_eq!(status(&switch)["look_ups"]["unconfirmed_waiting"], 1);
}

/// The stock directory has two users who need no password.
fn a_success_of_ones_own_confirms_no_guess_at_anothers_account() {
    let switch = loaded("auth_unconfirmed,success_after_failures");
    let waiting = || status(&switch)["look_ups"]["unconfirmed_waiting"].clone();
    let subscribed = |call_id: &str| {
        let probe = [("Event-Name", "PRESENCE_PROBE"), ("sub-call-id", call_id), ("sip_profile", "internal")];
        switch.fire(&probe);
    };
    look_up_of(&switch, "default", "SUBSCRIBE", "first");
    subscribed("first");
    assert_eq!(waiting(), 0);
    for call_id in ["a", "b"] {
        look_up_of(&switch, "1001", "SUBSCRIBE", call_id);
        look_up_of(&switch, "default", "SUBSCRIBE", call_id);
        // One to conf+NUMBER, with the event package `conference`, has two.
        subscribed(call_id);
        subscribed(call_id);
    }
    assert_eq!(waiting(), 2);
    // With an event that comes late.
    look_up_of(&switch, "default", "SUBSCRIBE", "c");
    look_up_of(&switch, "1001", "SUBSCRIBE", "c");
    subscribed("c");
    assert_eq!(waiting(), 3);
    let message = recorded("success-events-1.10.12.jsonl")
        .into_iter()
        .find(|event| event.get("Event-Name") == Some(b"MESSAGE"))
        .expect("one was recorded")
        .with("from_sip_ip", PHONE)
        .with("from_sip_port", "5070");
    look_up_of(&switch, "1001", "MESSAGE", "d");
    look_up_of(&switch, "default", "MESSAGE", "e");
    switch.fire_event(&message);
    assert_eq!(waiting(), 4);
}

fn credentials_without_an_event_answer_a_challenge() {
    let switch = loaded("challenge_unanswered");
    for call in ["subscription", "message", "nobody's"] {
        switch.fire_event(&Event::challenge(call, PHONE));
    }
    look_up(&switch, "SUBSCRIBE", "subscription");
    look_up(&switch, "MESSAGE", "message");
    // The same where an event shows what became of them: it may come late.
    switch.fire_event(&Event::challenge("registration", PHONE));
    look_up(&switch, "REGISTER", "registration");
    assert_eq!(status(&switch)["challenges"]["waiting"], 1);
    switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("call-id", "registration"));
    wait_until("the challenges", || status(&switch)["challenges"]["waiting"] == 0);
    let lines = switch.wait_for_lines(1);
    assert!(lines.len() == 1 && lines[0].contains(" call_id=\"nobody's\" "), "{lines:?}");
}

fn a_transport_is_told_where_a_look_up_proves_it_and_nowhere_else() {
    let switch = loaded("register_attempt,register_failure,challenge");
    let attempt =
        |user: &str| Event::register_attempt(user, PHONE, "FORBIDDEN").with("status", "Registered(TLS)");
    let failure =
        |user: &str| Event::register_failure(user, PHONE).with("contact", "<sip:x@y;transport=tls>");
    // A call-id for each, as a phone's: "attempt-USER".
    let look_up = |user: &str, ip: &str, transport: &str| {
        let call_id = format!("attempt-{user}");
        let params = credentials("REGISTER", &call_id, ip, transport);
        let params = params
            .map(|(name, value)| if name == "sip_auth_username" { (name, user) } else { (name, value) });
        switch.look_up(&params);
    };
    for (user, transport) in
        [("1001", Some("tcp")), ("1002", Some("udp")), ("1003", None), ("1004", Some("UFO"))]
    {
        if let Some(transport) = transport {
            look_up(user, PHONE, transport);
        }
        switch.fire_event(&attempt(user));
        switch.fire_event(&failure(user));
    }
    // The look-up of another call or of another address proves nothing.
    look_up("1006", PHONE, "tcp");
    look_up("1005", "10.0.0.8", "tcp");
    switch.fire_event(&attempt("1005"));
    switch.fire_event(&failure("1005"));
    // Nor does a failure without an attempt have one.
    switch.fire_event(&failure("1006"));
    switch.fire_event(&Event::challenge("tls", PHONE).with("status", "Registered(TLS)"));
    let lines = switch.wait_for_lines(12);
    let transport = |line: &String| {
        let rest = line.split_once(" transport=")?.1;
        rest.split(' ').next().map(str::to_owned)
    };
    let transports: Vec<_> = lines.iter().map(transport).collect();
    let [tcp, udp] = ["tcp", "udp"].map(|name| Some(name.to_owned()));
    assert_eq!(transports[..4], [tcp.clone(), tcp, udp.clone(), udp], "{lines:?}");
    assert!(transports[4..].iter().all(Option::is_none), "{lines:?}");
}

fn look_ups_that_somebody_else_answers_first_are_told_of_in_status() {
    let switch = Switch::start(
        "<param name=\"events\" value=\"register_failure,auth_unconfirmed\"/><param name=\"known-for\" value=\"1d\"/>\
         <param name=\"format\" value=\"dated\"/>",
    );
    switch.bind_search("xml_curl", true, false);
    switch.load().unwrap();
    let register = |call_id: &str| {
        let by = switch.look_up(&credentials("REGISTER", call_id, PHONE, "tcp"));
        switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("call-id", call_id));
        by
    };
    // What FreeSWITCH was at when the module was loaded is not hidden from it.
    switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("call-id", "before"));
    assert_eq!(status(&switch)["look_ups"]["attempts_hidden"], 0);
    // Nothing shows when that is over.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(register("1").as_deref(), Some("xml_curl"));
    // Refused before anything is looked up: names that do not match, and credentials that are stale.
    switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN").with("username", "unknown"));
    switch.fire_event(&Event::register_attempt("1009", PHONE, "STALE"));
    assert_eq!(
        status(&switch)["look_ups"],
        json!({ "seen": 0, "attempts_seen": 0, "attempts_hidden": 1, "unconfirmed_waiting": 0, "untracked": 0 })
    );
    switch.unbind_search("xml_curl");
    assert_eq!(register("2"), None);
    assert_eq!(
        status(&switch)["look_ups"],
        json!({ "seen": 1, "attempts_seen": 1, "attempts_hidden": 1, "unconfirmed_waiting": 0, "untracked": 0 })
    );
    let text = switch.api("fail2ban status");
    let row = text.lines().find(|line| line.starts_with("lookups")).expect("a row");
    assert!(row.contains("HIDDEN for 1 of 2 ") && row.contains("load mod_fail2ban first"), "{row}");
}

fn no_look_up_is_ever_answered() {
    let switch = loaded("auth_unconfirmed,register_attempt");
    switch.bind_search("after", true, false);
    for params in
        [&credentials("SUBSCRIBE", "1", PHONE, "udp")[..], &[], &[("ip", ""), ("sip_auth_method", "")]]
    {
        assert_eq!(switch.look_up(params).as_deref(), Some("after"));
    }
    assert_eq!(status(&switch)["look_ups"]["seen"], 1);
}

/// The stand-in looks up what it is asked for; FreeSWITCH has the other phones wait until those in progress are done.
fn a_directory_that_takes_seven_seconds_accuses_nobody() {
    let switch = Switch::loaded(
        "<param name=\"events\" value=\"challenge_unanswered,auth_unconfirmed\"/>\
         <param name=\"challenge-timeout\" value=\"3\"/><param name=\"format\" value=\"dated\"/>",
    );
    let phones: Vec<(String, &str)> =
        ["REGISTER", "SUBSCRIBE", "REGISTER", "SUBSCRIBE", "SUBSCRIBE", "REGISTER"]
            .into_iter()
            .enumerate()
            .map(|(number, method)| (format!("attempt-{number}"), method))
            .collect();
    for (call_id, _) in &phones {
        switch.fire_event(&Event::challenge(call_id, PHONE));
    }
    for two in phones.chunks(2) {
        switch.bind_search("slow", false, true);
        let look_ups: Vec<_> = two
            .iter()
            .map(|(call_id, method)| {
                let (_, user) = call_id.split_once('-').unwrap();
                let mut credentials = credentials(method, call_id, PHONE, "udp");
                credentials[3].1 = user;
                switch.begin(&crate::support::look_up(&credentials))
            })
            .collect();
        wait_until("both look-ups", || switch.waiting("slow") == 2);
        std::thread::sleep(std::time::Duration::from_secs(7));
        switch.release("slow");
        look_ups.into_iter().for_each(|look_up| drop(look_up.end().unwrap()));
        switch.unbind_search("slow");
        for (call_id, method) in two {
            let (_, user) = call_id.split_once('-').unwrap();
            if *method == "REGISTER" {
                switch.fire_event(&Event::register_attempt(user, PHONE, "SUCCESS"));
            } else {
                let shown =
                    [("Event-Name", "PRESENCE_PROBE"), ("sub-call-id", call_id), ("sip_profile", "internal")];
                switch.fire(&shown);
            }
        }
    }
    wait_for_all(&switch);
    wait_until("the challenges", || status(&switch)["challenges"]["waiting"] == 0);
    let text = switch.log_text();
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Of a phone that uses one Call-ID for ever.
fn a_look_up_whose_event_is_lost_puts_no_later_one_off() {
    let switch = loaded("register_attempt");
    let look_up = |transport| switch.look_up(&credentials("REGISTER", "attempt-1009", PHONE, transport));
    look_up("tcp");
    for _ in 0..3 {
        look_up("udp");
        switch.fire_event(&Event::register_attempt("1009", PHONE, "FORBIDDEN"));
    }
    let lines = switch.wait_for_lines(3);
    assert!(lines.iter().all(|line| line.contains(" transport=udp ")), "{lines:?}");
}

/// Where lookups are hidden, a MESSAGE answers the challenge that came to its port before, and no other.
fn a_message_that_nobody_had_to_log_in_for_clears_no_address() {
    let switch = Switch::start(
        "<param name=\"events\" value=\"challenge_unanswered,register_failure\"/><param name=\"known-for\" value=\"1d\"/>\
         <param name=\"format\" value=\"dated\"/><param name=\"challenge-timeout\" value=\"1\"/>",
    );
    switch.bind_search("xml_curl", true, false);
    switch.load().unwrap();
    wait_until("a hidden look-up", || {
        switch.fire_event(&Event::register_attempt("1009", "10.0.0.9", "FORBIDDEN"));
        status(&switch)["look_ups"]["attempts_hidden"] != 0
    });
    let messages = recorded("success-events-1.10.12.jsonl");
    let message =
        messages.iter().find(|event| event.get("Event-Name") == Some(b"MESSAGE")).expect("it was recorded");
    let message = |port: &str, profile: &str| {
        let message = message.clone().with("from_sip_ip", PHONE).with("from_sip_port", port);
        switch.fire_event(&message.with("sip_profile", profile));
    };
    switch.fire_event(&Event::challenge("client", PHONE));
    message("5070", "internal");
    for number in 0..3 {
        switch
            .fire_event(&Event::challenge(&format!("scanner-{number}"), PHONE).with("network-port", "5071"));
        message("5071", "open");
        message("5072", "internal");
    }
    let lines = switch.wait_for_lines(3);
    wait_until("the challenges", || status(&switch)["challenges"]["waiting"] == 0);
    assert!(lines.len() == 3 && lines.iter().all(|line| line.contains(" call_id=\"scanner-")), "{lines:?}");
}

fn each_probe_of_a_constant_call_counts_whatever_stale_credentials_it_brings() {
    let switch = loaded("challenge_unanswered");
    for _ in 0..20 {
        switch.fire_event(&Event::challenge("constant", PHONE));
        switch.fire_event(&Event::register_attempt("1009", PHONE, "STALE").with("call-id", "constant"));
    }
    // A phone whose nonce was too old asks once more and is good then.
    switch.fire_event(&Event::challenge("phone", "10.0.0.8"));
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.8", "STALE").with("call-id", "phone"));
    switch.fire_event(&Event::challenge("phone", "10.0.0.8"));
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.8", "SUCCESS").with("call-id", "phone"));
    // Refused credentials answer one of three.
    for _ in 0..3 {
        switch.fire_event(&Event::challenge("guess", "10.0.0.9"));
    }
    switch.fire_event(&Event::register_attempt("1009", "10.0.0.9", "FORBIDDEN").with("call-id", "guess"));
    let lines = switch.wait_for_lines(22);
    wait_until("the challenges", || status(&switch)["challenges"]["waiting"] == 0);
    assert_eq!(lines.len(), 22, "{lines:?}");
    let of = |ip: &str| lines.iter().filter(|line| line.contains(&format!(" ip={ip} "))).count();
    assert_eq!((of(PHONE), of("10.0.0.8"), of("10.0.0.9")), (20, 0, 2));
}
