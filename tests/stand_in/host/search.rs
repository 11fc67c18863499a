//! Search functions, which are asked for a piece of the XML before the files are. As in the core, they are
//! asked in the order in which they were bound, under a lock that binding and unbinding take for writing:
//! unbinding waits for look-ups under way, and look-ups go on while it waits.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use crate::sys;
use parking_lot::{Mutex, RwLock};

use super::event::Event;
use super::failures::{self, Gate};

/// The sections and their bits, as the core has them.
const SECTIONS: [(&CStr, u32); 4] =
    [(c"configuration", 1), (c"directory", 2), (c"dialplan", 4), (c"phrases", 8)];

struct Binding {
    sections: u32,
    what: Function,
}

enum Function {
    /// The module's.
    Module { function: SearchFunction, user_data: *mut c_void },
    /// One that stands for xml_curl or Lua.
    Other(Arc<Other>),
}

type SearchFunction = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
    *mut sys::switch_event_t,
    *mut c_void,
) -> sys::switch_xml_t;

struct Other {
    name: String,
    answers: bool,
    gate: Gate,
}

// SAFETY: the host keeps the module's pointer and hands it back; what it means is the module's affair.
unsafe impl Send for Binding {}
// SAFETY: as above.
unsafe impl Sync for Binding {}

/// In the order in which they were bound. Boxed: their addresses are the handles that the module holds.
#[expect(clippy::vec_box)]
static BINDINGS: RwLock<Vec<Box<Binding>>> = RwLock::new(Vec::new());

/// Those that stand for other modules, to be released while look-ups hold the lock.
static OTHERS: Mutex<Vec<Arc<Other>>> = Mutex::new(Vec::new());

/// Holds up whoever opens `fail2ban.conf`, as a slow xml_curl does.
pub static SLOW_SETTINGS: Gate = Gate::open();

/// How many bindings the module has. Looks without waiting for who waits to write.
pub fn bindings() -> usize {
    let bindings = BINDINGS.read_recursive();
    bindings.iter().filter(|binding| matches!(binding.what, Function::Module { .. })).count()
}

/// Binds one that stands for another module: it answers or not, and may hold up every look-up until it is
/// released. The name is for [`unbind_other`] and [`release`].
///
/// # Errors
/// When a section is not known.
pub fn bind_other(
    name: &str,
    sections: &[&str],
    answers: bool,
    hangs: Option<Option<Duration>>,
) -> Result<(), String> {
    let bits = |section: &&str| {
        let known = SECTIONS.iter().find(|(known, _)| known.to_bytes() == section.as_bytes());
        known.map(|(_, bit)| *bit).ok_or_else(|| format!("no such section: {section}"))
    };
    let sections = sections.iter().map(bits).sum::<Result<u32, _>>()?;
    let other = Arc::new(Other { name: name.to_owned(), answers, gate: Gate::open() });
    if let Some(limit) = hangs {
        other.gate.close(limit);
    }
    OTHERS.lock().push(Arc::clone(&other));
    BINDINGS.write().push(Box::new(Binding { sections, what: Function::Other(other) }));
    Ok(())
}

/// Undoes [`bind_other`].
pub fn unbind_other(name: &str) {
    BINDINGS.write().retain(|binding| !matches!(&binding.what, Function::Other(other) if other.name == name));
    OTHERS.lock().retain(|other| other.name != name);
}

/// Lets the look-ups go on that this one holds up, and those to come.
///
/// # Errors
/// When there is none of that name.
pub fn release(name: &str) -> Result<(), String> {
    let others = OTHERS.lock();
    let other = others.iter().find(|other| other.name == name).ok_or("nothing is bound by that name")?;
    other.gate.release();
    Ok(())
}

/// How many look-ups it holds up.
pub fn waiting(name: &str) -> usize {
    OTHERS.lock().iter().filter(|other| other.name == name).map(|other| other.gate.waiting()).sum()
}

/// A look-up as sofia makes one: who answers it, `None` if the files do. Runs in the calling thread, which has
/// to be one of the host's.
///
/// # Errors
/// When the section is not known.
pub fn locate(
    section: &CStr,
    tag: &CStr,
    key: &CStr,
    value: &CStr,
    params: Option<&mut Event>,
) -> Result<Option<String>, String> {
    let known = SECTIONS.iter().find(|(known, _)| *known == section);
    let (_, bit) = known.ok_or_else(|| format!("no such section: {}", section.to_string_lossy()))?;
    let params = params.map_or(ptr::null_mut(), Event::as_ptr);
    let bindings = BINDINGS.read_recursive();
    for binding in bindings.iter().filter(|binding| binding.sections == 0 || binding.sections & bit != 0) {
        match &binding.what {
            Function::Module { function, user_data } => {
                // SAFETY: the texts and the event live through the call; the lock keeps the code in place.
                let answer = unsafe {
                    function(section.as_ptr(), tag.as_ptr(), key.as_ptr(), value.as_ptr(), params, *user_data)
                };
                if !answer.is_null() {
                    // SAFETY: the event lives through the call.
                    super::answer::take(answer, value, unsafe { super::event::last_value(params, c"ip") });
                    return Ok(Some("mod_fail2ban".to_owned()));
                }
            }
            Function::Other(other) => {
                other.gate.pass();
                if other.answers {
                    return Ok(Some(other.name.clone()));
                }
            }
        }
    }
    Ok(None)
}

/// What opening `fail2ban.conf` does before the files are looked at: asks the search functions.
pub(super) fn locate_settings(name: &CStr) {
    let bindings = BINDINGS.read_recursive();
    if name == c"fail2ban.conf" {
        SLOW_SETTINGS.pass();
    }
    drop(bindings);
    let _ = locate(c"configuration", c"configuration", c"name", name, None);
}

/// Binds `function` to sections, all of them if `sections` is 0; it is asked after those bound before.
///
/// # Safety
/// `binding` is NULL or may be written to; `function` may be called from any thread until it is unbound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_bind_search_function_ret(
    function: sys::switch_xml_search_function_t,
    sections: u32,
    user_data: *mut c_void,
    binding: *mut *mut sys::switch_xml_binding_t,
) -> sys::switch_status_t {
    let Some(function) = function else { super::fault("a search function that is NULL") };
    if failures::is_due("switch_xml_bind_search_function_ret") {
        return sys::SWITCH_STATUS_MEMERR;
    }
    let bound = Box::new(Binding { sections, what: Function::Module { function, user_data } });
    let handle = (&raw const *bound).cast_mut().cast();
    BINDINGS.write().push(bound);
    if !binding.is_null() {
        // SAFETY: as this function asks of its caller.
        unsafe { binding.write(handle) };
    }
    sys::SWITCH_STATUS_SUCCESS
}

/// Undoes one binding, once no look-up is under way. As in the core, the handle stays as it was.
///
/// # Safety
/// `binding` may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_xml_unbind_search_function(
    binding: *mut *mut sys::switch_xml_binding_t,
) -> sys::switch_status_t {
    // SAFETY: as this function asks of its caller.
    let handle: *const Binding = unsafe { binding.read() }.cast();
    let mut bindings = BINDINGS.write();
    match bindings.iter().position(|bound| ptr::eq(&raw const **bound, handle)) {
        Some(place) => {
            bindings.remove(place);
            sys::SWITCH_STATUS_SUCCESS
        }
        None => sys::SWITCH_STATUS_FALSE,
    }
}
