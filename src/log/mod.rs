//! From a signal to a line in the log file.

pub mod buffer;
pub mod journal;
pub mod line;
pub mod lines;
mod log_file;
mod shared;
pub mod snapshot;
mod writer;
