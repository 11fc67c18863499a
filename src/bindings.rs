//! What the module has bound in FreeSWITCH.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::dispatch::CONFIRMATIONS;
use crate::host::directory::DirectoryBinding;
use crate::host::event::{CoreEvent, EventBinding, Topic};
use crate::host::log::LogBinding;
use crate::module::Instance;
use crate::settings::Settings;

/// What is bound.
#[derive(Default)]
pub struct Bindings {
    events: Vec<EventBinding>,
    log: Option<LogBinding>,
    directory: Option<DirectoryBinding>,
}

impl Bindings {
    /// Binds what these settings need and is not bound yet.
    pub fn extend(&mut self, settings: &Settings, instance: &Arc<Instance>) -> Result<(), String> {
        // Whatever fails, what was bound before it is unbound again.
        let mut new = Bindings::default();
        for topic in topics(settings) {
            if !self.events.iter().any(|binding| binding.topic() == topic) {
                new.events.push(EventBinding::bind(topic, instance)?);
            }
        }
        if settings.reads_host_log() && self.log.is_none() {
            new.log = Some(LogBinding::bind(instance)?);
        }
        if settings.watches_look_ups() && self.directory.is_none() {
            new.directory = Some(DirectoryBinding::bind(instance)?);
        }
        self.events.append(&mut new.events);
        self.log = self.log.take().or(new.log.take());
        self.directory = self.directory.take().or(new.directory.take());
        Ok(())
    }

    /// Takes back all that FreeSWITCH was given. The look-ups last: that waits for those under way, which may be
    /// another module's HTTP requests.
    pub fn end(self) {
        let Bindings { events, log, directory } = self;
        drop(events);
        drop(log);
        drop(directory);
    }

    /// Unbinds what these settings don't need.
    pub fn reduce(&mut self, settings: &Settings) {
        let topics = topics(settings);
        self.events.retain(|binding| topics.contains(&binding.topic()));
        self.log.take_if(|_| !settings.reads_host_log());
        self.directory.take_if(|_| !settings.watches_look_ups());
    }
}

/// What has to be bound for these settings.
fn topics(settings: &Settings) -> Vec<Topic> {
    let mut topics: Vec<Topic> = settings.subclasses().into_iter().map(Topic::Subclass).collect();
    topics.extend([Topic::Core(CoreEvent::Trap), Topic::Core(CoreEvent::ReloadXml)]);
    if settings.watches_confirmations() {
        topics.extend(CONFIRMATIONS.map(|(event, _)| Topic::Core(event)));
        topics.push(Topic::Core(CoreEvent::Message));
    }
    topics
}
