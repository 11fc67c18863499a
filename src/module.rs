//! The life cycle: load and unload.
//!
//! | state | load | reload of the settings | unload |
//! |---|---|---|---|
//! | unloaded | → loading → loaded | refused | done |
//! | loading | refused | refused | refused |
//! | loaded | refused | by the keeper | → stopping |
//! | stopping | refused | refused | refused |
//! | stuck (a thread did not end in time; it writes nothing more) | → loaded, afresh | refused | NOUNLOAD until it has ended |
//!
//! Threads: FreeSWITCH's own; the writer, which waits for the disk; the keeper, which waits for FreeSWITCH; the ticker,
//! which waits for time; and at unload one that unbinds. (A load does everything on FreeSWITCH's thread.)
//!
//! Locks, in the order in which they may be taken:
//! 1. `LIFE`: for an instant, never while waiting for anything.
//! 2. The bindings: while binding and unbinding. Never taken by what FreeSWITCH delivers.
//! 3. FreeSWITCH's: its event bindings and its search functions (held for reading while it delivers, for writing to
//!    bind and unbind), its log's bindings, its XML, its ACLs. So nothing that it delivers may wait for 1 or 2, nor for
//!    a thread that binds.
//! 4. The current target; the keeper's requests, and what it has said; the threads; the journal's thread; the journal's
//!    settings; the journal's state: each for an instant, and the last two in this order. `has_ended` takes the two with
//!    threads under 1.
//!
//! Of FreeSWITCH's, only its ACLs are asked under one of 4 (the settings, read), and under no other.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::VERSION;
use crate::bindings::Bindings;
use crate::host::say::{Level, say};
use crate::host::thread::Thread;
use crate::host::{boundary, clock, completion, library, state};
use crate::keeper::{self, Keeper};
use crate::log::journal::{Host, Journal};
use crate::requests::Requests;
use crate::target::{self, Target};
use crate::ticker::Ticker;

/// Unloading writes what waits within this time.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Of it, this much is left for writing if unbinding takes long.
const WRITING_LIMIT: Duration = Duration::from_secs(2);

/// The module, for as long as it is loaded.
struct Instance {
    target: Arc<Target>,
    bindings: Arc<Bindings>,
    ticker: Arc<Ticker>,
    threads: Mutex<Vec<Thread>>,
}

/// See the module's table.
enum State {
    Unloaded,
    Loading,
    Loaded(Arc<Instance>),
    Stopping,
}

struct Life {
    state: State,
    /// Instances whose threads did not end in time.
    stuck: Vec<Arc<Instance>>,
}

/// A later load of the same library finds it as the last one left it, since FreeSWITCH may keep the library.
static LIFE: Mutex<Life> = Mutex::new(Life { state: State::Unloaded, stuck: Vec::new() });

/// Reads the settings, opens the log, and last of all binds. `completions` are the command lines that the console
/// completes.
pub fn load(completions: &'static [&'static str]) -> Result<(), String> {
    {
        let mut life = lock(&LIFE);
        life.stuck.retain(|instance| !instance.has_ended());
        match life.state {
            State::Unloaded => life.state = State::Loading,
            State::Loading => return Err("it is being loaded".into()),
            State::Loaded(_) => return Err("it is loaded already".into()),
            State::Stopping => return Err("it is being unloaded".into()),
        }
    }
    let result = Instance::start(completions);
    if let Ok(instance) = &result {
        target::set_current(Some(Arc::clone(&instance.target)));
    }
    let mut life = lock(&LIFE);
    match result {
        Ok(instance) => {
            life.state = State::Loaded(instance);
            Ok(())
        }
        Err(failed) => {
            life.state = State::Unloaded;
            life.stuck.extend(failed.stuck);
            Err(failed.why)
        }
    }
}

/// Unbinds, writes what waits and ends the threads; the error says what did not end in time.
pub fn shutdown() -> Result<(), String> {
    let instance = {
        let mut life = lock(&LIFE);
        match std::mem::replace(&mut life.state, State::Stopping) {
            State::Loaded(instance) => Some(instance),
            State::Unloaded => None,
            state @ (State::Loading | State::Stopping) => {
                life.state = state;
                return Err("it is being loaded or unloaded".into());
            }
        }
    };
    target::set_current(None);
    let result = instance.map_or(Ok(()), |instance| {
        let failed = Err("its end has failed".into());
        boundary::guard("unloading", failed, || instance.stop()).map_err(|why| (why, instance))
    });
    let mut life = lock(&LIFE);
    life.state = State::Unloaded;
    life.stuck.retain(|instance| !instance.has_ended());
    match result {
        Err((why, instance)) => {
            life.stuck.push(instance);
            Err(why)
        }
        Ok(()) if life.stuck.is_empty() => Ok(()),
        Ok(()) => Err("a thread of an unload before this one has still not ended".into()),
    }
}

/// A load that has failed, and what could not be ended again.
struct LoadFailed {
    why: String,
    stuck: Option<Arc<Instance>>,
}

impl Instance {
    fn start(completions: &'static [&'static str]) -> Result<Arc<Instance>, LoadFailed> {
        let nothing_started = |why| LoadFailed { why, stuck: None };
        let (settings, warnings) = keeper::read_settings().map_err(nothing_started)?;
        // At once: where the log can't be opened, a misspelt parameter may be why.
        warnings.iter().for_each(|warning| say(Level::Warning, warning));
        let host = Host { now: clock::now, local: clock::local, say };
        let journal = Journal::start(settings, host).map_err(nothing_started)?;
        let target = Arc::new(Target { journal, requests: Requests::default(), loaded_at: Instant::now() });
        let bindings = Arc::new(Bindings::default());
        let has_started = state::is_ready();
        let keeper =
            Keeper::new(Arc::clone(&target), Arc::clone(&bindings), completions, warnings, has_started);
        let ticker = Arc::new(Ticker::new(Arc::clone(&target)));
        let instance = Arc::new(Instance { target, bindings, ticker, threads: Mutex::default() });
        let failed = Err("its start has failed".into());
        match boundary::guard("loading", failed, || instance.start_rest(keeper, has_started)) {
            Ok(()) => Ok(instance),
            Err(why) => Err(LoadFailed { why, stuck: instance.stop().err().map(|_| instance) }),
        }
    }

    /// What is ended again by [`Instance::stop`].
    fn start_rest(&self, keeper: Keeper, has_started: bool) -> Result<(), String> {
        let settings = Arc::clone(&self.target.journal.settings());
        self.target.journal.with_memory(|_, memory| keeper.restore(memory));
        self.bindings.change(&self.target, &settings, || ())?;
        if has_started {
            keeper.add_completions();
            self.target.requests.start();
        }
        let thread = Thread::spawn(c"fail2ban-keeper", move || keeper.run())?;
        lock(&self.threads).push(thread);
        let ticker = Arc::clone(&self.ticker);
        let thread = Thread::spawn(c"fail2ban-ticker", move || ticker.run(has_started))?;
        lock(&self.threads).push(thread);
        say(
            Level::Notice,
            &format!(
                "mod_fail2ban {VERSION}: log {}, format {}, events {}",
                settings.logfile.display(),
                settings.format.name(),
                settings.event_names().join(", ")
            ),
        );
        Ok(())
    }

    /// Unbinds, and ends the threads; the error says what did not end in time. The library stays mapped then, until
    /// FreeSWITCH ends.
    fn stop(&self) -> Result<(), String> {
        let by = Instant::now() + SHUTDOWN_LIMIT;
        self.target.requests.stop();
        // Here, and not where it unbinds: that may come after a later load has given its own.
        if state::is_ready() {
            completion::set("del fail2ban");
        }
        // Unbinding waits for whatever FreeSWITCH delivers just now, in any module's handler.
        let bindings = Arc::clone(&self.bindings);
        let unbinder = Thread::spawn(c"fail2ban-unbind", move || bindings.end());
        let unbound = match unbinder {
            Ok(thread) => thread.join_by(by - WRITING_LIMIT),
            // Without a thread, it has to be done here.
            Err(_) => {
                self.bindings.end();
                Ok(())
            }
        };
        self.ticker.stop();
        let (threads, mut running) = (std::mem::take(&mut *lock(&self.threads)), Vec::new());
        // The ticker first: its last tick may log something.
        for thread in threads.into_iter().rev() {
            running.extend(thread.join_by(by - WRITING_LIMIT / 2).err());
        }
        let written = self.target.journal.stop(by);
        let mut why = Vec::new();
        if let Err(lines) = written {
            let logfile = self.target.journal.settings().logfile.display().to_string();
            why.push(format!("{lines} lines unwritten: a write to {logfile} is blocked"));
        }
        if !running.is_empty() {
            self.target.requests.abandon();
            why.push(
                "FreeSWITCH does not return from reading its XML or its directory, or a disk from saving what is known"
                    .into(),
            );
        }
        if let Err(unbinder) = unbound {
            running.push(unbinder);
            why.push("cannot unbind: an event or a directory lookup is still in progress".into());
        }
        lock(&self.threads).extend(running);
        if why.is_empty() {
            return Ok(());
        }
        library::pin();
        why.push("its code stays in memory until FreeSWITCH restarts".into());
        Err(why.join("; "))
    }

    /// Whether the threads that did not end in time have ended.
    fn has_ended(&self) -> bool {
        let mut threads = lock(&self.threads);
        let running: Vec<Thread> = threads.drain(..).filter_map(|thread| thread.try_join().err()).collect();
        *threads = running;
        threads.is_empty() && self.target.journal.has_ended()
    }
}

/// Locks. A panic leaves nothing half done that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
