//! Up to the packet that is dropped.

use std::net::{IpAddr, Ipv6Addr, TcpStream};
use std::time::Duration;

use super::sipp::Calls;
use super::site::Site;
use crate::support::fail2ban::daemon::Daemon;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport::{self, Tcp, Udp};
use crate::support::fail2ban::{self, Fail2ban};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::wait_until;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[needs::free_switch, needs::network, needs::nftables, needs::sipp],
            release,
            get,
            tests![
                ten_failures_over_udp_ban_the_attacker_and_not_the_bystander,
                ten_failures_over_tcp_ban_the_attacker_and_not_the_bystander,
                ten_failures_over_udp_and_ipv6_ban_the_attacker_and_not_the_bystander,
                ten_failures_over_tcp_and_ipv6_ban_the_attacker_and_not_the_bystander,
            ],
        );
    }
}

/// So many failures make an attacker.
const ATTACKER_AFTER: usize = 10;

/// Far longer than a connection takes that succeeds.
const SHORT: Duration = Duration::from_secs(2);

fn ten_failures_ban(fail2ban: &'static Fail2ban, format: &str, transport: Transport, family: Family) {
    let site = Site::start(&format!(
        "<param name=\"format\" value=\"{format}\"/><param name=\"attacker-after\" value=\"{ATTACKER_AFTER}\"/>"
    ));
    let (attacker, bystander) = (&site.network.attacker, &site.network.bystander);
    let daemon = Daemon::start(fail2ban, &site.network.server, &site.log_file(), "");
    wait_until("the jail", || daemon.is_up());
    let wrong = Calls { transport, ..Calls::one("register.xml", "1000", "wrong") };

    Calls { count: ATTACKER_AFTER - 1, ..wrong }.run(attacker, site.sip(family));
    let failures = || site.status()["signals"]["register_failure"]["written"].clone();
    wait_until("nine failures to be written", || failures() == ATTACKER_AFTER - 1);
    // Nothing shows that no ban follows: one comes within a second.
    std::thread::sleep(SHORT);
    assert_eq!(daemon.banned(), "", "nine failures are no reason for a ban");
    wrong.run(attacker, site.sip(family));
    wait_until("the ban", || !daemon.banned().is_empty());
    let banned = daemon.banned();
    let source = match site.attacker(family) {
        IpAddr::V4(ip) => ip.to_string(),
        // The household.
        IpAddr::V6(ip) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    };
    assert!(banned.starts_with(&format!("{source} ")), "{banned}");
    assert_eq!(banned.lines().count(), 1, "{banned}");

    // fail2ban tells of a ban before the firewall has it. Then nothing comes back, over whatever protocol.
    wait_until("the attacker's packets to be dropped", || site.caller(family).knock(b"1000").is_none());
    let connected = attacker.namespace.run(|| TcpStream::connect_timeout(&site.sip(family), SHORT));
    assert!(connected.is_err(), "the attacker's TCP");
    for transport in [Udp, Tcp] {
        for scenario in ["register.xml", "invite.xml"] {
            let good = Calls { transport, ..Calls::one(scenario, "1001", "secret") };
            good.run(bystander, site.sip(family));
        }
    }
}

fn ten_failures_over_udp_ban_the_attacker_and_not_the_bystander(fail2ban: &'static Fail2ban) {
    ten_failures_ban(fail2ban, "classic", Udp, V4);
}

fn ten_failures_over_tcp_ban_the_attacker_and_not_the_bystander(fail2ban: &'static Fail2ban) {
    ten_failures_ban(fail2ban, "dated", Tcp, V4);
}

fn ten_failures_over_udp_and_ipv6_ban_the_attacker_and_not_the_bystander(fail2ban: &'static Fail2ban) {
    ten_failures_ban(fail2ban, "dated", Udp, V6);
}

fn ten_failures_over_tcp_and_ipv6_ban_the_attacker_and_not_the_bystander(fail2ban: &'static Fail2ban) {
    ten_failures_ban(fail2ban, "classic", Tcp, V6);
}
