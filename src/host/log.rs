//! FreeSWITCH's log: saying something in it, and listening to it.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use super::upward::{self, Target};
use super::{boundary, c_string};
use crate::sys;

/// How important a line for the host's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the host's names")]
pub enum Level {
    Error,
    Warning,
    Notice,
}

/// Writes a line into the host's log. Must not be called while a lock of ours is held.
pub fn say(level: Level, text: &str) {
    let level = match level {
        Level::Error => sys::SWITCH_LOG_ERROR,
        Level::Warning => sys::SWITCH_LOG_WARNING,
        Level::Notice => sys::SWITCH_LOG_NOTICE,
    };
    let text = c_string(&text.replace(['\n', '\r'], " "));
    let name = crate::NAME.as_ptr();
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

/// Who gets the lines: the host passes a listener nothing of its own.
static TARGET: RwLock<Option<Arc<Target>>> = RwLock::new(None);

/// Listens to the warnings of the host's log until it is dropped.
pub struct LogBinding(Arc<Target>);

impl LogBinding {
    /// Has the host show `target` the warnings in its log.
    pub fn bind(target: &Arc<Target>) -> Result<LogBinding, String> {
        *TARGET.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(target));
        // SAFETY: *module life*; dropping unbinds before the module's shutdown returns.
        let status =
            unsafe { sys::switch_log_bind_logger(Some(on_log), sys::SWITCH_LOG_WARNING, sys::SWITCH_FALSE) };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(LogBinding(Arc::clone(target))),
            status => {
                forget(target);
                Err(format!("FreeSWITCH's log can't be listened to: status {status}"))
            }
        }
    }
}

impl Drop for LogBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the same function was bound.
        unsafe { sys::switch_log_unbind_logger(Some(on_log)) };
        forget(&self.0);
    }
}

/// Lines go there no more. An unload that took long may come here when a later load has put its own in the place.
fn forget(target: &Arc<Target>) {
    TARGET.write().unwrap_or_else(PoisonError::into_inner).take_if(|there| Arc::ptr_eq(there, target));
}

/// The source files whose warnings tell of requests that an ACL has turned away.
const ACL_LOG_SOURCES: [&[u8]; 3] = [b"sofia_reg.c", b"sofia.c", EVENT_SOCKET];
const EVENT_SOCKET: &[u8] = b"mod_event_socket.c";

unsafe extern "C" fn on_log(
    node: *const sys::switch_log_node_t,
    _level: sys::switch_log_level_t,
) -> sys::switch_status_t {
    // SAFETY: the host passes a node that lives for the call, or none.
    let Some(node) = (unsafe { node.as_ref() }) else { return sys::SWITCH_STATUS_SUCCESS };
    // The host shows every line at WARNING and above, and on every channel: ACLs are told as warnings, and
    // with the file that they come from.
    let is_of_interest = node.level == sys::SWITCH_LOG_WARNING
        && node.channel != sys::SWITCH_CHANNEL_ID_LOG_CLEAN
        && ACL_LOG_SOURCES.iter().any(|file| is_named(&node.file, file));
    if is_of_interest && !node.content.is_null() {
        // SAFETY: the content is a C string within the node's data.
        let line = unsafe { CStr::from_ptr(node.content) };
        boundary::guard("the log listener", (), || {
            if let Some(target) = TARGET.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
                upward::on_log_line(target, line.to_bytes(), is_named(&node.file, EVENT_SOCKET));
            }
        });
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Whether the array holds this name, ended by NUL.
fn is_named(array: &[c_char], name: &[u8]) -> bool {
    array.len() > name.len()
        && array[name.len()] == 0
        && array.iter().zip(name).all(|(char, byte)| *char as u8 == *byte)
}
