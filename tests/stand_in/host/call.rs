//! A call as an application sees it: a session with a channel, its caller and its variables.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use crate::sys;

/// One call. Its address is the handle of the session and of the channel.
pub struct Call {
    profile: Box<sys::switch_caller_profile_t>,
    variables: Vec<(CString, CString)>,
    /// What the profile points to.
    texts: Vec<CString>,
}

/// The members of a caller's profile that a test may set; the others are NULL.
const MEMBERS: [&str; 9] = [
    "username",
    "dialplan",
    "caller_id_name",
    "caller_id_number",
    "network_addr",
    "ani",
    "destination_number",
    "source",
    "chan_name",
];

impl Call {
    /// From members of the profile and variables of the channel.
    ///
    /// # Errors
    /// When the profile has no such member.
    pub fn new(profile: Vec<(String, CString)>, variables: Vec<(CString, CString)>) -> Result<Call, String> {
        // SAFETY: all zero bytes are a profile without anything.
        let empty = Box::new(unsafe { std::mem::zeroed() });
        let mut call = Call { profile: empty, variables, texts: Vec::new() };
        for (name, value) in profile {
            let text = value.as_ptr();
            let of = &mut call.profile;
            match name.as_str() {
                "username" => of.username = text,
                "dialplan" => of.dialplan = text,
                "caller_id_name" => of.caller_id_name = text,
                "caller_id_number" => of.caller_id_number = text,
                "network_addr" => of.network_addr = text,
                "ani" => of.ani = text,
                "destination_number" => of.destination_number = text.cast_mut(),
                "source" => of.source = text,
                "chan_name" => of.chan_name = text.cast_mut(),
                _ => return Err(format!("a caller's profile has no {name} here, only {MEMBERS:?}")),
            }
            call.texts.push(value);
        }
        Ok(call)
    }

    /// The handle that an application gets.
    pub fn session(&mut self) -> *mut sys::switch_core_session_t {
        (&raw mut *self).cast()
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn switch_core_session_get_channel(
    session: *mut sys::switch_core_session_t,
) -> *mut sys::switch_channel_t {
    if session.is_null() {
        super::fault("the channel of a session that is NULL");
    }
    session.cast()
}

/// # Safety
/// `channel` is that of a call that is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_channel_get_caller_profile(
    channel: *mut sys::switch_channel_t,
) -> *mut sys::switch_caller_profile_t {
    // SAFETY: as this function asks of its caller.
    let call = unsafe { &mut *channel.cast::<Call>() };
    &raw mut *call.profile
}

/// The value of a variable, NULL if there is none. Whether a copy was asked for makes no difference: as in
/// the core, it is the session's and must not be freed.
///
/// # Safety
/// `channel` is that of a call that is under way, and `name` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_channel_get_variable_dup(
    channel: *mut sys::switch_channel_t,
    name: *const c_char,
    _dup: sys::switch_bool_t,
    _index: c_int,
) -> *const c_char {
    // SAFETY: as this function asks of its caller.
    let call = unsafe { &*channel.cast::<Call>() };
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(name) }.unwrap_or_default();
    let found = call.variables.iter().find(|(known, _)| known.as_c_str() == name);
    found.map_or(ptr::null(), |(_, value)| CStr::as_ptr(value))
}
