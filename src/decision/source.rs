//! Who is judged: an IPv4 address, or the IPv6 network that one household has.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};

/// The widest network that can be a source, in bits: the shortest `ipv6-prefix`.
pub const SHORTEST_PREFIX: u8 = 48;

/// An IPv4 address, or an IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Source {
    first: IpAddr,
    prefix: u8,
}

impl Source {
    /// The source that an address belongs to. `prefix_bits` is `ipv6-prefix`, 48 to 128.
    ///
    /// A network that is shared with somebody trusted or with a proxy is judged address by address: a stranger there
    /// must not be taken for the trusted, nor the trusted for a stranger. Link-local networks and `::1` are not households.
    pub fn of(ip: IpAddr, prefix_bits: u8, is_shared: impl Fn(IpNet) -> bool) -> Source {
        let IpAddr::V6(v6) = canonical(ip) else { return Source::single(ip) };
        if v6.is_unicast_link_local() || v6.is_loopback() {
            return Source::single(ip);
        }
        let prefix = prefix_bits.clamp(SHORTEST_PREFIX, 128);
        let network = network(v6, prefix);
        if is_shared(IpNet::V6(network)) {
            return Source::single(ip);
        }
        Source { first: network.network().into(), prefix }
    }

    /// A single address.
    pub fn single(ip: IpAddr) -> Source {
        let first = canonical(ip);
        Source { first, prefix: if first.is_ipv4() { 32 } else { 128 } }
    }

    /// The address, or the first one of the network.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Bits of the network: 32 for an IPv4 address, 128 for a single IPv6 address.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is more than one address.
    pub fn is_network(self) -> bool {
        self.first.is_ipv6() && self.prefix < 128
    }

    /// Whether an address belongs to it.
    pub fn contains(self, ip: IpAddr) -> bool {
        match (self.first, canonical(ip)) {
            (IpAddr::V6(first), IpAddr::V6(ip)) => network(first, self.prefix).contains(&ip),
            (first, ip) => first == ip,
        }
    }

    /// Whether it is this machine.
    pub fn is_loopback(self) -> bool {
        self.first.is_loopback()
    }
}

fn network(ip: Ipv6Addr, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(ip, prefix).trunc()
}

/// IPv4 where it is mapped into IPv6 (`::ffff:0:0/96`) or translated to it (NAT64, `64:ff9b::/96`).
fn canonical(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into()
            }
            _ => v6.into(),
        },
        v4 => v4,
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.width() {
            _ if !self.is_network() => self.first.fmt(f),
            // In a table, where it may allocate.
            Some(_) => f.pad(&format!("{}/{}", self.first, self.prefix)),
            None => write!(f, "{}/{}", self.first, self.prefix),
        }
    }
}

/// A text that is not a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSource;

impl fmt::Display for InvalidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an address (203.0.113.7, 2001:db8::1) or a network of 48 to 128 bits (2001:db8:1:2::/64)")
    }
}

impl std::error::Error for InvalidSource {}

impl FromStr for Source {
    type Err = InvalidSource;

    /// Reads what `Display` writes; bits behind a network's prefix are ignored.
    fn from_str(text: &str) -> Result<Source, InvalidSource> {
        let Some((ip, prefix)) = text.split_once('/') else {
            return text.parse().map(Source::single).map_err(|_| InvalidSource);
        };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| InvalidSource)?;
        match canonical(ip.parse().map_err(|_| InvalidSource)?) {
            IpAddr::V6(v6) if digits && (SHORTEST_PREFIX..=128).contains(&prefix) => {
                Ok(Source { first: network(v6, prefix).network().into(), prefix })
            }
            _ => Err(InvalidSource),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

impl TryFrom<String> for Source {
    type Error = InvalidSource;

    fn try_from(text: String) -> Result<Source, InvalidSource> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ip: &str, prefix: u8) -> String {
        Source::of(ip.parse().unwrap(), prefix, |_| false).to_string()
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        for (ip, prefix, source) in [
            ("203.0.113.7", 64, "203.0.113.7"),
            ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64"),
            ("2001:db8:1:2ff:3::4", 56, "2001:db8:1:200::/56"),
            ("2001:db8:1:2:3::4", 128, "2001:db8:1:2:3::4"),
            ("2001:db8:1:2:3::4", 3, "2001:db8:1::/48"),
            ("::ffff:203.0.113.7", 64, "203.0.113.7"),
            ("64:ff9b::203.0.113.7", 64, "203.0.113.7"),
            ("64:ff9b:1::203.0.113.7", 64, "64:ff9b:1::/64"),
            ("fe80::1", 64, "fe80::1"),
            ("::1", 64, "::1"),
        ] {
            assert_eq!(of(ip, prefix), source, "{ip}");
        }
    }

    #[test]
    fn a_network_with_trusted_addresses_in_it_is_judged_address_by_address() {
        let trusted: IpNet = "2001:db8:1:2::7/128".parse().unwrap();
        let overlaps = |network: IpNet| network.contains(&trusted) || trusted.contains(&network);
        let of = |ip: &str| Source::of(ip.parse().unwrap(), 64, overlaps).to_string();
        assert_eq!(of("2001:db8:1:2::8"), "2001:db8:1:2::8");
        assert_eq!(of("2001:db8:1:3::8"), "2001:db8:1:3::/64");
    }

    #[test]
    fn an_address_belongs_to_its_own_source_alone() {
        let network: Source = "2001:db8:1:2::/64".parse().unwrap();
        assert!(network.contains("2001:db8:1:2:3::4".parse().unwrap()));
        assert!(!network.contains("2001:db8:1:3::".parse().unwrap()));
        assert!(!network.contains("1.2.3.4".parse().unwrap()));
        let address: Source = "1.2.3.4".parse().unwrap();
        assert!(address.contains("::ffff:1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn a_source_fills_its_column() {
        let network: Source = "2001:db8:1:2::/64".parse().unwrap();
        assert_eq!(format!("{network:<20}|"), "2001:db8:1:2::/64   |");
    }

    #[test]
    fn what_is_no_source_is_rejected() {
        for text in [
            "",
            "example.com",
            "10.0.0.0/8",
            "1.2.3.4/32",
            "2001:db8::/47",
            "2001:db8::/129",
            "2001:db8::/+64",
        ] {
            assert_eq!(text.parse::<Source>(), Err(InvalidSource), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_source_reads_back_as_itself(ip: [u8; 16], v4: [u8; 4], is_v4: bool, prefix in 48_u8..=128) {
            let ip = if is_v4 { IpAddr::from(v4) } else { IpAddr::from(ip) };
            let source = Source::of(ip, prefix, |_| false);
            prop_assert!(source.contains(ip));
            prop_assert_eq!(source.to_string().parse(), Ok(source));
        }
    }
}
