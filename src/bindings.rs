//! The table of topics: what is bound in FreeSWITCH, which headers are read, what takes them, and when it is needed.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use crate::callbacks::directory::{DirectoryBinding, Params};
use crate::callbacks::event::{Event, EventBinding, EventId};
use crate::callbacks::log_listener::LogBinding;
use crate::dispatch;
use crate::event::event_type::{EventType, Source};
use crate::event::field::{Field, Texts};
use crate::event::headers::{Header, Headers};
use crate::settings::Settings;
use crate::sys;
use crate::target::Target;

/// Events that are bound besides those of the event types.
struct Topic {
    event: EventId,
    headers: Headers,
    handle: fn(&Target, &Texts<'_>),
    is_needed: fn(&Settings) -> bool,
}

/// What shows that a SUBSCRIBE or a MESSAGE was accepted was seen in FreeSWITCH 1.10.12 and 1.11.2.
static TOPICS: [Topic; 8] = [
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_TRAP, "TRAP"),
        headers: Headers::new(&[Header::new("trapped-signal", Field::Result)]),
        handle: dispatch::on_trap,
        is_needed: |_| true,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_RELOADXML, "RELOADXML"),
        headers: Headers::new(&[]),
        handle: |target, _| target.requests.reload_soon(),
        is_needed: |_| true,
    },
    Topic {
        event: EventId::Custom("sofia::gateway_state"),
        headers: Headers::new(&[
            Header::new("gateway", Field::AuthUser),
            Header::new("state", Field::Result),
            Header::new("register-network-ip", Field::Ip),
        ]),
        handle: dispatch::on_gateway_state,
        is_needed: Settings::tracks_known,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_PRESENCE_PROBE, "PRESENCE_PROBE"),
        headers: Headers::new(&[
            Header::new("sub-call-id", Field::CallId),
            Header::new("sip_profile", Field::Profile),
        ]),
        handle: dispatch::on_subscribed,
        is_needed: Settings::watches_confirmations,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_MESSAGE_QUERY, "MESSAGE_QUERY"),
        headers: Headers::new(&[
            Header::new("vm-sub-call-id", Field::CallId),
            Header::new("vm-sofia-profile", Field::Profile),
        ]),
        handle: dispatch::on_subscribed,
        is_needed: Settings::watches_confirmations,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_PHONE_FEATURE_SUBSCRIBE, "PHONE_FEATURE_SUBSCRIBE"),
        headers: Headers::new(&[
            Header::new("call-id", Field::CallId),
            Header::new("profile_name", Field::Profile),
        ]),
        handle: dispatch::on_subscribed,
        is_needed: Settings::watches_confirmations,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_CONFERENCE_DATA_QUERY, "CONFERENCE_DATA_QUERY"),
        headers: Headers::new(&[
            Header::new("call-id", Field::CallId),
            Header::new("sofia-profile", Field::Profile),
        ]),
        handle: dispatch::on_subscribed,
        is_needed: Settings::watches_confirmations,
    },
    Topic {
        event: EventId::Core(sys::SWITCH_EVENT_MESSAGE, "MESSAGE"),
        headers: Headers::new(&[
            Header::new("from_user", Field::FromUser),
            Header::new("from_sip_ip", Field::Ip),
            Header::new("from_sip_port", Field::Port),
            Header::new("sip_profile", Field::Profile),
        ]),
        handle: dispatch::on_message,
        is_needed: Settings::watches_confirmations,
    },
];

/// What is bound for an instance of the module; nothing any more once it has ended.
pub struct Bindings(Mutex<Option<Bound>>);

#[derive(Default)]
struct Bound {
    events: Vec<EventBinding>,
    log: Option<LogBinding>,
    directory: Option<DirectoryBinding>,
}

impl Default for Bindings {
    fn default() -> Bindings {
        Bindings(Mutex::new(Some(Bound::default())))
    }
}

impl Bindings {
    /// Binds what the target's settings need, changes over to `settings` by `apply`, and unbinds what they don't need.
    /// If anything can't be bound, all is as before.
    pub fn change(
        &self,
        target: &Arc<Target>,
        settings: &Settings,
        apply: impl FnOnce(),
    ) -> Result<(), String> {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = bound.as_mut().filter(|_| !target.requests.is_stopping());
        let bound = bound.ok_or("it is being unloaded")?;
        bound.extend(target, settings)?;
        apply();
        bound.reduce(settings);
        if bound.directory.is_some() {
            target.journal.with_memory(|now, memory| {
                memory.watch.iter_mut().for_each(|watch| watch.proofs.bound(now));
            });
        }
        Ok(())
    }

    /// Takes back all that FreeSWITCH was given. The lookups last: that waits for those in progress, which may be
    /// another module's HTTP requests.
    pub fn end(&self) {
        if let Some(Bound { events, log, directory }) =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            drop(events);
            drop(log);
            drop(directory);
        }
    }
}

impl Bound {
    fn extend(&mut self, target: &Arc<Target>, settings: &Settings) -> Result<(), String> {
        // Whatever fails, what was bound before it is unbound again.
        let mut new = Bound::default();
        for id in events(settings) {
            if !self.events.iter().any(|binding| binding.id() == id) {
                new.events.push(bind(id, target)?);
            }
        }
        if settings.reads_host_log() && self.log.is_none() {
            new.log = Some(LogBinding::bind(dispatch::on_warning)?);
        }
        if settings.watches_lookups() && self.directory.is_none() {
            let target = Arc::clone(target);
            let handler = Box::new(move |params: &Params<'_>| dispatch::on_lookup(&target, params));
            new.directory = Some(DirectoryBinding::bind(handler)?);
        }
        self.events.append(&mut new.events);
        self.log = self.log.take().or(new.log.take());
        self.directory = self.directory.take().or(new.directory.take());
        Ok(())
    }

    fn reduce(&mut self, settings: &Settings) {
        let needed = events(settings);
        self.events.retain(|binding| needed.contains(&binding.id()));
        self.log.take_if(|_| !settings.reads_host_log());
        self.directory.take_if(|_| !settings.watches_lookups());
    }
}

/// Every call ends with one.
const CALL_END: EventId = EventId::Core(sys::SWITCH_EVENT_CHANNEL_HANGUP_COMPLETE, "CHANNEL_HANGUP_COMPLETE");

/// The event of an event type, if it is read from one.
fn event_of(event_type: EventType) -> Option<(EventId, &'static Headers, Handle)> {
    match event_type.row().source {
        Source::Event(subclass, headers) => Some((EventId::Custom(subclass), headers, dispatch::on_event)),
        Source::CallEnd(headers) => Some((CALL_END, headers, dispatch::on_call_end)),
        _ => None,
    }
}

/// Takes an event of an event type.
type Handle = fn(&Target, EventType, Texts<'_>);

/// What has to be bound for these settings.
fn events(settings: &Settings) -> Vec<EventId> {
    let types = EventType::ALL.iter().filter(|event_type| settings.needs(**event_type));
    let of_types = types.filter_map(|event_type| event_of(*event_type)).map(|(id, ..)| id);
    let topics = TOPICS.iter().filter(|topic| (topic.is_needed)(settings)).map(|topic| topic.event);
    of_types.chain(topics).collect()
}

fn bind(id: EventId, target: &Arc<Target>) -> Result<EventBinding, String> {
    let target = Arc::clone(target);
    for event_type in EventType::ALL {
        if let Some((_, headers, handle)) = event_of(*event_type).filter(|(there, ..)| *there == id) {
            let handler = move |event: &Event<'_>| handle(&target, *event_type, event.texts(headers));
            return EventBinding::bind(id, Box::new(handler));
        }
    }
    let topic = TOPICS.iter().find(|topic| topic.event == id).ok_or("an event without a topic")?;
    EventBinding::bind(id, Box::new(move |event| (topic.handle)(&target, &event.texts(&topic.headers))))
}
