//! A caller that says what sipp can't be made to: any bytes for a user's name.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::fail2ban::network::Peer;

/// What is not answered is sent again, as SIP over UDP has it: FreeSWITCH drops a request now and then while it
/// reads its XML.
const TRIES: u32 = 5;

/// Longer than an answer takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Registers over UDP, never with the right password.
pub struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    calls: u32,
}

impl Caller {
    /// From one of the machines to a profile of the server's.
    pub fn new(peer: &Peer, server: SocketAddr) -> Caller {
        let family = if server.is_ipv4() {
            crate::support::fail2ban::network::Family::V4
        } else {
            crate::support::fail2ban::network::Family::V6
        };
        let socket = peer.namespace.run(|| {
            let socket = UdpSocket::bind((peer.address(family), 0)).expect("a socket");
            socket.connect(server).expect("a route");
            socket
        });
        socket.set_read_timeout(Some(PATIENCE)).expect("it has a time limit");
        let local = socket.local_addr().expect("it is bound");
        Caller { socket, local, calls: 0 }
    }

    /// Registers, and never answers the challenge; the status of the reply, none if there is no reply.
    pub fn knock(&mut self, user: &[u8]) -> Option<u16> {
        self.calls += 1;
        self.ask(user, 1, "").map(|reply| status(&reply))
    }

    /// Registers, and answers the challenge with the wrong password; the status of the last reply.
    pub fn fail(&mut self, user: &[u8]) -> Option<u16> {
        self.calls += 1;
        let challenge = self.ask(user, 1, "")?;
        let Some(nonce) = challenge.split_once("nonce=\"").and_then(|(_, rest)| rest.split_once('"')) else {
            return Some(status(&challenge));
        };
        let credentials = format!(
            "Authorization: Digest username=\"1000\", realm=\"live.test\", nonce=\"{}\", uri=\"sip:live.test\", \
             response=\"00000000000000000000000000000000\", algorithm=MD5, cnonce=\"0\", qop=auth, nc=00000001\r\n",
            nonce.0
        );
        self.ask(user, 2, &credentials).map(|reply| status(&reply))
    }

    /// Sends a REGISTER and gives its final reply.
    fn ask(&self, user: &[u8], number: u32, credentials: &str) -> Option<String> {
        let (local, call) = (self.local, self.calls);
        let before = format!(
            "REGISTER sip:live.test SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-{call}-{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:"
        );
        let between = format!("@live.test>;tag=live{call}\r\nTo: <sip:");
        let after = format!(
            "@live.test>\r\nCall-ID: {call}@{local}\r\nCSeq: {number} REGISTER\r\n\
             Contact: <sip:live@{local}>\r\n{credentials}User-Agent: live test\r\nExpires: 120\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let request = [before.as_bytes(), user, between.as_bytes(), user, after.as_bytes()].concat();
        let mut reply = [0; 65536];
        for _ in 0..TRIES {
            self.socket.send(&request).ok()?;
            while let Ok(size) = self.socket.recv(&mut reply) {
                let reply = String::from_utf8_lossy(&reply[..size]).into_owned();
                let ours = reply.contains(&format!("branch=z9hG4bK-{call}-{number};"));
                if ours && !reply.starts_with("SIP/2.0 1") {
                    return Some(reply);
                }
            }
        }
        None
    }
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a reply has a status")
}
