//! A lookup of credentials in FreeSWITCH's directory.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::event::address;
use crate::event::field::{Field, Texts};
use crate::event::signal::transport;
use crate::memory::account::{self, Account};
use crate::time::Now;

/// Credentials, as a lookup shows them.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The address that sent them.
    pub ip: IpAddr,
    /// The same, as FreeSWITCH writes it.
    pub address: &'a [u8],
    /// For whom they count: the sender, or the client for which a proxy has passed them on; nobody if a proxy does
    /// not show the client.
    pub client: Option<Client>,
    /// The port there, in digits.
    pub port: Option<&'a [u8]>,
    /// Behind a proxy, whose clients share its address and port, the user in From; else nothing.
    pub from_user: &'a [u8],
    /// The request that carried them.
    pub method: &'a [u8],
    /// The call.
    pub call_id: &'a [u8],
    /// `udp`, `tcp`, …, if the lookup shows it.
    pub transport: Option<&'static [u8]>,
    /// The user.
    pub user: &'a [u8],
    /// The realm, which the sender chooses.
    pub realm: &'a [u8],
    /// The domain in which FreeSWITCH looks for the user.
    pub domain: &'a [u8],
    /// The profile.
    pub profile: &'a [u8],
    /// The user agent.
    pub agent: &'a [u8],
}

impl<'a> Lookup<'a> {
    /// Reads what sofia asks the directory: see [`crate::callbacks::directory`] for which parameter is which field. For
    /// whom it counts is yet to be set.
    pub fn from_texts(texts: &Texts<'a>) -> Option<Lookup<'a>> {
        let (ip, _) = address::parse(texts.get(Field::Ip)?)?;
        if texts.get(Field::Action) != Some(b"sip_auth") {
            return None;
        }
        Some(Lookup {
            ip,
            address: texts.or_empty(Field::Ip),
            client: None,
            from_user: b"",
            port: texts.get(Field::Port).filter(|port| address::is_port(port)),
            method: texts.get(Field::Method)?,
            // None if the sender's begins with "ARRAY::" and has nothing in it: FreeSWITCH leaves such a header out.
            call_id: texts.or_empty(Field::CallId),
            transport: texts.get(Field::Transport).and_then(transport),
            user: texts.or_empty(Field::AuthUser),
            realm: texts.or_empty(Field::Realm),
            domain: texts.or_empty(Field::Domain),
            profile: texts.or_empty(Field::Profile),
            agent: texts.or_empty(Field::Agent),
        })
    }

    /// The account.
    pub fn account(&self) -> Account {
        account::of_user(self.user, self.domain)
    }

    /// Whether an event will show what FreeSWITCH made of these credentials.
    pub fn has_verdict_event(&self) -> bool {
        matches!(self.method, b"REGISTER" | b"INVITE")
    }
}

#[cfg(test)]
impl Default for Lookup<'_> {
    fn default() -> Self {
        Lookup {
            ip: [10, 0, 0, 1].into(),
            address: b"10.0.0.1",
            client: Some(Client { ip: [10, 0, 0, 1].into(), trusted: false }),
            port: Some(b"5060"),
            from_user: b"",
            method: b"REGISTER",
            call_id: b"call",
            transport: Some(b"tcp"),
            user: b"1001",
            realm: b"x",
            domain: b"y",
            profile: b"internal",
            agent: b"",
        }
    }
}

/// An address that is judged, and whether the settings trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub ip: IpAddr,
    /// It is in `trusted-acl`.
    pub trusted: bool,
}

/// When something came, and after which lookup. The order, not the clock, distinguishes a guess from what follows
/// the right one: the clock ticks too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupOrder {
    /// How many lookups had been seen.
    pub number: u64,
    /// The time.
    pub at: Now,
}
