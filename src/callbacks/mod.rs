//! FreeSWITCH calls us: events, lookups in the directory, log lines, the console command, the application.
//!
//! Everything here turns what FreeSWITCH passes into borrowed, checked values and hands it to a function that was
//! given when it was bound. It rests on the rules at the head of [`crate::host`].

pub mod directory;
pub mod event;
pub mod interface;
pub mod log_listener;
