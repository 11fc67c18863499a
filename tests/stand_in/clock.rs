//! The wall clock, which a test may set for this process alone: the module finds this function before libc's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

static OFFSET: AtomicI64 = AtomicI64::new(0);

/// From now on the wall clock is so many seconds ahead of the machine's.
pub fn set_offset(seconds: i64) {
    OFFSET.store(seconds, Ordering::Relaxed);
}

type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

/// libc's own.
fn real() -> ClockGettime {
    static REAL: OnceLock<ClockGettime> = OnceLock::new();
    *REAL.get_or_init(|| {
        // SAFETY: the name is a C string.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        assert!(!found.is_null(), "libc has clock_gettime");
        // SAFETY: the function of that name has this type.
        unsafe { std::mem::transmute::<*mut libc::c_void, ClockGettime>(found) }
    })
}

/// # Safety
/// As libc's: `time` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: as this function asks of its caller.
    let result = unsafe { real()(clock, time) };
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: as this function asks of its caller.
        unsafe { (*time).tv_sec += OFFSET.load(Ordering::Relaxed) };
    }
    result
}
