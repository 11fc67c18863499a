//! What identifies an account.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::text::bounded_text::BoundedText;

/// As much of an account as is shown.
pub type Name = BoundedText<64>;

/// A longer account is identified by this much of it, and its length.
const MOST: usize = 256;

/// An account, `user@domain` in lower case: what is shown of it, and a keyed hash that
/// identifies it, since an attacker chooses the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The keyed hash of the whole.
    pub id: u64,
    /// What is shown.
    pub name: Name,
}

impl Account {
    /// From `user@domain` in any case. FreeSWITCH compares ASCII letters without regard to case, and no others.
    pub fn new(hasher: &RandomState, text: &[u8]) -> Account {
        let mut lower = [0; MOST];
        let len = text.len().min(MOST);
        let lower = &mut lower[..len];
        lower.copy_from_slice(&text[..len]);
        lower.make_ascii_lowercase();
        let mut hash = hasher.build_hasher();
        hash.write(lower);
        hash.write_usize(text.len());
        Account { id: hash.finish(), name: Name::new(lower) }
    }

    /// A hash of the account at a source that has this hash. Both are keyed, each with its own key, so together
    /// they are as good as one more.
    pub fn at(&self, source: u64) -> u64 {
        self.id ^ source.rotate_left(29)
    }
}

/// An account as an operator types it: `user` or `user@domain`, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typed(Name);

impl Typed {
    /// From what was typed.
    pub fn new(text: &str) -> Typed {
        Typed(Name::new(text.to_ascii_lowercase().as_bytes()))
    }

    /// Whether it means this account; without a domain it means those of all domains.
    pub fn means(&self, name: &Name) -> bool {
        let (typed, name) = (self.0.bytes(), name.bytes());
        let Some(rest) = name.strip_prefix(typed) else { return false };
        rest.is_empty() || (rest[0] == b'@' && !typed.contains(&b'@'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_is_written_in_many_ways_and_many_are_not_one() {
        let hasher = RandomState::new();
        let account = |text: &[u8]| Account::new(&hasher, text);
        assert_eq!(account(b"Alice@Example.COM"), account(b"alice@example.com"));
        assert_ne!(account(b"1001@a").id, account(b"1001@b").id);
        // Too long to be shown.
        let (one, two) = ([b'x'; 200], [b'x'; 201]);
        assert_eq!(account(&one).name, account(&two).name);
        assert_ne!(account(&one).id, account(&two).id);
        assert_ne!(account(&[b'x'; 9000]).id, account(&[b'x'; 9001]).id);
    }

    #[test]
    fn an_operator_may_leave_out_the_domain() {
        for (typed, name, meant) in [
            ("1001", "1001@a", true),
            ("1001@A", "1001@a", true),
            ("1001@b", "1001@a", false),
            ("100", "1001@a", false),
            ("1001", "1001", true),
        ] {
            assert_eq!(Typed::new(typed).means(&Name::new(name.as_bytes())), meant, "{typed} {name}");
        }
    }
}
