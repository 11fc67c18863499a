//! What is asked of the keeper: to read the settings again, to ask the directory, to make up for what had to wait until
//! FreeSWITCH had started.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A reload that is asked for in the console is waited for this long; then it continues by itself. Not longer, since
/// the console's command may run on a thread that the reload itself has to wait for (a Lua hook of an event).
const RELOAD_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// What is known is saved this often, if any of it has changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// Most outcomes that are kept for those who asked: they may wake up after the next reload has ended.
const OUTCOMES: usize = 16;

/// What is asked of the keeper, and what came of it.
#[derive(Default)]
pub struct Requests {
    state: Mutex<State>,
    wake: Condvar,
    finished: Condvar,
    is_stopping: AtomicBool,
    is_abandoned: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Reloads that were asked for, and of these, those that have ended.
    asked: u64,
    ended: u64,
    /// The one in progress is for all that were asked for until then.
    in_progress: Option<(u64, Instant)>,
    /// The next one has FreeSWITCH read its files first.
    reads_files: bool,
    /// What came of the last ones, each with the number of the last request that it was for.
    outcomes: VecDeque<(u64, Result<bool, String>)>,
    has_started: bool,
    has_question: bool,
    next_save: Option<Instant>,
}

/// What the keeper's thread is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// FreeSWITCH has started: make up for what had to wait.
    Start,
    /// Read the settings again.
    Reload {
        /// Have FreeSWITCH read its files first.
        reads_files: bool,
    },
    /// Ask the directory.
    Ask,
    /// Save what is known.
    Save,
    /// End, after saving once more.
    End,
}

impl Requests {
    /// FreeSWITCH has started.
    pub fn start(&self) {
        self.request(|state| state.has_started = true);
    }

    /// The directory is to be asked.
    pub fn ask(&self) {
        self.request(|state| state.has_question = true);
    }

    /// Has the settings read again soon: for threads that must not wait.
    pub fn reload_soon(&self) {
        self.request(|state| state.asked += 1);
    }

    fn request(&self, make: impl FnOnce(&mut State)) {
        make(&mut self.state());
        self.wake.notify_all();
    }

    /// Has FreeSWITCH read its files and then the settings, and waits for the outcome; `None` if that takes longer than
    /// it may: it continues then.
    pub fn reload(&self) -> Option<Result<bool, String>> {
        let by = Instant::now() + RELOAD_ANSWER_LIMIT;
        let mut state = self.state();
        state.asked += 1;
        state.reads_files = true;
        let ticket = state.asked;
        self.wake.notify_all();
        loop {
            if let Some((_, outcome)) = state.outcomes.iter().find(|(asked, _)| *asked >= ticket) {
                return Some(outcome.clone());
            }
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                return None;
            }
            state = self.finished.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// For how long a reload has been in progress.
    pub fn reloading_for(&self) -> Option<Duration> {
        self.state().in_progress.map(|(_, since)| since.elapsed())
    }

    /// A reload has ended.
    pub fn finish_reload(&self, result: Result<bool, String>) {
        let mut state = self.state();
        if let Some((asked, _)) = state.in_progress.take() {
            state.ended = asked;
            if state.outcomes.len() == OUTCOMES {
                state.outcomes.pop_front();
            }
            state.outcomes.push_back((asked, result));
        }
        drop(state);
        self.finished.notify_all();
    }

    /// Has the keeper end; nobody waits for a reload any more.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Under the lock, so that the keeper is not just about to wait.
        drop(self.state());
        self.wake.notify_all();
        self.finished.notify_all();
    }

    /// Whether the keeper is to end.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// The keeper did not end in time: it is to save nothing any more.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// See [`Requests::abandon`].
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Waits for something to do.
    pub fn next_work(&self) -> Work {
        let mut state = self.state();
        loop {
            if self.is_stopping() {
                return Work::End;
            }
            if std::mem::take(&mut state.has_started) {
                return Work::Start;
            }
            if state.ended < state.asked {
                state.in_progress = Some((state.asked, Instant::now()));
                return Work::Reload { reads_files: std::mem::take(&mut state.reads_files) };
            }
            let now = Instant::now();
            let next_save = *state.next_save.get_or_insert(now + SAVE_INTERVAL);
            if now >= next_save {
                state.next_save = None;
                return Work::Save;
            }
            if std::mem::take(&mut state.has_question) {
                return Work::Ask;
            }
            state = self.wake.wait_timeout(state, next_save - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const FILES: Work = Work::Reload { reads_files: true };

    fn wait_until(mut condition: impl FnMut() -> bool) {
        let by = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < by, "it never came");
            thread::yield_now();
        }
    }

    #[test]
    fn a_reload_is_answered_by_its_own_outcome_and_not_by_the_one_before() {
        let requests = Arc::new(Requests::default());
        let ask = |requests: &Arc<Requests>| {
            let requests = Arc::clone(requests);
            thread::spawn(move || requests.reload())
        };
        let bad = ask(&requests);
        wait_until(|| requests.state().asked == 1);
        assert_eq!(requests.next_work(), FILES);
        requests.finish_reload(Err("bad".into()));
        // The next may have ended before who asked for this one wakes up.
        requests.reload_soon();
        assert_eq!(requests.next_work(), Work::Reload { reads_files: false });
        requests.finish_reload(Ok(false));
        assert_eq!(bad.join().unwrap(), Some(Err("bad".into())));
        // The file was mended. Another request comes in while that reload is in progress.
        let good = ask(&requests);
        wait_until(|| requests.state().asked == 3);
        assert_eq!(requests.next_work(), FILES);
        requests.reload_soon();
        requests.finish_reload(Ok(true));
        assert_eq!(requests.next_work(), Work::Reload { reads_files: false });
        assert_eq!(good.join().unwrap(), Some(Ok(true)));
        requests.finish_reload(Ok(false));
    }

    #[test]
    fn one_reload_is_for_all_that_were_asked_for_before_it() {
        let requests = Requests::default();
        (0..3).for_each(|_| requests.reload_soon());
        assert_eq!(requests.next_work(), Work::Reload { reads_files: false });
        requests.ask();
        requests.finish_reload(Ok(false));
        assert_eq!(requests.next_work(), Work::Ask);
        requests.start();
        assert_eq!(requests.next_work(), Work::Start);
        requests.stop();
        assert_eq!(requests.next_work(), Work::End);
        assert_eq!(requests.reload(), None);
    }
}
