//! What FreeSWITCH tells about an attack, read from the headers of an event or from a line of its log.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

/// The signals of the table in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // named as in the table
pub enum Kind {
    RegisterAttempt,
    RegisterFailure,
    WrongCallState,
    Challenge,
    ChallengeUnanswered,
    VertoLoginFailure,
    AclReject,
}

/// A value for each kind of signal, in the order of [`Kind::ALL`].
pub type PerKind<T> = [T; Kind::COUNT];

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// All of them, in the order of the table.
    pub const ALL: PerKind<Kind> = [
        Kind::RegisterAttempt,
        Kind::RegisterFailure,
        Kind::WrongCallState,
        Kind::Challenge,
        Kind::ChallengeUnanswered,
        Kind::VertoLoginFailure,
        Kind::AclReject,
    ];

    /// The name in settings, in `dated` and `json` lines and in `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::RegisterAttempt => "register_attempt",
            Kind::RegisterFailure => "register_failure",
            Kind::WrongCallState => "wrong_call_state",
            Kind::Challenge => "challenge",
            Kind::ChallengeUnanswered => "challenge_unanswered",
            Kind::VertoLoginFailure => "verto_login_failure",
            Kind::AclReject => "acl_reject",
        }
    }

    /// The message of a `classic` line. The C module's "Abandoned call from " ends in a space.
    pub const fn message(self) -> &'static str {
        match self {
            Kind::RegisterAttempt => "A registration was attempted",
            Kind::RegisterFailure => "A registration failed",
            Kind::WrongCallState => "Abandoned call from ",
            Kind::Challenge => "A registration was challenged",
            Kind::ChallengeUnanswered => "A challenge was never answered",
            Kind::VertoLoginFailure => "A verto login failed",
            Kind::AclReject => "A request was rejected by an ACL",
        }
    }

    /// The subclasses of CUSTOM events that have to be heard to log this signal.
    pub const fn subclasses(self) -> &'static [&'static str] {
        match self {
            Kind::RegisterAttempt => &["sofia::register_attempt"],
            Kind::RegisterFailure => &["sofia::register_failure"],
            Kind::WrongCallState => &["sofia::wrong_call_state"],
            Kind::Challenge => &["sofia::pre_register"],
            Kind::ChallengeUnanswered => &["sofia::pre_register", "sofia::register_attempt"],
            Kind::VertoLoginFailure => &["verto::login"],
            Kind::AclReject => &[],
        }
    }

    /// The signal that an event of this subclass gives.
    pub fn of_subclass(subclass: &[u8]) -> Option<Kind> {
        match subclass {
            b"sofia::register_attempt" => Some(Kind::RegisterAttempt),
            b"sofia::register_failure" => Some(Kind::RegisterFailure),
            b"sofia::wrong_call_state" => Some(Kind::WrongCallState),
            b"sofia::pre_register" => Some(Kind::Challenge),
            b"verto::login" => Some(Kind::VertoLoginFailure),
            _ => None,
        }
    }

    /// The headers to look up in this signal's event: all that `dated` and `json` lines tell, or the few that
    /// `classic` ones do.
    pub fn headers(self, all: bool) -> &'static Headers {
        match self {
            Kind::RegisterAttempt | Kind::Challenge | Kind::ChallengeUnanswered if all => &AUTHORIZATION,
            Kind::RegisterFailure if all => &FAILURE,
            Kind::RegisterAttempt | Kind::RegisterFailure | Kind::Challenge | Kind::ChallengeUnanswered => {
                &USER_AND_ADDRESS
            }
            Kind::WrongCallState => &ABANDONED,
            Kind::VertoLoginFailure => &VERTO,
            Kind::AclReject => &NONE,
        }
    }
}

static NONE: Headers = Headers::new(&[]);

static USER_AND_ADDRESS: Headers =
    Headers::new(&[Header::new("to-user", Field::ToUser), Header::new("network-ip", Field::Ip)]);

static AUTHORIZATION: Headers = Headers::new(&[
    Header::new("profile-name", Field::Profile),
    Header::new("from-user", Field::FromUser),
    Header::new("call-id", Field::CallId),
    Header::new("status", Field::Transport),
    Header::new("to-user", Field::ToUser),
    Header::new("network-ip", Field::Ip),
    Header::new("network-port", Field::Port),
    Header::new("username", Field::AuthUser),
    Header::new("realm", Field::Realm),
    Header::new("user-agent", Field::Agent),
    Header::new("auth-result", Field::Result),
]);

static FAILURE: Headers = Headers::new(&[
    Header::new("profile-name", Field::Profile),
    Header::new("to-user", Field::ToUser),
    Header::new("network-ip", Field::Ip),
    Header::new("user-agent", Field::Agent),
    Header::new("network-port", Field::Port),
    Header::new("registration-type", Field::Method),
]);

static ABANDONED: Headers = Headers::new(&[
    Header::new("from_user", Field::FromUser),
    Header::new("network_ip", Field::Ip),
    Header::new("network_port", Field::Port),
]);

static VERTO: Headers = Headers::new(&[
    Header::new("verto_profile_name", Field::Profile),
    Header::new("verto_client_address", Field::Ip),
    Header::new("verto_login", Field::User),
    Header::new("verto_success", Field::Success),
    Header::new("verto_result_txt", Field::Result),
]);

/// Headers that are looked up together.
#[derive(Debug)]
pub struct Headers {
    /// They.
    pub list: &'static [Header],
    /// A bit for the hash of each, so that most other headers are passed over at one look.
    pub bits: u64,
}

impl Headers {
    /// At most 64 of them.
    pub const fn new(list: &'static [Header]) -> Headers {
        let mut bits = 0;
        let mut at = 0;
        while at < list.len() {
            bits |= Headers::bit(list[at].hash);
            at += 1;
        }
        Headers { list, bits }
    }

    /// The bit for a hash.
    pub const fn bit(hash: u64) -> u64 {
        1 << (hash & 63)
    }
}

/// A header of an event, and what it is to us.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The name; the host takes upper and lower case for the same.
    pub name: &'static str,
    /// The name's hash, as the host keeps it beside each header.
    pub hash: u64,
    /// What the value is.
    pub field: Field,
}

impl Header {
    /// `name` in lower case.
    pub const fn new(name: &'static str, field: Field) -> Header {
        Header { name, hash: hash(name.as_bytes()), field }
    }
}

/// The host's hash of a header's name.
pub const fn hash(name: &[u8]) -> u64 {
    let mut hash = 0_u32;
    let mut at = 0;
    while at < name.len() {
        hash = hash.wrapping_mul(33).wrapping_add(name[at].to_ascii_lowercase() as u32);
        at += 1;
    }
    hash as u64
}

/// What a signal can tell, in the order in which `dated` and `json` lines give it: first what an attacker
/// can't shape. [`Field::Ip`] and [`Field::Success`] are read but not written as texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // named as in the lines
pub enum Field {
    Port,
    Profile,
    Transport,
    Method,
    Result,
    Acl,
    Realm,
    Agent,
    CallId,
    AuthUser,
    FromUser,
    ToUser,
    User,
    Ip,
    Success,
}

/// The text of each [`Field`], where there is one.
pub type Texts<'a> = [Option<&'a [u8]>; Field::COUNT];

impl Field {
    /// How many there are.
    pub const COUNT: usize = 15;

    /// Those that lines can hold, in their order.
    pub const WRITTEN: [(Field, &'static str); 13] = [
        (Field::Port, "port"),
        (Field::Profile, "profile"),
        (Field::Transport, "transport"),
        (Field::Method, "method"),
        (Field::Result, "result"),
        (Field::Acl, "acl"),
        (Field::Realm, "realm"),
        (Field::Agent, "agent"),
        (Field::CallId, "call_id"),
        (Field::AuthUser, "auth_user"),
        (Field::FromUser, "from_user"),
        (Field::ToUser, "to_user"),
        (Field::User, "user"),
    ];
}

/// One sign of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal<'a> {
    /// What happened.
    pub kind: Kind,
    /// Who did it: always an address that parsed.
    pub ip: IpAddr,
    /// What else is known, as the attacker or the host wrote it.
    pub texts: Texts<'a>,
}

/// Why something that the module heard is no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASignal {
    /// There is no address in it, or none that parses.
    NoAddress,
    /// Nobody did wrong: a good Verto login.
    Harmless,
}

impl<'a> Signal<'a> {
    /// A signal of which only the address and the user are known.
    pub fn new(kind: Kind, ip: IpAddr, user: &'a [u8]) -> Signal<'a> {
        let mut texts = [None; Field::COUNT];
        texts[Field::User as usize] = Some(user);
        Signal { kind, ip, texts }
    }

    /// A signal of which nothing is known yet: for the texts to be filled in, and then [settled](Signal::settle).
    pub fn unsettled(kind: Kind) -> Signal<'a> {
        Signal { kind, ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), texts: [None; Field::COUNT] }
    }

    /// Takes the texts for what the headers of an event said, looked up as [`Kind::headers`] has it. In place:
    /// the handler has no time to copy.
    pub fn settle(&mut self) -> Result<&Signal<'a>, NotASignal> {
        let Signal { kind, ip, texts } = self;
        if *kind == Kind::VertoLoginFailure && texts[Field::Success as usize] != Some(b"0") {
            return Err(NotASignal::Harmless);
        }
        let address = texts[Field::Ip as usize].ok_or(NotASignal::NoAddress)?;
        let (address, port) = parse_address(address).ok_or(NotASignal::NoAddress)?;
        *ip = address;
        texts[Field::Port as usize] = texts[Field::Port as usize].or(port).filter(|port| is_port(port));
        texts[Field::Transport as usize] = texts[Field::Transport as usize].and_then(parse_transport);
        texts[Field::Method as usize] = texts[Field::Method as usize].filter(|method| is_token(method));
        // The user that the C module logs.
        texts[Field::User as usize] = match kind {
            Kind::WrongCallState => texts[Field::FromUser as usize],
            Kind::VertoLoginFailure => texts[Field::User as usize],
            _ => texts[Field::ToUser as usize],
        };
        Ok(self)
    }

    /// What one of FreeSWITCH's own log lines tells of a request that an ACL turned away, as sofia and the
    /// event socket put it; `None` for any other line. Only the line's beginning counts: what follows the
    /// address may be an attacker's.
    pub fn from_log(line: &'a [u8]) -> Option<Result<Signal<'a>, NotASignal>> {
        let rest = line.trim_ascii_start().strip_prefix(b"IP ")?;
        let (address, rest) = split_at(rest, b" Rejected by ")?;
        let (method, rest) = match rest.strip_prefix(b"register ") {
            Some(rest) => (Some(&b"REGISTER"[..]), rest),
            None => (None, rest.strip_prefix(b"user ").unwrap_or(rest)),
        };
        let acl = rest.strip_prefix(b"acl ")?.trim_ascii_end();
        let acl = match acl.first()? {
            b'"' => split_at(&acl[1..], b"\"").map_or(acl, |(name, _)| name),
            b'[' => split_at(&acl[1..], b"]").map_or(acl, |(name, _)| name),
            _ => acl,
        };
        let Some((ip, port)) = parse_address(address) else {
            return Some(Err(NotASignal::NoAddress));
        };
        let mut signal = Signal::new(Kind::AclReject, ip, b"");
        signal.texts[Field::Port as usize] = port;
        signal.texts[Field::Method as usize] = method;
        signal.texts[Field::Acl as usize] = Some(acl);
        Some(Ok(signal))
    }

    /// The text of a field, where the event told it.
    pub fn text(&self, field: Field) -> Option<&'a [u8]> {
        self.texts[field as usize]
    }
}

/// An address as sofia, Verto and the log write them: bare, in brackets, or with a port, which comes back as
/// text. IPv4 mapped into IPv6 is IPv4; a zone (`%eth0`) is dropped.
pub fn parse_address(text: &[u8]) -> Option<(IpAddr, Option<&[u8]>)> {
    let text = text.trim_ascii();
    if let Some(ip) = parse_ip(text) {
        return Some((ip, None));
    }
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let (host, port) = split_at(rest, b"]")?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(b":")?) })
        }
        None if text.iter().filter(|&&byte| byte == b':').count() == 1 => {
            let (host, port) = split_at(text, b":")?;
            (host, Some(port))
        }
        None => (text, None),
    };
    if port.is_some_and(|port| !is_port(port)) {
        return None;
    }
    let ip = parse_ip(host).or_else(|| match split_at(host, b"%") {
        Some((host, zone)) if !zone.is_empty() && host.contains(&b':') => parse_ip(host),
        _ => None,
    });
    Some((ip?, port))
}

fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    if let Some(ip) = parse_ipv4(text) {
        return Some(IpAddr::V4(ip));
    }
    std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// What the library reads as IPv4, and nothing else, in a fifth of its time: this is a good part of what an
/// event costs the switch.
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut at = 0;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        while let Some(digit @ b'0'..=b'9') = text.get(at) {
            *octet = octet.checked_mul(10)?.checked_add(digit - b'0')?;
            at += 1;
        }
        // An octet has digits, and no zero in front of others.
        if at == start || (at > start + 1 && text[start] == b'0') {
            return None;
        }
    }
    (at == text.len()).then(|| Ipv4Addr::from(octets))
}

/// `Registered(UDP-NAT)` is `udp`; a transport that FreeSWITCH does not have is none.
fn parse_transport(status: &[u8]) -> Option<&'static [u8]> {
    let (_, rest) = split_at(status, b"(")?;
    let name = rest.split(|byte| matches!(byte, b'-' | b')')).next()?;
    let known: [(&[u8], &'static [u8]); 6] = [
        (b"UDP", b"udp"),
        (b"TCP", b"tcp"),
        (b"TLS", b"tls"),
        (b"WS", b"ws"),
        (b"WSS", b"wss"),
        (b"SCTP", b"sctp"),
    ];
    known.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
}

fn is_port(text: &[u8]) -> bool {
    let digits = !text.is_empty() && text.len() <= 5 && text.iter().all(u8::is_ascii_digit);
    digits && text.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
}

/// A word that needs no quotes.
pub fn is_token(text: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// What stands before and after the first `separator`.
fn split_at<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled<'a>(kind: Kind, headers: &[(&str, &'a str)]) -> Result<Signal<'a>, NotASignal> {
        let mut signal = Signal::unsettled(kind);
        for wanted in kind.headers(true).list {
            if let Some((_, value)) = headers.iter().find(|(header, _)| *header == wanted.name) {
                signal.texts[wanted.field as usize] = Some(value.as_bytes());
            }
        }
        signal.settle().cloned()
    }

    #[test]
    fn an_address_is_bare_or_bracketed_or_with_a_port() {
        let parsed = |text: &'static str| {
            parse_address(text.as_bytes()).map(|(ip, port)| (ip.to_string(), port.map(|port| port.to_vec())))
        };
        let bare = |ip: &str| Some((ip.to_string(), None));
        let with_port = |ip: &str, port: &str| Some((ip.to_string(), Some(port.as_bytes().to_vec())));
        assert_eq!(parsed("10.99.0.2"), bare("10.99.0.2"));
        assert_eq!(parsed("[2001:db8::1]"), bare("2001:db8::1"));
        assert_eq!(parsed("2001:DB8:0::1"), bare("2001:db8::1"));
        assert_eq!(parsed("::ffff:10.0.0.1"), bare("10.0.0.1"));
        assert_eq!(parsed("fe80::1%eth0"), bare("fe80::1"));
        assert_eq!(parsed("[fe80::1%eth0]:1"), with_port("fe80::1", "1"));
        assert_eq!(parsed("10.99.0.2:49364"), with_port("10.99.0.2", "49364"));
        assert_eq!(parsed("[2001:db8::1]:49364"), with_port("2001:db8::1", "49364"));
        for wrong in [
            "",
            "example.com",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1 ip[9.9.9.9]",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "[::1",
            "[::1]x",
            "1.2.3.4%x",
            "::1%",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn ipv4_is_read_as_the_library_reads_it(octets: [u8; 4], text in "[0-9.]{0,16}|[0-9]{1,3}(\\.[0-9]{1,3}){3}") {
            let ip = Ipv4Addr::from(octets);
            assert_eq!(parse_ipv4(ip.to_string().as_bytes()), Some(ip));
            assert_eq!(parse_ipv4(text.as_bytes()), text.parse().ok());
        }
    }

    #[test]
    fn each_event_gives_the_user_that_the_c_module_logs() {
        let attempt = [
            ("to-user", "a"),
            ("from-user", "b"),
            ("network-ip", "1.2.3.4"),
            ("status", "Registered(UDP-NAT)"),
        ];
        let signal = settled(Kind::RegisterAttempt, &attempt).unwrap();
        assert_eq!(
            (signal.text(Field::User), signal.text(Field::Transport)),
            (Some(&b"a"[..]), Some(&b"udp"[..]))
        );
        let abandoned = settled(Kind::WrongCallState, &[("from_user", "c"), ("network_ip", "1.2.3.4")]);
        assert_eq!(abandoned.unwrap().text(Field::User), Some(&b"c"[..]));
    }

    #[test]
    fn an_event_without_an_address_is_no_signal_and_neither_is_a_good_verto_login() {
        let read = |kind, headers: &[(&str, &'static str)]| settled(kind, headers).err();
        assert_eq!(read(Kind::RegisterFailure, &[("to-user", "1000")]), Some(NotASignal::NoAddress));
        assert_eq!(read(Kind::RegisterFailure, &[("network-ip", "nonsense")]), Some(NotASignal::NoAddress));
        let login = [("verto_client_address", "[2001:db8::1]:4"), ("verto_success", "1")];
        assert_eq!(read(Kind::VertoLoginFailure, &login), Some(NotASignal::Harmless));
    }

    #[test]
    fn acl_rejections_are_read_from_the_beginning_of_a_line_alone() {
        for (line, ip, acl, method) in [
            (" IP 10.99.0.2 Rejected by acl \"lan\"\n", "10.99.0.2", "lan", None),
            (
                "IP 2001:db8::1 Rejected by register acl \"domains\"\n",
                "2001:db8::1",
                "domains",
                Some(&b"REGISTER"[..]),
            ),
            ("IP 10.99.0.2 Rejected by user acl [lan] and no proxy acl present\n", "10.99.0.2", "lan", None),
            ("IP 10.99.0.2 Rejected by user acl 10.0.0.0/8\n", "10.99.0.2", "10.0.0.0/8", None),
        ] {
            let signal = Signal::from_log(line.as_bytes()).expect(line).expect(line);
            assert_eq!(signal.ip.to_string(), ip);
            assert_eq!(signal.text(Field::Acl), Some(acl.as_bytes()));
            assert_eq!(signal.text(Field::Method), method);
        }
        assert_eq!(Signal::from_log(b"SIP auth failure for [IP 1.1.1.1 Rejected by acl \"x\"]"), None);
        assert_eq!(Signal::from_log(b"IP x 1.1.1.1 Rejected by acl \"x\""), Some(Err(NotASignal::NoAddress)));
        assert_eq!(Signal::from_log(b"IP 1.1.1.1 Approved by acl \"x\""), None);
    }
}
