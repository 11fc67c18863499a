//! A FreeSWITCH in a network namespace, and the two machines that talk to it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::configuration::{self, EVENT_SOCKET, SIP};
use super::sip::Caller;
use super::stock::Stock;
use crate::support::fail2ban::namespace::ip;
use crate::support::fail2ban::network::{Family, Network};
use crate::support::freeswitch::{EventSocket, FreeSwitch, Options};
use crate::support::{self, process, wait_until};

/// Before and after the module under test.
const FIRST: [&str; 5] =
    ["mod_logfile", "mod_event_socket", "mod_commands", "mod_dptools", "mod_dialplan_xml"];
const LAST: [&str; 2] = ["mod_sofia", "mod_verto"];
/// What the stock configuration also needs for what the tests do with it.
const STOCK: [&str; 2] = ["mod_hash", "mod_sms"];
/// What only some tests load.
pub const XML_CURL: &str = "mod_xml_curl";
pub const LUA: &str = "mod_lua";
pub const VOICEMAIL: &str = "mod_voicemail";

/// Not a full hour, to see the offset's minutes.
const TIME_ZONE: &str = "<+0530>-5:30";
pub const OFFSET: &str = "+0530";

/// A running FreeSWITCH.
pub struct Site {
    host: FreeSwitch,
    pub network: Network,
    folder: TempDir,
}

/// What is the tests' own in a stock configuration.
pub struct Plan<'a> {
    /// The text of `fail2ban.conf.xml`.
    pub fail2ban_conf: &'a str,
    /// Modules that are loaded just before mod_fail2ban, and just after it.
    pub before: &'a [&'static str],
    pub after: &'a [&'static str],
    /// mod_fail2ban is loaded before all of them, from `pre_load_modules.conf.xml`.
    pub is_preloaded: bool,
    /// Where the trunks are that the external profiles register with.
    pub trunks: [IpAddr; 2],
    /// The command, with its arguments, that runs FreeSWITCH.
    pub wrapper: &'a [&'a str],
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Plan {
            fail2ban_conf: include_str!("../../../conf/autoload_configs/fail2ban.conf.xml"),
            before: &[],
            after: &[],
            is_preloaded: false,
            wrapper: &[],
            // Addresses at which nobody is.
            trunks: [
                Ipv4Addr::new(10, 99, 2, 99).into(),
                Ipv6Addr::new(0xfd00, 0x99, 0, 2, 0, 0, 0, 0x99).into(),
            ],
        }
    }
}

impl Site {
    /// One that loads the module with these `<param …/>`s before sofia.
    pub fn start(params: &str) -> Site {
        Site::with_module(&support::module_path(), params)
    }

    /// The same with another module in the module's place.
    pub fn with_module(module: &Path, params: &str) -> Site {
        let site = Site::launch(module, Some(&support::configuration(params)), true);
        assert_eq!(site.cli("module_exists mod_fail2ban"), "true", "{}", site.host_log());
        site
    }

    /// One that does not load the module, with the whole text of its `fail2ban.conf.xml` or without that file.
    pub fn without_module(module: &Path, fail2ban_conf: Option<&str>) -> Site {
        Site::launch(module, fail2ban_conf, false)
    }

    fn launch(module: &Path, fail2ban_conf: Option<&str>, load: bool) -> Site {
        let network = Network::silent().expect("the suite has seen that networks can be made");
        let folder = TempDir::with_prefix("live-").expect("a temporary folder");
        let conf = folder.path().join("conf/autoload_configs");
        fs::create_dir_all(&conf).expect("a folder for the configuration");
        if let Some(text) = fail2ban_conf {
            fs::write(conf.join("fail2ban.conf.xml"), text).expect("the module's configuration");
        }
        connect(&network);
        let modules: Vec<_> = FIRST.into_iter().chain(load.then_some("mod_fail2ban")).chain(LAST).collect();
        let addresses = [Family::V4, Family::V6].map(|family| network.attacker.server(family));
        let configuration = configuration::freeswitch(&modules, &addresses);
        Site::run(module, network, folder, &configuration, &[])
    }

    /// One with FreeSWITCH's stock configuration. `prepare` may change the network, and the files in `conf`,
    /// before FreeSWITCH runs.
    pub fn stock(plan: &Plan<'_>, prepare: impl FnOnce(&Network, &Path)) -> Site {
        let network = Network::silent().expect("the suite has seen that networks can be made");
        let folder = TempDir::with_prefix("live-").expect("a temporary folder");
        let conf = folder.path().join("conf");
        fs::create_dir(&conf).expect("a folder for the configuration");
        connect(&network);
        let mut modules = FIRST.to_vec();
        modules.extend(plan.before);
        let (first, then) =
            if plan.is_preloaded { (&["mod_fail2ban"][..], None) } else { (&[][..], Some("mod_fail2ban")) };
        modules.extend(then);
        modules.extend(plan.after);
        modules.extend(LAST.iter().chain(&STOCK));
        let ips = [Family::V4, Family::V6].map(|family| network.attacker.server(family));
        let stock = Stock {
            preloaded: first,
            modules: &modules,
            ips,
            trunks: plan.trunks,
            fail2ban_conf: plan.fail2ban_conf,
        };
        let configuration = stock.write(&conf);
        prepare(&network, &conf);
        let site = Site::run(&support::module_path(), network, folder, &configuration, plan.wrapper);
        assert_eq!(site.cli("module_exists mod_fail2ban"), "true", "{}", site.host_log());
        site
    }

    fn run(module: &Path, network: Network, folder: TempDir, configuration: &str, wrapper: &[&str]) -> Site {
        let prefix = std::env::var_os("FREESWITCH_PREFIX").expect("the suite has seen that it is set");
        // One at a time: the first makes certificates for all, and starting takes much of a small machine.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let host = FreeSwitch::start_with(&Options {
            prefix: Path::new(&prefix),
            module,
            modules: &[&FIRST[..], &LAST, &STOCK, &[XML_CURL, LUA, VOICEMAIL]].concat(),
            folder: folder.path(),
            certificates: Some(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("freeswitch-certs")),
            configuration,
            within: &[&network.server.within(), wrapper].concat(),
            time_zone: Some(TIME_ZONE),
            connect: &|| event_socket(&network),
        });
        let site = Site { host, network, folder };
        site.wait_until_sofia_runs();
        site
    }

    /// Profiles start on threads of their own.
    pub fn wait_until_sofia_runs(&self) {
        wait_until("sofia's profiles", || self.cli("sofia status").matches("RUNNING").count() >= 4);
    }

    /// Runs a command of FreeSWITCH's console.
    pub fn cli(&self, command: &str) -> String {
        self.host.api(command).trim().to_owned()
    }

    /// The events of a subclass, from now on.
    pub fn events(&self, subclass: &str) -> EventSocket {
        let stream = event_socket(&self.network).expect("FreeSWITCH listens");
        let mut events = EventSocket::new(stream).expect("it lets this machine in");
        events.subscribe(subclass);
        events
    }

    /// `fail2ban status json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.cli("fail2ban status json")).expect("status json is JSON")
    }

    /// Where a profile that everyone may talk to listens.
    pub fn sip(&self, family: Family) -> SocketAddr {
        self.port(family, SIP)
    }

    /// A port of the server's.
    pub fn port(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.network.attacker.server(family), port)
    }

    /// The attacker's address.
    pub fn attacker(&self, family: Family) -> IpAddr {
        self.network.attacker.address(family)
    }

    /// An attacker who can send any bytes.
    pub fn caller(&self, family: Family) -> Caller {
        Caller::new(&self.network.attacker, self.sip(family))
    }

    /// A path in the folder that has `conf` and `log`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The module's log.
    pub fn log_file(&self) -> PathBuf {
        self.path("log/fail2ban.log")
    }

    /// What is in it, bytes that are not UTF-8 replaced: the C module writes them.
    pub fn log_text(&self) -> String {
        text_of(&self.log_file())
    }

    /// Waits for so many lines that tell of signals, and for more that should not come, and gives them all.
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let signals = || -> Vec<String> {
            let text = self.log_text();
            text.lines().filter(|line| !is_note(line)).map(str::to_owned).collect()
        };
        support::wait_at_most(support::PATIENCE, &format!("{count} lines"), || signals().len() >= count);
        std::thread::sleep(Duration::from_millis(300));
        let lines = signals();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// FreeSWITCH's own log.
    pub fn host_log(&self) -> String {
        text_of(&self.path("log/freeswitch.log"))
    }

    /// Puts another text in the place of `fail2ban.conf.xml`; FreeSWITCH is not told.
    pub fn write_config(&self, text: &str) {
        fs::write(self.path("conf/autoload_configs/fail2ban.conf.xml"), text).expect("it can be written");
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.host.pid()
    }

    /// Shuts FreeSWITCH down.
    pub fn shut_down(&mut self) -> ExitStatus {
        self.host.shut_down()
    }

    /// Sends the process SIGHUP.
    pub fn hang_up(&self) {
        self.host.hang_up();
    }

    /// How many threads, open descriptors and KiB of memory the process has.
    pub fn figures(&self) -> [usize; 3] {
        let pid = self.pid();
        [process::threads(pid).len(), process::descriptors(pid).len(), process::memory(pid)]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.host_log();
            let worth =
                |line: &&str| ["[ERR]", "[WARNING]", "mod_fail2ban"].iter().any(|it| line.contains(it));
            let tail: Vec<_> = log.lines().filter(worth).rev().take(15).collect();
            eprintln!("from the end of FreeSWITCH's log, last line first:\n{}", tail.join("\n"));
        }
    }
}

/// A line that tells of the log and of no signal.
fn is_note(line: &str) -> bool {
    line.contains("Fail2ban ")
        || ["started", "stopped"].iter().any(|it| line.contains(&format!("\"event\":\"{it}\"")))
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn event_socket(network: &Network) -> io::Result<TcpStream> {
    network.server.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, EVENT_SOCKET)))
}

/// FreeSWITCH listens at its addresses on the attacker's link; the bystander reaches them too.
fn connect(network: &Network) {
    let bystander = network.bystander.namespace.name();
    let lines = [
        format!("-n {bystander} route add 10.99.1.0/24 via {}", network.bystander.server(Family::V4)),
        format!("-n {bystander} -6 route add fd00:99:0:1::/64 via {}", network.bystander.server(Family::V6)),
    ];
    for line in lines {
        ip(&line).expect("the network is as FreeSWITCH needs it");
    }
}
