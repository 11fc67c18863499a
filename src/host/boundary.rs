//! Where panics stop.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::log;
use crate::journal::Say;

#[cfg(panic = "abort")]
compile_error!("a panic must unwind to the boundary: with panic = \"abort\" it would take the switch down");

/// Runs what the host has called; after a panic, gives `failed` and says so in the host's log.
pub fn guard<T>(what: &str, failed: T, body: impl FnOnce() -> T) -> T {
    // Whatever a panic leaves half done is behind locks that do not poison, and is only counts and lines.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str);
        let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        log::say(Say::Error, &format!("mod_fail2ban: {what} failed, please report this: {why}"));
        failed
    })
}
