//! Sources with their points, and accounts, as they are shown and saved.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::attack::{DAY, period};
use super::guessed::AccountUnderAttack;
use super::source::Source;

const SECOND: i64 = 1_000_000;

/// A source with points, as it is shown and saved. Times are in seconds before it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The source.
    pub source: Source,
    /// The address that it used last.
    pub ip: IpAddr,
    /// When it did something last.
    pub ago: i64,
    /// Points that are not forgiven.
    pub points: u32,
    /// Points that there would be, had nothing come over UDP.
    pub proven_points: u32,
    /// The points that nobody can have forged suffice alone.
    pub proven: bool,
    /// Since when the next point is being forgiven: less than an hour.
    pub forgiving: i64,
    /// The same for proven points.
    pub proven_forgiving: i64,
    /// What it did, in the order of the table of causes.
    pub causes: Vec<CauseReport>,
    /// How many different accounts it tried.
    pub accounts: u32,
    /// Of these some, the last one first.
    pub tried: Vec<TriedReport>,
    /// If it is an attacker.
    pub attack: Option<AttackReport>,
}

/// One cause of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseReport {
    /// Its name.
    pub cause: String,
    /// How often.
    pub count: u32,
    /// When last.
    pub ago: i64,
}

/// One account that a source tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedReport {
    /// The account, as the sender wrote it, in lower case: to be escaped.
    pub account: String,
    /// Points for it.
    pub points: u32,
    /// Of these over TCP, TLS, WS or WSS.
    pub proven_points: u32,
    /// Failures for it.
    pub failures: u32,
    /// The directory does not have it.
    pub unknown: bool,
    /// When last.
    pub ago: i64,
}

/// An attacker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackReport {
    /// From 1 on.
    pub level: u32,
    /// When it became one.
    pub ago: i64,
    /// When it came to this level.
    pub level_ago: i64,
    /// Attempts that were refused.
    pub refused: u64,
}

impl AttackReport {
    /// For how many seconds more it is refused; 0 once one lookup at a time is let through.
    pub fn remaining(&self) -> i64 {
        (period(self.level) / SECOND - self.level_ago).max(0)
    }

    /// For how many seconds more it is an attacker, if it does nothing more.
    pub fn ends_in(&self) -> i64 {
        (DAY / SECOND - self.level_ago).max(0)
    }
}

/// An account: where it fails, and where it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountReport {
    /// Where it fails, attackers first, then the last one first; at most 100.
    pub sources: Vec<AccountAtSource>,
    /// How many sources there are: at each, accounts of this name in several domains may fail.
    pub count: usize,
    /// How many more there are than are listed.
    pub more: usize,
    /// Accounts of this name that are under attack.
    pub under_attack: Vec<AccountUnderAttack>,
}

/// An account at one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountAtSource {
    /// The source.
    pub source: Source,
    /// The account, as in [`TriedReport`].
    pub account: String,
    /// Failures for it.
    pub failures: u32,
    /// The directory does not have it.
    pub unknown: bool,
    /// The last one, in seconds before now.
    pub ago: i64,
    /// The source is an attacker of this level: all of its accounts are refused.
    pub level: Option<u32>,
    /// The source was known when it failed: only this account may be refused there.
    pub alone: bool,
    /// For how many seconds more it is refused there.
    pub remaining: i64,
    /// Attempts that were refused.
    pub refused: u64,
}
