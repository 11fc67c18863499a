//! The lines are the C module's.

use std::path::PathBuf;

use super::network::Family::V4;
use super::sipp::Calls;
use super::site::{OFFSET, Site};

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

/// A line up to the time, which is in brackets at its end.
fn timeless(line: &str) -> &str {
    line.rsplit_once('[').unwrap_or_else(|| panic!("no time in {line:?}")).0
}

#[test]
fn good_and_bad_registrations_and_calls_give_the_c_modules_lines() {
    let Some(site) = Site::start("") else { return };
    let lines = traffic(&site);
    let timeless_lines: Vec<_> = lines.iter().map(|line| timeless(line)).collect();
    let ip = site.attacker(V4).to_string();
    assert_eq!(timeless_lines, EXPECTED.map(|line| line.replace("{ip}", &ip)));
    for line in &lines {
        assert!(line.ends_with(&format!("{OFFSET}]")), "{line}");
    }
    let Some(c_module) = std::env::var_os("C_MODULE_SO").map(PathBuf::from) else { return };
    let Some(site) = Site::with_module(&c_module, "") else { return };
    let c_lines = traffic(&site);
    assert_eq!(timeless_lines, c_lines.iter().map(|line| timeless(line)).collect::<Vec<_>>());
    println!("{} lines, the same as {}", c_lines.len(), c_module.display());
}
