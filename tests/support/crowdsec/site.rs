//! Two switches with CrowdSec as Debian ships it and the kit as it is shipped here: a local API on a
//! machine of its own, an agent and a bouncer on each switch, an attacker and a bystander.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::network::{self, Wire, address, gets_through};
use crate::support::namespace::{Echo, Family, Namespace, output_of};
use crate::support::suite::Why;
use crate::support::{Event, Switch, wait_until};

const LAPI: u8 = 1;
const SWITCHES: [u8; 2] = [2, 3];
const BYSTANDER: u8 = 9;
/// The attacker's machine has this many addresses, each for one attacker.
const ATTACKERS: std::ops::Range<u8> = 100..180;

/// The module writes into the same log what the kit does not read.
const SETTINGS: &str = r#"<param name="format" value="json"/>"#;

/// Where CrowdSec's and the bouncer's packages are unpacked.
fn packages() -> Result<&'static Path, Why> {
    static PACKAGES: OnceLock<Result<PathBuf, Why>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| {
        let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unpack.sh");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crowdsec");
        let packages = ["own", "crowdsec", "crowdsec-firewall-bouncer", "libsqlite3-0"];
        output_of(Command::new(unpack).arg(&folder).args(packages))
            .map_err(|why| Why::Missing(format!("Debian's packages of CrowdSec are not to be had: {why}")))?;
        Ok(folder)
    });
    packages.as_deref().map_err(Why::clone)
}

fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/crowdsec")
}

/// A program that runs until it is dropped.
struct Process(Child);

impl Process {
    fn start(mut command: Command, log: &Path) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A machine's `/etc/crowdsec` and what belongs to it, in a folder of its own.
struct Configuration {
    folder: PathBuf,
    packages: &'static Path,
}

impl Configuration {
    /// Debian's files with the paths changed, and what its postinst enables that matters here.
    fn new(folder: PathBuf, packages: &'static Path) -> Configuration {
        let configuration = Configuration { folder, packages };
        let etc = configuration.etc();
        for folder in [&etc, &configuration.folder.join("data")] {
            fs::create_dir_all(folder).unwrap();
        }
        copy(&packages.join("etc/crowdsec"), &etc);
        let hub = packages.join("usr/share/crowdsec/hub");
        for file in ["s00-raw/syslog-logs", "s02-enrich/dateparse-enrich", "s02-enrich/whitelists"] {
            let (stage, name) = file.split_once('/').unwrap();
            fs::create_dir_all(etc.join("parsers").join(stage)).unwrap();
            let from = hub.join(format!("parsers/{stage}/crowdsecurity/{name}.yaml"));
            symlink(from, etc.join(format!("parsers/{file}.yaml"))).unwrap();
        }
        let plugins = packages.join("usr/lib/crowdsec/plugins");
        edit(
            &configuration.file(),
            &[
                ("/etc/crowdsec/", format!("{}/", etc.display())),
                ("/var/lib/crowdsec/data/", format!("{}/data/", configuration.folder.display())),
                ("/var/lib/crowdsec/hub/", format!("{}/", hub.display())),
                ("/usr/lib/crowdsec/plugins/", format!("{}/", plugins.display())),
                ("daemonize: true", "daemonize: false".into()),
                ("log_media: file", "log_media: stdout".into()),
            ],
        );
        // The logs of other programs are none of this test's business.
        fs::write(etc.join("acquis.yaml"), "").unwrap();
        // It has to be there; a comment alone keeps CrowdSec's centre out of it.
        fs::write(etc.join("online_api_credentials.yaml"), "# none\n").unwrap();
        fs::write(etc.join("local_api_credentials.yaml"), "").unwrap();
        configuration
    }

    fn etc(&self) -> PathBuf {
        self.folder.join("etc")
    }

    fn file(&self) -> PathBuf {
        self.etc().join("config.yaml")
    }

    /// One of CrowdSec's programs, with this configuration.
    fn program(&self, machine: &Namespace, name: &str) -> Command {
        let mut command = machine.command(self.packages.join("usr/bin").join(name));
        // Where SQLite is installed as well, this is the same one.
        let libraries = fs::read_dir(self.packages.join("usr/lib")).unwrap().flatten();
        let libraries =
            libraries.map(|entry| entry.path()).find(|path| path.join("libsqlite3.so.0").exists());
        command.env("LD_LIBRARY_PATH", libraries.unwrap());
        command.arg("-c").arg(self.file());
        command
    }
}

/// The machine that decides.
struct Lapi {
    configuration: Configuration,
    process: Mutex<Option<Process>>,
    machine: Namespace,
}

impl Lapi {
    fn new(wire: &Wire, folder: &Path, packages: &'static Path) -> Result<Lapi, String> {
        let machine = wire.machine("lapi", LAPI..LAPI + 1)?;
        let configuration = Configuration::new(folder.join("lapi"), packages);
        copy(&kit().join("lapi"), &configuration.etc());
        // What was decided a minute ago makes the next ban longer; no test can wait for so long.
        edit(&configuration.etc().join("profiles.yaml.local"), &[("'1m'", "'1ms'".into())]);
        let own = "cscli: {hub_branch: master}\ndb_config: {use_wal: true}\n\
                   api: {server: {listen_uri: 0.0.0.0:8080, log_level: info}}\n";
        fs::write(configuration.etc().join("config.yaml.local"), own).unwrap();
        let lapi = Lapi { configuration, process: Mutex::new(None), machine };
        // For cscli.
        lapi.cscli(&["machines", "add", "lapi", "--auto", "-u", &Lapi::url()]);
        Ok(lapi)
    }

    fn url() -> String {
        format!("http://{}:8080/", address(Family::V4, LAPI))
    }

    fn cscli(&self, args: &[&str]) -> String {
        output_of(self.configuration.program(&self.machine, "cscli").args(args)).unwrap()
    }

    fn start(&self) {
        let mut command = self.configuration.program(&self.machine, "crowdsec");
        command.arg("-no-cs");
        *self.process.lock() = Some(Process::start(command, &self.configuration.folder.join("lapi.log")));
        let at = SocketAddr::new(address(Family::V4, LAPI), 8080);
        wait_until("the local API to listen", || network::listens(&self.machine, at));
    }
}

/// A machine with a switch, an agent and a bouncer.
pub struct Host {
    pub switch: Switch,
    number: u8,
    configuration: Configuration,
    processes: Vec<Process>,
    _echo: Echo,
    machine: Namespace,
}

impl Host {
    /// `late`: the module is loaded, and makes its log, only when the agent runs.
    fn new(number: u8, wire: &Wire, folder: &Path, lapi: &Lapi, late: bool) -> Result<Host, String> {
        let name = format!("switch-{number}");
        let machine = wire.machine(&name, number..number + 1)?;
        let configuration = Configuration::new(folder.join(&name), lapi.configuration.packages);
        let etc = configuration.etc();
        let switch = if late { Switch::start(SETTINGS) } else { Switch::loaded(SETTINGS) };

        copy(&kit().join("switch"), &etc);
        let log = switch.log_file().display().to_string();
        let acquisition = etc.join("acquis.d/freeswitch-fail2ban.yaml");
        edit(&acquisition, &[("/var/log/freeswitch/fail2ban.log", log)]);
        // As its owner would: the example in the white list, with the comment signs taken out.
        let whitelist = etc.join("parsers/s02-enrich/freeswitch-fail2ban-whitelist.yaml");
        edit(&whitelist, &[("  #cidr:", "  cidr:".into()), ("  #  - ", "    - ".into())]);
        let own = "cscli: {hub_branch: master}\napi: {server: {enable: false}}\n";
        fs::write(etc.join("config.yaml.local"), own).unwrap();
        let credentials = etc.join("local_api_credentials.yaml").display().to_string();
        let add = ["machines", "add", &name, "--auto", "--force", "-u", &Lapi::url(), "-f", &credentials];
        lapi.cscli(&add);
        let key = lapi.cscli(&["bouncers", "add", &name, "-o", "raw"]);

        let bouncer = etc.join("bouncers/crowdsec-firewall-bouncer.yaml");
        edit(
            &bouncer,
            &[
                ("pid_dir: /var/run/", format!("pid_dir: {}/", configuration.folder.display())),
                ("daemonize: true", "daemonize: false".into()),
                ("log_mode: file", "log_mode: stdout".into()),
            ],
        );
        let local = etc.join("bouncers/crowdsec-firewall-bouncer.yaml.local");
        let url = Lapi::url();
        edit(&local, &[("http://127.0.0.1:8080/", url), ("PUT-THE-KEY-HERE", key.trim().into())]);

        let echo = Echo::new(&machine);
        Ok(Host { switch, number, configuration, processes: Vec::new(), _echo: echo, machine })
    }

    fn start(&mut self) {
        let mut agent = self.configuration.program(&self.machine, "crowdsec");
        agent.arg("-no-api");
        let program = self.configuration.packages.join("usr/bin/crowdsec-firewall-bouncer");
        let mut bouncer = self.machine.command(program);
        let file = self.configuration.etc().join("bouncers/crowdsec-firewall-bouncer.yaml");
        bouncer.arg("-c").arg(file);
        for (command, log) in [(agent, "agent.log"), (bouncer, "bouncer.log")] {
            self.processes.push(Process::start(command, &self.configuration.folder.join(log)));
        }
    }

    fn wait_until_up(&self) {
        wait_until("the agent to read the log", || {
            // It counts for nothing, and shows in the agent's own figures once it is read.
            self.switch.fire_event(&Event::register_attempt("1009", "192.0.2.1", "FORBIDDEN"));
            self.metric("cs_filesource_hits_total") > 0.0
        });
        wait_until("the bouncer's rules", || {
            let rules = self.rules();
            rules.contains("crowdsec-blacklists") && rules.contains("crowdsec6-blacklists")
        });
    }

    /// The sum of one of the agent's figures, over all that is said about it.
    pub fn metric(&self, name: &str) -> f64 {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 6060));
        let text = self.machine.run(|| {
            let mut text = String::new();
            if let Ok(mut stream) = TcpStream::connect(at) {
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
                let _ = stream.read_to_string(&mut text);
            }
            text
        });
        let of_name = text.lines().filter(|line| line.starts_with(name));
        of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn rules(&self) -> String {
        output_of(self.machine.command("nft").args(["list", "ruleset"])).unwrap()
    }

    /// Whether the firewall's set has an address.
    pub fn has_in_firewall(&self, ip: IpAddr) -> bool {
        let ip = ip.to_string();
        self.rules().split([' ', ',', '{', '}', '\n', '\t']).any(|word| word == ip)
    }

    /// The module finds that an address is an attacker.
    pub fn attack(&self, ip: IpAddr) {
        self.attack_as("1009", ip, Duration::ZERO);
    }

    /// The same some time ago, with a user as the module writes it in json.
    pub fn attack_as(&self, user: &str, ip: IpAddr, ago: Duration) {
        let source = if ip.is_ipv4() { ip.to_string() } else { "fd2b::/64".into() };
        self.write_line(
            ago,
            &format!(
                r#""event":"attacker","ip":"{ip}","known":false,"source":"{source}","proven":false,"points":10,"level":1,"causes":{{"failure":10}},"accounts":1,"user":"{user}""#
            ),
        );
    }

    /// Adds a line with these members to the log.
    pub fn write_line(&self, ago: Duration, members: &str) {
        let line = format!("{{\"time\":\"{}\",{members}}}\n", timestamp(SystemTime::now() - ago));
        let mut log = OpenOptions::new().create(true).append(true).open(self.switch.log_file()).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// `2026-11-22T00:51:58.493952+0000`
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap();
    // SAFETY: all-zero bytes are a valid `tm`, a plain struct of numbers and a pointer that may be null.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to live values of their types, and the result, which is `tm` itself, is not used.
    unsafe { libc::gmtime_r(&seconds, &mut tm) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+0000",
        tm.tm_year + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        since.subsec_micros()
    )
}

static SHARED: Mutex<Option<Arc<Site>>> = Mutex::new(None);

/// All of it, running.
pub struct Site {
    pub a: Host,
    pub b: Host,
    lapi: Lapi,
    next_attacker: AtomicU8,
    attackers: Namespace,
    bystander: Namespace,
    _wire: Wire,
    _folder: TempDir,
}

impl Site {
    /// A new one, if it can be had here.
    pub fn new() -> Result<Arc<Site>, Why> {
        let packages = packages()?;
        Ok(Arc::new(Site::start(packages).unwrap_or_else(|why| panic!("{why}"))))
    }

    /// The one that most tests share, each with attackers of its own, until [`Site::end_shared`].
    pub fn shared() -> Result<Arc<Site>, Why> {
        let mut shared = SHARED.lock();
        if shared.is_none() {
            *shared = Some(Site::new()?);
        }
        Ok(Arc::clone(shared.as_ref().expect("it was just made")))
    }

    /// Ends it.
    pub fn end_shared() {
        drop(SHARED.lock().take());
    }

    fn start(packages: &'static Path) -> Result<Site, String> {
        let folder = TempDir::with_prefix("crowdsec-").map_err(|error| error.to_string())?;
        let wire = Wire::new()?;
        let attackers = wire.machine("attackers", ATTACKERS)?;
        let bystander = wire.machine("bystander", BYSTANDER..BYSTANDER + 1)?;
        let lapi = Lapi::new(&wire, folder.path(), packages)?;
        // B's log is made later than its agent starts.
        let mut a = Host::new(SWITCHES[0], &wire, folder.path(), &lapi, false)?;
        let mut b = Host::new(SWITCHES[1], &wire, folder.path(), &lapi, true)?;
        lapi.start();
        a.start();
        b.start();
        wait_until("B's agent to watch for its log", || {
            read(&b.configuration.folder.join("agent.log")).contains("Starting processing data")
        });
        b.switch.load()?;
        a.wait_until_up();
        b.wait_until_up();
        let next_attacker = AtomicU8::new(ATTACKERS.start);
        Ok(Site { a, b, lapi, next_attacker, attackers, bystander, _wire: wire, _folder: folder })
    }

    /// An address that has done nothing yet.
    pub fn attacker(&self, family: Family) -> IpAddr {
        let host = self.next_attacker.fetch_add(1, Ordering::Relaxed);
        assert!(ATTACKERS.contains(&host), "more attackers than addresses: {ATTACKERS:?} has to be longer");
        address(family, host)
    }

    pub fn bystander(&self, family: Family) -> IpAddr {
        address(family, BYSTANDER)
    }

    pub fn hosts(&self) -> [&Host; 2] {
        [&self.a, &self.b]
    }

    /// Waits until a host drops an attacker's packets. A bystander's get through.
    pub fn wait_until_dropped(&self, host: &Host, attacker: IpAddr) {
        wait_until(&format!("{attacker} in the firewall of {}", host.number), || {
            host.has_in_firewall(attacker)
        });
        assert!(!self.attacker_gets_through(host, attacker), "{attacker} gets through to {}", host.number);
        self.assert_bystander_gets_through();
    }

    pub fn wait_until_dropped_by_both(&self, attacker: IpAddr) {
        for host in self.hosts() {
            self.wait_until_dropped(host, attacker);
        }
    }

    /// Waits until a host lets an attacker's packets in again.
    pub fn wait_until_back(&self, host: &Host, attacker: IpAddr) {
        wait_until(&format!("{attacker} out of the firewall of {}", host.number), || {
            !host.has_in_firewall(attacker)
        });
        assert!(self.attacker_gets_through(host, attacker), "{attacker} is still dropped by {}", host.number);
    }

    /// Whatever these have done before on `host` has not banned them, nor will it: one who attacks there now
    /// is banned on both, and an agent, the local API and the bouncers keep the order.
    pub fn assert_not_banned(&self, host: &Host, ips: &[IpAddr]) {
        let last = self.attacker(Family::V4);
        host.attack(last);
        self.wait_until_dropped_by_both(last);
        for ip in ips {
            for host in self.hosts() {
                assert!(!host.has_in_firewall(*ip), "{ip} is banned on {}", host.number);
            }
        }
    }

    pub fn attacker_gets_through(&self, host: &Host, attacker: IpAddr) -> bool {
        gets_through(&self.attackers, attacker, same_family(attacker, host.number))
    }

    pub fn assert_bystander_gets_through(&self) {
        for host in self.hosts() {
            for family in [Family::V4, Family::V6] {
                let (from, to) = (self.bystander(family), address(family, host.number));
                assert!(gets_through(&self.bystander, from, to), "the bystander {from} is dropped by {to}");
            }
        }
    }

    /// Lifts a ban, as an operator does.
    pub fn unban(&self, ip: IpAddr) {
        self.lapi.cscli(&["decisions", "delete", "--ip", &ip.to_string()]);
    }

    /// The active bans of an address.
    pub fn decisions(&self, ip: IpAddr) -> Vec<Value> {
        let alerts = self.lapi.cscli(&["decisions", "list", "--ip", &ip.to_string(), "-o", "json"]);
        let alerts: Value = serde_json::from_str(&alerts).unwrap_or_default();
        let decisions =
            alerts.as_array().into_iter().flatten().flat_map(|alert| alert["decisions"].as_array());
        decisions.flatten().cloned().collect()
    }

    /// The alerts of a scenario: whom each is about, and how many decisions it made.
    pub fn alerts(&self, scenario: &str) -> Vec<(String, usize)> {
        let name = format!("freeswitch/mod_fail2ban-{scenario}");
        let alerts = self.lapi.cscli(&["alerts", "list", "-a", "--limit", "0", "-o", "json"]);
        let alerts: Value = serde_json::from_str(&alerts).unwrap_or_default();
        let of_scenario = alerts.as_array().into_iter().flatten().filter(|alert| alert["scenario"] == *name);
        of_scenario
            .map(|alert| {
                let value = alert["source"]["value"].as_str().unwrap_or_default().to_owned();
                (value, alert["decisions"].as_array().map_or(0, Vec::len))
            })
            .collect()
    }

    pub fn kill_lapi(&self) {
        *self.lapi.process.lock() = None;
    }

    pub fn start_lapi(&self) {
        self.lapi.start();
    }

    /// What an agent has written to its own log.
    pub fn agent_log(&self, host: &Host) -> String {
        read(&host.configuration.folder.join("agent.log"))
    }

    pub fn bouncer_lost_the_api(&self, host: &Host) -> bool {
        read(&host.configuration.folder.join("bouncer.log")).contains("connection refused")
    }

    /// The memory that a host's agent and bouncer, and the local API, have in use, in kB.
    pub fn memory(&self) -> [(&'static str, u64); 3] {
        let rss = |process: &Process| {
            let status = read(Path::new(&format!("/proc/{}/status", process.0.id())));
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let lapi = self.lapi.process.lock();
        [
            ("agent", rss(&self.a.processes[0])),
            ("bouncer", rss(&self.a.processes[1])),
            ("local API", rss(lapi.as_ref().unwrap())),
        ]
    }

    /// From now on, when the first datagram was sent that each host did not answer.
    pub fn first_drops(&self, attacker: IpAddr) -> [Duration; 2] {
        let start = Instant::now();
        let mut sockets = self
            .hosts()
            .map(|host| Some(network::socket(&self.attackers, attacker, same_family(attacker, host.number))));
        let mut drops = [Duration::ZERO; 2];
        while sockets.iter().any(Option::is_some) {
            for (socket, drop) in sockets.iter_mut().zip(&mut drops) {
                let Some(open) = socket else { continue };
                open.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                let sent = start.elapsed();
                open.send(b"?").unwrap();
                if open.recv(&mut [0]).is_err() {
                    *drop = sent;
                    *socket = None;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drops
    }
}

fn same_family(ip: IpAddr, host: u8) -> IpAddr {
    address(if ip.is_ipv4() { Family::V4 } else { Family::V6 }, host)
}

/// Copies what is in a folder to another.
fn copy(from: &Path, to: &Path) {
    output_of(Command::new("cp").arg("-r").arg(from.join(".")).arg(to)).unwrap();
}

/// Replaces texts in a file, each of which has to be there.
fn edit(file: &Path, changes: &[(&str, String)]) {
    let mut text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for (from, to) in changes {
        assert!(text.contains(from), "{}: there is no {from}", file.display());
        text = text.replace(from, to);
    }
    fs::write(file, text).unwrap();
}

fn read(file: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(file) {
        file.read_to_end(&mut text).unwrap();
    }
    String::from_utf8_lossy(&text).into_owned()
}
