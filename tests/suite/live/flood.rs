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
    if site.cli("module_exists mod_fail2ban") != "true" {
        return 0;
    }
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

/// What became of the others meanwhile.
#[derive(Debug, Default)]
struct Others {
    /// How long what succeeded took, the shortest first.
    times: Vec<Duration>,
    failed: Vec<String>,
}

/// Phones that register and call.
fn others(site: &Site) -> Others {
    let phones = ["1001", "1002", "1003", "1004", "1005"];
    let mut others = Others::default();
    for _ in 0..10 {
        for (household, phone) in (1..).zip(phones) {
            let from = (Side::Neighbours, Side::Neighbours.address(V4, household, 0));
            for method in [REGISTER, INVITE] {
                let began = Instant::now();
                match attempt(site, from, Way::Udp, method, phone, PASSWORD) {
                    Some(status) if status == method.accepted => others.times.push(began.elapsed()),
                    status => others.failed.push(format!("{} of {phone}: {status:?}", method.name)),
                }
            }
        }
    }
    others.times.sort();
    others
}

/// Others live while this many attempts a second are sent: how many were sent and refused a second.
fn together(site: &Site, a_second: u64) -> ([f64; 2], Others) {
    let (sent, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (before, began) = (refused(site), Instant::now());
    let others = thread::scope(|scope| {
        scope.spawn(|| flood(site, a_second, &sent, &is_over));
        let others = scope.spawn(|| others(site)).join();
        is_over.store(true, Ordering::Relaxed);
        others.expect("the others")
    });
    let took = began.elapsed().as_secs_f64();
    let counts = [sent.into_inner(), refused(site) - before].map(|count| count as f64 / took);
    (counts, others)
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

/// From about a thousand packets a second on that do not pause, FreeSWITCH 1.10.12 reads them and answers nobody, with the
/// module and without.
const A_SECOND: u64 = 500;

fn calls_and_registrations_go_on_while_attempts_are_refused() {
    let site = site(SHIPPED);
    let ([sent, refused], Others { times, failed }) = together(&site, A_SECOND);
    assert!(failed.is_empty(), "{failed:?}");
    // Their period is a minute.
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

fn measure(what: &str, site: &Site, a_second: u64) {
    let (before, began) = (process::processor_time(site.pid()), Instant::now());
    let ([sent, refused], Others { times, failed }) = together(site, a_second);
    let (median, longest) = (times.get(times.len() / 2), times.last());
    let took = process::processor_time(site.pid()) - before;
    println!(
        "{what}: {sent:.0} a second sent, {refused:.0} refused; {} of the others failed, the rest took {median:?}, \
         {longest:?} at most; FreeSWITCH {:.0} % of a processor",
        failed.len(),
        100.0 * took.as_secs_f64() / began.elapsed().as_secs_f64()
    );
}

fn what_an_attempt_costs() {
    {
        let site = site(SHIPPED);
        println!("refused: {:?} of FreeSWITCH's processor time each", cost(&site, "guess", 403));
        println!("refused, the right password: {:?}", cost(&site, PASSWORD, 403));
    }
    for a_second in [A_SECOND / 2, A_SECOND] {
        measure("refused", &site(SHIPPED), a_second);
    }
    let no = SHIPPED.replace("\"refuse-attackers\" value=\"yes\"", "\"refuse-attackers\" value=\"no\"");
    for a_second in [A_SECOND / 2, A_SECOND] {
        measure("wrong passwords", &site(&no), a_second);
        let site = site(&no);
        site.cli("unload mod_fail2ban");
        measure("wrong passwords without the module", &site, a_second);
    }
    let site = site(&no);
    println!("a wrong password, not refused: {:?}", cost(&site, "guess", 403));
    println!("the right password: {:?}", cost(&site, PASSWORD, 200));
    site.cli("unload mod_fail2ban");
    println!("a wrong password without the module: {:?}", cost(&site, "guess", 403));
}
