//! The ban, end to end: a switch with the module, a real fail2ban-server with the shipped kit, real nftables,
//! and the packets of an attacker and of a bystander, in network namespaces.

use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fail2ban::daemon::{Daemon, JAIL};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Network;
use crate::support::fail2ban::network::Transport::{Tcp, Udp};
use crate::support::fail2ban::{self, Fail2ban};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::STABLE {
        let needs = [needs::network, needs::nftables];
        suite.add_with(
            &needs,
            release,
            get,
            tests![
                ten_failures_shut_out_the_attacker_over_udp_and_tcp_and_nobody_else,
                unbanip_lets_the_attacker_back,
                the_end_of_the_ban_lets_the_attacker_back_and_the_next_ban_is_longer,
                a_forged_line_bans_only_the_forger,
                the_command_test_proves_the_chain_up_to_the_ban,
                failures_before_and_after_a_rotation_add_up_to_a_ban,
            ],
        );
        let needs = [needs::network, needs::nftables, needs::iptables];
        suite.add_with(&needs, release, get, tests![the_iptables_variant_bans_alike]);
        // For a person: MEASURE=1 cargo test --release --test suite first_packet_dropped
        if std::env::var_os("MEASURE").is_some() {
            suite.add_with(
                &needs,
                release,
                get,
                tests![time_from_the_tenth_failure_to_the_first_packet_dropped],
            );
        }
    }
}

/// How many failures the jail allows.
const MAXRETRY: usize = 10;

/// A machine that is slow may take this long over anything; none is expected to.
const DEADLINE: Duration = Duration::from_secs(30);

fn ten_failures_shut_out_the_attacker_over_udp_and_tcp_and_nobody_else(fail2ban: &'static Fail2ban) {
    in_both_families(fail2ban, "", |site| {
        site.fail(MAXRETRY - 1, "1009");
        site.wait_until("fail2ban has read nine failures", || site.total_failed() == MAXRETRY - 1);
        site.assert_attacker_gets_through();

        site.fail(1, "1009");
        site.wait_until_banned();
    });
}

fn unbanip_lets_the_attacker_back(fail2ban: &'static Fail2ban) {
    in_both_families(fail2ban, "", |site| {
        site.fail(MAXRETRY, "1009");
        site.wait_until_banned();

        site.client(&["set", JAIL, "unbanip", &site.attacker().to_string()]).unwrap();
        site.wait_until_back();
        assert!(site.banned().is_empty());
    });
}

fn the_end_of_the_ban_lets_the_attacker_back_and_the_next_ban_is_longer(fail2ban: &'static Fail2ban) {
    in_both_families(fail2ban, "bantime = 8s", |site| {
        site.fail(MAXRETRY, "1009");
        site.wait_until_banned();
        assert!(site.banned().contains("+ 8 ="), "{}", site.banned());
        site.wait_until_back();

        site.fail(MAXRETRY, "1009");
        site.wait_until_banned();
        assert!(site.banned().contains("+ 16 ="), "{}", site.banned());
    });
}

fn a_forged_line_bans_only_the_forger(fail2ban: &'static Fail2ban) {
    in_both_families(fail2ban, "", |site| {
        let bystander = site.network.bystander.address(site.family);
        site.fail(MAXRETRY, &format!("x] ip[{bystander}] at["));
        site.wait_until_banned();
        let banned = site.banned();
        assert_eq!(banned.lines().count(), 1, "{banned}");
        assert!(!banned.contains(&bystander.to_string()), "{banned}");
    });
}

fn the_command_test_proves_the_chain_up_to_the_ban(fail2ban: &'static Fail2ban) {
    in_both_families(fail2ban, "", |site| {
        site.switch.api("fail2ban test 203.0.113.9");
        site.wait_until("the test's address is banned", || site.banned().starts_with("203.0.113.9 "));
        site.assert_attacker_gets_through();
    });
}

fn failures_before_and_after_a_rotation_add_up_to_a_ban(fail2ban: &'static Fail2ban) {
    for backend in ["polling", "auto"] {
        in_both_families(fail2ban, &format!("backend = {backend}"), |site| {
            site.fail(MAXRETRY - 1, "1009");
            site.wait_until("fail2ban has read nine failures", || site.total_failed() == MAXRETRY - 1);

            let log = site.switch.log_file();
            fs::rename(&log, log.with_extension("log.1")).unwrap();
            site.fail(1, "1009");
            site.wait_until_banned();
        });
    }
}

/// The jail offers it as a comment.
fn the_iptables_variant_bans_alike(fail2ban: &'static Fail2ban) {
    let jail = fs::read_to_string(fail2ban::kit().join("jail.d/freeswitch-fail2ban.conf")).unwrap();
    let variant = jail.lines().find_map(|line| line.strip_prefix("#banaction")).unwrap();
    in_both_families(fail2ban, &format!("banaction{variant}"), |site| {
        site.fail(MAXRETRY, "1009");
        site.wait_until_banned();
        site.client(&["set", JAIL, "unbanip", &site.attacker().to_string()]).unwrap();
        site.wait_until_back();
    });
}

/// Not a test but a measurement, see `main`.
fn time_from_the_tenth_failure_to_the_first_packet_dropped(fail2ban: &'static Fail2ban) {
    const STEP: Duration = Duration::from_millis(203);
    for backend in ["polling", "pyinotify"] {
        // Not growing: fail2ban counts each failure of one it has banned before more than once.
        let settings = format!("backend = {backend}\nbantime.increment = false");
        in_both_families(fail2ban, &settings, |site| {
            // fail2ban sleeps between looks at the log and at its own list of bans, and what it is
            // asked wakes it: the pauses let the trials fall on all moments of that sleep alike.
            let mut times: Vec<_> = (0..10).map(|trial| site.time_to_drop(STEP * trial)).collect();
            times.sort();
            let (median, worst) = ((times[4] + times[5]) / 2, times[9]);
            println!("{}, {:?}, {backend}: median {median:?}, worst {worst:?}", site.fail2ban, site.family);
        });
    }
}

/// Runs `test` over IPv4 and over IPv6. `settings` are added to the jail's.
fn in_both_families(fail2ban: &'static Fail2ban, settings: &str, test: impl Fn(&Site)) {
    for family in [V4, V6] {
        let network = Network::new().expect("network namespaces can be made");
        test(&Site::new(fail2ban, family, network, settings));
    }
}

/// A server with the jail enabled, and the two who talk to it.
struct Site {
    fail2ban: &'static Fail2ban,
    family: Family,
    // Before the network: a namespace is deleted once nothing runs in it.
    server: Daemon,
    network: Network,
    switch: Switch,
}

impl Site {
    fn new(fail2ban: &'static Fail2ban, family: Family, network: Network, settings: &str) -> Site {
        // Each way of reading and writing is taken once.
        let format = if family == V4 { "classic" } else { "dated" };
        let switch = Switch::loaded(&format!("<param name=\"format\" value=\"{format}\"/>"));
        let server = Daemon::start(fail2ban, &network.server, &switch.log_file(), settings);
        let site = Site { fail2ban, family, server, network, switch };
        site.wait_until("the jail runs", || site.server.is_up());
        site.assert_attacker_gets_through();
        site
    }

    fn attacker(&self) -> IpAddr {
        self.network.attacker.address(self.family)
    }

    fn fail(&self, times: usize, user: &str) {
        for _ in 0..times {
            self.switch.fire_event(&Event::register_failure(user, &self.attacker().to_string()));
        }
    }

    fn assert_attacker_gets_through(&self) {
        for transport in [Udp, Tcp] {
            assert!(
                self.network.attacker.gets_through(transport, self.family),
                "the attacker's {transport:?}"
            );
        }
    }

    fn wait_until_banned(&self) {
        let gets_through = |transport| self.network.attacker.gets_through(transport, self.family);
        self.wait_until("the attacker is shut out", || !gets_through(Udp) && !gets_through(Tcp));
        for transport in [Udp, Tcp] {
            assert!(
                self.network.bystander.gets_through(transport, self.family),
                "the bystander's {transport:?}"
            );
        }
    }

    fn wait_until_back(&self) {
        self.wait_until("the attacker is back", || self.network.attacker.gets_through(Udp, self.family));
        self.assert_attacker_gets_through();
    }

    fn client(&self, args: &[&str]) -> Result<String, String> {
        self.server.client(args)
    }

    fn banned(&self) -> String {
        self.server.banned()
    }

    fn total_failed(&self) -> usize {
        self.server.total_failed()
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            if Instant::now() > deadline {
                panic!("not within {DEADLINE:?}: {what}; {}\n{}", self.fail2ban, self.server.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a datagram every millisecond, and finds when the first was sent that got no answer.
    fn time_to_drop(&self, pause: Duration) -> Duration {
        let socket = self.network.attacker.udp(self.family).unwrap();
        self.fail(MAXRETRY - 1, "1009");
        self.wait_until("fail2ban has read nine failures", || self.total_failed() % MAXRETRY == MAXRETRY - 1);
        thread::sleep(pause);
        self.fail(1, "1009");
        let tenth = Instant::now();
        let dropped = loop {
            let sent = Instant::now();
            socket.send(b"?").unwrap();
            if socket.recv(&mut [0]).is_err() {
                break sent - tenth;
            }
            thread::sleep(Duration::from_millis(1));
        };
        self.client(&["set", JAIL, "unbanip", &self.attacker().to_string()]).unwrap();
        self.wait_until_back();
        dropped
    }
}
