//! We ask FreeSWITCH, and the C library. With [`crate::callbacks`], where FreeSWITCH calls us, and the two entry points
//! this is the only unsafe code.
//!
//! The rules of the host that it rests on:
//! - **delivery**: an event, and all that it points to, lives and stays as it is while the handler runs.
//! - **unbinding**: when unbinding returns, no call of the handler, logger or search function is under way and
//!   none follows.
//! - **strings**: what the host takes as `const char *` it reads before it returns, unless said otherwise.
//! - **module life**: the module stays mapped from its load until its shutdown has returned success.
//!
//! And two of the C library's: it keeps a library mapped while any thread has a thread-local destructor of the
//! library's, so nothing here may leave one on a thread of the host's; and it unmaps a library
//! only when each `dlopen` of it has been undone by a `dlclose`.

pub mod addresses;
pub mod boundary;
pub mod channel;
pub mod clock;
pub mod completion;
pub mod configuration;
pub mod file;
pub mod library;
pub mod refusal;
pub mod registrations;
pub mod say;
pub mod state;
pub mod thread;
pub mod user;

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

/// A C string; what would end it early is left out.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("the NULs are gone")
}

/// The bytes of a C string, or nothing for null.
///
/// # Safety
/// `string` must be null or point to a C string that lives for `'a`.
pub(crate) unsafe fn bytes<'a>(string: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller has promised.
    NonNull::new(string.cast_mut()).map(|string| unsafe { CStr::from_ptr(string.as_ptr()) }.to_bytes())
}
