//! Events: reading one, and being bound to them.

use std::ffi::c_void;
use std::ptr;

use once_cell::race::OnceBool;

use crate::event::field::Texts;
use crate::event::headers::{self, Headers};
use crate::host::{boundary, bytes, c_string};
use crate::sys;

/// An event while it is delivered.
pub struct Event<'a> {
    raw: &'a sys::switch_event_t,
}

/// Which events are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventId {
    /// CUSTOM events of one subclass.
    Custom(&'static str),
    /// An event of the host's own, with its name.
    Core(sys::switch_event_types_t, &'static str),
}

impl EventId {
    /// Its name in FreeSWITCH.
    pub fn name(self) -> &'static str {
        match self {
            EventId::Custom(name) | EventId::Core(_, name) => name,
        }
    }
}

/// Takes an event.
pub type Handler = Box<dyn Fn(&Event<'_>) + Send + Sync>;

impl<'a> Event<'a> {
    /// Reads these headers, in one walk. As in the host, upper and lower case are the same, and the first header of a
    /// name counts.
    pub fn texts(&self, wanted: &Headers) -> Texts<'a> {
        let mut texts = Texts::default();
        let mut missing = wanted.list.len();
        let hashed = self.is_hashed();
        let mut next = self.raw.headers;
        // SAFETY: *delivery*; the list ends in null.
        while let Some(header) = unsafe { next.as_ref() } {
            next = header.next;
            let has_hash = hashed && header.hash != 0;
            if has_hash && wanted.bits & Headers::bit(header.hash) == 0 {
                continue;
            }
            let found = wanted.list.iter().find(|wanted| {
                if has_hash && wanted.hash != header.hash {
                    return false;
                }
                // SAFETY: *delivery*; it is a C string or null.
                let name = unsafe { bytes(header.name) }.unwrap_or_default();
                name == wanted.name.as_bytes() || name.eq_ignore_ascii_case(wanted.name.as_bytes())
            });
            let Some(found) = found else { continue };
            if texts.get(found.field).is_none() {
                // SAFETY: *delivery*; it is a C string or null.
                texts.set(found.field, unsafe { bytes(header.value) });
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        texts
    }

    /// Whether the hashes that the host keeps beside the names are those that we expect: if so, the names need not
    /// be read, which would take two thirds more of the handler's time (`make bench`: 305 ns against 180). Found out once,
    /// from the first header that has one.
    fn is_hashed(&self) -> bool {
        static HASHED: OnceBool = OnceBool::new();
        if let Some(hashed) = HASHED.get() {
            return hashed;
        }
        let mut next = self.raw.headers;
        // SAFETY: *delivery*; the list ends in null.
        while let Some(header) = unsafe { next.as_ref() } {
            next = header.next;
            // SAFETY: *delivery*; it is a C string or null.
            if let (1.., Some(name)) = (header.hash, unsafe { bytes(header.name) }) {
                return HASHED.get_or_init(|| headers::hash(name) == header.hash);
            }
        }
        false
    }

    /// The value of a header, if there is exactly one of that name.
    pub(super) fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = None;
        let mut next = self.raw.headers;
        // SAFETY: *delivery*; the list ends in null.
        while let Some(header) = unsafe { next.as_ref() } {
            next = header.next;
            // SAFETY: *delivery*; it is a C string or null.
            let there = unsafe { bytes(header.name) }.unwrap_or_default();
            if there.eq_ignore_ascii_case(name.as_bytes()) {
                if found.is_some() {
                    return None;
                }
                // SAFETY: *delivery*; it is a C string or null.
                found = Some(unsafe { bytes(header.value) }.unwrap_or_default());
            }
        }
        found
    }

    /// The name of the last header.
    pub(super) fn last_name(&self) -> Option<&'a [u8]> {
        // SAFETY: *delivery*; null or one of the event's headers.
        let last = unsafe { self.raw.last_header.as_ref() }?;
        // SAFETY: *delivery*; it is a C string or null.
        unsafe { bytes(last.name) }
    }

    /// The parameters of a look-up, which the host keeps in an event.
    pub(super) fn from_params(raw: &'a sys::switch_event_t) -> Event<'a> {
        Event { raw }
    }
}

/// A binding that lasts until it is dropped.
pub struct EventBinding {
    node: *mut sys::switch_event_node_t,
    id: EventId,
    /// The host passes its address to the callback, so it has to live as long as the binding.
    _handler: Box<Handler>,
}

// SAFETY: the node is the host's, which locks its list of bindings.
unsafe impl Send for EventBinding {}

impl EventBinding {
    /// Has the host deliver events to `handler`. Waits until no event is being delivered.
    pub fn bind(id: EventId, handler: Handler) -> Result<EventBinding, String> {
        let (event, subclass) = match id {
            EventId::Custom(name) => (sys::SWITCH_EVENT_CUSTOM, Some(c_string(name))),
            EventId::Core(event, _) => (event, None),
        };
        let subclass = subclass.as_ref().map_or(ptr::null(), |name| name.as_ptr());
        let handler = Box::new(handler);
        let mut node = ptr::null_mut();
        // SAFETY: *strings* (the host copies them); *module life*: dropping unbinds before shutdown returns.
        let status = unsafe {
            sys::switch_event_bind_removable(
                crate::NAME.as_ptr(),
                event,
                subclass,
                Some(on_event),
                (&raw const *handler).cast::<c_void>().cast_mut(),
                &mut node,
            )
        };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(EventBinding { node, id, _handler: handler }),
            status => Err(format!("cannot bind {}: status {status}", id.name())),
        }
    }

    /// What is bound.
    pub fn id(&self) -> EventId {
        self.id
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
    let Some(raw) = (unsafe { event.as_ref() }) else { return };
    // SAFETY: the address that the binding gave, which lives until it is unbound (*unbinding*).
    if let Some(handler) = unsafe { raw.bind_user_data.cast::<Handler>().as_ref() } {
        boundary::guard("the event handler", (), || handler(&Event { raw }));
    }
}
