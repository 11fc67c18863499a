//! What `fail2ban status` and `fail2ban metrics` show.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::console::attackers::{self, Attacker};
use crate::decision::AccountUnderAttack;
use crate::log::snapshot::Snapshot;
use crate::memory::known::Address;
use crate::target::Target;

/// A call for the file that takes longer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// This many known addresses with failures are listed.
const MOST_FAILING: usize = 10;
/// Likewise of attackers and of accounts under attack.
pub const MOST_ATTACKERS: usize = 10;

/// All that `status` shows.
pub struct Status {
    /// The journal.
    pub now: Snapshot,
    /// For how long the module has been loaded.
    pub up: Duration,
    /// For how long a reload of the settings has been under way.
    pub reloading: Option<Duration>,
    /// Known addresses with failures in the last hour, most first.
    pub failing: Vec<Address>,
    /// The attackers, the worst first.
    pub attackers: Vec<Attacker>,
    /// Accounts under attack, those with most sources first.
    pub under_attack: Vec<AccountUnderAttack>,
    /// What was decided since load.
    pub decision: Decision,
}

/// What the module has decided since it was loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    /// Sources with points that are no attackers.
    pub suspects: usize,
    /// Attackers found, and levels.
    pub found: u64,
    /// Attackers that were forgotten early for want of room.
    pub evicted: u64,
    /// Lookups that were refused.
    pub refused: u64,
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

    /// Its name.
    pub fn name(self) -> &'static str {
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
        let (decision, mut under_attack) = target.journal.with_memory(|now, memory| {
            let Some(engine) = &memory.engine else { return (Decision::default(), vec![]) };
            let (suspects, _) = engine.sizes();
            let (found, evicted, refused) = (engine.found, engine.evicted_attackers(), engine.refused);
            let decision = Decision { suspects, found, evicted, refused };
            (decision, engine.accounts_under_attack(now).collect())
        });
        under_attack.sort_by_key(|there| std::cmp::Reverse(there.sources));
        let attackers = attackers::current(target);
        let up = target.loaded_at.elapsed();
        Status { now, up, reloading, failing, attackers, under_attack, decision }
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
    pub fn is_on_disk(&self) -> Option<bool> {
        match self.writer_state() {
            WriterState::Writing => Some(true),
            WriterState::Failing => Some(false),
            WriterState::Stuck => None,
        }
    }

    /// Whether what refuse-attackers asks for can be done: FreeSWITCH's lookups come by.
    pub fn can_refuse(&self) -> bool {
        let is_hidden = self.now.lookups.is_some_and(|lookups| lookups.attempts_hidden > 0);
        self.now.settings.refuse_attackers && !is_hidden
    }
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
