//! Documents that the module makes, to answer a lookup with. As in the core, a document is one piece of memory that is
//! freed with its root; unlike there, what is wrong with it is a fault at once.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use crate::sys;
use parking_lot::Mutex;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::failures;

/// An element. Its address is its handle.
struct Element {
    name: CString,
    attributes: Vec<(CString, CString)>,
    // Boxed, so that addresses stay.
    #[allow(clippy::vec_box)]
    children: Vec<Box<Element>>,
}

/// The documents that are not freed.
static DOCUMENTS: Mutex<Vec<Box<Element>>> = Mutex::new(Vec::new());

/// How many there are.
pub fn handles() -> usize {
    DOCUMENTS.lock().len()
}

/// Frees a document, if this is the root of one.
pub(super) fn free(xml: sys::switch_xml_t) -> bool {
    let mut documents = DOCUMENTS.lock();
    let found = documents.iter().position(|root| ptr::eq(&raw const **root, xml.cast()));
    found.map(|index| documents.swap_remove(index)).is_some()
}

/// Takes the module's answer to a lookup, as FreeSWITCH would: frees it, and says whether sofia would refuse the
/// credentials of a sender at this address.
pub(super) fn refuses(xml: sys::switch_xml_t, domain: &CStr, ip: &CStr) -> bool {
    let mut documents = DOCUMENTS.lock();
    let found = documents.iter().position(|root| ptr::eq(&raw const **root, xml.cast()));
    let Some(index) = found else { super::fault("an answer that is no document of the host's") };
    let root = documents.swap_remove(index);
    let param = |params: &Element, name: &CStr| {
        let of_name = |param: &&Box<Element>| param.attribute(c"name") == Some(name);
        params.children.iter().find(of_name).and_then(|param| param.attribute(c"value").map(CStr::to_owned))
    };
    let params = root
        .child(c"section", c"name", c"directory")
        .and_then(|section| section.child(c"domain", c"name", domain))
        .and_then(|domain| domain.child(c"user", c"ip", ip))
        .and_then(|user| user.children.iter().find(|child| child.name.as_c_str() == c"params"));
    params.is_some_and(|params| {
        let has_password = param(params, c"password").is_some_and(|password| !password.is_empty());
        let forbids = param(params, c"sip-forbid-register").is_some_and(|value| value.as_c_str() == c"true");
        let empty = param(params, c"allow-empty-password").is_some_and(|value| value.as_c_str() == c"false");
        has_password && forbids && empty
    })
}

impl Element {
    fn of(tag: &BytesStart<'_>) -> Option<Element> {
        let text = |text: &str| CString::new(text).ok();
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            attributes.push((text(attribute.key.as_ref())?, text(&value)?));
        }
        Some(Element { name: text(tag.name().as_ref())?, attributes, children: Vec::new() })
    }

    fn parse(text: &str) -> Option<Box<Element>> {
        let mut reader = quick_xml::Reader::from_str(text);
        let mut open: Vec<Box<Element>> = Vec::new();
        loop {
            let closed = match reader.read_event().ok()? {
                Event::Start(tag) => {
                    open.push(Box::new(Element::of(&tag)?));
                    None
                }
                Event::Empty(tag) => Some(Box::new(Element::of(&tag)?)),
                Event::End(_) => Some(open.pop()?),
                Event::Eof => return None,
                _ => None,
            };
            if let Some(closed) = closed {
                match open.last_mut() {
                    Some(parent) => parent.children.push(closed),
                    None => return Some(closed),
                }
            }
        }
    }

    fn attribute(&self, name: &CStr) -> Option<&CStr> {
        self.attributes.iter().find(|(known, _)| known.as_c_str() == name).map(|(_, value)| value.as_c_str())
    }

    fn child(&self, name: &CStr, attribute: &CStr, value: &CStr) -> Option<&Element> {
        let is_it = |child: &&Box<Element>| {
            child.name.as_c_str() == name && child.attribute(attribute) == Some(value)
        };
        self.children.iter().find(is_it).map(|child| &**child)
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
        super::fault("a text of the module's that the host would free");
    }
    // SAFETY: as this function asks of its caller.
    let text = unsafe { super::borrowed(text) }.unwrap_or_default().to_string_lossy().into_owned();
    let Some(mut root) = Element::parse(&text) else { return ptr::null_mut() };
    let handle = (&raw mut *root).cast();
    DOCUMENTS.lock().push(root);
    handle
}

/// # Safety
/// `xml` is an element of a document that is not freed, and `name` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_child(xml: sys::switch_xml_t, name: *const c_char) -> sys::switch_xml_t {
    if failures::is_due("switch_xml_child") {
        return ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(name) }.unwrap_or_default();
    // SAFETY: as this function asks of its caller.
    let element = unsafe { &mut *xml.cast::<Element>() };
    let found = element.children.iter_mut().find(|child| child.name.as_c_str() == name);
    found.map_or(ptr::null_mut(), |child| (&raw mut **child).cast())
}

/// # Safety
/// As above, and `value` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_set_attr_d(
    xml: sys::switch_xml_t,
    name: *const c_char,
    value: *const c_char,
) -> sys::switch_xml_t {
    if failures::is_due("switch_xml_set_attr_d") {
        return ptr::null_mut();
    }
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(name) }.unwrap_or_default().to_owned();
    // SAFETY: as this function asks of its caller.
    let value = unsafe { super::borrowed(value) }.unwrap_or_default().to_owned();
    // SAFETY: as this function asks of its caller.
    let element = unsafe { &mut *xml.cast::<Element>() };
    element.attributes.retain(|(known, _)| *known != name);
    element.attributes.push((name, value));
    xml
}
