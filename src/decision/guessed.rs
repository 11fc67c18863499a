//! Accounts at which strangers fail: how many, and which accounts are under attack.
#![forbid(unsafe_code)]

use super::account::{Account, Name};
use super::distinct::Distinct;
use super::ranked::Ranked;
use super::record::HOUR;
use super::returning::Returning;

/// Most accounts that are watched.
pub const MOST: usize = 4096;
/// An account is under attack once this many strangers have failed there within the hour.
pub const UNDER_ATTACK: usize = 10;

/// An account at which strangers have failed.
struct Watched {
    account: Account,
    /// Keyed hashes of the sources that failed there last, and when: as many as decide.
    sources: [(u64, i64); UNDER_ATTACK],
    len: usize,
    last: i64,
    /// All since it was announced last, or in the last hour or two.
    distinct: Distinct,
    distinct_since: i64,
    announced: Option<i64>,
}

/// An account that many strangers guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountUnderAttack {
    /// Which.
    pub account: Name,
    /// How many sources, roughly if they are many.
    pub sources: u32,
}

/// What a failure says of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It is under attack.
    pub is_guessed: bool,
    /// And that has not been announced within the hour.
    pub announce: Option<AccountUnderAttack>,
}

/// The accounts at which strangers fail. Those with few sources go first.
pub struct GuessedAccounts {
    watched: Ranked<Watched, 3>,
    returning: Returning,
}

impl GuessedAccounts {
    /// None yet.
    pub fn new() -> GuessedAccounts {
        GuessedAccounts { watched: Ranked::new(MOST), returning: Returning::new(1 << 16) }
    }

    /// A stranger has failed at an account; `source` is its keyed hash.
    pub fn fail(&mut self, at: i64, account: &Account, source: u64) -> Verdict {
        let slot = self.find(account).unwrap_or_else(|| {
            let new = Watched {
                account: *account,
                sources: [(0, 0); UNDER_ATTACK],
                len: 0,
                last: at,
                distinct: Distinct::default(),
                distinct_since: at,
                announced: None,
            };
            let rank = usize::from(self.returning.contains(at, account.id));
            let (slot, evicted) = self.watched.insert(account.id, new, rank, |there| at - there.last >= HOUR);
            if let Some(evicted) = evicted {
                self.returning.insert(at, evicted.account.id);
            }
            slot
        });
        let Some(there) = self.watched.get_mut(slot) else {
            return Verdict { is_guessed: false, announce: None };
        };
        there.add(at, source);
        let sources = there.within_the_hour(at);
        let is_guessed = sources >= UNDER_ATTACK;
        let announce = is_guessed && there.announced.is_none_or(|announced| at - announced >= HOUR);
        if announce {
            there.announced = Some(at);
        }
        let announce = announce.then(|| there.report(at));
        let rank = usize::from(sources > 1).max(self.watched.rank(slot)).min(1) + usize::from(is_guessed);
        self.watched.touch(slot, rank);
        Verdict { is_guessed, announce }
    }

    /// The directory has no such account, or it is forgiven.
    pub fn forget(&mut self, account: &Account) {
        if let Some(slot) = self.find(account) {
            self.watched.remove(slot);
        }
    }

    /// Forgets all that are meant.
    pub fn forget_all(&mut self, is_meant: impl Fn(&Name) -> bool) {
        for slot in self.watched.slots() {
            if self.watched.get(slot).is_some_and(|there| is_meant(&there.account.name)) {
                self.watched.remove(slot);
            }
        }
    }

    /// Those that are under attack now.
    pub fn under_attack(&self, at: i64) -> impl Iterator<Item = AccountUnderAttack> {
        let under_attack = move |there: &&Watched| there.within_the_hour(at) >= UNDER_ATTACK;
        self.watched.iter().filter(under_attack).map(move |there| there.report(at))
    }

    fn find(&self, account: &Account) -> Option<usize> {
        self.watched.find(account.id, |there| there.account.id == account.id)
    }
}

impl Watched {
    fn add(&mut self, at: i64, source: u64) {
        self.last = self.last.max(at);
        let sources = &mut self.sources[..self.len];
        match sources.iter_mut().find(|(there, _)| *there == source) {
            Some((_, last)) => *last = at,
            None if self.len < UNDER_ATTACK => {
                self.sources[self.len] = (source, at);
                self.len += 1;
            }
            None => {
                if let Some(oldest) = sources.iter_mut().min_by_key(|(_, last)| *last) {
                    *oldest = (source, at);
                }
            }
        }
        if at - self.distinct_since >= 2 * HOUR {
            (self.distinct, self.distinct_since) = (Distinct::default(), at);
        }
        self.distinct.insert(source);
    }

    fn within_the_hour(&self, at: i64) -> usize {
        self.sources[..self.len].iter().filter(|(_, last)| at - last < HOUR).count()
    }

    fn report(&self, at: i64) -> AccountUnderAttack {
        let sources = self.within_the_hour(at) as u32;
        let all = if sources < UNDER_ATTACK as u32 { 0 } else { self.distinct.estimate() };
        // The estimate is off by one or so for a few.
        let all = if all <= sources + 1 { sources } else { all };
        AccountUnderAttack { account: self.account.name, sources: all }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const MINUTE: i64 = HOUR / 60;

    #[test]
    fn ten_strangers_within_the_hour_put_an_account_under_attack() {
        let hasher = RandomState::new();
        let account = Account::new(&hasher, b"1001@a");
        let mut guessed = GuessedAccounts::new();
        for source in 0..9 {
            assert!(!guessed.fail(0, &account, source).is_guessed);
            assert!(!guessed.fail(0, &account, source).is_guessed);
        }
        assert!(!guessed.fail(HOUR, &account, 9).is_guessed, "the first nine are over");
        for source in 10..18 {
            assert!(!guessed.fail(HOUR, &account, source).is_guessed);
        }
        let verdict = guessed.fail(HOUR, &account, 18);
        assert_eq!(verdict.announce.map(|there| there.account), Some(account.name));
        assert_eq!(guessed.under_attack(HOUR).count(), 1);
        assert_eq!(guessed.under_attack(2 * HOUR).count(), 0);
        guessed.forget(&account);
        assert_eq!(guessed.under_attack(HOUR).count(), 0);
    }

    #[test]
    fn an_account_is_announced_once_an_hour_with_its_sources() {
        let hasher = RandomState::new();
        let account = Account::new(&hasher, b"1001@a");
        let mut guessed = GuessedAccounts::new();
        let mut announced = Vec::new();
        for number in 0..1300 {
            let at = number * 20 * MINUTE / 60;
            announced.extend(
                guessed.fail(at, &account, hasher.hash_one(number)).announce.map(|there| there.sources),
            );
        }
        // 1,300 sources, 20 s apart, are seven hours and 13 minutes.
        assert_eq!(announced.len(), 8, "{announced:?}");
        assert_eq!(announced[0], 10);
        assert!(announced[1] > 100, "{announced:?}");
    }

    #[test]
    fn a_flood_of_other_accounts_hides_no_account_under_attack() {
        let hasher = RandomState::new();
        let account = Account::new(&hasher, b"1001@a");
        let mut guessed = GuessedAccounts::new();
        let mut guesses = 0..;
        let found = guesses.find(|source| {
            for number in 0..10_000 {
                let other = Account::new(&hasher, format!("{source} {number}").as_bytes());
                guessed.fail(0, &other, *source);
            }
            guessed.fail(0, &account, *source).is_guessed
        });
        // The first one is forgotten.
        assert_eq!(found, Some(10));
    }
}
