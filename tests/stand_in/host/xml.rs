//! The configuration. As in the core, files are read when the switch starts and when it is told to reload,
//! and `switch_xml_open_cfg` looks an element up in what was read then; what the module gets are handles and,
//! when it asks, a text.

use std::ffi::{CString, c_char};
use std::ptr;

use crate::sys;
use parking_lot::{Mutex, RwLock};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// One opened configuration: the root, which is to be freed, and the element in it. Boxed, as their
/// addresses are the handles.
struct Document {
    root: Box<sys::switch_xml>,
    node: Box<sys::switch_xml>,
    text: CString,
}

// SAFETY: the pointers in a `switch_xml` are all NULL here.
unsafe impl Send for Document {}

static OPEN: Mutex<Vec<Document>> = Mutex::new(Vec::new());

/// How many are open.
pub fn handles() -> usize {
    OPEN.lock().len()
}

/// The configurations that the stand-in has, as they were when they were read.
static TREE: RwLock<Vec<(&str, String)>> = RwLock::new(Vec::new());

const NAMES: [&str; 4] = ["fail2ban.conf", "acl.conf", "sofia.conf", "switch.conf"];

/// Reads the files anew. If one is not well-formed, all stays as it was.
pub fn reload() -> Result<(), String> {
    let mut tree = Vec::new();
    for name in NAMES {
        let path = super::conf_dir().join("autoload_configs").join(format!("{name}.xml"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let text = expanded(&text);
        if !is_well_formed(&text) {
            return Err(format!("[error near line 1]: {} is not well-formed", path.display()));
        }
        tree.extend(element(&text, name).map(|element| (name, element)));
    }
    *TREE.write() = tree;
    Ok(())
}

/// The `<configuration name=…>` element that was read; `None` where there was none.
pub fn configuration(name: &str) -> Option<String> {
    TREE.read().iter().find(|(known, _)| *known == name).map(|(_, element)| element.clone())
}

fn is_well_formed(text: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut depth = 0_usize;
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth -= 1,
            Ok(Event::Eof) => return depth == 0,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// `$${name}` becomes what the core's preprocessor makes of it; a variable that is not set, nothing.
fn expanded(text: &str) -> String {
    let mut parts = text.split("$${");
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap_or((part, ""));
        match variable {
            "log_dir" => expanded += &super::log_dir().to_string_lossy(),
            "conf_dir" => expanded += &super::conf_dir().to_string_lossy(),
            _ => {}
        }
        expanded += rest;
    }
    expanded
}

/// The element without comments, from a text that is well-formed.
fn element(text: &str, name: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut writer = quick_xml::Writer::new(Vec::new());
    let (mut depth, mut inside, mut found) = (0_usize, None, false);
    loop {
        let event = reader.read_event().ok()?;
        if let Event::Start(tag) | Event::Empty(tag) = &event {
            let attribute = attribute(tag, "name")?;
            if !found && tag.name().as_ref() == "configuration" && attribute.as_deref() == Some(name) {
                (inside, found) = (Some(depth), true);
            }
        }
        let is_content = matches!(
            event,
            Event::Start(_)
                | Event::Empty(_)
                | Event::End(_)
                | Event::Text(_)
                | Event::GeneralRef(_)
                | Event::CData(_)
        );
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
        let ends = inside == Some(depth) && matches!(event, Event::End(_) | Event::Empty(_));
        if inside.is_some() && is_content {
            writer.write_event(event).ok()?;
        }
        if ends {
            inside = None;
        }
    }
    (depth == 0 && found).then(|| String::from_utf8(writer.into_inner()).ok())?
}

/// The attribute's value, if there is one; `None` where a tag's attributes are not well-formed.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<Option<String>> {
    let mut found = None;
    for attribute in tag.attributes() {
        let attribute = attribute.ok()?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        if attribute.key.as_ref() == name {
            found = Some(value.into_owned());
        }
    }
    Some(found)
}

/// # Safety
/// `file_path` is a C string and `node` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_open_cfg(
    file_path: *const c_char,
    node: *mut sys::switch_xml_t,
    _params: *mut sys::switch_event_t,
) -> sys::switch_xml_t {
    // SAFETY: as this function asks of its caller.
    unsafe { node.write(ptr::null_mut()) };
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(file_path) }.unwrap_or_default();
    super::search::locate_settings(name);
    if super::failures::is_due("switch_xml_open_cfg") {
        return ptr::null_mut();
    }
    let name = name.to_string_lossy();
    let Some(text) = configuration(&name).and_then(|text| CString::new(text).ok()) else {
        return ptr::null_mut();
    };
    // SAFETY: all zero bytes are an element without anything.
    let empty = || Box::new(unsafe { std::mem::zeroed::<sys::switch_xml>() });
    let mut document = Document { root: empty(), node: empty(), text };
    let root = &raw mut *document.root;
    // SAFETY: as this function asks of its caller.
    unsafe { node.write(&raw mut *document.node) };
    OPEN.lock().push(document);
    root
}

/// Opens an element that is its own root.
pub(super) fn open(text: CString) -> sys::switch_xml_t {
    // SAFETY: all zero bytes are an element without anything.
    let empty = || Box::new(unsafe { std::mem::zeroed::<sys::switch_xml>() });
    let mut document = Document { root: empty(), node: empty(), text };
    let root = &raw mut *document.root;
    OPEN.lock().push(document);
    root
}

/// The element as text, for the caller to free.
#[unsafe(no_mangle)]
pub extern "C" fn switch_xml_toxml_ex(
    xml: sys::switch_xml_t,
    _prn_header: sys::switch_bool_t,
    _use_utf8_encoding: sys::switch_bool_t,
) -> *mut c_char {
    let open = OPEN.lock();
    let is_it = |document: &&Document| {
        ptr::eq(&raw const *document.node, xml) || ptr::eq(&raw const *document.root, xml)
    };
    match open.iter().find(is_it) {
        Some(document) => super::malloced(&document.text),
        None => super::fault("the text of an element that is not open"),
    }
}

/// Closes a configuration; NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn switch_xml_free(xml: sys::switch_xml_t) {
    if xml.is_null() || super::answer::free(xml) {
        return;
    }
    let mut open = OPEN.lock();
    match open.iter().position(|document| ptr::eq(&raw const *document.root, xml)) {
        Some(place) => drop(open.swap_remove(place)),
        None => super::fault("an element was freed that is not open, or is not a root"),
    }
}

/// Reads the files anew, and has the event of it delivered some time later.
///
/// # Safety
/// `err` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_reload(err: *mut *const c_char) -> sys::switch_status_t {
    let (status, said) = match reload() {
        Ok(()) => {
            // As in the core, events are delivered by other threads.
            drop(super::threads::begin(super::event::reloaded));
            (sys::SWITCH_STATUS_SUCCESS, c"Success".as_ptr())
        }
        Err(_) => (sys::SWITCH_STATUS_GENERR, c"[error near line 1]: not well-formed".as_ptr()),
    };
    // SAFETY: as this function asks of its caller.
    unsafe { err.write(said) };
    status
}
