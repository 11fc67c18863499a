//! Where panics stop.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use super::say::{Level, say};

#[cfg(panic = "abort")]
compile_error!("a panic must unwind to the boundary: with panic = \"abort\" it would take the switch down");

/// What the last panic said, and where.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs what the host has called; after a panic, gives `failed` and says so in the host's log.
pub fn guard<T>(what: &str, failed: T, body: impl FnOnce() -> T) -> T {
    // Whatever a panic leaves half done is behind locks whose poison is ignored, and is only counts and lines.
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        say(Level::Error, &format!("mod_fail2ban: {what} failed, please report this: {}", last_panic()));
        failed
    })
}

/// Keeps what panics say, for the host's log. The standard library's own hook asks for the name of the thread,
/// which would leave a thread-local destructor on the host's.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
}

/// What the last panic said, and where.
pub fn last_panic() -> String {
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
