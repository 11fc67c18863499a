//! FreeSWITCH's configuration, as FreeSWITCH itself reads it.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use super::{bytes, c_string};
use crate::sys;

/// The text of a `<configuration>` element, with the host's variables and includes in their place; `None` if the host
/// has none of that name.
pub fn read(name: &str) -> Option<String> {
    let c_name = c_string(name);
    let mut node = ptr::null_mut();
    // SAFETY: *strings*; `node` is written before it returns.
    let root = unsafe { sys::switch_xml_open_cfg(c_name.as_ptr(), &mut node, ptr::null_mut()) };
    if root.is_null() {
        return None;
    }
    // SAFETY: the node belongs to the root, which is not freed yet.
    let text = if node.is_null() { None } else { unsafe { text_of(node) } };
    // SAFETY: the root was opened above and is used no more.
    unsafe { sys::switch_xml_free(root) };
    text
}

/// The text of an element.
///
/// # Safety
/// `node` must be an element of the host's that is not freed yet.
pub(super) unsafe fn text_of(node: sys::switch_xml_t) -> Option<String> {
    // SAFETY: as the caller has promised.
    let xml = unsafe { sys::switch_xml_toxml_ex(node, sys::SWITCH_FALSE, sys::SWITCH_FALSE) };
    // SAFETY: null, or a C string that the host has allocated for us.
    let text = unsafe { bytes(xml) }.map(|text| String::from_utf8_lossy(text).into_owned());
    // SAFETY: the host allocates it with malloc and leaves it to the caller; null is allowed.
    unsafe { libc::free(xml.cast()) };
    text
}

/// Has the host read its files again, all of them; it continues with what it had if they can't be read.
pub fn reload() -> Result<(), String> {
    let mut why = ptr::null();
    // SAFETY: `why` is written before it returns.
    if unsafe { sys::switch_xml_reload(&mut why) } == sys::SWITCH_STATUS_SUCCESS {
        return Ok(());
    }
    // SAFETY: null, or a C string of the host's, which is copied at once.
    let why = if why.is_null() { c"no reason given" } else { unsafe { CStr::from_ptr(why) } };
    Err(format!("FreeSWITCH can't read its XML: {}", why.to_string_lossy()))
}

/// The folder of the host's logs.
pub fn log_dir() -> PathBuf {
    // SAFETY: the host sets its folders before it loads modules, and does not change them.
    folder(unsafe { sys::SWITCH_GLOBAL_dirs.log_dir })
}

/// The folder of the host's databases.
pub fn db_dir() -> PathBuf {
    // SAFETY: as above.
    folder(unsafe { sys::SWITCH_GLOBAL_dirs.db_dir })
}

fn folder(path: *const c_char) -> PathBuf {
    // SAFETY: a C string that lives as long as the host, or null.
    let path = unsafe { bytes(path) }.unwrap_or(b".");
    PathBuf::from(OsStr::from_bytes(path))
}

/// Whether one of the host's network lists allows an address; a list that the host does not have allows none.
pub fn acl_allows(acl: &CStr, ip: &CStr) -> bool {
    // SAFETY: *strings*; no token is asked for.
    let allowed =
        unsafe { sys::switch_check_network_list_ip_token(ip.as_ptr(), acl.as_ptr(), ptr::null_mut()) };
    allowed != sys::SWITCH_FALSE
}
