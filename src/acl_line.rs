//! FreeSWITCH's own log lines that tell of a request which an ACL has turned away.
#![forbid(unsafe_code)]

use serde::Deserialize;

use crate::address::{self, split_at};
use crate::event_type::EventType;
use crate::settings::Param;
use crate::signal::{Field, Signal};

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

/// What sofia's profiles say about their ACLs, where that decides what a line of the log is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SofiaAcls {
    /// Some profile trusts proxies (`apply-proxy-acl`): then the address in a line may be the text of a header.
    pub has_proxies: bool,
    /// Lists after whose "Rejected" sofia goes on, in another context (`apply-inbound-acl` as `list:pass:fail`).
    pub go_on: Vec<String>,
}

impl SofiaAcls {
    /// Reads the text of `sofia.conf`; what can't be read says nothing.
    pub fn parse(sofia_conf: &str) -> SofiaAcls {
        let mut acls = SofiaAcls::default();
        let conf: SofiaConf = quick_xml::de::from_str(sofia_conf).unwrap_or_default();
        let profiles = conf.profiles.into_iter().flat_map(|profiles| profiles.profile);
        let settings = profiles.flat_map(|profile| profile.settings);
        for Param { name, value } in settings.flat_map(|settings| settings.param) {
            // As sofia reads them: names in any case, and "none" is no list.
            if name.eq_ignore_ascii_case("apply-proxy-acl") {
                acls.has_proxies |= !value.is_empty() && !value.eq_ignore_ascii_case("none");
            } else if name.eq_ignore_ascii_case("apply-inbound-acl") {
                let mut parts = value.splitn(3, ':');
                if let (Some(list), Some(_pass), Some(1..)) =
                    (parts.next(), parts.next(), parts.next().map(str::len))
                {
                    acls.go_on.push(list.to_owned());
                }
            }
        }
        acls
    }

    /// Whether a rejection is one, and of an address that comes from the network.
    pub fn is_certain(&self, rejection: &Rejection<'_>) -> bool {
        let acl = rejection.signal.as_ref().map_or(&b""[..], |signal| signal.text_or_empty(Field::Acl));
        match rejection.by {
            RejectedBy::Register | RejectedBy::EventSocket => true,
            RejectedBy::User => !self.has_proxies,
            RejectedBy::Inbound => !self.has_proxies && !self.go_on.iter().any(|list| list.as_bytes() == acl),
        }
    }
}

#[derive(Default, Deserialize)]
struct SofiaConf {
    #[serde(default)]
    profiles: Vec<Profiles>,
}

#[derive(Deserialize)]
struct Profiles {
    #[serde(default)]
    profile: Vec<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    #[serde(default)]
    settings: Vec<ProfileSettings>,
}

#[derive(Deserialize)]
struct ProfileSettings {
    #[serde(default)]
    param: Vec<Param>,
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

    #[test]
    fn a_rejection_after_which_sofia_goes_on_or_of_an_address_from_a_header_is_not_certain() {
        let conf = |params: &str| {
            SofiaAcls::parse(&format!(
                "<configuration name=\"sofia.conf\"><profiles><profile name=\"a\"><settings>{params}</settings></profile>\
                 <profile name=\"b\"><gateways/></profile></profiles></configuration>"
            ))
        };
        let line = |text: &'static str| parse(text.as_bytes(), false).unwrap();
        let inbound = line("IP 10.99.0.2 Rejected by acl \"lan\"");
        let register = line("IP 10.99.0.2 Rejected by register acl \"lan\"");
        let plain = conf(r#"<param name="apply-inbound-acl" value="lan"/>"#);
        assert!(plain.is_certain(&inbound));
        let goes_on = conf(r#"<param name="apply-inbound-acl" value="lan:inside:outside"/>"#);
        assert!(!goes_on.is_certain(&inbound) && goes_on.is_certain(&register));
        assert!(goes_on.is_certain(&line("IP 10.99.0.2 Rejected by acl \"other\"")));
        let proxies = conf(r#"<param name="apply-proxy-acl" value="proxies"/>"#);
        assert!(!proxies.is_certain(&inbound) && proxies.is_certain(&register));
        let user = line("IP 10.99.0.2 Rejected by user acl lan");
        assert!(plain.is_certain(&user) && !proxies.is_certain(&user));
        let socket = parse(b"IP 10.99.0.2 Rejected by acl \"lan\"", true).unwrap();
        assert!(proxies.is_certain(&socket) && goes_on.is_certain(&socket));
        for none in ["none", "None", ""] {
            let none = conf(&format!("<param name=\"apply-proxy-acl\" value=\"{none}\"/>"));
            assert!(none.is_certain(&inbound));
        }
        assert!(!conf(r#"<param name="Apply-Proxy-ACL" value="proxies"/>"#).is_certain(&inbound));
        assert!(conf(r#"<param name="apply-inbound-acl" value="lan:inside:"/>"#).is_certain(&inbound));
        assert!(!conf(r#"<param name="Apply-Inbound-ACL" value="lan:in:out"/>"#).is_certain(&inbound));
        assert_eq!(SofiaAcls::parse("not XML"), SofiaAcls::default());
    }
}
