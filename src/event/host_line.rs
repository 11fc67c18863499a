//! FreeSWITCH's own log lines that tell of a request which an ACL has turned away.
#![forbid(unsafe_code)]

use crate::event::address::{self, split_at};
use crate::event::event_type::EventType;
use crate::event::field::Field;
use crate::event::signal::Signal;

/// A rejection as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// The address and the ACL; `None` if there is no address that parses.
    pub signal: Option<Signal<'a>>,
    /// Which of FreeSWITCH's ACLs it was.
    pub by: RejectedBy,
}

/// The ACLs that FreeSWITCH tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedBy {
    /// `apply-register-acl` of a sofia profile: always from the network, always turned away.
    Register,
    /// `auth-acl` of a user: FreeSWITCH also fires `sofia::register_failure`.
    User,
    /// `apply-inbound-acl` of a sofia profile.
    Inbound,
    /// `apply-inbound-acl` of the event socket: always from the network, always turned away.
    EventSocket,
}

/// Reads a line; `None` for any other. Only its beginning counts: what follows the address may be an
/// attacker's.
pub fn parse(line: &[u8], from_event_socket: bool) -> Option<Rejection<'_>> {
    let rest = line.trim_ascii_start().strip_prefix(b"IP ")?;
    let (address, rest) = split_at(rest, b" Rejected by ")?;
    let (by, rest) = if let Some(rest) = rest.strip_prefix(b"register ") {
        (RejectedBy::Register, rest)
    } else if let Some(rest) = rest.strip_prefix(b"user ") {
        (RejectedBy::User, rest)
    } else {
        (if from_event_socket { RejectedBy::EventSocket } else { RejectedBy::Inbound }, rest)
    };
    let acl = rest.strip_prefix(b"acl ")?.trim_ascii_end();
    let acl = match acl.first()? {
        b'"' => split_at(&acl[1..], b"\"").map_or(acl, |(name, _)| name),
        b'[' => split_at(&acl[1..], b"]").map_or(acl, |(name, _)| name),
        _ => acl,
    };
    let signal = address::parse(address).map(|(ip, port)| {
        let mut signal = Signal::new(EventType::AclReject, ip, b"");
        signal.set(Field::Port, port);
        signal.set(Field::Method, (by == RejectedBy::Register).then_some(&b"REGISTER"[..]));
        signal.set(Field::Acl, Some(acl));
        signal
    });
    Some(Rejection { signal, by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_read_from_the_beginning_of_a_line_alone() {
        for (line, ip, acl, by) in [
            (" IP 10.99.0.2 Rejected by acl \"lan\"\n", "10.99.0.2", "lan", RejectedBy::Inbound),
            (
                "IP 2001:db8::1 Rejected by register acl \"domains\"\n",
                "2001:db8::1",
                "domains",
                RejectedBy::Register,
            ),
            (
                "IP 10.99.0.2 Rejected by user acl [lan] and no proxy acl present\n",
                "10.99.0.2",
                "lan",
                RejectedBy::User,
            ),
            ("IP 10.99.0.2 Rejected by user acl 10.0.0.0/8\n", "10.99.0.2", "10.0.0.0/8", RejectedBy::User),
        ] {
            let rejection = parse(line.as_bytes(), false).expect(line);
            let signal = rejection.signal.expect(line);
            assert_eq!((signal.ip.to_string().as_str(), rejection.by), (ip, by));
            assert_eq!(signal.text(Field::Acl), Some(acl.as_bytes()));
            let method = (by == RejectedBy::Register).then_some(&b"REGISTER"[..]);
            assert_eq!(signal.text(Field::Method), method);
        }
        assert_eq!(parse(b"SIP auth failure for [IP 1.1.1.1 Rejected by acl \"x\"]", false), None);
        assert_eq!(parse(b"IP x 1.1.1.1 Rejected by acl \"x\"", false).unwrap().signal, None);
        assert_eq!(parse(b"IP 1.1.1.1 Approved by acl \"x\"", false), None);
    }
}
