//! The module in a real FreeSWITCH, under attack: sipp, hostile names and Verto over real sockets, in network
//! namespaces that the tests make. `FREESWITCH_PREFIX` says where FreeSWITCH is; without it all of these are
//! ignored. Where `C_MODULE_SO` names FreeSWITCH's own mod_fail2ban.so, the two are compared.

mod addresses;
mod agent;
mod configuration;
mod guesser;
mod kamailio;
mod proxied;
mod sip;
mod sipp;
mod site;
mod stock;
mod trunk;
mod verto;

mod ban;
mod city;
mod container;
mod drop_in;
mod flood;
mod guesses;
mod hostile;
mod loading;
mod look_ups;
mod nowhere;
mod preload;
mod proxy;
mod proxy_header;
mod refusal;
mod reload;
mod rotation;
mod signals;
mod street;
mod tenants;

use crate::support::suite::Suite;

/// The tests of this folder.
pub fn add_to(suite: &mut Suite) {
    ban::add_to(suite);
    city::add_to(suite);
    container::add_to(suite);
    drop_in::add_to(suite);
    flood::add_to(suite);
    guesses::add_to(suite);
    hostile::add_to(suite);
    loading::add_to(suite);
    look_ups::add_to(suite);
    nowhere::add_to(suite);
    preload::add_to(suite);
    proxy::add_to(suite);
    proxy_header::add_to(suite);
    refusal::add_to(suite);
    reload::add_to(suite);
    rotation::add_to(suite);
    signals::add_to(suite);
    street::add_to(suite);
    tenants::add_to(suite);
}
