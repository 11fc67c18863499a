//! Events: reading one, and being bound to them.

use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

use once_cell::sync::OnceCell;

use super::{boundary, c_string};
use crate::signal::{self, Headers, Texts};
use crate::sys;

/// An event while it is delivered.
pub struct Event<'a> {
    raw: &'a sys::switch_event_t,
}

/// What the module binds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// CUSTOM events of one subclass.
    Subclass(&'static str),
    /// A signal that the host has caught.
    Trap,
    /// The host has read its XML again.
    ReloadXml,
}

impl<'a> Event<'a> {
    /// What the event is about, as far as the module knows.
    pub fn id(&self) -> sys::switch_event_types_t {
        self.raw.event_id
    }

    /// The subclass of a CUSTOM event.
    pub fn subclass(&self) -> Option<&'a [u8]> {
        // SAFETY: *delivery*; it is a C string or null.
        unsafe { text(self.raw.subclass_name) }
    }

    /// Looks these headers up, in one walk. As in the host, upper and lower case are the same, and the first
    /// header of a name counts.
    pub fn texts(&self, wanted: &Headers, texts: &mut Texts<'a>) {
        let mut missing = wanted.list.len();
        let hashed = self.is_hashed();
        let mut next = self.raw.headers;
        // SAFETY: *delivery*; the list ends in null.
        while let Some(header) = unsafe { next.as_ref() } {
            next = header.next;
            let tells = hashed && header.hash != 0;
            if tells && wanted.bits & Headers::bit(header.hash) == 0 {
                continue;
            }
            let found = wanted.list.iter().find(|wanted| {
                if tells && wanted.hash != header.hash {
                    return false;
                }
                // SAFETY: *delivery*; it is a C string or null.
                let name = unsafe { text(header.name) }.unwrap_or_default();
                name == wanted.name.as_bytes() || name.eq_ignore_ascii_case(wanted.name.as_bytes())
            });
            let Some(found) = found else { continue };
            let slot: &mut Option<&'a [u8]> = &mut texts[found.field as usize];
            if slot.is_none() {
                // SAFETY: *delivery*; it is a C string or null.
                *slot = unsafe { text(header.value) };
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
    }

    /// Whether the hashes that the host keeps beside the names are those that we expect: if so, they spare us
    /// to read the names. Found out once, from the first header that has one.
    fn is_hashed(&self) -> bool {
        static HASHED: OnceCell<bool> = OnceCell::new();
        if let Some(hashed) = HASHED.get() {
            return *hashed;
        }
        let mut next = self.raw.headers;
        // SAFETY: *delivery*; the list ends in null.
        while let Some(header) = unsafe { next.as_ref() } {
            next = header.next;
            // SAFETY: *delivery*; it is a C string or null.
            if let (1.., Some(name)) = (header.hash, unsafe { text(header.name) }) {
                return *HASHED.get_or_init(|| signal::hash(name) == header.hash);
            }
        }
        false
    }
}

/// # Safety
/// `string` must be null or point to a C string that lives for `'a`.
unsafe fn text<'a>(string: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: as the caller has promised.
    NonNull::new(string.cast_mut()).map(|string| unsafe { CStr::from_ptr(string.as_ptr()) }.to_bytes())
}

/// A binding that lasts until it is dropped.
pub struct EventBinding {
    node: *mut sys::switch_event_node_t,
    topic: Topic,
}

// SAFETY: the node is the host's, which locks its list of bindings.
unsafe impl Send for EventBinding {}

impl EventBinding {
    /// Has the host deliver what `topic` says.
    pub fn bind(topic: Topic) -> Result<EventBinding, String> {
        let (event, subclass) = match topic {
            Topic::Subclass(name) => (sys::SWITCH_EVENT_CUSTOM, Some(c_string(name))),
            Topic::Trap => (sys::SWITCH_EVENT_TRAP, None),
            Topic::ReloadXml => (sys::SWITCH_EVENT_RELOADXML, None),
        };
        let subclass = subclass.as_ref().map_or(ptr::null(), |name| name.as_ptr());
        let mut node = ptr::null_mut();
        // SAFETY: *strings* (the host copies them); *module life*: dropping unbinds before shutdown returns.
        let status = unsafe {
            sys::switch_event_bind_removable(
                crate::NAME.as_ptr(),
                event,
                subclass,
                Some(on_event),
                ptr::null_mut(),
                &mut node,
            )
        };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(EventBinding { node, topic }),
            status => Err(format!("FreeSWITCH does not let {topic:?} be bound: status {status}")),
        }
    }

    /// What is bound.
    pub fn topic(&self) -> Topic {
        self.topic
    }
}

impl Drop for EventBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the node is the one that binding gave, and is used no more.
        unsafe { sys::switch_event_unbind(&mut self.node) };
    }
}

unsafe extern "C" fn on_event(event: *mut sys::switch_event_t) {
    // SAFETY: *delivery*; the host passes an event that lives for the call, or none.
    if let Some(raw) = unsafe { event.as_ref() } {
        boundary::guard("the event handler", (), || crate::event_handler(&Event { raw }));
    }
}
