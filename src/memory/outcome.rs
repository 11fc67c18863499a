//! What follows from an event.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::decision::{Found, Source};
use crate::memory::lookup::Client;
use crate::settings::Settings;

/// What follows from an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For whom the event counts; nobody if a proxy passed it on and does not show the client.
    pub client: Option<Client>,
    /// The source of the client.
    pub source: Source,
    /// Whether it is known; `None` where no source can be.
    pub known: Option<bool>,
    /// The transport that the request came over, if that is proven.
    pub transport: Option<&'static [u8]>,
    /// The event is not worth a line.
    pub is_silent: bool,
    /// It is a login after failures as well, by a source that was not known.
    pub is_success_after_failures: bool,
    /// The source is an attacker from now on, or one of the next level.
    pub attacker: Option<Found>,
    /// The directory is to be asked: see [`crate::memory::Memory::next_question`].
    pub has_question: bool,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(settings: &Settings, client: Client) -> Outcome {
        Outcome {
            client: Some(client),
            source: settings.source_of(client.ip),
            known: None,
            transport: None,
            is_silent: false,
            is_success_after_failures: false,
            attacker: None,
            has_question: false,
        }
    }

    /// Nothing follows: it counts for nobody.
    pub fn of_nobody(settings: &Settings, proxy: IpAddr) -> Outcome {
        Outcome { client: None, ..Outcome::new(settings, Client { ip: proxy, trusted: false }) }
    }
}
