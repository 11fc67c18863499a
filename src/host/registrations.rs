//! The registrations that the host has, in its core database.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::{bytes, c_string};
use crate::sys;

/// Takes an address as text, a user and a realm.
type Show<'a> = &'a mut dyn FnMut(&[u8], &[u8], &[u8]);

/// Shows each registration that has not expired: its address as text, its user and its realm.
pub fn for_each(wall_seconds: i64, mut show: impl FnMut(&[u8], &[u8], &[u8])) {
    let mut handle = ptr::null_mut();
    let name = crate::NAME.as_ptr();
    // SAFETY: *strings*; the handle is written before it returns success.
    let status = unsafe { sys::_switch_core_db_handle(&mut handle, name, name, 0) };
    if status != sys::SWITCH_STATUS_SUCCESS || handle.is_null() {
        return;
    }
    let sql = c_string(&format!(
        "select network_ip, reg_user, realm from registrations where expires > {wall_seconds}"
    ));
    let mut show: Show<'_> = &mut show;
    // SAFETY: *strings*; the callback gets `show` back and is not called after this returns.
    unsafe {
        sys::switch_cache_db_execute_sql_callback(
            handle,
            sql.as_ptr(),
            Some(on_row),
            (&raw mut show).cast(),
            ptr::null_mut(),
        )
    };
    // SAFETY: the handle was given above and is used no more.
    unsafe { sys::switch_cache_db_release_db_handle(&mut handle) };
}

unsafe extern "C" fn on_row(
    show: *mut c_void,
    columns: c_int,
    values: *mut *mut c_char,
    _names: *mut *mut c_char,
) -> c_int {
    if columns == 3 && !values.is_null() {
        // SAFETY: the host passes as many values as columns.
        let values = unsafe { std::slice::from_raw_parts(values, 3) };
        // SAFETY: each is a C string or null, for the time of the call.
        let value = |column: usize| unsafe { bytes(values[column]) }.unwrap_or_default();
        // SAFETY: what `for_each` has passed.
        let show = unsafe { &mut *show.cast::<Show<'_>>() };
        super::boundary::guard("a registration", (), || show(value(0), value(1), value(2)));
    }
    0
}
