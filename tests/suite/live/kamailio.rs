//! A Kamailio, as it is installed, between clients and FreeSWITCH. Its configuration is written here.

use std::fs;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::configuration::SIP;
use super::stock::EXTERNAL_SIP;
use crate::support::fail2ban::network::{Namespace, Transport};

/// What `docs/cluster.md` has in a proxy's configuration.
pub const PASSES_CLIENT_ON: &str = r#"if (search("\r[^\n]")) {
            drop;
        }
        remove_hf("X-AUTH-IP");
        append_hf("X-AUTH-IP: $si\r\n");"#;

/// A running Kamailio.
pub struct Kamailio {
    process: Child,
    folder: TempDir,
}

impl Kamailio {
    /// In a namespace, listening at these addresses over UDP and TCP; to FreeSWITCH's, one of IPv4 and one of IPv6,
    /// it relays requests over one transport, after `first` was done with them.
    pub fn start(
        place: &Namespace,
        listen: &[IpAddr],
        free_switch: [IpAddr; 2],
        to: Transport,
        first: &str,
    ) -> Kamailio {
        let folder = TempDir::with_prefix("kamailio-").expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        fs::write(file("kamailio.cfg"), configuration(listen, free_switch, to, first))
            .expect("its configuration");
        let output = fs::File::create(file("log")).expect("its log");
        let mut command = place.command("kamailio");
        command.args(["-DD", "-E", "-m", "16", "-M", "4", "-f"]).arg(file("kamailio.cfg"));
        command.arg("-P").arg(file("pid")).arg("-Y").arg(folder.path()).arg("-w").arg(folder.path());
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a handle")).stderr(output);
        // Its children end with it, however the test ends.
        command.process_group(0);
        let process = command.spawn().expect("kamailio starts");
        Kamailio { process, folder }
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kamailio:\n{}", self.log());
        }
        let group = i32::try_from(self.process.id()).expect("a process's number");
        // SAFETY: kill takes no pointers; the group is that of a child which has not been waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.process.wait();
    }
}

fn configuration(listen: &[IpAddr], free_switch: [IpAddr; 2], to: Transport, first: &str) -> String {
    let quoted = |ip: IpAddr| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    let mut text = String::new();
    for ip in listen {
        for transport in ["udp", "tcp"] {
            text += &format!("listen={transport}:{}:{SIP}\n", quoted(*ip));
        }
    }
    for module in ["tm", "sl", "rr", "pv", "textops", "siputils"] {
        text += &format!("loadmodule \"{module}.so\"\n");
    }
    let [v4, v6] = free_switch;
    let transport = if to == Transport::Tcp { ";transport=tcp" } else { "" };
    let uri = |ip: IpAddr, port: u16| format!("sip:{}:{port}{transport}", quoted(ip));
    format!(
        r#"#!KAMAILIO
children=2
tcp_children=2
log_stderror=yes
auto_aliases=no
dns=no
rev_dns=no
{text}
request_route {{
    if ($si == "{v4}" || $si == "{v6}") {{
        loose_route();
    }} else {{
        {first}
        if (is_method("CANCEL") || is_method("ACK")) {{
            if (t_check_trans()) {{
                t_relay();
                exit;
            }}
        }}
        if (!has_totag() && !is_method("REGISTER")) {{
            record_route();
        }}
        remove_hf("Route");
        if (af == INET6) {{
            $du = "{}";
        }} else if ($rU =~ "^00") {{
            $du = "{}";
        }} else {{
            $du = "{}";
        }}
    }}
    if (!t_relay()) {{
        sl_reply_error();
    }}
}}
"#,
        uri(v6, SIP),
        uri(v4, EXTERNAL_SIP),
        uri(v4, SIP),
    )
}
