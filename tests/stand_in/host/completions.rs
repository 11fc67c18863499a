//! The completions of the console: rows of words, as the core keeps them in a table.

use std::ffi::c_char;

use crate::sys;
use parking_lot::Mutex;

static ROWS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The recorded rows.
pub fn all() -> Vec<String> {
    ROWS.lock().clone()
}

/// `add WORD…` adds a row, `del WORD…` removes those that begin with these words, `del *` all.
///
/// # Safety
/// `string` is NULL or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_console_set_complete(string: *const c_char) -> sys::switch_status_t {
    super::state::use_database("completions");
    // SAFETY: as this function asks of its caller.
    let Some(Ok(string)) = (unsafe { super::borrowed(string) }).map(|string| string.to_str()) else {
        return sys::SWITCH_STATUS_FALSE;
    };
    let words: Vec<&str> = string.split(' ').filter(|word| !word.is_empty()).collect();
    let mut rows = ROWS.lock();
    match words.as_slice() {
        ["add", row @ ..] if !row.is_empty() => rows.push(row.join(" ")),
        ["del", "*"] => rows.clear(),
        ["del", start @ ..] if !start.is_empty() => {
            rows.retain(|row| !row.split(' ').collect::<Vec<_>>().starts_with(start));
        }
        _ => return sys::SWITCH_STATUS_FALSE,
    }
    sys::SWITCH_STATUS_SUCCESS
}
