//! FreeSWITCH's log: saying something in it, and listening to it.

use std::ffi::{CStr, c_char};
use std::ptr;

use super::{boundary, c_string};
use crate::journal::Say;
use crate::sys;

/// Writes a line into the host's log. Must not be called while a lock of ours is held.
pub fn say(level: Say, text: &str) {
    let level = match level {
        Say::Error => sys::SWITCH_LOG_ERROR,
        Say::Warning => sys::SWITCH_LOG_WARNING,
        Say::Notice => sys::SWITCH_LOG_NOTICE,
    };
    let text = c_string(&text.replace(['\n', '\r'], " "));
    let name = c"mod_fail2ban".as_ptr();
    // SAFETY: *strings*; the text is an argument, never the format.
    unsafe {
        sys::switch_log_printf(
            sys::SWITCH_CHANNEL_ID_LOG,
            name,
            name,
            0,
            ptr::null(),
            level,
            c"%s\n".as_ptr(),
            text.as_ptr(),
        );
    }
}

/// Listens to the warnings of the host's log until it is dropped.
pub struct LogBinding(());

impl LogBinding {
    /// Has the host call `listener` with lines at WARNING and above.
    pub fn bind() -> Result<LogBinding, String> {
        // SAFETY: *module life*; dropping unbinds before the module's shutdown returns.
        let status =
            unsafe { sys::switch_log_bind_logger(Some(on_log), sys::SWITCH_LOG_WARNING, sys::SWITCH_FALSE) };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(LogBinding(())),
            status => Err(format!("FreeSWITCH's log can't be listened to: status {status}")),
        }
    }
}

impl Drop for LogBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the same function was bound.
        unsafe { sys::switch_log_unbind_logger(Some(on_log)) };
    }
}

/// The source files whose warnings tell of requests that an ACL has turned away.
const HEARD: [&[u8]; 3] = [b"sofia_reg.c", b"sofia.c", b"mod_event_socket.c"];

unsafe extern "C" fn on_log(
    node: *const sys::switch_log_node_t,
    _level: sys::switch_log_level_t,
) -> sys::switch_status_t {
    // SAFETY: the host passes a node that lives for the call, or none.
    let Some(node) = (unsafe { node.as_ref() }) else { return sys::SWITCH_STATUS_SUCCESS };
    if HEARD.iter().any(|file| is_named(&node.file, file)) && !node.content.is_null() {
        // SAFETY: the content is a C string within the node's data.
        let line = unsafe { CStr::from_ptr(node.content) };
        boundary::guard("the log listener", (), || crate::heed_log(line.to_bytes()));
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Whether the array holds this name, ended by NUL.
fn is_named(array: &[c_char], name: &[u8]) -> bool {
    array.len() > name.len()
        && array[name.len()] == 0
        && array.iter().zip(name).all(|(char, byte)| *char as u8 == *byte)
}
