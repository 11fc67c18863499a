//! Whether FreeSWITCH is up.

use crate::sys;

/// Whether FreeSWITCH has started and does not shut down: only then may its database be asked, and only then have the
/// modules been loaded that may serve its configuration. (`switch_core_ready`; not while all calls are paused either.)
pub fn is_ready() -> bool {
    // SAFETY: it takes nothing and reads a flag.
    unsafe { sys::switch_core_ready() != sys::SWITCH_FALSE }
}
