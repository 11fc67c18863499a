//! The life cycle: load, reload, shutdown.
//!
//! | state | load | reload | unload |
//! |---|---|---|---|
//! | unloaded | → loading → loaded | refused | done |
//! | loading | refused | refused | refused |
//! | loaded | refused | → reloading | → stopping |
//! | reloading (the keeper reads the settings; all else as loaded) | refused | once more, after this one | → stopping |
//! | stopping | refused | refused | refused |
//! | stuck (a thread did not end in time; it writes nothing more) | → loaded, afresh | refused | NOUNLOAD until it has ended |
//!
//! Threads: FreeSWITCH's own; the writer, which writes the log; the keeper, which reads settings and saves known
//! addresses; and at unload one that unbinds. Once it is loaded only these three wait for a disk or for FreeSWITCH
//! (a load does all on FreeSWITCH's thread; `status` looks at the log file, unless that hangs).
//!
//! Locks, in the order in which they may be taken:
//! 1. `LIFE`: for an instant, never while waiting for anything.
//! 2. `Instance::bindings`: while binding and unbinding. Never taken by what FreeSWITCH delivers.
//! 3. FreeSWITCH's: its event bindings and its search functions (held for reading while it delivers, for writing
//!    to bind and unbind), its log's bindings, its XML, its ACLs. So nothing that it delivers may wait for 1 or 2,
//!    nor for a thread that binds.
//! 4. The keeper's requests; the warnings; the threads; the journal's thread; the journal's settings; the journal's
//!    state: each for an instant, and the last two in this order. `has_ended` takes the two with threads under 1.
//!
//! Who gets the lines of FreeSWITCH's log (`host::log`) is read around 4 while one is delivered.
//!
//! Of FreeSWITCH's, only its ACLs are asked under one of 4 (the settings, read), and that is under no other.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::VERSION;
use crate::acl_line::SofiaAcls;
use crate::bindings::Bindings;
use crate::event_type::EventType;
use crate::host::configuration;
use crate::host::log::{Level, say};
use crate::host::thread::Thread;
use crate::host::{boundary, clock, interface, registrations};
use crate::journal::{Host, Journal};
use crate::keeper::{Keeper, Work};
use crate::known::Known;
use crate::memory::{Memory, account_of_registration};
use crate::settings::{self, Settings};
use crate::{address, known_file};

/// Shutdown writes what waits within this time.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Of it, so much is left for writing where unbinding takes long.
const WRITING_LIMIT: Duration = Duration::from_secs(2);

const BEING_UNLOADED: &str = "it is being unloaded";

/// The module, for as long as it is loaded.
pub struct Instance {
    /// What is recorded and written.
    pub journal: Journal,
    /// Who reads the settings again.
    pub keeper: Keeper,
    /// Since when.
    pub loaded_at: Instant,
    known_file: PathBuf,
    /// What was odd about the settings in the file when they were read last.
    warnings: Mutex<Vec<String>>,
    /// A thread did not end in time, so that nothing may be saved any more.
    is_abandoned: AtomicBool,
    bindings: Mutex<Option<Bindings>>,
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
    /// How often the library is held in memory for them, beyond what FreeSWITCH will let go of.
    pins: usize,
}

/// A later load of the same library finds it as the last one left it, since FreeSWITCH may keep the library.
static LIFE: Mutex<Life> = Mutex::new(Life { state: State::Unloaded, stuck: Vec::new(), pins: 0 });

/// The instance that is loaded.
pub fn current() -> Option<Arc<Instance>> {
    match &lock(&LIFE).state {
        State::Loaded(instance) => Some(Arc::clone(instance)),
        _ => None,
    }
}

/// Reads the settings, opens the log, and last of all binds.
pub fn load() -> Result<(), String> {
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
    let result = Instance::start();
    if let Ok(instance) = &result {
        boundary::guard("telling what runs", (), || instance.announce());
    }
    let mut life = lock(&LIFE);
    match result {
        Ok(instance) => {
            life.state = State::Loaded(instance);
            Ok(())
        }
        Err(failed) => {
            life.state = State::Unloaded;
            if let Some(stuck) = failed.stuck {
                // FreeSWITCH closes the library at once.
                life.pins += usize::from(crate::host::library::pin());
                life.stuck.push(stuck);
            }
            Err(failed.why)
        }
    }
}

/// Unbinds, writes what waits and ends the threads. Gives how often the library is still held, and not by
/// FreeSWITCH; the error says what did not end in time.
pub fn shutdown() -> Result<usize, String> {
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
    let result = instance.map_or(Ok(()), |instance| {
        let failed = Err("its end has failed".into());
        boundary::guard("unloading", failed, || instance.stop()).map_err(|why| (why, instance))
    });
    let mut life = lock(&LIFE);
    life.state = State::Unloaded;
    match result {
        Err((why, instance)) => {
            life.stuck.push(instance);
            life.pins += 1;
            Err(why)
        }
        Ok(()) => {
            life.stuck.retain(|instance| !instance.has_ended());
            if !life.stuck.is_empty() {
                life.pins += 1;
                return Err("a thread of an unload before this one has still not ended".into());
            }
            Ok(std::mem::take(&mut life.pins))
        }
    }
}

/// A load that has failed, and what could not be ended again.
struct LoadFailed {
    why: String,
    stuck: Option<Arc<Instance>>,
}

impl Instance {
    fn start() -> Result<Arc<Instance>, LoadFailed> {
        let nothing_started = |why| LoadFailed { why, stuck: None };
        let (settings, warnings) = read_settings().map_err(nothing_started)?;
        let host = Host { now: clock::now, local: clock::local, say };
        let logfile = settings.logfile.clone();
        // At once: where the log can't be opened, a misspelt parameter may be why.
        warnings.iter().for_each(|warning| say(Level::Warning, warning));
        let journal = Journal::start(settings, host)
            .map_err(|error| nothing_started(settings::cannot_open(&logfile, &error)))?;
        let instance = Arc::new(Instance {
            journal,
            keeper: Keeper::default(),
            loaded_at: Instant::now(),
            known_file: configuration::db_dir().join(known_file::NAME),
            warnings: Mutex::new(warnings),
            is_abandoned: AtomicBool::new(false),
            bindings: Mutex::new(Some(Bindings::default())),
            threads: Mutex::default(),
        });
        let failed = Err("its start has failed".into());
        match boundary::guard("loading", failed, || instance.start_rest()) {
            Ok(()) => Ok(instance),
            Err(why) => {
                let stuck = instance.stop().err().map(|_| instance);
                Err(LoadFailed { why, stuck })
            }
        }
    }

    /// What is ended again by [`Instance::stop`].
    fn start_rest(self: &Arc<Instance>) -> Result<(), String> {
        let settings = Arc::clone(&self.journal.settings());
        if settings.knows() {
            let known = self.recall(&settings);
            self.journal.with_memory(|_, memory| memory.known = Some(known));
        }
        let keeper = Arc::clone(self);
        let thread = Thread::spawn(c"fail2ban-keeper", move || keeper.keep())
            .map_err(|error| format!("no thread can be started: {error}"))?;
        lock(&self.threads).push(thread);
        if let Some(bindings) = lock(&self.bindings).as_mut() {
            bindings.extend(&settings, self)?;
        }
        Ok(())
    }

    /// Tells what is odd about the settings in the file, unless it told the same of them before.
    fn warn(&self, warnings: Vec<String>) {
        let told = std::mem::replace(&mut *lock(&self.warnings), warnings.clone());
        if told != warnings {
            warnings.iter().for_each(|warning| say(Level::Warning, warning));
        }
    }

    /// Tells which code runs and what it does.
    fn announce(&self) {
        let settings = Arc::clone(&self.journal.settings());
        say(
            Level::Notice,
            &format!(
                "mod_fail2ban {VERSION}: log {}, format {}, events {}",
                settings.logfile.display(),
                settings.format.name(),
                settings.event_names().join(", ")
            ),
        );
    }

    /// Unbinds, and ends the threads; the error says what did not end in time.
    fn stop(self: &Arc<Instance>) -> Result<(), String> {
        let by = Instant::now() + SHUTDOWN_LIMIT;
        self.keeper.stop();
        // Here, and not where it unbinds: that may come after a later load has given its own.
        interface::set_completion("del fail2ban");
        // Unbinding waits for whatever FreeSWITCH delivers just now, in any module's handler.
        let unbinder = {
            let instance = Arc::clone(self);
            Thread::spawn(c"fail2ban-unbind", move || instance.unbind())
        };
        let unbound = match unbinder {
            Ok(thread) => thread.join_by(by - WRITING_LIMIT),
            // Without a thread, it has to be done here.
            Err(_) => {
                self.unbind();
                Ok(())
            }
        };
        let written = self.journal.stop(by);
        let mut running: Vec<Thread> = unbound.err().into_iter().collect();
        let is_unbound = running.is_empty();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            running.extend(thread.join_by(by).err());
        }
        let is_kept = running.len() > usize::from(!is_unbound);
        self.is_abandoned.store(is_kept, Ordering::Relaxed);
        lock(&self.threads).extend(running);
        let mut why = Vec::new();
        if let Err(stuck) = written {
            let logfile = self.journal.settings().logfile.display().to_string();
            why.push(format!(
                "{} lines are not written yet, a write to {logfile} does not return",
                stuck.lines
            ));
        }
        if is_kept {
            why.push(
                "FreeSWITCH does not return from reading its XML, or a disk from saving known addresses"
                    .into(),
            );
        }
        if !is_unbound {
            why.push(
                "FreeSWITCH does not let it be unbound, since an event or a look-up is still being handled"
                    .into(),
            );
        }
        if why.is_empty() { Ok(()) } else { Err(why.join("; ")) }
    }

    fn unbind(&self) {
        if let Some(bindings) = lock(&self.bindings).take() {
            bindings.end();
        }
    }

    /// Whether the threads that did not end in time have ended.
    fn has_ended(&self) -> bool {
        let mut threads = lock(&self.threads);
        let running: Vec<Thread> = threads.drain(..).filter_map(|thread| thread.try_join().err()).collect();
        *threads = running;
        threads.is_empty() && self.journal.has_ended()
    }

    /// The keeper's thread.
    fn keep(self: Arc<Instance>) {
        let mut is_saved = true;
        let mut save = || {
            let was_saved = is_saved;
            is_saved = boundary::guard("saving known addresses", false, || self.save_known(was_saved));
        };
        loop {
            match self.keeper.next_work() {
                Work::Reload { reads_files } => {
                    let failed = Err("reading them has failed".into());
                    let result = boundary::guard("a reload", failed, || self.reload(reads_files));
                    self.keeper.finish_reload(result);
                }
                Work::Save => save(),
                Work::End => return save(),
            }
        }
    }

    /// Makes the settings in the file the active ones; whether any has changed. Refused as a whole if any of
    /// them can't be.
    fn reload(self: &Arc<Instance>, reads_files: bool) -> Result<bool, String> {
        if reads_files {
            configuration::reload()?;
            self.keeper.expect_echo();
        }
        let (settings, warnings) = read_settings()?;
        if self.keeper.is_stopping() {
            return Err(BEING_UNLOADED.into());
        }
        self.warn(warnings);
        let before = Arc::clone(&self.journal.settings());
        if *before == settings {
            return Ok(false);
        }
        let logfile = settings.logfile.clone();
        let mut prepared = self
            .journal
            .prepare(settings.clone())
            .map_err(|error| settings::cannot_open(&logfile, &error))?;
        if settings.knows() && !before.knows() {
            prepared.set_known(self.recall(&settings));
        }
        let mut bindings = lock(&self.bindings);
        let bindings = bindings.as_mut().filter(|_| !self.keeper.is_stopping()).ok_or(BEING_UNLOADED)?;
        // First bind all that either settings need, then change over, then unbind what the new ones don't.
        bindings.extend(&settings, self)?;
        self.journal.apply(prepared);
        bindings.reduce(&settings);
        Ok(true)
    }

    /// What was known before, and who is registered.
    fn recall(&self, settings: &Settings) -> Known {
        let now = clock::now();
        let mut known = Known::new(settings.known_for);
        if let Err(warning) = known_file::load(&self.known_file, &mut known, now) {
            say(Level::Warning, &warning);
        }
        registrations::for_each(now.wall_seconds(), |ip, user, realm| {
            if let Some((ip, _)) = address::parse(ip) {
                known.learn(now, now.seconds(), ip, &account_of_registration(user, realm));
            }
        });
        known
    }

    /// Saves them if they have changed; whether they are saved now. That they can't be is told once for each time
    /// that it begins.
    fn save_known(&self, was_saved: bool) -> bool {
        let take_changed = |memory: &mut Memory| memory.known.as_mut().is_some_and(Known::take_changed);
        if self.is_abandoned.load(Ordering::Relaxed)
            || !self.journal.with_memory(|_, memory| take_changed(memory))
        {
            return was_saved;
        }
        let addresses = self.journal.known_addresses();
        let Err(error) = known_file::save(&self.known_file, &addresses, clock::now()) else { return true };
        self.journal.with_memory(|_, memory| memory.known.as_mut().map(Known::set_changed));
        if was_saved {
            let path = self.known_file.display();
            say(
                Level::Warning,
                &format!(
                    "{path}: known addresses can't be saved: {error}; they are lost when FreeSWITCH ends"
                ),
            );
        }
        false
    }
}

/// Reads `fail2ban.conf`; gives the settings and what is odd about them. The C module's `do_config`.
fn read_settings() -> Result<(Settings, Vec<String>), String> {
    let file = settings::FILE;
    let xml = configuration::read(file).ok_or_else(|| {
        format!("{file}: FreeSWITCH has no such configuration (or XML that can't be read); expected autoload_configs/{file}.xml with <configuration name=\"{file}\"><bindings>…")
    })?;
    let (mut settings, mut warnings) =
        Settings::parse(&xml, &configuration::log_dir()).map_err(|error| error.to_string())?;
    if !settings.trusted.lists.is_empty() {
        warnings.extend(settings.unknown_acls(configuration::read("acl.conf").as_deref()));
    }
    if settings.logs(EventType::AclReject) {
        settings.sofia_acls = SofiaAcls::parse(&configuration::read("sofia.conf").unwrap_or_default());
    }
    if let Some(switch_conf) = configuration::read("switch.conf") {
        warnings.extend(settings::left_out_by_allowlist(&switch_conf));
    }
    Ok((settings, warnings))
}

/// Locks. A panic leaves nothing half done that matters.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
