//! The boundary to FreeSWITCH: the only unsafe code. Everything else sees borrowed, checked values.
//!
//! The rules of the host that it rests on:
//! - **delivery**: an event, and all that it points to, lives and stays as it is while the handler runs.
//! - **unbinding**: when unbinding returns, no call of the handler or logger is under way and none follows.
//! - **strings**: what the host takes as `const char *` it reads before it returns, unless said otherwise.
//! - **module life**: the module stays mapped from its load until its shutdown has returned success.

pub mod boundary;
pub mod clock;
pub mod command;
pub mod configuration;
pub mod event;
pub mod log;

use std::ffi::CString;

/// A C string; what would end it early is left out.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("the NULs are gone")
}
