//! Events for a switch to fire, made here or recorded in `tests/data`.

use std::fmt;
use std::fmt::Write;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

/// Headers in their order; a value may be any bytes but zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub Vec<(String, Vec<u8>)>);

impl Event {
    /// An event of these headers.
    pub fn new<V: AsRef<[u8]>>(headers: &[(&str, V)]) -> Event {
        Event(headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_ref().to_vec())).collect())
    }

    /// One of sofia's, for a user at an address, with the headers that the module reads.
    pub fn register_failure(user: impl AsRef<[u8]>, ip: &str) -> Event {
        Event::new(&[
            ("Event-Name", "CUSTOM".as_bytes()),
            ("Event-Subclass", b"sofia::register_failure"),
            ("profile-name", b"internal"),
            ("to-user", user.as_ref()),
            ("to-host", b"switch.example"),
            ("network-ip", ip.as_bytes()),
            ("user-agent", b"friendly-scanner"),
            ("network-port", b"5070"),
            ("registration-type", b"REGISTER"),
        ])
    }

    /// One of sofia's: credentials came for a REGISTER, and this is what FreeSWITCH made of them (SUCCESS,
    /// RENEWED, STALE or FORBIDDEN). The call is one of its own, `attempt-USER`.
    pub fn register_attempt(user: impl AsRef<[u8]>, ip: &str, result: &str) -> Event {
        let user = user.as_ref();
        Event::new(&[
            ("Event-Name", "CUSTOM".as_bytes()),
            ("Event-Subclass", b"sofia::register_attempt"),
            ("profile-name", b"internal"),
            ("from-user", user),
            ("call-id", &[b"attempt-", user].concat()),
            ("to-user", user),
            ("network-ip", ip.as_bytes()),
            ("network-port", b"5070"),
            ("username", user),
            ("realm", b"switch.example"),
            ("user-agent", b"friendly-scanner"),
            ("auth-result", result.as_bytes()),
        ])
    }

    /// One of sofia's: it asks for credentials.
    pub fn challenge(call_id: &str, ip: &str) -> Event {
        Event::new(&[
            ("Event-Name", "CUSTOM"),
            ("Event-Subclass", "sofia::pre_register"),
            ("profile-name", "internal"),
            ("from-user", "1009"),
            ("call-id", call_id),
            ("to-user", "1009"),
            ("network-ip", ip),
            ("network-port", "5070"),
            ("user-agent", "friendly-scanner"),
        ])
    }

    /// One of sofia's: an INVITE was challenged and abandoned.
    pub fn wrong_call_state(user: &str, ip: &str) -> Event {
        Event::new(&[
            ("Event-Name", "CUSTOM"),
            ("Event-Subclass", "sofia::wrong_call_state"),
            ("from_user", user),
            ("network_ip", ip),
            ("network_port", "5070"),
        ])
    }

    /// One of Verto's.
    pub fn verto_login(user: &str, ip: &str, is_good: bool) -> Event {
        Event::new(&[
            ("Event-Name", "CUSTOM"),
            ("Event-Subclass", "verto::login"),
            ("verto_profile_name", "default-v4"),
            ("verto_client_address", &format!("{ip}:49364")),
            ("verto_login", user),
            ("verto_success", if is_good { "1" } else { "0" }),
            ("verto_result_txt", if is_good { "Logged in" } else { "Authentication Failure" }),
        ])
    }

    /// An event from an object of texts.
    pub fn from_json(event: &Value) -> Event {
        let members = event.as_object().expect("an event is an object");
        let text = |value: &Value| value.as_str().expect("a header is a text").as_bytes().to_vec();
        Event(members.iter().map(|(name, value)| (name.clone(), text(value))).collect())
    }

    /// As the stand-in reads it.
    pub fn to_json(&self) -> Value {
        let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "hex": hex(bytes) }),
        };
        self.0.iter().map(|(name, bytes)| json!([name, value(bytes)])).collect()
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_slice())
    }

    /// The same with another value, or with a header more.
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Event {
        let value = value.as_ref().to_vec();
        match self.0.iter_mut().find(|(header, _)| header == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Event {
        self.0.retain(|(header, _)| header != name);
        self
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The events that a real FreeSWITCH emitted, one object a line, in `tests/data`.
pub fn recorded(file: &str) -> Vec<Event> {
    let lines = data(file);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}")))
        .collect()
}

/// A file in `tests/data`, with bytes that are not UTF-8 replaced.
pub fn data(file: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/").to_owned() + file;
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// By hand, because the order of the headers counts and `serde_json`'s own objects are sorted.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Event, D::Error> {
        struct Headers;
        impl<'de> Visitor<'de> for Headers {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    headers.push((name, value.into_bytes()));
                }
                Ok(Event(headers))
            }
        }
        deserializer.deserialize_map(Headers)
    }
}
