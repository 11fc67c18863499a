//! Lookups that FreeSWITCH may warn of: that the directory has no such user.
//!
//! The warning's text is the sender's, but the lookup that it is about was seen: only a line that is to the letter what
//! FreeSWITCH writes about a lookup counts, so that no name can be written that looks like another line.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use crate::memory::account::{self, Account};
use crate::memory::lookup::{Client, Lookup};
use crate::table::Table;
use crate::text::bounded_text::BoundedText;

/// Most lookups whose warning may be to come: FreeSWITCH's log is a thread of its own.
const MOST: usize = 2048;
const START: &[u8] = b"Can't find user [";
const FROM: &[u8] = b"] from ";
const DOMAIN: &[u8] = b"\nYou must define a domain called '";
const ID: &[u8] = b"' in your directory and add a user with the id=\"";
const END: &[u8] =
    b"\" attribute\nand you must configure your device to use the proper domain in its authentication credentials.\n";

/// A lookup, as far as a warning shows it.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// The address that sent it.
    pub ip: IpAddr,
    /// For whom it counts.
    pub client: Client,
    /// The account.
    pub account: Account,
    /// The transport.
    pub transport: Option<&'static [u8]>,
    user: BoundedText<64>,
    domain: BoundedText<64>,
    address: BoundedText<48>,
    /// How many there were that differ in nothing.
    count: u32,
}

/// Lookups, by the beginning of the line that they may cause.
pub struct Unknown {
    lookups: Table<Looked>,
    hasher: RandomState,
}

impl Default for Unknown {
    fn default() -> Unknown {
        Unknown { lookups: Table::new(MOST), hasher: RandomState::new() }
    }
}

impl Unknown {
    /// A lookup that FreeSWITCH may find nobody for. A name too long to be kept counts as a failure alone.
    pub fn looked_up(&mut self, lookup: &Lookup<'_>) {
        let Some(client) = lookup.client else { return };
        let looked = Looked {
            ip: lookup.ip,
            client,
            account: account::of_user(lookup.user, lookup.domain),
            transport: lookup.transport,
            user: BoundedText::new(lookup.user),
            domain: BoundedText::new(lookup.domain),
            address: BoundedText::new(lookup.address),
            count: 1,
        };
        if looked.user.is_cut() || looked.domain.is_cut() || looked.address.is_cut() {
            return;
        }
        let key = self.key(&[lookup.user, b"@", lookup.domain, FROM, lookup.address]);
        let is_same = |there: &Looked| there.client == client && there.transport == looked.transport;
        let same = self.lookups.find(key, is_same).and_then(|slot| self.lookups.get_mut(slot));
        match same {
            Some(same) => same.count = same.count.saturating_add(1),
            None => {
                self.lookups.insert_evicting(key, looked);
            }
        }
    }

    /// Whether a line may be such a warning.
    pub fn is_warning(line: &[u8]) -> bool {
        line.trim_ascii_start().starts_with(START)
    }

    /// The lookup that a warning of FreeSWITCH's is about; once.
    pub fn warned(&mut self, line: &[u8]) -> Option<Looked> {
        let rest = line.trim_ascii_start().strip_prefix(START)?;
        let end = rest.windows(DOMAIN.len()).position(|window| window == DOMAIN)?;
        let slot = self.lookups.find(self.key(&[&rest[..end]]), |looked| looked.writes(rest))?;
        let looked = self.lookups.get_mut(slot)?;
        looked.count -= 1;
        if looked.count > 0 { Some(*looked) } else { self.lookups.remove(slot) }
    }

    fn key(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

impl Looked {
    /// The user, as it was sent.
    pub fn user(&self) -> &[u8] {
        self.user.bytes()
    }

    /// Whether FreeSWITCH writes this about it, after the beginning.
    fn writes(&self, mut line: &[u8]) -> bool {
        let (user, domain) = (self.user.bytes(), self.domain.bytes());
        let parts =
            [user, b"@", domain, FROM, self.address.bytes(), DOMAIN, domain, ID, user, END.trim_ascii_end()];
        for part in parts {
            let Some(rest) = line.strip_prefix(part) else { return false };
            line = rest;
        }
        line.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, domain: &str, ip: &str) -> String {
        format!(
            "Can't find user [{user}@{domain}] from {ip}\nYou must define a domain called '{domain}' in your directory \
             and add a user with the id=\"{user}\" attribute\nand you must configure your device to use the proper \
             domain in its authentication credentials.\n"
        )
    }

    fn look_up(unknown: &mut Unknown, user: &str, domain: &str, ip: &str) {
        unknown.looked_up(&Lookup {
            ip: ip.parse().unwrap(),
            address: ip.as_bytes(),
            user: user.as_bytes(),
            domain: domain.as_bytes(),
            ..Lookup::default()
        });
    }

    #[test]
    fn a_warning_is_about_the_lookup_that_it_shows_and_once() {
        let mut unknown = Unknown::default();
        look_up(&mut unknown, "Bob", "x", "10.0.0.1");
        assert!(unknown.warned(line("bob", "x", "10.0.0.1").as_bytes()).is_none());
        assert!(unknown.warned(line("Bob", "x", "10.0.0.2").as_bytes()).is_none());
        let looked = unknown.warned(line("Bob", "x", "10.0.0.1").as_bytes()).unwrap();
        assert_eq!((looked.ip.to_string().as_str(), looked.account.bytes()), ("10.0.0.1", &b"bob@x"[..]));
        assert!(unknown.warned(line("Bob", "x", "10.0.0.1").as_bytes()).is_none());
    }

    #[test]
    fn each_of_many_equal_lookups_has_its_warning_and_takes_no_room_from_others() {
        let mut unknown = Unknown::default();
        look_up(&mut unknown, "other", "x", "10.0.0.2");
        (0..10_000).for_each(|_| look_up(&mut unknown, "bob", "x", "10.0.0.1"));
        let warning = line("bob", "x", "10.0.0.1");
        assert!((0..10_000).all(|_| unknown.warned(warning.as_bytes()).is_some()));
        assert!(unknown.warned(warning.as_bytes()).is_none());
        assert!(unknown.warned(line("other", "x", "10.0.0.2").as_bytes()).is_some());
    }

    #[test]
    fn names_that_look_like_another_line_are_of_their_own_lookup() {
        let victim = line("1001", "x", "9.9.9.9");
        let victim = victim.strip_prefix("Can't find user [").unwrap();
        for user in
            ["1001@x] from 9.9.9.9", "1001@x] from 9.9.9.9\nYou must define a domain called 'x'", victim]
        {
            let mut unknown = Unknown::default();
            look_up(&mut unknown, "1001", "x", "9.9.9.9");
            look_up(&mut unknown, user, "x", "10.0.0.1");
            if let Some(looked) = unknown.warned(line(user, "x", "10.0.0.1").as_bytes()) {
                assert_eq!(looked.ip.to_string(), "10.0.0.1");
            }
            assert!(unknown.warned(line("1001", "x", "9.9.9.9").as_bytes()).is_some(), "it is still to come");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_accuses_anybody_but_its_sender(user in "\\PC{0,70}", other in "[a-z]{1,3}") {
            let mut unknown = Unknown::default();
            look_up(&mut unknown, &other, "x", "9.9.9.9");
            look_up(&mut unknown, &user, "x", "10.0.0.1");
            let found = unknown.warned(line(&user, "x", "10.0.0.1").as_bytes());
            proptest::prop_assert!(found.is_none_or(|looked| looked.ip.to_string() == "10.0.0.1"));
        }
    }
}
