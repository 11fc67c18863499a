//! Machines on one wire, each in a network namespace of its own.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{self, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where a machine answers datagrams.
const PORT: u16 = 5060;

/// Far longer than an answer takes that comes at all.
const NO_ANSWER_AFTER: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    V4,
    V6,
}

/// What a command printed, or why it failed.
pub fn output_of(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        Ok(stdout)
    } else {
        Err(format!("{command:?}: {status}\n{stdout}{}", String::from_utf8_lossy(&stderr)))
    }
}

/// Runs `ip`.
pub fn ip(words: &str) -> Result<String, String> {
    output_of(Command::new("ip").args(words.split(' ')))
}

/// A network namespace, deleted on drop.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Fails where network namespaces can't be made, as without root.
    pub fn new(role: &str) -> Result<Namespace, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("f2bcs-{}-{}-{role}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"))?;
        let namespace = Namespace { name };
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// A command that runs in here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
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

/// A switch that all machines are plugged into.
pub struct Wire {
    namespace: Namespace,
}

impl Wire {
    pub fn new() -> Result<Wire, String> {
        let namespace = Namespace::new("wire")?;
        ip(&format!("-n {} link add bridge type bridge", namespace.name))?;
        ip(&format!("-n {} link set bridge up", namespace.name))?;
        Ok(Wire { namespace })
    }

    /// Plugs in a machine with these addresses (their last parts), IPv4 and IPv6 alike.
    pub fn machine(&self, role: &str, hosts: std::ops::Range<u8>) -> Result<Namespace, String> {
        let machine = Namespace::new(role)?;
        let (inside, wire) = (&machine.name, &self.namespace.name);
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

/// Answers every datagram that a machine gets.
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub fn new(machine: &Namespace) -> Echo {
        let socket = machine.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut datagram = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((size, peer)) = socket.recv_from(&mut datagram) {
                    let _ = socket.send_to(&datagram[..size], peer);
                }
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
