//! The host's threads, which live as long as the process, as FreeSWITCH's event threads do: whatever a module
//! leaves on one of them, such as a destructor of a thread-local value, stays there.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// How many there are at the start. More are added when all are busy.
const AT_START: usize = 4;

/// Those that have nothing to do; the one that has waited longest comes first, so that all are used.
static IDLE: Mutex<VecDeque<Sender<Job>>> = Mutex::new(VecDeque::new());

/// Starts them.
pub fn start() {
    for _ in 0..AT_START {
        let thread = add();
        IDLE.lock().push_back(thread);
    }
}

fn add() -> Sender<Job> {
    let (jobs, to_do) = mpsc::channel::<Job>();
    let own = jobs.clone();
    let life = move || {
        for job in to_do {
            job();
            IDLE.lock().push_back(own.clone());
        }
    };
    thread::Builder::new().name("host".into()).spawn(life).expect("a thread");
    jobs
}

/// Has a job done on one of them, and goes on at once; the job's result comes out of the channel.
pub fn begin<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, result) = mpsc::sync_channel(1);
    let idle = IDLE.lock().pop_front();
    let thread = idle.unwrap_or_else(add);
    // Nobody may be waiting for the result.
    let job = Box::new(move || drop(sender.send(job())));
    thread.send(job).expect("a host's thread never ends");
    result
}

/// Has a job done on one of them, and waits for its result.
pub fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    begin(job).recv().expect("a job does not panic")
}
