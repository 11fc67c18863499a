//! The boundary to FreeSWITCH: the only unsafe code but for the two entry points. Everything else sees borrowed, checked values.
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

pub mod boundary;
pub mod channel;
pub mod clock;
pub mod configuration;
pub mod directory;
pub mod event;
pub mod interface;
pub mod library;
pub mod log;
pub mod registrations;
pub mod thread;

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

/// What the boundary calls: the only functions above it that it knows.
mod upward {
    pub use crate::console::answer as on_command;
    pub use crate::dispatch::{on_event, on_log_line, on_look_up, on_report};
    /// Who gets what a binding delivers.
    pub use crate::module::Instance as Target;
}

/// A C string; what would end it early is left out.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("the NULs are gone")
}

/// The bytes of a C string, or nothing for null.
///
/// # Safety
/// `string` must be null or point to a C string that lives for `'a`.
unsafe fn bytes<'a>(string: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller has promised.
    NonNull::new(string.cast_mut()).map(|string| unsafe { CStr::from_ptr(string.as_ptr()) }.to_bytes())
}
