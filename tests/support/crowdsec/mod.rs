//! CrowdSec, unpacked and not installed, on two switches.

pub mod network;
pub mod site;
