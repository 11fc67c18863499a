//! FreeSWITCH as in a container: behind a bridge and DNAT, without the rights that Docker does not give, its folders
//! kept by the host, where fail2ban bans. The commands are those of `docs/containers.md`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::site::{Plan, Site};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::daemon::{Daemon, JAIL};
use crate::support::fail2ban::namespace::{Namespace, ip};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport::Udp;
use crate::support::fail2ban::network::{Network, Peer};
use crate::support::fail2ban::{self, Fail2ban, output_of};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{process, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed, needs::nftables, needs::setpriv];
    suite.add(&needs, tests![without_rights_it_refuses_and_remembers_in_the_next_container]);
    suite.add(
        &needs,
        tests![
            to_stdout_all_lines_are_written,
            behind_a_nat_all_clients_are_one_unless_its_address_is_trusted
        ],
    );
    for (release, get) in fail2ban::STABLE {
        let more = [&needs[..], &[needs::logrotate]].concat();
        suite.add_with(
            &more,
            release,
            get,
            tests![the_host_drops_the_attacker_before_dnat_also_after_a_rotation],
        );
        let more = [&needs[..], &[needs::iptables]].concat();
        suite.add_with(&more, release, get, tests![with_iptables_the_host_drops_the_attacker]);
    }
}

/// So many failures make an attacker.
const ATTACKER_AFTER: usize = 10;
const REGISTER: &str = "Expires: 300\r\n";

/// What Docker gives to a container.
const RIGHTS: &str = "--bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                      +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";
const NET_ADMIN: u32 = 12;

/// The container is the site's server, the host its bystander, and these reach the container through the host alone.
struct Contained {
    attacker: Peer,
    stranger: Peer,
    site: Site,
}

impl Contained {
    /// With what an earlier container has left in its folder `db`, and this in front of the command.
    fn start(db: Option<&Path>, fail2ban_conf: &str, wrapper: &[&str]) -> Contained {
        let mut clients = None;
        let wrapper = [&["setpriv", RIGHTS], wrapper].concat();
        let plan = Plan { fail2ban_conf, wrapper: &wrapper, ..Plan::default() };
        let site = Site::stock(&plan, |network, conf| {
            let host = &network.bystander.namespace;
            clients = Some([3, 4].map(|link| Peer::new("client", link, host).expect("a machine more")));
            publish(network, host);
            if let Some(db) = db {
                let folder = conf.with_file_name("db");
                output_of(Command::new("cp").arg("-r").args([db, &folder])).expect("the volume");
            }
        });
        let [attacker, stranger] = clients.expect("they were made");
        Contained { attacker, stranger, site }
    }

    fn agent(&self, client: &Peer, family: Family) -> Agent {
        let server = SocketAddr::new(client.server(family), SIP);
        let domain = self.site.network.attacker.server(V4).to_string();
        Agent::new(&client.namespace, client.address(family), Udp, server, &domain)
    }

    fn register(&self, client: &Peer, family: Family, account: &str, password: &str) -> Vec<u16> {
        let (user, answer) = (account.as_bytes(), Answer::Password(password));
        self.agent(client, family).send(&Request { user, headers: REGISTER, answer, ..Request::default() })
    }

    fn is_answered(&self, client: &Peer, family: Family) -> bool {
        let options = Request { method: "OPTIONS", user: b"anybody", ..Request::default() };
        !self.agent(client, family).send(&options).is_empty()
    }

    fn attack(&self, family: Family) {
        for _ in 0..ATTACKER_AFTER {
            assert_eq!(self.register(&self.attacker, family, "1016", "guess"), [401, 403]);
        }
    }
}

/// The host has the container on a bridge, and its own ports lead there.
fn publish(network: &Network, host: &Namespace) {
    let (name, inside) = (host.name(), network.server.name());
    ip(&format!("-n {name} link add br0 type bridge")).expect("a bridge");
    for (family, bits) in [(V4, 24), (V6, 64)] {
        let ours = network.bystander.address(family);
        ip(&format!("-n {name} address del {ours}/{bits} dev link2")).expect("it had that address");
        let nodad = if ours.is_ipv6() { " nodad" } else { "" };
        ip(&format!("-n {name} address add {ours}/{bits} dev br0{nodad}")).expect("the bridge's");
        ip(&format!("-n {inside} route add default via {ours}")).expect("a way back");
    }
    ip(&format!("-n {name} link set br0 up")).expect("the bridge");
    ip(&format!("-n {name} link set link2 master br0")).expect("the container's end");
    let mut rules = String::new();
    for (family, table) in [(V4, "ip"), (V6, "ip6")] {
        let (container, next) = (network.attacker.server(family), network.bystander.server(family));
        ip(&format!("-n {name} route add {container} via {next}")).expect("the way to FreeSWITCH");
        let to = SocketAddr::new(container, SIP);
        rules += &format!(
            "table {table} published {{ chain ports {{ type nat hook prerouting priority dstnat;
               iifname {{ link3, link4 }} meta l4proto {{ udp, tcp }} th dport {SIP} dnat to {to}\n}}\n}}\n"
        );
    }
    // Before any ban, after it, and once the container's address has taken the place of the host's.
    for (chain, hook) in [
        ("came", "prerouting priority -310"),
        ("left", "prerouting priority -290"),
        ("forwarded", "forward priority 10"),
    ] {
        rules += &format!("table inet counts {{ chain {chain} {{ type filter hook {hook};\n");
        for link in [3, 4] {
            rules += &format!(
                "iifname link{link} meta l4proto {{ tcp, udp }} counter comment \"{chain} link{link}\"\n"
            );
        }
        rules += "}\n}\n";
    }
    nft(host, &rules);
    for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        output_of(host.command("sysctl").args(["-qw", key])).expect("the host forwards");
    }
}

fn nft(host: &Namespace, rules: &str) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), rules).expect("the rules");
    output_of(host.command("nft").arg("-f").arg(file.path())).expect("nftables");
}

/// How many packets of a link a chain has counted.
fn counted(host: &Namespace, chain: &str, link: u8) -> u64 {
    let rules = output_of(host.command("nft").args(["list", "chain", "inet", "counts", chain]));
    let rules = rules.expect("the chain");
    let comment = format!("\"{chain} link{link}\"");
    let line = rules.lines().find(|line| line.contains(&comment)).unwrap_or_else(|| panic!("{rules}"));
    let mut words = line.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

const SHIPPED: &str = include_str!("../../../conf/autoload_configs/fail2ban.conf.xml");

fn without_rights_it_refuses_and_remembers_in_the_next_container() {
    let mut first = Contained::start(None, SHIPPED, &[]);
    let rights = process::status(first.site.pid(), "CapEff");
    let rights = u64::from_str_radix(&rights, 16).expect("a set of rights");
    assert_eq!(rights >> NET_ADMIN & 1, 0, "it may do with the network what it likes");
    for family in [V4, V6] {
        assert_eq!(first.register(&first.stranger, family, "1011", PASSWORD), [401, 200]);
        first.attack(family);
        assert_eq!(first.register(&first.attacker, family, "1016", PASSWORD), [401, 403]);
        let known = format!("fail2ban known {}", first.stranger.address(family));
        wait_until("the phone to be known", || !first.site.cli(&known).starts_with("-ERR"));
    }
    assert!(first.site.shut_down().success());
    let second = Contained::start(Some(&first.site.path("db")), SHIPPED, &[]);
    for family in [V4, V6] {
        assert_eq!(second.register(&second.attacker, family, "1016", PASSWORD), [401, 403]);
        let known = second.site.cli(&format!("fail2ban known {}", second.stranger.address(family)));
        assert!(known.contains("1011@"), "{known}");
        assert_eq!(second.register(&second.stranger, family, "1011", PASSWORD), [401, 200]);
    }
    // An empty folder instead remembers nothing.
    let third = Contained::start(None, SHIPPED, &[]);
    assert_eq!(third.register(&third.attacker, V4, "1016", PASSWORD), [401, 200]);
}

fn to_stdout_all_lines_are_written() {
    let conf = SHIPPED.replace("$${log_dir}/fail2ban.log", "/dev/stdout");
    assert_ne!(conf, SHIPPED);
    let output = tempfile::NamedTempFile::new().expect("a file");
    // A pipe, as a container's output is.
    let pipe = format!("exec \"$@\" > >(exec cat >{})", output.path().display());
    let mut contained = Contained::start(None, &conf, &["bash", "-c", &pipe, "bash"]);
    contained.attack(V4);
    let ip = contained.attacker.address(V4);
    let text = || fs::read_to_string(output.path()).expect("the output");
    let line = format!(" mod_fail2ban: attacker source={ip} ip={ip} ");
    wait_until("the attacker", || text().contains(&line));
    assert_eq!(text().matches(&format!(" mod_fail2ban: register_failure ip={ip} ")).count(), ATTACKER_AFTER);
    assert_eq!(contained.register(&contained.attacker, V4, "1016", PASSWORD), [401, 403]);
    assert!(contained.site.shut_down().success());
    wait_until("the last line", || text().contains("Fail2ban stoping"));
}

fn behind_a_nat_all_clients_are_one_unless_its_address_is_trusted() {
    let contained = Contained::start(None, SHIPPED, &[]);
    let (site, host) = (&contained.site, &contained.site.network.bystander);
    let masquerade = "type nat hook postrouting priority srcnat; oifname br0 masquerade";
    nft(&host.namespace, &format!("table ip hides {{ chain clients {{ {masquerade}\n}}\n}}\n"));
    let gateway = host.address(V4);
    contained.attack(V4);
    // As the document has it: this is what shows it, and what it leads to.
    wait_until("the busiest address", || {
        let status = site.cli("fail2ban status");
        let busiest = status.split_once("busiest addresses").map_or("", |(_, rest)| rest);
        busiest.contains(&gateway.to_string())
    });
    assert_eq!(contained.register(&contained.stranger, V4, "1011", PASSWORD), [401, 403]);
    let trusted = format!("<param name=\"trusted-acl\" value=\"{gateway}/32\"/></config>");
    site.write_config(&SHIPPED.replace("</config>", &trusted));
    assert!(site.cli("fail2ban reload").starts_with("+OK"));
    contained.attack(V4);
    assert_eq!(contained.register(&contained.stranger, V4, "1011", PASSWORD), [401, 200]);
}

/// Who attacks is dropped at the host, and not who does not. Gives how many of the packets that came went on to the
/// first chain after the ban.
fn bans(contained: &Contained, daemon: &Daemon, family: Family, next: &str) {
    let (host, attacker) = (&contained.site.network.bystander.namespace, &contained.attacker);
    let source = if family == V4 { attacker.address(V4).to_string() } else { attacker.network() };
    assert!(contained.is_answered(attacker, family));
    contained.attack(family);
    wait_until("the ban", || daemon.banned().contains(&format!("{source} ")));
    wait_until("the packets to be dropped", || !contained.is_answered(attacker, family));
    let before = ["came", next].map(|chain| counted(host, chain, 3));
    assert!(!contained.is_answered(attacker, family));
    let [came, went_on] = ["came", next].map(|chain| counted(host, chain, 3));
    assert!(came >= before[0] + 4, "{came}, {before:?}");
    assert_eq!(went_on, before[1], "packets of the attacker's came through");
    let before = counted(host, "forwarded", 4);
    assert_eq!(contained.register(&contained.stranger, family, "1011", PASSWORD), [401, 200]);
    assert_eq!(contained.register(&contained.stranger, family, "1012", "oops"), [401, 403]);
    assert!(counted(host, "forwarded", 4) >= before + 4);
}

fn the_host_drops_the_attacker_before_dnat_also_after_a_rotation(fail2ban: &'static Fail2ban) {
    let contained = Contained::start(None, SHIPPED, &[]);
    let (host, log) = (&contained.site.network.bystander.namespace, contained.site.log_file());
    let action = "banaction = freeswitch-fail2ban-nftables[chain_hook=prerouting, chain_priority=-300]";
    let daemon = Daemon::start(fail2ban, host, &log, action);
    wait_until("the jail", || daemon.is_up());
    bans(&contained, &daemon, V4, "left");
    // As the document has it, from the host.
    let folder = log.parent().expect("a folder");
    let shipped = include_str!("../../../conf/logrotate/freeswitch-fail2ban");
    let rotation = shipped.replace("/var/log/freeswitch", &folder.display().to_string());
    let rotation = rotation.replace("su freeswitch freeswitch", "su 0 0");
    let file = contained.site.path("logrotate");
    fs::write(&file, rotation).expect("its settings");
    let state = contained.site.path("logrotate.state");
    let mut logrotate = host.command("logrotate");
    output_of(logrotate.arg("--force").arg("--state").args([state, file])).expect("logrotate");
    assert!(log.with_extension("log.1").exists());
    bans(&contained, &daemon, V6, "left");
    assert!(contained.site.log_text().contains(" attacker source=fd00:"), "{}", contained.site.log_text());
    // What the document has the operator look at.
    contained.site.cli("fail2ban test");
    wait_until("the test's ban", || daemon.banned().contains("192.0.2.1 "));
    let table = || output_of(host.command("nft").args(["list", "table", "ip", "freeswitch-fail2ban"]));
    // fail2ban tells of a ban before the firewall has it.
    wait_until("the rule", || table().is_ok_and(|table| table.contains("192.0.2.1")));
    assert!(table().is_ok_and(|table| table.contains("hook prerouting")), "{table:?}", table = table());
    daemon.client(&["set", JAIL, "unbanip", "192.0.2.1"]).expect("an unban");
    assert!(!daemon.banned().contains("192.0.2.1 "));
}

fn with_iptables_the_host_drops_the_attacker(fail2ban: &'static Fail2ban) {
    let contained = Contained::start(None, SHIPPED, &[]);
    let host = &contained.site.network.bystander.namespace;
    let action = "banaction = iptables[type=allports, blocktype=DROP]\nchain = FORWARD";
    let daemon = Daemon::start(fail2ban, host, &contained.site.log_file(), action);
    wait_until("the jail", || daemon.is_up());
    for family in [V4, V6] {
        bans(&contained, &daemon, family, "forwarded");
    }
}
