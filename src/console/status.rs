//! `fail2ban status`, for a person and for a machine.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::VERSION;
use crate::event::event_type::EventType;
use crate::log::snapshot::{Lookups, Snapshot};
use crate::memory::known::Address;
use crate::target::Target;

/// A call for the file that takes longer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// This many known addresses with failures are listed.
const MOST_FAILING: usize = 10;

/// All that `status` shows.
pub struct Status {
    /// The journal.
    pub now: Snapshot,
    /// For how long the module has been loaded.
    pub up: Duration,
    /// For how long a reload of the settings has been under way.
    reloading: Option<Duration>,
    /// Known addresses with failures in the last hour, most first.
    failing: Vec<Address>,
}

/// Whether lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "what they say")]
pub enum WriterState {
    Writing,
    Failing,
    Stuck,
}

impl WriterState {
    /// All of them, with their names.
    pub const ALL: [(WriterState, &'static str); 3] =
        [(WriterState::Writing, "writing"), (WriterState::Failing, "failing"), (WriterState::Stuck, "stuck")];

    fn name(self) -> &'static str {
        WriterState::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

impl Status {
    /// The status of a target. Waits for no disk: what is said of the file is what the writer has seen of it.
    pub fn of(target: &Target) -> Status {
        let now = target.journal.snapshot();
        let mut failing = target.journal.known_addresses();
        failing.retain(|address| address.failures > 0);
        failing.sort_by_key(|address| std::cmp::Reverse(address.failures));
        failing.truncate(MOST_FAILING);
        let reloading = target.requests.reloading_for();
        Status { now, up: target.loaded_at.elapsed(), reloading, failing }
    }

    /// Whether lines are written.
    pub fn writer_state(&self) -> WriterState {
        if self.now.is_failing {
            WriterState::Failing
        } else if self.now.busy.is_some_and(|busy| busy > STUCK_AFTER) {
            WriterState::Stuck
        } else {
            WriterState::Writing
        }
    }

    /// Whether the open file was the one at the path when the writer last looked; unknown while a call for it hangs.
    fn is_on_disk(&self) -> Option<bool> {
        match self.writer_state() {
            WriterState::Writing => Some(true),
            WriterState::Failing => Some(false),
            WriterState::Stuck => None,
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let now = &self.now;
        let settings = &now.settings;
        let mut out = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:<12}{value}");
        };
        row("version", VERSION);
        row("time", &format!("{}, loaded for {}", now.time, duration(self.up)));
        row("log", &format!("{} ({})", settings.logfile.display(), self.file_words()));
        row("state", &self.state_words());
        let last_error = now.last_error.as_ref();
        row("last error", &last_error.map_or("none".into(), |(at, error)| format!("{at} {error}")));
        if let Some(reloading) = self.reloading {
            let reloading = duration(reloading);
            row(
                "reload",
                &format!(
                    "in progress for {reloading}: FreeSWITCH is reading its XML; the previous settings are active"
                ),
            );
        }
        row("format", settings.format.name());
        row("events", &settings.event_names().join(", "));
        let trusted = settings.trusted.names().join(", ");
        row("trusted-acl", if trusted.is_empty() { "none" } else { &trusted });
        row("known-for", &self.known_words());
        row("buffer", &format!("{} of {} bytes wait to be written", now.waiting_bytes, settings.buffer_size));
        if let Some(lookups) = now.lookups {
            let limit = settings.challenge_timeout.as_secs();
            row(
                "challenges",
                &format!(
                    "{} wait for an answer (at most {limit} s), {} were not watched for want of room",
                    lookups.challenges, lookups.challenges_untracked
                ),
            );
            row("lookups", &lookup_words(lookups));
        }
        self.write_counts(&mut out);
        self.write_busiest(&mut out);
        out
    }

    fn write_counts(&self, out: &mut String) {
        let now = &self.now;
        let _ = writeln!(
            out,
            "\n{:<24}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}  {}",
            "event type",
            "seen",
            "written",
            "waiting",
            "dropped",
            "known",
            "trusted",
            "no address",
            "last seen"
        );
        for event_type in EventType::ALL {
            let of = *event_type as usize;
            let has_counted = now.counters[of].seen + now.trusted[of] + now.no_address[of] > 0;
            if now.settings.logs(*event_type) || has_counted {
                let _ = writeln!(
                    out,
                    "{:<24}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}  {}",
                    event_type.name(),
                    now.counters[of].seen,
                    now.counters[of].written,
                    now.counters[of].waiting(),
                    now.counters[of].dropped,
                    now.known[of],
                    now.trusted[of],
                    now.no_address[of],
                    now.last_seen[of].as_deref().unwrap_or("never")
                );
            }
        }
    }

    fn write_busiest(&self, out: &mut String) {
        out.push_str("\nbusiest addresses since load (of those logged)\n");
        let most = self.now.sources.iter().map(|address| address.count).max().unwrap_or(0);
        if most == 0 {
            out.push_str("  none\n");
        }
        for address in &self.now.sources {
            let bar = "#".repeat((address.count * 30).div_ceil(most) as usize);
            let _ = writeln!(
                out,
                "  {:<40}{:>8}{:>9}  {bar}",
                address.key,
                at_most(address.error),
                address.count
            );
        }
        if !self.now.accounts.is_empty() {
            out.push_str("\naccounts with most failures since load, and from how many addresses\n");
            for account in &self.now.accounts {
                let _ = writeln!(
                    out,
                    "  {:<40}{:>8}{:>9}  {}",
                    account.key.readable(),
                    at_most(account.error),
                    account.count,
                    account.others.words()
                );
            }
        }
        if !self.failing.is_empty() {
            out.push_str("\nknown addresses with failures within an hour: stolen accounts, or failures that are sent in their name\n");
            for address in &self.failing {
                let _ = writeln!(
                    out,
                    "  {:<40}{:>17}  for {} users, known by {}",
                    address.source,
                    address.failures,
                    address.users.words(),
                    address.account.readable()
                );
            }
        }
    }

    fn known_words(&self) -> String {
        match self.now.known_addresses {
            None => "0 (off): no address is ever known".into(),
            Some((known, refused)) => format!(
                "{}: {known} addresses are known, {refused} found no room",
                duration(self.now.settings.known_for)
            ),
        }
    }

    fn state_words(&self) -> String {
        match (self.writer_state(), self.now.busy) {
            (WriterState::Failing, _) => {
                "FAILING: lines can't be written and wait in memory (see the last error)".into()
            }
            (WriterState::Stuck, Some(busy)) => {
                format!("STUCK: a write has been blocked for {}", duration(busy))
            }
            (state, _) => state.name().into(),
        }
    }

    fn file_words(&self) -> &'static str {
        match self.is_on_disk() {
            Some(true) => "open",
            Some(false) => "can't be written",
            None => "unknown while a write is blocked",
        }
    }

    /// For a machine; the manual has the shape.
    pub fn json(&self) -> String {
        let now = &self.now;
        let settings = &now.settings;
        let events: Map<String, Value> = EventType::ALL
            .iter()
            .map(|event_type| {
                let (of, counters) = (*event_type as usize, now.counters[*event_type as usize]);
                let counts = json!({
                    "enabled": settings.logs(*event_type),
                    "seen": counters.seen,
                    "written": counters.written,
                    "waiting": counters.waiting(),
                    "dropped": counters.dropped,
                    "known": now.known[of],
                    "trusted": now.trusted[of],
                    "no_address": now.no_address[of],
                    "last_seen": now.last_seen[of],
                });
                (event_type.name().to_owned(), counts)
            })
            .collect();
        let addresses: Vec<Value> = now
            .sources
            .iter()
            .map(|address| json!({ "ip": address.key.to_string(), "count": address.count, "error": address.error }))
            .collect();
        let accounts: Vec<Value> = now
            .accounts
            .iter()
            .map(|account| {
                json!({
                    "account": account.key.readable(),
                    "count": account.count,
                    "error": account.error,
                    "addresses": account.others.count(),
                })
            })
            .collect();
        let failing: Vec<Value> = self
            .failing
            .iter()
            .map(|address| {
                json!({
                    "ip": address.source.to_string(),
                    "account": address.account.readable(),
                    "failures": address.failures,
                    "users": address.users.count(),
                })
            })
            .collect();
        let lookups = now.lookups.unwrap_or_default();
        let status = json!({
            "version": VERSION,
            "time": now.time,
            "loaded_seconds": self.up.as_secs(),
            "state": self.writer_state().name(),
            "log_is_on_disk": self.is_on_disk(),
            "last_error": now.last_error.as_ref().map(|(at, error)| json!({ "time": at, "error": error })),
            "reloading_seconds": self.reloading.map(|time| time.as_secs()),
            "settings": {
                "logfile": settings.logfile.to_string_lossy(),
                "format": settings.format.name(),
                "events": settings.event_names(),
                "trusted-acl": settings.trusted.names(),
                "known-for": settings.known_for.as_secs(),
                "buffer-size": settings.buffer_size,
                "challenge-timeout": settings.challenge_timeout.as_secs(),
            },
            "waiting_bytes": now.waiting_bytes,
            "known": now.known_addresses.map(|(addresses, refused)| json!({ "addresses": addresses, "refused": refused, "failing": failing })),
            "challenges": { "waiting": lookups.challenges, "untracked": lookups.challenges_untracked },
            "look_ups": now.lookups.map(|these| json!({
                "seen": these.seen,
                "attempts_seen": these.attempts_seen,
                "attempts_hidden": these.attempts_hidden,
                "unconfirmed_waiting": these.unconfirmed,
                "untracked": these.untracked,
            })),
            "signals": events,
            "busiest": addresses,
            "accounts": accounts,
        });
        format!("{status}\n")
    }
}

fn lookup_words(lookups: Lookups) -> String {
    let mut words = format!("{} of credentials seen", lookups.seen);
    if lookups.attempts_hidden > 0 {
        let attempts = lookups.attempts_hidden + lookups.attempts_seen;
        let _ = write!(
            words,
            "; HIDDEN for {} of {attempts} attempts, by a binding made before this module's (xml_curl, Lua) or by \
             cached users: load mod_fail2ban first",
            lookups.attempts_hidden
        );
    }
    if lookups.untracked > 0 {
        let _ = write!(words, "; {} were not watched for want of room", lookups.untracked);
    }
    words
}

/// A count that may include another's is no more than that.
fn at_most(error: u64) -> &'static str {
    if error > 0 { "at most " } else { "" }
}

/// A time as a person says it.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}
