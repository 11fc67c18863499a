//! Any text as the file of what is remembered: nothing panics, and what is read is put back within limits.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::decision::{Engine, Settings};
use mod_fail2ban::memory::state_file::{self, Record};
use mod_fail2ban::time::Now;

thread_local! {
    // To make one takes longer than an input.
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new(Settings {
        attacker_after: 10,
        refuses: true,
        tracks_known: true,
    }));
}

fuzz_target!(|input: &str| {
    let whole = format!("{{\"mod_fail2ban_state\":1}}\n{input}\n{{\"end\":{}}}\n", input.lines().count());
    for text in [input, &whole] {
        for record in state_file::parse(text).unwrap_or_default() {
            if let Record::Source(wall, report) = record {
                let now = Now { wall: 0, monotonic: 1_000_000 };
                ENGINE.with_borrow_mut(|engine| {
                    engine.restore(now, &report, 0_i64.saturating_sub(wall).max(0));
                    engine.why(now, report.source);
                    engine.forgive(now, report.source);
                });
            }
        }
    }
});
