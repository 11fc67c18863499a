//! What the module offers: a console command and a dialplan application.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use std::sync::OnceLock;

use crate::host::channel::Channel;
use crate::host::{boundary, bytes, c_string};
use crate::sys;

/// The command's name.
pub const COMMAND: &CStr = c"fail2ban";
/// The application's name.
pub const APPLICATION: &CStr = c"fail2ban_report";

/// What the module offers.
pub struct Offers {
    /// The command's arguments, as FreeSWITCH shows them.
    pub syntax: &'static CStr,
    /// Answers the command.
    pub command: fn(&str) -> String,
    /// Runs the application on a call.
    pub application: fn(&Channel, &[u8]),
}

/// FreeSWITCH passes neither a command nor an application anything of the module's.
static OFFERS: OnceLock<Offers> = OnceLock::new();

/// Gives the host a module interface, and in it the command and the application.
///
/// # Safety
/// `interface` and `pool` must be those that the host has passed to the module's load function.
pub unsafe fn register(
    interface: *mut *mut sys::switch_loadable_module_interface_t,
    pool: *mut sys::switch_memory_pool_t,
    offers: Offers,
) -> Result<(), String> {
    let offers = OFFERS.get_or_init(|| offers);
    let refused = || "FreeSWITCH provides no module interface".to_string();
    // SAFETY: *strings* (the host copies the name); the pool is the host's own.
    let module = unsafe { sys::switch_loadable_module_create_module_interface(pool, crate::NAME.as_ptr()) };
    let module = NonNull::new(module).ok_or_else(refused)?;

    // SAFETY: the module interface has just been made.
    let command =
        unsafe { sys::switch_loadable_module_create_interface(module.as_ptr(), sys::SWITCH_API_INTERFACE) };
    let command = NonNull::new(command.cast::<sys::switch_api_interface_t>()).ok_or_else(refused)?;
    // SAFETY: the host has allocated it for us to fill in, and nobody else knows it yet.
    let command = unsafe { &mut *command.as_ptr() };
    // These strings are read for as long as the module is loaded; they are static.
    command.interface_name = COMMAND.as_ptr();
    command.desc = c"the log for fail2ban: its state, and what to do with it".as_ptr();
    command.syntax = offers.syntax.as_ptr();
    command.function = Some(on_command);

    // SAFETY: as above.
    let application = unsafe {
        sys::switch_loadable_module_create_interface(module.as_ptr(), sys::SWITCH_APPLICATION_INTERFACE)
    };
    let application =
        NonNull::new(application.cast::<sys::switch_application_interface_t>()).ok_or_else(refused)?;
    // SAFETY: as above.
    let application = unsafe { &mut *application.as_ptr() };
    application.interface_name = APPLICATION.as_ptr();
    application.long_desc =
        c"Writes a line about this call and the address it came from to the log for fail2ban".as_ptr();
    application.short_desc = c"report a call to fail2ban".as_ptr();
    application.syntax = c"REASON".as_ptr();
    application.flags = sys::SAF_SUPPORT_NOMEDIA | sys::SAF_ROUTING_EXEC;
    application.application_function = Some(on_application);

    // SAFETY: the host has passed it for this to be written.
    unsafe { *interface = module.as_ptr() };
    Ok(())
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
    // SAFETY: *strings*; it is a C string or null.
    let arguments = String::from_utf8_lossy(unsafe { bytes(command) }.unwrap_or_default());
    let failed = "-ERR the command failed; see FreeSWITCH's log\n".to_string();
    let answer = boundary::guard("the command", failed.clone(), || {
        OFFERS.get().map_or(failed, |offers| (offers.command)(&arguments))
    });
    let answer = c_string(&answer);
    // SAFETY: *strings*; the answer is an argument, never the format.
    unsafe { writer(stream, c"%s".as_ptr(), answer.as_ptr()) }
}

unsafe extern "C" fn on_application(session: *mut sys::switch_core_session_t, data: *const c_char) {
    // SAFETY: *strings*; it is a C string or null.
    let reason = unsafe { bytes(data) }.unwrap_or_default();
    // SAFETY: the host runs an application on the thread of its session, which lives for the call.
    if let (Some(channel), Some(offers)) = (unsafe { Channel::of(session) }, OFFERS.get()) {
        boundary::guard("the application", (), || (offers.application)(&channel, reason));
    }
}
