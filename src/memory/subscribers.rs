//! Which accounts have sent credentials with a SUBSCRIBE of a call.
//!
//! A success shows the call alone, and some SUBSCRIBEs have two. So who has an account of its own, or knows one that
//! needs no password, could have its success taken for that of a guess at another's account.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::memory::account::Account;
use crate::table::Table;
use crate::text::bounded_text::BoundedText;
use crate::time::Now;

const MOST: usize = 8192;
/// The events of a success may be this late, in microseconds.
const LASTS: i64 = 60_000_000;

/// The two accounts that sent credentials last in a call, the last one first: whichever is asked about, the last other
/// one is among them.
struct Seen([Option<(u64, Now)>; 2]);

/// Accounts, by call and profile. Nothing is allocated after it is made; when there is no room, the oldest goes.
pub struct Subscribers {
    seen: Table<Seen>,
    hasher: RandomState,
}

impl Default for Subscribers {
    fn default() -> Subscribers {
        Subscribers { seen: Table::new(MOST), hasher: RandomState::new() }
    }
}

impl Subscribers {
    /// Credentials of an account came with a SUBSCRIBE.
    pub fn add(&mut self, now: Now, call_id: &[u8], profile: &[u8], account: &Account) {
        let (key, account) = (self.key(call_id, profile), self.hasher.hash_one(account));
        let last = Some((account, now));
        let found = self.seen.find(key, |_| true);
        let Some(Seen(accounts)) = found.and_then(|slot| self.seen.get_mut(slot)) else {
            self.seen.insert_evicting(key, Seen([last, None]));
            return;
        };
        if accounts[0].is_some_and(|(there, _)| there != account) {
            accounts[1] = accounts[0];
        }
        accounts[0] = last;
    }

    /// Whether another account did in the same call, lately.
    pub fn has_another(&self, now: Now, call_id: &[u8], profile: &[u8], account: &Account) -> bool {
        let account = self.hasher.hash_one(account);
        let found = self.seen.find(self.key(call_id, profile), |_| true).and_then(|slot| self.seen.get(slot));
        found.is_some_and(|Seen(accounts)| {
            accounts
                .iter()
                .flatten()
                .any(|(there, at)| *there != account && now.monotonic - at.monotonic < LASTS)
        })
    }

    fn key(&self, call_id: &[u8], profile: &[u8]) -> u64 {
        self.hasher.hash_one((call_id, BoundedText::<32>::new(profile)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_account_in_the_same_call_of_the_same_profile_matters_and_not_for_long() {
        let at = |seconds: i64| Now { wall: 0, monotonic: seconds * 1_000_000 };
        let account = |text: &str| Account::new(text.as_bytes());
        let mut subscribers = Subscribers::default();
        subscribers.add(at(0), b"call", b"internal", &account("1005@x"));
        subscribers.add(at(5), b"call", b"internal", &account("1005@x"));
        let has_another = |at, call: &str, profile: &str, text: &str| {
            subscribers.has_another(at, call.as_bytes(), profile.as_bytes(), &account(text))
        };
        assert!(has_another(at(64), "call", "internal", "1001@x"));
        assert!(!has_another(at(65), "call", "internal", "1001@x"));
        assert!(!has_another(at(6), "call", "internal", "1005@x"));
        assert!(!has_another(at(6), "call", "open", "1001@x"));
        assert!(!has_another(at(6), "another", "internal", "1001@x"));
        // Of many, the last two are enough to know.
        for second in 0..100 {
            subscribers.add(at(second), b"crowd", b"internal", &account(&format!("{}@x", second % 7)));
        }
        for number in 0..8 {
            assert!(subscribers.has_another(
                at(100),
                b"crowd",
                b"internal",
                &account(&format!("{number}@x"))
            ));
        }
    }
}
