//! Seeing what the host looks up in its directory, and answering to have credentials refused.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::event::Event;
use crate::event::field::{Field, Texts};
use crate::event::headers::{Header, Headers};
use crate::host::refusal::Answer;
use crate::host::{boundary, bytes};
use crate::sys;

/// What sofia asks the directory about credentials. Neither the nonce nor the response is read.
///
/// Others let strangers shape what they ask: mod_verto passes a client's `loginParams` on, and sofia, where it looks
/// for a caller without credentials, the headers of an INVITE, each under its own name. But FreeSWITCH appends `key`,
/// `user`, `domain` and then `ip`, the last only where the asker shows an address: sofia's check of credentials
/// (`sofia_reg_parse_auth`), whose names the sender shapes only where they begin with `X-`, and mod_voicemail's lookups,
/// which have another `action` or none and names of FreeSWITCH's alone. (Read in the sources of FreeSWITCH 1.10.12 and
/// 1.11.2.)
static CREDENTIALS: Headers = Headers::new(&[
    Header::new("action", Field::Action),
    Header::new("sip_profile", Field::Profile),
    Header::new("sip_user_agent", Field::Agent),
    Header::new("sip_auth_username", Field::AuthUser),
    Header::new("sip_auth_realm", Field::Realm),
    Header::new("sip_via_protocol", Field::Transport),
    Header::new("sip_from_user", Field::FromUser),
    Header::new("sip_call_id", Field::CallId),
    Header::new("sip_auth_method", Field::Method),
    Header::new("client_port", Field::Port),
    Header::new(LAST, Field::Ip),
]);

const LAST: &str = "ip";

/// What sofia asks about credentials.
pub struct Params<'a> {
    event: Event<'a>,
    /// What is always asked.
    pub texts: Texts<'a>,
}

impl<'a> Params<'a> {
    /// The value of a header of the request that begins with `X-`, if there is exactly one of that name.
    pub fn only(&self, name: &str) -> Option<&'a [u8]> {
        self.event.only(name)
    }
}

/// The requests whose credentials can be refused.
const METHODS: [&[u8]; 4] = [b"REGISTER", b"INVITE", b"SUBSCRIBE", b"MESSAGE"];

/// Takes what sofia asks about credentials, and answers it or lets the search go on. Its answer to what is no check of
/// credentials of a REGISTER, INVITE, SUBSCRIBE or MESSAGE is thrown away.
pub type Handler = Box<dyn Fn(&Params<'_>) -> Option<Answer> + Send + Sync>;

/// Sees lookups until it is dropped.
pub struct DirectoryBinding {
    binding: *mut sys::switch_xml_binding_t,
    /// The host passes its address to the search function, so it has to live as long as the binding.
    _handler: Box<Handler>,
}

// SAFETY: the binding is the host's, which locks its list.
unsafe impl Send for DirectoryBinding {}

impl DirectoryBinding {
    /// Has the host show `handler` its lookups. Waits until no lookup is in progress.
    pub fn bind(handler: Handler) -> Result<DirectoryBinding, String> {
        let handler = Box::new(handler);
        let mut binding = ptr::null_mut();
        // SAFETY: *module life*; dropping unbinds before the module's shutdown returns.
        let status = unsafe {
            sys::switch_xml_bind_search_function_ret(
                Some(on_lookup),
                sys::SWITCH_XML_SECTION_DIRECTORY,
                (&raw const *handler).cast::<c_void>().cast_mut(),
                &mut binding,
            )
        };
        match status {
            sys::SWITCH_STATUS_SUCCESS => Ok(DirectoryBinding { binding, _handler: handler }),
            status => Err(format!("cannot bind to directory lookups: status {status}")),
        }
    }
}

impl Drop for DirectoryBinding {
    fn drop(&mut self) {
        // SAFETY: *unbinding*; the binding is the one that was made, and is used no more.
        unsafe { sys::switch_xml_unbind_search_function(&mut self.binding) };
    }
}

/// Null: the search continues, as if nobody had been asked.
unsafe extern "C" fn on_lookup(
    _section: *const c_char,
    _tag: *const c_char,
    _key: *const c_char,
    value: *const c_char,
    params: *mut sys::switch_event_t,
    handler: *mut c_void,
) -> sys::switch_xml_t {
    // SAFETY: the host passes parameters that live for the call, or none.
    let params = unsafe { params.as_ref() };
    // SAFETY: the address that the binding gave, which lives until it is unbound (*unbinding*).
    let handler = unsafe { handler.cast::<Handler>().as_ref() };
    // SAFETY: a C string that lives for the call, or null.
    let domain = unsafe { bytes(value) };
    let (Some(params), Some(handler)) = (params, handler) else { return ptr::null_mut() };
    let answer = boundary::guard("the directory lookup", None, || {
        let event = Event::from_params(params);
        if !event.last_name().is_some_and(|name| name.eq_ignore_ascii_case(LAST.as_bytes())) {
            return None;
        }
        let mut texts = event.texts(&CREDENTIALS);
        // The parameter of that name may differ: an event takes "ARRAY::…" apart.
        texts.set(Field::Domain, domain);
        handler(&Params { event, texts }).filter(|_| can_be_refused(&texts))
    });
    answer.map_or(ptr::null_mut(), Answer::into_raw)
}

fn can_be_refused(texts: &Texts<'_>) -> bool {
    texts.get(Field::Action) == Some(b"sip_auth")
        && texts.get(Field::Method).is_some_and(|method| METHODS.contains(&method))
}
