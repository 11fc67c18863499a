//! Behind a proxy: the header that tells the client's address, forged, left out and misspelt.

use std::net::IpAddr;
use std::time::Duration;

use super::agent::Agent;
use super::configuration::SIP;
use super::kamailio::PASSES_CLIENT_ON;
use super::proxied::{ATTACKER_AFTER, Proxied, REGISTER, attackers, domain, register, settle, site};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::V4;
use crate::support::fail2ban::network::Transport::Udp;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::wait_until;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::kamailio];
    suite.add(&needs, tests![whatever_a_client_writes_its_own_address_counts]);
    suite.add(
        &needs[..3],
        tests![
            the_header_of_anybody_else_means_nothing,
            of_two_headers_the_last_counts,
            a_header_that_is_not_one_address_counts_for_nobody,
        ],
    );
}

/// Somebody else's address, in ways that FreeSWITCH might read and the proxy might not.
const FORGERIES: [&str; 22] = [
    "X-AUTH-IP: 203.0.113.9\r\n",
    "x-auth-ip: 203.0.113.9\r\n",
    "X-Auth-Ip:203.0.113.9\r\n",
    "X-AUTH-IP : 203.0.113.9\r\n",
    "X-AUTH-IP\t: 203.0.113.9\r\n",
    "X-AUTH-IP:\r\n 203.0.113.9\r\n",
    "X-AUTH-IP\r\n : 203.0.113.9\r\n",
    "X-AUTH-IP: 203.0.113.9\r\nX-AUTH-IP: 203.0.113.9\r\n",
    "X-A: b\r\n\tX-AUTH-IP: 203.0.113.9\r\nX-AUTH-IP: 203.0.113.9, 203.0.113.9\r\n",
    "X-A: ARRAY::a|:b\r\nX-AUTH-IP: ARRAY::203.0.113.9|:203.0.113.9\r\n",
    "X-A: b\nX-AUTH-IP: 203.0.113.9\r\n",
    "X-A: b\rX-AUTH-IP: 203.0.113.9\r\n",
    "X-A: b\rX-AUTH-IP: 203.0.113.9\r\r\n",
    "X-A: b\r X-AUTH-IP: 203.0.113.9\r\rX-B: c\r\n",
    "X-A: b\rX-AUTH-IP: 203.0.113.9\r\rX-B: c\r\n",
    "X-A: b\n\rX-AUTH-IP: 203.0.113.9\n\r\n",
    "X-A: b\0\rX-AUTH-IP: 203.0.113.9\r\rX-B: c\r\n",
    "X-A: b\0X-AUTH-IP: 203.0.113.9\0\0X-B: c\r\n",
    "X-A: b\r\n\0\r\nX-AUTH-IP: 203.0.113.9\r\n",
    "X-AUTH-IP\0: 203.0.113.9\r\n",
    "X-AUTH-IP: 203.0.113.9\nX-A: b\r\n",
    "X-AUTH-IP: 203.0.113.9\r\nX-AUTH-IP\x0b: 203.0.113.9\r\n",
];

fn whatever_a_client_writes_its_own_address_counts() {
    whatever_a_client_writes(PASSES_CLIENT_ON);
    // Of two headers FreeSWITCH shows the last alone. Where the proxy's comes first, what it removes counts.
    whatever_a_client_writes(&PASSES_CLIENT_ON.replace("append_hf", "insert_hf"));
}

fn whatever_a_client_writes(first: &str) {
    let proxied = Proxied::start(1, first, Udp);
    let site = &proxied.site;
    let ip = proxied.clients[0].address(V4);
    let lines = || site.log_text().matches(" register_failure ").count();
    for headers in FORGERIES {
        let before = lines();
        let mut agent = proxied.agent(0, V4, Udp);
        // Some are dropped.
        agent.patience = Duration::from_secs(2);
        let headers = format!("{headers}{REGISTER}");
        let replies = agent.send(&register("1016", &headers, "guess"));
        let failures = usize::from(replies == [401, 403]);
        wait_until(&format!("the failure of {headers:?}"), || lines() == before + failures);
        site.cli(&format!("fail2ban forgive {ip}"));
    }
    let text = site.log_text();
    assert_eq!(text.matches(&format!(" register_failure ip={ip} via=")).count(), lines(), "{text}");
    assert!(lines() >= 10 && !text.contains("203.0.113.9"), "{text}");
    let why = site.cli("fail2ban why 203.0.113.9");
    assert!(why.contains(" 0 of 10 points"), "{why}");
    assert!(!site.host_log().contains("passes credentials on without"));
}

/// A machine that is not in `proxy`, with a phone's address in the header.
fn the_header_of_anybody_else_means_nothing() {
    let site = site();
    let (phone, stranger) = (IpAddr::from([10, 99, 3, 11]), &site.network.attacker);
    let ip = stranger.address(V4);
    let mut agent = Agent::new(&stranger.namespace, ip, Udp, site.port(V4, SIP), &domain(&site));
    let headers = format!("X-AUTH-IP: {phone}\r\n{REGISTER}");
    for _ in 0..ATTACKER_AFTER {
        assert_eq!(agent.send(&register("1016", &headers, "guess")), [401, 403]);
    }
    assert_eq!(agent.send(&register("1016", &headers, PASSWORD)), [401, 403]);
    let text = site.wait_for_lines(ATTACKER_AFTER + 1).join("\n");
    assert_eq!(attackers(&site), [ip.to_string()]);
    assert!(text.contains(&format!(" attacker source={ip} ip={ip} known=no ")), "{text}");
    let failure = format!(" register_failure ip={ip} known=no ");
    assert_eq!(text.matches(&failure).count(), ATTACKER_AFTER, "{text}");
    assert!(!text.contains(" via=") && !text.contains(&phone.to_string()), "{text}");
    let why = site.cli(&format!("fail2ban why {phone}"));
    assert!(why.contains(" 0 of 10 points"), "{why}");
}

/// So the proxy has to remove what clients send, or to write its own behind it.
fn of_two_headers_the_last_counts() {
    let site = site();
    let proxy = &site.network.bystander;
    let server = site.port(V4, SIP);
    let mut agent = Agent::new(&proxy.namespace, proxy.address(V4), Udp, server, &domain(&site));
    let headers = format!("X-AUTH-IP: 10.99.3.11\r\nX-AUTH-IP: 10.99.3.12\r\n{REGISTER}");
    for _ in 0..ATTACKER_AFTER {
        assert_eq!(agent.send(&register("1016", &headers, "guess")), [401, 403]);
    }
    wait_until("an attacker", || !attackers(&site).is_empty());
    assert_eq!(attackers(&site), ["10.99.3.12"]);
}

/// From the proxy itself, one that is set up badly.
fn a_header_that_is_not_one_address_counts_for_nobody() {
    let site = site();
    let proxy = &site.network.bystander;
    let ip = proxy.address(V4);
    let server = site.port(V4, SIP);
    for header in [
        "",
        "X-AUTH-IP: 10.99.3.11, 10.99.3.12\r\n",
        "X-AUTH-IP: 10.99.3.11 10.99.3.12\r\n",
        "X-AUTH-IP: 10.99.3.11:5060\r\n",
        "X-AUTH-IP: [fd00:99:0:3::11]\r\n",
        "X-AUTH-IP: <10.99.3.11>\r\n",
        "X-AUTH-IP: phone.example\r\n",
        "X-AUTH-IP: 10.99.3\r\n",
        "X-AUTH-IP: 10.99.3.011\r\n",
        "X-AUTH-IP: \r\n",
        "X-AUTH-IP: 10.99.2.2\r\n",
        "X-AUTH-IP: ARRAY::10.99.3.11|:10.99.3.11\r\n",
    ] {
        let mut agent = Agent::new(&proxy.namespace, ip, Udp, server, &domain(&site));
        let headers = format!("{header}{REGISTER}");
        for _ in 0..ATTACKER_AFTER + 2 {
            assert_eq!(agent.send(&register("1016", &headers, "guess")), [401, 403], "{header}");
        }
        // Nobody is refused.
        assert_eq!(agent.send(&register("1016", &headers, PASSWORD)), [401, 200], "{header}");
    }
    settle(&site);
    assert!(site.cli("fail2ban known").ends_with("\n0 known"));
    assert_eq!(site.log_text().lines().count(), 1, "{}", site.log_text());
    assert_eq!(attackers(&site), [""; 0], "{}", site.log_text());
    let warnings = site.host_log().matches("passes credentials on without one address").count();
    assert_eq!(warnings, 1);
}
