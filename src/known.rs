//! Known addresses: those whose credentials FreeSWITCH has accepted lately.
//!
//! An attacker can send failures in anyone's name over UDP, but it can't log in. So what an address did that
//! has logged in is told apart from what a stranger did, and the shipped jail counts strangers only.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::address;
use crate::kept::Kept;
use crate::stats::Distinct;
use crate::table::{Sweep, Table};
use crate::timestamp::Now;

/// Most addresses that are known at a time. An entry takes about 350 bytes, so all of them 6 MiB.
pub const MOST: usize = 16_384;
/// Most addresses that one account can make known at a time.
pub const MOST_PER_ACCOUNT: usize = 8;
/// The first time in an hour that a known address has so many failures, FreeSWITCH's log says so.
pub const MANY_FAILURES: u32 = 100;
const HOUR: i64 = 3600;

/// Which account made an address known: `user@realm`, `gateway NAME`.
pub type Account = Kept<96>;

/// A known address.
#[derive(Clone, Debug)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The account that has made it known, and that counts it among its eight.
    pub account: Account,
    /// Another account whose credentials were accepted here last, and when: it takes over when the first one lets
    /// go of the address, so that nobody is forgotten for what another account does elsewhere.
    second: Option<(Account, i64)>,
    /// When credentials were accepted last, in seconds of the monotonic clock.
    pub seen: i64,
    /// Failures within the hour that began at `hour`.
    pub failures: u32,
    /// Users of these failures.
    pub users: Distinct,
    hour: i64,
    account_place: usize,
}

impl Address {
    fn forget_old_failures(&mut self, now: Now) {
        if now.seconds() - self.hour >= HOUR {
            (self.hour, self.failures, self.users) = (now.seconds(), 0, Distinct::default());
        }
    }
}

/// An account, and the places of the addresses that it has made known.
struct AccountUse {
    account: Account,
    places: [u32; MOST_PER_ACCOUNT],
    len: usize,
}

impl AccountUse {
    fn places(&self) -> &[u32] {
        &self.places[..self.len]
    }

    fn is_full(&self) -> bool {
        self.len == MOST_PER_ACCOUNT
    }

    fn add(&mut self, place: usize) {
        self.places[self.len] = place as u32;
        self.len += 1;
    }

    fn remove(&mut self, place: usize) {
        if let Some(at) = self.places().iter().position(|there| *there as usize == place) {
            self.len -= 1;
            self.places[at] = self.places[self.len];
        }
    }
}

/// The known addresses.
pub struct Known {
    addresses: Table<Address>,
    accounts: Table<AccountUse>,
    hasher: RandomState,
    /// Seconds for which an address stays known.
    lifetime: i64,
    /// How often an address was learned that found no room.
    pub refused: u64,
    /// Something has changed since [`Known::take_changed`] was asked.
    changed: bool,
}

impl Known {
    /// None yet; each stays known for `lifetime`.
    pub fn new(lifetime: Duration) -> Known {
        Known {
            addresses: Table::new(MOST),
            accounts: Table::new(MOST),
            hasher: RandomState::new(),
            lifetime: lifetime.as_secs() as i64,
            refused: 0,
            changed: false,
        }
    }

    /// Changes how long an address stays known.
    pub fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime.as_secs() as i64;
    }

    /// How many addresses there are; those that are known no more go within about a minute.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The entry of an address, if it is known.
    pub fn get(&self, now: Now, ip: IpAddr) -> Option<&Address> {
        self.addresses.get(self.find(ip)?).filter(|there| self.is_alive(there, now))
    }

    /// Whether an address is known.
    pub fn contains(&self, now: Now, ip: IpAddr) -> bool {
        self.get(now, ip).is_some()
    }

    /// Those in a part of the table, and where the next part begins: so that no one has to wait while all are
    /// copied.
    pub fn page(&self, now: Now, from: usize) -> (Vec<Address>, Option<usize>) {
        const PAGE: usize = 256;
        let end = (from + PAGE).min(MOST);
        let all = (from..end).filter_map(|place| self.addresses.get(place));
        let alive = all.filter(|there| self.is_alive(there, now)).cloned();
        let page = alive.map(|mut there| {
            there.forget_old_failures(now);
            there
        });
        let page = page.collect();
        (page, (end < MOST).then_some(end))
    }

    /// FreeSWITCH has accepted this account's credentials from this address, at `seen`.
    pub fn learn(&mut self, now: Now, seen: i64, ip: IpAddr, account: &Account) {
        if address::is_documentation(ip) || now.seconds() - seen >= self.lifetime {
            return;
        }
        self.changed = true;
        match self.find(ip) {
            Some(place) if self.addresses.get(place).is_some_and(|there| self.is_alive(there, now)) => {
                self.learn_again(place, seen, account);
            }
            found => {
                if let Some(over) = found {
                    self.remove(over);
                }
                self.learn_first(now, seen, ip, account);
            }
        }
    }

    fn learn_again(&mut self, place: usize, seen: i64, account: &Account) {
        let Some(there) = self.addresses.get_mut(place) else { return };
        there.seen = there.seen.max(seen);
        if there.account != *account {
            there.second = Some((*account, seen));
        }
    }

    fn learn_first(&mut self, now: Now, seen: i64, ip: IpAddr, account: &Account) {
        if let Some(place) = self.oldest_of_a_full(account) {
            self.let_go(now, place);
        }
        let Some(account_place) = self.account_place(account) else {
            self.refused += 1;
            return;
        };
        let users = Distinct::default();
        let entry = Address {
            ip,
            account: *account,
            second: None,
            seen,
            failures: 0,
            users,
            hour: seen,
            account_place,
        };
        match (self.addresses.insert(self.hasher.hash_one(ip), entry), self.accounts.get_mut(account_place)) {
            (Some(place), Some(use_of)) => use_of.add(place),
            _ => {
                self.refused += 1;
                release(&mut self.accounts, account_place, usize::MAX);
            }
        }
    }

    /// Forgets an address; whether it was known.
    pub fn forget(&mut self, ip: IpAddr) -> bool {
        let found = self.find(ip);
        if let Some(place) = found {
            self.remove(place);
            self.changed = true;
        }
        found.is_some()
    }

    /// A known address has failed, for this user; gives its entry when that is the failure to warn of.
    pub fn count_failure(&mut self, now: Now, ip: IpAddr, user: &[u8]) -> Option<&Address> {
        let user = self.hasher.hash_one(user) as u32;
        let there = self.find(ip).and_then(|place| self.addresses.get_mut(place))?;
        there.forget_old_failures(now);
        there.failures = there.failures.saturating_add(1);
        there.users.add(user);
        (there.failures == MANY_FAILURES).then_some(&*there)
    }

    /// Whether anything has changed since it was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What was taken as changed could not be saved.
    pub fn set_changed(&mut self) {
        self.changed = true;
    }

    /// Drops some of those that are known no more; a part of the table at a time.
    pub fn sweep(&mut self, now: Now, most: usize) -> Sweep {
        let Known { addresses, accounts, lifetime, .. } = self;
        addresses.sweep(most, |place, there| {
            let is_over = now.seconds() - there.seen >= *lifetime;
            if is_over {
                release(accounts, there.account_place, place);
            }
            is_over
        })
    }

    fn is_alive(&self, there: &Address, now: Now) -> bool {
        now.seconds() - there.seen < self.lifetime
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        self.addresses.find(self.hasher.hash_one(ip), |there| there.ip == ip)
    }

    /// The account that has made an address known has too many: the address is another's who is there as well,
    /// or forgotten.
    fn let_go(&mut self, now: Now, place: usize) {
        let Some(there) = self.addresses.get(place) else { return };
        let old = there.account_place;
        let second = there.second.filter(|(_, seen)| now.seconds() - seen < self.lifetime);
        let new = second.and_then(|(account, _)| Some((account, self.account_place(&account)?)));
        match new {
            Some((account, new)) if self.accounts.get(new).is_some_and(|use_of| !use_of.is_full()) => {
                if let Some(use_of) = self.accounts.get_mut(new) {
                    use_of.add(place);
                }
                if let Some(there) = self.addresses.get_mut(place) {
                    (there.account, there.account_place, there.second) = (account, new, None);
                }
                release(&mut self.accounts, old, place);
            }
            _ => self.remove(place),
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(there) = self.addresses.remove(place) {
            release(&mut self.accounts, there.account_place, place);
        }
    }

    /// Of an account that may not have one more address, the place of the one that was seen longest ago.
    fn oldest_of_a_full(&self, account: &Account) -> Option<usize> {
        let use_of = self.accounts.get(self.find_account(account)?).filter(|use_of| use_of.is_full())?;
        let places = use_of.places().iter().map(|place| *place as usize);
        places.min_by_key(|place| self.addresses.get(*place).map(|there| there.seen))
    }

    fn find_account(&self, account: &Account) -> Option<usize> {
        self.accounts.find(self.hasher.hash_one(account), |there| there.account == *account)
    }

    /// The place of an account, made if need be; the caller gives it an address.
    fn account_place(&mut self, account: &Account) -> Option<usize> {
        self.find_account(account).or_else(|| {
            let unused = AccountUse { account: *account, places: [0; MOST_PER_ACCOUNT], len: 0 };
            self.accounts.insert(self.hasher.hash_one(account), unused)
        })
    }
}

/// An address less for an account; one without any is forgotten.
fn release(accounts: &mut Table<AccountUse>, account_place: usize, place: usize) {
    if let Some(use_of) = accounts.get_mut(account_place) {
        use_of.remove(place);
        if use_of.len == 0 {
            accounts.remove(account_place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: i64) -> Now {
        Now { wall: 0, monotonic: seconds * 1_000_000 }
    }

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4((0x0A00_0000 + number).into())
    }

    fn account(name: &str) -> Account {
        Account::new(name.as_bytes())
    }

    fn learn(known: &mut Known, seconds: i64, number: u32, name: &str) {
        known.learn(at(seconds), seconds, ip(number), &account(name));
    }

    #[test]
    fn an_address_is_known_from_a_login_until_its_time_is_over() {
        let mut known = Known::new(DAY);
        assert!(!known.take_changed());
        learn(&mut known, 100, 1, "1001@x");
        assert!(known.take_changed() && !known.take_changed());
        known.set_changed();
        assert!(known.take_changed());
        while known.sweep(at(200), 100) == Sweep::More {}
        assert!(known.contains(at(100), ip(1)) && !known.contains(at(100), ip(2)));
        assert!(known.contains(at(100 + 86_399), ip(1)));
        assert!(!known.contains(at(100 + 86_400), ip(1)));
        learn(&mut known, 50_000, 1, "1001@x");
        while known.sweep(at(60_000), 100) == Sweep::More {}
        assert!(known.contains(at(100 + 86_400), ip(1)));
        known.set_lifetime(DAY / 2);
        assert!(known.contains(at(50_000 + 43_199), ip(1)) && !known.contains(at(50_000 + 43_200), ip(1)));
        assert!(!known.is_empty());
        while known.sweep(at(200_000), 100) == Sweep::More {}
        assert!(known.is_empty() && known.accounts.is_empty());
    }

    #[test]
    fn one_account_makes_eight_addresses_known_and_pushes_out_only_its_own() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 5000, "another@x");
        for number in 0..1000 {
            learn(&mut known, i64::from(number), number, "1001@x");
        }
        assert_eq!(known.len(), 9);
        assert!(known.contains(at(1000), ip(5000)));
        assert!((992..1000).all(|number| known.contains(at(1000), ip(number))));
    }

    #[test]
    fn an_address_of_two_accounts_stays_known_whatever_one_of_them_does_elsewhere() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 1, "office@x");
        learn(&mut known, 1, 1, "insider@x");
        assert_eq!(known.get(at(2), ip(1)).unwrap().account, account("office@x"));
        (0..20).for_each(|number| learn(&mut known, 2, 10 + number, "insider@x"));
        assert!(known.contains(at(3), ip(1)));
        // The other way round: the insider was there first.
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 1, "insider@x");
        learn(&mut known, 1, 1, "office@x");
        (0..20).for_each(|number| learn(&mut known, 2, 10 + number, "insider@x"));
        assert_eq!(known.get(at(3), ip(1)).unwrap().account, account("office@x"));
        assert_eq!((known.len(), known.accounts.len()), (9, 2));
        assert!(known.forget(ip(1)) && !known.forget(ip(1)));
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
    fn an_account_whose_address_finds_no_room_is_not_kept() {
        let mut known = Known::new(DAY);
        let accounts = MOST / MOST_PER_ACCOUNT;
        (0..MOST).for_each(|number| learn(&mut known, 0, number as u32, &(number % accounts).to_string()));
        (1..=2).for_each(|number| learn(&mut known, 1, 100_000 + number, "late"));
        assert_eq!((known.len(), known.accounts.len(), known.refused), (MOST, accounts, 2));
    }

    #[test]
    fn an_address_that_was_known_is_made_known_by_whoever_comes_next() {
        let mut known = Known::new(DAY);
        learn(&mut known, 0, 1, "first@x");
        learn(&mut known, 86_400, 1, "next@x");
        assert_eq!(known.get(at(86_400), ip(1)).unwrap().account, account("next@x"));
        assert_eq!((known.len(), known.accounts.len(), known.refused), (1, 1, 0));
    }

    #[test]
    fn documentation_addresses_are_never_known() {
        let mut known = Known::new(DAY);
        known.learn(at(0), 0, "192.0.2.1".parse().unwrap(), &account("1001"));
        assert!(known.is_empty());
    }

    #[test]
    fn the_hundredth_failure_of_an_hour_is_told_once() {
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
    fn an_account_name_that_is_too_long_to_keep_is_still_one_account() {
        let mut known = Known::new(DAY);
        let long = "x".repeat(300);
        (0..20).for_each(|number| learn(&mut known, 0, number, &long));
        assert_eq!(known.len(), 8);
    }

    proptest::proptest! {
        #[test]
        fn accounts_and_addresses_always_agree(steps in proptest::collection::vec((0_u32..30, 0_u8..5, 0_u8..10), 0..300)) {
            let mut known = Known::new(Duration::from_secs(50));
            for (time, (number, name, what)) in steps.into_iter().enumerate() {
                let time = time as i64;
                match what {
                    0 => drop(known.forget(ip(number))),
                    1 => drop(known.sweep(at(time), 10)),
                    _ => learn(&mut known, time, number, &name.to_string()),
                }
                let held: usize = known.accounts.iter().map(|use_of| use_of.len).sum();
                proptest::prop_assert_eq!(held, known.len());
                for use_of in known.accounts.iter() {
                    proptest::prop_assert!(use_of.len > 0);
                    for place in use_of.places() {
                        proptest::prop_assert_eq!(known.addresses.get(*place as usize).unwrap().account, use_of.account);
                    }
                }
            }
        }
    }
}
