//! The hot path: what the host delivers becomes a checked value, and that goes into the journal.
//!
//! All of it runs on threads that the whole switch shares: nothing here waits, does I/O or allocates.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::IpAddr;

use crate::acl_line::{self, RejectedBy};
use crate::address;
use crate::credentials::LookUp;
use crate::event_type::{EventType, GATEWAY_STATE};
use crate::headers::{Header, Headers};
use crate::host::channel::Channel;
use crate::host::configuration;
use crate::host::event::{CoreEvent, Event, Kind};
use crate::module::{self, Instance};
use crate::settings::Settings;
use crate::signal::{Field, RawSignal, Signal, Texts, transport};

/// What shows that a SUBSCRIBE was accepted, and where it tells the call and the profile: seen in FreeSWITCH 1.10.12
/// and 1.11.2.
pub const CONFIRMATIONS: [(CoreEvent, &Headers); 4] = [
    (
        CoreEvent::PresenceProbe,
        &Headers::new(&[
            Header::new("sub-call-id", Field::CallId),
            Header::new("sip_profile", Field::Profile),
        ]),
    ),
    (
        CoreEvent::MessageQuery,
        &Headers::new(&[
            Header::new("vm-sub-call-id", Field::CallId),
            Header::new("vm-sofia-profile", Field::Profile),
        ]),
    ),
    (
        CoreEvent::PhoneFeatureSubscribe,
        &Headers::new(&[Header::new("call-id", Field::CallId), Header::new("profile_name", Field::Profile)]),
    ),
    (
        CoreEvent::ConferenceDataQuery,
        &Headers::new(&[Header::new("call-id", Field::CallId), Header::new("sofia-profile", Field::Profile)]),
    ),
];

/// What shows that a MESSAGE was accepted.
static MESSAGE: Headers = Headers::new(&[
    Header::new("from_sip_ip", Field::Ip),
    Header::new("from_sip_port", Field::Port),
    Header::new("sip_profile", Field::Profile),
]);

static GATEWAY: Headers = Headers::new(&[
    Header::new("gateway", Field::AuthUser),
    Header::new("state", Field::Result),
    Header::new("register-network-ip", Field::Ip),
]);

static TRAPPED_SIGNAL: Headers = Headers::new(&[Header::new("trapped-signal", Field::Result)]);

/// All that a `classic` line tells.
static USER_AND_ADDRESS: Headers =
    Headers::new(&[Header::new("to-user", Field::ToUser), Header::new("network-ip", Field::Ip)]);

/// Takes an event of those that are bound.
pub fn on_event(instance: &Instance, event: &Event<'_>) {
    match event.kind() {
        Some(Kind::Custom(subclass)) => on_custom_event(instance, event, subclass),
        Some(Kind::Core(CoreEvent::Trap)) => on_trap(instance, event),
        Some(Kind::Core(CoreEvent::ReloadXml)) => instance.keeper.request_reload(),
        Some(Kind::Core(CoreEvent::Message)) => {
            let texts = read(event, &MESSAGE);
            if let Some((ip, _)) = texts[Field::Ip as usize].and_then(address::parse) {
                instance.journal.with_memory(|now, memory| {
                    let (port, profile) = (texts[Field::Port as usize], texts[Field::Profile as usize]);
                    memory.confirmed_message(now, ip, port, profile);
                });
            }
        }
        Some(Kind::Core(confirmation)) => {
            let headers = CONFIRMATIONS.iter().find(|(event, _)| *event == confirmation);
            let texts = headers.map(|(_, headers)| read(event, headers)).unwrap_or_default();
            if let Some(call_id) = texts[Field::CallId as usize] {
                let profile = texts[Field::Profile as usize];
                instance.journal.with_memory(|_, memory| memory.confirmed_call(call_id, profile));
            }
        }
        None => {}
    }
}

fn on_trap(instance: &Instance, event: &Event<'_>) {
    if read(event, &TRAPPED_SIGNAL)[Field::Result as usize] == Some(b"HUP") {
        instance.journal.reopen();
    }
}

fn on_custom_event(instance: &Instance, event: &Event<'_>, subclass: &[u8]) {
    let Some((event_type, headers)) = EventType::of_subclass(subclass) else {
        if subclass == GATEWAY_STATE.as_bytes() {
            on_gateway_state(instance, event);
        }
        return;
    };
    // Held until the signal is recorded, so that one event is told by one set of settings.
    let settings = instance.journal.settings();
    let is_brief =
        !settings.needs_all_headers() && headers.list.iter().any(|header| header.field == Field::ToUser);
    let mut raw = RawSignal::new(event_type);
    event.texts(if is_brief { &USER_AND_ADDRESS } else { headers }, raw.texts());
    match raw.validate() {
        Some(signal) => record(instance, &settings, signal),
        None => instance.journal.count_skipped(&settings, event_type),
    }
}

fn on_gateway_state(instance: &Instance, event: &Event<'_>) {
    let texts = read(event, &GATEWAY);
    let address = texts[Field::Ip as usize].and_then(address::parse);
    if let (Some(b"REGED"), Some((ip, _))) = (texts[Field::Result as usize], address) {
        let gateway = texts[Field::AuthUser as usize].unwrap_or_default();
        instance.journal.with_memory(|now, memory| memory.gateway_registered(now, ip, gateway));
    }
}

/// Takes a line of FreeSWITCH's log, from a file that may tell of ACLs.
pub fn on_log_line(instance: &Instance, line: &[u8], from_event_socket: bool) {
    let Some(rejection) = acl_line::parse(line, from_event_socket) else { return };
    let settings = instance.journal.settings();
    // FreeSWITCH fires a failure for it as well.
    let is_told_twice = rejection.by == RejectedBy::User && settings.logs(EventType::RegisterFailure);
    if is_told_twice || !settings.sofia_acls.is_certain(&rejection) {
        return;
    }
    match rejection.signal {
        Some(mut signal) => record(instance, &settings, &mut signal),
        None => instance.journal.count_skipped(&settings, EventType::AclReject),
    }
}

/// Takes what FreeSWITCH looks up in its directory about credentials.
pub fn on_look_up(instance: &Instance, texts: &Texts<'_>) {
    if let Some(look_up) = LookUp::from_texts(texts) {
        let settings = instance.journal.settings();
        instance.journal.looked_up(&look_up, is_trusted(&settings, look_up.ip));
    }
}

/// Takes a report of the dialplan's: `fail2ban_report REASON`.
pub fn on_report(channel: &Channel, reason: &[u8]) {
    let Some(instance) = module::current() else { return };
    // What sofia writes into the channel itself; a caller's headers get names of their own (sip_h_…).
    let address = channel.variable(c"sip_network_ip").or_else(|| channel.network_address());
    let Some((ip, _)) = address.and_then(address::parse) else {
        return instance.journal.count_skipped(&instance.journal.settings(), EventType::Reported);
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
    signal.set(Field::FromUser, channel.caller());
    signal.set(Field::ToUser, channel.callee());
    // Only now: FreeSWITCH takes the channel's lock for each of its variables.
    record(&instance, &instance.journal.settings(), &mut signal);
}

/// Records a report of an operator's; whether the address is trusted, and so was only counted.
pub fn report(instance: &Instance, ip: IpAddr, reason: &str) -> bool {
    let settings = instance.journal.settings();
    let mut signal = Signal::new(EventType::Reported, ip, b"");
    signal.set(Field::Reason, Some(reason.as_bytes()));
    let trusted = is_trusted(&settings, ip);
    instance.journal.record(&settings, &mut signal, trusted);
    trusted
}

fn record(instance: &Instance, settings: &Settings, signal: &mut Signal<'_>) {
    let trusted = is_trusted(settings, signal.ip);
    instance.journal.record(settings, signal, trusted);
}

/// Asks FreeSWITCH for its named lists, under a lock of FreeSWITCH's.
fn is_trusted(settings: &Settings, ip: IpAddr) -> bool {
    let trusted = &settings.trusted;
    trusted.holds(ip) || (!trusted.lists.is_empty() && is_in_a_list(settings, ip))
}

fn is_in_a_list(settings: &Settings, ip: IpAddr) -> bool {
    // On the stack: the handler allocates nothing.
    let mut text = [0; 64];
    let is_written = write!(&mut text[..63], "{ip}").is_ok();
    let ip = std::ffi::CStr::from_bytes_until_nul(&text);
    is_written
        && ip.is_ok_and(|ip| settings.trusted.lists.iter().any(|list| configuration::acl_allows(list, ip)))
}

#[inline]
fn read<'a>(event: &Event<'a>, headers: &Headers) -> Texts<'a> {
    let mut texts = [None; Field::COUNT];
    event.texts(headers, &mut texts);
    texts
}
