//! The channel that an application runs on.

use std::ffi::CStr;
use std::ptr::NonNull;

use super::bytes;
use crate::sys;

/// A channel, for as long as an application runs on it.
pub struct Channel {
    channel: NonNull<sys::switch_channel_t>,
}

impl Channel {
    /// The channel of a session.
    ///
    /// # Safety
    /// The session must be null or live as long as the result.
    pub unsafe fn of(session: *mut sys::switch_core_session_t) -> Option<Channel> {
        if session.is_null() {
            return None;
        }
        // SAFETY: as the caller has promised.
        let channel = unsafe { sys::switch_core_session_get_channel(session) };
        NonNull::new(channel).map(|channel| Channel { channel })
    }

    /// A variable of the channel. It is copied into the session's memory, so that nobody changes it meanwhile.
    pub fn variable(&self, name: &CStr) -> Option<&[u8]> {
        // SAFETY: *strings*; the channel lives.
        let value = unsafe {
            sys::switch_channel_get_variable_dup(self.channel.as_ptr(), name.as_ptr(), sys::SWITCH_TRUE, -1)
        };
        // SAFETY: a C string of the session's, which lives longer, or null.
        unsafe { bytes(value) }
    }
    /// Sets a variable of the channel, which its events show.
    pub fn set_variable(&self, name: &CStr, value: &CStr) {
        // SAFETY: *strings* (the host copies them); the channel lives.
        unsafe {
            sys::switch_channel_set_variable_var_check(
                self.channel.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                sys::SWITCH_FALSE,
            );
        }
    }
}
