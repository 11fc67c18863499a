//! Whose credentials FreeSWITCH refuses, whatever the password: each method, transport and address family. The
//! settings are those that are shipped.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::addresses::{Side, source};
use super::guesser::{INVITE, METHODS, Method, REGISTER, WAYS, Way, attempt, register, site};
use super::site::{Plan, Site, VOICEMAIL};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::{V4, V6};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::openssl];
    suite.add(
        &needs,
        tests![
            from_the_tenth_failure_on_the_right_password_is_refused_by_every_method_and_way,
            after_the_period_three_more_failures_make_the_next_level,
        ],
    );
    suite.add(
        &[&needs[..], &[stock::has_voicemail]].concat(),
        tests![lookups_that_are_no_check_of_credentials_are_answered_as_ever],
    );
}

const ATTACKER_AFTER: usize = 10;

/// The account that is guessed at.
const VICTIM: &str = "1000";

/// Guessers and good phones, each by IPv4 and by IPv6.
struct People {
    guessers: [IpAddr; 2],
    good: [IpAddr; 2],
}

impl People {
    fn of(site: &Site) -> People {
        let (bad, good) = (&site.network.attacker, &site.network.bystander);
        People {
            guessers: [V4, V6].map(|family| bad.address(family)),
            good: [V4, V6].map(|family| good.address(family)),
        }
    }
}

/// Makes an attacker of an address.
fn guess(site: &Site, ip: IpAddr) {
    for _ in 0..ATTACKER_AFTER {
        assert_eq!(register(site, (Side::Attackers, ip), VICTIM, "guess"), Some(403));
    }
    wait_until("the guesser to be an attacker", || is_refused(site, ip));
}

fn is_refused(site: &Site, ip: IpAddr) -> bool {
    let why = site.cli(&format!("fail2ban why {ip}"));
    why.contains("an attacker of level ") && why.contains("refused for another ")
}

/// Each method and way with the right password, from an address; the statuses are those of a method.
fn try_all(site: &Site, from: (Side, IpAddr), user: &str, status: fn(Method) -> u16) -> usize {
    for way in WAYS {
        for method in METHODS {
            let answer = attempt(site, from, way, method, user, PASSWORD);
            assert_eq!(answer, Some(status(method)), "{} over {way:?} from {}", method.name, from.1);
        }
    }
    WAYS.len() * METHODS.len()
}

fn refused(site: &Site) -> u64 {
    site.status()["refused"].as_u64().expect("a count")
}

fn lines(site: &Site, ip: IpAddr, event: &str) -> usize {
    let text = site.log_text();
    text.lines().filter(|line| line.contains(event) && line.contains(&format!(" ip={ip} "))).count()
}

fn from_the_tenth_failure_on_the_right_password_is_refused_by_every_method_and_way() {
    let site = site(&Plan::default(), |_, _| ());
    let People { guessers, good } = People::of(&site);
    let cousins = [Side::Attackers.address(V6, 1, 1), Side::Attackers.address(V6, 1, 2)];

    for ip in guessers {
        guess(&site, ip);
        let before = refused(&site);
        let count = try_all(&site, (Side::Attackers, ip), VICTIM, |method| method.refused) as u64;
        assert_eq!(refused(&site) - before, count, "each is refused by the module, and once");
        // Another account is refused there as well.
        let other = register(&site, (Side::Attackers, ip), "1009", PASSWORD);
        assert_eq!(other, Some(403), "{ip}");
        // Meanwhile others go on, by the same account too.
        for (ip, user) in good.into_iter().zip([VICTIM, "1001"]) {
            try_all(&site, (Side::Neighbours, ip), user, |method| method.accepted);
        }
        check_reports(&site, ip, count + 1);
    }
    // Any address of a network is the guesser's; the next network is not.
    guess(&site, cousins[0]);
    for way in [Way::Udp, Way::Tls] {
        for method in METHODS {
            let answer = attempt(&site, (Side::Attackers, cousins[1]), way, method, VICTIM, PASSWORD);
            assert_eq!(answer, Some(method.refused), "{} over {way:?}", method.name);
        }
    }
    let neighbour = Side::Attackers.address(V6, 2, 1);
    assert_eq!(register(&site, (Side::Attackers, neighbour), VICTIM, PASSWORD), Some(200));

    // An operator ends it.
    for ip in guessers {
        assert!(is_refused(&site, ip));
        assert!(site.cli(&format!("fail2ban forgive {ip}")).starts_with("+OK "));
        assert_eq!(attempt(&site, (Side::Attackers, ip), Way::Tcp, REGISTER, VICTIM, PASSWORD), Some(200));
    }
    // And so does unloading the module.
    assert_eq!(register(&site, (Side::Attackers, cousins[1]), VICTIM, PASSWORD), Some(403));
    assert!(site.cli("unload mod_fail2ban").contains("+OK"));
    assert_eq!(register(&site, (Side::Attackers, cousins[1]), VICTIM, PASSWORD), Some(200));
}

/// What an operator reads of an attacker: on the console, in the module's log and in FreeSWITCH's.
fn check_reports(site: &Site, ip: IpAddr, times: u64) {
    let source = source(ip);
    let attackers = site.cli("fail2ban attackers");
    let row = attackers.lines().find(|line| line.starts_with(&format!("{source} "))).unwrap_or_default();
    assert!(row.contains("failure=10") && row.contains(&format!(" {times} ")), "{attackers}");
    let why = site.cli(&format!("fail2ban why {ip}"));
    for part in ["10 of 10 points", "not known", &format!("{times} attempts so far"), "unbanip"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let status = site.status();
    let there = status["attackers"].as_array().expect("a list").iter().find(|one| one["source"] == source);
    let there = there.unwrap_or_else(|| panic!("{source} is not in {status}"));
    assert_eq!((&there["level"], &there["refused"]), (&1.into(), &times.into()), "{there}");
    assert!(site.cli("fail2ban status").contains("refused"));
    // Ten failures and the attacker; what was refused left no line.
    assert_eq!(lines(site, ip, " register_failure "), ATTACKER_AFTER, "{}", site.log_text());
    assert_eq!(lines(site, ip, " attacker source="), 1, "{}", site.log_text());
    wait_until("the warning of the first refusal", || {
        let log = site.host_log();
        log.contains(&format!("{source} is an attacker of level 1"))
            && log.contains(&format!("{source} is refused for "))
    });
}

/// Guesses one after the other: how many of their lookups were let through.
fn guesses_let_through(site: &Site, ip: IpAddr, count: u64) -> u64 {
    let before = refused(site);
    for _ in 0..count {
        assert_eq!(register(site, (Side::Attackers, ip), VICTIM, "guess"), Some(403));
    }
    count - (refused(site) - before)
}

fn after_the_period_three_more_failures_make_the_next_level() {
    let site = site(&Plan::default(), |_, _| ());
    let ip = People::of(&site).guessers[0];
    guess(&site, ip);
    let found = Instant::now();
    assert_eq!(guesses_let_through(&site, ip, 5), 0);
    // The period is a minute.
    wait_at_most(Duration::from_secs(75), "the end of the period", || {
        site.cli("fail2ban attackers").contains("one attempt at a time")
    });
    assert!(found.elapsed() > Duration::from_secs(55), "{:?}", found.elapsed());
    let let_through = guesses_let_through(&site, ip, 3);
    assert!((1..=3).contains(&let_through), "{let_through}");
    wait_until("the next level", || {
        // A verdict that is still on its way lets no other guess through.
        guesses_let_through(&site, ip, 1);
        site.status()["attackers"][0]["level"] == 2
    });
    wait_until("the lines", || lines(&site, ip, " attacker source=") == 2);
    assert_eq!(lines(&site, ip, " register_failure "), ATTACKER_AFTER + 3, "{}", site.log_text());
    assert_eq!(guesses_let_through(&site, ip, 5), 0);
    assert_eq!(register(&site, (Side::Attackers, ip), VICTIM, PASSWORD), Some(403));
    assert!(site.cli(&format!("fail2ban why {ip}")).contains("an attacker of level 2"));
}

fn lookups_that_are_no_check_of_credentials_are_answered_as_ever() {
    let plan = Plan { after: &[VOICEMAIL], ..Plan::default() };
    let site = site(&plan, |_, _| ());
    let People { guessers: [ip, _], good: [good, _] } = People::of(&site);
    let domain = site.network.attacker.server(V4);
    assert_eq!(register(&site, (Side::Neighbours, good), VICTIM, PASSWORD), Some(200));
    let ask = |what: &str| site.cli(what);
    let questions = [
        format!("user_exists id {VICTIM} {domain}"),
        format!("user_data {VICTIM}@{domain} param password"),
        format!("user_data {VICTIM}@{domain} var user_context"),
        format!("user_exists id nobody {domain}"),
        format!("vm_boxcount {VICTIM}@{domain}"),
        format!("find_user_xml id {VICTIM} {domain}"),
        // What the module answers has a user of this address.
        format!("find_user_xml ip {ip} {domain}"),
    ];
    let before: Vec<String> = questions.iter().map(|question| ask(question)).collect();
    assert_eq!([&before[0], &before[1], &before[2], &before[3]], ["true", PASSWORD, "default", "false"]);
    assert!(!before[6].contains("<user"), "{}", before[6]);
    guess(&site, ip);
    assert_eq!(register(&site, (Side::Attackers, ip), VICTIM, PASSWORD), Some(403));
    for (question, answer) in questions.iter().zip(&before) {
        assert_eq!(&ask(question), answer, "{question}");
    }
    // A call to voicemail looks the account up with the caller's address; its own phone may.
    let voicemail = Method { to: Some("4000"), ..INVITE };
    assert_eq!(attempt(&site, (Side::Neighbours, good), Way::Udp, voicemail, VICTIM, PASSWORD), Some(200));
    // Calls to the account go on.
    assert!(ask(&format!("sofia_contact {VICTIM}@{domain}")).contains("sofia/internal/"));
}
