//! Addresses as FreeSWITCH writes them, and networks.
#![forbid(unsafe_code)]

use std::net::IpAddr;

/// An address as sofia, Verto and the log write them: bare, in brackets, or with a port, which comes back as
/// text. IPv4 mapped into IPv6 is IPv4; a zone (`%eth0`) is dropped.
pub fn parse(text: &[u8]) -> Option<(IpAddr, Option<&[u8]>)> {
    let text = text.trim_ascii();
    if let Some(ip) = parse_ip(text) {
        return Some((ip, None));
    }
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let (host, port) = split_at(rest, b"]")?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(b":")?) })
        }
        None if text.iter().filter(|&&byte| byte == b':').count() == 1 => {
            let (host, port) = split_at(text, b":")?;
            (host, Some(port))
        }
        None => (text, None),
    };
    if port.is_some_and(|port| !is_port(port)) {
        return None;
    }
    let ip = parse_ip(host).or_else(|| match split_at(host, b"%") {
        Some((host, zone)) if !zone.is_empty() && host.contains(&b':') => parse_ip(host),
        _ => None,
    });
    Some((ip?, port))
}

fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether it is the number of a port, in decimal digits.
pub fn is_port(text: &[u8]) -> bool {
    parse_port(text).is_some()
}

/// The number of a port.
pub fn parse_port(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 5 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = text.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port).ok()
}

/// Whether it is nobody's: set aside for documentation (RFC 5737, RFC 3849).
pub fn is_documentation(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_documentation(),
        IpAddr::V6(ip) => ip.segments()[..2] == [0x2001, 0x0db8],
    }
}

/// What stands before and after the first `separator`.
pub fn split_at<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bare_or_bracketed_or_with_a_port() {
        let parsed = |text: &'static str| {
            parse(text.as_bytes()).map(|(ip, port)| (ip.to_string(), port.map(|port| port.to_vec())))
        };
        let bare = |ip: &str| Some((ip.to_string(), None));
        let with_port = |ip: &str, port: &str| Some((ip.to_string(), Some(port.as_bytes().to_vec())));
        assert_eq!(parsed("10.99.0.2"), bare("10.99.0.2"));
        assert_eq!(parsed("[2001:db8::1]"), bare("2001:db8::1"));
        assert_eq!(parsed("2001:DB8:0::1"), bare("2001:db8::1"));
        assert_eq!(parsed("::ffff:10.0.0.1"), bare("10.0.0.1"));
        assert_eq!(parsed("fe80::1%eth0"), bare("fe80::1"));
        assert_eq!(parsed("[fe80::1%eth0]:1"), with_port("fe80::1", "1"));
        assert_eq!(parsed("10.99.0.2:49364"), with_port("10.99.0.2", "49364"));
        assert_eq!(parsed("[2001:db8::1]:49364"), with_port("2001:db8::1", "49364"));
        for wrong in [
            "",
            "example.com",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1 ip[9.9.9.9]",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "[::1",
            "[::1]x",
            "1.2.3.4%x",
            "::1%",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_port_has_digits_and_is_not_too_large() {
        for (text, port) in [
            ("0", Some(0)),
            ("65535", Some(65535)),
            ("65536", None),
            ("", None),
            ("00080", Some(80)),
            ("+1", None),
        ] {
            assert_eq!(parse_port(text.as_bytes()), port, "{text}");
        }
    }

    #[test]
    fn documentation_addresses_are_nobodys() {
        for (ip, nobodys) in [
            ("192.0.2.7", true),
            ("198.51.100.1", true),
            ("203.0.113.9", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(is_documentation(ip.parse().unwrap()), nobodys, "{ip}");
        }
    }
}
