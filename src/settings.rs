//! `fail2ban.conf.xml` as typed settings.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::line::Format;
use crate::signal::{Kind, PerKind};

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The log.
    pub logfile: PathBuf,
    /// How a line reads.
    pub format: Format,
    /// Which signals are logged.
    pub events: PerKind<bool>,
    /// FreeSWITCH's network lists (or CIDRs) whose addresses are never logged.
    pub trusted_acl: Vec<String>,
    /// Most bytes that unwritten lines may take.
    pub buffer_size: usize,
    /// How long a challenge may stay unanswered.
    pub challenge_timeout: Duration,
}

/// Settings that can't be used: what, where, and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name under which FreeSWITCH keeps the module's configuration.
pub const FILE: &str = "fail2ban.conf";

const PARAMETERS: &str = "logfile, format, events, trusted-acl, buffer-size, challenge-timeout";

#[derive(Deserialize)]
struct Configuration {
    bindings: Option<Bindings>,
}

#[derive(Deserialize)]
struct Bindings {
    #[serde(default)]
    config: Vec<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    param: Vec<Param>,
}

#[derive(Deserialize)]
struct Param {
    #[serde(rename = "@name", default)]
    name: String,
    #[serde(rename = "@value", default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct AclConf {
    network_lists: Option<AclLists>,
}

#[derive(Deserialize)]
struct AclLists {
    #[serde(default)]
    list: Vec<AclList>,
}

#[derive(Deserialize)]
struct AclList {
    #[serde(rename = "@name", default)]
    name: String,
}

impl Settings {
    /// The settings of an empty configuration: the C module's.
    pub fn defaults(log_dir: &Path) -> Settings {
        let mut events = [false; Kind::COUNT];
        for kind in [Kind::RegisterAttempt, Kind::RegisterFailure, Kind::WrongCallState] {
            events[kind as usize] = true;
        }
        Settings {
            logfile: log_dir.join("fail2ban.log"),
            format: Format::Classic,
            events,
            trusted_acl: Vec::new(),
            buffer_size: 8 << 20,
            challenge_timeout: Duration::from_secs(32),
        }
    }

    /// Reads the `<configuration>` element; gives the settings and a warning for each unknown parameter.
    pub fn parse(xml: &str, log_dir: &Path) -> Result<(Settings, Vec<String>), Refused> {
        let configuration: Configuration = quick_xml::de::from_str(xml)
            .map_err(|error| Refused(format!("{FILE}: the XML can't be read: {error}")))?;
        let bindings = configuration.bindings.ok_or_else(|| {
            Refused(format!(
                "{FILE}: <bindings> is missing; expected <configuration><bindings><config><param name=\"logfile\" value=\"…\"/>…"
            ))
        })?;
        let mut settings = Settings::defaults(log_dir);
        let mut warnings = Vec::new();
        for Param { name, value } in bindings.config.into_iter().flat_map(|config| config.param) {
            let value = value.trim();
            let refuse = |accepted: &str| Refused(format!("{FILE}: {name}=\"{value}\": expected {accepted}"));
            match name.as_str() {
                "logfile" if value.is_empty() => return Err(refuse("the path of a file")),
                "logfile" => settings.logfile = PathBuf::from(value),
                "format" => {
                    let found = Format::ALL.into_iter().find(|(_, name)| *name == value);
                    settings.format = found.ok_or_else(|| refuse("classic, dated or json"))?.0;
                }
                "events" => settings.events = parse_events(value).ok_or_else(|| refuse(&accepted_events()))?,
                "trusted-acl" if is_acl(value) => settings.trusted_acl.push(value.to_owned()),
                "trusted-acl" => return Err(refuse("the name of an ACL in acl.conf, or a CIDR such as 192.0.2.0/24")),
                "buffer-size" => {
                    settings.buffer_size = parse_bytes(value)
                        .filter(|bytes| (1 << 10..=1 << 30).contains(bytes))
                        .ok_or_else(|| refuse("bytes from 1k to 1024m, such as 8m, 512k or 1048576"))?;
                }
                "challenge-timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                    settings.challenge_timeout =
                        Duration::from_secs(seconds.ok_or_else(|| refuse("seconds from 1 to 3600"))?);
                }
                _ => warnings.push(format!("{FILE}: unknown parameter \"{name}\" (value \"{value}\") is passed over; known are {PARAMETERS}")),
            }
        }
        Ok((settings, warnings))
    }

    /// Whether a signal is logged.
    pub fn logs(&self, kind: Kind) -> bool {
        self.events[kind as usize]
    }

    /// A warning for each ACL that FreeSWITCH does not have, by the text of its `acl.conf`.
    pub fn unknown_acls(&self, acl_conf: Option<&str>) -> Vec<String> {
        let lists = acl_conf.and_then(|xml| quick_xml::de::from_str::<AclConf>(xml).ok());
        let lists = lists.and_then(|conf| conf.network_lists).map_or_else(Vec::new, |lists| lists.list);
        let is_known = |acl: &&String| {
            acl.contains('/') || acl.ends_with(".auto") || lists.iter().any(|list| list.name == **acl)
        };
        let unknown = self.trusted_acl.iter().filter(|acl| !is_known(acl));
        unknown
            .map(|acl| format!("{FILE}: trusted-acl=\"{acl}\" is not in acl.conf and trusts nobody; expected the name of a list there, one of FreeSWITCH's .auto lists, or a CIDR"))
            .collect()
    }

    /// Whether more has to be read from an event than a `classic` line tells.
    pub fn needs_all_headers(&self) -> bool {
        self.format != Format::Classic || self.logs(Kind::ChallengeUnanswered)
    }

    /// The subclasses of events that have to be heard, each once.
    pub fn subclasses(&self) -> Vec<&'static str> {
        let wanted = Kind::ALL.into_iter().filter(|kind| self.logs(*kind));
        let mut subclasses: Vec<_> = wanted.flat_map(|kind| kind.subclasses()).copied().collect();
        subclasses.sort_unstable();
        subclasses.dedup();
        subclasses
    }
}

fn parse_events(value: &str) -> Option<PerKind<bool>> {
    let mut events = [false; Kind::COUNT];
    for name in value.split(',').map(str::trim) {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
        events[kind as usize] = true;
    }
    Some(events)
}

fn accepted_events() -> String {
    format!("a comma-separated list of {}", Kind::ALL.map(Kind::name).join(", "))
}

/// A plain number, or one followed by `k` or `m`.
fn parse_bytes(value: &str) -> Option<usize> {
    let (digits, factor) = match value.as_bytes().last()? {
        b'k' | b'K' => (&value[..value.len() - 1], 1 << 10),
        b'm' | b'M' => (&value[..value.len() - 1], 1 << 20),
        _ => (value, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<usize>().ok()?.checked_mul(factor)
}

/// A name, or CIDRs as FreeSWITCH takes them in a name's place. It does not check those itself, and would
/// trust at random on a bad one.
fn is_acl(value: &str) -> bool {
    if value.is_empty() || value.contains('\0') {
        return false;
    }
    !value.contains('/') || value.split(',').all(|cidr| is_cidr(cidr.trim()))
}

fn is_cidr(value: &str) -> bool {
    let Some((ip, bits)) = value.split_once('/') else { return false };
    let most = match ip.parse() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(params: &str) -> Result<(Settings, Vec<String>), Refused> {
        let xml = format!(
            "<configuration name=\"fail2ban.conf\"><bindings><config name=\"settings\">{params}</config></bindings></configuration>"
        );
        Settings::parse(&xml, Path::new("/var/log/freeswitch"))
    }

    #[test]
    fn an_empty_configuration_gives_the_c_modules_settings() {
        let (settings, warnings) = parse("").unwrap();
        assert_eq!(settings, Settings::defaults(Path::new("/var/log/freeswitch")));
        assert_eq!(settings.logfile, Path::new("/var/log/freeswitch/fail2ban.log"));
        assert_eq!(
            settings.subclasses(),
            ["sofia::register_attempt", "sofia::register_failure", "sofia::wrong_call_state"]
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
              <param name="buffer-size" value="512K"/><param name="challenge-timeout" value="5"/></config>
          </bindings></configuration>"#;
        let (settings, warnings) = Settings::parse(xml, Path::new("/x")).unwrap();
        assert_eq!(settings.logfile, Path::new("/tmp/a & b.log"));
        assert_eq!(settings.format, Format::Dated);
        assert!(settings.logs(Kind::RegisterFailure) && settings.logs(Kind::ChallengeUnanswered));
        assert!(!settings.logs(Kind::Challenge) && !settings.logs(Kind::RegisterAttempt));
        assert_eq!(settings.trusted_acl, ["lan", "10.0.0.0/8"]);
        assert_eq!(settings.buffer_size, 512 << 10);
        assert_eq!(settings.challenge_timeout, Duration::from_secs(5));
        assert!(warnings.is_empty());
    }

    #[test]
    fn an_unknown_parameter_is_named_and_passed_over() {
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
            ("buffer-size", "1", "1k"),
            ("challenge-timeout", "0", "seconds"),
            ("challenge-timeout", "1.5", "seconds"),
        ] {
            let error = parse(&format!(r#"<param name="{name}" value="{value}"/>"#)).unwrap_err().to_string();
            for part in [name, value, accepted, FILE] {
                assert!(error.contains(part), "{error} lacks {part}");
            }
            assert!(!error.contains('\n'));
        }
        let error = Settings::parse("<configuration/>", Path::new("/x")).unwrap_err().to_string();
        assert!(error.contains("<bindings>"), "{error}");
        assert!(Settings::parse("<configuration><bindings>", Path::new("/x")).is_err());
    }

    #[test]
    fn an_acl_that_does_not_exist_is_named() {
        let trusted = r#"<param name="trusted-acl" value="lan"/><param name="trusted-acl" value="lam"/>
            <param name="trusted-acl" value="loopback.auto"/><param name="trusted-acl" value="10.0.0.0/8"/>"#;
        let (settings, _) = parse(trusted).unwrap();
        let acl_conf = r#"<configuration name="acl.conf"><network-lists><list name="lan" default="deny">
            <node type="allow" cidr="10.0.0.0/8"/></list><list name="domains" default="deny"/></network-lists></configuration>"#;
        let warnings = settings.unknown_acls(Some(acl_conf));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("\"lam\""));
        assert_eq!(settings.unknown_acls(None).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(xml in "\\PC*") {
            let _ = Settings::parse(&xml, Path::new("/x"));
            let _ = parse(&xml);
        }
    }
}
