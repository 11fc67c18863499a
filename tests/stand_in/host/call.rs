//! A call as an application sees it: a session with a channel and its variables.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use crate::sys;

/// One call. Its address is the handle of the session and of the channel.
pub struct Call {
    /// The variables of the channel.
    pub variables: Vec<(CString, CString)>,
}

impl Call {
    /// From variables of the channel. As in the core, what the caller's profile holds (`network_addr`,
    /// `caller_id_number`, `destination_number`) is read like one.
    pub fn new(variables: Vec<(CString, CString)>) -> Call {
        Call { variables }
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

/// The value of a variable, NULL if there is none. A copy is the session's and must not be freed.
///
/// # Safety
/// `channel` is that of a call that is in progress, and `name` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_channel_get_variable_dup(
    channel: *mut sys::switch_channel_t,
    name: *const c_char,
    dup: sys::switch_bool_t,
    _index: c_int,
) -> *const c_char {
    if dup != sys::SWITCH_TRUE {
        super::fault("a variable that is not copied may be changed by another thread");
    }
    // SAFETY: as this function asks of its caller.
    let call = unsafe { &*channel.cast::<Call>() };
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(name) }.unwrap_or_default();
    let found = call.variables.iter().find(|(known, _)| known.as_c_str() == name);
    found.map_or(ptr::null(), |(_, value)| CStr::as_ptr(value))
}

/// What is in a caller's profile is changed by sofia's threads, without a lock that an application could take.
#[unsafe(no_mangle)]
pub extern "C" fn switch_channel_get_caller_profile(_channel: *mut sys::switch_channel_t) -> *mut c_void {
    super::fault("it reads a caller's profile, which another thread may be changing");
}

/// Gives a variable another value; NULL takes it away.
///
/// # Safety
/// `channel` is that of a call that is in progress, `name` a C string, and `value` one or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_channel_set_variable_var_check(
    channel: *mut sys::switch_channel_t,
    name: *const c_char,
    value: *const c_char,
    _var_check: sys::switch_bool_t,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    let call = unsafe { &mut *channel.cast::<Call>() };
    // SAFETY: as this function asks of its caller.
    let (Some(name), value) = (unsafe { super::borrowed(name) }, unsafe { super::borrowed(value) }) else {
        return sys::SWITCH_STATUS_FALSE;
    };
    call.variables.retain(|(known, _)| known.as_c_str() != name);
    call.variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    sys::SWITCH_STATUS_SUCCESS
}
