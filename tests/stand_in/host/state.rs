//! Whether the switch is up. As in the core, modules may be loaded before its database is there, and be unloaded after
//! it has gone.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys;

static IS_READY: AtomicBool = AtomicBool::new(true);

/// Has the switch be up, or starting or shutting down.
pub fn set_ready(ready: bool) {
    IS_READY.store(ready, Ordering::Relaxed);
}

/// The database is used, which the core would crash of while it has none.
pub(super) fn use_database(what: &str) {
    if !IS_READY.load(Ordering::Relaxed) {
        super::fault(&format!("{what} while there is no database"));
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn switch_core_ready() -> sys::switch_bool_t {
    if IS_READY.load(Ordering::Relaxed) { sys::SWITCH_TRUE } else { sys::SWITCH_FALSE }
}
