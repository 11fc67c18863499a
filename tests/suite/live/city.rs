//! A city: ten good addresses, and attackers who are fast, many, many of one network, or liars, with the settings as
//! they are shipped, in FreeSWITCH's stock configuration; with the shipped jail and a firewall, and without.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::addresses::{self, Side, source};
use super::agent::Answer;
use super::guesser::{self, MESSAGE, Method, REGISTER, SUBSCRIBE, Way, attempt, register};
use super::site::{Plan, Site};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::daemon::Daemon;
use crate::support::fail2ban::network::Family::{V4, V6};
use crate::support::fail2ban::{self, Fail2ban};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::openssl];
    suite.add(&needs, tests![without_a_firewall_every_attacker_is_refused_and_nobody_else]);
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[&needs[..], &[needs::nftables]].concat(),
            release,
            get,
            tests![every_attacker_is_refused_and_banned_and_nobody_else],
        );
    }
}

/// The account of most guesses, and that of the botnet, whose phone is a good one.
const VICTIM: &str = "1000";
const OF_THE_BOTNET: &str = "1001";

/// Longer than a reply takes, and enough to ask twice.
const PATIENCE: Duration = Duration::from_secs(2);

/// Households of the good.
const FORGED: u8 = 10;
/// Households of the bad.
const FAST: u8 = 1;
const UNKNOWN_USERS: u8 = 2;
const BY_SUBSCRIBE: u8 = 3;
const FORGER: u8 = 4;
const HOPPER: u8 = 5;
const BOTS: std::ops::Range<u8> = 100..130;

/// A phone: where it is, the way that it takes, its account.
type Phone = (IpAddr, Way, &'static str);

/// Ten good addresses, at one of them four phones.
fn phones(site: &Site) -> Vec<Phone> {
    let at = |family, household, host| Side::Neighbours.address(family, household, host);
    let nat = at(V4, 5, 0);
    vec![
        (at(V4, 1, 0), Way::Udp, OF_THE_BOTNET),
        (at(V4, 2, 0), Way::Udp, "1002"),
        (at(V4, 3, 0), Way::Tls, "1003"),
        (site.network.bystander.address(V4), Way::Tcp, "1004"),
        (nat, Way::Udp, "1005"),
        (nat, Way::Udp, "1006"),
        (nat, Way::Udp, "1007"),
        (nat, Way::Tls, "1008"),
        (at(V4, 6, 0), Way::Udp, "1009"),
        (at(V6, 7, 1), Way::Udp, "1010"),
        // A household.
        (at(V6, 8, 1), Way::Udp, "1011"),
        (at(V6, 8, 2), Way::Tls, "1012"),
        (at(V4, FORGED, 0), Way::Udp, "1013"),
    ]
}

/// Somebody who mistypes three times.
fn mistyper() -> IpAddr {
    Side::Neighbours.address(V4, 9, 0)
}

/// All that phones do, each with success.
fn live(site: &Site, (ip, way, account): Phone) {
    for method in [REGISTER, SUBSCRIBE, MESSAGE, SUBSCRIBE, REGISTER] {
        let answer = attempt(site, (Side::Neighbours, ip), way, method, account, PASSWORD);
        assert_eq!(answer, Some(method.accepted), "{account} at {ip}: {} over {way:?}", method.name);
    }
}

/// What an attacker got in the end, with the right password: it may be banned by then.
struct Attack {
    from: IpAddr,
    last: Option<u16>,
    refused: u16,
}

/// With one nonce, as fast as the network takes them; the last guess is right.
fn burst(site: &Site, from: IpAddr, method: Method, count: usize) -> Vec<Attack> {
    let mut agent = guesser::agent(site, Side::Attackers, Way::Udp, from);
    let request = method.of(VICTIM, Answer::Never);
    let nonce = agent.nonce(&request);
    for _ in 0..count {
        agent.guess(&request, &nonce, "guess");
    }
    agent.patience = PATIENCE;
    let last = agent.guess_for_reply(&request, &nonce, PASSWORD);
    vec![Attack { from, last, refused: method.refused }]
}

/// One guess of an attacker's, which a firewall may drop.
fn guess(site: &Site, from: IpAddr, account: &str, password: &str) -> Option<u16> {
    let mut agent = guesser::agent(site, Side::Attackers, Way::Udp, from);
    agent.patience = PATIENCE;
    // The first reply is the challenge.
    agent.send(&REGISTER.of(account, Answer::Password(password))).get(1).copied()
}

/// Each of these addresses guesses in turn, the last guess is right.
fn in_turn(
    site: &Site,
    turns: impl Iterator<Item = (IpAddr, String)>,
    last: &[(IpAddr, &str)],
) -> Vec<Attack> {
    for (ip, account) in turns {
        let answer = guess(site, ip, &account, "guess");
        assert_ne!(answer, Some(200), "{account} from {ip}");
    }
    thread::scope(|scope| {
        let attacks = last.iter().map(|&(from, account)| {
            scope.spawn(move || Attack {
                from,
                last: guess(site, from, account, PASSWORD),
                refused: REGISTER.refused,
            })
        });
        let attacks: Vec<_> = attacks.collect();
        attacks.into_iter().map(|attack| attack.join().expect("an attack")).collect()
    })
}

fn botnet(site: &Site) -> Vec<Attack> {
    let bots: Vec<IpAddr> = BOTS.map(|bot| Side::Attackers.address(V4, bot, 0)).collect();
    let turns = (0..3).flat_map(|_| bots.iter().map(|ip| (*ip, OF_THE_BOTNET.to_owned())));
    let last: Vec<_> = bots.iter().map(|ip| (*ip, OF_THE_BOTNET)).collect();
    in_turn(site, turns, &last)
}

/// A new address of its network for each guess.
fn hopper(site: &Site) -> Vec<Attack> {
    let at = |host| Side::Attackers.address(V6, HOPPER, host);
    in_turn(site, (1..15).map(|host| (at(host), VICTIM.to_owned())), &[(at(15), VICTIM)])
}

/// Each name costs three points.
fn unknown_users(site: &Site) -> Vec<Attack> {
    let ip = Side::Attackers.address(V4, UNKNOWN_USERS, 0);
    in_turn(site, (0..4).map(|number| (ip, format!("nobody{number}"))), &[(ip, VICTIM)])
}

/// Failures in a good phone's name, for its account and for another's.
fn forge(site: &Site) -> Vec<Attack> {
    let own = Side::Attackers.address(V4, FORGER, 0);
    let victim = Side::Neighbours.address(V4, FORGED, 0);
    addresses::can_be_forged(&site.network, victim);
    for account in ["1013", "1014"] {
        let request = REGISTER.of(account, Answer::Never);
        let nonce = guesser::agent(site, Side::Attackers, Way::Udp, own).nonce(&request);
        let mut forger = guesser::agent(site, Side::Attackers, Way::Udp, victim);
        (0..30).for_each(|_| forger.forge(&request, &nonce));
    }
    vec![]
}

/// The good live while the bad attack; what each attacker got in the end.
fn run(site: &Site) -> Vec<Attack> {
    let phones = phones(site);
    let addresses: BTreeSet<_> =
        phones.iter().map(|(ip, ..)| source(*ip)).chain([source(mistyper())]).collect();
    assert_eq!(addresses.len(), 10);
    for phone in &phones {
        live(site, *phone);
    }
    let own = |household| Side::Attackers.address(V4, household, 0);
    thread::scope(|scope| {
        let attacks = [
            scope.spawn(move || burst(site, own(FAST), REGISTER, 24)),
            scope.spawn(|| botnet(site)),
            scope.spawn(|| hopper(site)),
            scope.spawn(|| unknown_users(site)),
            scope.spawn(move || burst(site, own(BY_SUBSCRIBE), SUBSCRIBE, 60)),
            scope.spawn(|| forge(site)),
        ];
        scope.spawn(|| phones.iter().cycle().take(2 * phones.len()).for_each(|phone| live(site, *phone)));
        scope.spawn(|| {
            let from = (Side::Neighbours, mistyper());
            (0..3).for_each(|_| assert_eq!(register(site, from, "1015", "oops"), Some(403)));
            assert_eq!(register(site, from, "1015", PASSWORD), Some(200));
        });
        attacks.into_iter().flat_map(|attack| attack.join().expect("an attack")).collect()
    })
}

/// Every attacker is one for the module, and nobody else is; gives their sources.
fn judge(site: &Site, attacks: &[Attack]) -> BTreeSet<String> {
    let expected: BTreeSet<String> = attacks.iter().map(|attack| source(attack.from)).collect();
    assert_eq!(expected.len(), 4 + BOTS.len());
    let found = || -> BTreeSet<String> {
        let text = site.cli("fail2ban attackers");
        let rows = text.lines().filter(|line| line.contains('='));
        rows.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    // Guesses by SUBSCRIBE count some seconds later.
    wait_until("the attackers to be found", || found().len() >= expected.len());
    assert_eq!(found(), expected, "{}", site.cli("fail2ban attackers"));
    for (ip, _, account) in phones(site) {
        let why = site.cli(&format!("fail2ban why {ip}"));
        assert!(why.contains("not refused") && why.contains("known by "), "{account}: {why}");
    }
    // They go on, by the account that the botnet guesses at, too, and from where somebody forges failures.
    phones(site).into_iter().for_each(|phone| live(site, phone));
    assert_eq!(register(site, (Side::Neighbours, mistyper()), "1015", PASSWORD), Some(200));
    expected
}

fn without_a_firewall_every_attacker_is_refused_and_nobody_else() {
    let site = guesser::site(&Plan::default(), |_, _| ());
    let attacks = run(&site);
    for Attack { from, last, refused } in &attacks {
        assert_eq!(
            *last,
            Some(*refused),
            "the right password from {from}\n{}",
            site.cli("fail2ban attackers")
        );
    }
    judge(&site, &attacks);
}

fn every_attacker_is_refused_and_banned_and_nobody_else(fail2ban: &'static Fail2ban) {
    let site = guesser::site(&Plan::default(), |_, _| ());
    let daemon = Daemon::start(fail2ban, &site.network.server, &site.log_file(), "");
    wait_until("the jail", || daemon.is_up());
    let attacks = run(&site);
    for Attack { from, last, refused } in &attacks {
        assert!(last.is_none_or(|status| status == *refused), "the right password from {from}: {last:?}");
    }
    let expected = judge(&site, &attacks);
    let banned = || -> BTreeSet<String> {
        daemon.banned().lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    wait_at_most(crate::support::PATIENCE, "the bans", || banned().len() >= expected.len());
    // What came after that has been read once a test at the log's end has its address banned.
    site.cli("fail2ban test 192.0.2.1 10");
    wait_until("the test to be banned", || banned().contains("192.0.2.1"));
    let expected: BTreeSet<String> = expected.into_iter().chain(["192.0.2.1".to_owned()]).collect();
    assert_eq!(banned(), expected, "{}", site.log_text());
    thread::scope(|scope| {
        for attack in &attacks {
            scope.spawn(|| {
                let mut agent = guesser::agent(&site, Side::Attackers, Way::Udp, attack.from);
                agent.patience = PATIENCE;
                let replies = agent.send(&REGISTER.of(VICTIM, Answer::Never));
                assert!(replies.is_empty(), "{} gets through the firewall: {replies:?}", attack.from);
            });
        }
    });
    phones(&site).into_iter().for_each(|phone| live(&site, phone));
}
