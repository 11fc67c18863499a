//! One decision for two switches: the module, Debian's CrowdSec with the shipped kit, real nftables, and the
//! packets of attackers and of a bystander, in network namespaces.
//!
//! Needs root, network namespaces, nftables and Debian's packages, which are unpacked and not installed.

use std::fs;
use std::net::IpAddr;
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
            nine_failures_ban_nobody_and_the_tenth_bans_on_both_switches,
            over_ipv6_as_well,
            an_unban_reaches_both_switches_and_the_next_ban_is_longer,
            ten_failures_at_any_pace_within_ten_minutes_ban,
            who_guesses_slowly_is_banned,
            guesses_for_six_users_ban_and_one_user_from_ten_addresses_is_an_alert,
            verto_logins_count,
            a_known_address_is_never_banned,
            what_can_be_caused_in_anothers_name_bans_only_the_unknown,
            what_every_phone_causes_bans_nobody_and_a_login_after_failures_is_an_alert,
            who_is_trusted_is_never_banned,
            hostile_names_ban_only_whom_they_come_from,
            failures_before_and_after_a_rotation_add_up,
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
            tests![time_from_the_tenth_failure_to_the_drop_and_memory],
        );
    }
}

/// Ends the site that the tests share.
pub fn end() {
    Site::end_shared();
}

fn nine_failures_ban_nobody_and_the_tenth_bans_on_both_switches(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    site.a.fail(9, "1009", attacker);
    site.assert_not_banned(&site.a, &[attacker]);
    for host in site.hosts() {
        assert!(site.attacker_gets_through(host, attacker));
    }
    site.a.fail(1, "1009", attacker);
    site.wait_until_dropped_by_both(attacker);
}

fn over_ipv6_as_well(site: Arc<Site>) {
    let (nine, ten) = (site.attacker(V6), site.attacker(V6));
    site.b.fail(9, "1009", nine);
    site.b.fail(10, "1009", ten);
    site.wait_until_dropped_by_both(ten);
    site.assert_not_banned(&site.b, &[nine]);
}

fn an_unban_reaches_both_switches_and_the_next_ban_is_longer(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    // How long the ban is that one report brings, such as "1h59" of "1h59m58.2s"; it counts from the line.
    let ban = |ago| {
        if ago == NOW {
            site.a.cause("reported", 1, attacker);
        } else {
            site.a.write_line("reported", attacker, Some(false), ago);
        }
        site.wait_until_dropped_by_both(attacker);
        let decisions = site.decisions(attacker);
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        decisions[0]["duration"].as_str().unwrap().split('m').next().unwrap().to_owned()
    };
    // A while before the next: for ten seconds after a ban no further one is asked for.
    let first = ban(Duration::from_secs(120));
    site.unban(attacker);
    for host in site.hosts() {
        site.wait_until_back(host, attacker);
    }
    let second = ban(NOW);
    assert!(["57", "58"].contains(&first.as_str()), "the first ban: {first}");
    assert!(["1h58", "1h59", "2h0"].contains(&second.as_str()), "the second ban: {second}");
}

fn ten_failures_at_any_pace_within_ten_minutes_ban(site: Arc<Site>) {
    let fail = |attacker, times: u64, apart: Duration| {
        for remaining in (0..times).rev() {
            site.a.write_line("register_failure", attacker, None, apart * remaining as u32);
        }
    };
    // From the first to the tenth: 9:45, and 10:03.
    let (within, beyond, nine) = (site.attacker(V4), site.attacker(V4), site.attacker(V4));
    fail(within, 10, Duration::from_secs(65));
    fail(beyond, 10, Duration::from_secs(67));
    fail(nine, 9, Duration::from_secs(1));
    site.wait_until_dropped_by_both(within);
    site.assert_not_banned(&site.a, &[beyond, nine]);
}

fn who_guesses_slowly_is_banned(site: Arc<Site>) {
    let (slow, slower) = (site.attacker(V4), site.attacker(V4));
    for remaining in (0..24u64).rev() {
        // One each twelve minutes, and one an hour.
        let ago = |minutes: u64| Duration::from_secs(60 * minutes * remaining);
        site.a.write_line("register_failure", slow, None, ago(12));
        site.a.write_line("register_failure", slower, None, ago(60));
    }
    site.wait_until_dropped_by_both(slow);
    assert!(site.alerts("slow").contains(&(slow.to_string(), 1)));
    site.assert_not_banned(&site.a, &[slower]);
}

fn guesses_for_six_users_ban_and_one_user_from_ten_addresses_is_an_alert(site: Arc<Site>) {
    // One address, a guess for each of many users.
    let (five, six) = (site.attacker(V4), site.attacker(V4));
    for user in 1000..1005 {
        site.a.fail(1, &user.to_string(), five);
    }
    for user in 1000..1006 {
        site.a.fail(1, &user.to_string(), six);
    }
    site.wait_until_dropped_by_both(six);

    // One user, a guess from each of many addresses.
    let all: Vec<IpAddr> = (0..10).map(|_| site.attacker(V4)).collect();
    for ip in &all {
        site.a.fail(1, "the-victim", *ip);
    }
    wait_until("an alert about the user", || site.alerts("many-addresses") == [("the-victim".into(), 0)]);
    site.assert_not_banned(&site.a, &[&all[..], &[five]].concat());
}

fn verto_logins_count(site: Arc<Site>) {
    let (nine, ten) = (site.attacker(V4), site.attacker(V4));
    for (times, ip) in [(9, nine), (10, ten)] {
        for _ in 0..times {
            site.b.switch.fire_event(&Event::verto_login("1009@switch.example", &ip.to_string(), false));
        }
    }
    site.wait_until_dropped_by_both(ten);
    assert!(site.alerts("verto").contains(&(ten.to_string(), 1)));
    site.assert_not_banned(&site.b, &[nine]);
}

const FAILURES: [&str; 2] = ["register_failure", "verto_login_failure"];
const PROBING: [&str; 4] = ["wrong_call_state", "challenge_unanswered", "acl_reject", "auth_unconfirmed"];

fn a_known_address_is_never_banned(site: Arc<Site>) {
    let phone = site.attacker(V4);
    site.a.make_known(phone);
    let logged = FAILURES.iter().chain(&["wrong_call_state", "acl_reject", "reported"]);
    for event in logged.clone().chain(&["challenge_unanswered", "auth_unconfirmed"]) {
        site.a.cause(event, 25, phone);
    }
    for event in logged {
        wait_until("the lines", || site.a.lines(event, phone).len() == 25);
        assert!(site.a.lines(event, phone).iter().all(|line| line["known"] == true), "{event}");
    }
    site.assert_not_banned(&site.a, &[phone]);
}

fn what_can_be_caused_in_anothers_name_bans_only_the_unknown(site: Arc<Site>) {
    let (mut banned, mut spared, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
    for event in PROBING {
        let [nine, ten, unknown] = [(); 3].map(|()| site.attacker(V4));
        for (ip, times) in [(nine, 9), (ten, 10)] {
            site.a.cause(event, times, ip);
            wait_until("the lines", || site.a.lines(event, ip).len() == times);
            assert!(site.a.lines(event, ip).iter().all(|line| line["known"] == false), "{event}");
        }
        (0..25).for_each(|_| site.a.write_line(event, unknown, None, NOW));
        spared.push(nine);
        banned.push(ten);
        unclear.push(unknown);
    }
    let [reported, unknown] = [(); 2].map(|()| site.attacker(V4));
    site.a.cause("reported", 1, reported);
    banned.push(reported);
    site.a.write_line("reported", unknown, None, NOW);
    spared.push(unknown);

    for ip in banned {
        site.wait_until_dropped_by_both(ip);
    }
    for ip in &unclear {
        wait_until("an alert", || site.alerts("probing-unproven").contains(&(ip.to_string(), 0)));
    }
    site.assert_not_banned(&site.a, &[spared, unclear].concat());
}

fn what_every_phone_causes_bans_nobody_and_a_login_after_failures_is_an_alert(site: Arc<Site>) {
    let (phone, lucky) = (site.attacker(V4), site.attacker(V4));
    for number in 0..25 {
        let call = format!("phone-{number}");
        site.a.switch.fire_event(&Event::challenge(&call, &phone.to_string()));
        // Credentials that are refused without a failure, so that the phone does not become known.
        let answer = Event::register_attempt("1009", &phone.to_string(), "FORBIDDEN");
        site.a.switch.fire_event(&answer.with("call-id", &call));
    }
    site.a.fail(5, "1009", lucky);
    site.a.make_known(lucky);
    wait_until("an alert", || site.alerts("success-after-failures") == [(lucky.to_string(), 0)]);
    site.assert_not_banned(&site.a, &[phone, lucky]);
    assert_eq!(site.a.lines("register_attempt", phone).len(), 25);
    assert_eq!(site.a.lines("challenge_unanswered", phone).len(), 0);
}

/// By the kit's white list, and by the one that Debian enables.
fn who_is_trusted_is_never_banned(site: Arc<Site>) {
    let trusted = ["127.0.0.1", "::1", "198.51.100.7", "10.1.2.3", "172.16.1.2", "192.168.1.2"]
        .map(|ip| ip.parse().unwrap());
    for ip in trusted {
        site.b.fail(25, "1009", ip);
    }
    site.assert_not_banned(&site.b, &trusted);
}

fn hostile_names_ban_only_whom_they_come_from(site: Arc<Site>) {
    let bystander = site.bystander(V4);
    let attacker = site.attacker(V4);
    let line =
        format!("{{\"time\":\"x\",\"event\":\"register_failure\",\"ip\":\"{bystander}\",\"user\":\"x\"}}");
    let names = [
        format!("x\",\"ip\":\"{bystander}\",\"user\":\"x"),
        format!("x\",\"known\":true,\"ip\":\"{bystander}"),
        format!("x\n{line}\n"),
        format!("x\r\n{line}\r\n"),
        format!("x\\\",\"ip\":\"{bystander}\\"),
        format!("x\u{2028}{line}"),
        format!("x] ip[{bystander}] at["),
        "x\u{1b}[2J\u{202e}%s%n".into(),
        "\t\u{7f}".into(),
        "20200101T000000".into(),
    ];
    for name in &names {
        // Each name ten times would ban the bystander, if any of it were believed.
        for _ in 0..10 {
            site.a.switch.fire_event(&Event::register_failure(name, &attacker.to_string()));
        }
    }
    site.a.switch.fire_event(&Event::register_failure([0xff, 0xfe, b'"'], &attacker.to_string()));
    site.wait_until_dropped_by_both(attacker);
    site.assert_not_banned(&site.a, &[bystander]);
    site.assert_bystander_gets_through();
}

fn failures_before_and_after_a_rotation_add_up(site: Arc<Site>) {
    let attacker = site.attacker(V4);
    site.b.fail(9, "1009", attacker);
    site.assert_not_banned(&site.b, &[attacker]);
    let log = site.b.switch.log_file();
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    site.b.fail(1, "1009", attacker);
    site.wait_until_dropped_by_both(attacker);
}

fn bans_outlive_the_local_api_and_alerts_wait_for_it(site: Arc<Site>) {
    let (before, during) = (site.attacker(V4), site.attacker(V6));
    site.a.fail(10, "1009", before);
    site.wait_until_dropped_by_both(before);

    site.kill_lapi();
    site.a.fail(10, "1009", during);
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

fn time_from_the_tenth_failure_to_the_drop_and_memory(site: Arc<Site>) {
    for family in [V4, V6] {
        let mut times = [Vec::new(), Vec::new()];
        for trial in 0..20 {
            let attacker = site.attacker(family);
            site.a.fail(9, "1009", attacker);
            // The agent reads, tells and the bouncers ask at intervals of their own: these pauses let the
            // trials fall on all moments of those alike.
            std::thread::sleep(Duration::from_millis(1500 + 137 * trial));
            site.a.fail(1, "1009", attacker);
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
