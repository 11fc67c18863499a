//! FreeSWITCH behind a Kamailio in a namespace of its own, with the lines of `docs/cluster.md`; clients reach
//! FreeSWITCH through it alone.

use std::net::{IpAddr, SocketAddr};

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::kamailio::Kamailio;
use super::site::{Plan, Site};
use super::stock::PASSWORD;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Peer;
use crate::support::fail2ban::network::Transport::{self, Udp};
use crate::support::wait_until;

/// So many failures make an attacker.
pub const ATTACKER_AFTER: usize = 10;
pub const REGISTER: &str = "Expires: 300\r\n";

/// The shipped settings, with the proxy's addresses (the bystander's), and challenges that are given up soon.
fn settings() -> String {
    let shipped = include_str!("../../../conf/autoload_configs/fail2ban.conf.xml");
    let more = r#"<param name="proxy" value="10.99.2.2/32"/><param name="proxy" value="fd00:99:0:2::2/128"/>
                  <param name="challenge-timeout" value="3"/></config>"#;
    assert_eq!(shipped.matches("</config>").count(), 1);
    shipped.replace("</config>", more)
}

/// FreeSWITCH, and the proxy, which is the site's bystander; its clients reach FreeSWITCH by no other way.
pub struct Proxied {
    _kamailio: Kamailio,
    pub clients: Vec<Peer>,
    pub site: Site,
}

impl Proxied {
    /// With this many clients, and a proxy that does this first and talks to FreeSWITCH so.
    pub fn start(clients: u8, first: &str, to: Transport) -> Proxied {
        let site = site();
        let proxy = &site.network.bystander;
        let clients = (3..3 + clients).map(|link| {
            let client = Peer::new("client", link, &proxy.namespace).expect("a machine more");
            client.add_default_routes();
            client
        });
        let clients = clients.collect();
        let listen = [V4, V6].map(|family| proxy.address(family));
        let free_switch = [V4, V6].map(|family| site.network.attacker.server(family));
        let kamailio = Kamailio::start(&proxy.namespace, &listen, free_switch, to, first);
        let proxied = Proxied { _kamailio: kamailio, clients, site };
        wait_until("kamailio", || proxied.is_answered(0, V4));
        proxied
    }

    /// A client.
    pub fn agent(&self, client: usize, family: Family, transport: Transport) -> Agent {
        let server = SocketAddr::new(self.proxy(family), SIP);
        let client = &self.clients[client];
        Agent::new(&client.namespace, client.address(family), transport, server, &domain(&self.site))
    }

    /// Whether FreeSWITCH answers a client.
    pub fn is_answered(&self, client: usize, family: Family) -> bool {
        let options = Request { method: "OPTIONS", user: b"anybody", ..Request::default() };
        !self.agent(client, family, Udp).send(&options).is_empty()
    }

    pub fn proxy(&self, family: Family) -> IpAddr {
        self.site.network.bystander.address(family)
    }

    /// Registers, watches another, writes to it and calls.
    pub fn phone(&self, client: usize, family: Family, transport: Transport, account: &str) {
        let mut phone = self.agent(client, family, transport);
        let mut does = |method, to, headers, body, statuses: &[u16]| {
            let (user, answer) = (account.as_bytes(), Answer::Password(PASSWORD));
            let request = Request { method, user, to, headers, body, answer, ..Request::default() };
            assert_eq!(
                send_patiently(&mut phone, &request),
                statuses,
                "{account}: {method}\n{}",
                self.site.log_text()
            );
        };
        does("REGISTER", None, REGISTER, "", &[401, 200]);
        does("SUBSCRIBE", Some("1009"), "Event: dialog\r\nExpires: 300\r\n", "", &[407, 202]);
        does("MESSAGE", Some("1009"), "Content-Type: text/plain\r\n", "hello", &[407, 202]);
        does("INVITE", Some("9196"), "", "", &[407, 200]);
    }

    /// The proxy is not known, is not an attacker, and no line has its address in a client's place.
    pub fn nothing_is_said_of_the_proxy(&self) {
        let text = self.site.log_text();
        for family in [V4, V6] {
            let proxy = self.proxy(family);
            assert!(self.site.cli(&format!("fail2ban known {proxy}")).starts_with("-ERR"), "{proxy}");
            let why = self.site.cli(&format!("fail2ban why {proxy}"));
            assert!(why.contains("a proxy, which is never judged itself"), "{why}");
            for place in ["attacker source=", "register_failure ip="] {
                assert!(!text.contains(&format!("{place}{proxy} ")), "{text}");
            }
        }
    }
}

pub fn domain(site: &Site) -> String {
    site.network.attacker.server(V4).to_string()
}

pub fn site() -> Site {
    Site::stock(&Plan { fail2ban_conf: &settings(), ..Plan::default() }, |_, _| ())
}

pub fn settle(site: &Site) {
    wait_until("what waits for an answer", || {
        let status = site.status();
        status["challenges"]["waiting"] == 0
            && status["look_ups"]["unconfirmed_waiting"] == 0
            && status["waiting_bytes"] == 0
    });
}

/// Those that are attackers now.
pub fn attackers(site: &Site) -> Vec<String> {
    let status = site.status();
    let list = status["attackers"].as_array().unwrap_or_else(|| panic!("{status}"));
    let mut list: Vec<_> =
        list.iter().map(|one| one["ip"].as_str().expect("an address").to_owned()).collect();
    list.sort();
    list
}

pub fn register<'a>(account: &'a str, headers: &'a str, password: &'a str) -> Request<'a> {
    Request { user: account.as_bytes(), headers, answer: Answer::Password(password), ..Request::default() }
}

/// FreeSWITCH takes so many new calls a second and answers 503 to more, of which Kamailio makes 500.
pub fn send_patiently(agent: &mut Agent, request: &Request<'_>) -> Vec<u16> {
    let mut replies = Vec::new();
    wait_until("the call to be taken", || {
        replies = agent.send(request);
        replies.last() != Some(&500)
    });
    replies
}
