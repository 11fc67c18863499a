//! The time.

use std::mem::MaybeUninit;

use crate::time::{LocalTime, Now};

/// The time by both clocks. The host's own (`switch_micro_time_now`) follows the monotonic clock and so does
/// not notice when the wall clock is set.
pub fn now() -> Now {
    // A tick of some milliseconds is enough to measure durations with, and takes a quarter of the time.
    Now { wall: microseconds(libc::CLOCK_REALTIME), monotonic: microseconds(libc::CLOCK_MONOTONIC_COARSE) }
}

fn microseconds(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call, and Linux has had both clocks since 2.6.32.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
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
