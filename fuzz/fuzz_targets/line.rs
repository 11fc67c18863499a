//! Any bytes as an event's headers: the line has to read back as that event, in every format.
#![no_main]

#[path = "../../tests/support/reader.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::signal::{Field, Kind, Signal, Texts};

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let kind = Kind::ALL[usize::from(*first) % Kind::COUNT];
    let _ = Signal::from_log(rest).map(|signal| signal.map(|signal| reader::check(&signal)));

    // 0xFE, which UTF-8 never has, separates one header's value from the next.
    let mut values = rest.split(|byte| *byte == 0xFE);
    let mut texts: Texts<'_> = std::array::from_fn(|_| values.next());
    if let Ok(signal) = (Signal { texts, ..Signal::unsettled(kind) }).settle() {
        reader::check(signal);
    }
    texts[Field::Ip as usize] = Some(b"192.0.2.7");
    texts[Field::Success as usize] = Some(b"0");
    let mut signal = Signal { texts, ..Signal::unsettled(kind) };
    reader::check(signal.settle().expect("an event with an address is a signal"));
});
