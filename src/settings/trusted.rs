//! Addresses that the settings trust.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::net::IpAddr;

use ipnet::IpNet;

/// `trusted-acl`, by what each value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// CIDRs: the module compares them itself, each address family by itself. FreeSWITCH would compare the bytes of
    /// either family, so that `10.0.0.0/8` trusted 2001:db0a::1.
    pub networks: Vec<IpNet>,
    /// Names of lists: FreeSWITCH is asked.
    pub lists: Vec<CString>,
}

impl Trusted {
    /// Whether one of the CIDRs holds an address.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Whether one of the CIDRs has an address in common with a network.
    pub fn overlaps(&self, network: IpNet) -> bool {
        overlap(&self.networks, network)
    }

    /// All of them, as they can be written.
    pub fn names(&self) -> Vec<String> {
        let lists = self.lists.iter().map(|list| list.to_string_lossy().into_owned());
        self.networks.iter().map(IpNet::to_string).chain(lists).collect()
    }
}

/// Whether one of some networks has an address in common with another.
pub fn overlap(networks: &[IpNet], network: IpNet) -> bool {
    networks.iter().any(|one| one.contains(&network) || network.contains(one))
}
