//! A trunk that FreeSWITCH registers with.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::configuration::SIP;
use crate::support::fail2ban::network::Namespace;

/// A carrier's server: anyone who registers is welcome.
pub struct Trunk {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trunk {
    /// At this address.
    pub fn start(place: &Namespace, ip: IpAddr) -> Trunk {
        let socket = place.run(|| UdpSocket::bind(SocketAddr::new(ip, SIP))).expect("the trunk's socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut room = [0; 65536];
            while !ends.load(Ordering::Relaxed) {
                let Ok((size, from)) = socket.recv_from(&mut room) else { continue };
                let request = String::from_utf8_lossy(&room[..size]).into_owned();
                let is_request = request.lines().next().is_some_and(|line| line.ends_with(" SIP/2.0"));
                if is_request && !request.starts_with("ACK ") {
                    let _ = socket.send_to(accepted(&request).as_bytes(), from);
                }
            }
        });
        Trunk { is_over, thread: Some(thread) }
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn accepted(request: &str) -> String {
    let mut reply = "SIP/2.0 200 OK\r\n".to_owned();
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if ["via", "from", "to", "call-id", "cseq", "contact", "expires"].contains(&name.as_str()) {
            reply += line;
            reply += if name == "to" && !line.contains("tag=") { ";tag=trunk\r\n" } else { "\r\n" };
        }
    }
    reply + "Content-Length: 0\r\n\r\n"
}
