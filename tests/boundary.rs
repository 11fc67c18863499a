//! A panic stops at the boundary: the host gets an answer, and its log the reason.

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::Mutex;

use mod_fail2ban::host::boundary::{guard, install_panic_hook};
use mod_fail2ban::sys;

static SAID: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());

/// The host's log. The module always passes "%s\n" and one text, which the ABI passes as to a variadic one.
///
/// # Safety
/// The texts are C strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn switch_log_printf(
    _channel: sys::switch_text_channel_t,
    _file: *const c_char,
    _func: *const c_char,
    _line: c_int,
    _userdata: *const c_char,
    level: sys::switch_log_level_t,
    format: *const c_char,
    text: *const c_char,
) {
    // SAFETY: as this function asks of its caller.
    let [format, text] = [format, text].map(|text| CString::from(unsafe { CStr::from_ptr(text) }));
    assert_eq!(format.as_c_str(), c"%s\n");
    SAID.lock().unwrap().push((level, text.to_string_lossy().into_owned()));
}

#[test]
fn a_panic_stops_at_the_boundary_and_is_said() {
    install_panic_hook();
    assert_eq!(guard("the event handler", 7, || 8), 8);
    assert!(SAID.lock().unwrap().is_empty());

    let index = std::hint::black_box(3);
    assert_eq!(guard("the event handler", 7, || [0, 1, 2][index]), 7);
    assert_eq!(guard("the command", 7, || panic!("a percent sign: %s%n")), 7);
    let said = SAID.lock().unwrap();
    let [(first, index), (second, message)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!([*first, *second], [sys::SWITCH_LOG_ERROR; 2]);
    assert!(index.contains("the event handler failed") && index.contains("out of bounds"), "{index}");
    assert!(message.contains("the command failed") && message.contains("%s%n"), "{message}");
}
