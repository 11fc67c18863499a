//! A switch to test in: the stand-in, or, where `FREESWITCH_PREFIX` names one, an installed FreeSWITCH. Each
//! `Switch` is a process of its own with its folders in a temporary one, and both go when it is dropped.
//!
//! Where the two differ, a test asks [`Switch::is_real`]. A real FreeSWITCH is driven over its event socket,
//! which delivers events later than it says it did, so a test waits for what it expects; and which can't
//! carry every event, see [`Switch::carries`].
#![allow(dead_code, unused_imports, reason = "each test uses a part")]

mod diagnostics;
mod events;
pub mod freeswitch;
pub mod process;
mod stand_in;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use events::{Event, data, recorded};
use serde_json::{Value, json};
use tempfile::TempDir;

use freeswitch::FreeSwitch;
use stand_in::StandIn;

/// How long anything may take before a test fails. Generous: machines are slow at times, and a test that
/// passes does not wait for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running switch.
pub struct Switch {
    host: Host,
    folder: TempDir,
}

impl Drop for Switch {
    /// Every ERROR and WARNING that any test provokes is in the manual.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            diagnostics::assert_documented(&read(&self.path("log/freeswitch.log")));
        }
    }
}

enum Host {
    StandIn(StandIn),
    Real(FreeSwitch),
}

impl Switch {
    /// Starts a switch whose `fail2ban.conf.xml` has these `<param …/>`s. The module is not loaded yet.
    pub fn start(params: &str) -> Switch {
        Switch::start_with(Some(&configuration(params)), "")
    }

    /// Starts a switch and loads the module.
    pub fn loaded(params: &str) -> Switch {
        let switch = Switch::start(params);
        switch.load().expect("the module loads");
        switch
    }

    /// Starts a switch with the whole text of `fail2ban.conf.xml`, or without the file, and with `<list>`s
    /// for `acl.conf.xml`.
    pub fn start_with(fail2ban_conf: Option<&str>, acl_lists: &str) -> Switch {
        let folder = TempDir::with_prefix("switch-").expect("a temporary folder");
        let conf = folder.path().join("conf/autoload_configs");
        std::fs::create_dir_all(&conf).expect("the configuration's folder");
        std::fs::create_dir(folder.path().join("log")).expect("the log's folder");
        if let Some(text) = fail2ban_conf {
            write(&conf.join("fail2ban.conf.xml"), text);
        }
        write(&conf.join("acl.conf.xml"), &acl_configuration(acl_lists));
        let host = match std::env::var_os("FREESWITCH_PREFIX") {
            Some(prefix) => Host::Real(FreeSwitch::start(Path::new(&prefix), &module_path(), folder.path())),
            None => Host::StandIn(StandIn::start(&stand_in_path(), &module_path(), folder.path())),
        };
        Switch { host, folder }
    }

    /// Whether this is FreeSWITCH itself.
    pub fn is_real(&self) -> bool {
        matches!(self.host, Host::Real(_))
    }

    /// `load mod_fail2ban`; the error is what the host says on its console.
    pub fn load(&self) -> Result<String, String> {
        match &self.host {
            Host::StandIn(host) => host.try_ask(&json!({ "load": {} })).map(|_| "+OK\n".into()),
            Host::Real(_) => self.command("load mod_fail2ban"),
        }
    }

    /// `unload mod_fail2ban`.
    pub fn unload(&self) -> Result<String, String> {
        match &self.host {
            Host::StandIn(host) => host.try_ask(&json!({ "unload": {} })).map(|_| "+OK\n".into()),
            Host::Real(_) => self.command("unload mod_fail2ban"),
        }
    }

    /// `reload mod_fail2ban`: both, one after the other.
    pub fn reload(&self) -> Result<String, String> {
        match &self.host {
            Host::StandIn(_) => self.unload().and_then(|_| self.load()),
            Host::Real(_) => self.command("reload mod_fail2ban"),
        }
    }

    /// Runs a command and gives what it wrote.
    pub fn api(&self, command: &str) -> String {
        match &self.host {
            Host::StandIn(host) => match host.try_ask(&json!({ "api": command })) {
                Ok(text) => text.as_str().expect("a command's output is a text").to_owned(),
                Err(error) => error,
            },
            Host::Real(host) => host.api(command),
        }
    }

    /// Runs a command of FreeSWITCH's that answers `-ERR` when it fails.
    pub fn command(&self, command: &str) -> Result<String, String> {
        let text = self.api(command);
        if text.contains("-ERR") { Err(text) } else { Ok(text) }
    }

    /// Fires an event: `Event-Name` (CUSTOM unless told), `Event-Subclass` (NULL unless told) and others.
    pub fn fire<V: AsRef<[u8]>>(&self, headers: &[(&str, V)]) {
        self.fire_event(&Event::new(headers));
    }

    /// As [`Switch::fire`], from an object.
    pub fn fire_json(&self, event: &Value) {
        self.fire_event(&Event::from_json(event));
    }

    /// As [`Switch::fire`].
    pub fn fire_event(&self, event: &Event) {
        match &self.host {
            Host::StandIn(host) => drop(host.ask(&json!({ "fire": event.to_json() }))),
            Host::Real(host) => host.send_event(event),
        }
    }

    /// Whether an event reaches the module as it is. The stand-in delivers every event; the event socket
    /// splits at line breaks, trims spaces in front, and drops empty values.
    pub fn carries(&self, event: &Event) -> bool {
        !self.is_real() || freeswitch::carries(event)
    }

    /// Fires many events from many threads, in the stand-in only; gives the handler's times in nanoseconds,
    /// `{"calls":…,"p50":…,"p99":…,"p9999":…,"max":…,"cpu":{…}}`. `{n}` in a value becomes the event's number.
    pub fn storm(&self, threads: usize, count: usize, event: &Event) -> Value {
        self.stand_in()
            .ask(&json!({ "storm": { "threads": threads, "count": count, "event": event.to_json() } }))
    }

    /// Begins a storm that lasts until [`Switch::end_storm`].
    pub fn begin_storm(&self, threads: usize, event: &Event) {
        let storm = json!({ "threads": threads, "event": event.to_json(), "background": true });
        self.stand_in().ask(&json!({ "storm": storm }));
    }

    /// Ends it, with the same result as [`Switch::storm`].
    pub fn end_storm(&self) -> Value {
        self.stand_in().ask(&json!({ "join": {} }))
    }

    /// A storm of so many seconds, with the same result as [`Switch::storm`].
    pub fn storm_for(&self, threads: usize, seconds: f64, event: &Event) -> Value {
        self.stand_in()
            .ask(&json!({ "storm": { "threads": threads, "seconds": seconds, "event": event.to_json() } }))
    }

    /// Writes a line to the host's own log, as FreeSWITCH's modules do, in the stand-in only.
    pub fn log(&self, level: u32, file: &str, text: &str) {
        self.log_on(0, level, file, text);
    }

    /// The same on a channel of the log: 0 is the usual one, 1 "log clean", whose lines have no prefix.
    pub fn log_on(&self, channel: u32, level: u32, file: &str, text: &str) {
        let line = json!({ "channel": channel, "level": level, "file": file, "text": text });
        self.stand_in().ask(&json!({ "log": line }));
    }

    /// `load mod_fail2ban` from another file, in the stand-in only.
    pub fn load_file(&self, path: &Path) -> Result<(), String> {
        self.stand_in().try_ask(&json!({ "load": { "path": path } })).map(drop)
    }

    /// Calls the module's `load` or `unload` though no loader would now, in the stand-in only.
    pub fn call_out_of_turn(&self, function: &str) -> Result<(), String> {
        self.stand_in().try_ask(&json!({ "out_of_turn": function })).map(drop)
    }

    /// Begins a request to the stand-in (see `tests/stand_in/program.rs`) that may take long; others are
    /// served meanwhile.
    pub fn begin(&self, request: &Value) -> Running<'_> {
        let host = self.stand_in();
        Running { host, number: host.ask(&json!({ "begin": request })) }
    }

    /// A look-up of sofia's in the directory, with these parameters, in the stand-in only: who answered it, if
    /// not the files.
    pub fn look_up(&self, params: &[(&str, &str)]) -> Option<String> {
        let answer = self.stand_in().ask(&look_up(params));
        answer.as_str().map(str::to_owned)
    }

    /// Binds a search function that stands for another module's, in the stand-in only. With `hangs` it holds up
    /// every look-up until [`Switch::release`].
    pub fn bind_search(&self, name: &str, answers: bool, hangs: bool) {
        let hangs = if hangs { json!(0) } else { Value::Null };
        let binding = json!({ "name": name, "sections": ["directory"], "answers": answers, "hangs": hangs });
        self.stand_in().ask(&json!({ "bind_search": binding }));
    }

    /// Undoes [`Switch::bind_search`].
    pub fn unbind_search(&self, name: &str) {
        self.stand_in().ask(&json!({ "unbind_search": name }));
    }

    /// Lets the look-ups go on that it holds up.
    pub fn release(&self, name: &str) {
        self.stand_in().ask(&json!({ "release": name }));
    }

    /// How many look-ups it holds up; `settings` stands for whoever reads `fail2ban.conf`.
    pub fn waiting(&self, name: &str) -> u64 {
        self.stand_in().ask(&json!({ "waiting": name })).as_u64().expect("a number")
    }

    /// From now on whoever opens `fail2ban.conf` waits for [`Switch::end_slow_settings`], in the stand-in only.
    pub fn slow_settings(&self) {
        self.stand_in().ask(&json!({ "slow_xml": 0 }));
    }

    /// See [`Switch::slow_settings`].
    pub fn end_slow_settings(&self) {
        self.stand_in().ask(&json!({ "slow_xml": null }));
    }

    /// From now on a call, `stat` or `close`, hangs for this file, in the stand-in only. How many wait:
    /// [`Switch::waiting`] of `disk`.
    pub fn hang(&self, call: &str, file: &Path) {
        self.stand_in().ask(&json!({ "hang": { "call": call, "file": file } }));
    }

    /// Undoes [`Switch::hang`].
    pub fn end_hang(&self) {
        self.stand_in().ask(&json!({ "hang": null }));
    }

    /// Has these users of the directory, `user@domain`, be without a password, in the stand-in only.
    pub fn set_without_password(&self, users: &[&str]) {
        self.stand_in().ask(&json!({ "without_password": users }));
    }

    /// Has the switch be up, or starting or shutting down without a database, in the stand-in only.
    pub fn set_ready(&self, ready: bool) {
        self.stand_in().ask(&json!({ "ready": ready }));
    }

    /// Sets the wall clock that many seconds away from the machine's, in the stand-in only.
    pub fn set_clock(&self, seconds: i64) {
        self.stand_in().ask(&json!({ "clock": seconds }));
    }

    /// Has the module's `nth` call of a function of the host's fail, in the stand-in only.
    pub fn fail_call(&self, function: &str, nth: usize) {
        self.stand_in().ask(&json!({ "fail": { "function": function, "nth": nth } }));
    }

    /// Whether the call has not been made.
    pub fn is_failure_pending(&self) -> bool {
        self.stand_in().ask(&json!({ "is_failure_pending": {} })) == true
    }

    /// Takes that back; whether the call has not been made.
    pub fn take_failure_back(&self) -> bool {
        self.stand_in().ask(&json!({ "fail": null })) == true
    }

    /// Runs an application on a call, in the stand-in only; the variables that the call has then. A profile's
    /// `network_addr` may be left out.
    pub fn execute(
        &self,
        app: &str,
        data: &str,
        profile: &Value,
        variables: &Value,
    ) -> Result<Value, String> {
        let channel = json!({ "caller_profile": profile, "variables": variables });
        self.stand_in().try_ask(&json!({ "execute": { "app": app, "data": data, "channel": channel } }))
    }

    /// Sets the registrations that the core's database has, in the stand-in only: objects with `reg_user`,
    /// `realm`, `network_ip` and `expires`.
    pub fn set_registrations(&self, rows: &Value) {
        self.stand_in().ask(&json!({ "registrations": rows }));
    }

    /// What the module has left open in the stand-in: bindings, loggers, handles, completions.
    pub fn leaks(&self) -> Value {
        self.stand_in().ask(&json!({ "leaks": {} }))
    }

    /// The console's completions of `fail2ban`.
    pub fn completions(&self) -> Vec<String> {
        match &self.host {
            Host::StandIn(host) => {
                let rows = host.ask(&json!({ "complete": "fail2ban " }));
                serde_json::from_value(rows).expect("a list of texts")
            }
            Host::Real(host) => {
                let table = host.api("show complete");
                table.lines().filter(|row| row.contains("fail2ban")).map(str::to_owned).collect()
            }
        }
    }

    fn stand_in(&self) -> &StandIn {
        match &self.host {
            Host::StandIn(host) => host,
            Host::Real(_) => panic!("only the stand-in can do this: ask is_real() before"),
        }
    }

    /// SIGHUP, as logrotate sends it.
    pub fn hang_up(&self) {
        match &self.host {
            Host::StandIn(_) => self.fire(&[("Event-Name", "TRAP"), ("Trapped-Signal", "HUP")]),
            Host::Real(host) => host.hang_up(),
        }
    }

    /// Puts another text in the place of `fail2ban.conf.xml` and makes the host read it (`reloadxml`).
    pub fn write_config(&self, text: &str) {
        write(&self.path("conf/autoload_configs/fail2ban.conf.xml"), text);
        self.api("reloadxml");
    }

    /// Puts a file of this text into `autoload_configs`, such as `sofia.conf.xml`, in the stand-in only (a real
    /// FreeSWITCH has all in one file), and makes the host read it.
    pub fn write_other_config(&self, file: &str, text: &str) {
        assert!(!self.is_real(), "only the stand-in can do this: ask is_real() before");
        write(&self.path("conf/autoload_configs").join(file), text);
        self.api("reloadxml");
    }

    /// Puts other `<list>`s into `acl.conf.xml` and makes the host read them.
    pub fn write_acl(&self, lists: &str) {
        write(&self.path("conf/autoload_configs/acl.conf.xml"), &acl_configuration(lists));
        self.api("reloadxml");
        self.api("reloadacl");
    }

    /// Removes `fail2ban.conf.xml` and makes the host notice.
    pub fn remove_config(&self) {
        std::fs::remove_file(self.path("conf/autoload_configs/fail2ban.conf.xml")).expect("there is one");
        self.api("reloadxml");
    }

    /// Everything in the host's own log.
    pub fn host_log(&self) -> String {
        if let Host::Real(host) = &self.host {
            host.flush_log(&self.path("log/freeswitch.log"));
        }
        read(&self.path("log/freeswitch.log"))
    }

    /// The lines of a level (`ERR`, `WARNING`, …) in the host's log, as the module wrote them.
    pub fn host_lines(&self, level: &str) -> Vec<String> {
        let log = self.host_log();
        let of_level = log.lines().filter(|line| line.contains(&format!("[{level}]")));
        of_level.map(str::to_owned).collect()
    }

    /// Where the module's log is unless told.
    pub fn log_file(&self) -> PathBuf {
        self.path("log/fail2ban.log")
    }

    /// What is in it now, nothing if there is none.
    pub fn log_text(&self) -> String {
        read(&self.log_file())
    }

    /// Waits for the log to have so many lines after its first, and gives them.
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let lines = || self.log_text().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        wait_until(&format!("{count} lines in the log"), || lines().len() >= count);
        lines()
    }

    /// A path in the switch's own folder, which has `conf` and `log`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        match &self.host {
            Host::StandIn(host) => host.pid(),
            Host::Real(host) => host.pid(),
        }
    }

    /// What the process holds: open descriptors, and threads by name.
    pub fn resources(&self) -> Resources {
        let pid = self.pid();
        Resources { descriptors: process::descriptors(pid).len(), threads: process::threads(pid) }
    }

    /// Whether the module's code is in the process's memory.
    pub fn has_code_mapped(&self) -> bool {
        process::has_mapped(self.pid(), "mod_fail2ban.so")
    }

    /// Whether the process lives and answers.
    pub fn is_up(&self) -> bool {
        match &self.host {
            Host::StandIn(host) => host.try_ask(&json!({ "api": "version" })).is_ok(),
            Host::Real(host) => host.api("status").contains("is ready"),
        }
    }
}

/// See [`Switch::begin`].
pub struct Running<'a> {
    host: &'a StandIn,
    number: Value,
}

impl Running<'_> {
    /// Whether there is a reply.
    pub fn is_done(&self) -> bool {
        self.host.ask(&json!({ "ended": self.number })) == true
    }

    /// Waits for the reply.
    pub fn end(self) -> Result<Value, String> {
        wait_until("a request to end", || self.is_done());
        self.host.try_ask(&json!({ "end": self.number }))
    }
}

/// The request of a look-up, for [`Switch::begin`].
pub fn look_up(params: &[(&str, &str)]) -> Value {
    let domain =
        params.iter().find(|(name, _)| *name == "domain").map_or("switch.example", |(_, value)| value);
    let params: Value = params.iter().map(|(name, value)| json!([name, value])).collect();
    json!({ "locate": {
        "section": "directory", "tag": "domain", "key": "name", "value": domain, "params": params
    } })
}

/// The parameters of a look-up of credentials of user 1009, as sofia asks: for [`Switch::look_up`].
pub fn credentials<'a>(
    method: &'a str,
    call_id: &'a str,
    ip: &'a str,
    transport: &'a str,
) -> [(&'a str, &'a str); 11] {
    [
        ("action", "sip_auth"),
        ("sip_profile", "internal"),
        ("sip_user_agent", "friendly-scanner"),
        ("sip_auth_username", "1009"),
        ("sip_auth_realm", "switch.example"),
        ("sip_via_protocol", transport),
        ("sip_call_id", call_id),
        ("sip_auth_method", method),
        ("client_port", "5070"),
        ("domain", "switch.example"),
        ("ip", ip),
    ]
}

/// See [`Switch::resources`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    pub descriptors: usize,
    pub threads: Vec<String>,
}

/// A whole `fail2ban.conf.xml` with these `<param …/>`s.
pub fn configuration(params: &str) -> String {
    // Most tests are about lines, not about the decision: those that are set it.
    let params = format!("<param name=\"attacker-after\" value=\"0\"/>{params}");
    format!(
        "<configuration name=\"fail2ban.conf\" description=\"fail2ban\">\n  <bindings>\n    \
         <config name=\"settings\">\n      {params}\n    </config>\n  </bindings>\n</configuration>\n"
    )
}

fn acl_configuration(lists: &str) -> String {
    format!("<configuration name=\"acl.conf\"><network-lists>{lists}</network-lists></configuration>\n")
}

/// Waits for something to become true.
///
/// # Panics
/// When it has not after [`PATIENCE`]; `what` says what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_at_most(PATIENCE, what, &mut condition);
}

/// As [`wait_until`], with a limit that is part of what is promised.
pub fn wait_at_most(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The module under test: `MOD_FAIL2BAN_SO`, or the one that was built with this test.
pub fn module_path() -> PathBuf {
    built("MOD_FAIL2BAN_SO", &["libmod_fail2ban.so", "../deps/libmod_fail2ban.so", "../libmod_fail2ban.so"])
}

/// What begins the log of [`newer_build`].
pub const NEWER_START: &str = "Fail2ban was STARTED";

/// What stands for a newer build of the module: the same but for the words that begin its log.
pub fn newer_build(folder: &Path) -> PathBuf {
    let mut code = std::fs::read(module_path()).expect("the module is built");
    let word = b"Fail2ban was started";
    let places: Vec<_> = (0..code.len() - word.len()).filter(|&at| code[at..].starts_with(word)).collect();
    assert!(!places.is_empty(), "the module holds the words that begin its log");
    for at in places {
        code[at..at + word.len()].copy_from_slice(NEWER_START.as_bytes());
    }
    let path = folder.join("newer-build.so");
    std::fs::write(&path, code).expect("it can be written");
    path
}

/// Puts a file in another's place, as `make install` does: beside it, then renamed.
pub fn install(from: &Path, to: &Path) {
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside).expect("it can be copied");
    std::fs::rename(beside, to).expect("it can be renamed");
}

/// Compiles `tests/support/probe.c`, a module that is not the one under test and answers `fail2ban` with this
/// name, and gives its path.
pub fn probe(folder: &Path, name: &str) -> PathBuf {
    c_module("probe.c", folder, name)
}

/// Compiles the module of a C file beside this one.
pub fn c_module(source: &str, folder: &Path, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = folder.join(format!("{name}-mod_fail2ban.so"));
    let output = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&module)
        .arg(format!("-DNAME=\"{name}\""))
        .arg("-I")
        .arg(root.join("freeswitch-headers"))
        .arg(root.join("tests/support").join(source))
        .output()
        .expect("gcc runs: `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    module
}

/// The stand-in: `STAND_IN`, or the one that was built with this test.
pub fn stand_in_path() -> PathBuf {
    built("STAND_IN", &["../examples/stand-in", "stand-in"])
}

/// A file that a variable names, or that cargo put somewhere around the running program.
fn built(variable: &str, around: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable).filter(|path| *path != OsString::new()) {
        return path.into();
    }
    let program = std::env::current_exe().expect("a running program has a path");
    let folder = program.parent().expect("a program is in a folder");
    let found = around.iter().map(|place| folder.join(place)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{} is not built; `cargo test` builds it, or set {variable}", around[0]))
}

/// The text of a file, and nothing if there is no such file.
fn read(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        Err(_) => String::new(),
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
