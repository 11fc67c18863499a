//! The hot path: what FreeSWITCH delivers becomes a checked value, and that goes into the journal.
//!
//! All of it runs on threads that the whole switch shares: nothing here waits, does I/O or allocates.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::net::IpAddr;

use crate::callbacks::log_listener::{EVENT_SOCKET, Warning};
use crate::event::address;
use crate::event::event_type::EventType;
use crate::event::field::{Field, Texts};
use crate::event::host_line::{self, RejectedBy};
use crate::event::nowhere;
use crate::event::signal::{Signal, transport};
use crate::host::channel::Channel;
use crate::host::configuration;
use crate::memory::lookup::Lookup;
use crate::settings::Settings;
use crate::target::{self, Target};

/// Takes an event of an event type.
pub fn on_event(target: &Target, event_type: EventType, texts: Texts<'_>) {
    // Held until the signal is recorded, so that one set of settings applies to one event.
    let settings = target.journal.settings();
    match Signal::from_texts(event_type, texts) {
        Some(mut signal) => record(target, &settings, &mut signal),
        None => target.journal.count_skipped(&settings, event_type),
    }
}

/// Takes the end of a call.
pub fn on_call_end(target: &Target, event_type: EventType, mut texts: Texts<'_>) {
    if !nowhere::is_call_to_nowhere(&texts) {
        return;
    }
    // Nobody is logged in.
    texts.set(Field::User, Some(b""));
    texts.set(Field::Transport, texts.get(Field::Transport).and_then(transport));
    let settings = target.journal.settings();
    match Signal::from_texts(event_type, texts) {
        Some(signal) if is_let_in(&settings, &signal) => {}
        Some(mut signal) => record(target, &settings, &mut signal),
        None => target.journal.count_skipped(&settings, event_type),
    }
}

/// Takes a signal that FreeSWITCH has caught.
pub fn on_trap(target: &Target, texts: &Texts<'_>) {
    if texts.get(Field::Result) == Some(b"HUP") {
        target.journal.reopen();
    }
}

/// Takes the state of a gateway: this switch itself has registered with it.
pub fn on_gateway_state(target: &Target, texts: &Texts<'_>) {
    let address = texts.get(Field::Ip).and_then(address::parse);
    if let (Some(b"REGED"), Some((ip, _))) = (texts.get(Field::Result), address) {
        let gateway = texts.or_empty(Field::AuthUser);
        target.journal.with_memory(|now, memory| memory.gateway_registered(now, ip, gateway));
    }
}

/// Takes what shows that a profile has accepted a SUBSCRIBE.
pub fn on_subscribed(target: &Target, texts: &Texts<'_>) {
    let Some(call_id) = texts.get(Field::CallId) else { return };
    target.journal.with_memory(|now, memory| {
        if let Some(watch) = &mut memory.watch {
            watch.confirmed_call(now, call_id, texts.get(Field::Profile));
        }
    });
}

/// Takes what shows that a profile has accepted a MESSAGE.
pub fn on_message(target: &Target, texts: &Texts<'_>) {
    let Some((ip, _)) = texts.get(Field::Ip).and_then(address::parse) else { return };
    target.journal.with_memory(|now, memory| {
        if let Some(watch) = &mut memory.watch {
            watch.confirmed_message(now, ip, texts.get(Field::Port), texts.get(Field::Profile));
        }
    });
}

/// Takes a warning of FreeSWITCH's log.
pub fn on_warning(warning: &Warning<'_>) {
    let Some(rejection) = host_line::parse(warning.text, warning.file == EVENT_SOCKET) else { return };
    let Some(target) = target::current() else { return };
    let settings = target.journal.settings();
    // FreeSWITCH fires a failure for it as well.
    let is_repeated = rejection.by == RejectedBy::User && settings.logs(EventType::RegisterFailure);
    let list = rejection.signal.as_ref().map_or(&b""[..], |signal| signal.text_or_empty(Field::Acl));
    if is_repeated || !settings.sofia_acls.is_certain(rejection.by, list) {
        return;
    }
    match rejection.signal {
        Some(mut signal) => record(&target, &settings, &mut signal),
        None => target.journal.count_skipped(&settings, EventType::AclReject),
    }
}

/// Takes what FreeSWITCH looks up in its directory about credentials.
pub fn on_lookup(target: &Target, texts: &Texts<'_>) {
    if let Some(lookup) = Lookup::from_texts(texts) {
        let settings = target.journal.settings();
        target.journal.looked_up(&settings, &lookup, is_trusted(&settings, lookup.ip));
    }
}

/// Takes a report of the dialplan's: `fail2ban_report REASON`.
pub fn on_report(channel: &Channel, reason: &[u8]) {
    let Some(target) = target::current() else { return };
    // What sofia writes into the channel itself; a caller's headers get names of their own (sip_h_…).
    let address = channel.variable(c"sip_network_ip").or_else(|| channel.variable(c"network_addr"));
    let Some((ip, _)) = address.and_then(address::parse) else {
        return target.journal.count_skipped(&target.journal.settings(), EventType::Reported);
    };
    let is_authorized = channel.variable(c"sip_authorized") == Some(b"true");
    let user = if is_authorized { channel.variable(c"sip_auth_username") } else { None };
    let mut signal = Signal::new(EventType::Reported, ip, user.unwrap_or_default());
    signal.set(Field::Reason, Some(reason.trim_ascii()));
    signal.set(Field::Port, channel.variable(c"sip_network_port").filter(|port| address::is_port(port)));
    signal.set(Field::Transport, channel.variable(c"sip_via_protocol").and_then(transport));
    signal.set(Field::Profile, channel.variable(c"sofia_profile_name"));
    signal.set(Field::CallId, channel.variable(c"sip_call_id"));
    signal.set(Field::Agent, channel.variable(c"sip_user_agent"));
    signal.set(Field::FromUser, channel.variable(c"caller_id_number"));
    signal.set(Field::ToUser, channel.variable(c"destination_number"));
    // Only now: FreeSWITCH takes the channel's lock for each of its variables.
    record(&target, &target.journal.settings(), &mut signal);
    // Wherever the call ends, it counts once.
    channel.set_variable(nowhere::REPORTED, c"true");
}

/// Records a report of an operator's; whether the address is trusted, and so was only counted.
pub fn report(target: &Target, ip: IpAddr, reason: &str) -> bool {
    let settings = target.journal.settings();
    let mut signal = Signal::new(EventType::Reported, ip, b"");
    signal.set(Field::Reason, Some(reason.as_bytes()));
    let trusted = is_trusted(&settings, ip);
    target.journal.record(&settings, &mut signal, trusted);
    trusted
}

fn record(target: &Target, settings: &Settings, signal: &mut Signal<'_>) {
    let trusted = is_trusted(settings, signal.ip);
    if target.journal.record(settings, signal, trusted) {
        target.requests.ask();
    }
}

/// Asks FreeSWITCH for its named lists, under a lock of FreeSWITCH's.
fn is_trusted(settings: &Settings, ip: IpAddr) -> bool {
    let trusted = &settings.trusted;
    trusted.holds(ip) || is_in_a_list(trusted.lists.iter().map(CString::as_c_str), ip)
}

/// Whether an ACL of the call's profile has let it in. FreeSWITCH shows that only where the profile asks others for
/// credentials.
fn is_let_in(settings: &Settings, call: &Signal<'_>) -> bool {
    is_in_a_list(settings.sofia_acls.inbound_lists(call.text_or_empty(Field::Profile)), call.ip)
}

fn is_in_a_list<'a>(lists: impl Iterator<Item = &'a CStr>, ip: IpAddr) -> bool {
    let mut lists = lists.peekable();
    if lists.peek().is_none() {
        return false;
    }
    // On the stack: the handler allocates nothing.
    let mut text = [0; 64];
    let is_written = write!(&mut text[..63], "{ip}").is_ok();
    let ip = CStr::from_bytes_until_nul(&text);
    is_written && ip.is_ok_and(|ip| lists.any(|list| configuration::acl_allows(list, ip)))
}
