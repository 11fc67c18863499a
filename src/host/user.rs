//! A user of FreeSWITCH's directory.

use std::ptr;

use super::c_string;
use super::configuration::text_of;
use crate::sys;

/// The `<user>` element of a user, with what its group and domain add; `None` if there is none. May take as long as
/// whatever serves the directory takes.
pub fn find(user: &[u8], domain: &[u8]) -> Option<String> {
    let (user, domain) =
        (c_string(&String::from_utf8_lossy(user)), c_string(&String::from_utf8_lossy(domain)));
    let mut xml = ptr::null_mut();
    // SAFETY: *strings*; `xml` is written before it returns success; neither an address nor parameters are needed.
    let status = unsafe {
        sys::switch_xml_locate_user_merged(
            c"id".as_ptr(),
            user.as_ptr(),
            domain.as_ptr(),
            ptr::null(),
            &mut xml,
            ptr::null_mut(),
        )
    };
    if status != sys::SWITCH_STATUS_SUCCESS || xml.is_null() {
        return None;
    }
    // SAFETY: the element was given above, for us to free.
    let text = unsafe { text_of(xml) };
    // SAFETY: as above; it is used no more.
    unsafe { sys::switch_xml_free(xml) };
    text
}
