//! Phones and attackers behind a proxy: who is refused, named and banned, and who is not.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::agent::{Answer, Request};
use super::configuration::SIP;
use super::guesser::assert_refused;
use super::kamailio::PASSES_CLIENT_ON;
use super::proxied::{ATTACKER_AFTER, Proxied, REGISTER, attackers, register, send_patiently, settle};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::daemon::Daemon;
use crate::support::fail2ban::network::Family::{V4, V6};
use crate::support::fail2ban::network::Transport::{self, Tcp, Udp};
use crate::support::fail2ban::{self, Fail2ban};
use crate::support::needs;
use crate::support::rsyslog::{Rsyslog, rsyslog};
use crate::support::suite::{Suite, tests};
use crate::support::{wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::kamailio];
    suite.add(
        &needs,
        tests![
            over_udp_the_attacker_is_refused_and_named_and_the_phones_and_the_proxy_are_not,
            over_tcp_the_attacker_is_refused_and_named_and_the_phones_and_the_proxy_are_not,
            what_shows_no_client_counts_for_nobody,
            messages_of_phones_excuse_no_guesser_behind_the_same_proxy,
        ],
    );
    for (release, get) in fail2ban::STABLE {
        suite.add_with(
            &[&needs[..], &[needs::nftables, needs::rsyslog]].concat(),
            release,
            get,
            tests![the_proxy_drops_whom_the_shipped_log_names],
        );
    }
}

fn over_udp_the_attacker_is_refused_and_named_and_the_phones_and_the_proxy_are_not() {
    the_attacker_is_refused_and_named(Udp, Udp);
}

fn over_tcp_the_attacker_is_refused_and_named_and_the_phones_and_the_proxy_are_not() {
    the_attacker_is_refused_and_named(Tcp, Tcp);
}

/// The clients: five phones, somebody who guesses, and somebody who mistypes.
const PHONES: usize = 5;
const GUESSES: usize = 5;
const MISTYPES: usize = 6;

fn the_attacker_is_refused_and_named(transport: Transport, to: Transport) {
    let proxied = Proxied::start(7, PASSES_CLIENT_ON, to);
    let site = &proxied.site;
    let address = |client: usize, family| proxied.clients[client].address(family);
    let all_phones = || {
        for family in [V4, V6] {
            for client in 0..PHONES {
                proxied.phone(client, family, transport, &format!("101{client}"));
            }
        }
    };
    all_phones();
    for (client, family) in (0..PHONES).flat_map(|client| [(client, V4), (client, V6)]) {
        let command = format!("fail2ban known {}", address(client, family));
        wait_until("the phone to be known", || !site.cli(&command).starts_with("-ERR"));
    }
    for (family, account) in [(V4, "1016"), (V6, "1017")] {
        let mut agent = proxied.agent(GUESSES, family, transport);
        for _ in 0..ATTACKER_AFTER {
            assert_eq!(agent.send(&register(account, REGISTER, "guess")), [401, 403]);
        }
        assert_refused(&mut agent, account, PASSWORD);
        // One failure less, and the right password is right.
        let mut agent = proxied.agent(MISTYPES, family, transport);
        for _ in 0..ATTACKER_AFTER - 1 {
            assert_eq!(agent.send(&register("1018", REGISTER, "guess")), [401, 403]);
        }
        assert_eq!(agent.send(&register("1018", REGISTER, PASSWORD)), [401, 200]);
    }
    let found = || site.log_text().matches(" mod_fail2ban: attacker ").count();
    wait_until("two attackers", || found() == 2);
    all_phones();
    settle(site);

    let text = site.log_text();
    for family in [V4, V6] {
        let (proxy, ip) = (proxied.proxy(family), address(GUESSES, family));
        let source = if family == V4 { ip.to_string() } else { proxied.clients[GUESSES].network() };
        let line = format!(" attacker source={source} ip={ip} via={proxy} known=no ");
        assert_eq!(text.matches(&line).count(), 1, "{line}\n{text}");
        for (client, failures) in [(GUESSES, ATTACKER_AFTER), (MISTYPES, ATTACKER_AFTER - 1)] {
            let line = format!(" register_failure ip={} via={proxy} known=no ", address(client, family));
            assert_eq!(text.matches(&line).count(), failures, "{line}\n{text}");
        }
    }
    assert_eq!(found(), 2, "{text}");
    assert_eq!(text.matches(" register_failure ").count(), 4 * ATTACKER_AFTER - 2, "{text}");
    let expected: Vec<_> = [V4, V6].map(|family| address(GUESSES, family).to_string()).into();
    assert_eq!(attackers(site), expected);
    proxied.nothing_is_said_of_the_proxy();
}

/// FreeSWITCH waits half a minute for credentials of a call.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

fn what_shows_no_client_counts_for_nobody() {
    let proxied = Proxied::start(1, PASSES_CLIENT_ON, Udp);
    let site = &proxied.site;
    let mut agent = proxied.agent(0, V4, Udp);
    for _ in 0..2 * ATTACKER_AFTER {
        // A challenge that is not answered, a call to a number that is not there, and one that is abandoned.
        assert_eq!(agent.send(&Request { user: b"1001", headers: REGISTER, ..Request::default() }), [401]);
        let call = Request { method: "INVITE", user: b"x", ..Request::default() };
        let nowhere = Request { to: Some("00441234567890"), ..call };
        assert_eq!(send_patiently(&mut agent, &nowhere), [480]);
        assert_eq!(send_patiently(&mut agent, &Request { to: Some("1001"), ..call }), [407]);
    }
    for event in ["call_to_nowhere", "wrong_call_state"] {
        wait_at_most(ABANDONED_AFTER, event, || {
            site.status()["signals"][event]["no_address"] == 2 * ATTACKER_AFTER
        });
    }
    settle(site);
    assert_eq!(site.log_text().lines().count(), 1, "{}", site.log_text());
    assert_eq!(attackers(site), [""; 0], "{}", site.log_text());
    proxied.nothing_is_said_of_the_proxy();
}

/// FreeSWITCH shows that it has accepted a MESSAGE, by the proxy's address and port, which all clients share.
fn messages_of_phones_excuse_no_guesser_behind_the_same_proxy() {
    let proxied = Proxied::start(4, PASSES_CLIENT_ON, Udp);
    let site = &proxied.site;
    let message = Request {
        method: "MESSAGE",
        to: Some("1009"),
        headers: "Content-Type: text/plain\r\n",
        body: "x",
        ..Request::default()
    };
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let proxied = &proxied;
        let is_over = &is_over;
        let phones: Vec<_> = (1..4)
            .map(|phone| {
                scope.spawn(move || {
                    let account = format!("101{phone}");
                    let mut agent = proxied.agent(phone, V4, Udp);
                    let mut sent = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let (user, answer) = (account.as_bytes(), Answer::Password(PASSWORD));
                        let replies = agent.send(&Request { user, answer, ..message });
                        assert_eq!(replies, [407, 202]);
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        let guesser = scope.spawn(move || {
            let mut agent = proxied.agent(0, V4, Udp);
            for _ in 0..60 {
                let (user, answer) = (&b"1016"[..], Answer::Password("guess"));
                assert_eq!(agent.send(&Request { user, answer, ..message }), [407, 401]);
            }
        });
        guesser.join().expect("the guesser");
        is_over.store(true, Ordering::Relaxed);
        phones.into_iter().map(|phone| phone.join().expect("a phone")).collect::<Vec<u32>>()
    });
    settle(site);
    let text = site.log_text();
    let of = |client: usize, event: &str| {
        let ip = proxied.clients[client].address(V4);
        text.matches(&format!(" mod_fail2ban: {event} ip={ip} ")).count()
    };
    assert!(of(0, "auth_unconfirmed") >= ATTACKER_AFTER, "{text}");
    assert!(sent.iter().all(|sent| *sent > 43), "{sent:?}");
    for phone in 1..4 {
        assert_eq!(of(phone, "auth_unconfirmed"), 0, "{text}");
    }
    assert_eq!(attackers(site), [proxied.clients[0].address(V4).to_string()], "{text}");
}

/// The log goes to the proxy as `docs/cluster.md` has it; a fail2ban there reads it.
fn the_proxy_drops_whom_the_shipped_log_names(fail2ban: &'static Fail2ban) {
    let rsyslog = rsyslog().expect("rsyslog");
    let proxied = Proxied::start(2, PASSES_CLIENT_ON, Udp);
    let site = &proxied.site;
    let folder = TempDir::with_prefix("proxy-").expect("a temporary folder");
    let arrived = folder.path().join("arrived");
    let proxy = &site.network.bystander.namespace;
    let _receiver = Rsyslog::start(
        &rsyslog,
        &proxy.within(),
        &folder.path().join("receiver"),
        "freeswitch-fail2ban-receive.conf",
        &[("/var/log/freeswitch-fail2ban/", &format!("{}/", arrived.display()))],
    );
    let _sender = Rsyslog::start(
        &rsyslog,
        &site.network.server.within(),
        &folder.path().join("sender"),
        "freeswitch-fail2ban-send.conf",
        &[
            ("/var/log/freeswitch/fail2ban.log", site.log_file().to_str().expect("a name")),
            ("loghost.example", &proxied.proxy(V4).to_string()),
            ("action.resumeInterval=\"5\"", "action.resumeInterval=\"1\""),
        ],
    );
    // Named by FreeSWITCH's address on the link between both.
    let log = arrived.join(format!("{}.log", site.network.bystander.server(V4)));
    wait_until("the first line", || log.exists());
    let daemon = Daemon::start(fail2ban, proxy, &arrived.join("*.log"), "");
    wait_until("the jail", || daemon.is_up());

    for (client, family) in [(0, V4), (0, V6), (1, V4), (1, V6)] {
        assert!(proxied.is_answered(client, family), "{client} {family:?}");
    }
    for family in [V4, V6] {
        let mut agent = proxied.agent(0, family, Udp);
        for _ in 0..ATTACKER_AFTER {
            assert_eq!(agent.send(&register("1016", REGISTER, "guess")), [401, 403]);
        }
    }
    let attacker = &proxied.clients[0];
    wait_until("two bans", || daemon.banned().lines().count() == 2);
    let banned = daemon.banned();
    for source in [attacker.address(V4).to_string(), attacker.network()] {
        assert!(banned.contains(&format!("{source} ")), "{banned}");
    }
    for family in [V4, V6] {
        // fail2ban tells of a ban before the firewall has it.
        wait_until("the packets to be dropped", || !proxied.is_answered(0, family));
        let server = SocketAddr::new(proxied.proxy(family), SIP);
        let connected = |client: usize| {
            let place = &proxied.clients[client].namespace;
            place.run(|| TcpStream::connect_timeout(&server, Duration::from_secs(2)).is_ok())
        };
        assert!(!connected(0) && connected(1), "{family:?}");
        proxied.phone(1, family, Udp, "1011");
    }
    let text = std::fs::read_to_string(&log).expect("what has arrived");
    assert_eq!(text, site.log_text());
}
