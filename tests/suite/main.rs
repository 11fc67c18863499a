//! All suites, in one program: a module for each, which lists its tests beside what they need.

/// What they share.
#[path = "../support"]
mod support {
    pub mod crowdsec;
    pub mod fail2ban;
    pub mod namespace;
    pub mod needs;
    pub mod reader;
    pub mod rsyslog;
    pub mod suite;
    mod switch;

    pub use switch::*;
}

mod abi;
mod answers;
mod ban;
mod check_filter;
mod command;
mod configuration;
mod crowdsec;
mod decision;
mod disks;
mod documents;
mod drop_in;
mod filter;
mod forgery;
mod journal;
mod known;
mod life_cycle;
mod live;
mod look_ups;
mod metrics;
mod nowhere;
mod package;
mod refusal;
mod reports;
mod rotation;
mod shipping;
mod signals;
mod stand_in;
mod starting;

use std::process::ExitCode;

use support::suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::default();
    // They start in this order: those that take longest come first.
    crowdsec::add_to(&mut suite);
    ban::add_to(&mut suite);
    live::add_to(&mut suite);
    package::add_to(&mut suite);
    filter::add_to(&mut suite);
    check_filter::add_to(&mut suite);
    forgery::add_to(&mut suite);
    life_cycle::add_to(&mut suite);
    disks::add_to(&mut suite);
    abi::add_to(&mut suite);
    answers::add_to(&mut suite);
    command::add_to(&mut suite);
    configuration::add_to(&mut suite);
    decision::add_to(&mut suite);
    documents::add_to(&mut suite);
    drop_in::add_to(&mut suite);
    journal::add_to(&mut suite);
    known::add_to(&mut suite);
    look_ups::add_to(&mut suite);
    metrics::add_to(&mut suite);
    refusal::add_to(&mut suite);
    nowhere::add_to(&mut suite);
    reports::add_to(&mut suite);
    rotation::add_to(&mut suite);
    shipping::add_to(&mut suite);
    signals::add_to(&mut suite);
    stand_in::add_to(&mut suite);
    starting::add_to(&mut suite);
    let outcome = suite.run();
    // Many tests share these, in statics, which are never dropped.
    crowdsec::end();
    package::end();
    outcome
}
