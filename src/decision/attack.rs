//! How bad an attacker is, and for how long it is refused.
#![forbid(unsafe_code)]

use super::record::Record;

/// Further points that make the next level.
const NEXT_LEVEL: i64 = 3;
const MINUTE: i64 = 60_000_000;
const LONGEST_PERIOD: i64 = 60 * MINUTE;
/// For how long an attacker is one after its last level, in microseconds.
pub const DAY: i64 = 24 * 60 * MINUTE;
/// A lookup that was let through after a period has its verdict within this time, or never.
const VERDICT: i64 = 10_000_000;

/// What makes a source an attacker. Times are in microseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// From 1 on.
    pub level: u32,
    /// When it became an attacker.
    pub since: i64,
    /// When it came to this level.
    pub level_since: i64,
    /// Points towards the next level.
    pub fresh: i64,
    /// Attempts that were refused.
    pub refused: u64,
    /// The first refused attempt of this period has been announced.
    pub announced: bool,
    /// The account and time of the lookup that was let through and has no verdict yet.
    probe: Option<(u64, i64)>,
}

/// How long the period of a level is, in microseconds: a minute, doubled at each level, at most an hour.
pub fn period(level: u32) -> i64 {
    LONGEST_PERIOD.min(MINUTE << level.saturating_sub(1).min(6))
}

impl Attack {
    /// An attacker of level 1.
    pub fn new(at: i64) -> Attack {
        Attack::restore(1, at, at)
    }

    /// An attacker from before a restart.
    pub fn restore(level: u32, since: i64, level_since: i64) -> Attack {
        let level = level.max(1);
        Attack { level, since, level_since, fresh: 0, refused: 0, announced: false, probe: None }
    }

    /// Until when it is refused.
    pub fn until(&self) -> i64 {
        self.level_since + period(self.level)
    }

    /// It is an attacker no more.
    pub fn is_over(&self, at: i64) -> bool {
        at - self.level_since >= DAY
    }

    /// Further points of a cause that makes levels; whether they make the next one.
    pub fn rises(&mut self, at: i64, points: i64) -> bool {
        self.fresh = (self.fresh + points).max(0);
        let rises = points > 0 && self.fresh >= NEXT_LEVEL && at >= self.until();
        if rises {
            self.level = self.level.saturating_add(1);
            (self.level_since, self.fresh, self.announced) = (at, 0, false);
        }
        rises
    }

    /// Asks for one lookup, of this account: until when it is refused, or that it is let through.
    pub fn refuses(&mut self, at: i64, account: u64) -> Option<i64> {
        let probed = self.probe.map(|(_, since)| since + VERDICT);
        let until = probed.unwrap_or(i64::MIN).max(self.until());
        if at < until {
            self.refused += 1;
            return Some(until);
        }
        self.probe = Some((account, at));
        None
    }

    /// A verdict for this account is in.
    pub fn settle(&mut self, account: u64) {
        self.probe = self.probe.filter(|(probed, _)| *probed != account);
    }
}

/// A source that is an attacker.
#[derive(Clone, Copy, Debug)]
pub struct Attacker {
    /// What it has done.
    pub record: Record,
    /// What follows from it.
    pub attack: Attack,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_minute_doubled_at_each_level_and_at_most_an_hour() {
        let minutes: Vec<i64> = (1..=9).map(|level| period(level) / MINUTE).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(period(u32::MAX), LONGEST_PERIOD);
    }

    #[test]
    fn three_points_make_a_level_but_not_before_the_period_is_over() {
        let mut attack = Attack::new(0);
        assert!(!attack.rises(1, 30));
        assert!(!attack.rises(MINUTE - 1, 1));
        assert!(attack.rises(MINUTE, 1));
        assert_eq!((attack.level, attack.until()), (2, 3 * MINUTE));
        assert!(!attack.rises(4 * MINUTE, 1));
        assert!(!attack.rises(4 * MINUTE, 1));
        assert!(!attack.rises(4 * MINUTE, -1));
        assert!(!attack.rises(4 * MINUTE, 1));
        assert!(attack.rises(4 * MINUTE, 1));
        assert!(!attack.is_over(4 * MINUTE + DAY - 1));
        assert!(attack.is_over(4 * MINUTE + DAY));
    }

    #[test]
    fn after_a_period_one_lookup_at_a_time_is_let_through() {
        let mut attack = Attack::new(0);
        assert_eq!(attack.refuses(MINUTE - 1, 7), Some(MINUTE));
        assert_eq!(attack.refuses(MINUTE, 7), None);
        assert_eq!(attack.refuses(MINUTE + 1, 8), Some(MINUTE + VERDICT));
        attack.settle(8);
        assert_eq!(attack.refuses(MINUTE + 1, 8), Some(MINUTE + VERDICT));
        attack.settle(7);
        assert_eq!(attack.refuses(MINUTE + 2, 8), None);
        // A verdict that never comes.
        assert_eq!(attack.refuses(MINUTE + 2 + VERDICT, 9), None);
        assert_eq!(attack.refused, 3);
    }
}
