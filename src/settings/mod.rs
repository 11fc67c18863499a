//! The settings.
#![forbid(unsafe_code)]

pub mod format;
pub mod other_files;
pub mod parse;
pub mod trusted;
pub mod xml;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::decision::Source;
use crate::event::event_type::{self, EventType, PerType};
use format::Format;
use other_files::SofiaAcls;
use trusted::Trusted;
use xml::FILE;

/// The settings, as a whole: they are replaced, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The log.
    pub logfile: PathBuf,
    /// How a line reads.
    pub format: Format,
    /// Which event types are logged.
    pub events: PerType<bool>,
    /// Addresses whose events are never logged.
    pub trusted: Trusted,
    /// How long an address stays known after its credentials were accepted; zero: none is ever known.
    pub known_for: Duration,
    /// From how many points on a source is an attacker; zero: nothing is decided.
    pub attacker_after: u32,
    /// FreeSWITCH refuses an attacker's credentials.
    pub refuse_attackers: bool,
    /// How many bits of an IPv6 address make a source.
    pub ipv6_prefix: u8,
    /// SIP proxies in front of FreeSWITCH.
    pub proxies: Vec<IpNet>,
    /// The header in which a proxy reports the client's address.
    pub client_address_header: String,
    /// Most bytes that unwritten lines may take.
    pub buffer_size: usize,
    /// How long a challenge may stay unanswered.
    pub challenge_timeout: Duration,
    /// Not from this file: what sofia's own settings say about its ACLs.
    pub sofia_acls: SofiaAcls,
    /// Not from this file: this machine's addresses.
    pub own_addresses: Vec<IpAddr>,
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
            attacker_after: 10,
            refuse_attackers: false,
            ipv6_prefix: 64,
            proxies: Vec::new(),
            client_address_header: "X-AUTH-IP".into(),
            buffer_size: 8 << 20,
            challenge_timeout: Duration::from_secs(32),
            sofia_acls: SofiaAcls::default(),
            own_addresses: Vec::new(),
        }
    }

    /// Why a load or a reload is refused whose log can't be opened.
    pub fn cannot_open(&self, error: &io::Error) -> String {
        let path = self.logfile.display();
        format!(
            "{FILE}: logfile=\"{path}\": {error}; expected a file that FreeSWITCH may write to, in a folder that exists"
        )
    }

    /// Why one is refused whose buffer can't be made.
    pub fn no_memory(&self, error: &io::Error) -> String {
        format!("{FILE}: buffer-size=\"{}\": {error}; expected memory for twice that", self.buffer_size)
    }

    /// The same settings, with what others have from elsewhere than the file.
    pub fn with_surroundings_of(&self, other: &Settings) -> Settings {
        let (sofia_acls, own_addresses) = (other.sofia_acls.clone(), other.own_addresses.clone());
        Settings { sofia_acls, own_addresses, ..self.clone() }
    }

    /// Whether an event type is logged.
    pub fn logs(&self, event_type: EventType) -> bool {
        self.events[event_type as usize] || (event_type == EventType::Attacker && self.decides())
    }

    /// The names of the event types that the settings name.
    pub fn event_names(&self) -> Vec<&'static str> {
        let logged = EventType::ALL.iter().filter(|event_type| self.events[**event_type as usize]);
        logged.map(|event_type| event_type.name()).collect()
    }

    /// Whether addresses can be known.
    pub fn tracks_known(&self) -> bool {
        !self.known_for.is_zero()
    }

    /// Whether the module decides who is an attacker.
    pub fn decides(&self) -> bool {
        self.attacker_after > 0
    }

    /// Whether every cause counts: with `known-for` 0 only failures and reports do, since good phones cause the others.
    pub fn decides_by_all(&self) -> bool {
        self.decides() && self.tracks_known()
    }

    /// The source that an address belongs to. A ban of a proxy's network would be a ban of all its clients.
    pub fn source_of(&self, ip: IpAddr) -> Source {
        let is_shared = |network| self.trusted.overlaps(network) || trusted::overlap(&self.proxies, network);
        Source::of(ip, self.ipv6_prefix, is_shared)
    }

    /// Whether an address is one that never is an attacker.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own_addresses.contains(&ip)
    }

    /// Whether an address is that of a proxy in front of FreeSWITCH.
    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&ip))
    }

    /// Whether the events of a type are needed: to log them, or to derive from them what is logged, known or decided.
    pub fn needs(&self, event_type: EventType) -> bool {
        let is_logged = |other: &EventType| self.logs(*other) && other.is_derived_from(event_type);
        // A failure does not show its call: its transport is the one of the attempt before it.
        let shows_transport = self.format != Format::Classic && self.logs(EventType::RegisterFailure);
        EventType::ALL.iter().any(is_logged)
            || match event_type {
                EventType::RegisterAttempt => self.tracks_known() || shows_transport || self.decides(),
                EventType::VertoLoginFailure => self.tracks_known() || self.decides(),
                EventType::RegisterFailure => self.decides(),
                EventType::Challenge | EventType::WrongCallState | EventType::CallToNowhere => {
                    self.decides_by_all()
                }
                _ => false,
            }
    }

    /// Whether FreeSWITCH's lookups in its directory have to be seen: for transports, for the domain of an account, for
    /// credentials without a verdict, and because these answer challenges.
    pub fn watches_lookups(&self) -> bool {
        let shows_transport = self.format != Format::Classic
            && (self.logs(EventType::RegisterAttempt) || self.logs(EventType::RegisterFailure));
        shows_transport || self.tracks_known() || self.watches_confirmations() || !self.proxies.is_empty()
    }

    /// Whether challenges are watched until they are answered.
    pub fn watches_challenges(&self) -> bool {
        self.logs(EventType::ChallengeUnanswered) || self.decides_by_all()
    }

    /// Whether the events have to be seen that show that a SUBSCRIBE or a MESSAGE was accepted.
    pub fn watches_confirmations(&self) -> bool {
        self.logs(EventType::AuthUnconfirmed) || self.watches_challenges()
    }

    /// Whether FreeSWITCH's own log has to be read.
    pub fn reads_host_log(&self) -> bool {
        let mut types = EventType::ALL.iter();
        self.decides_by_all()
            || types.any(|event_type| {
                event_type.row().source == event_type::Source::HostLog && self.logs(*event_type)
            })
    }
}
