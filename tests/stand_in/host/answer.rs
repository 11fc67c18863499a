//! Documents that the module has the host build, to answer look-ups with. As in the core, what the module sets is
//! copied; what an answer says is checked here, since the core would accept any credentials for a careless one.

use std::ffi::{CStr, c_char};
use std::ptr;

use crate::sys;
use parking_lot::Mutex;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::{borrowed, failures, fault};

/// An element; the addresses of `raw` are the handles that the module holds.
struct Element {
    raw: Box<sys::switch_xml>,
    name: String,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    children: Vec<Element>,
}

// SAFETY: the pointers in a `switch_xml` are all NULL here.
unsafe impl Send for Element {}

static DOCUMENTS: Mutex<Vec<Element>> = Mutex::new(Vec::new());

/// How many the module has.
pub fn documents() -> usize {
    DOCUMENTS.lock().len()
}

/// Frees a document; whether it was one.
pub(super) fn free(xml: sys::switch_xml_t) -> bool {
    let mut documents = DOCUMENTS.lock();
    let place = documents.iter().position(|document| document.is(xml));
    place.map(|place| documents.swap_remove(place)).is_some()
}

/// Takes the module's answer to a look-up of a domain for this address, and frees it. One that does not refuse, or
/// does not answer just this, is a fault.
pub fn take(xml: sys::switch_xml_t, domain: &CStr, ip: Option<&CStr>) {
    let mut documents = DOCUMENTS.lock();
    let Some(place) = documents.iter().position(|document| document.is(xml)) else {
        fault("it answered a look-up with what is no document")
    };
    let document = documents.swap_remove(place);
    let found = document
        .child("section", b"name", b"directory")
        .and_then(|section| section.child("domain", b"name", domain.to_bytes()))
        .and_then(|domain| domain.child("user", b"ip", ip?.to_bytes()))
        .and_then(|user| user.children.iter().find(|child| child.name == "params"));
    let Some(params) = found else { fault("it answered a look-up with a document that has no such user") };
    let param = |name: &[u8]| params.child("param", b"name", name)?.attribute(b"value");
    let is_refused = param(b"sip-forbid-register") == Some(b"true")
        && param(b"allow-empty-password") == Some(b"false")
        && param(b"password").is_some_and(|password| password.len() >= 32);
    if !is_refused {
        fault("it answered a look-up with a user that is not refused");
    }
}

impl Element {
    fn new(tag: &BytesStart<'_>) -> Option<Element> {
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            attributes.push((attribute.key.as_ref().as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        // SAFETY: all zero bytes are an element without anything.
        let raw = Box::new(unsafe { std::mem::zeroed::<sys::switch_xml>() });
        Some(Element { raw, name: tag.name().as_ref().to_owned(), attributes, children: Vec::new() })
    }

    fn is(&self, xml: sys::switch_xml_t) -> bool {
        ptr::eq(&raw const *self.raw, xml)
    }

    fn find(&mut self, xml: sys::switch_xml_t) -> Option<&mut Element> {
        if self.is(xml) {
            return Some(self);
        }
        self.children.iter_mut().find_map(|child| child.find(xml))
    }

    fn attribute(&self, name: &[u8]) -> Option<&[u8]> {
        self.attributes.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_slice())
    }

    /// A child of this name with such an attribute; as in the core, upper and lower case are the same.
    fn child(&self, name: &str, attribute: &[u8], value: &[u8]) -> Option<&Element> {
        self.children.iter().find(|child| {
            let there = child.attribute(attribute);
            child.name == name && there.is_some_and(|there| there.eq_ignore_ascii_case(value))
        })
    }
}

fn parse(text: &str) -> Option<Element> {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let closed = match reader.read_event().ok()? {
            Event::Start(tag) => {
                open.push(Element::new(&tag)?);
                continue;
            }
            Event::Empty(tag) => Element::new(&tag)?,
            Event::End(_) => open.pop()?,
            Event::Eof => return None,
            _ => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(closed),
            None => return Some(closed),
        }
    }
}

/// Runs `what` with an element that the module names.
fn with<R>(xml: sys::switch_xml_t, what: impl FnOnce(&mut Element) -> R) -> R {
    let mut documents = DOCUMENTS.lock();
    match documents.iter_mut().find_map(|document| document.find(xml)) {
        Some(element) => what(element),
        None => fault("it used an element that is not there"),
    }
}

/// # Safety
/// `text` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_parse_str_dynamic(
    text: *mut c_char,
    dup: sys::switch_bool_t,
) -> sys::switch_xml_t {
    if failures::is_due("switch_xml_parse_str_dynamic") {
        return ptr::null_mut();
    }
    if dup != sys::SWITCH_TRUE {
        fault("it has a text parsed that the host would change and free");
    }
    // SAFETY: as this function asks of its caller.
    let text = unsafe { borrowed(text) }.unwrap_or_default().to_string_lossy();
    let Some(mut document) = parse(&text) else { return ptr::null_mut() };
    let handle = &raw mut *document.raw;
    DOCUMENTS.lock().push(document);
    handle
}

/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_child(xml: sys::switch_xml_t, name: *const c_char) -> sys::switch_xml_t {
    if xml.is_null() || failures::is_due("switch_xml_child") {
        return ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller.
    let name = unsafe { borrowed(name) }.unwrap_or_default().to_string_lossy();
    with(xml, |element| {
        let child = element.children.iter_mut().find(|child| child.name == name);
        child.map_or(ptr::null_mut(), |child| &raw mut *child.raw)
    })
}

/// # Safety
/// `name` and `value` are C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_set_attr_d(
    xml: sys::switch_xml_t,
    name: *const c_char,
    value: *const c_char,
) -> sys::switch_xml_t {
    if xml.is_null() || failures::is_due("switch_xml_set_attr_d") {
        return ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller.
    let name = unsafe { borrowed(name) }.unwrap_or_default().to_bytes().to_vec();
    // SAFETY: as above.
    let value = unsafe { borrowed(value) }.unwrap_or_default().to_bytes().to_vec();
    with(xml, |element| {
        element.attributes.retain(|(there, _)| *there != name);
        element.attributes.push((name, value));
    });
    xml
}
