//! What an operator sees and types.

pub mod attackers;
pub mod command;
mod forgive;
pub mod metrics;
mod standing;
pub mod status;
mod status_json;
mod status_text;
mod why;
mod why_account;
mod words;
