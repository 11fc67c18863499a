//! Runs sipp with one of the scenarios beside this file.

use std::net::SocketAddr;
use std::path::Path;

use crate::support::fail2ban::network::{Family, Peer, Transport};
use crate::support::fail2ban::output_of;

/// What the calls of a run have in common.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub scenario: &'a str,
    pub transport: Transport,
    pub user: &'a str,
    pub password: &'a str,
    pub count: usize,
}

impl Calls<'_> {
    /// One over UDP.
    pub fn one<'a>(scenario: &'a str, user: &'a str, password: &'a str) -> Calls<'a> {
        Calls { scenario, transport: Transport::Udp, user, password, count: 1 }
    }

    /// Makes the calls, one after the other; an error if any went otherwise than the scenario has it.
    pub fn try_run(&self, from: &Peer, server: SocketAddr) -> Result<(), String> {
        let family = if server.is_ipv4() { Family::V4 } else { Family::V6 };
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/live").join(self.scenario);
        let folder = tempfile::tempdir().expect("a folder for what sipp leaves");
        let mut sipp = from.namespace.command("sipp");
        sipp.args([&server.to_string(), "-nostdin", "-timeout_error", "-timeout", "15"]);
        sipp.args(["-i", &from.address(family).to_string(), "-s", "9196", "-key", "user", self.user]);
        sipp.args(["-t", if self.transport == Transport::Udp { "u1" } else { "t1" }, "-l", "1", "-m"]);
        sipp.arg(self.count.to_string()).args(["-au", self.user, "-ap", self.password, "-r", "100", "-sf"]);
        output_of(sipp.arg(scenario).current_dir(folder.path())).map(drop)
    }

    /// As [`Calls::try_run`], where they have to succeed.
    pub fn run(&self, from: &Peer, server: SocketAddr) {
        self.try_run(from, server).unwrap_or_else(|why| panic!("{why}"));
    }
}
