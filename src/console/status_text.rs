//! `fail2ban status`, for a person.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::VERSION;
use crate::console::status::{Decision, MOST_ATTACKERS, Status, WriterState, duration};
use crate::console::words;
use crate::event::event_type::EventType;
use crate::log::snapshot::Lookups;

impl Status {
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
        row("attackers", &self.attacker_words());
        row("refusing", &self.refusing_words());
        let proxies = settings.proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let header = &settings.client_address_header;
        let proxies = if proxies.is_empty() { "none" } else { &proxies };
        row("proxy", &format!("{proxies} (client-address-header {header})"));
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
        self.write_under_attack(&mut out);
        self.write_busiest(&mut out);
        out
    }

    fn write_counts(&self, out: &mut String) {
        let now = &self.now;
        let _ = writeln!(
            out,
            "\n{:<24}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>11}  last seen",
            "event type", "seen", "written", "waiting", "dropped", "known", "trusted", "no address",
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

    fn write_under_attack(&self, out: &mut String) {
        if !self.under_attack.is_empty() {
            out.push_str("\naccounts under attack, and how many sources that are not known failed there within an hour\n");
        }
        for there in self.under_attack.iter().take(MOST_ATTACKERS) {
            let _ = writeln!(out, "  {:<40}{:>17}", there.account.readable(), there.sources);
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

    fn attacker_words(&self) -> String {
        let settings = &self.now.settings;
        if !settings.decides() {
            return "nobody ever is one: attacker-after is 0".into();
        }
        let Decision { suspects, found, evicted, .. } = self.decision;
        let mut words = format!(
            "{} now, {} with points, {} under attack; attacker-after {}, ipv6-prefix {}; found or risen {} since load",
            self.attackers.len(),
            words::count(suspects as u64, "other source"),
            words::count(self.under_attack.len() as u64, "account"),
            settings.attacker_after,
            settings.ipv6_prefix,
            words::count(found, "time"),
        );
        if evicted > 0 {
            let _ = write!(words, ", {evicted} forgotten early for want of room");
        }
        words
    }

    fn refusing_words(&self) -> String {
        if !self.now.settings.refuse_attackers {
            return "no: refuse-attackers is no".into();
        }
        let refused = words::count(self.decision.refused, "lookup");
        let lookups = self.now.lookups.unwrap_or_default();
        let attempts = lookups.attempts_hidden + lookups.attempts_seen;
        match (lookups.attempts_hidden, lookups.attempts_seen) {
            (0, _) => {
                format!("yes: {refused} refused since load; not over Verto, whose lookups show no address")
            }
            (_, 0) => "nothing can be refused: lookups are HIDDEN (see below)".into(),
            (hidden, _) => format!(
                "{refused} refused since load; for {hidden} of {attempts} attempts nothing can be refused: lookups \
                 are HIDDEN (see below)"
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
