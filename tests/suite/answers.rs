//! What the console answers about the decision: `attackers`, `why`, `forgive`, and `report` by an operator.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, credentials, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            why_says_in_one_line_what_a_customer_wants_to_hear,
            attackers_lists_who_is_one_and_forgive_ends_it,
            an_ipv6_network_is_one_source_whichever_address_is_typed,
            an_account_shows_where_it_fails_and_is_forgiven_everywhere,
            one_that_is_known_or_trusted_by_now_is_no_attacker,
            an_operators_report_makes_an_attacker_whether_or_not_it_is_logged,
            a_test_ends_in_the_attacker_line_whatever_attacker_after_is,
            what_an_attacker_wrote_stays_on_its_line,
        ],
    );
    suite.add(&[needs::stand_in], tests![refused_attempts_are_counted, an_account_under_attack_is_named]);
}

const STRANGER: &str = "198.51.100.7";
const UNBAN: &str = "fail2ban-client set freeswitch-fail2ban unbanip";

fn loaded(more: &str) -> Switch {
    Switch::loaded(&settings(more))
}

fn settings(more: &str) -> String {
    format!(
        "<param name=\"attacker-after\" value=\"10\"/><param name=\"events\" value=\"register_failure\"/><param name=\"known-for\" value=\"1d\"/>\
         <param name=\"refuse-attackers\" value=\"yes\"/><param name=\"format\" value=\"dated\"/>{more}"
    )
}

fn ask(switch: &Switch, command: &str) -> String {
    let answer = switch.api(&format!("fail2ban {command}"));
    // For those who want to see them: --nocapture.
    println!("fail2ban {command}\n{answer}");
    answer
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

fn fail(switch: &Switch, times: usize, user: &str, ip: &str) {
    (0..times).for_each(|_| switch.fire_event(&Event::register_failure(user, ip)));
}

/// Fails until it is an attacker.
fn attack(switch: &Switch, user: &str, ip: &str) {
    fail(switch, 10, user, ip);
    wait_until("the attacker", || switch.api("fail2ban attackers").contains(" failure=10\n"));
}

fn learn(switch: &Switch, user: &str, ip: &str) {
    switch.fire_event(&Event::register_attempt(user, ip, "SUCCESS"));
    wait_until("the login", || switch.api(&format!("fail2ban known {ip}")).contains(user));
}

/// The answer without the seconds, which differ.
fn without_seconds(answer: &str) -> String {
    let is_time = |words: &[&str]| words[1].starts_with("second") && words[0].parse::<u32>().is_ok();
    let words: Vec<&str> = answer.split(' ').collect();
    let mut out = Vec::new();
    for (at, word) in words.iter().enumerate() {
        out.push(if words.get(at..at + 2).is_some_and(is_time) { "N" } else { word });
    }
    let answer = out.join(" ").replace("59 minutes", "60 minutes").replace("23 hours", "24 hours");
    answer.replace("1 second ", "1 seconds ").replace("N second ", "N seconds ")
}

fn why_says_in_one_line_what_a_customer_wants_to_hear() {
    let switch = loaded("");
    assert_eq!(
        ask(&switch, &format!("why {STRANGER}")),
        format!(
            "{STRANGER}: 0 of 10 points; not known; not refused\nif fail2ban has banned it: {UNBAN} {STRANGER}\n"
        )
    );
    fail(&switch, 4, "1009", STRANGER);
    switch.wait_for_lines(4);
    let answer = without_seconds(&ask(&switch, &format!("why {STRANGER}")));
    assert_eq!(
        answer,
        format!(
            "{STRANGER}: 4 of 10 points: 4 failures for account 1009, the last N seconds ago; not known; not \
             refused\n  failure: 4 times, last N seconds ago\n  for 1009: 4 points, 4 failures, last N seconds ago\n  \
             a point is forgiven each hour, the next in 60 minutes\nif fail2ban has banned it: {UNBAN} {STRANGER}\n"
        )
    );
    fail(&switch, 1, "1010", STRANGER);
    switch.wait_for_lines(5);
    let answer = ask(&switch, &format!("why {STRANGER}"));
    assert!(answer.contains("5 of 10 points: 5 failures for 2 accounts, the last "), "{answer}");
    assert_eq!((&status(&switch)["suspects"], &status(&switch)["attacker_count"]), (&json!(1), &json!(0)));
}

fn attackers_lists_who_is_one_and_forgive_ends_it() {
    let switch = loaded("");
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    attack(&switch, "1009", STRANGER);
    fail(&switch, 9, "1009", "198.51.100.8");
    let answer = ask(&switch, "attackers");
    let rows: Vec<Vec<&str>> = answer.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{answer}");
    assert_eq!(rows[0][..4], ["source", "level", "points", "found"]);
    assert_eq!(rows[1][..3], [STRANGER, "1", "10"]);
    assert_eq!((rows[1][6], rows[1].last()), ("another", Some(&"failure=10")), "{answer}");
    assert_eq!(rows[2], ["1", "attacker"]);
    let answer = without_seconds(&ask(&switch, &format!("why {STRANGER}")));
    assert!(
        answer.contains(
            "; not known; an attacker of level 1, found N seconds ago, for another 24 hours; refused for another N \
             seconds (0 attempts so far)\n"
        ),
        "{answer}"
    );
    let json = status(&switch);
    assert_eq!((&json["attacker_count"], &json["attackers_found"]), (&json!(1), &json!(1)));
    let first = &json["attackers"][0];
    assert_eq!(
        (&first["source"], &first["level"], &first["points"], &first["causes"]),
        (&json!(STRANGER), &json!(1), &json!(10), &json!({ "failure": 10 }))
    );
    assert!(first["refused_seconds"].as_i64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{first}");

    let answer = ask(&switch, &format!("forgive {STRANGER}"));
    assert_eq!(
        answer,
        format!(
            "+OK {STRANGER} is forgiven: no points, no attacker, not refused\nif fail2ban has banned it: {UNBAN} \
             {STRANGER}\n"
        )
    );
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    assert!(ask(&switch, &format!("forgive {STRANGER}")).contains("nothing to be forgiven"));
    // It begins anew.
    fail(&switch, 9, "1009", STRANGER);
    switch.wait_for_lines(29);
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
}

fn an_ipv6_network_is_one_source_whichever_address_is_typed() {
    let switch = loaded("");
    for number in 0..10 {
        fail(&switch, 1, "1009", &format!("2001:db9:1:2::{number}"));
    }
    wait_until("the attacker", || switch.api("fail2ban attackers").contains("2001:db9:1:2::/64"));
    for typed in ["2001:db9:1:2::ffff", "2001:db9:1:2::/64"] {
        let answer = ask(&switch, &format!("why {typed}"));
        assert!(
            answer.starts_with("2001:db9:1:2::/64: 10 of 10 points: 10 failures for account 1009,"),
            "{answer}"
        );
        assert!(answer.contains("\n  the last address was 2001:db9:1:2::9\n"), "{answer}");
        assert!(answer.ends_with(&format!("{UNBAN} 2001:db9:1:2::/64\n")), "{answer}");
    }
    assert!(ask(&switch, "forgive 2001:db9:1:2::1").starts_with("+OK 2001:db9:1:2::/64 is forgiven"));
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    learn(&switch, "1009", "2001:db9:1:3::1");
    assert!(ask(&switch, "known 2001:db9:1:3::2").contains("\n2001:db9:1:3::/64   "));
    assert!(ask(&switch, "why 2001:db9:1:3::2").contains("known by 1009@switch.example; not refused"));
    assert!(ask(&switch, "forget 2001:db9:1:3::3").starts_with("+OK 2001:db9:1:3::/64 is known no more"));
    assert_eq!(ask(&switch, "known 2001:db9:1:3::1"), "-ERR 2001:db9:1:3::/64 is not known\n");
}

fn an_account_shows_where_it_fails_and_is_forgiven_everywhere() {
    let switch = loaded("");
    assert_eq!(
        ask(&switch, "why 1009"),
        "account 1009: no failures that count; refused nowhere; accepted nowhere lately\n"
    );
    learn(&switch, "1009", "10.0.0.7");
    learn(&switch, "1001", "10.0.0.8");
    // An old phone in the office of another, somebody who mistypes, and an attacker.
    fail(&switch, 12, "1009", "10.0.0.8");
    fail(&switch, 2, "1009", "198.51.100.8");
    attack(&switch, "1009", STRANGER);
    let answer = without_seconds(&ask(&switch, "why 1009"));
    for part in [
        "account 1009: failures at 3 sources; refused at 2 sources; accepted at 1 source\n",
        "\n  at 198.51.100.7: 1009 has 10 failures, the last N seconds ago; an attacker of level 1, refused with all its \
         accounts for another N seconds (0 attempts so far)\n",
        "\n  at 198.51.100.8: 1009 has 2 failures, the last N seconds ago; not refused\n",
        "\n  at 10.0.0.8: 1009 has 12 failures of 10 here, the last N seconds ago; refused here, it alone, for another N \
         seconds (0 attempts so far)\n",
        "\n  at 10.0.0.7: accepted, last N seconds ago\n",
        &format!("\nif fail2ban has banned it: {UNBAN} {STRANGER}\n"),
    ] {
        assert!(answer.contains(part), "no {part:?} in\n{answer}");
    }
    let answer = ask(&switch, "why 10.0.0.8");
    assert!(
        answer.contains("known by 1001@switch.example; not refused, but for 1 account (below)\n"),
        "{answer}"
    );
    assert!(answer.contains("\n  1009 has 12 failures of 10 here, the last "), "{answer}");

    let answer = ask(&switch, "forgive 1009");
    assert_eq!(
        answer,
        format!(
            "+OK account 1009 is forgiven: no source has points for it; 1 attacker forgiven\n\
             if fail2ban has banned it: {UNBAN} {STRANGER}\n"
        )
    );
    let answer = ask(&switch, "why 1009@switch.example");
    assert!(answer.contains("no failures that count; refused nowhere; accepted at 1 source\n"), "{answer}");
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    assert!(ask(&switch, "forgive 1009").contains("nothing to be forgiven"));
}

fn one_that_is_known_or_trusted_by_now_is_no_attacker() {
    let switch = loaded("");
    attack(&switch, "1009", "10.0.0.7");
    learn(&switch, "1001", "10.0.0.7");
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    let answer = ask(&switch, "why 10.0.0.7");
    assert!(answer.contains("; known by 1001@switch.example; not refused\n"), "{answer}");
    attack(&switch, "1009", STRANGER);
    switch.write_config(&crate::support::configuration(&settings(
        "<param name=\"trusted-acl\" value=\"198.51.100.0/24\"/>",
    )));
    wait_until("the settings", || status(&switch)["settings"]["trusted-acl"] == json!(["198.51.100.0/24"]));
    assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    let answer = ask(&switch, &format!("why {STRANGER}"));
    assert!(answer.contains("; not known; trusted (trusted-acl 198.51.100.0/24); not refused\n"), "{answer}");
    assert!(ask(&switch, "why 127.0.0.1").contains("; trusted (an address of this switch); not refused\n"));
}

fn an_operators_report_makes_an_attacker_whether_or_not_it_is_logged() {
    for logs in [false, true] {
        let switch = loaded(if logs { "<param name=\"events\" value=\"reported\"/>" } else { "" });
        let place = if logs { format!(" in {}", switch.log_file().display()) } else { String::new() };
        let answer = without_seconds(&ask(&switch, &format!("report {STRANGER} calls to nowhere")));
        assert_eq!(
            answer,
            format!(
                "+OK {STRANGER} is reported{place}: {STRANGER} is an attacker of level 1, refused for another N seconds\n"
            )
        );
        let lines = switch.wait_for_lines(if logs { 2 } else { 1 });
        assert!(
            lines.last().unwrap().contains(&format!("attacker source={STRANGER} ip={STRANGER} ")),
            "{lines:?}"
        );
        assert!(ask(&switch, "attackers").contains(" report=1\n"));
        learn(&switch, "1009", "10.0.0.7");
        let answer = ask(&switch, "report 10.0.0.7 x");
        assert_eq!(
            answer,
            format!("+OK 10.0.0.7 is reported{place}: 10.0.0.7 is known, and so no attacker\n")
        );
        let answer = ask(&switch, "report 127.0.0.1 x");
        assert!(answer.ends_with(": an address of this switch is no attacker\n"), "{answer}");
        assert!(ask(&switch, "attackers").ends_with("\n1 attacker\n"));
    }
    let off =
        "<param name=\"attacker-after\" value=\"0\"/><param name=\"events\" value=\"register_failure\"/>";
    let switch = Switch::loaded(off);
    for command in ["report 198.51.100.7 x", "attackers"] {
        let answer = ask(&switch, command);
        assert!(answer.starts_with("-ERR") && answer.contains("attacker-after is 0"), "{answer}");
    }
    let answer = ask(&switch, "why 198.51.100.7");
    assert!(
        answer.starts_with(
            "198.51.100.7: nothing is counted, since attacker-after is 0; nobody is known, since known-for is 0; not \
             refused\n"
        ),
        "{answer}"
    );
}

fn a_test_ends_in_the_attacker_line_whatever_attacker_after_is() {
    for attacker_after in [3, 10, 25] {
        let switch = loaded(&format!("<param name=\"attacker-after\" value=\"{attacker_after}\"/>"));
        let answer = ask(&switch, "test 2001:db8:1:2::7");
        assert!(answer.starts_with("+OK 10 lines for 2001:db8:1:2::7 in "), "{answer}");
        assert!(answer.ends_with(", and the attacker line of 2001:db8:1:2::/64\n"), "{answer}");
        let lines = switch.wait_for_lines(11);
        let attackers: Vec<_> = lines.iter().filter(|line| line.contains(" attacker source=")).collect();
        assert_eq!(attackers.len(), 1, "{lines:?}");
        assert!(lines[10].contains(" attacker source=2001:db8:1:2::/64 ip=2001:db8:1:2::7 "), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("user=\"fail2ban-test\"")), "{lines:?}");
        let answer = ask(&switch, "test 192.0.2.1 9");
        assert!(answer.contains("no attacker line"), "{answer}");
        // It is a test of the chain: nobody is an attacker, or refused, for it.
        assert!(ask(&switch, "attackers").ends_with("\n0 attackers\n"));
    }
    let switch = Switch::loaded("<param name=\"attacker-after\" value=\"0\"/>");
    assert!(ask(&switch, "test").ends_with("; no attacker line, since attacker-after is 0\n"));
    switch.wait_for_lines(10);
}

fn what_an_attacker_wrote_stays_on_its_line() {
    let switch = loaded("");
    let hostile = "x\n8.8.8.8: 0 of 10 points; trusted\u{202e}\" y";
    attack(&switch, hostile, STRANGER);
    for command in ["attackers".to_owned(), format!("why {STRANGER}"), "why x".into(), "status".into()] {
        let answer = ask(&switch, &command);
        assert!(!answer.lines().any(|line| line.starts_with("8.8.8.8")), "{answer}");
        assert!(!answer.contains('\u{202e}') && !answer.contains("\" y"), "{answer}");
    }
    let answer = ask(&switch, &format!("why {STRANGER}"));
    assert!(
        answer.contains("for account \"x%0A8.8.8.8: 0 of 10 points; trusted%E2%80%AE%22 y\", the last"),
        "{answer}"
    );
}

fn refused_attempts_are_counted() {
    let switch = loaded("");
    attack(&switch, "1009", "10.0.0.7");
    for number in 0..3 {
        switch.look_up(&credentials("REGISTER", &format!("call-{number}"), "10.0.0.7", "udp"));
    }
    let answer = ask(&switch, "why 10.0.0.7");
    assert!(answer.contains("(3 attempts so far)\n"), "{answer}");
    let row = ask(&switch, "attackers");
    assert!(row.contains("  3  failure=10\n"), "{row}");
    assert_eq!((&status(&switch)["refused"], &status(&switch)["can_refuse"]), (&json!(3), &json!(true)));
    let answer = ask(&switch, "status");
    assert!(
        answer.contains(
            "\nrefusing    yes: 3 lookups refused since load; not over Verto, whose lookups show no address\n"
        ),
        "{answer}"
    );
}

fn an_account_under_attack_is_named() {
    let switch = loaded("");
    for number in 0..20 {
        fail(&switch, 1, "1009", &format!("198.51.100.{number}"));
    }
    wait_until("the failures", || status(&switch)["signals"]["register_failure"]["seen"] == 20);
    let accounts = status(&switch)["accounts_under_attack"].clone();
    // An estimate: sources are counted by what they hash to, in 256 bits.
    let sources = accounts[0]["sources"].as_u64().expect("an account under attack");
    assert!((16..=24).contains(&sources), "{accounts}");
    assert_eq!(accounts, json!([{ "account": "1009", "sources": sources }]));
    assert_eq!(status(&switch)["accounts_under_attack_count"], 1);
    let answer = ask(&switch, "status");
    assert!(answer.contains("\naccounts under attack, and how many sources that are not known"), "{answer}");
    let answer = ask(&switch, "why 1009");
    let under_attack =
        format!("\n  1009 is under attack: {sources} sources that are not known failed within an hour\n");
    assert!(answer.contains(&under_attack), "{answer}");
    assert!(ask(&switch, "forgive 1009").starts_with("+OK account 1009 is forgiven"));
    assert_eq!(status(&switch)["accounts_under_attack"], json!([]));
}
