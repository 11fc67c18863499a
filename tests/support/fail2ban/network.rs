//! A server, an attacker and a bystander, each in a network namespace of its own; the two peers are
//! linked to the server and to nothing else.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::output_of;

const PORT: u16 = 5060;

/// Far longer than an answer takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    V4,
    V6,
}

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

/// A network namespace, deleted on drop.
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn new(role: &str) -> Result<Namespace, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("f2b-{}-{}-{role}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"))?;
        Ok(Namespace { name })
    }

    /// What to put before a command for it to run in here.
    pub fn within(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs `work` on a thread inside; the sockets that it makes stay in here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: setns takes no pointers, and moves this thread alone, which ends with `work`.
                let result = unsafe { libc::setns(inside.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "setns: {}", io::Error::last_os_error());
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip`.
pub fn ip(words: &str) -> Result<String, String> {
    output_of(Command::new("ip").args(words.split(' ')))
}

/// A machine with one link, on which its address ends in 2 and the server's in 1.
pub struct Peer {
    pub namespace: Namespace,
    link: u8,
}

impl Peer {
    fn new(role: &str, link: u8, server: &Namespace) -> Result<Peer, String> {
        let namespace = Namespace::new(role)?;
        let (here, there) = (&namespace.name, &server.name);
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

    pub fn address(&self, family: Family) -> IpAddr {
        address(family, self.link, 2)
    }

    /// The server's address on this machine's link.
    pub fn server(&self, family: Family) -> IpAddr {
        address(family, self.link, 1)
    }

    /// Whether the server answers this machine.
    pub fn gets_through(&self, transport: Transport, family: Family) -> bool {
        let server = SocketAddr::new(address(family, self.link, 1), PORT);
        self.namespace.run(|| match transport {
            Transport::Udp => self
                .udp(family)
                .is_ok_and(|socket| socket.send(b"?").and_then(|_| socket.recv(&mut [0])).is_ok()),
            Transport::Tcp => TcpStream::connect_timeout(&server, PATIENCE).is_ok(),
        })
    }

    /// A socket of this machine that talks to the server.
    pub fn udp(&self, family: Family) -> io::Result<UdpSocket> {
        let server = SocketAddr::new(address(family, self.link, 1), PORT);
        self.namespace.run(|| {
            let socket = UdpSocket::bind((self.address(family), 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(PATIENCE))?;
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

/// Answers every datagram and accepts every connection, over IPv4 and IPv6.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn new(server: &Namespace) -> Echo {
        let (udp, tcp) = server.run(|| {
            let everywhere = (Ipv6Addr::UNSPECIFIED, PORT);
            (UdpSocket::bind(everywhere).unwrap(), TcpListener::bind(everywhere).unwrap())
        });
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut datagram = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((size, peer)) = udp.recv_from(&mut datagram) {
                    let _ = udp.send_to(&datagram[..size], peer);
                }
                // The kernel has answered already; this only makes room for the next.
                let _ = tcp.accept();
            }
        });
        Echo { stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
