//! The lines are the C module's.

use super::sipp::Calls;
use super::site::{OFFSET, Site};
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::suite::{Suite, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, needs::sipp];
    suite.add(&needs, tests![good_and_bad_registrations_and_calls_give_the_c_modules_lines]);
    let needs = [needs::free_switch, needs::network, needs::sipp, needs::c_module];
    suite.add(&needs, tests![the_lines_are_those_of_the_c_module]);
}

/// What the traffic gives, times aside; `{ip}` is the attacker's address. Registrations and calls alike: a
/// line for credentials, and one more where they are wrong; a call that was challenged and never heard of
/// again is told of when FreeSWITCH gives it up.
const EXPECTED: [&str; 19] = [
    "A registration was attempted user[1000] ip[{ip}] at",
    "A registration failed user[1000] ip[{ip}] at",
    "A registration was attempted user[1000] ip[{ip}] at",
    "A registration failed user[1000] ip[{ip}] at",
    "A registration was attempted user[nobody] ip[{ip}] at",
    "A registration failed user[nobody] ip[{ip}] at",
    "A registration was attempted user[1000] ip[{ip}] at",
    "A registration was attempted user[1001] ip[{ip}] at",
    "A registration was attempted user[1000] ip[{ip}] at",
    "A registration failed user[9196] ip[{ip}] at",
    "A registration was attempted user[o'brien+a.z] ip[{ip}] at",
    "A registration failed user[9196] ip[{ip}] at",
    "A registration was attempted user[1001] ip[{ip}] at",
    "Abandoned call from  user[1000] ip[{ip}] at",
    "Abandoned call from  user[nobody] ip[{ip}] at",
    "A registration was attempted user[last] ip[{ip}] at",
    "A registration failed user[last] ip[{ip}] at",
    "A registration was attempted user[1000] ip[{ip}] at",
    "A registration failed user[1000] ip[{ip}] at",
];

fn traffic(site: &Site) -> Vec<String> {
    for (scenario, user, password) in [
        ("register.xml", "1000", "wrong"),
        ("register.xml", "1000", "wrong"),
        ("register.xml", "nobody", "wrong"),
        ("register.xml", "1000", "secret"),
        ("register.xml", "1001", "secret"),
        ("invite.xml", "1000", "wrong"),
        ("invite.xml", "o'brien+a.z", "wrong"),
        ("invite.xml", "1001", "secret"),
        ("invite-unanswered.xml", "1000", ""),
        ("invite-unanswered.xml", "nobody", ""),
    ] {
        Calls::one(scenario, user, password).run(&site.network.attacker, site.sip(V4));
    }
    site.wait_for_lines(EXPECTED.len() - 4);
    for user in ["last", "1000"] {
        Calls::one("register.xml", user, "wrong").run(&site.network.attacker, site.sip(V4));
    }
    site.wait_for_lines(EXPECTED.len())
}

/// The lines up to the time, which is in brackets at their end; sorted, since FreeSWITCH gives up calls that came
/// at the same time in whatever order.
fn sorted(lines: &[String]) -> Vec<&str> {
    let timeless = |line: &'_ String| line.rfind('[').unwrap_or_else(|| panic!("no time in {line:?}"));
    let mut lines: Vec<_> = lines.iter().map(|line| &line[..timeless(line)]).collect();
    lines.sort_unstable();
    lines
}

fn good_and_bad_registrations_and_calls_give_the_c_modules_lines() {
    let site = Site::start("");
    let lines = traffic(&site);
    let ip = site.attacker(V4).to_string();
    assert_eq!(sorted(&lines), sorted(&EXPECTED.map(|line| line.replace("{ip}", &ip) + "[")));
    for line in &lines {
        assert!(line.ends_with(&format!("{OFFSET}]")), "{line}");
    }
}

fn the_lines_are_those_of_the_c_module() {
    let lines = traffic(&Site::start(""));
    assert_eq!(sorted(&lines), sorted(&traffic(&Site::with_module(&needs::c_module_path(), ""))));
}
