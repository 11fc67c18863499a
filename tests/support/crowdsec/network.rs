//! Machines on one wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use crate::support::namespace::{Family, NO_ANSWER_AFTER, Namespace, PORT, ip};

/// A switch that all machines are plugged into.
pub struct Wire {
    namespace: Namespace,
}

impl Wire {
    pub fn new() -> Result<Wire, String> {
        let namespace = Namespace::new("wire")?;
        ip(&format!("-n {} link add bridge type bridge", namespace.name()))?;
        ip(&format!("-n {} link set bridge up", namespace.name()))?;
        Ok(Wire { namespace })
    }

    /// Plugs in a machine with these addresses (their last parts), IPv4 and IPv6 alike.
    pub fn machine(&self, role: &str, hosts: std::ops::Range<u8>) -> Result<Namespace, String> {
        let machine = Namespace::new(role)?;
        let (inside, wire) = (machine.name(), self.namespace.name());
        ip(&format!("-n {inside} link add eth0 type veth peer name {role} netns {wire}"))?;
        ip(&format!("-n {wire} link set {role} master bridge up"))?;
        ip(&format!("-n {inside} link set eth0 up"))?;
        for host in hosts {
            ip(&format!("-n {inside} address add {}/24 dev eth0", address(Family::V4, host)))?;
            // nodad: it may be used at once.
            ip(&format!("-n {inside} address add {}/64 dev eth0 nodad", address(Family::V6, host)))?;
        }
        Ok(machine)
    }
}

/// An address on the wire. Not a private one, which Debian's CrowdSec trusts, and not one for documentation,
/// which is never known.
pub fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 18, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd2b, 0, 0, 0, 0, 0, 0, host.into()).into(),
    }
}

/// A socket of `from` that talks to `to`.
pub fn socket(machine: &Namespace, from: IpAddr, to: IpAddr) -> UdpSocket {
    machine.run(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect((to, PORT)).unwrap();
        socket.set_read_timeout(Some(NO_ANSWER_AFTER)).unwrap();
        socket
    })
}

/// Whether `to` answers a datagram of `from`.
pub fn gets_through(machine: &Namespace, from: IpAddr, to: IpAddr) -> bool {
    let socket = socket(machine, from, to);
    socket.send(b"?").and_then(|_| socket.recv(&mut [0])).is_ok()
}

/// Whether somebody listens at a TCP port.
pub fn listens(machine: &Namespace, at: SocketAddr) -> bool {
    machine.run(|| TcpStream::connect_timeout(&at, NO_ANSWER_AFTER).is_ok())
}
