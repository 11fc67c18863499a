//! Saying something in FreeSWITCH's log.

use std::ptr;

use super::c_string;
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
