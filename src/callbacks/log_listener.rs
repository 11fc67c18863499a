//! Listening to FreeSWITCH's log.

use std::ffi::{CStr, c_char};

use std::sync::OnceLock;

use crate::host::boundary;
use crate::sys;

/// A warning of one of the source files of interest.
pub struct Warning<'a> {
    /// The text.
    pub text: &'a [u8],
    /// Which of FreeSWITCH's source files it comes from.
    pub file: &'static [u8],
}

/// Takes a warning.
pub type Handler = fn(&Warning<'_>);

/// Takes the warnings. FreeSWITCH passes a listener nothing of its own, and has one that was bound for the life of
/// this library's code.
static HANDLER: OnceLock<Handler> = OnceLock::new();

/// The source files whose warnings are of interest: they report requests that an ACL has rejected.
const SOURCES: [&[u8]; 3] = [b"sofia_reg.c", b"sofia.c", EVENT_SOCKET];
/// The one of the event socket.
pub const EVENT_SOCKET: &[u8] = b"mod_event_socket.c";

/// Listens to the warnings of the host's log until it is dropped.
pub struct LogBinding(());

impl LogBinding {
    /// Has the host show `handler` the warnings in its log. Each library has one handler, the first.
    pub fn bind(handler: Handler) -> Result<LogBinding, String> {
        HANDLER.get_or_init(|| handler);
        // SAFETY: *module life*; dropping unbinds before the module's shutdown returns.
        let status =
            unsafe { sys::switch_log_bind_logger(Some(on_log), sys::SWITCH_LOG_WARNING, sys::SWITCH_FALSE) };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(LogBinding(())),
            status => Err(format!("cannot listen to FreeSWITCH's log: status {status}")),
        }
    }
}

impl Drop for LogBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the same function was bound.
        unsafe { sys::switch_log_unbind_logger(Some(on_log)) };
    }
}

unsafe extern "C" fn on_log(
    node: *const sys::switch_log_node_t,
    _level: sys::switch_log_level_t,
) -> sys::switch_status_t {
    // SAFETY: the host passes a node that lives for the call, or none.
    let Some(node) = (unsafe { node.as_ref() }) else { return sys::SWITCH_STATUS_SUCCESS };
    // The host shows every line at WARNING and above, and on every channel.
    let is_warning =
        node.level == sys::SWITCH_LOG_WARNING && node.channel != sys::SWITCH_CHANNEL_ID_LOG_CLEAN;
    let source = SOURCES.into_iter().find(|file| is_warning && is_named(&node.file, file));
    if let (Some(file), Some(handler), false) = (source, HANDLER.get(), node.content.is_null()) {
        // SAFETY: the content is a C string within the node's data.
        let text = unsafe { CStr::from_ptr(node.content) }.to_bytes();
        boundary::guard("the log listener", (), || handler(&Warning { text, file }));
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Whether the array holds this name, ended by NUL.
fn is_named(array: &[c_char], name: &[u8]) -> bool {
    array.len() > name.len()
        && array[name.len()] == 0
        && array.iter().zip(name).all(|(char, byte)| *char as u8 == *byte)
}
