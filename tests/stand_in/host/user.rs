//! The users of the directory, as the module asks for them: everybody has a password but for those that a test names.

use std::ffi::{CString, c_char};
use std::ptr;

use crate::sys;
use parking_lot::RwLock;

/// Users without a password, `user@domain`.
static WITHOUT_PASSWORD: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Has these users, `user@domain`, be without a password.
pub fn set_without_password(users: Vec<String>) {
    *WITHOUT_PASSWORD.write() = users;
}

/// # Safety
/// `user_name` and `domain_name` are C strings, and `user` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_locate_user_merged(
    _key: *const c_char,
    user_name: *const c_char,
    domain_name: *const c_char,
    _ip: *const c_char,
    user: *mut sys::switch_xml_t,
    _params: *mut sys::switch_event_t,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(user_name) }.unwrap_or_default();
    // SAFETY: as this function asks of its caller.
    let domain = unsafe { super::borrowed(domain_name) }.unwrap_or_default();
    // As the core does, it asks the search functions first.
    let _ = super::search::locate(c"directory", c"domain", c"name", domain, None);
    let account = format!("{}@{}", name.to_string_lossy(), domain.to_string_lossy());
    // The core compares names without regard to case.
    let is_without = WITHOUT_PASSWORD.read().iter().any(|it| it.eq_ignore_ascii_case(&account));
    let password = if is_without { "" } else { "secret" };
    let text = format!("<user><params><param name=\"password\" value=\"{password}\"/></params></user>");
    let document = CString::new(text).map_or(ptr::null_mut(), super::xml::open);
    // SAFETY: as this function asks of its caller.
    unsafe { user.write(document) };
    sys::SWITCH_STATUS_SUCCESS
}
