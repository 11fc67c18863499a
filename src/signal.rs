//! What FreeSWITCH tells about an attack: one event, whole and checked.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr};

use crate::address;
use crate::event_type::EventType;

/// What a line can tell, in the order in which `dated` and `json` lines give it: first what an attacker can't
/// shape. Those after [`Field::User`] are read but not written as texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the lines")]
pub enum Field {
    Port,
    Profile,
    Transport,
    Method,
    Result,
    Acl,
    Reason,
    Realm,
    Agent,
    CallId,
    AuthUser,
    FromUser,
    ToUser,
    User,
    Ip,
    Success,
    Action,
    Domain,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 18;

    /// Those that lines can hold, in their order.
    pub const WRITTEN: [(Field, &'static str); 14] = [
        (Field::Port, "port"),
        (Field::Profile, "profile"),
        (Field::Transport, "transport"),
        (Field::Method, "method"),
        (Field::Result, "result"),
        (Field::Acl, "acl"),
        (Field::Reason, "reason"),
        (Field::Realm, "realm"),
        (Field::Agent, "agent"),
        (Field::CallId, "call_id"),
        (Field::AuthUser, "auth_user"),
        (Field::FromUser, "from_user"),
        (Field::ToUser, "to_user"),
        (Field::User, "user"),
    ];
}

/// The text of each [`Field`], where there is one.
pub type Texts<'a> = [Option<&'a [u8]>; Field::COUNT];

/// Something that happened, and the address that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal<'a> {
    /// What happened.
    pub event_type: EventType,
    /// Who did it: always an address that parsed.
    pub ip: IpAddr,
    /// The fields of which only the beginning was kept, a bit for each.
    pub cut: u32,
    texts: Texts<'a>,
}

impl<'a> Signal<'a> {
    /// A signal of which only the address and the user are known.
    pub fn new(event_type: EventType, ip: IpAddr, user: &'a [u8]) -> Signal<'a> {
        let mut texts = [None; Field::COUNT];
        texts[Field::User as usize] = Some(user);
        Signal { event_type, ip, cut: 0, texts }
    }

    /// The signal of these texts; `None` if they tell no address that parses.
    pub fn from_texts(event_type: EventType, texts: Texts<'a>) -> Option<Signal<'a>> {
        let mut raw = RawSignal::new(event_type);
        raw.0.texts = texts;
        raw.validate().cloned()
    }

    /// The text of a field, where the event told it.
    pub fn text(&self, field: Field) -> Option<&'a [u8]> {
        self.texts[field as usize]
    }

    /// As [`Signal::text`]; empty where the event did not tell it.
    pub fn text_or_empty(&self, field: Field) -> &'a [u8] {
        self.text(field).unwrap_or_default()
    }

    /// Sets the text of a field.
    pub fn set(&mut self, field: Field, text: Option<&'a [u8]>) {
        self.texts[field as usize] = text;
    }

    /// Marks a field as one of which only the beginning was kept.
    pub fn set_cut(&mut self, field: Field) {
        self.cut |= 1 << field as u32;
    }

    /// Whether only the beginning of a field was kept.
    pub fn is_cut(&self, field: Field) -> bool {
        self.cut & (1 << field as u32) != 0
    }

    /// The port of the address, where it is told.
    pub fn port(&self) -> Option<u16> {
        self.text(Field::Port).and_then(address::parse_port)
    }

    /// What FreeSWITCH made of the credentials.
    pub fn verdict(&self) -> Verdict {
        match (self.event_type, self.text(Field::Result), self.text(Field::Success)) {
            (EventType::RegisterAttempt, Some(b"SUCCESS" | b"RENEWED"), _) => Verdict::Accepted,
            (EventType::RegisterAttempt, Some(b"STALE"), _) => Verdict::Stale,
            (EventType::VertoLoginFailure, _, Some(success)) if success != b"0" => Verdict::Accepted,
            _ => Verdict::Refused,
        }
    }

    /// The account that the credentials were for: user and realm.
    pub fn account(&self) -> (&'a [u8], &'a [u8]) {
        let user = self.text(Field::AuthUser).unwrap_or_else(|| self.text_or_empty(Field::User));
        (user, self.text_or_empty(Field::Realm))
    }
}

/// What the headers of an event say, before it is checked. Filled in and checked in place: copying would take a
/// tenth of the handler's time.
pub struct RawSignal<'a>(Signal<'a>);

impl<'a> RawSignal<'a> {
    /// Nothing is known yet.
    pub fn new(event_type: EventType) -> RawSignal<'a> {
        RawSignal(Signal {
            event_type,
            ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            cut: 0,
            texts: [None; Field::COUNT],
        })
    }

    /// Where the texts go.
    pub fn texts(&mut self) -> &mut Texts<'a> {
        &mut self.0.texts
    }

    /// Checks the texts; the user is the one that the table's row names. `None` if they tell no address that
    /// parses.
    #[inline]
    pub fn validate(&mut self) -> Option<&mut Signal<'a>> {
        let Signal { event_type, ip, texts, .. } = &mut self.0;
        let (address, port) = address::parse(texts[Field::Ip as usize]?)?;
        *ip = address;
        texts[Field::Port as usize] =
            texts[Field::Port as usize].or(port).filter(|port| address::is_port(port));
        texts[Field::Method as usize] = texts[Field::Method as usize].filter(|method| is_token(method));
        texts[Field::User as usize] = texts[event_type.row().user as usize];
        Some(&mut self.0)
    }
}

/// See [`Signal::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are good.
    Accepted,
    /// They were made for a challenge that is none, or none any more: nothing was compared.
    Stale,
    /// They are not.
    Refused,
}

/// A word that needs no quotes.
pub fn is_token(text: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The transports that FreeSWITCH tells apart, as lines name them.
pub fn transport(name: &[u8]) -> Option<&'static [u8]> {
    const KNOWN: [&[u8]; 6] = [b"udp", b"tcp", b"tls", b"ws", b"wss", b"sctp"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal<'a>(event_type: EventType, fields: &[(Field, &'a str)]) -> Option<Signal<'a>> {
        let mut texts = [None; Field::COUNT];
        for (field, text) in fields {
            texts[*field as usize] = Some(text.as_bytes());
        }
        Signal::from_texts(event_type, texts)
    }

    #[test]
    fn each_event_gives_the_user_that_the_c_module_logs() {
        let attempt = [(Field::ToUser, "a"), (Field::FromUser, "b"), (Field::Ip, "1.2.3.4")];
        assert_eq!(signal(EventType::RegisterAttempt, &attempt).unwrap().text_or_empty(Field::User), b"a");
        let abandoned = signal(EventType::WrongCallState, &[(Field::FromUser, "c"), (Field::Ip, "1.2.3.4")]);
        assert_eq!(abandoned.unwrap().text_or_empty(Field::User), b"c");
    }

    #[test]
    fn an_event_without_an_address_is_no_signal() {
        assert_eq!(signal(EventType::RegisterFailure, &[(Field::ToUser, "1000")]), None);
        assert_eq!(signal(EventType::RegisterFailure, &[(Field::Ip, "nonsense")]), None);
    }

    #[test]
    fn the_verdict_is_what_freeswitch_said() {
        let verdict = |event_type, field, text| {
            signal(event_type, &[(Field::Ip, "1.2.3.4"), (field, text)]).unwrap().verdict()
        };
        let attempt = |result| verdict(EventType::RegisterAttempt, Field::Result, result);
        assert_eq!(attempt("SUCCESS"), Verdict::Accepted);
        assert_eq!(attempt("RENEWED"), Verdict::Accepted);
        assert_eq!(attempt("STALE"), Verdict::Stale);
        assert_eq!(attempt("FORBIDDEN"), Verdict::Refused);
        assert_eq!(verdict(EventType::VertoLoginFailure, Field::Success, "1"), Verdict::Accepted);
        assert_eq!(verdict(EventType::VertoLoginFailure, Field::Success, "0"), Verdict::Refused);
    }

    #[test]
    fn a_port_that_is_none_and_a_method_that_is_no_word_are_left_out() {
        let fields = [(Field::Ip, "1.2.3.4"), (Field::Port, "65536"), (Field::Method, "A B")];
        let signal = signal(EventType::RegisterFailure, &fields).unwrap();
        assert_eq!((signal.text(Field::Port), signal.text(Field::Method)), (None, None));
    }

    #[test]
    fn only_the_transports_that_there_are_have_a_name() {
        assert_eq!(transport(b"TLS"), Some(&b"tls"[..]));
        assert_eq!(transport(b"tcp\" ip=9.9.9.9"), None);
    }
}
