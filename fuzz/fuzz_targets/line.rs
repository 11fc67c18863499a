//! Any bytes as an event's headers: the line has to read back as that event, in every format.
#![no_main]

#[path = "../../tests/support/reader.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::event::event_type::EventType;
use mod_fail2ban::event::field::{Field, Texts};
use mod_fail2ban::event::host_line;
use mod_fail2ban::event::signal::Signal;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    // An attacker has a line of its own kind.
    let event_type = match EventType::ALL[usize::from(*first) % EventType::COUNT] {
        EventType::Attacker => EventType::Reported,
        event_type => event_type,
    };
    if let Some(signal) = host_line::parse(rest, false).and_then(|rejection| rejection.signal) {
        reader::check(&signal);
    }

    // 0xFE, which UTF-8 never has, separates one header's value from the next.
    let mut values = rest.split(|byte| *byte == 0xFE);
    let mut texts = Texts::from(std::array::from_fn(|_| values.next()));
    if let Some(signal) = Signal::from_texts(event_type, texts) {
        reader::check(&signal);
    }
    texts.set(Field::Ip, Some(b"192.0.2.7"));
    texts.set(Field::Success, Some(b"0"));
    reader::check(&Signal::from_texts(event_type, texts).expect("an event with an address is a signal"));
});
