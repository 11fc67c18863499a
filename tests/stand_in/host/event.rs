//! Events and who listens to them. As in the core, delivery holds a lock for reading that binding and
//! unbinding take for writing: once an unbinding has returned, its callback runs no more.

use std::ffi::{CStr, CString, c_char, c_ulong, c_void};
use std::ptr;

use crate::sys;
use parking_lot::RwLock;

use super::failures;

/// The events that can be fired here, and their numbers.
const EVENTS: [(&str, sys::switch_event_types_t); 10] = [
    ("CUSTOM", sys::SWITCH_EVENT_CUSTOM),
    ("CHANNEL_HANGUP_COMPLETE", sys::SWITCH_EVENT_CHANNEL_HANGUP_COMPLETE),
    ("MESSAGE", sys::SWITCH_EVENT_MESSAGE),
    ("PRESENCE_PROBE", sys::SWITCH_EVENT_PRESENCE_PROBE),
    ("MESSAGE_QUERY", sys::SWITCH_EVENT_MESSAGE_QUERY),
    ("TRAP", sys::SWITCH_EVENT_TRAP),
    ("RELOADXML", sys::SWITCH_EVENT_RELOADXML),
    ("PHONE_FEATURE_SUBSCRIBE", sys::SWITCH_EVENT_PHONE_FEATURE_SUBSCRIBE),
    ("CONFERENCE_DATA_QUERY", sys::SWITCH_EVENT_CONFERENCE_DATA_QUERY),
    // What goes with a look-up. Nobody binds to it.
    ("REQUEST_PARAMS", 35),
];

type Callback = unsafe extern "C" fn(*mut sys::switch_event_t);

struct Binding {
    event_id: sys::switch_event_types_t,
    subclass: Option<CString>,
    callback: Callback,
    user_data: *mut c_void,
}

// SAFETY: the host keeps the module's pointer and hands it back; what it means is the module's affair.
unsafe impl Send for Binding {}
// SAFETY: as above.
unsafe impl Sync for Binding {}

/// The newest first, as the core calls them. Boxed: their addresses are the handles that the module holds.
#[expect(clippy::vec_box)]
static BINDINGS: RwLock<Vec<Box<Binding>>> = RwLock::new(Vec::new());

/// How many there are.
pub fn bindings() -> usize {
    BINDINGS.read_recursive().len()
}

/// An event as the core builds it: a list of headers on the heap of C.
pub struct Event(Box<sys::switch_event_t>);

// SAFETY: all that it points to is its own, and goes where it goes.
unsafe impl Send for Event {}

impl Event {
    /// `Event-Name` says which event it is (CUSTOM unless told), `Event-Subclass` its subclass. Every other
    /// header is without its hash: the core takes zero for "not known", and a module has to manage with either.
    pub fn new(headers: &[(CString, CString)]) -> Result<Event, String> {
        Event::build(headers, |place| place % 2 == 1)
    }

    /// As the core itself makes events: with every hash.
    #[allow(dead_code, reason = "for benchmarks")]
    pub fn hashed(headers: &[(CString, CString)]) -> Result<Event, String> {
        Event::build(headers, |_| true)
    }

    fn build(headers: &[(CString, CString)], has_hash: impl Fn(usize) -> bool) -> Result<Event, String> {
        let named = |name: &str| headers.iter().find(|(header, _)| header.as_bytes() == name.as_bytes());
        // SAFETY: all zero bytes are an event without anything.
        let mut event = Event(Box::new(unsafe { std::mem::zeroed() }));
        event.0.event_id = match named("Event-Name").map(|(_, value)| value.as_bytes()) {
            None => sys::SWITCH_EVENT_CUSTOM,
            Some(name) => {
                let known = EVENTS.iter().find(|(known, _)| known.as_bytes() == name);
                known.ok_or_else(|| format!("no such event here: {}", name.escape_ascii()))?.1
            }
        };
        if let Some((_, subclass)) = named("Event-Subclass") {
            event.0.subclass_name = super::malloced(subclass);
        }
        for (place, (name, value)) in headers.iter().enumerate() {
            event.push(name, value, if has_hash(place) { hash(name) } else { 0 });
        }
        Ok(event)
    }

    fn push(&mut self, name: &CStr, value: &CStr, hash: c_ulong) {
        let header = Box::into_raw(Box::new(sys::switch_event_header_t {
            name: super::malloced(name),
            value: super::malloced(value),
            array: ptr::null_mut(),
            idx: 0,
            hash,
            next: ptr::null_mut(),
        }));
        if self.0.last_header.is_null() {
            self.0.headers = header;
        } else {
            // SAFETY: the last header lives as long as the event, and nobody else knows it yet.
            unsafe { (*self.0.last_header).next = header };
        }
        self.0.last_header = header;
    }

    /// The first of its headers.
    #[allow(dead_code, reason = "for benchmarks")]
    pub fn headers(&self) -> *const sys::switch_event_header_t {
        self.0.headers
    }

    /// As functions of the module get it.
    pub fn as_ptr(&mut self) -> *mut sys::switch_event_t {
        &raw mut *self.0
    }

    /// Calls every binding that the event matches.
    pub fn deliver(&mut self) {
        // SAFETY: the event is whole, and delivery holds the lock that keeps the callback's code in place.
        self.deliver_by(|callback, event| unsafe { callback(event) });
    }

    /// As [`Event::deliver`], with each call in the hands of `call`.
    pub fn deliver_by(&mut self, mut call: impl FnMut(Callback, *mut sys::switch_event_t)) {
        // As in the core: whoever waits to bind does not stop others from delivering.
        let bindings = BINDINGS.read_recursive();
        let id = self.0.event_id;
        for binding in bindings.iter().filter(|binding| binding.event_id == id) {
            if self.matches(binding) {
                self.0.bind_user_data = binding.user_data;
                call(binding.callback, &raw mut *self.0);
            }
        }
    }

    /// A binding with a subclass wants that one exactly; one without wants all.
    fn matches(&self, binding: &Binding) -> bool {
        // SAFETY: NULL, or a text that lives as long as the event.
        let subclass = unsafe { super::borrowed(self.0.subclass_name) };
        binding.subclass.is_none() || binding.subclass.as_deref() == subclass
    }
}

/// The value of an event's last header, if it has that name.
///
/// # Safety
/// `event` is NULL or an event that outlives the borrow.
pub(super) unsafe fn last_value<'a>(event: *const sys::switch_event_t, name: &CStr) -> Option<&'a CStr> {
    // SAFETY: as this function asks of its caller.
    let event = unsafe { event.as_ref() }?;
    // SAFETY: NULL or one of the event's headers.
    let last = unsafe { event.last_header.as_ref() }?;
    // SAFETY: a C string of the header's.
    let is_it = unsafe { super::borrowed(last.name) } == Some(name);
    // SAFETY: as above.
    if is_it { unsafe { super::borrowed(last.value) } } else { None }
}

impl Drop for Event {
    fn drop(&mut self) {
        let mut next = self.0.headers;
        while !next.is_null() {
            // SAFETY: every header came from `Box::into_raw` and is in one list only.
            let header = unsafe { Box::from_raw(next) };
            next = header.next;
            for text in [header.name, header.value] {
                // SAFETY: from `strdup`, and freed nowhere else.
                unsafe { libc::free(text.cast()) };
            }
        }
        // SAFETY: NULL or from `strdup`.
        unsafe { libc::free(self.0.subclass_name.cast()) };
    }
}

/// Does something as a handler of another module's would, while an event is being delivered.
#[allow(dead_code, reason = "not for benchmarks")]
pub fn while_delivering<T>(handler: impl FnOnce() -> T) -> T {
    let _bindings = BINDINGS.read_recursive();
    handler()
}

/// Tells that the configuration was read anew.
pub fn reloaded() {
    let event = Event::new(&[(c"Event-Name".to_owned(), c"RELOADXML".to_owned())]);
    event.expect("an event that is known").deliver();
}

/// The core's hash of a header's name, which disregards case.
pub fn hash(name: &CStr) -> c_ulong {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(33).wrapping_add(byte.to_ascii_lowercase().into());
    name.to_bytes().iter().fold(0, step).into()
}

/// Binds `callback` to an event, and to one subclass of it unless that is NULL.
///
/// # Safety
/// The texts are NULL or C strings, `node` is NULL or may be written to, and `callback` may be called from
/// any thread until it is unbound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_event_bind_removable(
    id: *const c_char,
    event: sys::switch_event_types_t,
    subclass_name: *const c_char,
    callback: sys::switch_event_callback_t,
    user_data: *mut c_void,
    node: *mut *mut sys::switch_event_node_t,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    if unsafe { super::borrowed(id) }.is_none() {
        super::fault("a binding without an id");
    }
    let Some(callback) = callback else { super::fault("a binding without a callback") };
    if !EVENTS.iter().any(|(_, number)| *number == event) {
        super::fault("a binding to an event that the stand-in does not fire");
    }
    if failures::is_due("switch_event_bind_removable") {
        return sys::SWITCH_STATUS_MEMERR;
    }
    // SAFETY: as this function asks of its caller.
    let subclass = unsafe { super::borrowed(subclass_name) }.map(CStr::to_owned);
    let binding = Box::new(Binding { event_id: event, subclass, callback, user_data });
    let handle = (&raw const *binding).cast_mut().cast();
    BINDINGS.write().insert(0, binding);
    if !node.is_null() {
        // SAFETY: as this function asks of its caller.
        unsafe { node.write(handle) };
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Undoes one binding, and puts NULL in its handle's place.
///
/// # Safety
/// `node` may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_event_unbind(
    node: *mut *mut sys::switch_event_node_t,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    let handle: *const Binding = unsafe { node.read() }.cast();
    if handle.is_null() {
        return sys::SWITCH_STATUS_FALSE;
    }
    let mut bindings = BINDINGS.write();
    let Some(place) = bindings.iter().position(|binding| ptr::eq(&raw const **binding, handle)) else {
        super::fault("an unbinding of what is not bound: the core would read memory that it has freed");
    };
    bindings.remove(place);
    drop(bindings);
    // SAFETY: as this function asks of its caller.
    unsafe { node.write(ptr::null_mut()) };
    sys::SWITCH_STATUS_SUCCESS
}
