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

    /// The address that the call came from, as the endpoint has seen it.
    pub fn network_address(&self) -> Option<&[u8]> {
        // SAFETY: a C string of the session's, or null.
        self.profile().and_then(|profile| unsafe { bytes(profile.network_addr) })
    }

    /// The caller's number.
    pub fn caller(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        self.profile().and_then(|profile| unsafe { bytes(profile.caller_id_number) })
    }

    /// The number that was called.
    pub fn callee(&self) -> Option<&[u8]> {
        // SAFETY: as above.
        self.profile().and_then(|profile| unsafe { bytes(profile.destination_number) })
    }

    fn profile(&self) -> Option<&sys::switch_caller_profile_t> {
        // SAFETY: the channel lives.
        let profile = unsafe { sys::switch_channel_get_caller_profile(self.channel.as_ptr()) };
        // SAFETY: null, or of the session's memory, which is freed only with the session: not while this application
        // runs. Another thread may give the channel another profile, and does not change this one.
        unsafe { profile.as_ref() }
    }
}
