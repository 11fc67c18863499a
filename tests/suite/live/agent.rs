//! A SIP user agent, over UDP, TCP or TLS: what phones and attackers send, and nothing that is not needed for it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fail2ban::network::{Namespace, Transport};

/// How long a final reply may take; over UDP a request is sent again each `RESEND_AFTER` of it.
const PATIENCE: Duration = Duration::from_secs(4);
const RESEND_AFTER: Duration = Duration::from_secs(1);
/// How long the way to a phone takes. To a MESSAGE that comes sooner after its challenge than sofia-sip has put the
/// challenged one away, FreeSWITCH answers 500.
const WAY: Duration = Duration::from_millis(20);

/// What goes with a request.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Nothing, even if the server asks for credentials.
    Never,
    /// Credentials, once the server has asked for them.
    Password(&'a str),
    /// Credentials for a challenge that nobody made, at once, and nothing after that.
    MadeUp,
}

/// A request; what is left out is what a phone would write.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Who sends it; bytes, since attackers write any.
    pub user: &'a [u8],
    /// Whose credentials they are, if not the sender's.
    pub auth_user: Option<&'a str>,
    /// For whom it is, if not for the sender.
    pub to: Option<&'a str>,
    /// Header lines, each with its end.
    pub headers: &'a str,
    pub body: &'a str,
    /// The call, if it is not a new one.
    pub call_id: Option<&'a str>,
    pub answer: Answer<'a>,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Request {
            method: "REGISTER",
            user: b"",
            auth_user: None,
            to: None,
            headers: "",
            body: "",
            call_id: None,
            answer: Answer::Never,
        }
    }
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    /// The way to an `openssl s_client`.
    Tls(UnixStream, Vec<u8>, Child),
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Socket::Tls(_, _, client) = self {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// A user agent at one address and port.
pub struct Agent {
    socket: Socket,
    local: SocketAddr,
    domain: String,
    nonces_used: u32,
    /// How long it waits for a final reply.
    pub patience: Duration,
}

/// A final reply, and what a later request needs of it.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    text: String,
}

impl Reply {
    fn parse(text: String) -> Option<Reply> {
        let status = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
        Some(Reply { status, text })
    }

    /// The value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (there, value) = line.split_once(':')?;
            there.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The server's challenge: the header that answers it, the realm, the nonce.
    fn challenge(&self) -> Option<(&'static str, String, String)> {
        let (name, challenge) = match self.header("WWW-Authenticate") {
            Some(challenge) => ("Authorization", challenge),
            None => ("Proxy-Authorization", self.header("Proxy-Authenticate")?),
        };
        let value =
            |of: &str| Some(challenge.split_once(&format!("{of}=\""))?.1.split_once('"')?.0.to_owned());
        Some((name, value("realm")?, value("nonce")?))
    }

    /// The server's nonce.
    pub fn nonce(&self) -> Option<String> {
        self.challenge().map(|(_, _, nonce)| nonce)
    }
}

impl Agent {
    /// At this address of a namespace, talking to a server about users of `domain`.
    pub fn new(
        from: &Namespace,
        ip: IpAddr,
        transport: Transport,
        server: SocketAddr,
        domain: &str,
    ) -> Agent {
        let (socket, local) = from.run(|| match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((ip, 0)).expect("the address is there");
                socket.connect(server).expect("a route");
                let local = socket.local_addr().expect("it is bound");
                (Socket::Udp(socket), local)
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(server).expect("the server listens");
                let local = stream.local_addr().expect("it is bound");
                (Socket::Tcp(stream, Vec::new()), local)
            }
        });
        Agent { socket, local, domain: domain.to_owned(), nonces_used: 0, patience: PATIENCE }
    }

    /// The same over TLS, whatever certificate the server has.
    pub fn over_tls(from: &Namespace, ip: IpAddr, server: SocketAddr, domain: &str) -> Agent {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (local, client) = from.run(|| {
            let free = TcpListener::bind((ip, 0)).expect("the address is there");
            let local = free.local_addr().expect("it is bound");
            drop(free);
            let output = theirs.try_clone().expect("a copy");
            let client = Command::new("openssl")
                .args(["s_client", "-quiet", "-connect", &server.to_string(), "-bind", &local.to_string()])
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::from(OwnedFd::from(output)))
                .stderr(Stdio::null())
                .spawn();
            (local, client.expect("openssl runs"))
        });
        let socket = Socket::Tls(ours, Vec::new(), client);
        Agent { socket, local, domain: domain.to_owned(), nonces_used: 0, patience: PATIENCE }
    }

    /// Sends a request, and once more with credentials if those are asked for: the statuses of the replies.
    pub fn send(&mut self, request: &Request<'_>) -> Vec<u16> {
        self.send_for_replies(request).iter().map(|reply| reply.status).collect()
    }

    /// The same, with the replies.
    pub fn send_for_replies(&mut self, request: &Request<'_>) -> Vec<Reply> {
        let call_id = request.call_id.map_or_else(unique, str::to_owned);
        let tag = unique();
        let first = match request.answer {
            Answer::MadeUp => {
                self.credentials(request, "Authorization", &self.domain.clone(), &unique(), "x")
            }
            _ => String::new(),
        };
        let mut replies: Vec<_> = self.ask(request, &call_id, &tag, &first).into_iter().collect();
        if let (Answer::Password(password), Some(challenge)) =
            (request.answer, replies.first().and_then(Reply::challenge))
        {
            let (name, realm, nonce) = challenge;
            thread::sleep(WAY);
            let credentials = self.credentials(request, name, &realm, &nonce, password);
            replies.extend(self.ask(request, &call_id, &tag, &credentials));
        }
        replies
    }

    /// Sends a request with credentials for a nonce that was got elsewhere, and waits for nothing.
    pub fn forge(&mut self, request: &Request<'_>, nonce: &str) {
        self.guess(request, nonce, "wrong");
    }

    /// The same with a password.
    pub fn guess(&mut self, request: &Request<'_>, nonce: &str, password: &str) {
        let credentials = self.credentials_for(request, nonce, password);
        let text = self.request(request, &unique(), &unique(), &unique(), &credentials);
        self.write(&text);
    }

    /// The same, and waits for the reply; replies to others are dropped.
    pub fn guess_for_reply(&mut self, request: &Request<'_>, nonce: &str, password: &str) -> Option<u16> {
        let credentials = self.credentials_for(request, nonce, password);
        self.ask(request, &unique(), &unique(), &credentials).map(|reply| reply.status)
    }

    /// A nonce of the server's.
    pub fn nonce(&mut self, request: &Request<'_>) -> String {
        let replies = self.send_for_replies(&Request { answer: Answer::Never, ..*request });
        replies.last().and_then(Reply::nonce).expect("a challenge")
    }

    fn credentials_for(&mut self, request: &Request<'_>, nonce: &str, password: &str) -> String {
        let name = if request.method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        let realm = self.domain.clone();
        self.credentials(request, name, &realm, nonce, password)
    }

    /// Calls, and gives up once the server has begun to work on it: the status of the final reply.
    pub fn give_up(&mut self, request: &Request<'_>) -> Option<u16> {
        let (call_id, tag, branch) = (unique(), unique(), unique());
        let invite = self.request(request, &call_id, &tag, &branch, "");
        self.write(&invite);
        let until = Instant::now() + PATIENCE;
        while !self.read(until)?.starts_with("SIP/2.0 1") {}
        thread::sleep(WAY);
        let (uri, user) = (self.uri(request), String::from_utf8_lossy(request.user));
        let to = request.to.unwrap_or(&user);
        let cancel = format!(
            "CANCEL {uri} SIP/2.0\r\n{}From: <sip:{user}@{domain}>;tag={tag}\r\nTo: <sip:{to}@{domain}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n",
            self.via(&branch),
            domain = self.domain
        );
        self.write(cancel.as_bytes());
        loop {
            let message = self.read(until)?;
            if message.contains("INVITE\r\n") && !message.starts_with("SIP/2.0 1") {
                let reply = Reply::parse(message)?;
                self.acknowledge(request, &reply, &call_id, &tag, &branch);
                return Some(reply.status);
            }
        }
    }

    fn credentials(
        &mut self,
        request: &Request<'_>,
        name: &str,
        realm: &str,
        nonce: &str,
        password: &str,
    ) -> String {
        self.nonces_used += 1;
        let own = String::from_utf8_lossy(request.user);
        let user = request.auth_user.unwrap_or(&own);
        let digest = |text: &str| format!("{:x}", md5::compute(text));
        let uri = self.uri(request);
        let (account, what) =
            (digest(&format!("{user}:{realm}:{password}")), digest(&format!("{}:{uri}", request.method)));
        let count = format!("{:08x}", self.nonces_used);
        let response = digest(&format!("{account}:{nonce}:{count}:0a4f113b:auth:{what}"));
        format!(
            "{name}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, cnonce=\"0a4f113b\", qop=auth, nc={count}\r\n"
        )
    }

    fn uri(&self, request: &Request<'_>) -> String {
        match (request.method, request.to) {
            ("REGISTER", _) => format!("sip:{}", self.domain),
            (_, Some(to)) => format!("sip:{to}@{}", self.domain),
            (_, None) => format!("sip:{}@{}", String::from_utf8_lossy(request.user), self.domain),
        }
    }

    /// Sends a request until a final reply comes.
    fn ask(&mut self, request: &Request<'_>, call_id: &str, tag: &str, credentials: &str) -> Option<Reply> {
        let branch = unique();
        let text = self.request(request, call_id, tag, &branch, credentials);
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            self.write(&text);
            let again = match self.socket {
                Socket::Udp(_) => until.min(Instant::now() + RESEND_AFTER),
                Socket::Tcp(..) | Socket::Tls(..) => until,
            };
            while let Some(message) = self.read(again) {
                if !message.starts_with("SIP/2.0 ") {
                    // A NOTIFY: unless it is answered, the server ends the subscription.
                    self.answer_ok(&message);
                } else if message.contains(&branch) && !message.starts_with("SIP/2.0 1") {
                    let reply = Reply::parse(message)?;
                    if request.method == "INVITE" {
                        self.acknowledge(request, &reply, call_id, tag, &branch);
                    }
                    return Some(reply);
                }
            }
        }
        None
    }

    /// ACK, and if the call was taken, BYE.
    fn acknowledge(&mut self, request: &Request<'_>, reply: &Reply, call_id: &str, tag: &str, branch: &str) {
        let number: u32 =
            reply.header("CSeq").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(1);
        let to = reply.header("To").unwrap_or_default().to_owned();
        let own_branch = if reply.status < 300 { unique() } else { branch.to_owned() };
        for (method, number, branch) in [("ACK", number, own_branch), ("BYE", number + 1, unique())] {
            if method == "ACK" || reply.status < 300 {
                let (uri, user) = (self.uri(request), String::from_utf8_lossy(request.user));
                let text = format!(
                    "{method} {uri} SIP/2.0\r\n{}From: <sip:{user}@{}>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
                     CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n",
                    self.via(&branch),
                    self.domain
                );
                self.write(text.as_bytes());
            }
        }
    }

    fn via(&self, branch: &str) -> String {
        let name = match self.socket {
            Socket::Udp(_) => "UDP",
            Socket::Tcp(..) => "TCP",
            Socket::Tls(..) => "TLS",
        };
        format!("Via: SIP/2.0/{name} {};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n", self.local)
    }

    fn request(
        &self,
        request: &Request<'_>,
        call_id: &str,
        tag: &str,
        branch: &str,
        credentials: &str,
    ) -> Vec<u8> {
        let (uri, method, domain) = (self.uri(request), request.method, &self.domain);
        let (mut headers, mut body) = (request.headers.to_owned(), request.body.to_owned());
        if method == "INVITE" {
            headers += "Content-Type: application/sdp\r\n";
            let (family, ip) = (if self.local.is_ipv4() { "IP4" } else { "IP6" }, self.local.ip());
            body = format!(
                "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
                 m=audio 30000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
            );
        }
        let start = format!("{method} {uri} SIP/2.0\r\n{}From: <sip:", self.via(branch));
        let between = format!("@{domain}>;tag={tag}\r\nTo: <sip:");
        // Each request of a transaction has a branch of its own, and so a number of its own will do.
        let number = if credentials.is_empty() { 1 } else { 2 };
        let transport = match self.socket {
            Socket::Udp(_) => "",
            Socket::Tcp(..) => ";transport=tcp",
            Socket::Tls(..) => ";transport=tls",
        };
        let end = format!(
            "@{domain}>\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\nContact: <sip:agent@{}{transport}>\r\n\
             {credentials}{headers}User-Agent: live test\r\nContent-Length: {}\r\n\r\n{body}",
            self.local,
            body.len()
        );
        let to = request.to.map_or(request.user, str::as_bytes);
        [start.as_bytes(), request.user, between.as_bytes(), to, end.as_bytes()].concat()
    }

    fn answer_ok(&mut self, request: &str) {
        let copied = ["via:", "from:", "to:", "call-id:", "cseq:"];
        let mut text = "SIP/2.0 200 OK\r\n".to_owned();
        for line in request.lines().take_while(|line| !line.is_empty()) {
            if copied.iter().any(|name| line.to_ascii_lowercase().starts_with(name)) {
                text += line;
                text += "\r\n";
            }
        }
        text += "Content-Length: 0\r\n\r\n";
        self.write(text.as_bytes());
    }

    /// What can't be sent, since a firewall has closed the connection, is not answered either.
    fn write(&mut self, text: &[u8]) {
        let _ = match &mut self.socket {
            Socket::Udp(socket) => socket.send(text).map(drop),
            Socket::Tcp(stream, _) => stream.write_all(text),
            Socket::Tls(stream, ..) => stream.write_all(text),
        };
    }

    /// The next message, if one comes until then.
    fn read(&mut self, until: Instant) -> Option<String> {
        loop {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let mut room = [0; 65536];
            match &mut self.socket {
                Socket::Udp(socket) => {
                    socket.set_read_timeout(Some(left)).expect("a time limit");
                    if let Ok(size) = socket.recv(&mut room) {
                        return Some(String::from_utf8_lossy(&room[..size]).into_owned());
                    }
                }
                Socket::Tcp(stream, bytes) => {
                    stream.set_read_timeout(Some(left)).expect("a time limit");
                    if let Some(read) = read_message(stream, bytes) {
                        return read;
                    }
                }
                Socket::Tls(stream, bytes, _) => {
                    stream.set_read_timeout(Some(left)).expect("a time limit");
                    if let Some(read) = read_message(stream, bytes) {
                        return read;
                    }
                }
            }
        }
    }
}

/// The next message of a stream, `Some(None)` at its end; `None` if it takes more reading.
fn read_message(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Option<Option<String>> {
    if let Some(message) = take_message(bytes) {
        return Some(Some(message));
    }
    let mut room = [0; 65536];
    match stream.read(&mut room) {
        Ok(0) => return Some(None),
        Ok(size) => bytes.extend_from_slice(&room[..size]),
        Err(_) => {}
    }
    None
}

/// Takes a whole message from the beginning of what has come over TCP.
fn take_message(bytes: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let keep_alive = text.len() - text.trim_start_matches(['\r', '\n']).len();
    bytes.drain(..keep_alive);
    let head = text[keep_alive..].find("\r\n\r\n")? + 4;
    let length = text[keep_alive..][..head].lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let end = head + length.unwrap_or(0);
    (bytes.len() >= end)
        .then(|| String::from_utf8_lossy(&bytes.drain(..end).collect::<Vec<_>>()).into_owned())
}

/// A word that no other request of this process has.
fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("live{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
