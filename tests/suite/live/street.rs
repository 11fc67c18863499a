//! The street: ten good addresses and ten attackers, with the settings, the dialplan extension and the jail as
//! they are shipped, in FreeSWITCH's stock configuration. Afterwards the firewall is asked who is banned.

mod people;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use people::{FORGED_PHONE, MISTYPER, OFFICE, attack, attackers, good};

use super::agent::{Agent, Answer, Request};
use super::configuration::{SIP, VERTO};
use super::site::{Plan, Site};
use super::stock::{self, EXTERNAL_SIP, PASSWORD};
use super::trunk::Trunk;
use super::verto;
use crate::support::fail2ban::daemon::Daemon;
use crate::support::fail2ban::namespace::ip;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport::{self, Tcp, Udp};
use crate::support::fail2ban::network::{Namespace, Network};
use crate::support::fail2ban::{self, Fail2ban, output_of};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[needs::free_switch, needs::network, needs::nftables, stock::is_installed],
            release,
            get,
            tests![over_ipv4_and_ipv6_every_attacker_is_banned_and_nobody_else],
        );
    }
}

/// The machine that each address is the server's neighbour of.
const ATTACKERS: u8 = 1;
const NEIGHBOURS: u8 = 2;
/// A machine's first address, which it uses where it is told none.
const FIRST: u8 = 2;
/// The others: as many as are needed, and where the trunk is.
const OTHERS: std::ops::Range<u8> = 11..30;
const TRUNK: u8 = 30;

/// So many times an attacker tries, or a forger lies. Ten points make an attacker, whom the jail bans at once.
const TRIES: usize = 14;
const ATTACKER_AFTER: usize = 10;
/// A minute: the last event of an attack comes `challenge-timeout` after it.
const UNTIL_BANNED: Duration = Duration::from_secs(90);

const REGISTER: &str = "Expires: 300\r\n";
const BUSY_LAMP: &str = "Event: dialog\r\nExpires: 300\r\nAccept: application/dialog-info+xml\r\n";
const TEXT: &str = "Content-Type: text/plain\r\n";

fn address(family: Family, machine: u8, host: u8) -> IpAddr {
    match family {
        V4 => Ipv4Addr::new(10, 99, machine, host).into(),
        // The machine's link, or a household of its own: a /64 is one source.
        V6 if host == FIRST => Ipv6Addr::new(0xfd00, 0x99, 0, machine.into(), 0, 0, 0, host.into()).into(),
        V6 => Ipv6Addr::new(0xfd00, 0x99, machine.into(), host.into(), 0, 0, 0, host.into()).into(),
    }
}

/// What the firewall drops of an attacker: its address, or the first of its IPv6 network.
fn dropped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Addresses, and what is at them.
type Addresses = BTreeMap<IpAddr, &'static str>;

/// The switch, and who lives there by one address family.
struct Street<'a> {
    site: &'a Site,
    family: Family,
}

/// The switch, and the trunks that it registers with.
fn build() -> (Site, Vec<Trunk>) {
    let trunks = [V4, V6].map(|family| address(family, NEIGHBOURS, TRUNK));
    let mut running = Vec::new();
    let site = Site::stock(&Plan { trunks, ..Plan::default() }, |network, _| {
        add_addresses(network, V4);
        add_addresses(network, V6);
        running = trunks.map(|ip| Trunk::start(&network.bystander.namespace, ip)).into();
    });
    (site, running)
}

impl Street<'_> {
    fn machine(&self, machine: u8) -> &Namespace {
        let network = &self.site.network;
        if machine == ATTACKERS { &network.attacker.namespace } else { &network.bystander.namespace }
    }

    fn agent_at(&self, machine: u8, ip: IpAddr, transport: Transport, port: u16) -> Agent {
        let domain = self.site.network.attacker.server(V4).to_string();
        Agent::new(self.machine(machine), ip, transport, self.site.port(self.family, port), &domain)
    }

    fn agent(&self, machine: u8, host: u8, transport: Transport) -> Agent {
        self.agent_at(machine, address(self.family, machine, host), transport, SIP)
    }

    /// Registers, watches twelve others, its messages and somebody's presence, writes to somebody, and calls.
    fn phone(&self, host: u8, transport: Transport, account: &str) {
        let mut phone = self.agent(NEIGHBOURS, host, transport);
        let mut does = |method, to: Option<&str>, headers, body, statuses: &[u16]| {
            let (user, answer) = (account.as_bytes(), Answer::Password(PASSWORD));
            let request = Request { method, user, to, headers, body, answer, ..Request::default() };
            let replies = send_patiently(&mut phone, &request);
            assert_eq!(replies, statuses, "{account}: {method} {to:?}");
        };
        does("REGISTER", None, REGISTER, "", &[401, 200]);
        for key in 1000..1012 {
            does("SUBSCRIBE", Some(key.to_string().as_str()), BUSY_LAMP, "", &[407, 202]);
        }
        does("SUBSCRIBE", None, "Event: message-summary\r\nExpires: 300\r\n", "", &[407, 202]);
        does("SUBSCRIBE", Some("1001"), "Event: presence\r\nExpires: 300\r\n", "", &[407, 202]);
        does("MESSAGE", Some("1001"), TEXT, "hello", &[407, 202]);
        does("INVITE", Some("9196"), "", "", &[407, 200]);
    }

    fn register(&self, host: u8, account: &str, password: &str) -> Vec<u16> {
        let mut agent = self.agent(NEIGHBOURS, host, Udp);
        let (user, answer) = (account.as_bytes(), Answer::Password(password));
        agent.send(&Request { user, headers: REGISTER, answer, ..Request::default() })
    }

    /// Failures in the name of a good address. One nonce is got at the forger's own address and then used from
    /// the other, which is possible over UDP; what is answered there nobody reads. A nonce may also be invented.
    fn forge(&self, host: u8, account: &str) {
        let mut own = self.agent(ATTACKERS, FORGER, Udp);
        let request = Request { user: account.as_bytes(), headers: REGISTER, ..Request::default() };
        let challenge = own.send_for_replies(&request).pop().expect("the forger is not banned");
        let nonce = challenge.nonce().expect("a challenge");
        let mut forged = self.agent_at(ATTACKERS, address(self.family, NEIGHBOURS, host), Udp, SIP);
        for _ in 0..TRIES {
            forged.forge(&request, &nonce);
            // The name does not match, and so the nonce is not looked at.
            forged.forge(&Request { auth_user: Some("1000"), ..request }, "invented");
            // A flood would only fill the server's socket.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tries until it is done, or is no longer answered.
    fn attack(&self, host: u8, port: u16, request: impl Fn(&mut Agent, usize) -> Vec<u16>) {
        let mut agent = self.agent_at(ATTACKERS, address(self.family, ATTACKERS, host), Udp, port);
        for number in 0..TRIES {
            let replies = request(&mut agent, number);
            assert!(replies.last() != Some(&200), "an attacker got in: {replies:?}");
            if replies.is_empty() {
                return;
            }
        }
    }

    /// Whether the server still answers an address.
    fn is_answered(&self, ip: IpAddr) -> bool {
        let machine = if self.is_attacker(ip) { ATTACKERS } else { NEIGHBOURS };
        let options = Request { method: "OPTIONS", user: b"anybody", ..Request::default() };
        !self.agent_at(machine, ip, Udp, SIP).send(&options).is_empty()
    }

    fn is_attacker(&self, ip: IpAddr) -> bool {
        (0..=u8::MAX).any(|host| address(self.family, ATTACKERS, host) == ip)
    }

    fn wait_until_known(&self, ip: IpAddr) {
        // A gateway whose first REGISTER is lost tries again after half a minute.
        wait_at_most(UNTIL_BANNED, &format!("{ip} to be known"), || {
            !self.site.cli(&format!("fail2ban known {ip}")).starts_with("-ERR")
        });
    }
}

/// Whom the firewall drops.
fn banned(site: &Site) -> Vec<IpAddr> {
    let rules = output_of(site.network.server.command("nft").args(["list", "ruleset"]));
    let rules = rules.expect("the firewall tells its rules");
    let words = rules.split(|char: char| !(char.is_ascii_hexdigit() || matches!(char, '.' | ':')));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// FreeSWITCH takes so many new calls a second (`sessions-per-second`) and answers 503 to more.
fn send_patiently(agent: &mut Agent, request: &Request<'_>) -> Vec<u16> {
    for _ in 0..100 {
        let replies = agent.send(request);
        if replies.last() != Some(&503) {
            return replies;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("FreeSWITCH takes no call for ten seconds");
}

/// The forger's own address, where it gets a nonce and does nothing else.
const FORGER: u8 = 29;

/// Gives both machines their other addresses, and the attackers' those in whose names it will send.
fn add_addresses(network: &Network, family: Family) {
    let bits = if family == V4 { 32 } else { 128 };
    // nodad: an IPv6 address may be used at once. preferred_lft 0: only where it is asked for.
    let options = if family == V4 { "" } else { " nodad preferred_lft 0" };
    let add = |namespace: &Namespace, ip_address: IpAddr| {
        let name = namespace.name();
        ip(&format!("-n {name} address add {ip_address}/{bits} dev lo{options}")).expect("an address more");
    };
    for (machine, peer) in [(ATTACKERS, &network.attacker), (NEIGHBOURS, &network.bystander)] {
        for host in OTHERS.chain([TRUNK]) {
            add(&peer.namespace, address(family, machine, host));
            // The server asks for it on the link, where the kernel answers for addresses of lo, too; for IPv6
            // it does not.
            let server = network.server.name();
            let (ours, via) = (address(family, machine, host), address(family, machine, FIRST));
            ip(&format!("-n {server} route add {ours}/{bits} via {via}")).expect("a route");
        }
    }
    for host in [FORGED_PHONE, TRUNK] {
        add(&network.attacker.namespace, address(family, NEIGHBOURS, host));
    }
    // What comes in another's name comes over another link than the answer takes.
    for name in ["all", "link1", "link2"] {
        let setting = format!("net.ipv4.conf.{name}.rp_filter=0");
        output_of(network.server.command("sysctl").args(["-qw", &setting])).expect("it can be set");
    }
}

/// What the good ones do, while the others attack.
fn live(street: &Street<'_>) {
    // Everybody is registered, as on any day.
    thread::scope(|scope| {
        for (host, account) in (11..16).zip(["1001", "1002", "1003", "1004", "1005"]) {
            scope.spawn(move || street.phone(host, Udp, account));
        }
        scope.spawn(|| street.phone(FIRST, Tcp, "1006"));
        for account in ["1007", "1008", "1009"] {
            scope.spawn(move || assert_eq!(street.register(OFFICE, account, PASSWORD), [401, 200]));
        }
        scope.spawn(|| assert_eq!(street.register(FORGED_PHONE, "1011", PASSWORD), [401, 200]));
    });
    street.wait_until_known(address(street.family, NEIGHBOURS, TRUNK));
    street.wait_until_known(address(street.family, NEIGHBOURS, FORGED_PHONE));
    // And then it happens.
    thread::scope(|scope| {
        scope.spawn(|| street.phone(11, Udp, "1001"));
        scope.spawn(|| {
            for _ in 0..TRIES {
                assert_eq!(street.register(OFFICE, "1010", "the old one"), [401, 403]);
            }
        });
        scope.spawn(|| {
            for _ in 0..4 {
                assert_eq!(street.register(MISTYPER, "1012", "oops"), [401, 403]);
            }
            assert_eq!(street.register(MISTYPER, "1012", PASSWORD), [401, 200]);
        });
        scope.spawn(|| street.forge(FORGED_PHONE, "1011"));
        scope.spawn(|| street.forge(TRUNK, "1013"));
        attack(street, scope);
    });
}

fn over_ipv4_and_ipv6_every_attacker_is_banned_and_nobody_else(fail2ban: &'static Fail2ban) {
    let (site, _trunks) = build();
    let site = &site;
    let daemon = Daemon::start(fail2ban, &site.network.server, &site.log_file(), "");
    wait_until("the jail", || daemon.is_up());
    let streets = [V4, V6].map(|family| Street { site, family });
    thread::scope(|scope| {
        for street in &streets {
            scope.spawn(|| live(street));
        }
    });

    let attackers: Addresses = [V4, V6].into_iter().flat_map(attackers).collect();
    let good: Addresses = [V4, V6].into_iter().flat_map(good).collect();
    // Who is missing then is seen below.
    let until = Instant::now() + UNTIL_BANNED;
    while !attackers.keys().all(|ip| banned(site).contains(&dropped(*ip))) && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    // Nothing is to come any more, and what came has been read once a test at the log's end bans its address.
    wait_at_most(UNTIL_BANNED, "the last challenge", || {
        let status = site.status();
        status["challenges"]["waiting"] == 0 && status["look_ups"]["unconfirmed_waiting"] == 0
    });
    site.cli("fail2ban test 192.0.2.1 10");
    let marker = IpAddr::from([192, 0, 2, 1]);
    wait_until("the test to be banned", || banned(site).contains(&marker));

    let mut banned = banned(site);
    let rows = good.iter().chain(&attackers).map(|(ip, who)| {
        let state = if banned.contains(&dropped(*ip)) { "banned" } else { "free" };
        format!("{state:<7} {ip:<19} {who}")
    });
    let table = format!("{fail2ban}:\n{}", rows.collect::<Vec<_>>().join("\n"));
    println!("{table}");
    let told = || format!("{table}\n{}", site.log_text());
    let mut expected: Vec<IpAddr> = attackers.keys().map(|ip| dropped(*ip)).chain([marker]).collect();
    expected.sort();
    banned.sort();
    assert_eq!(banned, expected, "{}", told());
    for street in &streets {
        // Without known addresses these would have been banned. What is refused is not logged.
        for host in [OFFICE, FORGED_PHONE, TRUNK] {
            let ip = address(street.family, NEIGHBOURS, host);
            let failures = site.log_text().matches(&format!("register_failure ip={ip} known=yes ")).count();
            assert!(failures >= ATTACKER_AFTER, "{ip}: {failures} failures\n{}", told());
        }
        for ip in people::good(street.family).keys() {
            assert!(street.is_answered(*ip), "{ip} is not answered");
        }
        for ip in people::attackers(street.family).keys() {
            assert!(!street.is_answered(*ip), "{ip} is answered");
        }
    }
}
