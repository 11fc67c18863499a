//! Completion of command lines in the console.

use super::c_string;
use crate::sys;

/// Changes what the console completes: `add fail2ban status`, `del fail2ban`. FreeSWITCH keeps it in its database.
pub fn set(line: &str) {
    let line = c_string(line);
    // SAFETY: *strings*.
    unsafe { sys::switch_console_set_complete(line.as_ptr()) };
}
