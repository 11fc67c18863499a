//! Attempts with credentials, good and bad: each method, way and address family.

use std::net::IpAddr;
use std::path::Path;

use super::addresses::{self, Side};
use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::site::{Plan, Site};
use crate::support::fail2ban::network::Family::{V4, V6};
use crate::support::fail2ban::network::Network;
use crate::support::fail2ban::network::Transport::{Tcp, Udp};

/// Where the stock profile listens for TLS.
const TLS: u16 = SIP + 1;

/// The way of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Udp,
    Tcp,
    Tls,
}

pub const WAYS: [Way; 3] = [Way::Udp, Way::Tcp, Way::Tls];

/// A method whose credentials can be refused, the status of a right password, and that of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub name: &'static str,
    pub to: Option<&'static str>,
    pub headers: &'static str,
    pub body: &'static str,
    pub accepted: u16,
    pub refused: u16,
}

pub const REGISTER: Method =
    Method { name: "REGISTER", to: None, headers: "Expires: 300\r\n", body: "", accepted: 200, refused: 403 };
pub const INVITE: Method =
    Method { name: "INVITE", to: Some("9196"), headers: "", body: "", accepted: 200, refused: 403 };
pub const SUBSCRIBE: Method = Method {
    name: "SUBSCRIBE",
    to: Some("1001"),
    headers: "Event: dialog\r\nExpires: 300\r\n",
    body: "",
    accepted: 202,
    refused: 401,
};
pub const MESSAGE: Method = Method {
    name: "MESSAGE",
    to: Some("1001"),
    headers: "Content-Type: text/plain\r\n",
    body: "hello",
    accepted: 202,
    refused: 401,
};

pub const METHODS: [Method; 4] = [REGISTER, INVITE, SUBSCRIBE, MESSAGE];

impl Method {
    /// A request of a user's.
    pub fn of<'a>(self, user: &'a str, answer: Answer<'a>) -> Request<'a> {
        let Method { name: method, to, headers, body, .. } = self;
        Request { method, user: user.as_bytes(), to, headers, body, answer, ..Request::default() }
    }
}

/// By each method, the right password is refused after its challenge.
pub fn assert_refused(agent: &mut Agent, user: &str, password: &str) {
    for method in METHODS {
        let challenged = if method.name == "REGISTER" { 401 } else { 407 };
        let statuses = agent.send(&method.of(user, Answer::Password(password)));
        assert_eq!(statuses, [challenged, method.refused], "{}", method.name);
    }
}

/// FreeSWITCH's stock configuration with TLS, and with the machines' further addresses. `prepare` as in [`Site::stock`].
pub fn site(plan: &Plan<'_>, prepare: impl FnOnce(&Network, &Path)) -> Site {
    Site::stock(plan, |network, conf| {
        addresses::add(network);
        let path = conf.join("vars.xml");
        let text = std::fs::read_to_string(&path).expect("the stock variables");
        let text = text.replace("internal_ssl_enable=false", "internal_ssl_enable=true");
        std::fs::write(path, text).expect("they can be written");
        prepare(network, conf);
    })
}

/// A user agent at an address. Over TCP it has the machine's own.
pub fn agent(site: &Site, side: Side, way: Way, ip: IpAddr) -> Agent {
    let family = if ip.is_ipv4() { V4 } else { V6 };
    let place = &side.peer(&site.network).namespace;
    let domain = site.network.attacker.server(V4).to_string();
    match way {
        Way::Udp => Agent::new(place, ip, Udp, site.port(family, SIP), &domain),
        Way::Tcp => Agent::new(place, ip, Tcp, site.port(family, SIP), &domain),
        Way::Tls => Agent::over_tls(place, ip, site.port(family, TLS), &domain),
    }
}

/// The last status of one attempt from a port of its own: `None` where nothing is answered.
pub fn attempt(
    site: &Site,
    from: (Side, IpAddr),
    way: Way,
    method: Method,
    user: &str,
    password: &str,
) -> Option<u16> {
    let mut agent = agent(site, from.0, way, from.1);
    agent.send(&method.of(user, Answer::Password(password))).last().copied()
}

/// The same by REGISTER over UDP.
pub fn register(site: &Site, from: (Side, IpAddr), user: &str, password: &str) -> Option<u16> {
    attempt(site, from, Way::Udp, REGISTER, user, password)
}
