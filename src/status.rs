//! How `fail2ban status` reads, at three in the morning and to a machine.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::VERSION;
use crate::event_type::EventType;
use crate::journal::Snapshot;
use crate::known::Address;
use crate::module::Instance;

/// A write that takes longer is stuck. The log file is looked at only if the writer gets on: a hung mount must
/// not hang the console, too.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// So many known addresses with failures are listed.
const MOST_FAILING: usize = 10;

/// All that `status` shows.
pub struct Status {
    /// The journal.
    pub now: Snapshot,
    /// For how long the module has been loaded.
    pub up: Duration,
    /// For how long a reload of the settings has been under way.
    reloading: Option<Duration>,
    /// Whether the open file is the one at the path; unknown while a write hangs.
    on_disk: Option<bool>,
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
    /// The status of an instance. Looks at the file, too.
    pub fn of(instance: &Instance) -> Status {
        let now = instance.journal.snapshot();
        let hangs = now.busy.is_some_and(|busy| busy > STUCK_AFTER);
        let on_disk = now.file.as_ref().filter(|_| !hangs).map(|(path, dev, ino)| {
            fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (*dev, *ino))
        });
        let mut failing = instance.journal.known_addresses();
        failing.retain(|address| address.failures > 0);
        failing.sort_by_key(|address| std::cmp::Reverse(address.failures));
        failing.truncate(MOST_FAILING);
        let reloading = instance.keeper.reloading_for();
        Status { now, up: instance.loaded_at.elapsed(), reloading, on_disk, failing }
    }

    /// Whether lines are written.
    pub fn writer_state(&self) -> WriterState {
        match (self.now.is_failing, self.on_disk) {
            (true, _) => WriterState::Failing,
            (false, None) => WriterState::Stuck,
            (false, Some(_)) => WriterState::Writing,
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
                    "under way for {reloading}: FreeSWITCH is reading its XML; the settings are the old ones"
                ),
            );
        }
        row("format", settings.format.name());
        row("events", &settings.event_names().join(", "));
        let trusted = settings.trusted.names().join(", ");
        row("trusted-acl", if trusted.is_empty() { "none" } else { &trusted });
        row("known-for", &self.known_words());
        row("buffer", &format!("{} of {} bytes wait to be written", now.waiting_bytes, settings.buffer_size));
        if let Some((waiting, untracked)) = now.challenges {
            let limit = settings.challenge_timeout.as_secs();
            row(
                "challenges",
                &format!(
                    "{waiting} calls wait for an answer (at most {limit} s), {untracked} were not watched for want of room"
                ),
            );
        }
        if let Some(words) = self.look_up_words() {
            row("look-ups", &words);
        }
        self.write_counts(&mut out);
        self.write_busiest(&mut out);
        out
    }

    fn write_counts(&self, out: &mut String) {
        let now = &self.now;
        let _ = writeln!(
            out,
            "\n{:<24}{:>8}{:>9}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}",
            "event type",
            "minute",
            "hour",
            "seen",
            "written",
            "waiting",
            "dropped",
            "known",
            "trusted",
            "no address"
        );
        for event_type in EventType::ALL {
            let of = *event_type as usize;
            let has_counted = now.counters[of].seen + now.trusted[of] + now.no_address[of] > 0;
            if now.settings.logs(*event_type) || has_counted {
                let _ = writeln!(
                    out,
                    "{:<24}{:>8}{:>9}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}",
                    event_type.name(),
                    now.minute[of],
                    now.hour[of],
                    now.counters[of].seen,
                    now.counters[of].written,
                    now.counters[of].waiting(),
                    now.counters[of].dropped,
                    now.known[of],
                    now.trusted[of],
                    now.no_address[of]
                );
            }
        }
    }

    fn write_busiest(&self, out: &mut String) {
        out.push_str("\nbusiest addresses since load (of those logged)\n");
        let most = self.now.addresses.iter().map(|address| address.count).max().unwrap_or(0);
        if most == 0 {
            out.push_str("  none\n");
        }
        for address in &self.now.addresses {
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
            out.push_str("\nknown addresses with failures within an hour: stolen accounts, or someone sends them in their name\n");
            for address in &self.failing {
                let _ = writeln!(
                    out,
                    "  {:<40}{:>17}  for {} users, known by {}",
                    address.ip,
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

    fn look_up_words(&self) -> Option<String> {
        let look_ups = self.now.look_ups?;
        let mut words = format!("{} of credentials seen", look_ups.seen);
        if look_ups.attempts_hidden > 0 {
            let attempts = look_ups.attempts_hidden + look_ups.attempts_seen;
            let _ = write!(
                words,
                "; HIDDEN for {} of {attempts} attempts, by a binding made before this module's (xml_curl, Lua) or by \
                 cached users: load mod_fail2ban first",
                look_ups.attempts_hidden
            );
        }
        if look_ups.untracked > 0 {
            let _ = write!(words, "; {} were not watched for want of room", look_ups.untracked);
        }
        Some(words)
    }

    fn state_words(&self) -> String {
        match (self.writer_state(), self.now.busy) {
            (WriterState::Failing, _) => {
                "FAILING: lines can't be written and wait in memory (see the last error)".into()
            }
            (WriterState::Stuck, Some(busy)) => {
                format!("STUCK: a write has not returned for {}", duration(busy))
            }
            (state, _) => state.name().into(),
        }
    }

    fn file_words(&self) -> &'static str {
        match self.on_disk {
            Some(true) => "open, and the file on disk",
            Some(false) => "open, but NOT the file on disk: seen within 5 seconds, or with the next line",
            None => "not looked at while a write hangs",
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
                    "last_minute": now.minute[of],
                    "last_hour": now.hour[of],
                });
                (event_type.name().to_owned(), counts)
            })
            .collect();
        let addresses: Vec<Value> = now
            .addresses
            .iter()
            .map(|address| json!({ "ip": address.key, "count": address.count, "error": address.error }))
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
                    "ip": address.ip,
                    "account": address.account.readable(),
                    "failures": address.failures,
                    "users": address.users.count(),
                })
            })
            .collect();
        let (waiting, untracked) = now.challenges.unwrap_or_default();
        let status = json!({
            "version": VERSION,
            "time": now.time,
            "loaded_seconds": self.up.as_secs(),
            "state": self.writer_state().name(),
            "log_is_on_disk": self.on_disk,
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
            "challenges": { "waiting": waiting, "untracked": untracked },
            "look_ups": now.look_ups.map(|these| json!({
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
