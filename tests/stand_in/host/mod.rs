//! A small libfreeswitch: the functions and variables of `freeswitch-headers/switch.h`, which the module
//! finds in this executable as it finds them in the real library. They do what the core's do, and are
//! stricter where the core would go on with a fault of the module's unseen.

pub mod acl;
pub mod answer;
pub mod call;
pub mod completions;
pub mod database;
pub mod event;
pub mod failures;
pub mod interface;
pub mod log;
pub mod search;
pub mod state;
pub mod threads;
pub mod user;
pub mod xml;

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::sys;

/// Where the host keeps its files, as the module reads it.
// SAFETY: all null pointers is a value of this struct of pointers.
#[unsafe(no_mangle)]
pub static mut SWITCH_GLOBAL_dirs: sys::switch_directories = unsafe { std::mem::zeroed() };

static DIRECTORIES: OnceLock<Directories> = OnceLock::new();

struct Directories {
    conf: PathBuf,
    log: PathBuf,
}

/// Starts the host: its threads, its folders, its log and its network lists. Once, before anything else.
pub fn start(conf: &Path, log: &Path, db: &Path) -> Result<(), String> {
    threads::start();
    for folder in [log, db] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let global = &raw mut SWITCH_GLOBAL_dirs;
    for (directory, path) in [
        // SAFETY: a field of a static; no module is loaded yet that could read it.
        (unsafe { &raw mut (*global).conf_dir }, conf),
        // SAFETY: as above.
        (unsafe { &raw mut (*global).log_dir }, log),
        // SAFETY: as above.
        (unsafe { &raw mut (*global).db_dir }, db),
    ] {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: a field of the static, which only this thread knows so far. The text is never freed.
        unsafe { directory.write(path.into_raw()) };
    }
    let known = DIRECTORIES.set(Directories { conf: conf.to_owned(), log: log.to_owned() });
    known.map_err(|_| "the host was started before".to_owned())?;
    log::open(&log.join("freeswitch.log")).map_err(|error| format!("freeswitch.log: {error}"))?;
    // What is not well-formed is as if it were not there.
    let _ = xml::reload();
    acl::reload();
    Ok(())
}

/// The folder of the configuration.
fn conf_dir() -> &'static Path {
    &DIRECTORIES.get().expect("the host was started").conf
}

/// The folder of the logs.
fn log_dir() -> &'static Path {
    &DIRECTORIES.get().expect("the host was started").log
}

/// What a module may leave behind, and how much of it there is now.
pub fn left_open() -> [(&'static str, usize); 7] {
    [
        ("event bindings", event::bindings()),
        ("loggers", log::loggers()),
        ("search functions", search::bindings()),
        ("database handles", database::handles()),
        ("xml handles", xml::handles()),
        ("answers", answer::documents()),
        ("completions", completions::all().len()),
    ]
}

/// A text that the module passed; `None` for NULL.
///
/// # Safety
/// `text` is NULL or ends in a zero byte and outlives the borrow.
unsafe fn borrowed<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: not NULL, and the caller vouches for the rest.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// A text on the heap of C, for others to free.
fn malloced(text: &CStr) -> *mut c_char {
    // SAFETY: `strdup` reads up to the zero byte, which a CStr has.
    unsafe { libc::strdup(text.as_ptr()) }
}

/// The end of the host, where the core would assert or go on to crash.
pub fn fault(of_the_module: &str) -> ! {
    eprintln!("stand-in: fault of the module: {of_the_module}");
    std::process::abort()
}

/// The host's clock, in microseconds; like the core's, it moves in steps and costs next to nothing.
pub fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: points at a value of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}
