//! What a test has the host do to the module: fail a call that it makes, or take long over its settings.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The functions that can be made to fail.
pub const CAN_FAIL: [&str; 10] = [
    "switch_loadable_module_create_module_interface",
    "switch_loadable_module_create_interface",
    "switch_event_bind_removable",
    "switch_log_bind_logger",
    "switch_xml_bind_search_function_ret",
    "switch_xml_open_cfg",
    "switch_xml_parse_str_dynamic",
    "switch_xml_child",
    "switch_xml_set_attr_d",
    "_switch_core_db_handle",
];

/// The call that is to fail: of which function, and how many are to succeed before.
static NEXT: Mutex<Option<(&str, usize)>> = Mutex::new(None);

/// Has the `nth` call of a function from now on fail, and no other; `None` takes it back.
///
/// # Errors
/// When there is no such function among those that can fail.
pub fn fail(call: Option<(&str, usize)>) -> Result<(), String> {
    *NEXT.lock() = match call {
        None => None,
        Some((name, nth)) => {
            let known = CAN_FAIL.into_iter().find(|known| *known == name);
            let known = known.ok_or_else(|| format!("{name} can't be made to fail, only {CAN_FAIL:?}"))?;
            Some((known, nth.saturating_sub(1)))
        }
    };
    Ok(())
}

/// Whether a failure that was asked for has yet to happen.
pub fn is_pending() -> bool {
    NEXT.lock().is_some()
}

/// Whether this call of a function is the one that has to fail.
pub(super) fn is_due(function: &str) -> bool {
    let mut next = NEXT.lock();
    match next.as_mut() {
        Some((name, before)) if *name == function => {
            if *before == 0 {
                *next = None;
                return true;
            }
            *before -= 1;
            false
        }
        _ => false,
    }
}

/// A place where a thread of the host's is held up, until it is released or for some time.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// `Some(None)`: until they are released.
    closed: Option<Option<Duration>>,
    /// How often those who wait were released.
    released: usize,
    waiting: usize,
}

impl Gate {
    /// One that is open.
    pub const fn open() -> Gate {
        Gate { state: Mutex::new(State { closed: None, released: 0, waiting: 0 }), changed: Condvar::new() }
    }

    /// Whoever comes from now on waits: so long, or until it is released.
    pub fn close(&self, limit: Option<Duration>) {
        self.state.lock().closed = Some(limit);
    }

    /// Lets everybody through.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.closed = None;
        state.released += 1;
        self.changed.notify_all();
    }

    /// How many are held up.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Passes, or is held up.
    pub fn pass(&self) {
        let mut state = self.state.lock();
        let Some(limit) = state.closed else { return };
        let before = state.released;
        state.waiting += 1;
        let is_held = |state: &mut State| state.released == before;
        match limit {
            None => self.changed.wait_while(&mut state, is_held),
            Some(limit) => drop(self.changed.wait_while_for(&mut state, is_held, limit)),
        }
        state.waiting -= 1;
    }
}
