//! Each signal, from what makes FreeSWITCH give it.

use std::io::Read;
use std::net::TcpStream;

use serde_json::json;

use super::agent::{Agent, Answer, Request};
use super::configuration::{EVENT_SOCKET, GUARDED_SIP, VERTO};
use super::sip::Caller;
use super::sipp::Calls;
use super::site::Site;
use super::verto;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network, needs::sipp],
        tests![
            failed_verto_logins_are_signals_and_good_ones_are_not,
            a_verto_client_passes_nothing_off_as_sofias,
            an_account_is_its_user_in_the_domain_where_freeswitch_looks_for_it,
            only_a_challenge_that_is_never_answered_is_logged,
            every_challenge_is_logged_where_one_asks_for_it,
            what_an_acl_turns_away_is_logged_with_its_true_address,
            attacks_from_a_trusted_address_are_counted_and_not_logged
        ],
    );
}

const FORMATS: [&str; 3] = ["classic", "dated", "json"];

fn params(params: &[(&str, &str)]) -> String {
    params.iter().map(|(name, value)| format!("<param name=\"{name}\" value=\"{value}\"/>")).collect()
}

/// A line of any format without its time, and with `PORT` for the port that the kernel chose.
fn timeless(line: &str) -> String {
    let stamp = "2026-11-22T00:51:58.493952+0530".len();
    let line = if line.starts_with('{') {
        line.replacen(&line[9..9 + stamp], "", 1)
    } else if line.starts_with('2') {
        line[stamp..].to_owned()
    } else {
        line[..line.len() - stamp - 2].to_owned()
    };
    for before in [" port=", "\"port\":"] {
        if let Some((start, rest)) = line.split_once(before) {
            return format!(
                "{start}{before}PORT{}",
                rest.trim_start_matches(|char: char| char.is_ascii_digit())
            );
        }
    }
    line
}

/// Waits for so many lines, and gives them without times and ports.
fn lines(site: &Site, count: usize) -> Vec<String> {
    site.wait_for_lines(count).iter().map(|line| timeless(line)).collect()
}

/// Puts other settings in force, and begins a new log.
fn change_settings(site: &Site, settings: &[(&str, &str)]) {
    site.write_config(&configuration(&params(settings)));
    site.cli("reloadxml");
    let format = settings.iter().find(|(name, _)| *name == "format").expect("each has a format").1;
    wait_until("the settings", || site.status()["settings"]["format"] == format);
    std::fs::remove_file(site.log_file()).expect("there is a log");
    site.cli("fail2ban reopen");
    wait_until("the new log", || site.log_file().exists());
}

fn failed_verto_logins_are_signals_and_good_ones_are_not() {
    let events = ("events", "verto_login_failure");
    let site = Site::start(&params(&[events, ("format", "classic")]));
    for format in FORMATS {
        change_settings(&site, &[events, ("format", format)]);
        for family in [V4, V6] {
            let server = site.port(family, VERTO);
            let attacker = &site.network.attacker;
            assert!(verto::login(attacker, server, "1000", "secret"));
            assert!(!verto::login(attacker, server, "1000", "wrong"));
            assert!(!verto::login(attacker, server, "x] ip[8.8.8.8] at[", "wrong"));
            assert!(verto::login(attacker, server, "1001", "secret"));
        }
        let expected = [(V4, "verto0"), (V6, "verto1")].map(|(family, profile)| {
            let ip = site.attacker(family);
            let failures =
                [("1000", "Authentication Failure"), ("x%5D ip%5B8.8.8.8%5D at%5B", "Login Incorrect")];
            failures.map(|(user, result)| match format {
                "classic" => format!("A verto login failed user[{user}] ip[{ip}] at"),
                "dated" => format!(
                    " mod_fail2ban: verto_login_failure ip={ip} port=PORT profile=\"{profile}\" \
                     transport=tcp result=\"{result}\" user=\"{user}\""
                ),
                _ => format!(
                    "{{\"time\":\"\",\"event\":\"verto_login_failure\",\"ip\":\"{ip}\",\"port\":PORT,\
                     \"profile\":\"{profile}\",\"transport\":\"tcp\",\"result\":\"{result}\",\"user\":\"{user}\"}}"
                ),
            })
        });
        assert_eq!(lines(&site, 4), expected.into_iter().flatten().collect::<Vec<_>>());
    }
}

/// Verto hands a client's `loginParams` on to the directory, under the client's own names.
fn a_verto_client_passes_nothing_off_as_sofias() {
    let site = Site::start(&params(&[
        ("events", "verto_login_failure,register_failure,auth_unconfirmed"),
        ("format", "dated"),
        ("known-for", "1d"),
    ]));
    let attacker = &site.network.attacker;
    for (number, method) in ["MESSAGE", "SUBSCRIBE", "REGISTER"].into_iter().enumerate() {
        let forged = json!({
            "action": "sip_auth", "sip_profile": "open0", "sip_user_agent": "x", "sip_auth_username": "bob",
            "sip_auth_realm": "live.test", "sip_via_protocol": "tls", "sip_call_id": format!("call{number}"),
            "sip_auth_method": method, "client_port": "5060", "user": "bob", "domain": "live.test", "ip": "8.8.8.8",
        });
        assert!(!verto::login_with(attacker, site.port(V4, VERTO), "nobody", "x", &forged));
    }
    let lines = site.wait_for_lines(3);
    assert!(lines.iter().all(|line| line.contains(" verto_login_failure ")), "{lines:?}");
    let status = site.status();
    assert_eq!(
        (&status["look_ups"]["seen"], &status["look_ups"]["unconfirmed_waiting"]),
        (&json!(0), &json!(0))
    );
}

/// Not in the realm, which the client chooses: FreeSWITCH challenges with the domain of its From.
fn an_account_is_its_user_in_the_domain_where_freeswitch_looks_for_it() {
    let site = Site::start(&params(&[("events", "register_failure"), ("known-for", "1d")]));
    let attacker = &site.network.attacker;
    let (from, server) = (attacker.address(V4), site.sip(V4));
    let mut client = Agent::new(&attacker.namespace, from, Transport::Udp, server, "chosen.example");
    let answer = Answer::Password("secret");
    let login = Request { user: b"1000", headers: "Expires: 300\r\n", answer, ..Request::default() };
    assert_eq!(client.send(&login).last(), Some(&200));
    let known = || site.cli("fail2ban known");
    wait_until("the login", || known().contains(&site.attacker(V4).to_string()));
    assert!(known().contains("  1000@live.test"), "{}", known());
}

fn only_a_challenge_that_is_never_answered_is_logged() {
    let settings = [("events", "challenge_unanswered"), ("challenge-timeout", "2")];
    let site = Site::start(&params(&settings));
    for format in FORMATS {
        change_settings(&site, &[settings[0], settings[1], ("format", format)]);
        for family in [V4, V6] {
            let mut caller = site.caller(family);
            for _ in 0..50 {
                assert_eq!(caller.knock(b"silent"), Some(401));
                assert_eq!(caller.fail(b"wrong"), Some(403));
            }
            let attacker = &site.network.attacker;
            Calls { count: 20, ..Calls::one("register.xml", "1000", "secret") }
                .run(attacker, site.sip(family));
            Calls { count: 5, ..Calls::one("invite.xml", "1000", "secret") }.run(attacker, site.sip(family));
            Calls { count: 5, ..Calls::one("invite.xml", "1000", "wrong") }.run(attacker, site.sip(family));
        }
        let lines = lines(&site, 100);
        for (family, number) in [(V4, 0), (V6, 1)] {
            let ip = site.attacker(family);
            let ours: Vec<_> = lines.iter().filter(|line| line.contains(&ip.to_string())).collect();
            assert_eq!(ours.len(), 50, "{lines:#?}");
            for line in ours {
                let start = match format {
                    "classic" => format!("A challenge was never answered user[silent] ip[{ip}] at"),
                    "dated" => format!(
                        " mod_fail2ban: challenge_unanswered ip={ip} port=PORT profile=\"open{number}\" \
                         agent=\"live test\" call_id=\""
                    ),
                    _ => format!(
                        "{{\"time\":\"\",\"event\":\"challenge_unanswered\",\"ip\":\"{ip}\",\"port\":PORT,\
                         \"profile\":\"open{number}\",\"agent\":\"live test\",\"call_id\":\""
                    ),
                };
                assert!(line.starts_with(&start) && line.contains("silent"), "{line}");
            }
        }
    }
}

fn every_challenge_is_logged_where_one_asks_for_it() {
    let site = Site::start(&params(&[("events", "challenge")]));
    let mut caller = site.caller(V4);
    for _ in 0..10 {
        assert_eq!(caller.knock(b"silent"), Some(401));
        assert_eq!(caller.fail(b"wrong"), Some(403));
    }
    let ip = site.attacker(V4);
    let expected =
        ["silent", "wrong"].map(|user| format!("A registration was challenged user[{user}] ip[{ip}] at"));
    assert_eq!(lines(&site, 20), std::iter::repeat_n(expected, 10).flatten().collect::<Vec<_>>());
}

/// An event socket that is turned away is told so, and hung up on.
fn is_turned_away(site: &Site) -> bool {
    let address = site.port(V4, EVENT_SOCKET);
    let mut said = String::new();
    let stream = site.network.attacker.namespace.run(|| TcpStream::connect(address));
    stream.expect("it listens").read_to_string(&mut said).expect("it hangs up");
    said.contains("Access Denied")
}

fn what_an_acl_turns_away_is_logged_with_its_true_address() {
    let events = ("events", "acl_reject");
    let site = Site::start(&params(&[events]));
    // Sofia's settings are read once FreeSWITCH has started: until then such an address may be the text of a header.
    wait_until("sofia's settings to be read", || {
        Calls::one("invite-rejected.xml", "1000", "").run(&site.network.attacker, site.port(V4, GUARDED_SIP));
        site.log_text().contains("rejected by an ACL")
    });
    for format in FORMATS {
        change_settings(&site, &[events, ("format", format)]);
        let mut expected = Vec::new();
        for family in [V4, V6] {
            let server = site.port(family, GUARDED_SIP);
            let ip = site.attacker(family);
            assert_eq!(Caller::new(&site.network.attacker, server).knock(b"x\" ip=8.8.8.8"), Some(403));
            Calls::one("invite-rejected.xml", "1000", "").run(&site.network.attacker, server);
            expected.extend([(ip, Some("REGISTER"), "nobody"), (ip, None, "nobody")]);
        }
        assert!(is_turned_away(&site));
        expected.push((site.attacker(V4), None, "console"));
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(ip, method, acl)| match (format, method) {
                ("classic", _) => format!("A request was rejected by an ACL user[] ip[{ip}] at"),
                ("dated", Some(method)) => {
                    format!(" mod_fail2ban: acl_reject ip={ip} method={method} acl=\"{acl}\" user=\"\"")
                }
                ("dated", None) => format!(" mod_fail2ban: acl_reject ip={ip} acl=\"{acl}\" user=\"\""),
                (_, Some(method)) => format!(
                    "{{\"time\":\"\",\"event\":\"acl_reject\",\"ip\":\"{ip}\",\"method\":\"{method}\",\
                     \"acl\":\"{acl}\",\"user\":\"\"}}"
                ),
                (_, None) => format!(
                    "{{\"time\":\"\",\"event\":\"acl_reject\",\"ip\":\"{ip}\",\"acl\":\"{acl}\",\"user\":\"\"}}"
                ),
            })
            .collect();
        assert_eq!(lines(&site, 5), expected);
    }
}

fn attacks_from_a_trusted_address_are_counted_and_not_logged() {
    let events = ("events", "register_attempt,register_failure,verto_login_failure,acl_reject");
    let trusted = ("trusted-acl", "bystanders");
    let site = Site::start(&params(&[events, trusted]));
    let attack = |family: Family, peer| {
        assert_eq!(Caller::new(peer, site.sip(family)).fail(b"1000"), Some(403));
        assert_eq!(Caller::new(peer, site.port(family, GUARDED_SIP)).knock(b"1000"), Some(403));
        assert!(!verto::login(peer, site.port(family, VERTO), "1000", "wrong"));
    };
    for (round, format) in (1..).zip(FORMATS) {
        change_settings(&site, &[events, trusted, ("format", format)]);
        for family in [V4, V6] {
            attack(family, &site.network.bystander);
            attack(family, &site.network.attacker);
        }
        for line in lines(&site, 8) {
            let ip = [V4, V6].map(|family| site.attacker(family).to_string());
            assert!(ip.iter().any(|ip| line.contains(ip)), "{line}");
        }
        let signals = &site.status()["signals"];
        for kind in ["register_attempt", "register_failure", "verto_login_failure", "acl_reject"] {
            let counts = &signals[kind];
            assert_eq!(
                (&counts["trusted"], &counts["seen"]),
                (&(2 * round).into(), &(2 * round).into()),
                "{kind}"
            );
        }
    }
}
