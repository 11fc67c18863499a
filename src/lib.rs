//! `mod_fail2ban` for FreeSWITCH: reports, from inside the switch, who is attacking it.
//!
//! An event goes one way down:
//!
//! ```text
//!  FreeSWITCH's threads                                                         the writer's thread
//!  callbacks::event ────────┐
//!  callbacks::log_listener ─┤                     ┌─ memory: known? transport? what follows?
//!  callbacks::directory ────┼─ dispatch ─→ journal┤  (an Outcome)       ┌─ writer ─→ log_file
//!  callbacks::interface ────┘  (a Signal,  (a lock)└─ line ─→ buffer ───┘
//!                               trusted?)
//! ```
//!
//! What is overdue is pulled once a second by the ticker; what may take FreeSWITCH long is left to the keeper.
//!
//! Unsafe code is in [`callbacks`], where FreeSWITCH calls us, in [`host`], where we ask FreeSWITCH, and in the two entry
//! points here, and nowhere else.

mod bindings;
pub mod callbacks;
pub mod console;
pub mod decision;
mod dispatch;
pub mod event;
pub mod host;
mod keeper;
pub mod log;
pub mod memory;
mod module;
mod requests;
pub mod settings;
pub mod sys;
mod table;
mod target;
pub mod text;
mod ticker;
pub mod time;

use std::ffi::CStr;

use crate::callbacks::interface::{self, Offers};
use crate::console::command;
use crate::host::boundary;
use crate::host::say::{Level, say};

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
    boundary::install_panic_hook();
    boundary::guard("loading", sys::SWITCH_STATUS_FALSE, || {
        let offers =
            Offers { syntax: command::SYNTAX, command: command::answer, application: dispatch::on_report };
        // SAFETY: they are the host's, as it passed them.
        let registered = unsafe { interface::register(interface, pool, offers) };
        match registered.and_then(|()| module::load(&command::COMPLETIONS)) {
            Ok(()) => sys::SWITCH_STATUS_SUCCESS,
            Err(why) => {
                say(Level::Error, &format!("mod_fail2ban is not loaded: {why}"));
                sys::SWITCH_STATUS_FALSE
            }
        }
    })
}

unsafe extern "C" fn mod_fail2ban_shutdown() -> sys::switch_status_t {
    boundary::guard("shutdown", sys::SWITCH_STATUS_NOUNLOAD, || match module::shutdown() {
        Ok(()) => sys::SWITCH_STATUS_SUCCESS,
        Err(why) => {
            say(Level::Error, &format!("mod_fail2ban cannot be unloaded: {why}"));
            sys::SWITCH_STATUS_NOUNLOAD
        }
    })
}
