//! What handlers and commands hold: where signals go, and what may be asked of the keeper.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::log::journal::Journal;
use crate::requests::Requests;

/// What handlers and commands hold.
pub struct Target {
    /// What is recorded and written.
    pub journal: Journal,
    /// What is asked of the keeper.
    pub requests: Requests,
    /// Since when the module has been loaded.
    pub loaded_at: Instant,
}

/// For what FreeSWITCH calls without passing anything of the module's: commands, applications, log listeners.
static CURRENT: Mutex<Option<Arc<Target>>> = Mutex::new(None);

/// The target of the module that is loaded; `None` while it is being loaded or unloaded.
pub fn current() -> Option<Arc<Target>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Makes it the current one, or nobody.
pub fn set_current(target: Option<Arc<Target>>) {
    let old = std::mem::replace(&mut *CURRENT.lock().unwrap_or_else(PoisonError::into_inner), target);
    // Not under the lock: it may be the last reference.
    drop(old);
}
