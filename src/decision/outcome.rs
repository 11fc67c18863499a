//! The settings of the decision, and what an event leads to.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::attack::period;
use super::cause::{Cause, Counts};
use super::guessed::AccountUnderAttack;
use super::source::Source;

/// The settings that the decision depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `attacker-after`, in points; 0: nothing is decided.
    pub attacker_after: u32,
    /// `refuse-attackers`; needs `tracks_known`.
    pub refuses: bool,
    /// `known-for` is above 0. Without it nobody is known, and only `failure` and `report` count.
    pub tracks_known: bool,
}

/// What an event led to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The source is an attacker from now on, or one of the next level: an `attacker` line and a WARNING.
    pub attacker: Option<Found>,
    /// One WARNING: many sources fail at this account.
    pub account_under_attack: Option<AccountUnderAttack>,
    /// One WARNING: the directory does not find an account that it had a short while ago.
    pub directory_at_fault: bool,
}

/// An attacker, for the `attacker` line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The source.
    pub source: Source,
    /// The address that it used last.
    pub ip: IpAddr,
    /// The points that came over TCP, TLS, WS or WSS suffice alone, or an operator has reported it.
    pub proven: bool,
    /// Points that are not forgiven.
    pub points: u32,
    /// Level, from 1 on.
    pub level: u32,
    /// What it did.
    pub causes: Counts,
    /// How many different accounts it tried.
    pub accounts: u32,
    /// For how long it is refused, in microseconds.
    pub period: i64,
}

impl Found {
    /// One of a test: with this many failures.
    pub fn of_test(source: Source, ip: IpAddr, failures: u32) -> Found {
        let mut causes = Counts::default();
        causes.add(Cause::Failure, failures);
        Found {
            source,
            ip,
            proven: false,
            points: failures,
            level: 1,
            causes,
            accounts: 1,
            period: period(1),
        }
    }
}
