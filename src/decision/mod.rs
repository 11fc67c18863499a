//! Who is an attacker, and which lookups are refused: decided here and nowhere else.
//!
//! Pure: an event and a time in, an outcome out. Nothing is looked up, written or, once an [`Engine`] is made,
//! allocated (but for what an operator asks for), and no step takes longer the more there is.
//!
//! ```text
//!  engine ─┬─ sources ─┬─ record ── cause, distinct      what a source has done, and its points
//!          │           ├─ attack                         levels, periods
//!          │           └─ ranked, returning              what goes when a table is full
//!          ├─ guessed       accounts that many strangers guess
//!          ├─ neighbours    account by account at known sources
//!          ├─ outstanding   lookups whose verdict is out
//!          └─ excuse        our own refusals
//!  refusal, query, saved: what else can be asked of the engine
//!  event, outcome, report: what goes in and comes out
//! ```
#![forbid(unsafe_code)]

mod account;
mod attack;
pub mod cause;
mod distinct;
mod engine;
mod event;
mod excuse;
mod guessed;
mod neighbours;
mod outcome;
mod outstanding;
mod query;
mod ranked;
mod record;
mod refusal;
mod report;
mod returning;
mod saved;
pub mod source;
mod sources;

#[cfg(test)]
mod day;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use account::{Name, Typed};
pub use cause::{Cause, Counts};
pub use engine::Engine;
pub use event::{Event, Method, Standing, What};
pub use excuse::Request;
pub use guessed::AccountUnderAttack;
pub use outcome::{Found, Outcome, Settings};
pub use refusal::{Answer, Lookup, Refusal, Why};
pub use report::{AccountAtSource, AccountReport, AttackReport, CauseReport, SourceReport, TriedReport};
pub use source::Source;
