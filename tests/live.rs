//! The module in a real FreeSWITCH, under attack: sipp, hostile names and Verto over real sockets, in network
//! namespaces that the tests make. `FREESWITCH_PREFIX` says where FreeSWITCH is; without it all of these are
//! ignored. Where `C_MODULE_SO` names FreeSWITCH's own mod_fail2ban.so, the two are compared.

#[path = "support/fail2ban/mod.rs"]
mod fail2ban;
#[path = "support/suite.rs"]
mod suite;
mod support;

#[path = "live/agent.rs"]
mod agent;
#[path = "live/configuration.rs"]
mod configuration;
#[path = "live/sip.rs"]
mod sip;
#[path = "live/sipp.rs"]
mod sipp;
#[path = "live/site.rs"]
mod site;
#[path = "live/stock.rs"]
mod stock;
#[path = "live/verto.rs"]
mod verto;

#[path = "live/ban.rs"]
mod ban;
#[path = "live/drop_in.rs"]
mod drop_in;
#[path = "live/hostile.rs"]
mod hostile;
#[path = "live/loading.rs"]
mod loading;
#[path = "live/look_ups.rs"]
mod look_ups;
#[path = "live/reload.rs"]
mod reload;
#[path = "live/rotation.rs"]
mod rotation;
#[path = "live/signals.rs"]
mod signals;
#[path = "live/street.rs"]
mod street;

use std::process::ExitCode;

use suite::Suite;

fn main() -> ExitCode {
    let mut suite = Suite::default();
    ban::add_to(&mut suite);
    drop_in::add_to(&mut suite);
    hostile::add_to(&mut suite);
    loading::add_to(&mut suite);
    look_ups::add_to(&mut suite);
    reload::add_to(&mut suite);
    rotation::add_to(&mut suite);
    signals::add_to(&mut suite);
    street::add_to(&mut suite);
    suite.for_each_core(1).run()
}
