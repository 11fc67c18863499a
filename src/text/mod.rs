//! Text that an attacker wrote: made harmless, and kept in memory of a fixed size.

pub mod bounded_text;
pub mod escape;
