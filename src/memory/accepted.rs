//! Which accounts FreeSWITCH has accepted at which address lately.
//!
//! Success does not show for every SUBSCRIBE and MESSAGE: not for the event packages `call-info` and `line-seize`, for
//! a package with parameters (`dialog;sla`), for the end of a message-summary subscription, nor for a MESSAGE that only
//! signals typing. So an account that was accepted at an address is not accused there for a while: anyone who has the
//! password need not guess it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::memory::account::{self, Account};
use crate::memory::lookup::LookupOrder;
use crate::table::Table;

/// How long an accepted account is not accused, in microseconds: phones register once an hour, if not more often.
const LASTS: i64 = 7_200_000_000;
const MOST: usize = 32_768;

struct Entry {
    /// Since which lookup.
    first: u64,
    /// When last, in microseconds of the monotonic clock.
    last: i64,
}

/// Accepted accounts, by address and account, and by address alone. Not by the user: that of another domain is another's.
pub struct Accepted {
    entries: Table<Entry>,
    hasher: RandomState,
}

impl Default for Accepted {
    fn default() -> Accepted {
        Accepted { entries: Table::new(MOST), hasher: RandomState::new() }
    }
}

impl Accepted {
    /// FreeSWITCH has accepted credentials of this account from this address, looked up then.
    pub fn insert(&mut self, order: LookupOrder, ip: IpAddr, account: &Account) {
        if !account::is_somebodys(account) {
            return;
        }
        self.remember(order, self.hasher.hash_one((ip, account)));
        self.remember(order, self.hasher.hash_one(ip));
    }

    /// Whether an account had been accepted at an address before this, and not long before.
    pub fn holds(&self, by: LookupOrder, ip: IpAddr, account: &Account) -> bool {
        self.holds_key(by, self.hasher.hash_one((ip, account)))
    }

    /// Whether any account had.
    pub fn holds_address(&self, by: LookupOrder, ip: IpAddr) -> bool {
        self.holds_key(by, self.hasher.hash_one(ip))
    }

    fn remember(&mut self, LookupOrder { number, at }: LookupOrder, key: u64) {
        let at = at.monotonic;
        let slot = self.entries.find(key, |_| true);
        if let Some(entry) = slot.and_then(|slot| self.entries.get_mut(slot)) {
            if at - entry.last >= LASTS {
                entry.first = number;
            }
            entry.last = entry.last.max(at);
        } else {
            self.entries.insert_evicting(key, Entry { first: number, last: at });
        }
    }

    fn holds_key(&self, by: LookupOrder, key: u64) -> bool {
        let found = self.entries.find(key, |_| true).and_then(|slot| self.entries.get(slot));
        found.is_some_and(|entry| entry.first <= by.number && by.at.monotonic - entry.last < LASTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn account(text: &str) -> Account {
        Account::new(text.as_bytes())
    }

    fn order(number: u64, seconds: i64) -> LookupOrder {
        LookupOrder { number, at: Now { wall: 0, monotonic: seconds * 1_000_000 } }
    }

    #[test]
    fn an_account_is_accepted_from_its_lookup_on_for_two_hours_at_its_address() {
        let mut accepted = Accepted::default();
        accepted.insert(order(5, 100), IP, &account("1001@x"));
        assert!(!accepted.holds(order(4, 100), IP, &account("1001@x")), "a guess before the right one");
        assert!(
            accepted.holds(order(5, 100), IP, &account("1001@x"))
                && accepted.holds_address(order(6, 101), IP)
        );
        assert!(!accepted.holds(order(6, 101), IP, &account("1002@x")));
        assert!(!accepted.holds(order(6, 101), IP, &account("1001@y")), "another domain's");
        assert!(!accepted.holds(order(6, 101), [10, 0, 0, 2].into(), &account("1001@x")));
        assert!(
            accepted.holds(order(9, 7299), IP, &account("1001@x"))
                && !accepted.holds(order(9, 7300), IP, &account("1001@x"))
        );
        accepted.insert(order(10, 7400), IP, &account("1001@x"));
        assert!(!accepted.holds(order(9, 7400), IP, &account("1001@x")), "it was forgotten in between");
    }
}
