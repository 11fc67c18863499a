//! What follows from an event.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::decision::{self, AccountUnderAttack, Found, Refusal, Source};
use crate::memory::account::Account;
use crate::memory::busiest::Distinct;
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
    /// What FreeSWITCH's own log is to say.
    pub announcement: Option<Announcement>,
    /// What it is to say of the decision, besides.
    pub decision: Option<Announcement>,
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
            announcement: None,
            decision: None,
            has_question: false,
        }
    }

    /// Nothing follows: it counts for nobody.
    pub fn of_nobody(settings: &Settings, proxy: IpAddr) -> Outcome {
        Outcome { client: None, ..Outcome::new(settings, Client { ip: proxy, trusted: false }) }
    }

    /// What was decided.
    pub fn decided(&mut self, decision: decision::Outcome) {
        self.attacker = decision.attacker;
        let under_attack = decision.account_under_attack.map(Announcement::AccountUnderAttack);
        let at_fault = decision.directory_at_fault.then_some(Announcement::DirectoryAtFault);
        self.decision = under_attack.or(at_fault);
    }
}

/// What FreeSWITCH's own log is to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Announcement {
    /// A source that was not known has logged in after failures.
    SuccessAfterFailures {
        /// The source.
        source: Source,
        /// The account.
        account: Account,
        /// How many failures there were within the hour, at least.
        failures: usize,
    },
    /// A known source has many failures.
    KnownSourceFails {
        /// The source.
        source: Source,
        /// The account by which it is known.
        account: Account,
        /// How many failures there were within the hour.
        failures: u32,
        /// For how many users.
        users: Distinct,
    },
    /// A source is an attacker, or one of the next level; for this account at last.
    Attacker(Found, Account),
    /// The first lookup of a time of refusing was refused.
    Refused {
        /// The source.
        source: Source,
        /// The account.
        account: Account,
        /// For how long, and why.
        refusal: Refusal,
    },
    /// Many strangers fail at one account.
    AccountUnderAttack(AccountUnderAttack),
    /// The directory does not find an account that was accepted a short while ago.
    DirectoryAtFault,
    /// A proxy does not show the address of its client.
    ProxyWithoutClient(IpAddr),
}
