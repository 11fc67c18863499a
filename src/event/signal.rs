//! One event of an attack, whole and checked.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::event::address;
use crate::event::event_type::EventType;
use crate::event::field::{Field, Texts};

/// Something that happened, and the address that did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal<'a> {
    /// What happened.
    pub event_type: EventType,
    /// The address it came from: always one that parsed.
    pub ip: IpAddr,
    /// The proxy that passed it on, if any.
    pub via: Option<IpAddr>,
    texts: Texts<'a>,
    /// The fields of which only the beginning was kept, a bit for each.
    cut: u32,
}

impl<'a> Signal<'a> {
    /// A signal of which only the address and the user are known.
    pub fn new(event_type: EventType, ip: IpAddr, user: &'a [u8]) -> Signal<'a> {
        let mut texts = Texts::default();
        texts.set(Field::User, Some(user));
        Signal { event_type, ip, via: None, texts, cut: 0 }
    }

    /// The signal of these texts; the user is the one that the table's row names. `None` without an address that
    /// parses.
    pub fn from_texts(event_type: EventType, mut texts: Texts<'a>) -> Option<Signal<'a>> {
        let (ip, port) = address::parse(texts.get(Field::Ip)?)?;
        texts.set(Field::Port, texts.get(Field::Port).or(port).filter(|port| address::is_port(port)));
        texts.set(Field::Method, texts.get(Field::Method).filter(|method| is_token(method)));
        texts.set(Field::User, texts.get(event_type.row().user));
        Some(Signal { event_type, ip, via: None, texts, cut: 0 })
    }

    /// The text of a field, where the event has it.
    pub fn text(&self, field: Field) -> Option<&'a [u8]> {
        self.texts.get(field)
    }

    /// As [`Signal::text`]; empty where the event has none.
    pub fn text_or_empty(&self, field: Field) -> &'a [u8] {
        self.texts.or_empty(field)
    }

    /// Sets the text of a field.
    pub fn set(&mut self, field: Field, text: Option<&'a [u8]>) {
        self.texts.set(field, text);
    }

    /// Marks a field as one of which only the beginning was kept.
    pub fn set_cut(&mut self, field: Field) {
        self.cut |= 1 << field as u32;
    }

    /// Whether only the beginning of a field was kept.
    pub fn is_cut(&self, field: Field) -> bool {
        self.cut & (1 << field as u32) != 0
    }

    /// The port of the address, if the event has it.
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

    /// The user that the credentials were for.
    pub fn auth_user(&self) -> &'a [u8] {
        self.text(Field::AuthUser).unwrap_or_else(|| self.text_or_empty(Field::User))
    }
}

/// See [`Signal::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are good.
    Accepted,
    /// They answer no challenge that is still valid: nothing was compared.
    Stale,
    /// They are not.
    Refused,
}

/// A word that needs no quotes.
pub fn is_token(text: &[u8]) -> bool {
    (1..=32).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The transports that FreeSWITCH distinguishes, as lines name them.
pub fn transport(name: &[u8]) -> Option<&'static [u8]> {
    const KNOWN: [&[u8]; 6] = [b"udp", b"tcp", b"tls", b"ws", b"wss", b"sctp"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal<'a>(event_type: EventType, fields: &[(Field, &'a str)]) -> Option<Signal<'a>> {
        let mut texts = Texts::default();
        for (field, text) in fields {
            texts.set(*field, Some(text.as_bytes()));
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
    fn an_invalid_port_or_method_is_left_out() {
        let fields = [(Field::Ip, "1.2.3.4"), (Field::Port, "65536"), (Field::Method, "A B")];
        let signal = signal(EventType::RegisterFailure, &fields).unwrap();
        assert_eq!((signal.text(Field::Port), signal.text(Field::Method)), (None, None));
    }

    #[test]
    fn only_transports_that_exist_have_a_name() {
        assert_eq!(transport(b"TLS"), Some(&b"tls"[..]));
        assert_eq!(transport(b"tcp\" ip=9.9.9.9"), None);
    }
}
