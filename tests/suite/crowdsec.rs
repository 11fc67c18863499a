//! One decision for two switches: attacker lines, Debian's CrowdSec with the shipped kit, real nftables, and the
//! packets of attackers and of a bystander, in network namespaces.
//!
//! Needs root, network namespaces, nftables and Debian's packages, which are unpacked and not installed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::support::crowdsec::site::Site;
use crate::support::namespace::Family::{V4, V6};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, wait_until};

const NOW: Duration = Duration::ZERO;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::stand_in, needs::network, needs::nftables];
    suite.add_with(
        &needs,
        "two_switches",
        Site::shared,
        tests![
            an_attacker_line_bans_on_both_switches,
            over_ipv6_as_well,
            an_unban_reaches_both_switches_and_the_next_ban_is_longer,
            each_switch_may_find_the_same_attacker,
            what_is_no_attacker_line_bans_nobody,
            who_is_trusted_is_never_banned,
            names_in_a_line_ban_nobody_else,
            a_line_after_a_rotation_bans,
            the_kit_is_loaded_without_a_warning,
        ],
    );
    // This one stops the local API.
    suite.add_with(
        &needs,
        "two_more_switches",
        Site::new,
        tests![bans_outlive_the_local_api_and_alerts_wait_for_it],
    );
    // For a person: MEASURE=1 cargo test --release --test suite drop_and_memory
    if std::env::var_os("MEASURE").is_some() {
        suite.add_with(
            &needs,
            "two_measured_switches",
            Site::new,
            tests![time_from_an_attacker_line_to_the_drop_and_memory],
        );
    }
}

/// Ends the site that the tests share.
pub fn end() {
    Site::end_shared();
}

fn an_attacker_line_bans_on_both_switches(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    for host in site.hosts() {
        assert!(site.attacker_gets_through(host, attacker));
    }
    site.a.attack(attacker);
    site.wait_until_dropped_by_both(attacker);
    assert!(site.alerts("attacker").contains(&(attacker.to_string(), 1)));
}

fn over_ipv6_as_well(site: Arc<Site>) {
    let attacker = site.attacker(V6);
    // Not B, whose log another test renames: a line of that moment is lost on its agent.
    site.a.attack(attacker);
    site.wait_until_dropped_by_both(attacker);
}

fn an_unban_reaches_both_switches_and_the_next_ban_is_longer(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    // How long the ban is that one line brings, such as "9m58.2s" or "19m58.2s"; it counts from the line.
    let ban = |ago| {
        site.a.attack_as("1009", attacker, ago);
        site.wait_until_dropped_by_both(attacker);
        let decisions = site.decisions(attacker);
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        decisions[0]["duration"].as_str().unwrap().split('m').next().unwrap().to_owned()
    };
    for expected in [["7", "8"], ["19", "20"], ["39", "40"]] {
        let ago = if expected[0] == "7" { Duration::from_secs(90) } else { NOW };
        let minutes = ban(ago);
        assert!(expected.contains(&minutes.as_str()), "{minutes} minutes, not {expected:?}");
        site.unban(attacker);
        for host in site.hosts() {
            site.wait_until_back(host, attacker);
        }
    }
}

fn each_switch_may_find_the_same_attacker(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    for host in site.hosts() {
        host.attack(attacker);
    }
    site.wait_until_dropped_by_both(attacker);
    site.assert_not_banned(&site.a, &[]);
    site.unban(attacker);
    for host in site.hosts() {
        site.wait_until_back(host, attacker);
    }
}

fn what_is_no_attacker_line_bans_nobody(site: Arc<Site>) {
    let phone = site.attacker(V4);
    for event in [
        "register_attempt",
        "register_failure",
        "wrong_call_state",
        "challenge",
        "challenge_unanswered",
        "verto_login_failure",
        "acl_reject",
        "auth_unconfirmed",
        "success_after_failures",
        "reported",
        "call_to_nowhere",
        "attackers",
    ] {
        for _ in 0..25 {
            let members = format!(
                r#""event":"{event}","ip":"{phone}","known":false,"source":"{phone}","user":"attacker""#
            );
            site.a.write_line(NOW, &members);
        }
    }
    site.assert_not_banned(&site.a, &[phone]);
}

/// By the kit's white list, and by the one that Debian enables.
fn who_is_trusted_is_never_banned(site: Arc<Site>) {
    let trusted = ["127.0.0.1", "::1", "198.51.100.7", "10.1.2.3", "172.16.1.2", "192.168.1.2"]
        .map(|ip| ip.parse().unwrap());
    for ip in trusted {
        site.a.attack(ip);
    }
    site.assert_not_banned(&site.a, &trusted);
}

/// As the module writes them, escaped.
fn names_in_a_line_ban_nobody_else(site: Arc<Site>) {
    let bystander = site.bystander(V4);
    let attacker = site.attacker(V4);
    let member = format!(r#"\"event\":\"attacker\",\"ip\":\"{bystander}\""#);
    for name in [
        format!(r#"x\",\"ip\":\"{bystander}\",\"user\":\"x"#),
        format!(r#"{{\"time\":\"x\",{member}}}"#),
        format!(r#"x\\\",{member}\\"#),
        format!("{{{member}"),
        "20200101T000000".into(),
    ] {
        site.a.attack_as(&name, attacker, NOW);
        let members = format!(r#""event":"register_failure","ip":"{attacker}","user":"{name}""#);
        site.a.write_line(NOW, &members);
    }
    site.wait_until_dropped_by_both(attacker);
    site.assert_not_banned(&site.a, &[bystander]);
    site.assert_bystander_gets_through();
}

fn a_line_after_a_rotation_bans(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    let log = site.b.switch.log_file();
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    // The module makes the new file at its next line.
    site.b.switch.fire_event(&Event::register_attempt("1009", "192.0.2.1", "FORBIDDEN"));
    wait_until("a new log", || log.exists());
    site.b.attack(attacker);
    site.wait_until_dropped_by_both(attacker);
}

fn the_kit_is_loaded_without_a_warning(site: Arc<Site>) {
    for host in site.hosts() {
        let log = site.agent_log(host);
        let about_the_kit: Vec<_> = log
            .lines()
            .filter(|line| line.contains("mod_fail2ban") || line.contains("freeswitch-fail2ban"))
            .filter(|line| {
                line.contains("level=warn") || line.contains("level=err") || line.contains("level=fatal")
            })
            .collect();
        assert!(about_the_kit.is_empty(), "{about_the_kit:#?}");
    }
}

fn bans_outlive_the_local_api_and_alerts_wait_for_it(site: Arc<Site>) {
    let (before, during) = (site.attacker(V4), site.attacker(V6));
    site.a.attack(before);
    site.wait_until_dropped_by_both(before);

    site.kill_lapi();
    site.a.attack(during);
    wait_until("A's agent to find the local API gone", || {
        site.agent_log(&site.a).contains("while pushing to api")
    });
    // Longer than the bouncers take to ask again, so that they have found out as well.
    wait_until("B's bouncer to find the local API gone", || site.bouncer_lost_the_api(&site.b));
    site.wait_until_dropped_by_both(before);
    for host in site.hosts() {
        assert!(site.attacker_gets_through(host, during));
    }

    site.start_lapi();
    site.wait_until_dropped_by_both(during);
    site.wait_until_dropped_by_both(before);
}

fn time_from_an_attacker_line_to_the_drop_and_memory(site: Arc<Site>) {
    for family in [V4, V6] {
        let mut times = [Vec::new(), Vec::new()];
        for trial in 0..20 {
            let attacker = site.attacker(family);
            // The agent reads, tells and the bouncers ask at intervals of their own: these pauses let the
            // trials fall on all moments of those alike.
            std::thread::sleep(Duration::from_millis(1500 + 137 * trial));
            site.a.attack(attacker);
            for (times, time) in times.iter_mut().zip(site.first_drops(attacker)) {
                times.push(time);
            }
        }
        for (host, times) in ["A", "B"].iter().zip(&mut times) {
            times.sort();
            println!("{family:?} on {host}: median {:?}, worst {:?}", times[times.len() / 2], times.last());
        }
    }
    for (what, kilobytes) in site.memory() {
        println!("{what}: {} MB", kilobytes / 1024);
    }
}
