//! The hot path: what FreeSWITCH delivers becomes a checked value, and that goes into the journal.
//!
//! All of it runs on threads that the whole switch shares: nothing here waits, does I/O or allocates.
#![forbid(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::net::IpAddr;

use crate::callbacks::directory::Params;
use crate::callbacks::log_listener::{EVENT_SOCKET, Warning};
use crate::event::address;
use crate::event::event_type::EventType;
use crate::event::field::{Field, Texts};
use crate::event::host_line::{self, RejectedBy};
use crate::event::nowhere;
use crate::event::signal::{Signal, transport};
use crate::host::channel::Channel;
use crate::host::configuration;
use crate::host::refusal::{Answer, refusing_user};
use crate::memory::lookup::{Client, Lookup};
use crate::memory::pending::Sender;
use crate::memory::unknown::Unknown;
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
        let settings = target.journal.settings();
        // A proxy is never known.
        if !settings.is_proxy(ip) {
            let source = settings.source_of(ip);
            target.journal.with_memory(|now, memory| memory.gateway_registered(now, source, gateway));
        }
    }
}

/// Takes what shows that a profile has accepted a SUBSCRIBE.
pub fn on_subscribed(target: &Target, texts: &Texts<'_>) {
    let Some(call_id) = texts.get(Field::CallId) else { return };
    let settings = target.journal.settings();
    let profile = texts.get(Field::Profile);
    target.journal.with_memory(|now, memory| memory.confirmed_call(&settings, now, call_id, profile));
}

/// Takes what shows that a profile has accepted a MESSAGE.
pub fn on_message(target: &Target, texts: &Texts<'_>) {
    let Some((ip, _)) = texts.get(Field::Ip).and_then(address::parse) else { return };
    let settings = target.journal.settings();
    let from_user = if settings.is_proxy(ip) { texts.or_empty(Field::FromUser) } else { b"" };
    let (port, profile) = (texts.get(Field::Port), texts.get(Field::Profile));
    let sender = Sender { ip, port, profile, from_user };
    target.journal.with_memory(|now, memory| memory.confirmed_message(&settings, now, &sender));
}

/// Takes a warning of FreeSWITCH's log.
pub fn on_warning(warning: &Warning<'_>) {
    if Unknown::is_warning(warning.text) {
        if let Some(target) = target::current() {
            let settings = target.journal.settings();
            target.journal.unknown_user(&settings, warning.text);
        }
        return;
    }
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

/// Takes what FreeSWITCH looks up in its directory about credentials; the answer has FreeSWITCH refuse them.
pub fn on_lookup(target: &Target, params: &Params<'_>) -> Option<Answer> {
    let mut lookup = Lookup::from_texts(&params.texts)?;
    let settings = target.journal.settings();
    let ip = if settings.is_proxy(lookup.ip) {
        // The one between the proxy and FreeSWITCH proves nothing of the client.
        lookup.transport = None;
        lookup.from_user = params.texts.or_empty(Field::FromUser);
        let client = params.only(&settings.client_address_header).and_then(client_address);
        client.filter(|client| !settings.is_proxy(*client))
    } else {
        Some(lookup.ip)
    };
    // Of what a proxy passes on, the client is asked.
    lookup.client = ip.map(|ip| Client { ip, trusted: is_trusted(&settings, ip) });
    // Whatever fails, the search continues.
    let refuses = target.journal.looked_up(&settings, &lookup);
    if refuses { refusing_user(lookup.domain, lookup.address) } else { None }
}

/// The address that a proxy reports: one, and nothing else.
fn client_address(header: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(header).ok()?;
    text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Takes a report of the dialplan's: `fail2ban_report [points=N] REASON`.
pub fn on_report(channel: &Channel, data: &[u8]) {
    let Some(target) = target::current() else { return };
    // What sofia writes into the channel itself; a caller's headers get names of their own (sip_h_…).
    let address = channel.variable(c"sip_network_ip").or_else(|| channel.variable(c"network_addr"));
    let Some((ip, _)) = address.and_then(address::parse) else {
        return target.journal.count_skipped(&target.journal.settings(), EventType::Reported);
    };
    let (points, reason) = report_points(data.trim_ascii());
    let is_authorized = channel.variable(c"sip_authorized") == Some(b"true");
    let user = if is_authorized { channel.variable(c"sip_auth_username") } else { None };
    let mut signal = Signal::new(EventType::Reported, ip, user.unwrap_or_default());
    signal.set(Field::Reason, Some(reason));
    signal.set(Field::Port, channel.variable(c"sip_network_port").filter(|port| address::is_port(port)));
    signal.set(Field::Transport, channel.variable(c"sip_via_protocol").and_then(transport));
    signal.set(Field::Profile, channel.variable(c"sofia_profile_name"));
    signal.set(Field::CallId, channel.variable(c"sip_call_id"));
    signal.set(Field::Agent, channel.variable(c"sip_user_agent"));
    signal.set(Field::FromUser, channel.variable(c"caller_id_number"));
    signal.set(Field::ToUser, channel.variable(c"destination_number"));
    // Only now: FreeSWITCH takes the channel's lock for each of its variables.
    let settings = target.journal.settings();
    target.journal.report(&settings, &mut signal, Some(points), is_trusted(&settings, ip));
    // Wherever the call ends, it counts once.
    channel.set_variable(nowhere::REPORTED, c"true");
}

/// The points of a report, one unless it says so, and its reason.
fn report_points(data: &[u8]) -> (u32, &[u8]) {
    let rest = data.strip_prefix(b"points=").unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let points = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    match (points, rest.get(digits)) {
        (Some(points), None | Some(b' ')) => (points, rest[digits..].trim_ascii()),
        _ => (1, data),
    }
}

/// Records a report of an operator's; whether the address is trusted, and so was only counted.
pub fn report(target: &Target, ip: IpAddr, reason: &str) -> bool {
    let settings = target.journal.settings();
    let mut signal = Signal::new(EventType::Reported, ip, b"");
    signal.set(Field::Reason, Some(reason.as_bytes()));
    let trusted = is_trusted(&settings, ip);
    target.journal.report(&settings, &mut signal, None, trusted);
    trusted
}

fn record(target: &Target, settings: &Settings, signal: &mut Signal<'_>) {
    // Of what a proxy passes on, the client is asked, whom only the lookup shows.
    let trusted = !settings.is_proxy(signal.ip) && is_trusted(settings, signal.ip);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_reports_one_address_and_nothing_else() {
        for (header, ip) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 2001:db8::7 ", Some("2001:db8::7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("203.0.113.7, 203.0.113.8", None),
            ("203.0.113.7:5060", None),
            ("[2001:db8::7]", None),
            ("<203.0.113.7>", None),
            ("fe80::1%eth0", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(client_address(header.as_bytes()), ip.map(|ip| ip.parse().unwrap()), "{header}");
        }
        assert_eq!(client_address(b"203.0.113.7\xff"), None);
    }

    #[test]
    fn a_report_has_one_point_unless_it_says_so() {
        for (data, points, reason) in [
            ("calls to nowhere", 1, "calls to nowhere"),
            ("points=10 calls to nowhere", 10, "calls to nowhere"),
            ("points=0 x", 0, "x"),
            ("points=7", 7, ""),
            ("points= x", 1, "points= x"),
            ("points=7x y", 1, "points=7x y"),
            ("points=99999999999 x", 1, "points=99999999999 x"),
        ] {
            assert_eq!(report_points(data.as_bytes()), (points, reason.as_bytes()), "{data}");
        }
    }
}
