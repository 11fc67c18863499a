//! Which sources are never judged, and why.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::net::IpAddr;

use crate::host::configuration;
use crate::settings::Settings;

/// What makes an address one that is never judged. Asks FreeSWITCH for its named lists.
pub fn trusted_by(settings: &Settings, ip: IpAddr) -> Option<String> {
    if settings.is_own(ip) {
        return Some("an address of this switch".into());
    }
    let trusted = &settings.trusted;
    let network = trusted.networks.iter().find(|network| network.contains(&ip)).map(ToString::to_string);
    let list = || {
        let ip = CString::new(ip.to_string()).ok()?;
        let list = trusted.lists.iter().find(|list| configuration::acl_allows(list, &ip))?;
        Some(list.to_string_lossy().into_owned())
    };
    network.or_else(list).map(|name| format!("trusted-acl {name}"))
}
