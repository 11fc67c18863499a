//! The keeper: a thread that does what may take FreeSWITCH or a disk long, so that neither the writer nor any of
//! FreeSWITCH's threads waits for it. It reads the settings again and saves known addresses.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::host::log::{Level, say};
use crate::module::lock;

/// A reload that is asked for in the console is waited for this long; it goes on by itself. Not longer, since
/// the console's command may run on a thread that the reload itself has to wait for (a Lua hook of an event).
const RELOAD_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Known addresses are saved this often, if any have changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// What the keeper is asked for, and what came of it.
#[derive(Default)]
pub struct Keeper {
    requests: Mutex<Requests>,
    wake: Condvar,
    finished: Condvar,
    is_stopping: AtomicBool,
}

#[derive(Default)]
struct Requests {
    /// Reloads that were asked for, and of these, those that have ended.
    asked: u64,
    ended: u64,
    /// The next one has FreeSWITCH read its files first.
    reads_files: bool,
    /// Since when one is under way.
    since: Option<Instant>,
    result: Option<Result<bool, String>>,
    /// One has had FreeSWITCH read its files, which FreeSWITCH tells all its modules: another one will follow.
    has_echo: bool,
    /// The one under way is that other one. What is wrong has been said already.
    is_echo: bool,
    next_save: Option<Instant>,
}

/// What the keeper's thread is to do next.
pub enum Work {
    /// Read the settings again.
    Reload {
        /// Have FreeSWITCH read its files first.
        reads_files: bool,
    },
    /// Save the known addresses.
    Save,
    /// End, after saving them once more.
    End,
}

impl Keeper {
    /// Has the settings read again soon: for threads that must not wait.
    pub fn request_reload(&self) {
        lock(&self.requests).asked += 1;
        self.wake.notify_all();
    }

    /// Has FreeSWITCH read its files and then the settings, and waits for the outcome; `None` if that takes
    /// longer than it may: it goes on then.
    pub fn reload(&self) -> Option<Result<bool, String>> {
        let by = Instant::now() + RELOAD_ANSWER_LIMIT;
        let mut requests = lock(&self.requests);
        requests.asked += 1;
        requests.reads_files = true;
        let ticket = requests.asked;
        self.wake.notify_all();
        while requests.ended < ticket {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return None;
            }
            requests = self.finished.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        requests.result.clone()
    }

    /// For how long a reload has been under way.
    pub fn reloading_for(&self) -> Option<Duration> {
        lock(&self.requests).since.map(|since| since.elapsed())
    }

    /// Has the thread end; whoever waits for a reload waits no more.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Under the lock, so that the keeper is not just about to wait.
        drop(lock(&self.requests));
        self.wake.notify_all();
        self.finished.notify_all();
    }

    /// Whether the thread is to end.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Waits for something to do.
    pub fn next_work(&self) -> Work {
        let mut requests = lock(&self.requests);
        loop {
            if self.is_stopping() {
                return Work::End;
            }
            if requests.ended < requests.asked {
                // Whoever asks from now on is answered by another reload.
                requests.ended = requests.asked - 1;
                requests.since = Some(Instant::now());
                let reads_files = std::mem::take(&mut requests.reads_files);
                requests.is_echo = !reads_files && std::mem::take(&mut requests.has_echo);
                return Work::Reload { reads_files };
            }
            let now = Instant::now();
            let next_save = *requests.next_save.get_or_insert(now + SAVE_INTERVAL);
            if now >= next_save {
                requests.next_save = None;
                return Work::Save;
            }
            requests =
                self.wake.wait_timeout(requests, next_save - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// FreeSWITCH has read its files for the reload under way.
    pub fn expect_echo(&self) {
        lock(&self.requests).has_echo = true;
    }

    /// A reload has ended.
    pub fn finish_reload(&self, result: Result<bool, String>) {
        let is_echo = lock(&self.requests).is_echo;
        match &result {
            Ok(true) => say(Level::Notice, "mod_fail2ban: the changed settings are active"),
            Err(why) if !self.is_stopping() && !is_echo => {
                say(Level::Error, &format!("mod_fail2ban keeps its settings: {why}"));
            }
            Ok(false) | Err(_) => {}
        }
        let mut requests = lock(&self.requests);
        requests.ended += 1;
        requests.since = None;
        requests.result = Some(result);
        drop(requests);
        self.finished.notify_all();
    }
}
