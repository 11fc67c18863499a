//! Any events in any order, with a clock that may step back a little: nothing panics, tables stay within their
//! size, what is saved can be put back, and an attacker is refused.
#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::decision::{
    Answer, Engine, Event, Lookup, Method, Request, Settings, Source, Standing, Typed, What,
};
use mod_fail2ban::time::Now;

const SETTINGS: Settings = Settings { attacker_after: 10, refuses: true, tracks_known: true };

/// More than the clock steps back in one input, in microseconds.
const CLOCK_STEPS_BACK: i64 = 1_000_000;

thread_local! {
    // One engine for many inputs: to make one takes longer than an input.
    static ENGINE: RefCell<(Engine, i64)> = RefCell::new((Engine::new(SETTINGS), 0));
}

fuzz_target!(|input: &[u8]| {
    ENGINE.with_borrow_mut(|(engine, at)| {
        // Nothing of the input before matters any more.
        *at += 1_000_000 * 86_400 * 30;
        let mut input = input.iter().copied();
        while let Some(op) = input.next() {
            let mut byte = || input.next().unwrap_or_default();
            step(engine, at, op, byte(), byte(), byte());
        }
        check(engine, *at);
    });
});

fn step(engine: &mut Engine, at: &mut i64, op: u8, who: u8, account: u8, more: u8) {
    // A microsecond to twelve days, and sometimes back.
    *at += if more & 0x80 != 0 { -1000 } else { 1 << (more >> 1 & 0x3f).min(40) };
    let now = Now { wall: 0, monotonic: *at };
    let ip = match who & 1 {
        0 => IpAddr::from([203, 0, 113, who >> 3]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, (who >> 5).into(), 0, 0, 0, who.into()]),
    };
    let source = Source::of(ip, 64, |_| false);
    let standing = [Standing::Stranger, Standing::Stranger, Standing::Known, Standing::Trusted]
        [usize::from(who >> 1 & 3)];
    let method =
        [Method::Register, Method::Invite, Method::Subscribe, Method::Message][usize::from(account >> 6)];
    let name = [b'A' + (account & 0xf)].repeat(usize::from(account & 0x3f) * 10 + 1);
    let name = &name[..];
    let what = match op % 16 {
        0..4 => What::Failure { account: name, method: (more & 1 == 0).then_some(method) },
        4 | 5 => What::UnknownUser { account: name, accepted: more & 1 == 0 },
        6 => What::Unanswered,
        7 => What::Report { points: u32::from(account) << (more & 31) },
        8 => return engine.login(now, source, name, (more & 1 == 0).then_some(method)),
        9 => {
            engine.report(now, source, ip, standing);
            return;
        }
        10 => {
            engine.forgive(now, source);
            return;
        }
        11 => {
            engine.forgive_account(now, &Typed::new(&String::from_utf8_lossy(name)));
            return;
        }
        _ => {
            let port = Some(&b"5060"[..]);
            let accepted_here = standing == Standing::Known && more & 1 == 0;
            let lookup =
                Lookup { source, ip, port, standing, account: name, accepted_here, method, call_id: name };
            let is_exempt = accepted_here || standing == Standing::Trusted;
            match engine.lookup(now, &lookup) {
                Answer::LetThrough => {}
                Answer::Refuse(refusal) => {
                    assert!(!is_exempt);
                    assert!(
                        (1..=3_600_000_000 + CLOCK_STEPS_BACK).contains(&refusal.remaining),
                        "{refusal:?}"
                    );
                    if matches!(method, Method::Register | Method::Invite) {
                        assert!(engine.excuses(now, &Request { call_id: name, method, ip, port }));
                    }
                }
            }
            return;
        }
    };
    let outcome = engine.add(now, &Event { source, ip, standing, proven: more & 2 == 0, what });
    if let Some(found) = outcome.attacker {
        assert!(standing == Standing::Stranger && found.level > 0);
        let account = &b"other"[..];
        let lookup =
            Lookup { source, ip, port: None, standing, account, accepted_here: false, method, call_id: b"" };
        assert!(matches!(engine.lookup(now, &lookup), Answer::Refuse(_)));
    }
}

fn check(engine: &mut Engine, at: i64) {
    let now = Now { wall: 0, monotonic: at };
    let (attackers, _) = engine.attackers_page(now, 0);
    for attacker in attackers {
        let text = serde_json::to_string(&attacker).expect("it can be saved");
        let saved = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(attacker, saved);
        let tried = attacker.tried.iter().map(|tried| tried.points).sum::<u32>();
        assert!(tried <= attacker.points && attacker.proven_points <= attacker.points);
        engine.forgive(now, attacker.source);
        engine.restore(now, &saved, 0);
        let restored = engine.why(now, attacker.source).expect("it was put back");
        assert_eq!(restored.points, attacker.points);
        assert_eq!(restored.attack.map(|there| there.level), attacker.attack.map(|there| there.level));
    }
}
