//! Network namespaces, each a machine of its own, and what answers in them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{self, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where a machine answers.
pub const PORT: u16 = 5060;

/// Far longer than an answer takes that comes at all.
pub const NO_ANSWER_AFTER: Duration = Duration::from_secs(1);

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

/// Runs `ip`; with `-n NAMESPACE` in front, in there. (ip's own `-n` mounts, which fails in a plain chroot.)
pub fn ip(words: &str) -> Result<String, String> {
    let (mut command, words) = match words.strip_prefix("-n ").and_then(|rest| rest.split_once(' ')) {
        Some((namespace, words)) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={namespace}")).arg("ip");
            (command, words)
        }
        None => (Command::new("ip"), words),
    };
    output_of(command.args(words.split(' ')))
}

/// A network namespace, which ends with its last user, however the test ends.
pub struct Namespace {
    inside: File,
    name: String,
    net: String,
}

impl Namespace {
    /// Fails where network namespaces can't be made, as without root. `role` is for the error.
    pub fn new(role: &str) -> Result<Namespace, String> {
        let made = thread::spawn(|| {
            // SAFETY: unshare takes no pointers, and moves this thread alone, which ends with this closure.
            match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
                0 => File::open("/proc/thread-self/ns/net"),
                _ => Err(io::Error::last_os_error()),
            }
        });
        let inside =
            made.join().unwrap().map_err(|error| format!("a network namespace ({role}): {error}"))?;
        let name = format!("/proc/{}/fd/{}", process::id(), inside.as_raw_fd());
        ip(&format!("-n {name} link set lo up"))?;
        Ok(Namespace { inside, net: format!("--net={name}"), name })
    }

    /// Its name, as [`ip`] takes it after `-n` and `netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to put before a command for it to run in here.
    pub fn within(&self) -> [&str; 2] {
        ["nsenter", &self.net]
    }

    /// A command that runs in here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let [first, rest @ ..] = self.within();
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Runs `work` on a thread inside; the sockets that it makes stay in here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = &self.inside;
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

/// Answers every datagram and accepts every connection, over IPv4 and IPv6.
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub fn new(machine: &Namespace) -> Echo {
        let (udp, tcp) = machine.run(|| {
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
