//! Seeing what the host looks up in its directory, without ever answering.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use super::boundary;
use super::event::Event;
use super::upward::{self, Target};
use crate::headers::{Header, Headers};
use crate::signal::{Field, Texts};
use crate::sys;

/// What sofia asks the directory about credentials. Neither the nonce nor the response is read.
///
/// Others let strangers shape what they ask: mod_verto passes a client's `loginParams` on, and sofia, where it looks
/// for a caller without credentials, the headers of an INVITE, each under its own name. But FreeSWITCH appends `key`,
/// `user`, `domain` and then `ip`, the last only where sofia's check of credentials asks (`sofia_reg_parse_auth`, the
/// one of those that tells an address). So only parameters that end in `ip` are sofia's own, and there the sender
/// shapes no name but such that begin with `X-`. (Read in the sources of FreeSWITCH 1.10.12 and 1.11.2.)
static CREDENTIALS: Headers = Headers::new(&[
    Header::new("action", Field::Action),
    Header::new("sip_profile", Field::Profile),
    Header::new("sip_user_agent", Field::Agent),
    Header::new("sip_auth_username", Field::AuthUser),
    Header::new("sip_auth_realm", Field::Realm),
    Header::new("sip_via_protocol", Field::Transport),
    Header::new("sip_call_id", Field::CallId),
    Header::new("sip_auth_method", Field::Method),
    Header::new("client_port", Field::Port),
    Header::new("domain", Field::Domain),
    Header::new(LAST, Field::Ip),
]);

const LAST: &str = "ip";

/// Sees look-ups until it is dropped.
pub struct DirectoryBinding {
    binding: *mut sys::switch_xml_binding_t,
    /// The host passes its address to the search function, so it has to live as long as the binding.
    _target: Arc<Target>,
}

// SAFETY: the binding is the host's, which locks its list.
unsafe impl Send for DirectoryBinding {}

impl DirectoryBinding {
    /// Has the host show `target` its look-ups. Waits until no look-up is under way.
    pub fn bind(target: &Arc<Target>) -> Result<DirectoryBinding, String> {
        let mut binding = ptr::null_mut();
        // SAFETY: *module life*; dropping unbinds before the module's shutdown returns.
        let status = unsafe {
            sys::switch_xml_bind_search_function_ret(
                Some(on_look_up),
                sys::SWITCH_XML_SECTION_DIRECTORY,
                Arc::as_ptr(target).cast::<c_void>().cast_mut(),
                &mut binding,
            )
        };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(DirectoryBinding { binding, _target: Arc::clone(target) }),
            status => Err(format!("FreeSWITCH's look-ups can't be seen: status {status}")),
        }
    }
}

impl Drop for DirectoryBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the binding is the one that was made, and is used no more.
        unsafe { sys::switch_xml_unbind_search_function(&mut self.binding) };
    }
}

/// Always null: the search goes on, as if nobody had been asked.
unsafe extern "C" fn on_look_up(
    _section: *const c_char,
    _tag: *const c_char,
    _key: *const c_char,
    _value: *const c_char,
    params: *mut sys::switch_event_t,
    target: *mut c_void,
) -> sys::switch_xml_t {
    // SAFETY: the host passes parameters that live for the call, or none.
    let params = unsafe { params.as_ref() };
    // SAFETY: the address that the binding gave, whose target lives until it is unbound (*unbinding*).
    let target = unsafe { target.cast::<Target>().as_ref() };
    if let (Some(params), Some(target)) = (params, target) {
        boundary::guard("the look-up", (), || {
            let params = Event::from_params(params);
            if params.last_name().is_some_and(|name| name.eq_ignore_ascii_case(LAST.as_bytes())) {
                let mut texts: Texts<'_> = [None; Field::COUNT];
                params.texts(&CREDENTIALS, &mut texts);
                upward::on_look_up(target, &texts);
            }
        });
    }
    ptr::null_mut()
}
