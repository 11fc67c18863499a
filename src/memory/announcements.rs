//! What FreeSWITCH's own log is to say, until the ticker takes it.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::decision::{AccountUnderAttack, Found, Refusal, Source};
use crate::memory::account::Account;
use crate::memory::busiest::Distinct;

/// Most announcements that wait; more within a second would only repeat the first.
const MOST: usize = 32;

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

/// Announcements that wait. Nothing is allocated after it is made.
pub struct Announcements(Vec<Announcement>);

impl Default for Announcements {
    fn default() -> Announcements {
        Announcements(Vec::with_capacity(MOST))
    }
}

impl Announcements {
    /// FreeSWITCH's log is to say this.
    pub fn push(&mut self, announcement: Announcement) {
        if self.0.len() < MOST {
            self.0.push(announcement);
        }
    }

    /// All that it is to say. The room stays.
    pub fn take(&mut self) -> Vec<Announcement> {
        self.0.drain(..).collect()
    }
}
