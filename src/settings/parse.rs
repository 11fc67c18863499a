//! Reading each parameter of `fail2ban.conf.xml`.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::Settings;
use super::trusted::Trusted;
use super::xml::{self, FILE, Param};
use crate::event::event_type::{EventType, PerType};
use crate::settings::format::Format;

/// Every parameter, as the warning about an unknown one lists them.
pub const PARAMETERS: [&str; 12] = [
    "logfile",
    "format",
    "events",
    "trusted-acl",
    "known-for",
    "attacker-after",
    "refuse-attackers",
    "ipv6-prefix",
    "proxy",
    "client-address-header",
    "buffer-size",
    "challenge-timeout",
];

impl Settings {
    /// Reads the `<configuration>` element; returns the settings and a warning for each unknown parameter. The error
    /// says which value can't be used and what would be accepted.
    pub fn parse(xml: &str, log_dir: &Path) -> Result<(Settings, Vec<String>), String> {
        let mut settings = Settings::defaults(log_dir);
        let mut warnings = Vec::new();
        for param in xml::params(xml)? {
            warnings.extend(settings.set(&param)?);
        }
        if settings.refuse_attackers && !settings.decides_by_all() {
            return Err(format!(
                "{FILE}: refuse-attackers=\"yes\": expected known-for and attacker-after above 0 beside it, so that people \
                 who have logged in are not refused"
            ));
        }
        Ok((settings, warnings))
    }

    /// Sets a parameter; returns a warning if there is no such parameter. The error says what would be accepted.
    fn set(&mut self, Param { name, value }: &Param) -> Result<Option<String>, String> {
        let value = value.trim();
        let refuse = |accepted: &str| format!("{FILE}: {name}=\"{value}\": expected {accepted}");
        match name.as_str() {
            "logfile" if value.is_empty() => return Err(refuse("the path of a file")),
            "logfile" => self.logfile = PathBuf::from(value),
            "format" => {
                let found = Format::ALL.into_iter().find(|(_, name)| *name == value);
                self.format = found.ok_or_else(|| refuse("classic, dated or json"))?.0;
            }
            "events" => self.events = parse_events(value).ok_or_else(|| refuse(&accepted_events()))?,
            "trusted-acl" => add_trusted(&mut self.trusted, value).ok_or_else(|| {
                refuse("the name of an ACL in acl.conf, or a CIDR such as 192.0.2.0/24 or 2001:db8::/32")
            })?,
            "known-for" => {
                let time = parse_duration(value).filter(|time| *time <= MOST_KNOWN_FOR);
                self.known_for = time.ok_or_else(|| {
                    refuse("0 (off), seconds, or a time such as 30m, 12h or 1d, at most 30d")
                })?;
            }
            "attacker-after" => {
                let points = value.parse().ok().filter(|points| *points <= 1000);
                self.attacker_after = points.ok_or_else(|| refuse("points from 1 to 1000, or 0 (off)"))?;
            }
            "refuse-attackers" => {
                self.refuse_attackers = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(refuse("yes or no")),
                };
            }
            "ipv6-prefix" => {
                let bits = value.parse().ok().filter(|bits| (48..=128).contains(bits));
                self.ipv6_prefix = bits.ok_or_else(|| refuse("a number of bits from 48 to 128"))?;
            }
            "proxy" => {
                let network = value
                    .parse::<IpNet>()
                    .map_err(|_| refuse("a CIDR such as 192.0.2.5/32 or 2001:db8::5/128"))?;
                self.proxies.push(network.trunc());
            }
            "client-address-header" => {
                let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let is_name = value.len() > 2 && value.len() <= 64 && value.bytes().all(is_token);
                if !is_name || !value.as_bytes()[..2].eq_ignore_ascii_case(b"X-") {
                    return Err(refuse("the name of a header that begins with X-, such as X-AUTH-IP"));
                }
                value.clone_into(&mut self.client_address_header);
            }
            "buffer-size" => {
                let bytes = parse_bytes(value).filter(|bytes| (16 << 10..=1 << 30).contains(bytes));
                self.buffer_size =
                    bytes.ok_or_else(|| refuse("bytes from 16k to 1024m, such as 8m, 512k or 1048576"))?;
            }
            "challenge-timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                self.challenge_timeout =
                    Duration::from_secs(seconds.ok_or_else(|| refuse("seconds from 1 to 3600"))?);
            }
            _ => {
                return Ok(Some(format!(
                    "{FILE}: unknown parameter \"{name}\" (value \"{value}\") is ignored; known are {}",
                    PARAMETERS.join(", ")
                )));
            }
        }
        Ok(None)
    }
}

const MOST_KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);

fn parse_events(value: &str) -> Option<PerType<bool>> {
    let mut events = [false; EventType::COUNT];
    for name in value.split(',').map(str::trim) {
        events[EventType::of_name(name)? as usize] = true;
    }
    Some(events)
}

fn accepted_events() -> String {
    let names: Vec<_> = EventType::ALL.iter().map(|event_type| event_type.name()).collect();
    format!("a comma-separated list of {}", names.join(", "))
}

/// Seconds, or a number followed by `s`, `m`, `h` or `d`.
fn parse_duration(value: &str) -> Option<Duration> {
    let (digits, factor) = split_unit(value, &[(b's', 1), (b'm', 60), (b'h', 3600), (b'd', 86_400)])?;
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_secs)
}

/// A plain number of bytes, or one followed by `k` or `m`.
fn parse_bytes(value: &str) -> Option<usize> {
    let (digits, factor) = split_unit(value, &[(b'k', 1 << 10), (b'm', 1 << 20)])?;
    usize::try_from(digits.parse::<u64>().ok()?.checked_mul(factor)?).ok()
}

/// The digits in front of a unit, and what the unit stands for.
fn split_unit<'a>(value: &'a str, units: &[(u8, u64)]) -> Option<(&'a str, u64)> {
    let last = value.bytes().last()?.to_ascii_lowercase();
    let (digits, factor) = match units.iter().find(|(unit, _)| *unit == last) {
        Some((_, factor)) => (&value[..value.len() - 1], *factor),
        None => (value, 1),
    };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some((digits, factor))
}

/// A name, or CIDRs separated by commas, as FreeSWITCH takes them in a name's place.
fn add_trusted(trusted: &mut Trusted, value: &str) -> Option<()> {
    if value.is_empty() {
        return None;
    }
    if value.contains('/') {
        for network in value.split(',') {
            trusted.networks.push(network.trim().parse::<IpNet>().ok()?.trunc());
        }
    } else {
        trusted.lists.push(CString::new(value).ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(params: &str) -> Result<(Settings, Vec<String>), String> {
        let xml = format!(
            "<configuration name=\"fail2ban.conf\"><bindings><config name=\"settings\">{params}</config></bindings></configuration>"
        );
        Settings::parse(&xml, Path::new("/var/log/freeswitch"))
    }

    #[test]
    fn the_network_of_a_proxy_or_of_somebody_trusted_is_judged_address_by_address() {
        let params = r#"<param name="proxy" value="2001:db8:0:1::5/128"/><param name="trusted-acl" value="2001:db8:0:2::/72"/>"#;
        let (settings, _) = parse(params).unwrap();
        for (ip, source) in [
            ("2001:db8:0:1::5", "2001:db8:0:1::5"),
            ("2001:db8:0:1::7", "2001:db8:0:1::7"),
            ("2001:db8:0:2:ff::7", "2001:db8:0:2:ff::7"),
            ("2001:db8:0:3::7", "2001:db8:0:3::/64"),
        ] {
            assert_eq!(settings.source_of(ip.parse().unwrap()).to_string(), source);
        }
    }

    #[test]
    fn what_is_bound_and_read_is_what_the_settings_need() {
        // Format, events, known-for; whether lookups are watched, the host's log is read, and attempts are bound.
        for (format, events, known_for, expected) in [
            ("classic", "register_failure", "0", [false, false, false]),
            ("classic", "register_attempt", "0", [false, false, true]),
            ("dated", "register_attempt", "0", [true, false, true]),
            ("dated", "register_failure", "0", [true, false, true]),
            ("json", "challenge", "0", [false, false, false]),
            ("dated", "acl_reject", "0", [false, true, false]),
            ("classic", "acl_reject", "0", [false, true, false]),
            ("classic", "auth_unconfirmed", "0", [true, false, true]),
            ("classic", "challenge_unanswered", "0", [true, false, true]),
            ("classic", "success_after_failures", "0", [false, false, true]),
            ("classic", "wrong_call_state", "1d", [true, false, true]),
        ] {
            let (settings, _) = parse(&format!(
                "<param name=\"format\" value=\"{format}\"/><param name=\"events\" value=\"{events}\"/>\
                 <param name=\"known-for\" value=\"{known_for}\"/><param name=\"attacker-after\" value=\"0\"/>"
            ))
            .unwrap();
            let found = [
                settings.watches_lookups(),
                settings.reads_host_log(),
                settings.needs(EventType::RegisterAttempt),
            ];
            assert_eq!(found, expected, "{format} {events} {known_for}");
            assert_eq!(settings.event_names(), [events]);
        }
        assert_eq!(Settings::defaults(Path::new("/")).buffer_size, 8 << 20);
    }

    #[test]
    fn the_decision_needs_every_event_that_counts_once_somebody_can_be_known() {
        let (settings, _) =
            parse(r#"<param name="events" value="attacker"/><param name="known-for" value="1d"/>"#).unwrap();
        for event_type in [
            EventType::RegisterAttempt,
            EventType::RegisterFailure,
            EventType::WrongCallState,
            EventType::Challenge,
            EventType::VertoLoginFailure,
        ] {
            assert!(settings.needs(event_type), "{}", event_type.name());
        }
        assert!(settings.watches_lookups() && settings.reads_host_log() && settings.watches_confirmations());
    }

    #[test]
    fn a_network_holds_addresses_of_its_own_family_alone() {
        let (settings, _) = parse(
            r#"<param name="trusted-acl" value="fc00::/7"/><param name="trusted-acl" value="10.0.0.0/8, 192.0.2.1/32"/>"#,
        )
        .unwrap();
        for (ip, held) in [
            ("fd00::1", true),
            ("10.1.2.3", true),
            ("192.0.2.1", true),
            ("1.2.3.252", false),
            ("1.2.3.253", false),
            ("2001:db0a::1", false),
            ("192.0.2.2", false),
        ] {
            assert_eq!(settings.trusted.holds(ip.parse().unwrap()), held, "{ip}");
        }
    }

    #[test]
    fn what_is_bound_follows_from_the_settings() {
        let (settings, _) =
            parse(r#"<param name="events" value="reported"/><param name="attacker-after" value="0"/>"#)
                .unwrap();
        let needed = |settings: &Settings| -> Vec<EventType> {
            EventType::ALL.iter().copied().filter(|event_type| settings.needs(*event_type)).collect()
        };
        assert_eq!(needed(&settings), [EventType::Reported]);
        assert!(!settings.watches_lookups() && !settings.reads_host_log());
        let (settings, _) =
            parse(r#"<param name="events" value="reported"/><param name="known-for" value="1d"/><param name="attacker-after" value="0"/>"#).unwrap();
        let for_known = [EventType::RegisterAttempt, EventType::VertoLoginFailure, EventType::Reported];
        assert_eq!(needed(&settings), for_known);
        let (settings, _) = parse(r#"<param name="events" value="auth_unconfirmed"/>"#).unwrap();
        assert!(settings.watches_lookups() && settings.watches_confirmations());
    }

    #[test]
    fn an_empty_configuration_gives_the_c_modules_settings() {
        let (settings, warnings) = parse("").unwrap();
        assert_eq!(settings, Settings::defaults(Path::new("/var/log/freeswitch")));
        assert_eq!(settings.logfile, Path::new("/var/log/freeswitch/fail2ban.log"));
        let needed = EventType::ALL.iter().copied().filter(|event_type| settings.needs(*event_type));
        let five = [
            EventType::RegisterAttempt,
            EventType::RegisterFailure,
            EventType::WrongCallState,
            EventType::VertoLoginFailure,
            EventType::Attacker,
        ];
        assert_eq!(needed.collect::<Vec<_>>(), five, "the C module's, and what the decision is made by");
        assert!(
            !settings.watches_lookups() && !settings.reads_host_log() && !settings.watches_confirmations()
        );
        assert!(warnings.is_empty());
    }

    #[test]
    fn every_setting_is_read_wherever_it_stands_under_bindings() {
        let xml = r#"<configuration name="fail2ban.conf" description="x">
          <other><param name="format" value="nonsense"/></other>
          <bindings>
            <config name="a"><!-- comment --><param name="logfile" value="/tmp/a &amp; b.log"/><other/>
              <param name="format" value="dated"/></config>
            <else/>
            <config><param name="events" value="challenge_unanswered, register_failure"/>
              <param name="trusted-acl" value="lan"/><param name="trusted-acl" value="10.0.0.0/8"/>
              <param name="known-for" value="12h"/><param name="buffer-size" value="512K"/><param name="challenge-timeout" value="5"/></config>
          </bindings></configuration>"#;
        let (settings, warnings) = Settings::parse(xml, Path::new("/x")).unwrap();
        assert_eq!(settings.logfile, Path::new("/tmp/a & b.log"));
        assert_eq!(settings.format, Format::Dated);
        assert!(settings.logs(EventType::RegisterFailure) && settings.logs(EventType::ChallengeUnanswered));
        assert!(!settings.logs(EventType::Challenge) && !settings.logs(EventType::RegisterAttempt));
        assert_eq!(settings.trusted.names(), ["10.0.0.0/8", "lan"]);
        assert_eq!(settings.known_for, Duration::from_secs(12 * 3600));
        assert_eq!(settings.buffer_size, 512 << 10);
        assert_eq!(settings.challenge_timeout, Duration::from_secs(5));
        assert!(warnings.is_empty());
    }

    #[test]
    fn an_unknown_parameter_is_named_and_ignored() {
        let (settings, warnings) = parse(r#"<param name="log-file" value="x"/><param value="y"/>"#).unwrap();
        assert_eq!(settings, Settings::defaults(Path::new("/var/log/freeswitch")));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("\"log-file\"") && warnings[0].contains("challenge-timeout"));
    }

    #[test]
    fn a_value_that_cannot_be_understood_is_refused_with_what_would_be_accepted() {
        for (name, value, accepted) in [
            ("logfile", "", "path"),
            ("format", "Classic", "classic, dated or json"),
            ("events", "register", "verto_login_failure"),
            ("events", "", "verto_login_failure"),
            ("trusted-acl", "", "acl.conf"),
            ("trusted-acl", "10.0.0.0/33", "CIDR"),
            ("buffer-size", "8g", "8m"),
            ("buffer-size", "m", "8m"),
            ("buffer-size", "-1", "8m"),
            ("buffer-size", "15k", "16k"),
            ("known-for", "31d", "30d"),
            ("known-for", "-1", "30d"),
            ("known-for", "d", "30d"),
            ("known-for", "1w", "30d"),
            ("trusted-acl", "10.0.0.0/8,", "CIDR"),
            ("attacker-after", "1001", "1 to 1000"),
            ("attacker-after", "-1", "1 to 1000"),
            ("refuse-attackers", "true", "yes or no"),
            ("refuse-attackers", "yes", "known-for"),
            ("ipv6-prefix", "47", "48 to 128"),
            ("ipv6-prefix", "129", "48 to 128"),
            ("proxy", "192.0.2.5", "CIDR"),
            ("client-address-header", "Auth-IP", "X-AUTH-IP"),
            ("client-address-header", "X-", "X-AUTH-IP"),
            ("client-address-header", "X-A B", "X-AUTH-IP"),
            ("challenge-timeout", "0", "seconds"),
            ("challenge-timeout", "1.5", "seconds"),
        ] {
            let error = parse(&format!(r#"<param name="{name}" value="{value}"/>"#)).unwrap_err();
            for part in [name, value, accepted, FILE] {
                assert!(error.contains(part), "{error} lacks {part}");
            }
            assert!(!error.contains('\n'));
        }
        let error = Settings::parse("<configuration/>", Path::new("/x")).unwrap_err();
        assert!(error.contains("<bindings>"), "{error}");
        assert!(Settings::parse("<configuration><bindings>", Path::new("/x")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(xml in "\\PC*") {
            let _ = Settings::parse(&xml, Path::new("/x"));
            let _ = parse(&xml);
        }
    }
}
