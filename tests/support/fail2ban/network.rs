//! A server, an attacker and a bystander, each in a network namespace of its own; the two peers are
//! linked to the server and to nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use super::namespace::{Echo, NO_ANSWER_AFTER, PORT, ip};
pub use super::namespace::{Family, Namespace};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transport {
    Udp,
    Tcp,
}

pub struct Network {
    // Dropped first: the sockets of a running echo would keep a deleted namespace alive.
    _echo: Option<Echo>,
    pub attacker: Peer,
    pub bystander: Peer,
    pub server: Namespace,
}

impl Network {
    /// A network whose server answers everyone. Fails where network namespaces can't be made, as without root.
    pub fn new() -> Result<Network, String> {
        let mut network = Network::silent()?;
        network._echo = Some(Echo::new(&network.server));
        Ok(network)
    }

    /// A network in whose server nothing runs yet.
    pub fn silent() -> Result<Network, String> {
        let server = Namespace::new("server")?;
        let attacker = Peer::new("attacker", 1, &server)?;
        let bystander = Peer::new("bystander", 2, &server)?;
        Ok(Network { _echo: None, attacker, bystander, server })
    }
}

/// A machine with one link, on which its address ends in 2 and the server's in 1.
pub struct Peer {
    pub namespace: Namespace,
    link: u8,
}

impl Peer {
    /// Links a new machine to another, which is its server.
    pub fn new(role: &str, link: u8, server: &Namespace) -> Result<Peer, String> {
        let namespace = Namespace::new(role)?;
        let (here, there) = (namespace.name(), server.name());
        ip(&format!("-n {there} link add link{link} type veth peer name link{link} netns {here}"))?;
        for (name, host) in [(there, 1), (here, 2)] {
            for family in [Family::V4, Family::V6] {
                let (address, bits) =
                    (address(family, link, host), if family == Family::V4 { 24 } else { 64 });
                // nodad: an IPv6 address may be used at once.
                let nodad = if family == Family::V4 { "" } else { " nodad" };
                ip(&format!("-n {name} address add {address}/{bits} dev link{link}{nodad}"))?;
            }
            ip(&format!("-n {name} link set link{link} up"))?;
        }
        Ok(Peer { namespace, link })
    }

    /// Reaches all that the server reaches by way of it.
    pub fn add_default_routes(&self) {
        for family in [Family::V4, Family::V6] {
            let (name, server) = (self.namespace.name(), self.server(family));
            ip(&format!("-n {name} route add default via {server}")).unwrap();
        }
    }

    pub fn address(&self, family: Family) -> IpAddr {
        address(family, self.link, 2)
    }

    /// The server's address on this machine's link.
    pub fn server(&self, family: Family) -> IpAddr {
        address(family, self.link, 1)
    }

    /// The IPv6 network that this machine is in.
    pub fn network(&self) -> String {
        format!("fd00:99:0:{}::/64", self.link)
    }

    /// Gives it a further address of its IPv6 network.
    pub fn add_address(&self, host: u16) -> IpAddr {
        let address = Ipv6Addr::new(0xfd00, 0x99, 0, self.link.into(), host, 0, 0, host);
        let words =
            format!("-n {} address add {address}/64 dev link{} nodad", self.namespace.name(), self.link);
        ip(&words).unwrap();
        address.into()
    }

    /// Whether the server answers this machine.
    pub fn gets_through(&self, transport: Transport, family: Family) -> bool {
        let server = SocketAddr::new(address(family, self.link, 1), PORT);
        match transport {
            Transport::Udp => self.is_answered(self.address(family), server),
            Transport::Tcp => {
                self.namespace.run(|| TcpStream::connect_timeout(&server, NO_ANSWER_AFTER).is_ok())
            }
        }
    }

    /// Whether a datagram from one of this machine's addresses is answered.
    pub fn is_answered(&self, from: IpAddr, server: SocketAddr) -> bool {
        let socket = self.udp_between(from, server);
        socket.is_ok_and(|socket| socket.send(b"?").and_then(|_| socket.recv(&mut [0])).is_ok())
    }

    fn udp_between(&self, from: IpAddr, server: SocketAddr) -> io::Result<UdpSocket> {
        self.namespace.run(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(NO_ANSWER_AFTER))?;
            Ok(socket)
        })
    }
}

fn address(family: Family, link: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 99, link, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x99, 0, link.into(), 0, 0, 0, host.into()).into(),
    }
}
