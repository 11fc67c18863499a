//! What an operator sees and types.

pub mod command;
pub mod metrics;
pub mod status;
