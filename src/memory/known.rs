//! Known addresses: those whose credentials FreeSWITCH has accepted lately, and for which accounts.
//!
//! An attacker can send failures in the name of any address over UDP, but can't log in from there. So what an address
//! did that has logged in is kept apart from what a stranger did.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::decision::Source;
use crate::event::address;
use crate::memory::account::{self, Account};
use crate::memory::busiest::Distinct;
use crate::table::Table;
use crate::time::Now;

/// Most addresses that are known at a time.
pub const MOST: usize = 16_384;
/// Most accounts at addresses. An entry of either table takes about 200 bytes, so all of them 10 MiB.
pub const MOST_ACCOUNTS: usize = 32_768;
/// Most addresses that one account can make known at a time.
pub const MOST_PER_ACCOUNT: usize = 32;
/// When a known address has this many failures within an hour, FreeSWITCH's log says so, once an hour.
pub const MANY_FAILURES: u32 = 100;
const HOUR: i64 = 3600;

/// A known address.
#[derive(Clone, Debug)]
pub struct Address {
    /// The source.
    pub source: Source,
    /// The account whose credentials were accepted here first.
    pub account: Account,
    /// When credentials were accepted last, in seconds of the monotonic clock.
    pub seen: i64,
    /// Failures within the hour that began at `hour`.
    pub failures: u32,
    /// Users of these failures.
    pub users: Distinct,
    hour: i64,
    /// How many accounts there are here.
    accounts: u32,
    /// What was accepted until then does not count.
    forgotten_at: i64,
}

impl Address {
    fn forget_old_failures(&mut self, now: Now) {
        if now.seconds() - self.hour >= HOUR {
            (self.hour, self.failures, self.users) = (now.seconds(), 0, Distinct::default());
        }
    }
}

/// An account that was accepted at an address.
#[derive(Clone, Debug)]
pub struct AccountAt {
    /// The source.
    pub source: Source,
    /// The account.
    pub account: Account,
    /// When it was accepted last, in seconds of the monotonic clock.
    pub seen: i64,
    address: usize,
}

/// The known addresses. Nothing is allocated after it is made, and nobody is pushed out by another account.
pub struct Known {
    addresses: Table<Address>,
    accounts: Table<AccountAt>,
    /// The slots in `accounts` of each account.
    slots: Table<usize>,
    hasher: RandomState,
    /// Seconds for which an address stays known.
    lifetime: i64,
    /// How often an address or an account found no room.
    pub refused: u64,
    hand: usize,
}

impl Known {
    /// None yet; each stays known for `lifetime`.
    pub fn new(lifetime: Duration) -> Known {
        Known {
            addresses: Table::new(MOST),
            accounts: Table::new(MOST_ACCOUNTS),
            slots: Table::new(MOST_ACCOUNTS),
            hasher: RandomState::new(),
            lifetime: lifetime.as_secs() as i64,
            refused: 0,
            hand: 0,
        }
    }

    /// Changes how long an address stays known.
    pub fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime.as_secs() as i64;
    }

    /// How many addresses there are; those that are known no more go within seconds.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether an address is known.
    pub fn contains(&self, now: Now, source: Source) -> bool {
        let found = self.find(source).and_then(|slot| self.addresses.get(slot));
        found.is_some_and(|address| self.is_alive(address.seen, now))
    }

    /// Whether an account was accepted at a source within `known-for`.
    pub fn has_account(&self, now: Now, source: Source, account: &Account) -> bool {
        let key = self.hasher.hash_one((source, account));
        let is_it = |entry: &AccountAt| entry.source == source && entry.account == *account;
        let found = self.accounts.find(key, is_it).and_then(|slot| self.accounts.get(slot));
        found.is_some_and(|entry| !self.is_over(entry, now))
    }

    /// Whether an account was accepted anywhere within `known-for`.
    pub fn has_account_anywhere(&self, now: Now, account: &Account) -> bool {
        let mut is_accepted = false;
        self.slots.find_all(self.hasher.hash_one(account), |_, slot| {
            let entry = self.accounts.get(*slot).filter(|entry| entry.account == *account);
            is_accepted |= entry.is_some_and(|entry| !self.is_over(entry, now));
        });
        is_accepted
    }

    /// Known addresses in a part of the table, and where the next part begins, so that no handler has to wait while
    /// all are copied.
    pub fn page(&self, now: Now, from: usize) -> (Vec<Address>, Option<usize>) {
        let (mut page, next) = page(&self.addresses, from, MOST);
        page.retain(|address| self.is_alive(address.seen, now));
        page.iter_mut().for_each(|address| address.forget_old_failures(now));
        (page, next)
    }

    /// The same of accounts at addresses.
    pub fn accounts_page(&self, now: Now, from: usize) -> (Vec<AccountAt>, Option<usize>) {
        let (mut page, next) = page(&self.accounts, from, MOST_ACCOUNTS);
        page.retain(|entry| !self.is_over(entry, now));
        (page, next)
    }

    /// FreeSWITCH has accepted this account's credentials from this address, at `seen` (seconds of the monotonic
    /// clock).
    pub fn learn(&mut self, now: Now, seen: i64, source: Source, account: &Account) {
        let counts = account::is_somebodys(account) && !address::is_documentation(source.first());
        if !counts || !self.is_alive(seen, now) {
            return;
        }
        let key = self.hasher.hash_one((source, account));
        let found = self.accounts.find(key, |entry| entry.source == source && entry.account == *account);
        let slot = found.or_else(|| self.insert(key, seen, source, account));
        let Some(entry) = slot.and_then(|slot| self.accounts.get_mut(slot)) else {
            self.refused += 1;
            return;
        };
        let Some(address) = self.addresses.get_mut(entry.address) else { return };
        if now.seconds() - address.seen >= self.lifetime {
            address.account = *account;
        }
        entry.seen = entry.seen.max(seen).max(address.forgotten_at + 1);
        address.seen = address.seen.max(entry.seen);
    }

    fn insert(&mut self, key: u64, seen: i64, source: Source, account: &Account) -> Option<usize> {
        if let Some(oldest) = self.oldest_of_a_full(account) {
            self.remove(oldest);
        }
        if self.accounts.len() == MOST_ACCOUNTS {
            return None;
        }
        let address = self.find(source).or_else(|| {
            let new = Address {
                source,
                account: *account,
                seen,
                failures: 0,
                users: Distinct::default(),
                hour: seen,
                accounts: 0,
                forgotten_at: i64::MIN / 2,
            };
            self.addresses.insert(self.hasher.hash_one(source), new)
        })?;
        let slot = self.accounts.insert(key, AccountAt { source, account: *account, seen, address })?;
        self.slots.insert(self.hasher.hash_one(account), slot);
        self.addresses.get_mut(address)?.accounts += 1;
        Some(slot)
    }

    /// Forgets an address; whether it was known.
    pub fn forget(&mut self, now: Now, source: Source) -> bool {
        let was_known = self.contains(now, source);
        if let Some(address) = self.find(source).and_then(|slot| self.addresses.get_mut(slot)) {
            // Its accounts go as they are swept.
            (address.seen, address.forgotten_at) = (i64::MIN / 2, now.seconds());
        }
        was_known
    }

    /// A known address has failed, for this user; returns its entry when that is the failure to warn of.
    pub fn count_failure(&mut self, now: Now, source: Source, user: &[u8]) -> Option<&Address> {
        let user = self.hasher.hash_one(user) as u32;
        let address = self.find(source).and_then(|slot| self.addresses.get_mut(slot))?;
        address.forget_old_failures(now);
        address.failures = address.failures.saturating_add(1);
        address.users.add(user);
        (address.failures == MANY_FAILURES).then_some(&*address)
    }

    /// Drops what is over among the next `most` accounts; whether it has come round.
    pub fn sweep(&mut self, now: Now, most: usize) -> bool {
        let end = (self.hand + most).min(MOST_ACCOUNTS);
        for slot in self.hand..end {
            if self.accounts.get(slot).is_some_and(|entry| self.is_over(entry, now)) {
                self.remove(slot);
            }
        }
        self.hand = end % MOST_ACCOUNTS;
        self.hand == 0
    }

    fn is_alive(&self, seen: i64, now: Now) -> bool {
        now.seconds() - seen < self.lifetime
    }

    fn is_over(&self, entry: &AccountAt, now: Now) -> bool {
        let address = self.addresses.get(entry.address);
        !self.is_alive(entry.seen, now) || address.is_none_or(|address| entry.seen <= address.forgotten_at)
    }

    fn find(&self, source: Source) -> Option<usize> {
        self.addresses.find(self.hasher.hash_one(source), |address| address.source == source)
    }

    /// Takes out an account, and its address if that was the last one there.
    fn remove(&mut self, slot: usize) {
        let Some(entry) = self.accounts.remove(slot) else { return };
        let key = self.hasher.hash_one(entry.account);
        if let Some(found) = self.slots.find(key, |there| *there == slot) {
            self.slots.remove(found);
        }
        if let Some(address) = self.addresses.get_mut(entry.address) {
            address.accounts -= 1;
            if address.accounts == 0 {
                self.addresses.remove(entry.address);
            }
        }
    }

    /// Of an account that may not have one more address, the slot of the one that was seen longest ago.
    fn oldest_of_a_full(&self, account: &Account) -> Option<usize> {
        let (mut count, mut oldest) = (0, None);
        self.slots.find_all(self.hasher.hash_one(account), |_, slot| {
            if let Some(entry) = self.accounts.get(*slot).filter(|entry| entry.account == *account) {
                count += 1;
                let is_older = oldest.is_none_or(|(seen, _)| entry.seen < seen);
                oldest = if is_older { Some((entry.seen, *slot)) } else { oldest };
            }
        });
        oldest.filter(|_| count >= MOST_PER_ACCOUNT).map(|(_, slot)| slot)
    }
}

fn page<V: Clone>(table: &Table<V>, from: usize, most: usize) -> (Vec<V>, Option<usize>) {
    const PAGE: usize = 256;
    let end = (from + PAGE).min(most);
    ((from..end).filter_map(|slot| table.get(slot)).cloned().collect(), (end < most).then_some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    fn ip(number: u32) -> Source {
        Source::single(std::net::IpAddr::V4((0x0A00_0000 + number).into()))
    }

    fn account(name: &str) -> Account {
        Account::new(name.as_bytes())
    }

    fn sweep(known: &mut Known, seconds: i64) {
        while !known.sweep(at(seconds), 100) {}
    }

    fn account_of(known: &Known, seconds: i64, number: u32) -> Account {
        let page = known.page(at(seconds), 0).0;
        page.iter().find(|address| address.source == ip(number)).expect("it is known").account
    }

    fn learn(known: &mut Known, seconds: i64, number: u32, name: &str) {
        known.learn(at(seconds), seconds, ip(number), &account(name));
    }

    #[test]
    fn an_address_is_known_from_a_login_until_its_time_is_over() {
        let mut known = Known::new(DAY);
        learn(&mut known, 100, 1, "1001@x");
        sweep(&mut known, 200);
        assert!(known.contains(at(100), ip(1)) && !known.contains(at(100), ip(2)));
        assert!(known.contains(at(100 + 86_399), ip(1)));
        assert!(!known.contains(at(100 + 86_400), ip(1)));
        learn(&mut known, 50_000, 1, "1001@x");
        sweep(&mut known, 60_000);
        assert!(known.contains(at(100 + 86_400), ip(1)));
        known.set_lifetime(DAY / 2);
        assert!(known.contains(at(50_000 + 43_199), ip(1)) && !known.contains(at(50_000 + 43_200), ip(1)));
        assert!(!known.is_empty());
        sweep(&mut known, 200_000);
        assert!(known.is_empty() && known.accounts.is_empty());
    }

    #[test]
    fn one_account_makes_32_addresses_known_and_pushes_out_only_its_own() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 5000, "another@x");
        for number in 0..1000 {
            learn(&mut known, i64::from(number), number, "1001@x");
        }
        assert_eq!(known.len(), 33);
        assert!(known.contains(at(1000), ip(5000)));
        assert!((968..1000).all(|number| known.contains(at(1000), ip(number))));
    }

    #[test]
    fn an_address_of_two_accounts_stays_known_whatever_one_of_them_does_elsewhere() {
        for first in ["office@x", "insider@x"] {
            let mut known = Known::new(DAY);
            learn(&mut known, 0, 1, first);
            ["office@x", "insider@x"].iter().for_each(|name| learn(&mut known, 1, 1, name));
            assert_eq!(account_of(&known, 2, 1), account(first));
            (0..40).for_each(|number| learn(&mut known, 2, 10 + number, "insider@x"));
            assert!(known.contains(at(3), ip(1)));
            assert_eq!((known.len(), known.accounts.len()), (33, 33));
        }
    }

    #[test]
    fn what_is_forgotten_is_known_again_by_the_next_login_alone() {
        let mut known = Known::new(DAY);
        learn(&mut known, 5, 1, "1001@x");
        learn(&mut known, 5, 1, "1002@x");
        assert!(known.forget(at(5), ip(1)) && !known.forget(at(5), ip(1)));
        assert!(!known.contains(at(5), ip(1)) && known.page(at(5), 0).0.is_empty());
        assert!(known.accounts_page(at(5), 0).0.is_empty());
        learn(&mut known, 5, 1, "1001@x");
        assert!(known.contains(at(5), ip(1)));
        assert_eq!(known.accounts_page(at(5), 0).0.len(), 1, "not by the other account");
        sweep(&mut known, 6);
        assert_eq!(known.accounts.len(), 1);
    }

    #[test]
    fn a_full_table_forgets_nobody_for_a_flood() {
        let mut known = Known::new(DAY);
        for number in 0..MOST as u32 {
            learn(&mut known, 0, number, &format!("{number}"));
        }
        for number in 0..5000 {
            learn(&mut known, 1, 100_000 + number, &format!("flood{number}"));
        }
        assert_eq!((known.len(), known.accounts.len(), known.refused), (MOST, MOST, 5000));
        (0..MOST as u32).for_each(|number| learn(&mut known, 1, number, "roams@x"));
        assert_eq!(known.len(), MOST);
        for name in 0..3 {
            (0..MOST as u32).for_each(|number| learn(&mut known, 1, number, &format!("{name}-{number}")));
        }
        assert_eq!((known.accounts.len(), known.slots.len()), (MOST_ACCOUNTS, MOST_ACCOUNTS));
        assert!((0..MOST as u32).all(|number| known.contains(at(1), ip(number))));
        let (mut next, mut listed) = (Some(0), 0);
        while let Some(from) = next {
            let (page, after) = known.page(at(1), from);
            listed += page.len();
            next = after;
        }
        assert_eq!(listed, MOST);
    }

    #[test]
    fn an_address_whose_time_is_over_is_made_known_by_the_next_login() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 1, "first@x");
        learn(&mut known, 86_400, 1, "next@x");
        assert_eq!(account_of(&known, 86_400, 1), account("next@x"));
        sweep(&mut known, 86_400);
        assert_eq!((known.len(), known.accounts.len(), known.refused), (1, 1, 0));
    }

    #[test]
    fn documentation_addresses_are_never_known() {
        let mut known = Known::new(DAY);
        known.learn(at(0), 0, "192.0.2.1".parse().unwrap(), &account("1001"));
        assert!(known.is_empty());
    }

    #[test]
    fn the_hundredth_failure_of_an_hour_is_announced_once() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 1, "1001@x");
        let mut warned = 0;
        for failure in 0..250 {
            let user = format!("{}", failure % 3);
            if let Some(there) = known.count_failure(at(10), ip(1), user.as_bytes()) {
                assert_eq!((there.failures, there.users.count()), (MANY_FAILURES, 3));
                warned += 1;
            }
        }
        (0..100).for_each(|_| warned += i32::from(known.count_failure(at(10 + HOUR), ip(1), b"x").is_some()));
        assert_eq!(warned, 2);
        let failures = |seconds| known.page(at(seconds), 0).0[0].failures;
        assert_eq!((failures(10 + 2 * HOUR - 1), failures(10 + 2 * HOUR)), (100, 0));
        assert!(known.count_failure(at(10), ip(2), b"x").is_none());
    }

    #[test]
    fn an_account_name_that_is_too_long_is_still_one_account() {
        let mut known = Known::new(DAY);
        let long = "x".repeat(300);
        (0..40).for_each(|number| learn(&mut known, 0, number, &long));
        assert_eq!(known.len(), 32);
    }

    proptest::proptest! {
        #[test]
        fn accounts_and_addresses_always_agree(steps in proptest::collection::vec((0_u32..60, 0_u8..3, 0_u8..20), 0..400)) {
            let mut known = Known::new(Duration::from_secs(90));
            for (time, (number, name, what)) in steps.into_iter().enumerate() {
                let time = time as i64;
                match what {
                    0 => drop(known.forget(at(time), ip(number))),
                    1 => drop(known.sweep(at(time), 10)),
                    _ => learn(&mut known, time, number, &name.to_string()),
                }
                let held: u32 = known.addresses.iter().map(|address| address.accounts).sum();
                proptest::prop_assert_eq!(held as usize, known.accounts.len());
                proptest::prop_assert_eq!(known.slots.len(), known.accounts.len());
                for slot in known.slots.iter() {
                    proptest::prop_assert!(known.accounts.get(*slot).is_some());
                }
                for entry in known.accounts.iter() {
                    proptest::prop_assert_eq!(known.addresses.get(entry.address).unwrap().source, entry.source);
                    let of_account = known.accounts.iter().filter(|other| other.account == entry.account);
                    proptest::prop_assert!(of_account.count() <= MOST_PER_ACCOUNT);
                }
            }
        }
    }
}
