//! The console command.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use super::{boundary, c_string};
use crate::sys;

/// Gives the host a module interface, and in it the command.
///
/// # Safety
/// `interface` and `pool` must be those that the host has passed to the module's load function.
pub unsafe fn register(
    interface: *mut *mut sys::switch_loadable_module_interface_t,
    pool: *mut sys::switch_memory_pool_t,
    syntax: &'static CStr,
) -> Result<(), String> {
    let refused = || "FreeSWITCH gives no module interface".to_string();
    // SAFETY: *strings* (the host copies the name); the pool is the host's own.
    let module = unsafe { sys::switch_loadable_module_create_module_interface(pool, crate::NAME.as_ptr()) };
    let module = NonNull::new(module).ok_or_else(refused)?;
    // SAFETY: the module interface has just been made.
    let api =
        unsafe { sys::switch_loadable_module_create_interface(module.as_ptr(), sys::SWITCH_API_INTERFACE) };
    let api = NonNull::new(api.cast::<sys::switch_api_interface_t>()).ok_or_else(refused)?;
    // SAFETY: the host has allocated it for us to fill in, and nobody else knows it yet.
    let api = unsafe { &mut *api.as_ptr() };
    // These strings are read for as long as the module is loaded; they are static.
    api.interface_name = c"fail2ban".as_ptr();
    api.desc = c"the log for fail2ban: how it is, and what to do with it".as_ptr();
    api.syntax = syntax.as_ptr();
    api.function = Some(on_command);
    // SAFETY: the host has passed it for this to be written.
    unsafe { *interface = module.as_ptr() };
    Ok(())
}

/// Completes a command line in the console: `add fail2ban status`.
pub fn set_completion(line: &str) {
    let line = c_string(line);
    // SAFETY: *strings*.
    unsafe { sys::switch_console_set_complete(line.as_ptr()) };
}

unsafe extern "C" fn on_command(
    command: *const c_char,
    _session: *mut sys::switch_core_session_t,
    stream: *mut sys::switch_stream_handle_t,
) -> sys::switch_status_t {
    // SAFETY: the host passes a stream that lives for the call.
    let Some(writer) = (unsafe { stream.as_ref() }).and_then(|stream| stream.write_function) else {
        return sys::SWITCH_STATUS_GENERR;
    };
    let arguments = if command.is_null() {
        String::new()
    } else {
        // SAFETY: *strings*; it is a C string.
        unsafe { CStr::from_ptr(command) }.to_string_lossy().into_owned()
    };
    let failed = "-ERR the command failed; see FreeSWITCH's log\n".to_string();
    let answer = c_string(&boundary::guard("the command", failed, || crate::command(&arguments)));
    // SAFETY: *strings*; the answer is an argument, never the format.
    unsafe { writer(stream, c"%s".as_ptr(), answer.as_ptr()) }
}
