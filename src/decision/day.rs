//! A day of attack in a moment: rates and shapes as honeypots and test servers reported them in 2026. What is found,
//! and what is not and why, stands in docs/security.md.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::time::Now;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// 1,300 addresses, each with one guess at an account of its own, 25 seconds apart.
    Botnet(u32),
    /// One address, 150 attempts a second for ten minutes at names that mostly do not exist.
    Scan,
    /// Eleven addresses, 389 calls to foreign numbers without credentials, evenly over the day.
    Calls(u32),
    /// The same, each in one burst: as a dialer tries prefixes.
    Bursts(u32),
    /// 200 phones that log in each hour, and fail three times a day.
    Phone(u32),
    /// Ten phones that are new, and whose owner mistypes the password four times.
    NewPhone(u32),
}

impl Who {
    fn ip(self) -> IpAddr {
        let (net, host) = match self {
            Who::Botnet(number) => (1, number),
            Who::Scan => (2, 0),
            Who::Calls(number) => (3, number),
            Who::Bursts(number) => (4, number),
            Who::Phone(number) => (5, number),
            Who::NewPhone(number) => (6, number),
        };
        IpAddr::V4((0x0B00_0000 + (net << 16) + host).into())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Unknown(u32),
    Fail(u32),
    Nowhere,
    LogIn(u32),
}

fn day() -> BTreeMap<(i64, Who), Vec<Deed>> {
    let mut day: BTreeMap<(i64, Who), Vec<Deed>> = BTreeMap::new();
    let mut add = |at, who, deed| day.entry((at, who)).or_default().push(deed);
    for number in 0..1300 {
        add(i64::from(number) * 25 * SECOND, Who::Botnet(number), Deed::Fail(10_000 + number));
    }
    for number in 0..90_000 {
        let deed = if number % 100 == 99 { Deed::Fail(number) } else { Deed::Unknown(number) };
        add(60 * SECOND + i64::from(number) * SECOND / 150, Who::Scan, deed);
    }
    for number in 0..389 {
        let (source, turn) = (number % 11, number / 11);
        add(i64::from(number) * 24 * HOUR / 389, Who::Calls(source), Deed::Nowhere);
        add(i64::from(2 * source) * HOUR + i64::from(turn) * SECOND, Who::Bursts(source), Deed::Nowhere);
    }
    for number in 0..200 {
        for hour in 0..24 {
            add(hour * HOUR, Who::Phone(number), Deed::LogIn(number));
            if hour % 8 == 7 {
                add(hour * HOUR + SECOND, Who::Phone(number), Deed::Fail(number));
            }
        }
    }
    for number in 0..10 {
        for attempt in 0..4 {
            add(
                i64::from(number) * HOUR + attempt * 20 * SECOND,
                Who::NewPhone(number),
                Deed::Fail(500 + number),
            );
        }
        add(i64::from(number) * HOUR + 100 * SECOND, Who::NewPhone(number), Deed::LogIn(500 + number));
    }
    day
}

#[test]
fn a_day_of_attack_finds_the_scan_and_the_callers_and_none_of_the_phones() {
    let mut engine = Engine::new(Settings { attacker_after: 10, refuses: true, tracks_known: true });
    let (mut known, mut found, mut deeds) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for ((at, who), all) in day() {
        for deed in all {
            let now = Now { wall: 0, monotonic: 100 * HOUR + at };
            let source = Source::single(who.ip());
            let standing = if known.contains(&source) { Standing::Known } else { Standing::Stranger };
            let account = |number: u32| format!("{number}@switch.example");
            *deeds.entry(who).or_insert(0) += 1;
            let (text, what);
            match deed {
                Deed::LogIn(number) => {
                    engine.login(now, source, account(number).as_bytes(), None);
                    known.push(source);
                    continue;
                }
                Deed::Unknown(number) => {
                    text = account(number);
                    what = What::UnknownUser { account: text.as_bytes(), accepted: false };
                }
                Deed::Fail(number) => {
                    text = account(number);
                    what = What::Failure { account: text.as_bytes(), method: None };
                }
                Deed::Nowhere => what = What::Nowhere,
            }
            let event = Event { source, ip: who.ip(), standing, proven: false, what };
            if engine.add(now, &event).attacker.is_some() {
                found.entry(who).or_insert((at / SECOND, deeds[&who]));
            }
        }
    }
    println!("found, after so many seconds of the day and deeds of its own: {found:?}");
    let count = |is_it: fn(&Who) -> bool| found.keys().filter(|who| is_it(who)).count();
    assert_eq!(found[&Who::Scan], (60, 4), "the fourth name that does not exist");
    assert_eq!(count(|who| matches!(who, Who::Bursts(_))), 11);
    assert!((0..11).all(|number| found[&Who::Bursts(number)].1 == 10));
    assert_eq!(count(|who| matches!(who, Who::Phone(_) | Who::NewPhone(_))), 0);
    // One guess of an address at an account is what anybody may do.
    assert_eq!(count(|who| matches!(who, Who::Botnet(_))), 0);
    // 1.5 an hour, of which one is forgiven.
    assert_eq!(count(|who| matches!(who, Who::Calls(_))), 11);
    assert!((0..11).all(|number| (15..=35).contains(&found[&Who::Calls(number)].1)), "{found:?}");
}
