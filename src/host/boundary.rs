//! Where panics stop.

use std::panic::{self, AssertUnwindSafe};

use super::log::{self, Level};

#[cfg(panic = "abort")]
compile_error!("a panic must unwind to the boundary: with panic = \"abort\" it would take the switch down");

/// Runs what the host has called; after a panic, gives `failed`.
pub fn guard<T>(what: &str, failed: T, body: impl FnOnce() -> T) -> T {
    // Whatever a panic leaves half done is behind locks whose poison is ignored, and is only counts and lines.
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        log::say(Level::Error, &format!("mod_fail2ban: {what} failed, please report this"));
        failed
    })
}

/// Has panics told in the host's log, with their place. The standard library's own hook asks for the name of
/// the thread, which would leave a thread-local destructor on the host's.
pub fn report_panics() {
    panic::set_hook(Box::new(|panic| log::say(Level::Error, &format!("mod_fail2ban: {panic}"))));
}
