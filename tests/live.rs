//! The module in a real FreeSWITCH, under attack: sipp, hostile names and Verto over real sockets, in network
//! namespaces that the tests make. `FREESWITCH_PREFIX` says where FreeSWITCH is; without it nothing is tested
//! here. Where `C_MODULE_SO` names FreeSWITCH's own mod_fail2ban.so, the two are compared.

mod common;
#[path = "fail2ban/daemon.rs"]
mod daemon;
mod fail2ban;
#[path = "fail2ban/network.rs"]
mod network;

#[path = "live/configuration.rs"]
mod configuration;
#[path = "live/console.rs"]
mod console;
#[path = "live/sip.rs"]
mod sip;
#[path = "live/sipp.rs"]
mod sipp;
#[path = "live/site.rs"]
mod site;
#[path = "live/verto.rs"]
mod verto;

#[path = "live/bad_settings.rs"]
mod bad_settings;
#[path = "live/ban.rs"]
mod ban;
#[path = "live/command.rs"]
mod command;
#[path = "live/drop_in.rs"]
mod drop_in;
#[path = "live/hostile.rs"]
mod hostile;
#[path = "live/loading.rs"]
mod loading;
#[path = "live/reload.rs"]
mod reload;
#[path = "live/rotation.rs"]
mod rotation;
#[path = "live/signals.rs"]
mod signals;
