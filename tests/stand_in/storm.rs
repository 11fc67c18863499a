//! Many events from many threads at once, and how long the module's handler took for each.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::headers::{self, Headers};
use crate::host::event::Event;
use crate::host::threads;

/// Between two events of a thread, in a storm without end.
const PAUSE: Duration = Duration::from_micros(20);

/// A storm under way.
pub struct Storm {
    threads: Vec<Receiver<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
}

/// Nanoseconds of one call: by the clock, and of the thread's own time, which includes asking for it.
struct Sample {
    wall: u64,
    cpu: u64,
}

impl Storm {
    /// Starts `{"threads": …, "count": …, "seconds": …, "event": …}`. The count is that of all threads
    /// together. Without a count and a time the storm lasts until it is stopped, and its threads wait a moment after
    /// each event, as FreeSWITCH's do for the next one: a lock that they all but never leave has no counterpart there.
    /// `{n}` in a value becomes the number of the event.
    pub fn start(request: &Value) -> Result<Storm, String> {
        let number =
            |name: &str| request.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let threads = number("threads").unwrap_or(1).max(1);
        let count = number("count").unwrap_or(usize::MAX);
        let seconds = request.get("seconds").and_then(Value::as_f64);
        let end = seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        let headers = headers::parse(request.get("event").unwrap_or(&Value::Null))?;
        Event::new(&headers)?;
        let pause = (count == usize::MAX && end.is_none()).then_some(PAUSE);
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads)
            .map(|thread| {
                let (headers, stop) = (headers.clone(), Arc::clone(&stop));
                let numbers = (thread..count).step_by(threads);
                threads::begin(move || deliver(&headers, numbers, end, pause, &stop))
            })
            .collect();
        Ok(Storm { threads, stop })
    }

    /// Ends a storm that has no count.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for its end and sums up.
    pub fn join(self) -> Value {
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for thread in self.threads {
            for sample in thread.recv().expect("a storm does not panic") {
                wall.push(sample.wall);
                cpu.push(sample.cpu);
            }
        }
        let calls = wall.len();
        let mut summary = percentiles(wall);
        summary["calls"] = calls.into();
        summary["cpu"] = percentiles(cpu);
        summary
    }
}

fn deliver(
    headers: &Headers,
    numbers: impl Iterator<Item = usize>,
    end: Option<Instant>,
    pause: Option<Duration>,
    stop: &AtomicBool,
) -> Vec<Sample> {
    let is_numbered = headers.iter().any(|(_, value)| contains_number(value));
    let mut event = Event::new(headers).expect("tried before");
    let mut samples = Vec::new();
    for number in numbers {
        if stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        if is_numbered {
            event = Event::new(&headers::numbered(headers, number)).expect("tried before");
        }
        event.deliver_by(|callback, event| {
            let (cpu, wall) = (thread_time(), Instant::now());
            // SAFETY: the event is whole, and delivery holds the lock that keeps the callback's code in place.
            unsafe { callback(event) };
            let wall = u64::try_from(wall.elapsed().as_nanos()).unwrap_or(u64::MAX);
            samples.push(Sample { wall, cpu: thread_time() - cpu });
        });
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
    }
    samples
}

fn contains_number(value: &CString) -> bool {
    value.to_bytes().windows(3).any(|window| window == b"{n}")
}

/// Nanoseconds that this thread has run.
fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: points at a value of this function.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

fn percentiles(mut nanos: Vec<u64>) -> Value {
    nanos.sort_unstable();
    let at = |per_10_000: usize| {
        let place = (nanos.len() * per_10_000).div_ceil(10_000).max(1) - 1;
        nanos.get(place).copied().unwrap_or_default()
    };
    json!({ "p50": at(5_000), "p99": at(9_900), "p9999": at(9_999), "max": at(10_000) })
}
