//! What the module costs, beside a stand-in for what the C module does (the same header look-ups, one formatted
//! line, one write(2)) and, with `BASELINE=FILE.so`, beside an earlier build. All in one run, since machines are
//! noisy: what counts are the ratios.
#![allow(missing_docs, reason = "a program")]

#[path = "../../tests/stand_in/host/mod.rs"]
#[allow(dead_code, reason = "the benchmark uses a part of the stand-in")]
mod host;
#[path = "../../src/sys.rs"]
#[allow(dead_code, reason = "as above")]
mod sys;

mod contender;
mod whole;

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use contender::{Contender, Module, Site, ended_call, recorded};
use criterion::Criterion;

const ATTEMPT: &str = "sofia::register_attempt";
const LINES: u32 = 3_000_000;
const STALLED: usize = 100_000;
/// So many that nothing of one is in the caches of the processor when its turn comes again.
const CALLS: usize = 4000;
/// So few that they are in its caches, as what FreeSWITCH has just put together for a look-up.
const LOOK_UPS: usize = 64;

fn main() {
    let site = Site::start();
    let mut criterion = Criterion::default().configure_from_args();
    one_event(&mut criterion, &site);
    known(&mut criterion, &site);
    look_up(&mut criterion, &site);
    end_of_a_call(&mut criterion, &site);
    criterion.final_summary();
    // Who names a benchmark wants that one alone.
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-')) {
        return;
    }
    whole::several_threads(&site);
    sustained(&site);
    stalled(&site);
    whole::process(&site);
}

/// What one event costs the thread that the whole switch shares.
fn one_event(criterion: &mut Criterion, site: &Site) {
    let mut group = criterion.benchmark_group("one event");
    for format in ["classic", "dated", "json"] {
        for name in Site::names() {
            if name == "C module's stand-in" && format != "classic" {
                continue;
            }
            let contender = site.load(name, &format!("<param name=\"format\" value=\"{format}\"/>"));
            let mut event = recorded(ATTEMPT, &[]);
            group.bench_function(format!("{name}, {format}"), |bencher| {
                bencher.iter(|| contender.handle(&mut event));
            });
            contender.unload();
        }
    }
    for (name, params) in [
        ("module, classic, no decision", "<param name=\"attacker-after\" value=\"0\"/>"),
        (
            "module, dated, no decision",
            "<param name=\"format\" value=\"dated\"/><param name=\"attacker-after\" value=\"0\"/>",
        ),
    ] {
        let contender = site.load("module", params);
        let mut event = recorded(ATTEMPT, &[]);
        group.bench_function(name, |bencher| bencher.iter(|| contender.handle(&mut event)));
        contender.unload();
    }
    let contender = site.load("module", "");
    let mut other = recorded("sofia::gateway_state", &[]);
    group.bench_function("delivery of another subclass", |bencher| bencher.iter(|| other.deliver()));
    contender.unload();
    group.finish();
}

/// What it costs to know addresses.
fn known(criterion: &mut Criterion, site: &Site) {
    let mut group = criterion.benchmark_group("known addresses, dated");
    let contender = site
        .load("module", "<param name=\"format\" value=\"dated\"/><param name=\"known-for\" value=\"1d\"/>");
    let mut login = recorded(ATTEMPT, &[("auth-result", "SUCCESS")]);
    contender.handle(&mut login);
    let mut failure = recorded(ATTEMPT, &[("auth-result", "FORBIDDEN")]);
    group.bench_function("a failure of a known address", |bencher| {
        bencher.iter(|| contender.handle(&mut failure))
    });
    let mut stranger = recorded(ATTEMPT, &[("auth-result", "FORBIDDEN"), ("network-ip", "10.1.2.3")]);
    group.bench_function("a failure of a stranger", |bencher| {
        bencher.iter(|| contender.handle(&mut stranger))
    });
    group.bench_function("a login of a known address", |bencher| {
        bencher.iter(|| contender.handle(&mut login))
    });
    for number in 0..20_000 {
        let (ip, user) = (format!("10.2.{}.{}", number / 256, number % 256), format!("user{number}"));
        contender.handle(&mut recorded(
            ATTEMPT,
            &[("auth-result", "SUCCESS"), ("network-ip", &ip), ("username", &user)],
        ));
    }
    let mut late =
        recorded(ATTEMPT, &[("auth-result", "SUCCESS"), ("network-ip", "10.9.9.9"), ("username", "late")]);
    group.bench_function("a login, the table full", |bencher| bencher.iter(|| contender.handle(&mut late)));
    group.bench_function("a failure of a stranger, the table full", |bencher| {
        bencher.iter(|| contender.handle(&mut stranger));
    });
    contender.unload();
    group.finish();
}

/// What a look-up of credentials costs a SIP thread, without the module and with it; FreeSWITCH's own search in the
/// directory is not in it.
fn look_up(criterion: &mut Criterion, site: &Site) {
    let mut group = criterion.benchmark_group("a directory look-up");
    let (mut calls, mut next) = (contender::credentials("REGISTER", LOOK_UPS), 0);
    let mut locate = || {
        next = (next + 1) % LOOK_UPS;
        host::search::locate(c"directory", c"domain", c"name", c"10.77.0.1", Some(&mut calls[next]))
    };
    group.bench_function("nobody listens", |bencher| bencher.iter(&mut locate));
    let contender = site.load("module", "<param name=\"events\" value=\"auth_unconfirmed\"/>");
    group.bench_function("the module listens", |bencher| bencher.iter(&mut locate));
    contender.unload();
    let refusing = "<param name=\"known-for\" value=\"1d\"/><param name=\"refuse-attackers\" value=\"yes\"/>\
                    <param name=\"attacker-after\" value=\"1\"/>";
    for (name, result, answer) in [
        ("a good source", "SUCCESS", None),
        ("refused, the stand-in's part included", "FORBIDDEN", Some("mod_fail2ban")),
    ] {
        let contender = site.load("module", refusing);
        let of_its_source = [
            ("auth-result", result),
            ("network-ip", "10.77.1.11"),
            ("username", "1001"),
            ("realm", "10.77.0.1"),
        ];
        contender.handle(&mut recorded(ATTEMPT, &of_its_source));
        if result == "FORBIDDEN" {
            contender.handle(&mut recorded("sofia::register_failure", &of_its_source));
        }
        // The directory is asked whether the account needs a password. Of a stranger, the second would be refused.
        std::thread::sleep(Duration::from_secs(3));
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(locate().expect("a section").as_deref(), answer));
        });
        contender.unload();
    }
    group.finish();
}

/// What the end of each call costs the thread that the whole switch shares, as FreeSWITCH delivers it: of thousands of
/// calls, so that no header is in the processor's caches.
fn end_of_a_call(criterion: &mut Criterion, site: &Site) {
    let mut group = criterion.benchmark_group("the end of a call");
    for (name, number) in [("nowhere, 157 headers", "9011441234567"), ("answered, 254 headers", "9196")] {
        let mut events: Vec<_> = (0..CALLS).map(|_| ended_call(number)).collect();
        for params in ["", "<param name=\"events\" value=\"call_to_nowhere\"/>"] {
            let contender = site.load("module", params);
            let bound = if params.is_empty() { "not bound" } else { "bound" };
            let mut next = 0;
            group.bench_function(format!("{name}, {bound}"), |bencher| {
                bencher.iter(|| {
                    next = (next + 1) % events.len();
                    events[next].deliver();
                });
            });
            contender.unload();
        }
        let contender = site.load("module", "<param name=\"events\" value=\"call_to_nowhere\"/>");
        group.bench_function(format!("{name}, bound, in the caches"), |bencher| {
            bencher.iter(|| events[0].deliver());
        });
        contender.unload();
    }
    group.finish();
}

/// How many lines a second reach the file, and what each costs the writer.
fn sustained(site: &Site) {
    let contender = site.load("module", "<param name=\"buffer-size\" value=\"1024m\"/>");
    let log = site.path("bench.log");
    let mut event = recorded(ATTEMPT, &[]);
    let start = Instant::now();
    for _ in 0..LINES {
        contender.handle(&mut event);
    }
    let entered = start.elapsed();
    while fs::metadata(&log).expect("the log").len() < u64::from(LINES) * LINE.len() as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let written = start.elapsed();
    let cpu = writer_time();
    contender.unload();
    println!(
        "sustained: {LINES} lines recorded in {entered:.1?}, in the file after {written:.1?}: {:.2} million a second; \
         the writer took {:.0} ns of processor time a line",
        f64::from(LINES) / written.as_secs_f64() / 1e6,
        cpu.as_nanos() as f64 / f64::from(LINES)
    );
}

/// The line that every event here gives.
const LINE: &str =
    "A registration was attempted user[1009] ip[10.99.0.2] at[2026-11-22T00:51:58.493952+0000]\n";

/// How long the handler takes while nobody drains the log, a pipe.
fn stalled(site: &Site) {
    let pipe = site.path("pipe");
    let path = CString::new(pipe.as_os_str().as_encoded_bytes()).expect("a path");
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0, "a pipe");
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("the pipe");
    site.configure(&pipe, "");
    let contender = Contender::Module(Module::of_this_build());
    let mut event = recorded(ATTEMPT, &[]);
    let mut times: Vec<Duration> = (0..STALLED)
        .map(|_| {
            let start = whole::clock(libc::CLOCK_THREAD_CPUTIME_ID);
            contender.handle(&mut event);
            whole::clock(libc::CLOCK_THREAD_CPUTIME_ID) - start
        })
        .collect();
    // Without a reader the writer's write fails, and it ends.
    drop(reader);
    contender.unload();
    times.sort_unstable();
    println!(
        "stalled: {STALLED} events while the log is a pipe that nobody drains: median {:?}, 99.99th percentile {:?}, \
         slowest {:?} of the thread's own time",
        times[STALLED / 2],
        times[STALLED / 10_000 * 9_999],
        times[STALLED - 1]
    );
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
