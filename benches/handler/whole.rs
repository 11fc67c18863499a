//! What the process as a whole spends, and several threads that deliver at once.

use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, Site, recorded};

/// A time of this process or thread.
pub fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: points at a value of this function.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The handler's times while several threads deliver at once; the clock's own time is in them.
pub fn several_threads(site: &Site) {
    const EVENTS: usize = 100_000;
    const ROUNDS: usize = 3;
    println!(
        "\nthreads that deliver at once (wall clock, of {ROUNDS} x {EVENTS} events each): median, 99th, 99.99th percentile"
    );
    for threads in [1, 2, 4] {
        for name in Site::names() {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let contender = site.load(name, "");
                thread::scope(|scope| {
                    let deliver = || timed(&contender, EVENTS);
                    let running: Vec<_> = (0..threads).map(|_| scope.spawn(deliver)).collect();
                    times.extend(running.into_iter().flat_map(|thread| thread.join().expect("no panic")));
                });
                contender.unload();
            }
            times.sort_unstable();
            let at = |part: f64| times[(times.len() as f64 * part) as usize];
            println!("  {threads} threads, {name:<20} {:>8?} {:>9?} {:>10?}", at(0.5), at(0.99), at(0.9999));
        }
    }
}

fn timed(contender: &Contender, events: usize) -> Vec<Duration> {
    let mut event = recorded("sofia::register_attempt", &[]);
    (0..events)
        .map(|_| {
            let start = Instant::now();
            contender.handle(&mut event);
            start.elapsed()
        })
        .collect()
}

/// Processor time of all threads at an even pace, less what the pace itself costs. As in FreeSWITCH, each failure
/// is two events, an attempt and a failure, one right after the other.
pub fn process(site: &Site) {
    println!("\nprocessor time of the whole process for a failure, at so many failures a second");
    println!(
        "  {:>8} {}",
        "rate",
        Site::names().iter().map(|name| format!("{name:>22}")).collect::<String>()
    );
    for rate in [1, 10, 100, 1_000, 10_000] {
        let rounds = if rate == 1 { 20 } else { 10 };
        let pace = paced(rate, rounds, |_| {});
        let mut row = String::new();
        for name in Site::names() {
            let contender = site.load(name, "");
            let mut attempt = recorded("sofia::register_attempt", &[]);
            let mut failure = recorded("sofia::register_failure", &[]);
            contender.handle(&mut attempt);
            thread::sleep(Duration::from_millis(200));
            let spent = paced(rate, rounds, |_| {
                contender.handle(&mut attempt);
                contender.handle(&mut failure);
            });
            contender.unload();
            let each = spent.saturating_sub(pace).as_nanos() as f64 / f64::from(rate * rounds);
            row += &format!("{:>19.2} us", each / 1000.0);
        }
        println!("  {rate:>8} {row}");
    }
}

/// Does something so many times a second, for so many seconds; gives the processor time of the process.
fn paced(rate: u32, seconds: u32, mut body: impl FnMut(u32)) -> Duration {
    let (start, spent) = (Instant::now(), clock(libc::CLOCK_PROCESS_CPUTIME_ID));
    for number in 0..rate * seconds {
        let at = start + Duration::from_secs(1) * number / rate;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        body(number);
    }
    thread::sleep((start + Duration::from_secs(seconds.into())).saturating_duration_since(Instant::now()));
    clock(libc::CLOCK_PROCESS_CPUTIME_ID) - spent
}
