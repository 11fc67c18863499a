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
//!  refusal, report: what else can be asked of the engine
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
mod outstanding;
mod ranked;
mod record;
mod refusal;
mod report;
mod returning;
pub mod source;
mod sources;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use account::{Name, Typed};
pub use cause::{Cause, Counts};
pub use engine::{Engine, Found, Outcome, Settings};
pub use event::{Event, Method, Standing, What};
pub use excuse::Request;
pub use guessed::AccountUnderAttack;
pub use refusal::{Answer, Lookup, Refusal, Why};
pub use report::{AccountAtSource, AccountReport, AttackReport, CauseReport, SourceReport, TriedReport};
pub use source::Source;
