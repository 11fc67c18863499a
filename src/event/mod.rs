//! What FreeSWITCH reports: event types, the headers they are read from, and one event, whole and checked.

pub mod address;
pub mod event_type;
pub mod field;
pub mod headers;
pub mod host_line;
pub mod nowhere;
pub mod signal;
