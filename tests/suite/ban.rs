//! The ban, end to end: attacker lines, a real fail2ban-server with the shipped kit, real nftables and iptables, and
//! the packets of an attacker and of a bystander, in network namespaces.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fail2ban::daemon::{Daemon, JAIL};
use crate::support::fail2ban::namespace::{Echo, Namespace, PORT, ip};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Network;
use crate::support::fail2ban::network::Transport::{Tcp, Udp};
use crate::support::fail2ban::{self, Fail2ban, output_of};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use tempfile::TempDir;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::ALL {
        let needs = [needs::network, needs::nftables];
        suite.add_with(
            &needs,
            release,
            get,
            tests![
                one_attacker_line_shuts_out_the_source_over_udp_and_tcp_and_nobody_else,
                of_an_ipv6_network_every_address_is_dropped_and_none_of_the_next,
                a_network_is_banned_though_an_address_of_it_is_banned_already,
                unbanip_lets_the_source_back,
                each_further_ban_lasts_twice_as_long_five_times_over,
                names_in_a_line_ban_nobody_else,
                a_line_after_a_rotation_bans,
                an_ignored_network_is_not_banned,
                a_server_that_is_restarted_bans_again_whom_it_had_banned,
                bans_come_back_with_a_restart_of_the_jail_after_the_rules_were_flushed,
                packets_to_a_container_are_dropped_with_the_hook_prerouting,
            ],
        );
        let needs = [needs::network, needs::nftables, needs::iptables];
        suite.add_with(
            &needs,
            release,
            get,
            tests![the_iptables_variant_bans_alike, with_iptables_packets_to_a_container_are_dropped],
        );
    }
}

/// A machine that is slow may take this long over anything; none is expected to.
const DEADLINE: Duration = Duration::from_secs(60);

fn one_attacker_line_shuts_out_the_source_over_udp_and_tcp_and_nobody_else(fail2ban: &'static Fail2ban) {
    in_every_format(fail2ban, "", |site| {
        site.write_failures(20);
        site.attack();
        site.wait_until_banned();
        assert_eq!(site.banned().lines().count(), 1, "{}", site.banned());
        assert!(site.banned().contains("+ 600 ="), "the first ban is of ten minutes: {}", site.banned());
    });
}

fn of_an_ipv6_network_every_address_is_dropped_and_none_of_the_next(fail2ban: &'static Fail2ban) {
    every_address_of_a_network_is_dropped(&Site::new(fail2ban, "json", V6, ""));
}

fn every_address_of_a_network_is_dropped(site: &Site) {
    let attacker = &site.network.attacker;
    let server = SocketAddr::new(attacker.server(V6), PORT);
    let addresses = [attacker.address(V6), attacker.add_address(3), attacker.add_address(0xffff)];
    assert!(addresses.iter().all(|from| attacker.is_answered(*from, server)));
    site.attack();
    site.wait_until_banned();
    for from in addresses {
        assert!(!attacker.is_answered(from, server), "{from} is in the network");
    }
    assert!(site.banned().starts_with(&site.source()), "{}", site.banned());
}

/// An operator bans an address, or it is left from release 1.1.0.
fn a_network_is_banned_though_an_address_of_it_is_banned_already(fail2ban: &'static Fail2ban) {
    let site = Site::new(fail2ban, "dated", V6, "");
    let other = site.network.attacker.add_address(7).to_string();
    site.client(&["set", JAIL, "banip", &other]).unwrap();
    site.wait_until("the address is banned", || site.banned().contains(&other));
    site.attack();
    site.wait_until_banned();
    // The ban of one leaves that of the other.
    site.client(&["set", JAIL, "unbanip", &other]).unwrap();
    site.wait_until("the address is unbanned", || !site.banned().contains(&other));
    site.wait_until_banned();
}

fn unbanip_lets_the_source_back(fail2ban: &'static Fail2ban) {
    in_every_format(fail2ban, "", |site| {
        site.attack();
        site.wait_until_banned();
        site.unban();
        site.wait_until_back();
        assert!(site.banned().is_empty());
        // It bans again, and as at first.
        site.attack();
        site.wait_until_banned();
        assert!(site.banned().contains("+ 600 ="), "{}", site.banned());
    });
}

fn each_further_ban_lasts_twice_as_long_five_times_over(fail2ban: &'static Fail2ban) {
    let site = Site::new(fail2ban, "dated", V6, "bantime = 2s");
    let count = |what: &str| site.server.log().matches(what).count();
    for (before, seconds) in [2, 4, 8, 16, 32].into_iter().enumerate() {
        // One line does it each time.
        site.attack();
        site.wait_until("a ban", || count("] Ban fd00") == before + 1);
        if before > 0 {
            let longer = format!("({} # {seconds}s ->", before + 1);
            site.wait_until(&longer, || count(&longer) == 1);
        }
        if seconds < 32 {
            site.wait_until("its end", || count("] Unban fd00") == before + 1);
        }
    }
    assert_eq!(count("] Found fd00"), 5);
}

fn names_in_a_line_ban_nobody_else(fail2ban: &'static Fail2ban) {
    in_every_format(fail2ban, "", |site| {
        let bystander = site.network.bystander.address(site.family);
        site.attack_as(&format!(
            "source={bystander} ip={bystander} proven=yes 2020-01-01T00:00:00.000000+0000"
        ));
        site.wait_until_banned();
        let banned = site.banned();
        assert!(banned.lines().count() == 1 && banned.starts_with(&site.source()), "{banned}");
    });
}

fn a_line_after_a_rotation_bans(fail2ban: &'static Fail2ban) {
    for backend in ["polling", "auto"] {
        let site = Site::new(fail2ban, "dated", V4, &format!("backend = {backend}"));
        site.write_failures(3);
        fs::rename(site.log(), site.log().with_extension("log.1")).unwrap();
        site.start_log();
        site.attack();
        site.wait_until_banned();
    }
}

fn an_ignored_network_is_not_banned(fail2ban: &'static Fail2ban) {
    let site = Site::new(fail2ban, "dated", V6, "ignoreip = 127.0.0.1/8 ::1 fd00:99:0:1::/64");
    site.attack();
    // Read later, so the first is no longer waited for.
    site.write(&site.attacker_line("2001:db8:1:2::/64", "2001:db8:1:2::5", "1009"));
    site.wait_until("the other network is banned", || site.banned().starts_with("2001:db8:1:2::/64"));
    assert_eq!(site.banned().lines().count(), 1, "{}", site.banned());
    site.assert_attacker_gets_through();
}

fn a_server_that_is_restarted_bans_again_whom_it_had_banned(fail2ban: &'static Fail2ban) {
    let mut site = Site::new(fail2ban, "dated", V6, "");
    site.attack();
    site.wait_until_banned();
    site.client(&["stop"]).unwrap();
    site.server.restart(&site.network.server);
    site.wait_until("the jail runs", || site.server.is_up());
    site.wait_until_banned();
    assert!(site.banned().starts_with(&site.source()), "{}", site.banned());
}

/// As `systemctl restart nftables` does.
fn bans_come_back_with_a_restart_of_the_jail_after_the_rules_were_flushed(fail2ban: &'static Fail2ban) {
    let site = Site::new(fail2ban, "dated", V6, "");
    site.attack();
    site.wait_until_banned();
    output_of(site.network.server.command("nft").args(["flush", "ruleset"])).unwrap();
    site.wait_until_back();
    assert!(site.banned().starts_with(&site.source()), "fail2ban does not know: {}", site.banned());

    site.client(&["restart", JAIL]).unwrap();
    site.wait_until_banned();
    assert!(site.banned().starts_with(&site.source()), "{}", site.banned());
}

fn packets_to_a_container_are_dropped_with_the_hook_prerouting(fail2ban: &'static Fail2ban) {
    let site = Site::with_a_container(fail2ban, V4, "");
    site.attack();
    site.wait_until("the ban", || site.banned().starts_with(&site.source()));
    // Not without it: this is what the other hook is for.
    site.assert_attacker_gets_through();

    let action = "banaction = freeswitch-fail2ban-nftables[chain_hook=prerouting, chain_priority=-300]";
    for family in [V4, V6] {
        let site = Site::with_a_container(fail2ban, family, action);
        site.attack();
        site.wait_until_banned();
        site.unban();
        site.wait_until_back();
    }
}

fn the_iptables_variant_bans_alike(fail2ban: &'static Fail2ban) {
    let jail = fs::read_to_string(fail2ban::kit().join("jail.d/freeswitch-fail2ban.conf")).unwrap();
    // The jail offers it as a comment.
    let variant = jail.lines().find_map(|line| line.strip_prefix("#banaction")).unwrap();
    let settings = format!("banaction{variant}");
    let site = Site::new(fail2ban, "dated", V6, &settings);
    every_address_of_a_network_is_dropped(&site);
    site.unban();
    site.wait_until_back();
    let site = Site::new(fail2ban, "classic", V4, &settings);
    site.attack();
    site.wait_until_banned();
    site.unban();
    site.wait_until_back();
}

fn with_iptables_packets_to_a_container_are_dropped(fail2ban: &'static Fail2ban) {
    let action = "banaction = iptables[type=allports, blocktype=DROP]\nchain = FORWARD";
    for family in [V4, V6] {
        let site = Site::with_a_container(fail2ban, family, action);
        site.attack();
        site.wait_until_banned();
        site.unban();
        site.wait_until_back();
    }
}

/// Runs `test` in each format, over IPv4 and over IPv6. `settings` are added to the jail's.
fn in_every_format(fail2ban: &'static Fail2ban, settings: &str, test: impl Fn(&Site)) {
    for (format, family) in [("classic", V4), ("dated", V6), ("json", V6)] {
        test(&Site::new(fail2ban, format, family, settings));
    }
}

/// A server with the jail enabled, and the two who talk to it.
struct Site {
    fail2ban: &'static Fail2ban,
    format: &'static str,
    family: Family,
    // Before the network: a namespace is deleted once nothing runs in it.
    server: Daemon,
    network: Network,
    _container: Option<Container>,
    folder: TempDir,
}

/// What answers behind the server: a machine on a bridge, to which the server forwards what comes to it.
struct Container {
    _echo: Echo,
    _machine: Namespace,
}

impl Container {
    fn behind(server: &Namespace) -> Container {
        let machine = Namespace::new("container").unwrap();
        let (inside, host) = (machine.name(), server.name());
        ip(&format!("-n {host} link add br0 type bridge")).unwrap();
        ip(&format!("-n {host} link set br0 up")).unwrap();
        ip(&format!("-n {inside} link add eth0 type veth peer name veth0 netns {host}")).unwrap();
        ip(&format!("-n {host} link set veth0 master br0 up")).unwrap();
        ip(&format!("-n {inside} link set eth0 up")).unwrap();
        for (name, device, last) in [(host, "br0", 1), (inside, "eth0", 2)] {
            ip(&format!("-n {name} address add 172.30.0.{last}/24 dev {device}")).unwrap();
            ip(&format!("-n {name} address add fd00:30::{last}/64 dev {device} nodad")).unwrap();
        }
        ip(&format!("-n {inside} route add default via 172.30.0.1")).unwrap();
        ip(&format!("-n {inside} -6 route add default via fd00:30::1")).unwrap();
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            output_of(server.command("sysctl").args(["-qw", key])).unwrap();
        }
        // As a container engine publishes a port.
        let to_port = format!("fib daddr type local meta l4proto {{ tcp, udp }} th dport {PORT}");
        let rules = format!(
            "add table inet engine
             add chain inet engine prerouting {{ type nat hook prerouting priority dstnat; }}
             add rule inet engine prerouting {to_port} dnat ip to 172.30.0.2
             add rule inet engine prerouting {to_port} dnat ip6 to fd00:30::2"
        );
        output_of(server.command("nft").arg(rules)).unwrap();
        Container { _echo: Echo::new(&machine), _machine: machine }
    }
}

impl Site {
    fn new(fail2ban: &'static Fail2ban, format: &'static str, family: Family, settings: &str) -> Site {
        let network = Network::new().expect("network namespaces can be made");
        Site::on(fail2ban, format, family, settings, network, None)
    }

    fn with_a_container(fail2ban: &'static Fail2ban, family: Family, settings: &str) -> Site {
        let network = Network::silent().expect("network namespaces can be made");
        let container = Container::behind(&network.server);
        Site::on(fail2ban, "dated", family, settings, network, Some(container))
    }

    fn on(
        fail2ban: &'static Fail2ban,
        format: &'static str,
        family: Family,
        settings: &str,
        network: Network,
        container: Option<Container>,
    ) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("fail2ban.log");
        fs::write(&log, "").unwrap();
        let server = Daemon::start(fail2ban, &network.server, &log, settings);
        let site = Site { fail2ban, format, family, server, network, _container: container, folder };
        site.start_log();
        site.wait_until("the jail runs", || site.server.is_up());
        site.wait_until_back();
        site
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("fail2ban.log")
    }

    fn write(&self, line: &str) {
        let mut log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The line with which the module starts a file.
    fn start_log(&self) {
        let time = now();
        self.write(&match self.format {
            "classic" => format!("Fail2ban was started at[{time}]"),
            "dated" => format!("{time} mod_fail2ban: Fail2ban was started"),
            _ => format!(r#"{{"time":"{time}","event":"started"}}"#),
        });
    }

    fn write_failures(&self, times: usize) {
        let (time, ip) = (now(), self.attacker());
        for _ in 0..times {
            self.write(&match self.format {
                "classic" => format!("A registration failed user[1009] ip[{ip}] at[{time}]"),
                "dated" => format!(r#"{time} mod_fail2ban: register_failure ip={ip} known=no user="1009""#),
                _ => format!(r#"{{"time":"{time}","event":"register_failure","ip":"{ip}","known":false,"user":"1009"}}"#),
            });
        }
    }

    /// The module finds that the attacker's source is one.
    fn attack(&self) {
        self.attack_as("1009");
    }

    fn attack_as(&self, user: &str) {
        self.write(&self.attacker_line(&self.source(), &self.attacker().to_string(), user));
    }

    fn attacker_line(&self, source: &str, ip: &str, user: &str) -> String {
        let time = now();
        match self.format {
            "classic" => format!("An attacker was found user[{user}] ip[{source}] at[{time}]"),
            "dated" => format!(
                r#"{time} mod_fail2ban: attacker source={source} ip={ip} known=no proven=no points=10 level=1 causes="failure=10" accounts=1 user="{user}""#
            ),
            _ => format!(
                r#"{{"time":"{time}","event":"attacker","ip":"{ip}","known":false,"source":"{source}","proven":false,"points":10,"level":1,"causes":{{"failure":10}},"accounts":1,"user":"{user}"}}"#
            ),
        }
    }

    fn attacker(&self) -> IpAddr {
        self.network.attacker.address(self.family)
    }

    /// What the module says that it is: its address, or its network.
    fn source(&self) -> String {
        match self.family {
            V4 => self.attacker().to_string(),
            V6 => self.network.attacker.network(),
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

    fn unban(&self) {
        let lifted = self.client(&["set", JAIL, "unbanip", &self.source()]).unwrap();
        assert_eq!(lifted.trim(), "1", "{}", self.source());
    }

    fn client(&self, args: &[&str]) -> Result<String, String> {
        self.server.client(args)
    }

    fn banned(&self) -> String {
        self.server.banned()
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
}

/// The time as the module writes it.
fn now() -> String {
    output_of(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%6N+0000"])).unwrap().trim().to_owned()
}
