//! Who is measured: the module, an earlier build of it if `BASELINE` names one, and a stand-in for what the C
//! module does.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::os::unix::Library;

use crate::host::{self, event::Event, interface::Pool};
use crate::sys;

/// A module that handles events.
pub enum Contender {
    /// The C module's work, done here.
    C(File),
    /// A module that is loaded.
    Module(Module),
}

/// Where a switch has its configuration and its logs.
pub struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// Starts the stand-in host.
    pub fn start() -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("autoload_configs")).expect("a folder");
        host::start(folder.path(), folder.path(), folder.path()).expect("the host starts");
        Site { folder }
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the settings: the log, and other `<param …/>`s.
    pub fn configure(&self, log: &Path, params: &str) {
        let xml = format!(
            "<configuration name=\"fail2ban.conf\"><bindings><config><param name=\"logfile\" value=\"{}\"/>{params}\
             </config></bindings></configuration>",
            log.display()
        );
        fs::write(self.path("autoload_configs/fail2ban.conf.xml"), xml).expect("the configuration");
    }

    /// Names of those that can be measured here.
    pub fn names() -> Vec<&'static str> {
        let baseline = std::env::var_os("BASELINE").is_some();
        ["C module's stand-in", "module", "baseline"]
            .into_iter()
            .filter(|name| *name != "baseline" || baseline)
            .collect()
    }

    /// Loads one of them, with settings.
    pub fn load(&self, name: &str, params: &str) -> Contender {
        let log = self.path("bench.log");
        drop(fs::remove_file(&log));
        // What another benchmark has taught it.
        drop(fs::remove_file(self.path("fail2ban.state")));
        self.configure(&log, params);
        match name {
            "C module's stand-in" => {
                Contender::C(OpenOptions::new().append(true).create(true).open(log).expect("a log"))
            }
            "baseline" => {
                Contender::Module(Module::load(Path::new(&std::env::var_os("BASELINE").expect("a file"))))
            }
            _ => Contender::Module(Module::of_this_build()),
        }
    }
}

impl Contender {
    /// Has it handle an event once, by each binding that the event matches.
    pub fn handle(&self, event: &mut Event) {
        match self {
            Contender::C(log) => c_handler(event, log),
            // SAFETY: the event is whole, and the module stays loaded.
            Contender::Module(_) => event.deliver_by(|callback, event| unsafe { callback(event) }),
        }
    }

    /// Unloads it.
    pub fn unload(self) {
        if let Contender::Module(module) = self {
            module.unload();
        }
    }
}

/// A module as FreeSWITCH's loader has it.
pub struct Module {
    table: sys::switch_loadable_module_function_table_t,
    // The code goes last, and the pool of the host lives on.
    _library: Library,
}

impl Module {
    /// The one that `make bench` builds.
    pub fn of_this_build() -> Module {
        Module::load(Path::new("target/release/libmod_fail2ban.so"))
    }

    fn load(file: &Path) -> Module {
        host::xml::reload().expect("the configuration is well-formed");
        // SAFETY: the module's own initialisers.
        let library = unsafe { Library::new(file) }.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let table = c"mod_fail2ban_module_interface".to_bytes_with_nul();
        // SAFETY: a module has a table under this name.
        let table = unsafe { library.get::<*const sys::switch_loadable_module_function_table_t>(table) };
        // SAFETY: as above.
        let table = unsafe { (*table.expect("a table")).read() };
        let pool: &mut Pool = Box::leak(Box::default());
        let mut interface = ptr::null_mut();
        // SAFETY: the loader's contract.
        let status = unsafe { table.load.expect("a function")(&raw mut interface, (&raw mut *pool).cast()) };
        assert_eq!(status, sys::SWITCH_STATUS_SUCCESS);
        Module { table, _library: library }
    }

    /// Has it write what waits, and end.
    pub fn unload(self) {
        // SAFETY: called once, after loading.
        let status = unsafe { self.table.shutdown.expect("a function")() };
        assert_eq!(status, sys::SWITCH_STATUS_SUCCESS);
    }
}

/// The headers of a recorded event.
pub fn recorded(subclass: &str, changes: &[(&str, &str)]) -> Event {
    let recorded = fs::read_to_string("tests/data/events-1.10.12.jsonl").expect("the recorded events");
    let event = recorded.lines().find(|line| line.contains("sofia::register_attempt")).expect("an attempt");
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(event).expect("JSON");
    // The parser sorts names; FreeSWITCH has its own before those of sofia.
    let (core, sofia): (Vec<_>, Vec<_>) =
        event.into_iter().partition(|(name, _)| name.starts_with(|first: char| first.is_ascii_uppercase()));
    let text = |text: &str| CString::new(text).expect("no NUL");
    let headers: Vec<_> = core
        .into_iter()
        .chain(sofia)
        .map(|(name, value)| {
            let changed = changes.iter().find(|(header, _)| *header == name).map(|(_, value)| *value);
            let value = if name == "Event-Subclass" { subclass } else { value.as_str().expect("a text") };
            (text(&name), text(changed.unwrap_or(value)))
        })
        .collect();
    Event::hashed(&headers).expect("an event")
}

/// The recorded end of a call to a number.
pub fn ended_call(number: &str) -> Event {
    let recorded = fs::read_to_string("tests/data/hangup-events-1.10.12.jsonl").expect("the recorded events");
    let number = format!("\"Caller-Destination-Number\": \"{number}\"");
    let event = recorded.lines().find(|line| line.contains(&number)).expect("a call");
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(event).expect("JSON");
    let text = |text: &str| CString::new(text).expect("no NUL");
    let headers: Vec<_> =
        event.iter().map(|(name, value)| (text(name), text(value.as_str().expect("a text")))).collect();
    Event::hashed(&headers).expect("an event")
}

/// The parameters of look-ups, as sofia gives them, each of a call of its own.
pub fn credentials(method: &str, calls: usize) -> Vec<Event> {
    let recorded = fs::read_to_string("tests/data/look-ups-1.11.2.jsonl").expect("the recorded look-ups");
    let look_up = recorded.lines().find(|line| line.contains(&format!("\"{method}\""))).expect("a look-up");
    let look_up: serde_json::Map<String, serde_json::Value> = serde_json::from_str(look_up).expect("JSON");
    let text = |text: &str| CString::new(text).expect("no NUL");
    let mut headers: Vec<_> =
        look_up.iter().map(|(name, value)| (text(name), text(value.as_str().unwrap_or_default()))).collect();
    // The parser sorts names; FreeSWITCH has this one last.
    headers.sort_by_key(|(name, _)| name.as_c_str() == c"ip");
    let call_id = headers.iter().position(|(name, _)| name.as_c_str() == c"sip_call_id").expect("a call");
    (0..calls)
        .map(|number| {
            headers[call_id].1 = text(&format!("call-{number}@10.77.1.11"));
            Event::hashed(&headers).expect("an event")
        })
        .collect()
}

/// What the C module does with an event: look two headers up, format the line, write it.
fn c_handler(event: &Event, log: &File) {
    let user = header(event, c"to-user");
    let ip = header(event, c"network-ip");
    let now = host::now();
    let mut tm = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both point at values of this function.
    unsafe { libc::localtime_r(&(now / 1_000_000), tm.as_mut_ptr()) };
    // SAFETY: all zeros is a valid `tm`.
    let tm = unsafe { tm.assume_init() };
    let mut line = [0_u8; 1024];
    let format = c"%s user[%s] ip[%s] at[%04u-%02u-%02uT%02u:%02u:%02u.%06u%+03d%02d]\n";
    // SAFETY: the arguments are as the format has them, and the buffer is as long as said.
    let len = unsafe {
        libc::snprintf(
            line.as_mut_ptr().cast(),
            line.len(),
            format.as_ptr(),
            c"A registration was attempted".as_ptr(),
            user.as_ptr(),
            ip.as_ptr(),
            tm.tm_year + 1900,
            tm.tm_mon + 1,
            tm.tm_mday,
            tm.tm_hour,
            tm.tm_min,
            tm.tm_sec,
            (now % 1_000_000) as i32,
            tm.tm_gmtoff as i32 / 3600,
            tm.tm_gmtoff as i32 % 3600,
        )
    };
    // SAFETY: the buffer holds that many bytes.
    unsafe { libc::write(log.as_raw_fd(), line.as_ptr().cast(), len as usize) };
}

/// A look-up as the core does it: by the hash, then by the name.
fn header<'a>(event: &'a Event, name: &CStr) -> &'a CStr {
    let wanted = host::event::hash(name);
    let mut next = event.headers();
    while !next.is_null() {
        // SAFETY: the list is the event's.
        let header = unsafe { &*next };
        // SAFETY: both are C strings.
        if header.hash == wanted && unsafe { libc::strcasecmp(header.name, name.as_ptr()) } == 0 {
            // SAFETY: it is a C string that lives as long as the event.
            return unsafe { CStr::from_ptr(header.value) };
        }
        next = header.next;
    }
    c"(null)"
}

/// What release 1.0.0 takes its time from, so that it can be a baseline.
#[unsafe(no_mangle)]
pub extern "C" fn switch_micro_time_now() -> i64 {
    host::now()
}
