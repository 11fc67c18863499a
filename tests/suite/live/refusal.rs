//! Whose credentials FreeSWITCH refuses, whatever the password: each method, transport and address family.

use std::net::SocketAddr;

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::site::{Plan, Site};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::{Peer, Transport};
use crate::support::needs;
use crate::support::suite::{Suite, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::openssl];
    suite.add(&needs, tests![a_right_password_is_accepted_by_every_method_over_every_transport]);
}

/// Where the stock profile listens for TLS.
const TLS: u16 = SIP + 1;

/// The way of a request.
#[derive(Clone, Copy, Debug)]
enum Way {
    Plain(Transport),
    Tls,
}

const WAYS: [Way; 3] = [Way::Plain(Transport::Udp), Way::Plain(Transport::Tcp), Way::Tls];

/// A method whose credentials can be refused, the status of a right password, and that of a refusal.
#[derive(Clone, Copy, Debug)]
struct Method {
    name: &'static str,
    headers: &'static str,
    accepted: u16,
    refused: u16,
}

const METHODS: [Method; 4] = [
    Method { name: "REGISTER", headers: "Expires: 300\r\n", accepted: 200, refused: 403 },
    Method { name: "INVITE", headers: "", accepted: 200, refused: 403 },
    Method { name: "SUBSCRIBE", headers: "Event: dialog\r\nExpires: 300\r\n", accepted: 202, refused: 401 },
    Method { name: "MESSAGE", headers: "Content-Type: text/plain\r\n", accepted: 202, refused: 401 },
];

/// FreeSWITCH's stock configuration with TLS and these `<param …/>`s for the module.
fn site(params: &str) -> Site {
    let fail2ban_conf = &crate::support::configuration(params);
    Site::stock(&Plan { fail2ban_conf, ..Plan::default() }, |_, conf| {
        let path = conf.join("vars.xml");
        let text = std::fs::read_to_string(&path).expect("the stock variables");
        let text = text.replace("internal_ssl_enable=false", "internal_ssl_enable=true");
        std::fs::write(path, text).expect("they can be written");
    })
}

/// The last status of one attempt with these credentials, from a port of its own.
fn attempt(
    site: &Site,
    from: (&Peer, Family),
    way: Way,
    method: Method,
    user: &str,
    password: &str,
) -> Option<u16> {
    let (peer, family) = from;
    let (domain, ip) = (site.network.attacker.server(V4).to_string(), peer.address(family));
    let server = |port| -> SocketAddr { site.port(family, port) };
    let mut agent = match way {
        Way::Plain(transport) => Agent::new(&peer.namespace, ip, transport, server(SIP), &domain),
        Way::Tls => Agent::over_tls(&peer.namespace, ip, server(TLS), &domain),
    };
    let to = match method.name {
        "REGISTER" => None,
        "INVITE" => Some("9196"),
        _ => Some("1001"),
    };
    agent
        .send(&Request {
            method: method.name,
            user: user.as_bytes(),
            to,
            headers: method.headers,
            body: if method.name == "MESSAGE" { "hello" } else { "" },
            answer: Answer::Password(password),
            ..Request::default()
        })
        .last()
        .copied()
}

fn a_right_password_is_accepted_by_every_method_over_every_transport() {
    let site = site("");
    for family in [V4, V6] {
        for way in WAYS {
            for method in METHODS {
                let from = (&site.network.bystander, family);
                let right = attempt(&site, from, way, method, "1002", PASSWORD);
                assert_eq!(right, Some(method.accepted), "{method:?} {way:?} {family:?}");
                let wrong = attempt(&site, from, way, method, "1002", "guess");
                assert_eq!(wrong, Some(method.refused), "{method:?} {way:?} {family:?}");
            }
        }
    }
}
