//! Network lists, from `acl.conf`, and CIDRs that stand in a list's place.

use std::ffi::{CStr, c_char};
use std::net::IpAddr;

use crate::sys;
use parking_lot::RwLock;
use serde::Deserialize;

#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "network-lists", default)]
    lists: Lists,
}

#[derive(Deserialize, Default)]
struct Lists {
    #[serde(default)]
    list: Vec<List>,
}

#[derive(Deserialize)]
struct List {
    #[serde(rename = "@name")]
    name: String,
    #[serde(rename = "@default", default)]
    default: String,
    #[serde(default)]
    node: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "@type")]
    kind: Option<String>,
    #[serde(rename = "@cidr", default)]
    cidr: String,
}

static LISTS: RwLock<Vec<List>> = RwLock::new(Vec::new());

/// Reads `acl.conf` anew, as `reloadacl` does.
pub fn reload() {
    let configuration = super::xml::configuration("acl.conf");
    let parsed = configuration.and_then(|text| quick_xml::de::from_str::<Configuration>(&text).ok());
    *LISTS.write() = parsed.map(|configuration| configuration.lists.list).unwrap_or_default();
}

impl List {
    /// The narrowest network that holds the address decides; a later one of the same width does not.
    fn allows(&self, ip: IpAddr) -> bool {
        let by_default = self.default != "deny";
        let mut answer = (0, by_default);
        for node in self.node.iter().rev() {
            if let Some(bits) = matching_bits(&node.cidr, ip).filter(|bits| *bits >= answer.0) {
                answer = (bits, node.kind.as_ref().map_or(by_default, |kind| kind != "deny"));
            }
        }
        answer.1
    }
}

/// The width of a network that holds the address.
fn matching_bits(cidr: &str, ip: IpAddr) -> Option<u32> {
    let (network, bits) = cidr.trim().split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let differ = match (network.parse().ok()?, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => (network.to_bits() ^ ip.to_bits()).leading_zeros(),
        (IpAddr::V6(network), IpAddr::V6(ip)) => (network.to_bits() ^ ip.to_bits()).leading_zeros(),
        _ => return None,
    };
    (differ >= bits).then_some(bits)
}

/// As the core compares a CIDR that stands in a list's place: byte by byte, whatever family the two are of.
/// An IPv4 address is a number there, its last byte first.
fn matches_any_family(cidr: &str, ip: IpAddr) -> Option<bool> {
    let (network, bits) = cidr.trim().split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let differ = match (network.parse().ok()?, ip) {
        (IpAddr::V4(network), IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.octets();
            (network.to_bits() ^ u32::from_le_bytes([a, b, c, d])).leading_zeros()
        }
        (IpAddr::V6(network), IpAddr::V4(ip)) => {
            let bytes = u128::from(u32::from_be_bytes(ip.to_bits().to_le_bytes())) << 96;
            (network.to_bits() ^ bytes).leading_zeros()
        }
        _ => return matching_bits(cidr, ip).map(|_| true),
    };
    Some(differ >= bits)
}

/// Whether a list, or one of a few CIDRs, holds an address.
///
/// # Safety
/// The texts are C strings (`list_name` may be NULL). `token` is not written to: no list here has tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_check_network_list_ip_token(
    ip_str: *const c_char,
    list_name: *const c_char,
    _token: *mut *const c_char,
) -> sys::switch_bool_t {
    // SAFETY: as this function asks of its caller.
    let ip = unsafe { super::borrowed(ip_str) }.map(CStr::to_string_lossy);
    // SAFETY: as this function asks of its caller.
    let name = unsafe { super::borrowed(list_name) }.map(CStr::to_string_lossy);
    let Some(Ok(ip)) = ip.map(|ip| ip.parse::<IpAddr>()) else {
        super::fault("an address that does not parse was looked up in a network list");
    };
    let (ip, name) = (ip.to_canonical(), name.unwrap_or_default());
    let lists = LISTS.read();
    let allowed = match lists.iter().find(|list| list.name == name) {
        Some(list) => list.allows(ip),
        None => name.split(',').any(|cidr| matches_any_family(cidr, ip) == Some(true)),
    };
    sys::switch_bool_t::from(allowed)
}
