//! Events: reading one, and being bound to them.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBool;

use super::upward::{self, Target};
use super::{boundary, bytes, c_string};
use crate::headers::{self, Headers};
use crate::signal::Texts;
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
    /// An event of the host's own.
    Core(CoreEvent),
}

/// Events of the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreEvent {
    /// A signal that the host has caught.
    Trap,
    /// The host has read its XML again.
    ReloadXml,
    /// Someone has subscribed to someone's presence or dialogs.
    PresenceProbe,
    /// Someone has subscribed to an account's waiting messages.
    MessageQuery,
    /// A phone has subscribed to its features (as-feature-event).
    PhoneFeatureSubscribe,
    /// Someone has subscribed to a conference.
    ConferenceDataQuery,
    /// A MESSAGE was taken.
    Message,
}

impl CoreEvent {
    const ALL: [(CoreEvent, sys::switch_event_types_t); 7] = [
        (CoreEvent::Trap, sys::SWITCH_EVENT_TRAP),
        (CoreEvent::ReloadXml, sys::SWITCH_EVENT_RELOADXML),
        (CoreEvent::PresenceProbe, sys::SWITCH_EVENT_PRESENCE_PROBE),
        (CoreEvent::MessageQuery, sys::SWITCH_EVENT_MESSAGE_QUERY),
        (CoreEvent::PhoneFeatureSubscribe, sys::SWITCH_EVENT_PHONE_FEATURE_SUBSCRIBE),
        (CoreEvent::ConferenceDataQuery, sys::SWITCH_EVENT_CONFERENCE_DATA_QUERY),
        (CoreEvent::Message, sys::SWITCH_EVENT_MESSAGE),
    ];
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A CUSTOM event of this subclass.
    Custom(&'a [u8]),
    /// An event of the host's own.
    Core(CoreEvent),
}

impl<'a> Event<'a> {
    /// What the event is about, as far as the module knows.
    pub fn kind(&self) -> Option<Kind<'a>> {
        if self.raw.event_id == sys::SWITCH_EVENT_CUSTOM {
            // SAFETY: *delivery*; it is a C string or null.
            return unsafe { bytes(self.raw.subclass_name) }.map(Kind::Custom);
        }
        CoreEvent::ALL.iter().find(|(_, id)| *id == self.raw.event_id).map(|(event, _)| Kind::Core(*event))
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
                let name = unsafe { bytes(header.name) }.unwrap_or_default();
                name == wanted.name.as_bytes() || name.eq_ignore_ascii_case(wanted.name.as_bytes())
            });
            let Some(found) = found else { continue };
            let slot: &mut Option<&'a [u8]> = &mut texts[found.field as usize];
            if slot.is_none() {
                // SAFETY: *delivery*; it is a C string or null.
                *slot = unsafe { bytes(header.value) };
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
    }

    /// Whether the hashes that the host keeps beside the names are those that we expect: if so, the names need not
    /// be read, which would take two thirds more of the handler's time (`make bench`: 305 ns against 180). Found out once, from the first header that has one.
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
    topic: Topic,
    /// The host passes its address to the handler, so it has to live as long as the binding.
    _target: Arc<Target>,
}

// SAFETY: the node is the host's, which locks its list of bindings.
unsafe impl Send for EventBinding {}

impl EventBinding {
    /// Has the host deliver to `target` what `topic` says. Waits until no event is being delivered.
    pub fn bind(topic: Topic, target: &Arc<Target>) -> Result<EventBinding, String> {
        let (event, subclass) = match topic {
            Topic::Subclass(name) => (sys::SWITCH_EVENT_CUSTOM, Some(c_string(name))),
            Topic::Core(wanted) => {
                let found = CoreEvent::ALL.iter().find(|(event, _)| *event == wanted);
                (found.map_or(sys::SWITCH_EVENT_CUSTOM, |(_, id)| *id), None)
            }
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
                Arc::as_ptr(target).cast::<c_void>().cast_mut(),
                &mut node,
            )
        };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(EventBinding { node, topic, _target: Arc::clone(target) }),
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
    let Some(raw) = (unsafe { event.as_ref() }) else { return };
    // SAFETY: the address that the binding gave, whose target lives until it is unbound (*unbinding*).
    if let Some(target) = unsafe { raw.bind_user_data.cast::<Target>().as_ref() } {
        boundary::guard("the event handler", (), || upward::on_event(target, &Event { raw }));
    }
}
