//! What a source has done, and its points.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::account::Account;
use super::cause::{Cause, Counts, UNKNOWN_USER_AGAIN};
use super::distinct::Distinct;
use super::source::Source;

/// A point is forgiven each hour; in microseconds.
pub const HOUR: i64 = 3_600_000_000;
/// Most accounts that are recorded for a source.
pub const MOST_ACCOUNTS: usize = 8;
/// More points than this are no worse.
pub const MOST_POINTS: u32 = 10_000;
/// The failure of an attempt and the warning that there is no such user are within this time of one another.
const ONE_ATTEMPT: i64 = 60_000_000;

/// What one source tried with one account.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// The account.
    pub account: Account,
    /// Points for it that are not forgiven.
    pub points: u32,
    /// Of these over TCP, TLS, WS or WSS, forgiven in their own time.
    pub proven: u32,
    /// Failures for it.
    pub failures: u32,
    /// When last, in microseconds of the monotonic clock.
    pub last: i64,
    /// The directory does not have it.
    pub is_unknown: bool,
    /// Failures of the last minute that a warning may turn into `unknown_user`, and warnings whose failure is to
    /// come.
    unwarned: u32,
    warned: u32,
    /// As what the last failure counted.
    failed_as: Cause,
}

/// What a cause has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Which.
    pub cause: Cause,
    /// By how many points; less than zero if a failure was the directory's fault after all.
    pub points: i64,
}

/// What is kept of a source, in a room of fixed size.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The source.
    pub source: Source,
    /// The address that it used last.
    pub ip: IpAddr,
    /// When it did something last, in microseconds of the monotonic clock.
    pub last: i64,
    /// How often there was each cause.
    pub counts: Counts,
    /// When there was each cause last.
    pub lasts: [i64; Cause::COUNT],
    /// Points of no account, or of one that found no room.
    pub other_points: u32,
    /// Of these over TCP, TLS, WS or WSS.
    pub other_proven: u32,
    /// Since when the next point is being forgiven.
    pub points_since: i64,
    /// The same, had there been none but proven points.
    pub proven_since: i64,
    tried: [Option<Tried>; MOST_ACCOUNTS],
    /// Accounts that found no room.
    others: Distinct,
    has_others: bool,
}

impl Record {
    /// Nothing yet.
    pub fn new(source: Source, ip: IpAddr, at: i64) -> Record {
        Record {
            source,
            ip,
            last: at,
            counts: Counts::default(),
            lasts: [at; Cause::COUNT],
            other_points: 0,
            other_proven: 0,
            points_since: at,
            proven_since: at,
            tried: [None; MOST_ACCOUNTS],
            others: Distinct::default(),
            has_others: false,
        }
    }

    /// Points that are not forgiven.
    pub fn points(&self) -> u32 {
        self.tried().fold(self.other_points, |sum, tried| sum + tried.points)
    }

    /// Points that there would be, had nothing come over UDP.
    pub fn proven(&self) -> u32 {
        self.tried().fold(self.other_proven, |sum, tried| sum + tried.proven).min(self.points())
    }

    /// The accounts that are recorded.
    pub fn tried(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().flatten()
    }

    /// How many different accounts it has tried; many of them roughly.
    pub fn accounts(&self) -> u32 {
        let exactly = self.tried().count() as u32;
        // Some of the others may be among those again: at least one more than there is room for.
        if self.has_others { self.others.estimate().max(exactly + 1) } else { exactly }
    }

    /// Nothing of it matters any more.
    pub fn is_over(&self, at: i64) -> bool {
        let left = i64::from(self.points()) - (at - self.points_since) / HOUR;
        left <= 0 && at - self.last >= ONE_ATTEMPT
    }

    /// Forgives a point for each hour that has gone, the oldest first.
    pub fn forgive(&mut self, at: i64) {
        let hours = (at - self.points_since).max(0) / HOUR;
        self.points_since += hours * HOUR;
        take_oldest(hours, &mut self.other_points, &mut self.tried, |tried| &mut tried.points);
        let hours = (at - self.proven_since).max(0) / HOUR;
        self.proven_since += hours * HOUR;
        take_oldest(hours, &mut self.other_proven, &mut self.tried, |tried| &mut tried.proven);
    }

    /// Something that has to do with no account.
    pub fn add(&mut self, at: i64, cause: Cause, points: u32, proven: bool) -> Added {
        self.note(at, cause);
        self.start_clocks(at, proven);
        let points = points.min(MOST_POINTS.saturating_sub(self.points()));
        self.other_points += points;
        if proven {
            self.other_proven = (self.other_proven + points).min(MOST_POINTS);
        }
        Added { cause, points: points.into() }
    }

    /// Whether a failure for this account is that of an attempt for an unknown user, which has been counted.
    pub fn is_warned(&self, at: i64, account: &Account) -> bool {
        let is_it = |tried: &&Tried| tried.account.id == account.id;
        self.tried().find(is_it).is_some_and(|tried| tried.warned > 0 && at - tried.last < ONE_ATTEMPT)
    }

    /// A failure; whether the account is one that many strangers guess. None if it is the failure of an
    /// attempt for an unknown user, which has been counted.
    pub fn failure(&mut self, at: i64, account: &Account, guessed: bool, proven: bool) -> Option<Added> {
        let tried = self.account(at, account);
        if tried.warned > 0 {
            tried.warned -= 1;
            return None;
        }
        // One failure may be a slip; the points count from the second on.
        let cause = if guessed && tried.failures > 0 { Cause::GuessedAccount } else { Cause::Failure };
        tried.failures = tried.failures.saturating_add(1);
        tried.unwarned = tried.unwarned.saturating_add(1);
        tried.failed_as = cause;
        Some(self.add_for(at, account, cause, cause.row().points, proven))
    }

    /// The directory has no such user; `points` if that does not depend on whether the name is new. Of this and
    /// the failure of the same attempt, whichever is second counts nothing more than the difference.
    pub fn unknown_user(&mut self, at: i64, account: &Account, points: Option<u32>, proven: bool) -> Added {
        let was_tried = self.others.may_contain(account.id);
        let tried = self.account(at, account);
        let is_new = !tried.is_unknown && !was_tried;
        tried.is_unknown = true;
        let failed_as = tried.failed_as;
        let of_failure = if tried.unwarned > 0 { failed_as.row().points } else { 0 };
        if of_failure > 0 {
            tried.unwarned -= 1;
            tried.failures = tried.failures.saturating_sub(1);
            tried.points = tried.points.saturating_sub(of_failure);
            if proven {
                tried.proven = tried.proven.saturating_sub(of_failure);
            }
            self.counts.take_back(failed_as);
        } else {
            tried.warned = tried.warned.saturating_add(1);
        }
        let as_usual = if is_new { Cause::UnknownUser.row().points } else { UNKNOWN_USER_AGAIN };
        let added = self.add_for(at, account, Cause::UnknownUser, points.unwrap_or(as_usual), proven);
        Added { points: added.points - i64::from(of_failure), ..added }
    }

    /// The points for this account go; it has logged in. Whether that leaves none.
    pub fn clear(&mut self, mut is_it: impl FnMut(&Account) -> bool) -> bool {
        for there in &mut self.tried {
            if there.is_some_and(|tried| is_it(&tried.account)) {
                *there = None;
            }
        }
        self.points() == 0
    }

    /// Puts back what was saved of an account.
    pub fn restore(
        &mut self,
        account: Account,
        points: u32,
        proven: u32,
        failures: u32,
        last: i64,
        is_unknown: bool,
    ) {
        let failed_as = Cause::Failure;
        let tried =
            Tried { account, points, proven, failures, last, is_unknown, unwarned: 0, warned: 0, failed_as };
        if let Some(free) = self.tried.iter_mut().find(|there| there.is_none()) {
            *free = Some(tried);
        }
    }

    fn note(&mut self, at: i64, cause: Cause) {
        self.counts.add(cause, 1);
        self.lasts[cause as usize] = at;
        self.last = self.last.max(at);
    }

    /// The hour after which a point is forgiven begins with the first.
    fn start_clocks(&mut self, at: i64, proven: bool) {
        if self.points() == 0 {
            self.points_since = at;
        }
        if proven && self.tried().all(|tried| tried.proven == 0) && self.other_proven == 0 {
            self.proven_since = at;
        }
    }

    fn add_for(&mut self, at: i64, account: &Account, cause: Cause, points: u32, proven: bool) -> Added {
        self.note(at, cause);
        self.start_clocks(at, proven);
        let points = points.min(MOST_POINTS.saturating_sub(self.points()));
        let tried = self.account(at, account);
        tried.points += points;
        if proven {
            tried.proven = (tried.proven + points).min(MOST_POINTS);
        }
        Added { cause, points: points.into() }
    }

    /// What was tried with an account; a new one takes the room of the one that was tried longest ago, whose
    /// points stay.
    fn account(&mut self, at: i64, account: &Account) -> &mut Tried {
        let found =
            self.tried.iter().position(|there| there.is_some_and(|there| there.account.id == account.id));
        let room = found.unwrap_or_else(|| {
            let ages = self.tried.iter().map(|there| there.map_or(i64::MIN, |there| there.last));
            ages.enumerate().min_by_key(|(_, last)| *last).map_or(0, |(room, _)| room)
        });
        if found.is_none()
            && let Some(gone) = self.tried[room].take()
        {
            self.other_points += gone.points;
            self.other_proven += gone.proven;
            if !self.has_others {
                self.has_others = true;
                let all = self.tried.iter().flatten();
                all.for_each(|there| self.others.insert(there.account.id));
            }
            self.others.insert(gone.account.id);
            self.others.insert(account.id);
        }
        let new = Tried {
            account: *account,
            points: 0,
            proven: 0,
            failures: 0,
            last: at,
            is_unknown: false,
            unwarned: 0,
            warned: 0,
            failed_as: Cause::Failure,
        };
        let tried = self.tried[room].get_or_insert(new);
        if at - tried.last >= ONE_ATTEMPT {
            (tried.unwarned, tried.warned) = (0, 0);
        }
        tried.last = tried.last.max(at);
        tried
    }
}

/// Takes points away, first those of no account, then those of the account that was tried longest ago.
fn take_oldest(
    mut points: i64,
    others: &mut u32,
    tried: &mut [Option<Tried>],
    of: impl Fn(&mut Tried) -> &mut u32,
) {
    take(&mut points, others);
    while points > 0 {
        let all = tried.iter_mut().flatten().filter_map(|tried| (*of(tried) > 0).then_some(tried));
        match all.min_by_key(|tried| tried.last) {
            Some(oldest) => take(&mut points, of(oldest)),
            None => return,
        }
    }
}

fn take(points: &mut i64, from: &mut u32) {
    let taken = (*points).min((*from).into());
    *points -= taken;
    *from -= taken as u32;
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    const MINUTE: i64 = 60_000_000;

    struct Fixture {
        hasher: RandomState,
        record: Record,
    }

    impl Fixture {
        fn new() -> Fixture {
            let ip = IpAddr::from([203, 0, 113, 7]);
            Fixture { hasher: RandomState::new(), record: Record::new(Source::single(ip), ip, 0) }
        }

        fn account(&self, name: &str) -> Account {
            Account::new(&self.hasher, name.as_bytes())
        }

        fn fail(&mut self, at: i64, name: &str) -> Option<i64> {
            let account = self.account(name);
            self.record.failure(at, &account, false, false).map(|added| added.points)
        }

        fn unknown(&mut self, at: i64, name: &str) -> i64 {
            let account = self.account(name);
            self.record.unknown_user(at, &account, None, false).points
        }
    }

    #[test]
    fn a_point_is_forgiven_each_hour_and_the_hour_begins_with_the_first_point() {
        let mut it = Fixture::new();
        it.fail(30 * MINUTE, "a");
        it.fail(40 * MINUTE, "a");
        it.record.forgive(90 * MINUTE - 1);
        assert_eq!(it.record.points(), 2);
        it.record.forgive(90 * MINUTE);
        assert_eq!(it.record.points(), 1);
        assert!(!it.record.is_over(150 * MINUTE - 1));
        assert!(it.record.is_over(150 * MINUTE));
        it.record.forgive(900 * MINUTE);
        assert_eq!(it.record.points(), 0);
        it.fail(910 * MINUTE, "a");
        it.record.forgive(969 * MINUTE);
        assert_eq!(it.record.points(), 1);
    }

    #[test]
    fn proven_points_are_forgiven_as_if_there_were_no_others() {
        let mut it = Fixture::new();
        let account = it.account("a");
        for _ in 0..5 {
            it.record.failure(0, &account, false, false);
        }
        it.record.failure(30 * MINUTE, &account, false, true);
        it.record.forgive(60 * MINUTE);
        assert_eq!((it.record.points(), it.record.proven()), (5, 1));
        it.record.forgive(90 * MINUTE);
        assert_eq!((it.record.points(), it.record.proven()), (5, 0));
    }

    #[test]
    fn an_unknown_user_and_its_failure_count_as_one_in_either_order() {
        let mut it = Fixture::new();
        assert_eq!((it.unknown(0, "x"), it.fail(0, "x")), (3, None));
        assert_eq!((it.fail(0, "y"), it.unknown(0, "y")), (Some(1), 2));
        assert_eq!((it.fail(0, "y"), it.unknown(0, "y")), (Some(1), 0));
        // Many on their way.
        assert_eq!((it.unknown(0, "x"), it.unknown(0, "x")), (1, 1));
        assert_eq!((it.fail(0, "x"), it.fail(0, "x"), it.fail(0, "x")), (None, None, Some(1)));
        assert_eq!(it.record.points(), 3 + 3 + 1 + 2 + 1);
        assert_eq!(it.record.counts.to_string(), "failure=1 unknown_user=5");
        // A warning excuses nothing a minute later.
        it.unknown(0, "z");
        assert_eq!(it.fail(MINUTE, "z"), Some(1));
    }

    #[test]
    fn a_failure_that_was_the_directorys_fault_is_taken_back_as_what_it_counted() {
        let mut it = Fixture::new();
        let account = it.account("a");
        for points in [1, 5] {
            assert_eq!(it.record.failure(0, &account, true, true).map(|added| added.points), Some(points));
        }
        assert_eq!(it.record.unknown_user(0, &account, Some(0), true).points, -5);
        assert_eq!((it.record.points(), it.record.proven()), (1, 1));
        assert_eq!(it.record.counts.to_string(), "failure=1 unknown_user=1");
    }

    #[test]
    fn an_unknown_user_is_new_once_however_many_there_are() {
        let mut it = Fixture::new();
        let mut at = 0..;
        let mut points = |it: &mut Fixture| -> i64 {
            (0..20).zip(&mut at).map(|(name, at)| it.unknown(at, &format!("user{name}"))).sum()
        };
        // A few are taken for one another, in their favour.
        let first = points(&mut it);
        assert!((50..=60).contains(&first), "{first}");
        assert_eq!(points(&mut it), 20);
        assert!((15..=25).contains(&it.record.accounts()), "{}", it.record.accounts());
        it.record.clear(|_| true);
        assert_eq!(i64::from(it.record.points()), first + 20 - 8, "those that found no room stay");
    }

    #[test]
    fn points_have_an_end() {
        let mut it = Fixture::new();
        for _ in 0..50 {
            it.record.add(0, Cause::Report, u32::MAX, true);
            it.unknown(0, "x");
        }
        assert_eq!((it.record.points(), it.record.proven()), (MOST_POINTS, MOST_POINTS));
    }
}
