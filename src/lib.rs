//! `mod_fail2ban` for FreeSWITCH: tells fail2ban, from inside the switch, who is attacking it.
//!
//! FreeSWITCH loads the module, calls [`load`] and in the end [`shutdown`]. In between, an event goes one
//! way: `host::Event` → [`signal::Signal`] → [`journal::Journal`] (which makes it a line) → the writer.
//! Unsafe code is in [`host`] and in the two entry points here, and nowhere else.

pub mod challenges;
pub mod command;
pub mod escape;
pub mod host;
pub mod journal;
pub mod line;
mod log_file;
pub mod queue;
pub mod recent;
pub mod settings;
pub mod signal;
pub mod status;
pub mod sys;
mod writer;

use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::command::Command;
use crate::host::event::{Event, EventBinding, Topic};
use crate::host::log::{LogBinding, say};
use crate::host::{boundary, clock, configuration};
use crate::journal::{Host, Journal, Say};
use crate::settings::Settings;
use crate::signal::{Field, Header, Headers, Kind, NotASignal, Signal};

/// The module's name.
pub const NAME: &CStr = c"mod_fail2ban";

/// Shutdown writes what waits within this time.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// What FreeSWITCH's loader looks for.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static mod_fail2ban_module_interface: sys::switch_loadable_module_function_table_t =
    sys::switch_loadable_module_function_table_t {
        switch_api_version: sys::SWITCH_API_VERSION as i32,
        load: Some(mod_fail2ban_load),
        shutdown: Some(mod_fail2ban_shutdown),
        runtime: None,
        flags: sys::SMODF_NONE,
    };

/// What the handlers need. Taken out at shutdown: a second load may find these statics as the first left them.
static MODULE: RwLock<Option<Module>> = RwLock::new(None);

/// What is bound. Its lock is held to load, reload and shut down, one at a time.
static BOUND: Mutex<Option<Bound>> = Mutex::new(None);

struct Module {
    settings: Settings,
    /// From the settings: the ACLs as the host takes them.
    trusted: Vec<CString>,
    journal: Journal,
    since: Instant,
}

struct Bound {
    events: Vec<EventBinding>,
    log: Option<LogBinding>,
}

unsafe extern "C" fn mod_fail2ban_load(
    interface: *mut *mut sys::switch_loadable_module_interface_t,
    pool: *mut sys::switch_memory_pool_t,
) -> sys::switch_status_t {
    boundary::guard("loading", sys::SWITCH_STATUS_FALSE, || {
        // SAFETY: they are the host's, as it passed them.
        let registered = unsafe { host::command::register(interface, pool, command::SYNTAX) };
        match registered.and_then(|()| load()) {
            Ok(()) => sys::SWITCH_STATUS_SUCCESS,
            Err(why) => {
                say(Say::Error, &format!("mod_fail2ban is not loaded: {why}"));
                sys::SWITCH_STATUS_FALSE
            }
        }
    })
}

unsafe extern "C" fn mod_fail2ban_shutdown() -> sys::switch_status_t {
    boundary::guard("shutdown", sys::SWITCH_STATUS_NOUNLOAD, || match shutdown() {
        Ok(()) => sys::SWITCH_STATUS_SUCCESS,
        Err(why) => {
            say(Say::Error, &format!("mod_fail2ban stays in memory: {why}"));
            sys::SWITCH_STATUS_NOUNLOAD
        }
    })
}

/// Reads the settings, opens the log, and last of all binds.
pub fn load() -> Result<(), String> {
    let mut bound = BOUND.lock();
    let (settings, warnings) = do_config()?;
    warn(&warnings);
    let host = Host { now: clock::now, local: clock::local, say, reload: reload_from_writer };
    let journal = Journal::start(&settings, host).map_err(|error| cannot_open(&settings, &error))?;
    *MODULE.write() = Some(Module {
        trusted: trusted(&settings),
        settings: settings.clone(),
        journal,
        since: Instant::now(),
    });
    match bind(&settings) {
        Ok(bindings) => *bound = Some(bindings),
        Err(why) => {
            stop_journal().map_err(|stuck| format!("{why}; {stuck}"))?;
            return Err(why);
        }
    }
    for words in command::COMPLETIONS {
        host::command::set_completion(&format!("add fail2ban {words}"));
    }
    Ok(())
}

/// Unbinds, then writes what waits and ends the writer.
pub fn shutdown() -> Result<(), String> {
    let Some(mut bound) = BOUND.try_lock_for(SHUTDOWN_LIMIT) else {
        return Err("a reload of its settings has not come to an end".into());
    };
    drop(bound.take());
    host::command::set_completion("del fail2ban");
    drop(bound);
    stop_journal()
}

fn stop_journal() -> Result<(), String> {
    let Some(module) = MODULE.write().take() else { return Ok(()) };
    let logfile = module.settings.logfile;
    module.journal.stop(SHUTDOWN_LIMIT).map_err(|stuck| {
        format!("{} lines are not written yet, a write to {} does not return", stuck.lines, logfile.display())
    })
}

/// Reads `fail2ban.conf`; gives the settings and what is odd about them.
fn do_config() -> Result<(Settings, Vec<String>), String> {
    let file = settings::FILE;
    let xml = configuration::read(file).ok_or_else(|| {
        format!("{file}: FreeSWITCH has no such configuration (or XML that can't be read); expected autoload_configs/{file}.xml with <configuration name=\"{file}\"><bindings>…")
    })?;
    let (settings, mut warnings) =
        Settings::parse(&xml, &configuration::log_dir()).map_err(|refused| refused.to_string())?;
    if !settings.trusted_acl.is_empty() {
        warnings.extend(settings.unknown_acls(configuration::read("acl.conf").as_deref()));
    }
    Ok((settings, warnings))
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| say(Say::Warning, warning));
}

fn cannot_open(settings: &Settings, error: &std::io::Error) -> String {
    let path = settings.logfile.display();
    format!(
        "{}: logfile=\"{path}\": {error}; expected a file that FreeSWITCH may write to, in a folder that exists",
        settings::FILE
    )
}

fn trusted(settings: &Settings) -> Vec<CString> {
    settings.trusted_acl.iter().filter_map(|acl| CString::new(acl.as_str()).ok()).collect()
}

fn topics(settings: &Settings) -> Vec<Topic> {
    let subclasses = settings.subclasses().into_iter().map(Topic::Subclass);
    subclasses.chain([Topic::Trap, Topic::ReloadXml]).collect()
}

fn bind(settings: &Settings) -> Result<Bound, String> {
    let events = topics(settings).into_iter().map(EventBinding::bind).collect::<Result<_, _>>()?;
    let log = settings.logs(Kind::AclReject).then(LogBinding::bind).transpose()?;
    Ok(Bound { events, log })
}

/// Puts the settings file in force as it is now; whether anything has changed. Refused as a whole if any of
/// it can't be.
fn reload() -> Result<bool, String> {
    let mut bound = BOUND.lock();
    let bound = bound.as_mut().ok_or("mod_fail2ban is being unloaded")?;
    let (settings, warnings) = do_config()?;
    if MODULE.read().as_ref().is_some_and(|module| module.settings == settings) {
        return Ok(false);
    }
    warn(&warnings);
    // First hear all that either settings need, then change over, then hear no more than the new ones need.
    let topics = topics(&settings);
    let is_new = |topic: &&Topic| !bound.events.iter().any(|binding| binding.topic() == **topic);
    let new: Vec<_> =
        topics.iter().filter(is_new).copied().map(EventBinding::bind).collect::<Result<_, _>>()?;
    let new_log =
        (settings.logs(Kind::AclReject) && bound.log.is_none()).then(LogBinding::bind).transpose()?;
    if let Some(module) = MODULE.read().as_ref() {
        module.journal.apply(&settings).map_err(|error| cannot_open(&settings, &error))?;
    }
    bound.events.extend(new);
    bound.log = bound.log.take().or(new_log).filter(|_| settings.logs(Kind::AclReject));
    bound.events.retain(|binding| topics.contains(&binding.topic()));
    if let Some(module) = MODULE.write().as_mut() {
        module.trusted = trusted(&settings);
        module.settings = settings;
    }
    Ok(true)
}

/// After `reloadxml`, on the writer's thread: the one that fires the event must not wait.
fn reload_from_writer() {
    match reload() {
        Ok(true) => say(Say::Notice, "mod_fail2ban: the changed settings are in force"),
        Ok(false) => {}
        Err(why) => say(Say::Error, &format!("mod_fail2ban keeps its settings: {why}")),
    }
}

/// Takes an event of those that are bound. Runs on a thread that the whole switch shares.
fn event_handler(event: &Event<'_>) {
    match event.id() {
        sys::SWITCH_EVENT_CUSTOM => {
            if let Some(kind) = event.subclass().and_then(Kind::of_subclass) {
                with_module(|module| {
                    let mut signal = Signal::unsettled(kind);
                    event.texts(kind.headers(module.settings.needs_all_headers()), &mut signal.texts);
                    module.heed(kind, signal.settle());
                });
            }
        }
        sys::SWITCH_EVENT_TRAP if is_hangup(event) => {
            with_module(|module| module.journal.reopen());
        }
        sys::SWITCH_EVENT_RELOADXML => with_module(|module| module.journal.reload_soon()),
        _ => {}
    }
}

fn is_hangup(event: &Event<'_>) -> bool {
    static TRAPPED_SIGNAL: Headers = Headers::new(&[Header::new("trapped-signal", Field::Result)]);
    let mut texts = [None; Field::COUNT];
    event.texts(&TRAPPED_SIGNAL, &mut texts);
    texts[Field::Result as usize] == Some(b"HUP")
}

/// Takes a line of FreeSWITCH's log from a file that may tell of ACLs.
fn heed_log(line: &[u8]) {
    if let Some(signal) = Signal::from_log(line) {
        with_module(|module| module.heed(Kind::AclReject, signal.as_ref().map_err(|why| *why)));
    }
}

fn with_module(body: impl FnOnce(&Module)) {
    if let Some(module) = MODULE.read().as_ref() {
        body(module);
    }
}

impl Module {
    #[inline]
    fn heed(&self, kind: Kind, signal: Result<&Signal<'_>, NotASignal>) {
        match signal {
            Err(why) => self.journal.enter_no_signal(kind, why),
            Ok(signal) if self.trusts(signal.ip) => self.journal.enter_trusted(signal),
            Ok(signal) => self.journal.enter(signal),
        }
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        if self.trusted.is_empty() {
            return false;
        }
        // On the stack: the handler allocates nothing.
        let mut text = [0; 64];
        let written = write!(&mut text[..63], "{ip}").is_ok();
        let ip = CStr::from_bytes_until_nul(&text);
        written && ip.is_ok_and(|ip| self.trusted.iter().any(|acl| configuration::acl_allows(acl, ip)))
    }
}

/// Answers `fail2ban …` in the console.
fn command(arguments: &str) -> String {
    let command = match Command::parse(arguments) {
        Ok(command) => command,
        Err(why) => return format!("-ERR {why}\n"),
    };
    if command == Command::Reload {
        // Reading the files has the host fire an event, upon which the writer may be first to put a change in
        // force.
        return match configuration::reload().and_then(|()| reload()) {
            Ok(_) => format!("+OK the settings in {}.xml are in force\n", settings::FILE),
            Err(why) => format!("-ERR the settings stay as they are: {why}\n"),
        };
    }
    let mut answer = "-ERR mod_fail2ban is being unloaded\n".to_string();
    let mut status = None;
    with_module(|module| match command {
        Command::Status { json } => {
            status = Some((module.settings.clone(), module.journal.snapshot(), module.since.elapsed(), json));
        }
        Command::Reopen => {
            module.journal.reopen();
            answer = format!("+OK {} is opened anew\n", module.settings.logfile.display());
        }
        Command::Test { ip, count } => {
            module.journal.enter_test(ip, count);
            answer = format!("+OK {count} lines for {ip} in {}\n", module.settings.logfile.display());
        }
        Command::Help | Command::Reload => answer.clone_from(&command::HELP),
    });
    // It looks at the file, which may take long, and nobody else may wait for that.
    if let Some((settings, snapshot, up, json)) = status {
        let status = status::Status::new(&settings, snapshot, up);
        return if json { status.json() } else { status.text() };
    }
    answer
}
