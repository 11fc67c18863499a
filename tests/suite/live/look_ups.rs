//! Credentials that FreeSWITCH tells nobody of: SUBSCRIBE and MESSAGE, transports, directories that hide them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::site::{Plan, Site, XML_CURL};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport::{self, Tcp, Udp};
use crate::support::fail2ban::network::{Namespace, Peer};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed];
    suite.add(
        &needs,
        tests![
            a_good_client_is_never_accused_and_each_wrong_password_is,
            each_probe_with_made_up_credentials_counts,
            a_transport_is_proven_or_not_told,
            the_stock_user_without_a_password_makes_nobody_known,
        ],
    );
    let needs = [needs::free_switch, needs::network, stock::is_installed, stock::has_xml_curl];
    suite.add(
        &needs,
        tests![
            behind_xml_curl_that_is_loaded_later_nothing_is_hidden_but_cached_users,
            six_phones_of_a_directory_that_takes_seven_seconds_are_not_accused,
            behind_xml_curl_that_is_loaded_first_all_is_hidden_and_no_good_client_is_accused,
        ],
    );
}

/// All event types, and no address is ever known: so nobody is spared.
const PARAMS: &str = r#"<param name="format" value="dated"/><param name="challenge-timeout" value="12"/>
    <param name="events" value="register_attempt,register_failure,challenge_unanswered,auth_unconfirmed"/>"#;

const REGISTER: &str = "Expires: 300\r\n";

fn agent(site: &Site, from: &Peer, family: Family, transport: Transport) -> Agent {
    let domain = site.network.attacker.server(V4).to_string();
    Agent::new(&from.namespace, from.address(family), transport, site.port(family, SIP), &domain)
}

/// Waits until nothing is left that an accusation could come of.
fn settle(site: &Site) {
    wait_until("what waits for an answer", || {
        let status = site.status();
        status["challenges"]["waiting"] == 0
            && status["look_ups"]["unconfirmed_waiting"] == 0
            && status["waiting_bytes"] == 0
    });
}

/// How many lines there are of an event type, of one of the machines.
fn count(site: &Site, event: &str, peer: &Peer, family: Family) -> usize {
    let start = format!(" mod_fail2ban: {event} ip={} ", peer.address(family));
    site.log_text().matches(&start).count()
}

/// What shows a success of its own: method, to, headers, body.
const SHOWN: [(&str, &str, &str, &str); 6] = [
    ("SUBSCRIBE", "1001", "Event: dialog\r\nExpires: 300\r\n", ""),
    ("SUBSCRIBE", "1001", "Event: presence\r\nExpires: 300\r\n", ""),
    ("SUBSCRIBE", "1002", "Event: message-summary\r\nExpires: 300\r\n", ""),
    ("SUBSCRIBE", "1002", "Event: as-feature-event\r\nExpires: 300\r\n", ""),
    ("SUBSCRIBE", "3001", "Event: conference\r\nExpires: 300\r\n", ""),
    ("MESSAGE", "1001", "Content-Type: text/plain\r\n", "hello"),
];

/// What shows none, so that only a client that was accepted before can be told from an attacker.
const NOT_SHOWN: [(&str, &str, &str, &str); 5] = [
    ("SUBSCRIBE", "1003", "Event: call-info\r\nExpires: 300\r\n", ""),
    (
        "SUBSCRIBE",
        "1003",
        "Event: line-seize\r\nExpires: 15\r\nCall-Info: <sip:x>;appearance-index=1\r\n",
        "",
    ),
    ("SUBSCRIBE", "1003", "Event: dialog;sla\r\nExpires: 300\r\n", ""),
    ("SUBSCRIBE", "1002", "Event: message-summary\r\nExpires: 0\r\n", ""),
    ("MESSAGE", "1001", "Content-Type: application/im-iscomposing+xml\r\n", "<isComposing/>"),
];

fn send_all(agent: &mut Agent, requests: &[(&str, &str, &str, &str)], password: &str, last: u16) {
    for &(method, to, headers, body) in requests {
        let answer = Answer::Password(password);
        let request =
            Request { method, user: b"1002", to: Some(to), headers, body, answer, ..Request::default() };
        assert_eq!(agent.send(&request).last(), Some(&last), "{method} {headers:?}");
    }
}

fn a_good_client_is_never_accused_and_each_wrong_password_is() {
    let site = Site::stock(&Plan { fail2ban_conf: &configuration(PARAMS), ..Plan::default() }, |_, _| ());
    let (good, bad) = (&site.network.bystander, &site.network.attacker);
    for family in [V4, V6] {
        for transport in [Udp, Tcp] {
            // It never registers, as a program may that only sends messages.
            let mut client = agent(&site, good, family, transport);
            send_all(&mut client, &SHOWN, PASSWORD, 202);
            send_all(&mut client, &NOT_SHOWN, PASSWORD, 202);
        }
        for requests in [&SHOWN[..], &NOT_SHOWN[..]] {
            send_all(&mut agent(&site, bad, family, Udp), requests, "guess", 401);
        }
    }
    settle(&site);
    for family in [V4, V6] {
        for event in ["auth_unconfirmed", "challenge_unanswered"] {
            assert_eq!(count(&site, event, good, family), 0, "{}", site.log_text());
        }
        let guesses = SHOWN.len() + NOT_SHOWN.len();
        assert_eq!(count(&site, "auth_unconfirmed", bad, family), guesses, "{}", site.log_text());
        assert_eq!(count(&site, "challenge_unanswered", bad, family), 0, "{}", site.log_text());
    }
}

fn each_probe_with_made_up_credentials_counts() {
    let site = Site::stock(&Plan { fail2ban_conf: &configuration(PARAMS), ..Plan::default() }, |_, _| ());
    let bad = &site.network.attacker;
    let mut scanner = agent(&site, bad, V4, Udp);
    for number in 0..40 {
        let user = (1000 + number).to_string();
        let probe = Request {
            user: user.as_bytes(),
            headers: REGISTER,
            call_id: Some("always-the-same"),
            answer: Answer::MadeUp,
            ..Request::default()
        };
        assert_eq!(scanner.send(&probe), [401]);
    }
    settle(&site);
    assert_eq!(count(&site, "challenge_unanswered", bad, V4), 40, "{}", site.log_text());
}

/// The lines of failures of a machine, from the fields after the port.
fn failures(site: &Site, peer: &Peer) -> Vec<String> {
    let start = format!(" mod_fail2ban: register_failure ip={} ", peer.address(V4));
    let text = site.log_text();
    let failures = text.lines().filter_map(|line| line.split_once(&start)?.1.split_once(' '));
    failures.map(|(_, rest)| rest.to_owned()).collect()
}

fn a_transport_is_proven_or_not_told() {
    let site = Site::stock(&Plan { fail2ban_conf: &configuration(PARAMS), ..Plan::default() }, |_, _| ());
    let bad = &site.network.attacker;
    let wrong =
        Request { user: b"1001", headers: REGISTER, answer: Answer::Password("guess"), ..Request::default() };
    for transport in [Udp, Tcp] {
        assert_eq!(agent(&site, bad, V4, transport).send(&wrong), [401, 403]);
        let invite = Request { method: "INVITE", to: Some("9196"), headers: "", ..wrong };
        assert_eq!(agent(&site, bad, V4, transport).send(&invite), [407, 403]);
    }
    // What the sender claims: a second Contact, and a second Via below the first.
    let claims =
        "Contact: <sips:x@10.99.1.2;transport=tls>\r\nVia: SIP/2.0/TLS 10.99.1.2;branch=z9hG4bKtls\r\n";
    assert_eq!(agent(&site, bad, V4, Udp).send(&Request { headers: claims, ..wrong }).last(), Some(&403));
    // Names that differ are refused before anything is looked up.
    let other = Request { auth_user: Some("1002"), ..wrong };
    assert_eq!(agent(&site, bad, V4, Tcp).send(&other), [401, 403]);
    wait_until("six failures", || failures(&site, bad).len() == 6);
    let told: Vec<_> = failures(&site, bad)
        .iter()
        .map(|fields| fields.split(' ').find_map(|field| field.strip_prefix("transport=")).map(str::to_owned))
        .collect();
    let [udp, tcp] = ["udp", "tcp"].map(|name| Some(name.to_owned()));
    assert_eq!(told, [udp.clone(), udp.clone(), tcp.clone(), tcp, udp, None], "{}", site.log_text());
}

/// `default` of the stock directory, whose any password is right.
fn the_stock_user_without_a_password_makes_nobody_known() {
    let params = r#"<param name="format" value="dated"/><param name="known-for" value="1d"/>
        <param name="events" value="register_failure"/>"#;
    let site = Site::stock(&Plan { fail2ban_conf: &configuration(params), ..Plan::default() }, |_, _| ());
    let (good, bad) = (&site.network.bystander, &site.network.attacker);
    let register = |user: &'static str, password: &'static str| Request {
        user: user.as_bytes(),
        headers: REGISTER,
        answer: Answer::Password(password),
        ..Request::default()
    };
    for password in ["any", "password", ""] {
        assert_eq!(agent(&site, bad, V4, Udp).send(&register("default", password)), [401, 200]);
    }
    assert_eq!(agent(&site, good, V4, Udp).send(&register("1001", PASSWORD)), [401, 200]);
    let known = || site.cli("fail2ban known");
    wait_until("the good phone to be known", || known().contains(&good.address(V4).to_string()));
    let mut guesser = agent(&site, bad, V4, Udp);
    for _ in 0..30 {
        assert_eq!(guesser.send(&register("1001", "guess")), [401, 403]);
    }
    wait_until("the failures", || failures(&site, bad).len() == 30);
    assert!(failures(&site, bad).iter().all(|fields| !fields.contains("known=yes")), "{}", site.log_text());
    let stranger = format!(" ip={} known=no ", bad.address(V4));
    assert_eq!(site.log_text().matches(&stranger).count(), 30, "{}", site.log_text());
    assert!(!known().contains(&bad.address(V4).to_string()), "{}", known());
}

/// Phones of one new address, at once: most of them wait until FreeSWITCH comes to them.
fn six_phones_of_a_directory_that_takes_seven_seconds_are_not_accused() {
    let params = r#"<param name="format" value="dated"/><param name="challenge-timeout" value="3"/>
        <param name="events" value="challenge_unanswered,auth_unconfirmed,register_failure"/>"#;
    let mut directory = None;
    let conf = configuration(params);
    let plan = Plan { fail2ban_conf: &conf, after: &[XML_CURL], ..Plan::default() };
    let site = Site::stock(&plan, |network, conf| {
        directory = Some(Directory::start(&network.server, Duration::from_secs(7)));
        Directory::write_settings(conf);
    });
    let good = &site.network.bystander;
    thread::scope(|scope| {
        for (number, method) in ["REGISTER", "SUBSCRIBE"].into_iter().cycle().take(6).enumerate() {
            let site = &site;
            scope.spawn(move || {
                let user = ["1002", "1004", "1005", "1006", "1007", "1008"][number];
                let (headers, last) = match method {
                    "REGISTER" => (REGISTER, 200),
                    _ => ("Event: dialog\r\nExpires: 300\r\n", 202),
                };
                let mut phone = agent(site, good, V4, Udp);
                phone.patience = Duration::from_secs(100);
                let answer = Answer::Password(PASSWORD);
                let request =
                    Request { method, user: user.as_bytes(), headers, answer, ..Request::default() };
                assert_eq!(phone.send(&request).last(), Some(&last), "{method} of {user}");
            });
        }
    });
    settle(&site);
    assert_eq!(site.log_text().lines().count(), 1, "{}", site.log_text());
    directory.expect("it was started").stop(&site.network.server);
}

/// A directory over HTTP, which has users 1002 to 1009, of these 1003 for FreeSWITCH to keep.
pub struct Directory {
    is_over: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

const DIRECTORY: u16 = 8900;

impl Directory {
    /// One that takes this long to answer.
    pub fn start(place: &Namespace, delay: Duration) -> Directory {
        let listener = place.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, DIRECTORY))).expect("a port");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let asks = Arc::clone(&asked);
        // The last connection is the one that ends it.
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let asks = Arc::clone(&asks);
                thread::spawn(move || {
                    thread::sleep(delay);
                    answer(stream, &asks);
                });
            }
        });
        Directory { is_over, asked, thread: Some(thread) }
    }

    /// How often FreeSWITCH has asked for this user to check credentials: each time, it compared a password.
    pub fn comparisons(&self, user: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |body: &str, pair: &str| body.split('&').any(|there| there == pair);
        asked.iter().filter(|body| has(body, "action=sip_auth") && has(body, &format!("user={user}"))).count()
    }

    /// Has mod_xml_curl ask it.
    pub fn write_settings(conf: &Path) {
        let text = format!(
            r#"<configuration name="xml_curl.conf"><bindings><binding name="directory">
                 <param name="gateway-url" value="http://127.0.0.1:{DIRECTORY}/" bindings="directory"/>
               </binding></bindings></configuration>"#
        );
        fs::write(conf.join("autoload_configs/xml_curl.conf.xml"), text).expect("its settings");
    }

    /// Its thread waits for connections.
    pub fn stop(mut self, place: &Namespace) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = place.run(|| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, DIRECTORY)));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: std::net::TcpStream, asks: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    let asked = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.filter_map(|(_, value)| value.parse().ok()).next().unwrap_or(0);
            if body.len() >= length {
                break body.to_owned();
            }
        }
        match stream.read(&mut room) {
            Ok(size) if size > 0 => bytes.extend_from_slice(&room[..size]),
            _ => return,
        }
    };
    asks.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let user = asked.split('&').find_map(|pair| pair.strip_prefix("user=")).unwrap_or_default();
    let cacheable = if user == "1003" { " cacheable=\"60000\"" } else { "" };
    let domain = asked.split('&').find_map(|pair| pair.strip_prefix("domain=")).unwrap_or_default();
    let found = format!(
        "<section name=\"directory\"><domain name=\"{domain}\"><groups><group name=\"all\"><users>\
         <user id=\"{user}\"{cacheable}><params><param name=\"password\" value=\"{PASSWORD}\"/></params></user>\
         </users></group></groups></domain></section>"
    );
    let nothing = "<section name=\"result\"><result status=\"not found\"/></section>".to_owned();
    let section = if ("1002"..="1009").contains(&user) { found } else { nothing };
    let body = format!("<document type=\"freeswitch/xml\">{section}</document>");
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

/// Users 1002 and 1003 do what they may and what they may not; gives the site and how many lines of each event type
/// the attacker has.
fn behind_xml_curl(before: &[&'static str], after: &[&'static str]) -> (Site, [usize; 2]) {
    let mut directory = None;
    let conf = configuration(PARAMS);
    let plan = Plan { fail2ban_conf: &conf, before, after, ..Plan::default() };
    let site = Site::stock(&plan, |network, conf| {
        directory = Some(Directory::start(&network.server, Duration::ZERO));
        Directory::write_settings(conf);
    });
    // Lookups that were under way when the module was loaded are not hidden.
    wait_until("lookups of before the load to be over", || {
        site.status()["loaded_seconds"].as_u64() > Some(2)
    });
    let (good, bad) = (&site.network.bystander, &site.network.attacker);
    for user in ["1002", "1003"] {
        let dialog = "Event: dialog\r\nExpires: 300\r\n";
        let of = |method, headers, answer| Request {
            method,
            user: user.as_bytes(),
            headers,
            answer,
            ..Request::default()
        };
        let (right, wrong) = (Answer::Password(PASSWORD), Answer::Password("guess"));
        let mut phone = agent(&site, good, V4, Udp);
        for _ in 0..3 {
            assert_eq!(phone.send(&of("REGISTER", REGISTER, right)), [401, 200]);
            assert_eq!(phone.send(&of("SUBSCRIBE", dialog, right)), [407, 202]);
            assert_eq!(phone.send(&of("MESSAGE", "Content-Type: text/plain\r\n", right)), [407, 202]);
            assert_eq!(phone.send(&of("SUBSCRIBE", "Event: call-info\r\nExpires: 9\r\n", right)), [407, 202]);
        }
        let mut attacker = agent(&site, bad, V4, Udp);
        for _ in 0..3 {
            assert_eq!(attacker.send(&of("REGISTER", REGISTER, wrong)), [401, 403]);
            assert_eq!(attacker.send(&of("SUBSCRIBE", dialog, wrong)), [407, 401]);
        }
    }
    settle(&site);
    for event in ["auth_unconfirmed", "challenge_unanswered"] {
        assert_eq!(count(&site, event, good, V4), 0, "{}", site.log_text());
    }
    assert_eq!(count(&site, "register_failure", bad, V4), 6, "{}", site.log_text());
    directory.expect("it was started").stop(&site.network.server);
    let counts = ["auth_unconfirmed", "challenge_unanswered"].map(|event| count(&site, event, bad, V4));
    (site, counts)
}

fn behind_xml_curl_that_is_loaded_later_nothing_is_hidden_but_cached_users() {
    let (site, counts) = behind_xml_curl(&[], &[XML_CURL]);
    // Of the user that FreeSWITCH keeps, only the first look-up is seen; its guesses look like unanswered challenges.
    assert_eq!(counts, [3, 3], "{}", site.log_text());
    let look_ups = &site.status()["look_ups"];
    assert_eq!(
        (&look_ups["attempts_seen"], &look_ups["attempts_hidden"]),
        (&7.into(), &5.into()),
        "{look_ups}"
    );
    assert!(site.cli("fail2ban status").contains("HIDDEN for 5 of 12 attempts"), "{look_ups}");
}

fn behind_xml_curl_that_is_loaded_first_all_is_hidden_and_no_good_client_is_accused() {
    let (site, counts) = behind_xml_curl(&[XML_CURL], &[]);
    assert_eq!(counts, [0, 6], "{}", site.log_text());
    let look_ups = &site.status()["look_ups"];
    assert_eq!((&look_ups["seen"], &look_ups["attempts_hidden"]), (&0.into(), &12.into()), "{look_ups}");
    assert!(site.cli("fail2ban status").contains("load mod_fail2ban first"), "{look_ups}");
}
