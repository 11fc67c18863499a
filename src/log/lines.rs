//! The lines that wait to be written, and the counts of what they report.
#![forbid(unsafe_code)]

use std::io;

use crate::decision::{Found, Source};
use crate::event::event_type::{EventType, PerType};
use crate::event::field::Field;
use crate::event::signal::Signal;
use crate::log::buffer::Buffer;
use crate::log::line::{self, Notice};
use crate::memory::busiest::Busiest;
use crate::memory::lookup::Client;
use crate::memory::outcome::Outcome;
use crate::settings::Settings;
use crate::text::bounded_text::BoundedText;
use crate::time::{LocalTime, Now, Stamper};

/// Lines and counts.
pub struct Lines {
    /// Writes times.
    pub stamper: Stamper,
    /// The lines that wait.
    pub buffer: Buffer,
    /// Events of trusted addresses.
    pub trusted: PerType<u64>,
    /// Events of known addresses.
    pub known: PerType<u64>,
    /// Events without an address.
    pub no_address: PerType<u64>,
    /// When each event type was logged last, in microseconds since 1970.
    pub last_seen: PerType<Option<i64>>,
    /// The busiest sources.
    pub sources: Busiest<Source>,
    /// The accounts with most failures, and from how many sources.
    pub accounts: Busiest<BoundedText<48>>,
}

impl Lines {
    /// None yet. `local` gives the local time of a second since 1970.
    pub fn new(settings: &Settings, local: fn(i64) -> LocalTime) -> io::Result<Lines> {
        Ok(Lines {
            stamper: Stamper::new(local),
            buffer: Buffer::new(settings.buffer_size)?,
            trusted: [0; EventType::COUNT],
            known: [0; EventType::COUNT],
            no_address: [0; EventType::COUNT],
            last_seen: [None; EventType::COUNT],
            sources: Busiest::default(),
            accounts: Busiest::default(),
        })
    }

    /// Adds what follows from a signal that has just come, once it has become that of the client it counts for.
    pub fn add_of(&mut self, settings: &Settings, now: Now, signal: &mut Signal<'_>, outcome: Outcome) {
        let Some(Client { ip, trusted }) = outcome.client else {
            let index = signal.event_type as usize;
            self.no_address[index] += u64::from(settings.logs(signal.event_type));
            return;
        };
        if ip != signal.ip {
            signal.via = Some(std::mem::replace(&mut signal.ip, ip));
        }
        if outcome.transport.is_some() {
            signal.set(Field::Transport, outcome.transport);
        }
        self.add(settings, now, signal, outcome, trusted);
    }

    /// Adds what follows from a signal, which happened `at` a time.
    pub fn add(
        &mut self,
        settings: &Settings,
        at: Now,
        signal: &Signal<'_>,
        outcome: Outcome,
        trusted: bool,
    ) {
        if outcome.is_success_after_failures {
            let mut success = signal.clone();
            success.event_type = EventType::SuccessAfterFailures;
            success.set(Field::User, Some(signal.auth_user()));
            self.line(settings, at, &success, outcome.known.map(|_| false), trusted);
        }
        if !outcome.is_silent {
            self.line(settings, at, signal, outcome.known, trusted);
        }
        if let Some(found) = outcome.attacker {
            self.attacker(settings, at, signal, &found);
        }
    }

    /// Adds the line of an attacker, whose last event this signal is.
    pub fn attacker(&mut self, settings: &Settings, at: Now, signal: &Signal<'_>, found: &Found) {
        self.last_seen[EventType::Attacker as usize] = Some(at.wall);
        let stamp = self.stamper.stamp(at.wall);
        let format = settings.format;
        self.buffer.push(EventType::Attacker, |out| line::write_attacker(out, format, &stamp, signal, found));
    }

    /// Adds the line of a signal: if the settings log it and its address is not trusted.
    fn line(
        &mut self,
        settings: &Settings,
        at: Now,
        signal: &Signal<'_>,
        known: Option<bool>,
        trusted: bool,
    ) {
        let index = signal.event_type as usize;
        if !settings.logs(signal.event_type) {
        } else if trusted {
            self.trusted[index] += 1;
        } else {
            self.write(settings, at, signal, known);
        }
    }

    /// Adds the line of a signal, whatever the settings log.
    pub fn write(&mut self, settings: &Settings, at: Now, signal: &Signal<'_>, known: Option<bool>) {
        let index = signal.event_type as usize;
        self.last_seen[index] = Some(at.wall);
        let source = settings.source_of(signal.ip);
        self.sources.add(source);
        if is_failure(signal.event_type) {
            self.accounts.add_with(BoundedText::new(signal.auth_user()), &source);
        }
        self.known[index] += u64::from(known == Some(true));
        let stamp = self.stamper.stamp(at.wall);
        self.buffer.push(signal.event_type, |out| line::write(out, settings.format, &stamp, signal, known));
    }

    /// Adds a line of the module's own; whether there was room.
    pub fn notice(&mut self, settings: &Settings, now: Now, notice: Notice) -> bool {
        let stamp = self.stamper.stamp(now.wall);
        self.buffer.push_notice(|out| line::write_notice(out, settings.format, &stamp, notice))
    }

    /// Adds a line about the losses that are not reported yet; returns them if there was room for it.
    pub fn report_losses(&mut self, settings: &Settings, now: Now) -> Option<PerType<u64>> {
        let losses = self.buffer.unreported_drops;
        if line::total(&losses) == 0 || !self.notice(settings, now, Notice::Dropped(losses)) {
            return None;
        }
        self.buffer.unreported_drops = [0; EventType::COUNT];
        Some(losses)
    }
}

/// A guess at a password, or what may be one.
fn is_failure(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::RegisterFailure | EventType::VertoLoginFailure | EventType::AuthUnconfirmed
    )
}
