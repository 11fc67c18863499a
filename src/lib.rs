//! `mod_fail2ban` for FreeSWITCH: tells fail2ban, from inside the switch, who is attacking it.
//!
//! FreeSWITCH loads the module, calls its load function and in the end its shutdown function. In between an
//! event goes one way:
//!
//! ```text
//!  FreeSWITCH's threads                                              the writer's thread
//!  host::event ────┐
//!  host::log ──────┤                          ┌─ memory: known? transport? what follows?
//!  host::directory ┼─ dispatch ─→ journal ────┤                            ┌─ writer ─→ log_file
//!  host::interface ┘  (a Signal,  (one lock)  └─ line ─→ buffer ───────────┘
//!                      trusted?)
//! ```
//!
//! Unsafe code is in [`host`] and in the two entry points here, and nowhere else.

pub mod acl_line;
pub mod address;
pub mod bindings;
pub mod buffer;
pub mod challenges;
pub mod console;
pub mod credentials;
pub mod decision;
pub mod dispatch;
pub mod escape;
pub mod event_type;
pub mod headers;
pub mod host;
pub mod journal;
pub mod keeper;
pub mod kept;
pub mod known;
pub mod known_file;
pub mod line;
mod log_file;
pub mod memory;
pub mod metrics;
pub mod module;
pub mod settings;
pub mod signal;
pub mod stats;
pub mod status;
pub mod sys;
pub mod table;
pub mod timestamp;
mod writer;

use std::ffi::CStr;

use crate::host::log::{Level, say};
use crate::host::{boundary, interface, library};

/// The module's name.
pub const NAME: &CStr = c"mod_fail2ban";

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What FreeSWITCH's loader looks for.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the loader's name for it")]
pub static mod_fail2ban_module_interface: sys::switch_loadable_module_function_table_t =
    sys::switch_loadable_module_function_table_t {
        switch_api_version: sys::SWITCH_API_VERSION as i32,
        load: Some(mod_fail2ban_load),
        shutdown: Some(mod_fail2ban_shutdown),
        runtime: None,
        flags: sys::SMODF_NONE,
    };

unsafe extern "C" fn mod_fail2ban_load(
    interface: *mut *mut sys::switch_loadable_module_interface_t,
    pool: *mut sys::switch_memory_pool_t,
) -> sys::switch_status_t {
    boundary::keep_panics();
    boundary::guard("loading", sys::SWITCH_STATUS_FALSE, || {
        // SAFETY: they are the host's, as it passed them.
        let registered = unsafe { interface::register(interface, pool, console::SYNTAX) };
        match registered.and_then(|()| module::load()) {
            Ok(()) => {
                for words in console::COMPLETIONS {
                    interface::set_completion(&format!("add fail2ban {words}"));
                }
                sys::SWITCH_STATUS_SUCCESS
            }
            Err(why) => {
                say(Level::Error, &format!("mod_fail2ban is not loaded: {why}"));
                sys::SWITCH_STATUS_FALSE
            }
        }
    })
}

unsafe extern "C" fn mod_fail2ban_shutdown() -> sys::switch_status_t {
    boundary::guard("shutdown", sys::SWITCH_STATUS_NOUNLOAD, || match module::shutdown() {
        Ok(pins) => {
            if pins > 0 {
                // SAFETY: so many are held, and by calling this FreeSWITCH shows that it holds one more.
                unsafe { library::unpin(pins) };
            }
            sys::SWITCH_STATUS_SUCCESS
        }
        Err(why) => {
            say(Level::Error, &format!("mod_fail2ban stays in memory: {why}"));
            sys::SWITCH_STATUS_NOUNLOAD
        }
    })
}
