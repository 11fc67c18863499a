//! The core's database, as far as the module asks it: one question about the registrations.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys;
use parking_lot::RwLock;

use super::failures;

/// A row of the table `registrations`.
pub struct Registration {
    pub network_ip: CString,
    pub reg_user: CString,
    pub realm: CString,
    pub expires: i64,
}

static REGISTRATIONS: RwLock<Vec<Registration>> = RwLock::new(Vec::new());
static HANDLES: AtomicUsize = AtomicUsize::new(0);

/// What the module asks, before the time.
const QUESTION: &[u8] = b"select network_ip, reg_user, realm from registrations where expires > ";

/// Puts these rows into the table.
pub fn set(registrations: Vec<Registration>) {
    *REGISTRATIONS.write() = registrations;
}

/// How many handles are out.
pub fn handles() -> usize {
    HANDLES.load(Ordering::Relaxed)
}

/// # Safety
/// `handle` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _switch_core_db_handle(
    handle: *mut *mut sys::switch_cache_db_handle_t,
    _file: *const c_char,
    _func: *const c_char,
    _line: c_int,
) -> sys::switch_status_t {
    super::state::use_database("a handle of the database");
    if failures::is_due("_switch_core_db_handle") {
        // SAFETY: as this function asks of its caller.
        unsafe { handle.write(ptr::null_mut()) };
        return sys::SWITCH_STATUS_FALSE;
    }
    HANDLES.fetch_add(1, Ordering::Relaxed);
    // SAFETY: as this function asks of its caller; nobody looks behind the pointer.
    unsafe { handle.write(ptr::without_provenance_mut(1)) };
    sys::SWITCH_STATUS_SUCCESS
}

/// Calls back for every row, until a call gives other than 0.
///
/// # Safety
/// `sql` is a C string, `error` is NULL or may be written to, and `callback` may be called with `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_cache_db_execute_sql_callback(
    handle: *mut sys::switch_cache_db_handle_t,
    sql: *const c_char,
    callback: sys::switch_core_db_callback_func_t,
    data: *mut c_void,
    error: *mut *mut c_char,
) -> sys::switch_status_t {
    if handle.is_null() || handles() == 0 {
        super::fault("a question to the database without a handle of it");
    }
    // SAFETY: as this function asks of its caller.
    let sql = unsafe { super::borrowed(sql) }.unwrap_or_default();
    let time = sql.to_bytes().strip_prefix(QUESTION).and_then(|rest| std::str::from_utf8(rest).ok());
    let Some(now) = time.and_then(|time| time.parse::<i64>().ok()) else {
        super::fault(&format!("a question to the database that the stand-in does not know: {sql:?}"))
    };
    let Some(callback) = callback else { super::fault("a question to the database without a callback") };
    if !error.is_null() {
        // SAFETY: as this function asks of its caller.
        unsafe { error.write(ptr::null_mut()) };
    }
    let mut names = [c"network_ip", c"reg_user", c"realm"].map(|name| CStr::as_ptr(name).cast_mut());
    for row in REGISTRATIONS.read().iter().filter(|row| row.expires > now) {
        let mut values = [&row.network_ip, &row.reg_user, &row.realm].map(|value| value.as_ptr().cast_mut());
        // SAFETY: as this function asks of its caller; the rows live through the call.
        if unsafe { callback(data, 3, values.as_mut_ptr(), names.as_mut_ptr()) } != 0 {
            break;
        }
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Gives a handle back, and puts NULL in its place.
///
/// # Safety
/// `handle` may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_cache_db_release_db_handle(handle: *mut *mut sys::switch_cache_db_handle_t) {
    // SAFETY: as this function asks of its caller.
    if unsafe { handle.read() }.is_null() {
        return;
    }
    if HANDLES.fetch_sub(1, Ordering::Relaxed) == 0 {
        super::fault("a handle of the database was given back twice");
    }
    // SAFETY: as this function asks of its caller.
    unsafe { handle.write(ptr::null_mut()) };
}
