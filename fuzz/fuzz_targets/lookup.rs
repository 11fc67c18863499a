//! Any parameters of a lookup, among other lookups and events: nothing panics, and no trusted address is refused.
#![no_main]

use std::cell::RefCell;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::event::event_type::EventType;
use mod_fail2ban::event::field::{Field, Texts};
use mod_fail2ban::event::signal::Signal;
use mod_fail2ban::memory::Memory;
use mod_fail2ban::memory::lookup::{Client, Lookup};
use mod_fail2ban::settings::Settings;
use mod_fail2ban::time::Now;

fn settings() -> Settings {
    Settings {
        known_for: std::time::Duration::from_secs(86_400),
        refuse_attackers: true,
        ..Settings::defaults(Path::new("/"))
    }
}

thread_local! {
    // To make them takes longer than an input.
    static STATE: RefCell<(Settings, Memory, i64)> = RefCell::new((settings(), Memory::new(&settings()), 0));
}

fuzz_target!(|input: &[u8]| {
    STATE.with_borrow_mut(|(settings, memory, at)| {
        for chunk in input.split(|byte| *byte == 0xFF) {
            *at += 100_000;
            let now = Now { wall: *at, monotonic: *at };
            // 0xFE, which UTF-8 never has, separates one value from the next.
            let mut values = chunk.split(|byte| *byte == 0xFE);
            let mut texts = Texts::from(std::array::from_fn(|_| values.next()));
            if texts.get(Field::Ip).is_none_or(|ip| ip.len() < 7) {
                texts.set(Field::Ip, Some(b"203.0.113.7"));
            }
            let trusted = chunk.len() % 5 == 0;
            texts.set(Field::Action, Some(b"sip_auth"));
            if let Some(mut lookup) = Lookup::from_texts(&texts) {
                lookup.client = Some(Client { ip: lookup.ip, trusted });
                assert!(!(memory.looked_up(settings, now, &lookup) && trusted));
            }
            let event_type = EventType::ALL[chunk.len() % EventType::COUNT];
            if let Some(signal) = Signal::from_texts(event_type, texts) {
                memory.observe(settings, now, &signal, trusted);
            }
            memory.announcements.take();
        }
    });
});
