//! A FreeSWITCH in a network namespace, and the two machines that talk to it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::common::{self, wait_until};
use super::configuration::{self, EVENT_SOCKET, SIP};
use super::console::Console;
use super::fail2ban::{output_of, skipped};
use super::network::{Family, Network, ip};
use super::sip::Caller;

/// Before and after the module under test.
const FIRST: [&str; 5] =
    ["mod_logfile", "mod_event_socket", "mod_commands", "mod_dptools", "mod_dialplan_xml"];
const LAST: [&str; 2] = ["mod_sofia", "mod_verto"];

/// Not a full hour, to see the offset's minutes.
const TIME_ZONE: &str = "<+0530>-5:30";
pub const OFFSET: &str = "+0530";

/// A running FreeSWITCH.
pub struct Site {
    prefix: PathBuf,
    process: Child,
    console: Console,
    pub network: Network,
    folder: TempDir,
}

impl Site {
    /// One that loads the module with these `<param …/>`s before sofia; none where there is no FreeSWITCH.
    pub fn start(params: &str) -> Option<Site> {
        Site::with_module(&common::module_path(), params)
    }

    /// The same with another module in the module's place.
    pub fn with_module(module: &Path, params: &str) -> Option<Site> {
        let site = Site::launch(module, Some(&common::configuration(params)), true)?;
        assert_eq!(site.cli("module_exists mod_fail2ban"), "true", "{}", site.host_log());
        Some(site)
    }

    /// One that does not load the module, with the whole text of its `fail2ban.conf.xml` or without that file.
    pub fn without_module(module: &Path, fail2ban_conf: Option<&str>) -> Option<Site> {
        Site::launch(module, fail2ban_conf, false)
    }

    fn launch(module: &Path, fail2ban_conf: Option<&str>, load: bool) -> Option<Site> {
        let prefix = prefix()?;
        let network = match Network::silent() {
            Ok(network) => network,
            Err(why) => {
                say_once(&format!("no root, or no network namespaces: {why}"));
                return None;
            }
        };
        let folder = TempDir::with_prefix("live-").expect("a temporary folder");
        let conf = folder.path().join("conf/autoload_configs");
        fs::create_dir_all(&conf).expect("a folder for the configuration");
        if let Some(text) = fail2ban_conf {
            fs::write(conf.join("fail2ban.conf.xml"), text).expect("the module's configuration");
        }
        link_modules(&prefix, module, &folder.path().join("mod"));
        connect(&network);

        let modules: Vec<_> = FIRST.into_iter().chain(load.then_some("mod_fail2ban")).chain(LAST).collect();
        let addresses = [Family::V4, Family::V6].map(|family| network.attacker.server(family));
        let text = configuration::freeswitch(&modules, &addresses);
        fs::write(folder.path().join("conf/freeswitch.xml"), text).expect("the configuration");

        // One at a time: the first makes certificates for all, and starting takes much of a small machine.
        static STARTING: Mutex<()> = Mutex::new(());
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let process = spawn(&prefix, &network, folder.path());
        let console = ready_console(&network);
        let site = Site { prefix, process, console, network, folder };
        site.wait_until_sofia_runs();
        Some(site)
    }

    /// Profiles start on threads of their own.
    pub fn wait_until_sofia_runs(&self) {
        wait_until("sofia's profiles", || self.cli("sofia status").matches("RUNNING").count() >= 4);
    }

    /// Runs a command of FreeSWITCH's console.
    pub fn cli(&self, command: &str) -> String {
        self.console.run(command).unwrap_or_else(|why| panic!("{command}: the switch died: {why}"))
    }

    /// The same with the program that operators use.
    pub fn fs_cli(&self, command: &str) -> String {
        let [first, rest @ ..] = self.network.server.within();
        let mut cli = Command::new(first);
        cli.args(rest).arg(self.prefix.join("bin/fs_cli")).args(["-H", "127.0.0.1", "-P"]);
        cli.args([&EVENT_SOCKET.to_string(), "-p", "ClueCon", "-x", command]);
        output_of(&mut cli).unwrap_or_else(|why| panic!("{why}")).trim().to_owned()
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
        common::wait_at_most(common::PATIENCE, &format!("{count} lines"), || signals().len() >= count);
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
        self.process.id()
    }

    /// Sends the process SIGHUP.
    pub fn hang_up(&self) {
        output_of(Command::new("kill").args(["-HUP", &self.pid().to_string()])).expect("it lives");
    }

    /// How many of something the process has: `fd` or `task`.
    pub fn count(&self, what: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{what}", self.pid())).expect("it lives").count()
    }

    /// How many threads of that name it has.
    pub fn count_threads(&self, name: &str) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives").flatten();
        let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.filter(|it| it.trim() == name).count()
    }

    /// Memory that is resident and the process's own, in KiB.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let field = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a kernel of today");
        field.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// FreeSWITCH answers.
    pub fn assert_up(&self) {
        assert!(self.cli("status").contains("is ready"));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.host_log();
            let worth =
                |line: &&str| ["[ERR]", "[WARNING]", "mod_fail2ban"].iter().any(|it| line.contains(it));
            let tail: Vec<_> = log.lines().filter(worth).rev().take(15).collect();
            eprintln!("from the end of FreeSWITCH's log, last line first:\n{}", tail.join("\n"));
        }
    }
}

/// Where FreeSWITCH is, if there is one.
pub fn prefix() -> Option<PathBuf> {
    let prefix = std::env::var_os("FREESWITCH_PREFIX").filter(|prefix| !prefix.is_empty());
    if prefix.is_none() {
        say_once("FREESWITCH_PREFIX names no FreeSWITCH");
    }
    prefix.map(PathBuf::from)
}

fn say_once(why: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| skipped(&format!("all of tests/live.rs: {why}")));
}

/// A line that tells of the log and of no signal.
fn is_note(line: &str) -> bool {
    line.contains("Fail2ban ")
        || ["started", "stopped"].iter().any(|it| line.contains(&format!("\"event\":\"{it}\"")))
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A folder of modules: those that are installed, with the one under test in its place.
fn link_modules(prefix: &Path, module: &Path, folder: &Path) {
    fs::create_dir(folder).expect("a folder for modules");
    let places = ["lib/freeswitch/mod", "mod"].map(|place| prefix.join(place));
    let installed = places.iter().find(|place| place.is_dir()).expect("FREESWITCH_PREFIX has modules");
    for name in FIRST.into_iter().chain(LAST) {
        let file = format!("{name}.so");
        symlink(installed.join(&file), folder.join(file)).expect("a link");
    }
    let module = module.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", module.display()));
    symlink(module, folder.join("mod_fail2ban.so")).expect("a link");
}

/// FreeSWITCH listens at its addresses on the attacker's link; the bystander reaches them too.
fn connect(network: &Network) {
    let [.., server] = network.server.within();
    let [.., bystander] = network.bystander.namespace.within();
    let lines = [
        format!("-n {server} link set lo up"),
        format!("-n {bystander} route add 10.99.1.0/24 via {}", network.bystander.server(Family::V4)),
        format!("-n {bystander} -6 route add fd00:99:0:1::/64 via {}", network.bystander.server(Family::V6)),
    ];
    for line in lines {
        ip(&line).expect("the network is as FreeSWITCH needs it");
    }
}

fn ready_console(network: &Network) -> Console {
    let mut console = None;
    wait_until("FreeSWITCH to be ready", || {
        console = console.take().or_else(|| Console::connect(&network.server).ok());
        let status = console.as_ref().and_then(|console| console.run("status").ok());
        status.is_some_and(|status| status.contains("is ready"))
    });
    console.expect("it is ready")
}

fn spawn(prefix: &Path, network: &Network, folder: &Path) -> Child {
    let [first, rest @ ..] = network.server.within();
    let mut command = Command::new(first);
    command.args(rest).arg(prefix.join("bin/freeswitch")).args(["-nonat", "-nc", "-nf", "-np"]);
    for (option, name) in [
        ("-conf", "conf"),
        ("-mod", "mod"),
        ("-log", "log"),
        ("-db", "db"),
        ("-run", "run"),
        ("-temp", "tmp"),
        ("-cache", "cache"),
        ("-storage", "storage"),
        ("-recordings", "recordings"),
    ] {
        fs::create_dir_all(folder.join(name)).expect("a folder for FreeSWITCH");
        command.arg(option).arg(folder.join(name));
    }
    // Making them takes seconds, so all share them.
    let certificates = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freeswitch-certs");
    fs::create_dir_all(&certificates).expect("a folder for certificates");
    command.arg("-certs").arg(certificates).env("TZ", TIME_ZONE);
    let output = fs::File::create(folder.join("output")).expect("a file for the output");
    let copy = output.try_clone().expect("a second handle");
    command.stdin(Stdio::null()).stdout(copy).stderr(output).spawn().expect("FreeSWITCH starts")
}
