//! REGISTERs to a FreeSWITCH on this machine, sent as a SIP proxy on it passes on its clients'.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::switch::{Switch, wait_until};

const DOMAIN: &str = "switch.example";
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives a real FreeSWITCH a profile on loopback, an account, and the shipped settings with the proxy; the port at which
/// sofia will listen.
pub fn ready_for_sip(switch: &Switch, settings: &str, user: &str, password: &str) -> io::Result<u16> {
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = switch.path("conf/freeswitch.xml");
    let profile = format!(
        r#"<profiles><profile name="internal"><settings>
             <param name="sip-ip" value="127.0.0.1"/><param name="rtp-ip" value="127.0.0.1"/>
             <param name="sip-port" value="{port}"/><param name="manage-presence" value="false"/>
             <param name="context" value="default"/><param name="dialplan" value="XML"/>
           </settings></profile></profiles>"#
    );
    let directory = format!(
        r#"<section name="directory"><domain name="{DOMAIN}"><groups><group name="default"><users>
             <user id="{user}"><params><param name="password" value="{password}"/></params></user>
           </users></group></groups></domain></section></document>"#
    );
    let text = std::fs::read_to_string(&file)?;
    let text = text.replace("<profiles/>", &profile).replace("</document>", &directory);
    std::fs::write(&file, text)?;
    let proxy = r#"<param name="proxy" value="127.0.0.1/32"/></config>"#;
    switch.write_config(&settings.replace("</config>", proxy));
    Ok(port)
}

/// The proxy.
pub struct Client {
    socket: UdpSocket,
    requests: usize,
}

impl Client {
    /// Loads sofia, and waits until it listens there.
    pub fn new(switch: &Switch, port: u16) -> io::Result<Client> {
        switch.command("load mod_sofia").map_err(io::Error::other)?;
        wait_until("sofia's profile", || switch.api("sofia status").contains("RUNNING"));
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { socket, requests: 0 })
    }

    /// Registers for a client: FreeSWITCH's answer to its password.
    pub fn register(&mut self, ip: &str, user: &str, password: &str) -> io::Result<String> {
        self.requests += 2;
        let challenge = self.ask(self.requests, ip, user, "")?;
        let value = |name: &str| {
            let value =
                challenge.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
            value.map(|(value, _)| value).ok_or_else(|| io::Error::other(challenge.clone()))
        };
        let (realm, nonce) = (value("realm")?, value("nonce")?);
        let digest = |text: &str| format!("{:x}", md5::compute(text));
        let account = digest(&format!("{user}:{realm}:{password}"));
        let response = digest(&format!("{account}:{nonce}:{}", digest(&format!("REGISTER:sip:{DOMAIN}"))));
        let credentials = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:{DOMAIN}\", \
             response=\"{response}\"\r\n"
        );
        let answer = self.ask(self.requests + 1, ip, user, &credentials)?;
        Ok(answer.lines().next().unwrap_or_default().trim_start_matches("SIP/2.0 ").to_owned())
    }

    fn ask(&self, number: usize, ip: &str, user: &str, credentials: &str) -> io::Result<String> {
        let (here, call) = (self.socket.local_addr()?, number / 2);
        let request = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK-{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={call}\r\nTo: <sip:{user}@{DOMAIN}>\r\n\
             Call-ID: attempt-{call}\r\nCSeq: {number} REGISTER\r\nContact: <sip:{user}@{here}>\r\nExpires: 60\r\n\
             User-Agent: friendly-scanner\r\nX-AUTH-IP: {ip}\r\n{credentials}Content-Length: 0\r\n\r\n"
        );
        self.socket.send(request.as_bytes())?;
        let mut answer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut answer)?;
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            if text.contains(&format!("CSeq: {number} ")) && !text.starts_with("SIP/2.0 1") {
                return Ok(text);
            }
        }
    }
}
