//! The host's time.

use std::mem::MaybeUninit;

use crate::line::LocalTime;
use crate::sys;

/// Microseconds since 1970, as the host counts them and writes them in its own log.
pub fn now() -> i64 {
    // SAFETY: takes nothing, and may be called from any thread at any time.
    unsafe { sys::switch_micro_time_now() }
}

/// The local time of a second since 1970.
pub fn local(second: i64) -> LocalTime {
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; it is the thread-safe variant.
    unsafe { libc::localtime_r(&second, tm.as_mut_ptr()) };
    // SAFETY: all zeros is a valid `tm`, should the call have failed.
    let tm = unsafe { tm.assume_init() };
    LocalTime {
        year: (tm.tm_year + 1900) as u16,
        month: (tm.tm_mon + 1) as u8,
        day: tm.tm_mday as u8,
        hour: tm.tm_hour as u8,
        minute: tm.tm_min as u8,
        second: tm.tm_sec as u8,
        offset: tm.tm_gmtoff as i32,
    }
}
