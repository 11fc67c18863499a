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
//! addresses; and at unload one that unbinds. Only these three wait for a disk or for FreeSWITCH.
//!
//! Locks, in the order in which they may be taken:
//! 1. [`LIFE`]: for an instant, never while waiting for anything.
//! 2. [`Instance::bindings`]: while binding and unbinding. Never taken by what FreeSWITCH delivers.
//! 3. FreeSWITCH's: its event bindings and its search functions (held for reading while it delivers, for writing
//!    to bind and unbind), its log's bindings, its XML, its ACLs. So nothing that it delivers may wait for 1 or 2,
//!    nor for a thread that binds.
//! 4. The keeper's requests; the journal's settings; the journal's state: each for an instant.
//!
//! Of FreeSWITCH's, only its ACLs are asked under one of 4 (the settings, read), and that is under no other.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::acl_line::SofiaAcls;
use crate::event_type::EventType;
use crate::host::configuration;
use crate::host::directory::DirectoryBinding;
use crate::host::event::EventBinding;
use crate::host::log::{Level, LogBinding, say};
use crate::host::thread::Thread;
use crate::host::{clock, interface, registrations};
use crate::journal::{Host, Journal};
use crate::known::Known;
use crate::memory::account_of_registration;
use crate::settings::{self, Settings};
use crate::{address, console, dispatch, known_file};

/// The module's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shutdown writes what waits within this time.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Of it, so much is left for writing where unbinding takes long.
const WRITING_LIMIT: Duration = Duration::from_secs(2);
/// A reload that is asked for in the console is waited for this long; it goes on by itself. Not longer, since
/// the console's command may run on a thread that the reload itself has to wait for (a Lua hook of an event).
const RELOAD_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Known addresses are saved this often, if any have changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// The module, for as long as it is loaded.
pub struct Instance {
    /// What is recorded and written.
    pub journal: Journal,
    /// Who reads the settings again.
    pub keeper: Keeper,
    /// Since when.
    pub loaded_at: Instant,
    known_file: PathBuf,
    bindings: Mutex<Option<Bindings>>,
    threads: Mutex<Vec<Thread>>,
}

/// What is bound.
#[derive(Default)]
struct Bindings {
    events: Vec<EventBinding>,
    log: Option<LogBinding>,
    directory: Option<DirectoryBinding>,
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
    let mut life = lock(&LIFE);
    match result {
        Ok(instance) => {
            instance.announce();
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
    let result = instance.map_or(Ok(()), |instance| instance.stop().map_err(|why| (why, instance)));
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
        warnings.iter().for_each(|warning| say(Level::Warning, warning));
        let host = Host { now: clock::now, local: clock::local, say };
        let logfile = settings.logfile.clone();
        let journal = Journal::start(settings, host)
            .map_err(|error| nothing_started(settings::cannot_open(&logfile, &error)))?;
        let instance = Arc::new(Instance {
            journal,
            keeper: Keeper::default(),
            loaded_at: Instant::now(),
            known_file: configuration::db_dir().join(known_file::NAME),
            bindings: Mutex::new(Some(Bindings::default())),
            threads: Mutex::default(),
        });
        match instance.start_rest() {
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
            self.remember();
        }
        let keeper = Arc::clone(self);
        let thread = Thread::spawn(c"fail2ban-keeper", move || keeper.keep())
            .map_err(|error| format!("no thread can be started: {error}"))?;
        lock(&self.threads).push(thread);
        if let Some(bindings) = lock(&self.bindings).as_mut() {
            bindings.extend(&settings, self)?;
        }
        for words in console::COMPLETIONS {
            interface::set_completion(&format!("add fail2ban {words}"));
        }
        Ok(())
    }

    /// Tells which code runs and what it does.
    fn announce(&self) {
        let settings = self.journal.settings();
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
        // Unbinding waits for whatever FreeSWITCH delivers just now, in any module's handler.
        let unbinder = {
            let instance = Arc::clone(self);
            Thread::spawn(c"fail2ban-unbind", move || {
                drop(lock(&instance.bindings).take());
                interface::set_completion("del fail2ban");
            })
        };
        let unbound = match unbinder {
            Ok(thread) => thread.join_by(by - WRITING_LIMIT),
            // Without a thread, it has to be done here.
            Err(_) => {
                drop(lock(&self.bindings).take());
                Ok(())
            }
        };
        let written = self.journal.stop(by);
        let mut running: Vec<Thread> = unbound.err().into_iter().collect();
        let is_unbound = running.is_empty();
        for thread in lock(&self.threads).drain(..) {
            running.extend(thread.join_by(by).err());
        }
        let is_kept = running.len() > usize::from(!is_unbound);
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

    /// Whether the threads that did not end in time have ended.
    fn has_ended(&self) -> bool {
        let mut threads = lock(&self.threads);
        let running: Vec<Thread> = threads.drain(..).filter_map(|thread| thread.try_join().err()).collect();
        *threads = running;
        threads.is_empty() && self.journal.has_ended()
    }

    /// The keeper's thread.
    fn keep(self: Arc<Instance>) {
        loop {
            match self.keeper.next_work(SAVE_INTERVAL) {
                Work::Reload { reads_files } => {
                    let result = self.reload(reads_files);
                    self.keeper.finish_reload(result);
                }
                Work::Save => self.save_known(),
                Work::End => return self.save_known(),
            }
        }
    }

    /// Makes the settings in the file the active ones; whether any has changed. Refused as a whole if any of
    /// them can't be.
    fn reload(self: &Arc<Instance>, reads_files: bool) -> Result<bool, String> {
        if reads_files {
            configuration::reload()?;
        }
        let (settings, warnings) = read_settings()?;
        let before = Arc::clone(&self.journal.settings());
        if *before == settings {
            return Ok(false);
        }
        warnings.iter().for_each(|warning| say(Level::Warning, warning));
        let logfile = settings.logfile.clone();
        let prepared = self
            .journal
            .prepare(settings.clone())
            .map_err(|error| settings::cannot_open(&logfile, &error))?;
        let mut bindings = lock(&self.bindings);
        let bindings =
            bindings.as_mut().filter(|_| !self.keeper.is_stopping()).ok_or("it is being unloaded")?;
        // First bind all that either settings need, then change over, then unbind what the new ones don't.
        bindings.extend(&settings, self)?;
        self.journal.apply(prepared);
        bindings.reduce(&settings);
        if settings.knows() && !before.knows() {
            self.remember();
        }
        Ok(true)
    }

    /// Takes over what was known before, and who is registered.
    fn remember(&self) {
        let now = clock::now();
        let settings = Arc::clone(&self.journal.settings());
        let mut known = Known::new(settings.known_for);
        if let Err(warning) = known_file::load(&self.known_file, &mut known, now) {
            say(Level::Warning, &warning);
        }
        registrations::for_each(now.wall_seconds(), |ip, user, realm| {
            if let Some((ip, _)) = address::parse(ip) {
                known.learn(now, now.seconds(), ip, &account_of_registration(user, realm));
            }
        });
        self.journal.with_memory(|_, memory| {
            if let Some(there) = &mut memory.known {
                *there = known;
            }
        });
    }

    fn save_known(&self) {
        let has_changed =
            |memory: &mut crate::memory::Memory| memory.known.as_mut().is_some_and(Known::take_changed);
        if !self.journal.with_memory(|_, memory| has_changed(memory)) {
            return;
        }
        let addresses = self.journal.known_addresses();
        if let Err(error) = known_file::save(&self.known_file, &addresses, clock::now()) {
            let path = self.known_file.display();
            say(
                Level::Warning,
                &format!(
                    "{path}: known addresses can't be saved: {error}; they are lost when FreeSWITCH ends"
                ),
            );
        }
    }
}

impl Bindings {
    /// Binds what these settings need and is not bound yet.
    fn extend(&mut self, settings: &Settings, instance: &Arc<Instance>) -> Result<(), String> {
        // Whatever fails, what was bound before it is unbound again.
        let mut new = Bindings::default();
        for topic in dispatch::topics(settings) {
            if !self.events.iter().any(|binding| binding.topic() == topic) {
                new.events.push(EventBinding::bind(topic, instance)?);
            }
        }
        if settings.reads_host_log() && self.log.is_none() {
            new.log = Some(LogBinding::bind(instance)?);
        }
        if settings.watches_look_ups() && self.directory.is_none() {
            new.directory = Some(DirectoryBinding::bind(instance)?);
        }
        self.events.append(&mut new.events);
        self.log = self.log.take().or(new.log.take());
        self.directory = self.directory.take().or(new.directory.take());
        Ok(())
    }

    /// Unbinds what these settings don't need.
    fn reduce(&mut self, settings: &Settings) {
        let topics = dispatch::topics(settings);
        self.events.retain(|binding| topics.contains(&binding.topic()));
        self.log.take_if(|_| !settings.reads_host_log());
        self.directory.take_if(|_| !settings.watches_look_ups());
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
}

enum Work {
    Reload { reads_files: bool },
    Save,
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

    fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Under the lock, so that the keeper is not just about to wait.
        drop(lock(&self.requests));
        self.wake.notify_all();
        self.finished.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn next_work(&self, limit: Duration) -> Work {
        let mut requests = lock(&self.requests);
        loop {
            if self.is_stopping() {
                return Work::End;
            }
            if requests.ended < requests.asked {
                // Whoever asks from now on is answered by another reload.
                requests.ended = requests.asked - 1;
                requests.since = Some(Instant::now());
                return Work::Reload { reads_files: std::mem::take(&mut requests.reads_files) };
            }
            let (next, timeout) =
                self.wake.wait_timeout(requests, limit).unwrap_or_else(PoisonError::into_inner);
            requests = next;
            if timeout.timed_out() {
                return Work::Save;
            }
        }
    }

    fn finish_reload(&self, result: Result<bool, String>) {
        match &result {
            Ok(true) => say(Level::Notice, "mod_fail2ban: the changed settings are active"),
            Ok(false) => {}
            Err(why) => say(Level::Error, &format!("mod_fail2ban keeps its settings: {why}")),
        }
        let mut requests = lock(&self.requests);
        requests.ended += 1;
        requests.since = None;
        requests.result = Some(result);
        drop(requests);
        self.finished.notify_all();
    }
}

/// A panic leaves nothing half done that matters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
