//! The module as a library in the host's process.

use std::mem::MaybeUninit;

/// Keeps the module's code mapped, however often the host closes it; whether that succeeded.
pub fn pin() -> bool {
    !handle().is_null()
}

/// Takes back so many pins, and such as the host itself has left behind by forgetting the module.
///
/// # Safety
/// There have to be so many, and the host must hold one more.
pub unsafe fn unpin(pins: usize) {
    let handle = handle();
    if !handle.is_null() {
        for _ in 0..=pins {
            // SAFETY: one for the handle above and one for each pin, as the caller has promised.
            unsafe { libc::dlclose(handle) };
        }
    }
}

/// One more handle of the module's own library.
fn handle() -> *mut libc::c_void {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let ours = (&raw const crate::mod_fail2ban_module_interface).cast();
    // SAFETY: an address of this library, and room for the answer.
    if unsafe { libc::dladdr(ours, info.as_mut_ptr()) } == 0 {
        return std::ptr::null_mut();
    }
    // SAFETY: filled in by the call; all zeros would be valid, too.
    let info = unsafe { info.assume_init() };
    // SAFETY: the name lives as long as the library; nothing new is loaded.
    unsafe { libc::dlopen(info.dli_fname, libc::RTLD_NOLOAD | libc::RTLD_LAZY) }
}
