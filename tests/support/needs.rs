//! What tests may need.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::suite::Why;

/// The stand-in, for what can't be done with a real FreeSWITCH: storms, failures on demand, the host's log.
pub fn stand_in() -> Result<(), Why> {
    match std::env::var_os("FREESWITCH_PREFIX") {
        None => Ok(()),
        Some(_) => Err(Why::OtherHost("it is for the stand-in, and FREESWITCH_PREFIX is set".into())),
    }
}

/// A real FreeSWITCH.
pub fn free_switch() -> Result<(), Why> {
    match std::env::var_os("FREESWITCH_PREFIX") {
        Some(prefix) if !prefix.is_empty() => Ok(()),
        _ => Err(Why::Missing("FREESWITCH_PREFIX names no installed FreeSWITCH".into())),
    }
}

/// The right to mount a small file system.
pub fn mount() -> Result<(), Why> {
    let mount = "disk=$(mktemp -d); mount -t tmpfs -o size=64k tmpfs $disk && umount $disk; failed=$?; \
                 rmdir $disk; exit $failed";
    works("a disk can't be mounted here (root can)", mount)
}

/// The right to make network namespaces.
pub fn network() -> Result<(), Why> {
    let enter = "unshare -n nsenter --net=/proc/self/ns/net \
                 ip link add link1 type veth peer name link2 netns /proc/self/ns/net";
    works("network namespaces can't be made here (root can)", enter)
}

/// nftables.
pub fn nftables() -> Result<(), Why> {
    works("nftables does not work here", "unshare -n nft add table inet a")
}

/// iptables.
pub fn iptables() -> Result<(), Why> {
    works("iptables does not work here", "unshare -n iptables --new-chain a")
}

/// sipp, which makes calls.
pub fn sipp() -> Result<(), Why> {
    command_exists("sipp is not installed (Debian: sip-tester)", "sipp")
}

/// Kamailio, the proxy that the documents speak of.
pub fn kamailio() -> Result<(), Why> {
    works("kamailio is not installed or does not run", "PATH=$PATH:/usr/sbin kamailio -v")
}

/// setpriv, which takes rights away.
pub fn setpriv() -> Result<(), Why> {
    works("setpriv can't take a right away here (root can)", "setpriv --bounding-set=-net_admin true")
}

/// logrotate.
pub fn logrotate() -> Result<(), Why> {
    works("logrotate is not installed", "PATH=$PATH:/usr/sbin logrotate --version")
}

/// Debian's rsyslog.
pub fn rsyslog() -> Result<(), Why> {
    super::rsyslog::rsyslog().map(drop)
}

/// openssl, which talks TLS.
pub fn openssl() -> Result<(), Why> {
    command_exists("openssl is not installed", "openssl")
}

/// FreeSWITCH's own mod_fail2ban, to compare with.
pub fn c_module() -> Result<(), Why> {
    match std::env::var_os("C_MODULE_SO") {
        Some(path) if !path.is_empty() => Ok(()),
        _ => Err(Why::Missing("C_MODULE_SO names no mod_fail2ban.so of FreeSWITCH's own".into())),
    }
}

/// Where that is.
pub fn c_module_path() -> PathBuf {
    std::env::var_os("C_MODULE_SO").expect("the suite has seen that it is set").into()
}

fn command_exists(otherwise: &str, name: &str) -> Result<(), Why> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(name).exists());
    if found { Ok(()) } else { Err(Why::Missing(otherwise.to_owned())) }
}

/// Tries a command of the shell's, once for all tests of the suite.
fn works(otherwise: &str, command: &'static str) -> Result<(), Why> {
    static TRIED: Mutex<Option<HashMap<&str, Result<(), Why>>>> = Mutex::new(None);
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    let try_it = || match Command::new("sh").args(["-c", command]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Why::Missing(format!("{otherwise}: {said}")))
        }
        Err(error) => Err(Why::Missing(format!("{otherwise}: {error}"))),
    };
    tried.get_or_insert_default().entry(command).or_insert_with(try_it).clone()
}
