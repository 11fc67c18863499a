//! The module as a library in the host's process.

use std::mem::MaybeUninit;

/// Keeps the module's code mapped until the process ends, however often the host closes it; whether that succeeded.
pub fn pin() -> bool {
    !handle().is_null()
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
