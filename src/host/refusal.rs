//! A user whom FreeSWITCH refuses, to answer a lookup of credentials with.

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::sys;

/// What FreeSWITCH parses. The user has no name: FreeSWITCH finds it by its `ip` before it looks at names, and copies
/// it by writing it out and parsing that again, so nothing that a sender wrote may be in it.
///
/// Refused thrice over: sofia reads `sip-forbid-register` before it compares passwords; nobody knows the password; and
/// an empty one is not allowed. (A user without `<params>`, or one that may have an empty password, is accepted.) It is
/// not `cacheable`, so FreeSWITCH asks again each time.
const DOCUMENT: &CStr =
    c"<document type=\"freeswitch/xml\"><section name=\"directory\"><domain name=\"\"><user ip=\"\">\
    <params><param name=\"password\" value=\"\"/><param name=\"allow-empty-password\" value=\"false\"/>\
    <param name=\"sip-forbid-register\" value=\"true\"/></params></user></domain></section></document>";

/// A document of FreeSWITCH's own memory, freed unless FreeSWITCH takes it.
pub struct Answer(NonNull<sys::switch_xml>);

/// The answer that has sofia refuse whatever credentials it looks up, or `None` if it can't be made.
///
/// `domain` is the domain that FreeSWITCH looks for, and `ip` the address that sent the credentials, both as the lookup
/// has them: FreeSWITCH compares them as text. So behind a proxy `ip` is the proxy's, and ::ffff:10.0.0.1 is not
/// 10.0.0.1. With another domain FreeSWITCH would search its own files instead; with another address it finds nobody,
/// which refuses as well, but with the WARNING `Can't find user`.
///
/// The domain may be a realm that the sender has made up, and any text is answered: a directory that takes the domain
/// from the request (many scripts behind mod_xml_curl and mod_lua do) has its users in every domain, so that a realm
/// that was not answered would be the way round a refusal. FreeSWITCH only compares and copies it.
pub fn refusing_user(domain: &[u8], ip: &[u8]) -> Option<Answer> {
    if ip.is_empty() || !ip.iter().all(|&byte| is_of_an_address(byte)) {
        return None;
    }
    let [domain, ip] = [domain, ip].map(CString::new);
    let (domain, ip, password) = (domain.ok()?, ip.ok()?, password()?);
    let answer = Answer::parse(DOCUMENT)?;
    let place = answer.root().child(c"section")?.child(c"domain")?;
    place.set(c"name", &domain)?;
    let user = place.child(c"user")?;
    user.set(c"ip", &ip)?;
    user.child(c"params")?.child(c"param")?.set(c"value", &password)?;
    Some(answer)
}

/// An address's digits and separators, and a zone's name; nothing that means anything in XML.
fn is_of_an_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".:%-_".contains(&byte)
}

/// 128 random bits, in digits.
fn password() -> Option<CString> {
    let mut bits = [0_u8; 16];
    // SAFETY: it writes at most as many bytes as there are.
    let written = unsafe { libc::getrandom(bits.as_mut_ptr().cast(), bits.len(), libc::GRND_NONBLOCK) };
    let is_random = usize::try_from(written) == Ok(bits.len());
    is_random.then(|| CString::new(format!("{:032x}", u128::from_ne_bytes(bits))).ok())?
}

impl Answer {
    fn parse(text: &CStr) -> Option<Answer> {
        // SAFETY: with `dup` the host parses a copy, which it frees with the document.
        let root = unsafe { sys::switch_xml_parse_str_dynamic(text.as_ptr().cast_mut(), sys::SWITCH_TRUE) };
        NonNull::new(root).map(Answer)
    }

    fn root(&self) -> Element<'_> {
        Element(self.0, PhantomData)
    }

    /// The document, for FreeSWITCH to free.
    pub fn into_raw(self) -> sys::switch_xml_t {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the document was parsed above, and nobody else has it.
        unsafe { sys::switch_xml_free(self.0.as_ptr()) };
    }
}

/// An element of an answer.
struct Element<'a>(NonNull<sys::switch_xml>, PhantomData<&'a Answer>);

impl<'a> Element<'a> {
    /// The first child of a name.
    fn child(&self, name: &CStr) -> Option<Element<'a>> {
        // SAFETY: the answer, and so the element, is not freed yet; *strings*.
        let child = unsafe { sys::switch_xml_child(self.0.as_ptr(), name.as_ptr()) };
        NonNull::new(child).map(|child| Element(child, PhantomData))
    }

    /// Sets an attribute to copies of the texts.
    fn set(&self, name: &CStr, value: &CStr) -> Option<()> {
        // SAFETY: as above; the host duplicates both (its `switch_xml_set_attr` would keep the pointers).
        let element = unsafe { sys::switch_xml_set_attr_d(self.0.as_ptr(), name.as_ptr(), value.as_ptr()) };
        (!element.is_null()).then_some(())
    }
}
