//! How `fail2ban status` reads, at three in the morning and to a machine.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::journal::Snapshot;
use crate::settings::Settings;
use crate::signal::{Kind, PerKind};

/// The log file is looked at only if the writer gets on: a hung mount must not hang the console too.
const BUSY: Duration = Duration::from_secs(1);

/// All that `status` shows.
pub struct Status<'a> {
    settings: &'a Settings,
    now: Snapshot,
    up: Duration,
    /// Whether the open file is the one at the path; unknown while a write hangs.
    on_disk: Option<bool>,
}

impl<'a> Status<'a> {
    /// Looks at the file, too.
    pub fn new(settings: &'a Settings, now: Snapshot, up: Duration) -> Status<'a> {
        let hangs = now.busy.is_some_and(|busy| busy > BUSY);
        let on_disk = now.file.as_ref().filter(|_| !hangs).map(|(path, dev, ino)| {
            fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (*dev, *ino))
        });
        Status { settings, now, up, on_disk }
    }

    /// In a word.
    fn health(&self) -> &'static str {
        match (self.now.failing, self.on_disk) {
            (true, _) => "failing",
            (false, None) => "stuck",
            (false, Some(_)) => "writing",
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let Snapshot { tally, trusted, no_address, minute, hour, .. } = &self.now;
        let settings = self.settings;
        let mut out = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:<12}{value}");
        };
        row("time", &format!("{}, loaded for {}", self.now.time, duration(self.up)));
        row("log", &format!("{} ({})", settings.logfile.display(), self.file_words()));
        row("state", &self.health_words());
        row(
            "last error",
            &self.now.last_error.as_ref().map_or("none".into(), |(at, error)| format!("{at} {error}")),
        );
        row("format", settings.format.name());
        row("events", &names(&settings.events).join(", "));
        let acls = settings.trusted_acl.join(", ");
        row("trusted-acl", if acls.is_empty() { "none" } else { &acls });
        row(
            "buffer",
            &format!("{} of {} bytes wait to be written", self.now.waiting_bytes, settings.buffer_size),
        );
        if settings.logs(Kind::ChallengeUnanswered) {
            let (waiting, untracked) = self.now.challenges;
            let limit = settings.challenge_timeout.as_secs();
            row(
                "challenges",
                &format!(
                    "{waiting} wait for an answer (at most {limit} s), {untracked} were not watched for want of room"
                ),
            );
        }
        let _ = writeln!(
            out,
            "\n{:<22}{:>8}{:>9}{:>11}{:>11}{:>9}{:>9}{:>9}{:>11}",
            "signal", "minute", "hour", "seen", "written", "waiting", "dropped", "trusted", "no address"
        );
        for kind in Kind::ALL {
            let of = kind as usize;
            let counted = tally[of].seen + trusted[of] + no_address[of] > 0;
            if settings.logs(kind) || counted {
                let _ = writeln!(
                    out,
                    "{:<22}{:>8}{:>9}{:>11}{:>11}{:>9}{:>9}{:>9}{:>11}",
                    kind.name(),
                    minute[of],
                    hour[of],
                    tally[of].seen,
                    tally[of].written,
                    tally[of].waiting(),
                    tally[of].dropped,
                    trusted[of],
                    no_address[of]
                );
            }
        }
        out.push_str("\nbusiest addresses since load (of those logged)\n");
        let most = self.now.busiest.iter().map(|source| source.count).max().unwrap_or(0);
        if most == 0 {
            out.push_str("  none\n");
        }
        for source in &self.now.busiest {
            let bar = "#".repeat((source.count * 30).div_ceil(most) as usize);
            let about = if source.error > 0 { "at most " } else { "" };
            let _ = writeln!(out, "  {:<40}{about:>8}{:>9}  {bar}", source.ip, source.count);
        }
        out
    }

    fn health_words(&self) -> String {
        match (self.health(), self.now.busy) {
            ("failing", _) => {
                "FAILING: lines can't be written and wait in memory (see the last error)".into()
            }
            ("stuck", Some(busy)) => format!("STUCK: a write has not returned for {}", duration(busy)),
            (health, _) => health.into(),
        }
    }

    fn file_words(&self) -> &'static str {
        match self.on_disk {
            Some(true) => "open, and the file on disk",
            Some(false) => "open, but NOT the file on disk: seen to within a second",
            None => "not looked at while a write hangs",
        }
    }

    /// For a machine; the README has the shape.
    pub fn json(&self) -> String {
        let settings = self.settings;
        let signals: Map<String, Value> = Kind::ALL
            .into_iter()
            .map(|kind| {
                let (of, tally) = (kind as usize, self.now.tally[kind as usize]);
                let counts = json!({
                    "enabled": settings.logs(kind),
                    "seen": tally.seen,
                    "written": tally.written,
                    "waiting": tally.waiting(),
                    "dropped": tally.dropped,
                    "trusted": self.now.trusted[of],
                    "no_address": self.now.no_address[of],
                    "last_minute": self.now.minute[of],
                    "last_hour": self.now.hour[of],
                });
                (kind.name().to_owned(), counts)
            })
            .collect();
        let busiest: Vec<Value> = self
            .now
            .busiest
            .iter()
            .map(|source| json!({ "ip": source.ip, "count": source.count, "error": source.error }))
            .collect();
        let (waiting, untracked) = self.now.challenges;
        let status = json!({
            "time": self.now.time,
            "loaded_seconds": self.up.as_secs(),
            "state": self.health(),
            "log_is_on_disk": self.on_disk,
            "last_error": self.now.last_error.as_ref().map(|(at, error)| json!({ "time": at, "error": error })),
            "settings": {
                "logfile": settings.logfile.to_string_lossy(),
                "format": settings.format.name(),
                "events": names(&settings.events),
                "trusted-acl": settings.trusted_acl,
                "buffer-size": settings.buffer_size,
                "challenge-timeout": settings.challenge_timeout.as_secs(),
            },
            "waiting_bytes": self.now.waiting_bytes,
            "challenges": { "waiting": waiting, "untracked": untracked },
            "signals": signals,
            "busiest": busiest,
        });
        format!("{status}\n")
    }
}

fn names(events: &PerKind<bool>) -> Vec<&'static str> {
    Kind::ALL.into_iter().filter(|kind| events[*kind as usize]).map(Kind::name).collect()
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}
