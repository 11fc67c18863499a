//! What attackers who are refused cost FreeSWITCH, and that others go on meanwhile.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::addresses::Side;
use super::agent::{Agent, Answer};
use super::guesser::{self, INVITE, REGISTER, Way, attempt};
use super::site::{Plan, Site};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::process;
use crate::support::suite::{Suite, Why, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed];
    suite.add(&needs, tests![calls_and_registrations_go_on_while_attempts_are_refused]);
    suite.add(&[&needs[..], &[is_measured]].concat(), tests![what_an_attempt_costs]);
}

fn is_measured() -> Result<(), Why> {
    match std::env::var_os("MEASURE") {
        Some(_) => Ok(()),
        None => Err(Why::OtherHost("it is a measurement, and MEASURE is not set".into())),
    }
}

const ATTACKERS: u8 = 200;
const VICTIM: &str = "1000";

fn attackers() -> impl Iterator<Item = IpAddr> {
    (1..=ATTACKERS).map(|household| Side::Attackers.address(V4, household, 0))
}

fn refused(site: &Site) -> u64 {
    site.status()["refused"].as_u64().expect("a count")
}

/// Sends attempts from all attackers, this many a second or as many as it can, until it is to end; counts them.
fn flood(site: &Site, a_second: u64, sent: &AtomicU64, is_over: &AtomicBool) {
    let mut agents: Vec<Agent> =
        attackers().map(|ip| guesser::agent(site, Side::Attackers, Way::Udp, ip)).collect();
    let request = REGISTER.of(VICTIM, Answer::Never);
    let nonce = agents[0].nonce(&request);
    let began = Instant::now();
    for number in (0..agents.len()).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        agents[number].guess(&request, &nonce, "guess");
        let ahead = Duration::from_micros(sent.fetch_add(1, Ordering::Relaxed) * 1_000_000 / a_second);
        if let Some(wait) = ahead.checked_sub(began.elapsed()).filter(|wait| wait.as_millis() > 0) {
            thread::sleep(wait);
        }
    }
}

/// Phones that register and call meanwhile: how long each took.
fn others(site: &Site) -> Vec<Duration> {
    let phones = ["1001", "1002", "1003", "1004", "1005"];
    let mut times = Vec::new();
    for round in 0..10 {
        for (household, phone) in (1..).zip(phones) {
            let from = (Side::Neighbours, Side::Neighbours.address(V4, household, 0));
            for method in [REGISTER, INVITE] {
                let began = Instant::now();
                let answer = attempt(site, from, Way::Udp, method, phone, PASSWORD);
                times.push(began.elapsed());
                assert_eq!(answer, Some(method.accepted), "{} of {phone}, round {round}", method.name);
            }
        }
    }
    times.sort();
    times
}

/// Others live while this many attempts a second are sent: how many were sent and refused a second, and the others'
/// times.
fn together(site: &Site, a_second: u64) -> ([f64; 2], Vec<Duration>) {
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (before, began) = (refused(site), Instant::now());
    let times = thread::scope(|scope| {
        scope.spawn(|| flood(site, a_second, &sent, &is_over));
        let times = scope.spawn(|| others(site)).join();
        is_over.store(true, Ordering::Relaxed);
        times.expect("the others")
    });
    let took = began.elapsed().as_secs_f64();
    let counts = [sent.into_inner(), refused(site) - before].map(|count| count as f64 / took);
    (counts, times)
}

/// A switch at which an operator has reported all attackers.
fn site(fail2ban_conf: &str) -> Site {
    let site = guesser::site(&Plan { fail2ban_conf, ..Plan::default() }, |_, _| ());
    site.cli("fsctl sps 1000");
    for ip in attackers() {
        assert!(site.cli(&format!("fail2ban report {ip} flood")).starts_with("+OK"));
    }
    site
}

const SHIPPED: &str = include_str!("../../../conf/autoload_configs/fail2ban.conf.xml");

fn calls_and_registrations_go_on_while_attempts_are_refused() {
    let site = site(SHIPPED);
    let ([sent, refused], times) = together(&site, 500);
    // They last a minute.
    assert!(refused > 0.8 * sent, "{refused} of {sent} a second are refused");
    assert!(*times.last().expect("some") < Duration::from_secs(3), "{times:?}");
    assert_eq!(site.log_text().matches(" register_failure ").count(), 0, "{}", site.log_text());
}

/// How much of the processor FreeSWITCH takes for an attempt, of one attacker's that waits for each reply.
fn cost(site: &Site, password: &str, last: u16) -> Duration {
    const TIMES: u32 = 2000;
    let ip = attackers().next().expect("one");
    let mut agent = guesser::agent(site, Side::Attackers, Way::Udp, ip);
    let request = REGISTER.of(VICTIM, Answer::Never);
    let nonce = agent.nonce(&request);
    let before = process::processor_time(site.pid());
    for _ in 0..TIMES {
        assert_eq!(agent.guess_for_reply(&request, &nonce, password), Some(last));
    }
    (process::processor_time(site.pid()) - before) / TIMES
}

fn what_an_attempt_costs() {
    {
        let site = site(SHIPPED);
        println!("refused: {:?} of FreeSWITCH's processor time each", cost(&site, "guess", 403));
        println!("refused, the right password: {:?}", cost(&site, PASSWORD, 403));
    }
    for a_second in [1000, 2000, 5000, 10_000] {
        let site = site(SHIPPED);
        let before = process::processor_time(site.pid());
        let ([sent, refused], times) = together(&site, a_second);
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        let took = process::processor_time(site.pid()) - before;
        println!(
            "{sent:.0} a second sent, {refused:.0} refused; others took {median:?}, {longest:?} at most; {took:?} of FreeSWITCH"
        );
    }
    let site = site(&SHIPPED.replace("\"refuse-attackers\" value=\"yes\"", "\"refuse-attackers\" value=\"no\""));
    println!("a wrong password, not refused: {:?}", cost(&site, "guess", 403));
    println!("the right password: {:?}", cost(&site, PASSWORD, 200));
    site.cli("unload mod_fail2ban");
    println!("a wrong password without the module: {:?}", cost(&site, "guess", 403));
}
