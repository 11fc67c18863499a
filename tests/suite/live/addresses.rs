//! Further addresses of the machines, as many as a city has: households, each with one IPv4 address and an IPv6 /64.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::support::fail2ban::namespace::ip;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::{Namespace, Network, Peer};
use crate::support::fail2ban::output_of;

/// One of the two machines that are linked to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Attackers = 1,
    Neighbours,
}

impl Side {
    /// The machine.
    pub fn peer(self, network: &Network) -> &Peer {
        if self == Side::Attackers { &network.attacker } else { &network.bystander }
    }

    /// An address of a household; over IPv4 it has one.
    pub fn address(self, family: Family, household: u8, host: u16) -> IpAddr {
        match family {
            V4 => Ipv4Addr::new(10, 100 + self as u8, 0, household).into(),
            V6 => Ipv6Addr::new(0xfd00, 0x100 + self as u16, 0, household.into(), 0, 0, 0, host).into(),
        }
    }

    /// All of them, as `ip` takes them.
    fn networks(self) -> [String; 2] {
        [format!("10.{}.0.0/16", 100 + self as u8), format!("fd00:{:x}::/32", 0x100 + self as u16)]
    }
}

/// What makes a source, as the module and the firewall name it.
pub fn source(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// Gives both machines their further addresses.
pub fn add(network: &Network) {
    let set = |place: &Namespace, setting: &str| {
        output_of(place.command("sysctl").args(["-qw", setting])).expect("it can be set");
    };
    for side in [Side::Attackers, Side::Neighbours] {
        let peer = side.peer(network);
        let (name, server) = (peer.namespace.name(), network.server.name());
        for (range, family) in side.networks().iter().zip([V4, V6]) {
            // Addresses of lo belong to the machine without being listed.
            ip(&format!("-n {name} route add local {range} dev lo")).expect("the addresses can be added");
            ip(&format!("-n {server} route add {range} via {}", peer.address(family))).expect("a route");
        }
        set(&peer.namespace, "net.ipv6.ip_nonlocal_bind=1");
    }
    for name in ["all", "link1", "link2"] {
        // What comes in another's name comes over another link than the answer takes.
        set(&network.server, &format!("net.ipv4.conf.{name}.rp_filter=0"));
    }
}

/// Lets the attackers send in the name of a neighbour.
pub fn can_be_forged(network: &Network, neighbour: IpAddr) {
    let name = network.attacker.namespace.name();
    ip(&format!("-n {name} route add local {neighbour} dev lo")).expect("another's address");
}
