//! What makes an attacker: the table of causes.
#![forbid(unsafe_code)]

use std::fmt;

/// What a source has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Credentials were refused or not confirmed.
    Failure,
    /// A challenge was never answered.
    Unanswered,
    /// A call was abandoned at its challenge.
    Abandoned,
    /// An ACL turned a request away.
    Acl,
    /// A call of a stranger's went nowhere.
    Nowhere,
    /// Credentials for a user that the directory does not have.
    UnknownUser,
    /// A failure for an account that many strangers guess.
    GuessedAccount,
    /// The dialplan or an operator reported it.
    Report,
}

/// A row of the table of causes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The cause.
    pub cause: Cause,
    /// Its name in `causes="failure=7 unknown_user=1"`.
    pub name: &'static str,
    /// The points that it adds.
    pub points: u32,
    /// A single packet sent in another's name suffices: it makes no level.
    pub by_one_packet: bool,
    /// Counts with `known-for` 0 as well, where nobody is known.
    pub without_known: bool,
}

const fn row(cause: Cause, name: &'static str, points: u32) -> Row {
    Row { cause, name, points, by_one_packet: false, without_known: false }
}

/// All causes, in the order in which they are written.
pub const CAUSES: [Row; Cause::COUNT] = [
    Row { without_known: true, ..row(Cause::Failure, "failure", 1) },
    Row { by_one_packet: true, ..row(Cause::Unanswered, "unanswered", 1) },
    Row { by_one_packet: true, ..row(Cause::Abandoned, "abandoned", 1) },
    Row { by_one_packet: true, ..row(Cause::Acl, "acl", 1) },
    Row { by_one_packet: true, ..row(Cause::Nowhere, "nowhere", 1) },
    row(Cause::UnknownUser, "unknown_user", 3),
    row(Cause::GuessedAccount, "guessed_account", 5),
    Row { without_known: true, ..row(Cause::Report, "report", 1) },
];

/// Points of `unknown_user` for a name that is not new, and for any while the directory is at fault.
pub const UNKNOWN_USER_AGAIN: u32 = 1;

impl Cause {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// Its row in the table.
    pub fn row(self) -> &'static Row {
        &CAUSES[self as usize]
    }

    /// The cause of this name.
    pub fn of_name(name: &str) -> Option<Cause> {
        CAUSES.iter().find(|row| row.name == name).map(|row| row.cause)
    }
}

/// How often there was each cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u32; Cause::COUNT]);

impl Counts {
    /// How often there was this one.
    pub fn of(&self, cause: Cause) -> u32 {
        self.0[cause as usize]
    }

    /// Those that there were, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u32)> + '_ {
        CAUSES.iter().map(|row| (row.cause, self.of(row.cause))).filter(|(_, count)| *count > 0)
    }

    /// More of one.
    pub fn add(&mut self, cause: Cause, count: u32) {
        self.0[cause as usize] = self.of(cause).saturating_add(count);
    }

    /// One less.
    pub fn take_back(&mut self, cause: Cause) {
        self.0[cause as usize] = self.of(cause).saturating_sub(1);
    }
}

impl fmt::Display for Counts {
    /// `failure=7 unknown_user=1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (cause, count)) in self.iter().enumerate() {
            let space = if number > 0 { " " } else { "" };
            write!(f, "{space}{}={count}", cause.row().name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_row_and_its_name() {
        for (number, row) in CAUSES.iter().enumerate() {
            assert_eq!(row.cause as usize, number);
            assert_eq!(row.cause.row().name, row.name);
            assert_eq!(Cause::of_name(row.name), Some(row.cause));
        }
        assert_eq!(Cause::of_name("nonsense"), None);
    }

    #[test]
    fn causes_are_written_with_their_counts() {
        let mut counts = Counts::default();
        assert_eq!(counts.to_string(), "");
        counts.add(Cause::UnknownUser, 1);
        counts.add(Cause::Failure, 7);
        assert_eq!(counts.to_string(), "failure=7 unknown_user=1");
    }
}
