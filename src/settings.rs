//! `fail2ban.conf.xml` as typed settings.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::acl_line::SofiaAcls;
use crate::event_type::{EventType, GATEWAY_STATE, PerType, Source};
use crate::line::Format;

/// The settings, as a whole: they are replaced, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The log.
    pub logfile: PathBuf,
    /// How a line reads.
    pub format: Format,
    /// Which event types are logged.
    pub events: PerType<bool>,
    /// Whose events are never logged.
    pub trusted: Trusted,
    /// How long an address stays known after its credentials were accepted; zero: none is ever known.
    pub known_for: Duration,
    /// Most bytes that unwritten lines may take.
    pub buffer_size: usize,
    /// How long a challenge may stay unanswered.
    pub challenge_timeout: Duration,
    /// Not from this file: what sofia's own settings say about its ACLs.
    pub sofia_acls: SofiaAcls,
}

/// `trusted-acl`, by what each value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// CIDRs: the module compares them itself, each address family by itself. FreeSWITCH would compare the
    /// bytes of whatever family, so that `10.0.0.0/8` trusted 2001:db0a::1.
    pub networks: Vec<IpNet>,
    /// Names of lists: FreeSWITCH is asked.
    pub lists: Vec<CString>,
}

impl Trusted {
    /// Whether one of the CIDRs holds an address.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// All of them, as they can be written.
    pub fn names(&self) -> Vec<String> {
        let lists = self.lists.iter().map(|list| list.to_string_lossy().into_owned());
        self.networks.iter().map(IpNet::to_string).chain(lists).collect()
    }
}

/// Settings that can't be used: what, where, and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(pub String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name under which FreeSWITCH keeps the module's configuration.
pub const FILE: &str = "fail2ban.conf";

/// Why a load or a reload is refused whose log can't be opened.
pub fn cannot_open(logfile: &Path, error: &std::io::Error) -> String {
    let path = logfile.display();
    format!(
        "{FILE}: logfile=\"{path}\": {error}; expected a file that FreeSWITCH may write to, in a folder that exists"
    )
}

/// Every parameter, as the warning about an unknown one lists them.
pub const PARAMETERS: [&str; 7] =
    ["logfile", "format", "events", "trusted-acl", "known-for", "buffer-size", "challenge-timeout"];

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

/// `<param name="…" value="…"/>`, as FreeSWITCH's files have them.
#[derive(Deserialize)]
pub(crate) struct Param {
    #[serde(rename = "@name", default)]
    pub name: String,
    #[serde(rename = "@value", default)]
    pub value: String,
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
        let mut events = [false; EventType::COUNT];
        for event_type in EventType::ALL {
            events[*event_type as usize] = event_type.row().is_default;
        }
        Settings {
            logfile: log_dir.join("fail2ban.log"),
            format: Format::Classic,
            events,
            trusted: Trusted::default(),
            known_for: Duration::ZERO,
            buffer_size: 8 << 20,
            challenge_timeout: Duration::from_secs(32),
            sofia_acls: SofiaAcls::default(),
        }
    }

    /// Reads the `<configuration>` element; gives the settings and a warning for each unknown parameter.
    pub fn parse(xml: &str, log_dir: &Path) -> Result<(Settings, Vec<String>), SettingsError> {
        let configuration: Configuration = quick_xml::de::from_str(xml)
            .map_err(|error| SettingsError(format!("{FILE}: the XML can't be read: {error}")))?;
        let bindings = configuration.bindings.ok_or_else(|| {
            SettingsError(format!(
                "{FILE}: <bindings> is missing; expected <configuration><bindings><config><param name=\"logfile\" value=\"…\"/>…"
            ))
        })?;
        let mut settings = Settings::defaults(log_dir);
        let mut warnings = Vec::new();
        for Param { name, value } in bindings.config.into_iter().flat_map(|config| config.param) {
            let value = value.trim();
            let refuse =
                |accepted: &str| SettingsError(format!("{FILE}: {name}=\"{value}\": expected {accepted}"));
            match name.as_str() {
                "logfile" if value.is_empty() => return Err(refuse("the path of a file")),
                "logfile" => settings.logfile = PathBuf::from(value),
                "format" => {
                    let found = Format::ALL.into_iter().find(|(_, name)| *name == value);
                    settings.format = found.ok_or_else(|| refuse("classic, dated or json"))?.0;
                }
                "events" => {
                    settings.events = parse_events(value).ok_or_else(|| refuse(&accepted_events()))?
                }
                "trusted-acl" => add_trusted(&mut settings.trusted, value).ok_or_else(|| {
                    refuse("the name of an ACL in acl.conf, or a CIDR such as 192.0.2.0/24 or 2001:db8::/32")
                })?,
                "known-for" => {
                    settings.known_for =
                        parse_duration(value).filter(|time| *time <= MOST_KNOWN_FOR).ok_or_else(|| {
                            refuse("0 (off), seconds, or a time such as 30m, 12h or 1d, at most 30d")
                        })?;
                }
                "buffer-size" => {
                    settings.buffer_size = parse_bytes(value)
                        .filter(|bytes| (16 << 10..=1 << 30).contains(bytes))
                        .ok_or_else(|| refuse("bytes from 16k to 1024m, such as 8m, 512k or 1048576"))?;
                }
                "challenge-timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                    settings.challenge_timeout =
                        Duration::from_secs(seconds.ok_or_else(|| refuse("seconds from 1 to 3600"))?);
                }
                _ => warnings.push(format!(
                    "{FILE}: unknown parameter \"{name}\" (value \"{value}\") is ignored; known are {}",
                    PARAMETERS.join(", ")
                )),
            }
        }
        Ok((settings, warnings))
    }

    /// Whether an event type is logged.
    pub fn logs(&self, event_type: EventType) -> bool {
        self.events[event_type as usize]
    }

    /// The names of the event types that are logged.
    pub fn event_names(&self) -> Vec<&'static str> {
        EventType::ALL
            .iter()
            .filter(|event_type| self.logs(**event_type))
            .map(|event_type| event_type.name())
            .collect()
    }

    /// Whether addresses can be known.
    pub fn knows(&self) -> bool {
        !self.known_for.is_zero()
    }

    /// A warning for each trusted list that FreeSWITCH does not have, by the text of its `acl.conf`.
    pub fn unknown_acls(&self, acl_conf: Option<&str>) -> Vec<String> {
        let lists = acl_conf.and_then(|xml| quick_xml::de::from_str::<AclConf>(xml).ok());
        let lists = lists.and_then(|conf| conf.network_lists).map_or_else(Vec::new, |lists| lists.list);
        let names = self.trusted.lists.iter().map(|name| name.to_string_lossy());
        names
            .filter(|name| !name.ends_with(".auto") && !lists.iter().any(|list| list.name == *name))
            .map(|name| format!("{FILE}: trusted-acl=\"{name}\" is not in acl.conf and trusts nobody; expected the name of a list there, one of FreeSWITCH's .auto lists, or a CIDR"))
            .collect()
    }

    /// Whether challenges and the credentials that answer them have to be remembered.
    pub fn watches_challenges(&self) -> bool {
        self.logs(EventType::ChallengeUnanswered)
    }

    /// Whether what FreeSWITCH looks up in its directory has to be seen: for transports, for the
    /// domain of an account, for credentials without a verdict, and because these answer challenges.
    pub fn watches_look_ups(&self) -> bool {
        let tells_transport = self.format != Format::Classic
            && (self.logs(EventType::RegisterAttempt) || self.logs(EventType::RegisterFailure));
        tells_transport || self.knows() || self.watches_confirmations()
    }

    /// Whether the events have to be seen that show that a SUBSCRIBE or a MESSAGE was accepted.
    pub fn watches_confirmations(&self) -> bool {
        self.logs(EventType::AuthUnconfirmed) || self.watches_challenges()
    }

    /// Whether FreeSWITCH's own log has to be read.
    pub fn reads_host_log(&self) -> bool {
        EventType::ALL
            .iter()
            .any(|event_type| event_type.row().source == Source::HostLog && self.logs(*event_type))
    }

    /// Whether more has to be read from an event than the user and the address, which is all that a `classic`
    /// line tells.
    pub fn needs_all_headers(&self) -> bool {
        self.format != Format::Classic
            || self.knows()
            || self.watches_look_ups()
            || self.logs(EventType::SuccessAfterFailures)
    }

    /// The subclasses of events that have to be bound, each once.
    pub fn subclasses(&self) -> Vec<&'static str> {
        let logged = EventType::ALL.iter().filter(|event_type| self.logs(**event_type));
        let mut subclasses: Vec<_> = logged.flat_map(|event_type| event_type.subclasses()).collect();
        if self.knows() {
            subclasses.push(GATEWAY_STATE);
            subclasses.extend(EventType::RegisterAttempt.subclasses());
            subclasses.extend(EventType::VertoLoginFailure.subclasses());
        }
        if self.format != Format::Classic && self.logs(EventType::RegisterFailure) {
            // A failure does not tell its call: its transport is the one of the attempt before it.
            subclasses.extend(EventType::RegisterAttempt.subclasses());
        }
        subclasses.sort_unstable();
        subclasses.dedup();
        subclasses
    }
}

/// FreeSWITCH 1.11.2 may be told which modules may offer commands and applications (`switch.conf`): a warning
/// if that leaves this one out.
pub fn left_out_by_allowlist(switch_conf: &str) -> Option<String> {
    let conf: SwitchConf = quick_xml::de::from_str(switch_conf).ok()?;
    let list = conf.interface_allowlist.filter(|list| !list.allow.is_empty())?;
    let names = list.allow.iter().map(|allow| allow.name.as_str());
    let offers = |name: &str, kind: &str| {
        let full = format!("mod_fail2ban.{name}");
        names.clone().any(|allowed| {
            allowed == "mod_fail2ban" || allowed == full || allowed == format!("{full}.{kind}")
        })
    };
    if offers("fail2ban", "api") && offers("fail2ban_report", "app") {
        return None;
    }
    Some(
        "switch.conf: <interface-allowlist> leaves out the command fail2ban, the application fail2ban_report, or \
         both; the log is written all the same; to have them, add <allow name=\"mod_fail2ban\"/> there"
            .into(),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SwitchConf {
    interface_allowlist: Option<Allowlist>,
}

#[derive(Deserialize)]
struct Allowlist {
    #[serde(default)]
    allow: Vec<Allow>,
}

#[derive(Deserialize)]
struct Allow {
    #[serde(rename = "@name", default)]
    name: String,
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

    fn parse(params: &str) -> Result<(Settings, Vec<String>), SettingsError> {
        let xml = format!(
            "<configuration name=\"fail2ban.conf\"><bindings><config name=\"settings\">{params}</config></bindings></configuration>"
        );
        Settings::parse(&xml, Path::new("/var/log/freeswitch"))
    }

    #[test]
    fn what_is_bound_and_read_is_what_the_settings_need() {
        let attempt = "sofia::register_attempt";
        // Format, events, known-for; whether look-ups are watched, all headers read, the host's log read, and
        // attempts bound.
        for (format, events, known_for, expected) in [
            ("classic", "register_failure", "0", [false, false, false, false]),
            ("classic", "register_attempt", "0", [false, false, false, true]),
            ("dated", "register_attempt", "0", [true, true, false, true]),
            ("dated", "register_failure", "0", [true, true, false, true]),
            ("json", "challenge", "0", [false, true, false, false]),
            ("dated", "acl_reject", "0", [false, true, true, false]),
            ("classic", "acl_reject", "0", [false, false, true, false]),
            ("classic", "auth_unconfirmed", "0", [true, true, false, true]),
            ("classic", "challenge_unanswered", "0", [true, true, false, true]),
            ("classic", "success_after_failures", "0", [false, true, false, true]),
            ("classic", "wrong_call_state", "1d", [true, true, false, true]),
        ] {
            let (settings, _) = parse(&format!(
                "<param name=\"format\" value=\"{format}\"/><param name=\"events\" value=\"{events}\"/>\
                 <param name=\"known-for\" value=\"{known_for}\"/>"
            ))
            .unwrap();
            let found = [
                settings.watches_look_ups(),
                settings.needs_all_headers(),
                settings.reads_host_log(),
                settings.subclasses().contains(&attempt),
            ];
            assert_eq!(found, expected, "{format} {events} {known_for}");
            assert_eq!(settings.event_names(), [events]);
        }
        assert_eq!(Settings::defaults(Path::new("/")).buffer_size, 8 << 20);
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
        let (settings, _) = parse(r#"<param name="events" value="reported"/>"#).unwrap();
        assert!(
            settings.subclasses().is_empty() && !settings.watches_look_ups() && !settings.reads_host_log()
        );
        let (settings, _) =
            parse(r#"<param name="events" value="reported"/><param name="known-for" value="1d"/>"#).unwrap();
        assert_eq!(
            settings.subclasses(),
            ["sofia::gateway_state", "sofia::register_attempt", "verto::login"]
        );
        let (settings, _) = parse(r#"<param name="events" value="auth_unconfirmed"/>"#).unwrap();
        assert!(settings.watches_look_ups() && settings.watches_confirmations());
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
