//! What identifies an account.
#![forbid(unsafe_code)]

use crate::text::bounded_text::BoundedText;

/// An account: `user@domain`, or `gateway NAME`, in lower case. FreeSWITCH takes a user's name in any case, so that
/// another spelling is no other account.
pub type Account = BoundedText<96>;

/// FreeSWITCH finds for a name that begins so the first user of the domain who has not the name that follows (seen in
/// 1.10.12 and 1.11.2): one user has as many such names as anybody cares to write.
const ANYBODY_BUT: &[u8] = b"!";

/// The account of a user, in the domain in which FreeSWITCH looks for it. Where the sender chooses the domain, it could
/// write an account's name with the `@` elsewhere, or all of it as the user of no domain. FreeSWITCH finds nobody of
/// that name, and what follows from that must not follow for the account: hence an `@` at the end.
pub fn of_user(user: &[u8], domain: &[u8]) -> Account {
    let user = if user.starts_with(ANYBODY_BUT) { ANYBODY_BUT } else { user };
    let looks_like_another = (if domain.is_empty() { user } else { domain }).contains(&b'@');
    let end: &[u8] = if looks_like_another { b"@" } else { b"" };
    if domain.is_empty() { lower_case(&[user, end]) } else { lower_case(&[user, b"@", domain, end]) }
}

/// The account that is told as one name, `user` or `user@domain`.
pub fn of_name(name: &[u8]) -> Account {
    if name.starts_with(ANYBODY_BUT) {
        let domain = name.iter().position(|&byte| byte == b'@').map_or(&b""[..], |at| &name[at..]);
        return lower_case(&[ANYBODY_BUT, domain]);
    }
    lower_case(&[name])
}

/// Whether it is an account of its own: a login as "anybody but" shows nothing about the next one.
pub fn is_somebodys(account: &Account) -> bool {
    !account.bytes().starts_with(ANYBODY_BUT)
}

/// What stands for a gateway that this switch has registered with.
pub fn of_gateway(name: &[u8]) -> Account {
    lower_case(&[b"gateway ", name])
}

fn lower_case(texts: &[&[u8]]) -> Account {
    // One byte more than is kept, so that a longer name is marked as cut.
    let mut room = [0; 100];
    let mut len = 0;
    for text in texts {
        let part = &text[..text.len().min(room.len() - len)];
        room[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    room[..len].make_ascii_lowercase();
    Account::new(&room[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_of_a_users_name_is_the_same_account() {
        assert_eq!(of_user(b"Alice", b"Switch.Example"), of_user(b"aLICE", b"switch.example"));
        assert_eq!(of_name(b"Alice@x"), of_user(b"alice", b"x"));
        assert_ne!(of_user(b"alice", b"x"), of_user(b"bob", b"x"));
        assert_ne!(of_user(b"alice@x", b""), of_user(b"alice", b"x"));
        assert_ne!(of_user(b"bob", b"corp@x"), of_user(b"bob@corp", b"x"));
        assert_eq!(of_gateway(b"T").bytes(), b"gateway t");
    }

    #[test]
    fn all_names_that_mean_anybody_but_one_are_one_account_of_nobody() {
        assert_eq!(of_user(b"!a", b"x").bytes(), b"!@x");
        assert_eq!(of_name(b"!b@x"), of_user(b"!c", b"x"));
        assert_eq!(of_name(b"!b").bytes(), b"!");
        assert!(!is_somebodys(&of_user(b"!", b"x")));
        assert!(is_somebodys(&of_user(b"a!", b"x")));
    }
}
