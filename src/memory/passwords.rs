//! Which accounts need a password. FreeSWITCH accepts anything for a user without one, so that such an account proves
//! nothing about the address it logs in from. The directory is asked once for each account, off FreeSWITCH's threads.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::decision::Source;
use crate::memory::account::Account;
use crate::memory::known::MOST;
use crate::table::Table;
use crate::text::bounded_text::BoundedText;

/// Most logins that wait for an answer. Later ones make nobody known: the next login of the account does.
const MOST_WAITING: usize = 1024;

/// A login whose account is to be asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// The user, as it was sent.
    pub user: BoundedText<64>,
    /// The domain in which FreeSWITCH looks for it.
    pub domain: BoundedText<64>,
    /// Both, as they are compared.
    pub account: Account,
    /// The source that logged in.
    pub source: Source,
    /// When, in seconds of the monotonic clock.
    pub seen: i64,
}

struct Answer {
    account: Account,
    generation: u32,
    has_password: bool,
}

/// What the directory has answered, and what it is to be asked.
pub struct Passwords {
    answers: Table<Answer>,
    /// Answers of an earlier one do not count.
    generation: u32,
    questions: Vec<Question>,
    hasher: RandomState,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords {
            answers: Table::new(MOST),
            generation: 0,
            questions: Vec::with_capacity(MOST_WAITING),
            hasher: RandomState::new(),
        }
    }
}

impl Passwords {
    /// Whether an account needs a password, if the directory was asked.
    pub fn of(&self, account: &Account) -> Option<bool> {
        let slot = self.find(account)?;
        self.answers.get(slot).map(|answer| answer.has_password)
    }

    /// The directory is to be asked; whether there is room. A name that is too long can't be asked for.
    pub fn ask(&mut self, question: Question) -> bool {
        let has_room = self.questions.len() < MOST_WAITING;
        let can_ask = has_room && !question.user.is_cut() && !question.domain.is_cut();
        if can_ask {
            self.questions.push(question);
        }
        can_ask
    }

    /// Whether half of the room is taken.
    pub fn is_filling(&self) -> bool {
        self.questions.len() >= MOST_WAITING / 2
    }

    /// What the directory is to be asked next.
    pub fn next(&self) -> Option<Question> {
        self.questions.first().cloned()
    }

    /// The directory has answered; shows the logins that waited for it.
    pub fn answer(&mut self, account: &Account, has_password: bool, mut show: impl FnMut(&Question)) {
        if self.find(account).is_none() {
            let answer = Answer { account: *account, generation: self.generation, has_password };
            self.answers.insert_evicting(self.hasher.hash_one(account), answer);
        }
        self.questions.retain(|question| {
            let is_its = question.account == *account;
            if is_its {
                show(question);
            }
            !is_its
        });
    }

    /// The directory may have changed: it is asked again.
    pub fn forget(&mut self) {
        self.generation += 1;
    }

    fn find(&self, account: &Account) -> Option<usize> {
        self.answers.find(self.hasher.hash_one(account), |answer| {
            answer.account == *account && answer.generation == self.generation
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, ip: u8) -> Question {
        Question {
            user: BoundedText::new(name.as_bytes()),
            domain: BoundedText::new(b"x"),
            account: Account::new(name.as_bytes()),
            source: Source::single([10, 0, 0, ip].into()),
            seen: 0,
        }
    }

    #[test]
    fn the_directory_is_asked_once_for_all_logins_of_an_account_until_it_may_have_changed() {
        let mut passwords = Passwords::default();
        for (name, ip) in [("1001", 1), ("default", 2), ("1001", 3)] {
            assert!(passwords.ask(question(name, ip)));
        }
        let account = passwords.next().unwrap().account;
        assert_eq!((account, passwords.of(&account)), (Account::new(b"1001"), None));
        let mut shown = Vec::new();
        passwords.answer(&account, true, |question| shown.push(question.source));
        assert_eq!(shown, [question("", 1).source, question("", 3).source]);
        assert_eq!(passwords.of(&account), Some(true));
        let account = passwords.next().unwrap().account;
        passwords.answer(&account, false, |_| {});
        assert_eq!((passwords.of(&account), passwords.next().is_none()), (Some(false), true));
        passwords.forget();
        assert_eq!(passwords.of(&account), None);
        passwords.answer(&account, true, |_| {});
        assert_eq!(passwords.of(&account), Some(true));
    }

    #[test]
    fn a_flood_of_logins_and_a_name_that_is_too_long_are_not_asked_for() {
        let mut passwords = Passwords::default();
        assert!(!passwords.ask(question(&"x".repeat(65), 1)));
        let asked = (0..2 * MOST_WAITING).filter(|_| passwords.ask(question("a", 1))).count();
        assert_eq!(asked, MOST_WAITING);
    }
}
