//! A copy of all that `fail2ban status` shows, taken at one moment.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::Source;
use crate::event::event_type::PerType;
use crate::log::buffer::Counters;
use crate::log::shared::{Shared, State};
use crate::memory::busiest::Count;
use crate::settings::Settings;
use crate::text::bounded_text::BoundedText;

/// All that `fail2ban status` shows.
pub struct Snapshot {
    /// The settings.
    pub settings: Arc<Settings>,
    /// When.
    pub time: String,
    /// What became of each event type.
    pub counters: PerType<Counters>,
    /// Events of trusted addresses, which are not logged.
    pub trusted: PerType<u64>,
    /// Events of known addresses, which are logged as such.
    pub known: PerType<u64>,
    /// Events without an address that parses.
    pub no_address: PerType<u64>,
    /// When each was logged last.
    pub last_seen: PerType<Option<String>>,
    /// The busiest sources.
    pub sources: Vec<Count<Source>>,
    /// The accounts with most failures, and from how many sources.
    pub accounts: Vec<Count<BoundedText<48>>>,
    /// Bytes that wait.
    pub waiting_bytes: usize,
    /// Challenges and credentials, if they are watched.
    pub lookups: Option<Lookups>,
    /// How many addresses are known, and how many found no room.
    pub known_addresses: Option<(usize, u64)>,
    /// Whether lines can't be written now.
    pub is_failing: bool,
    /// For how long the writer has been in one call for the file.
    pub busy: Option<Duration>,
    /// The last error and when it was.
    pub last_error: Option<(String, String)>,
    /// The same in microseconds since 1970.
    pub last_error_at: Option<i64>,
    /// Which file is open: its path, device and inode.
    pub file: Option<(PathBuf, u64, u64)>,
}

/// Lookups of credentials, and what waits for them or for their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Lookups that were seen.
    pub seen: u64,
    /// Attempts whose lookup was seen.
    pub attempts_seen: u64,
    /// Attempts that must have been looked up and whose lookup was not seen.
    pub attempts_hidden: u64,
    /// Credentials that wait for a success.
    pub unconfirmed: usize,
    /// Credentials that found no room.
    pub untracked: u64,
    /// Challenges that wait for an answer.
    pub challenges: usize,
    /// Challenges that found no room.
    pub challenges_untracked: u64,
}

impl Snapshot {
    /// Takes one.
    pub(super) fn take(shared: &Shared) -> Snapshot {
        let now = (shared.host.now)();
        let settings = Arc::clone(&shared.settings());
        let mut guard = shared.state();
        let State { memory, lines, writer, .. } = &mut *guard;
        let last_error = writer.last_error.clone();
        let (sources, accounts) = (lines.sources.clone(), lines.accounts.clone());
        let mut snapshot = Snapshot {
            settings,
            time: lines.stamper.text(now.wall),
            counters: lines.buffer.counters,
            trusted: lines.trusted,
            known: lines.known,
            no_address: lines.no_address,
            last_seen: lines.last_seen.map(|at| at.map(|at| lines.stamper.text(at))),
            sources: Vec::new(),
            accounts: Vec::new(),
            waiting_bytes: lines.buffer.waiting_bytes(),
            lookups: memory.watch.as_ref().map(|watch| Lookups {
                seen: watch.looked_up,
                attempts_seen: watch.proofs.seen,
                attempts_hidden: watch.proofs.hidden,
                unconfirmed: watch.pending.credentials,
                untracked: watch.pending.untracked_credentials,
                challenges: watch.pending.challenges,
                challenges_untracked: watch.pending.untracked_challenges,
            }),
            known_addresses: memory.known.as_ref().map(|known| (known.len(), known.refused)),
            is_failing: writer.is_failing,
            busy: writer.busy_since.map(|since| since.elapsed()),
            last_error_at: last_error.as_ref().map(|(at, _)| *at),
            last_error: last_error.map(|(at, error)| (lines.stamper.text(at), error)),
            file: writer.file.clone(),
        };
        // Sorting takes longer than handlers should wait.
        drop(guard);
        snapshot.sources = sources.top(10);
        snapshot.accounts = accounts.top(10);
        snapshot
    }
}
