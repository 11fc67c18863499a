//! The ticker: a thread that does once a second what is due. It waits for the time alone.
#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::decision::AccountUnderAttack;
use crate::host::say::{Level, say};
use crate::host::{boundary, state};
use crate::log::line;
use crate::memory::announcements::Announcement;
use crate::target::Target;

const INTERVAL: Duration = Duration::from_secs(1);
/// Losses are reported once none has happened for a tick, or after this many ticks.
const LOSS_REPORT_TICKS: u32 = 10;

/// What the ticker works on.
pub struct Ticker {
    target: Arc<Target>,
    is_stopping: Mutex<bool>,
    wake: Condvar,
}

/// What one tick hands to the next.
struct Tick {
    /// FreeSWITCH had started.
    has_started: bool,
    /// Losses that were not reported, and since how many ticks.
    losses: u64,
    ticks: u32,
}

impl Ticker {
    /// For the module that is being loaded.
    pub fn new(target: Arc<Target>) -> Ticker {
        Ticker { target, is_stopping: Mutex::new(false), wake: Condvar::new() }
    }

    /// Has it end, after one more tick.
    pub fn stop(&self) {
        *self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// The thread's life. `has_started`: FreeSWITCH had at the load, and what needs that was done.
    pub fn run(&self, has_started: bool) {
        let mut tick = Tick { has_started, losses: 0, ticks: 0 };
        loop {
            let is_stopping = self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
            let (is_stopping, _) = self
                .wake
                .wait_timeout_while(is_stopping, INTERVAL, |is_stopping| !*is_stopping)
                .unwrap_or_else(PoisonError::into_inner);
            let ends = *is_stopping;
            drop(is_stopping);
            boundary::guard("the ticker", (), || self.tick(&mut tick));
            if ends {
                return;
            }
        }
    }

    fn tick(&self, tick: &mut Tick) {
        let journal = &self.target.journal;
        if !tick.has_started && state::is_ready() {
            tick.has_started = true;
            self.target.requests.start();
        }
        journal.log_overdue();
        journal.take_announcements().iter().for_each(announce);
        let losses = line::total(&journal.unreported_drops());
        let is_over = losses == tick.losses || tick.ticks >= LOSS_REPORT_TICKS;
        (tick.losses, tick.ticks) = if losses == 0 { (0, 0) } else { (losses, tick.ticks + 1) };
        if losses > 0
            && is_over
            && let Some(reported) = journal.report_losses()
        {
            (tick.losses, tick.ticks) = (0, 0);
            say(Level::Warning, &line::losses(&journal.settings().logfile, &reported, "were dropped"));
        }
    }
}

fn announce(announcement: &Announcement) {
    let words = match announcement {
        Announcement::SuccessAfterFailures { source, account, failures } => format!(
            "{source} has logged in as {} after {failures} or more failures within an hour: a guessed password, or \
             someone who found the right one",
            account.readable()
        ),
        Announcement::KnownSourceFails { source, account, failures, users } => format!(
            "{source}, known by {}, has {failures} failures for {} users within an hour: a stolen account, or failures \
             that are sent in its name",
            account.readable(),
            users.words()
        ),
        Announcement::Attacker(found, account) => format!(
            "{} is an attacker of level {}, with {} points ({}), last for \"{}\"; for more: fail2ban why {}",
            found.source,
            found.level,
            found.points,
            found.causes,
            account.readable(),
            found.source.first()
        ),
        Announcement::Refused { source, account, refusal } => format!(
            "{source} is refused for {} s, \"{}\" first; for more: fail2ban why {}",
            (refusal.remaining + 999_999) / 1_000_000,
            account.readable(),
            source.first()
        ),
        Announcement::AccountUnderAttack(AccountUnderAttack { account, sources }) => format!(
            "{sources} sources that are not known have failed at \"{}\" within an hour; for more: fail2ban why {}",
            account.readable(),
            account.readable()
        ),
        Announcement::DirectoryAtFault => {
            "the directory does not find an account that was accepted before; for ten \
             minutes unknown users count as failures alone"
                .into()
        }
        Announcement::ProxyWithoutClient(proxy) => format!(
            "the proxy {proxy} passes credentials on without one address in client-address-header; they count for nobody"
        ),
    };
    say(Level::Warning, &format!("fail2ban: {words}"));
}
