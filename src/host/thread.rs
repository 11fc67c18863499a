//! Threads of the module's own.
//!
//! Made with `pthread_create`: `std::thread::spawn` leaves a thread-local destructor on the thread that calls
//! it, and the host's threads live for ever, so the module could never be unmapped (glibc).

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::time::Instant;

type Body = Box<dyn FnOnce() + Send>;

/// A running thread. One that is dropped without being joined continues.
pub struct Thread {
    id: libc::pthread_t,
}

impl Thread {
    /// Starts a thread of this name (at most 15 bytes).
    pub fn spawn(name: &CStr, body: impl FnOnce() + Send + 'static) -> Result<Thread, String> {
        let body: *mut Body = Box::into_raw(Box::new(Box::new(body)));
        let mut id = MaybeUninit::uninit();
        // SAFETY: `run` takes the box back, once.
        let error = unsafe { libc::pthread_create(id.as_mut_ptr(), ptr::null(), run, body.cast()) };
        if error != 0 {
            // SAFETY: no thread has taken it.
            drop(unsafe { Box::from_raw(body) });
            return Err(format!("no thread can be started: {}", io::Error::from_raw_os_error(error)));
        }
        // SAFETY: written by the call, which succeeded.
        let id = unsafe { id.assume_init() };
        // SAFETY: the thread is not joined yet; a name that is refused is no loss.
        unsafe { libc::pthread_setname_np(id, name.as_ptr()) };
        Ok(Thread { id })
    }

    /// Waits for its end. Its thread-local destructors have run then.
    pub fn join(self) {
        // SAFETY: it is joinable, and joined once, since this takes `self`.
        unsafe { libc::pthread_join(self.id, ptr::null_mut()) };
    }

    /// Joins it if it has ended; else gives it back.
    pub fn try_join(self) -> Result<(), Thread> {
        // SAFETY: as for `join`.
        let error = unsafe { libc::pthread_tryjoin_np(self.id, ptr::null_mut()) };
        if error == 0 { Ok(()) } else { Err(self) }
    }

    /// Waits for its end until then; else gives it back.
    pub fn join_by(self, by: Instant) -> Result<(), Thread> {
        let mut thread = self;
        loop {
            match thread.try_join() {
                Err(still_running) if Instant::now() < by => {
                    thread = still_running;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }
}

extern "C" fn run(body: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` has made it, for this call alone.
    let body = unsafe { Box::from_raw(body.cast::<Body>()) };
    // A panic ends the thread, and nothing else.
    let _ = panic::catch_unwind(AssertUnwindSafe(body));
    ptr::null_mut()
}
