//! What an event costs the thread that the whole switch shares, beside a stand-in for what the C module does:
//! the same header look-ups, one formatted line, one write(2). `make bench`; the figures are ratios within one
//! run, since machines are noisy.
#![allow(missing_docs, reason = "a program")]

#[path = "../tests/stand_in/host/mod.rs"]
#[allow(dead_code, reason = "the benchmark uses a part of the stand-in")]
mod host;
#[path = "../src/sys.rs"]
#[allow(dead_code, reason = "as above")]
mod sys;

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::Criterion;
use host::event::Event;
use libloading::os::unix::Library;

const LINES: u32 = 3_000_000;
const STALLED: usize = 100_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("autoload_configs");
    fs::create_dir(&conf).expect("a folder");
    host::start(folder.path(), folder.path(), folder.path()).expect("the host starts");
    let configure = |log: &Path, format: &str, more: &str| {
        let log = log.display();
        let params = format!(
            "<param name=\"logfile\" value=\"{log}\"/><param name=\"format\" value=\"{format}\"/>{more}"
        );
        let xml = format!(
            "<configuration name=\"fail2ban.conf\"><bindings><config>{params}</config></bindings></configuration>"
        );
        fs::write(conf.join("fail2ban.conf.xml"), xml).expect("the configuration");
    };

    let mut criterion = Criterion::default().configure_from_args();
    let log = folder.path().join("fail2ban.log");
    let c_log =
        OpenOptions::new().append(true).create(true).open(folder.path().join("c.log")).expect("a log");
    let mut group = criterion.benchmark_group("one event");
    let mut event = Event::hashed(&attempt("sofia::register_attempt")).expect("an event");
    group.bench_function("C module's stand-in", |bencher| {
        bencher.iter(|| c_handler(&event, &c_log));
    });
    for format in ["classic", "dated", "json"] {
        configure(&log, format, "");
        let module = Module::load();
        event.deliver_by(|callback, event| {
            // SAFETY: the event is whole, and the module stays loaded.
            group.bench_function(format, |bencher| bencher.iter(|| unsafe { callback(event) }));
        });
        module.unload();
    }
    configure(&log, "classic", "");
    let module = Module::load();
    let mut other = Event::hashed(&attempt("sofia::gateway_state")).expect("an event");
    group.bench_function("delivery of another subclass", |bencher| bencher.iter(|| other.deliver()));
    module.unload();
    group.finish();
    drop(fs::remove_file(&log));

    sustained(&log, &configure);
    stalled(&folder.path().join("pipe"), &configure);
    criterion.final_summary();
}

/// How many lines a second reach the file, and what each costs the writer.
fn sustained(log: &Path, configure: &dyn Fn(&Path, &str, &str)) {
    configure(log, "classic", "<param name=\"buffer-size\" value=\"1024m\"/>");
    let module = Module::load();
    let mut event = Event::hashed(&attempt("sofia::register_attempt")).expect("an event");
    let start = Instant::now();
    event.deliver_by(|callback, event| {
        for _ in 0..LINES {
            // SAFETY: the event is whole, and the module stays loaded.
            unsafe { callback(event) };
        }
    });
    let entered = start.elapsed();
    let lines = || fs::metadata(log).expect("the log").len() / LINE;
    while lines() < u64::from(LINES) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let written = start.elapsed();
    let cpu = writer_time();
    module.unload();
    println!(
        "sustained: {LINES} lines entered in {entered:.1?}, in the file after {written:.1?}: {:.2} million a second; \
         the writer took {:.0} ns of processor time a line",
        f64::from(LINES) / written.as_secs_f64() / 1e6,
        cpu.as_nanos() as f64 / f64::from(LINES)
    );
}

/// The length of the line that every event here gives.
const LINE: u64 =
    "A registration was attempted user[1009] ip[10.99.0.2] at[2026-11-22T00:51:58.493952+0000]\n".len()
        as u64;

/// How long the handler takes while nobody drains the log, a pipe.
fn stalled(pipe: &Path, configure: &dyn Fn(&Path, &str, &str)) {
    let path = CString::new(pipe.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0, "a pipe");
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(pipe).expect("the pipe");
    configure(pipe, "classic", "");
    let module = Module::load();
    let mut event = Event::hashed(&attempt("sofia::register_attempt")).expect("an event");
    let mut times = Vec::with_capacity(STALLED);
    event.deliver_by(|callback, event| {
        for _ in 0..STALLED {
            let start = thread_time();
            // SAFETY: the event is whole, and the module stays loaded.
            unsafe { callback(event) };
            times.push(thread_time() - start);
        }
    });
    // Without a reader the writer's write fails, and it ends.
    drop(reader);
    module.unload();
    times.sort_unstable();
    println!(
        "stalled: {STALLED} events while the log is a pipe that nobody drains: median {:?}, 99.99th percentile {:?}, \
         slowest {:?} of the thread's own time",
        times[STALLED / 2],
        times[STALLED / 10_000 * 9_999],
        times[STALLED - 1]
    );
}

/// What this thread has run.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: points at a value of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What the writer has run.
fn writer_time() -> Duration {
    for task in fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        if fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "fail2ban") {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            return Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0));
        }
    }
    Duration::ZERO
}

/// The headers of a recorded event.
fn attempt(subclass: &str) -> Vec<(CString, CString)> {
    let recorded = fs::read_to_string("tests/data/events-1.10.12.jsonl").expect("the recorded events");
    let event = recorded.lines().find(|line| line.contains("sofia::register_attempt")).expect("an attempt");
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(event).expect("JSON");
    // The parser sorts names; FreeSWITCH has its own before those of sofia.
    let (core, sofia): (Vec<_>, Vec<_>) =
        event.into_iter().partition(|(name, _)| name.starts_with(|first: char| first.is_ascii_uppercase()));
    let text = |text: &str| CString::new(text).expect("no NUL");
    core.into_iter()
        .chain(sofia)
        .map(|(name, value)| {
            let value = if name == "Event-Subclass" { subclass } else { value.as_str().expect("a text") };
            (text(&name), text(value))
        })
        .collect()
}

/// The module as `make bench` builds it.
struct Module {
    table: sys::switch_loadable_module_function_table_t,
    // The code goes last, and the pool of the host lives on.
    _library: Library,
}

impl Module {
    fn load() -> Module {
        host::xml::reload().expect("the configuration is well-formed");
        // SAFETY: the module's own initialisers.
        let library =
            unsafe { Library::new("target/release/libmod_fail2ban.so") }.expect("the module is built");
        let table = c"mod_fail2ban_module_interface".to_bytes_with_nul();
        // SAFETY: a module has a table under this name.
        let table = unsafe { library.get::<*const sys::switch_loadable_module_function_table_t>(table) };
        // SAFETY: as above.
        let table = unsafe { (*table.expect("a table")).read() };
        let pool: &mut host::interface::Pool = Box::leak(Box::default());
        let mut interface = std::ptr::null_mut();
        // SAFETY: the loader's contract.
        let status = unsafe { table.load.expect("a function")(&raw mut interface, (&raw mut *pool).cast()) };
        assert_eq!(status, sys::SWITCH_STATUS_SUCCESS);
        Module { table, _library: library }
    }

    fn unload(self) {
        // SAFETY: called once, after loading.
        let status = unsafe { self.table.shutdown.expect("a function")() };
        assert_eq!(status, sys::SWITCH_STATUS_SUCCESS);
    }
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
