//! A real FreeSWITCH as a child process, driven over its event socket.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::events::Event;

/// What it loads at the start; the module under test, and sofia where one wants it, are loaded by the tests.
const MODULES: [&str; 3] = ["mod_logfile", "mod_event_socket", "mod_commands"];

/// A running FreeSWITCH.
pub struct FreeSwitch {
    child: Child,
    socket: Mutex<EventSocket>,
    marks: AtomicU32,
}

/// How to start one.
pub struct Options<'a> {
    /// Where it is installed.
    pub prefix: &'a Path,
    /// The file to load as mod_fail2ban.
    pub module: &'a Path,
    /// The other modules that may be loaded.
    pub modules: &'a [&'a str],
    /// Where every folder is that it reads and writes.
    pub folder: &'a Path,
    /// Its certificates, where they are not to be made each time.
    pub certificates: Option<&'a Path>,
    /// The text of `freeswitch.xml`.
    pub configuration: &'a str,
    /// What stands before the command, such as `nsenter --net=…`.
    pub within: &'a [&'a str],
    /// Its time zone, where that matters.
    pub time_zone: Option<&'a str>,
    /// Connects to its event socket.
    pub connect: &'a dyn Fn() -> io::Result<TcpStream>,
}

impl FreeSwitch {
    /// Starts the one that is installed under `prefix`, with every folder that it writes to in `folder`, and the
    /// least that it runs with.
    pub fn start(prefix: &Path, module: &Path, folder: &Path) -> FreeSwitch {
        let port = free_port();
        FreeSwitch::start_with(&Options {
            prefix,
            module,
            modules: &[&MODULES[..], &["mod_sofia"]].concat(),
            folder,
            certificates: None,
            configuration: &configuration(port),
            within: &[],
            time_zone: None,
            connect: &|| TcpStream::connect(("127.0.0.1", port)),
        })
    }

    /// Starts one that is ready when this returns.
    pub fn start_with(options: &Options<'_>) -> FreeSwitch {
        let folder = options.folder;
        link_modules(options);
        super::write(&folder.join("conf/freeswitch.xml"), options.configuration);
        let output = File::create(folder.join("stderr")).expect("a file for the output");
        let program = options.prefix.join("bin/freeswitch");
        let mut words = options.within.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("there is one"));
        command.args(words).args(["-nonat", "-nc", "-nf", "-np"]);
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
            std::fs::create_dir_all(folder.join(name)).expect("a folder for FreeSWITCH");
            command.arg(option).arg(folder.join(name));
        }
        let own_certificates = folder.join("certs");
        let certificates = options.certificates.unwrap_or(&own_certificates);
        std::fs::create_dir_all(certificates).expect("a folder for certificates");
        command.arg("-certs").arg(certificates);
        if let Some(time_zone) = options.time_zone {
            command.env("TZ", time_zone);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("FreeSWITCH starts");
        let mut socket = None;
        super::wait_until("FreeSWITCH to be ready", || {
            socket = socket.take().or_else(|| EventSocket::new((options.connect)().ok()?).ok());
            let ready = socket.as_mut().and_then(|socket| socket.api("status").ok());
            ready.is_some_and(|status| status.contains("is ready"))
        });
        let socket = Mutex::new(socket.expect("it is ready"));
        FreeSwitch { child, socket, marks: AtomicU32::new(0) }
    }

    /// Runs a command and gives what it wrote.
    pub fn api(&self, command: &str) -> String {
        self.socket.lock().api(command).unwrap_or_else(|error| panic!("{command}: the switch died: {error}"))
    }

    /// Fires an event; it is delivered some time later.
    pub fn send_event(&self, event: &Event) {
        assert!(carries(event), "the event socket can't carry this event, ask carries() before: {event:?}");
        let name = event.get("Event-Name").unwrap_or(b"CUSTOM");
        let mut request = [b"sendevent ", name].concat();
        for (name, value) in event.0.iter().filter(|(name, _)| name != "Event-Name") {
            request.extend_from_slice(&[b"\n", name.as_bytes(), b": ", value].concat());
        }
        let sent = self.socket.lock().ask(&request);
        assert!(sent.expect("the switch lives").starts_with("+OK"));
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until everything that was logged so far is in the file.
    pub fn flush_log(&self, file: &Path) {
        let mark = format!("mark {} in the log", self.marks.fetch_add(1, Ordering::Relaxed));
        self.api(&format!("log info {mark}"));
        super::wait_until(&mark, || super::read(file).contains(&mark));
    }

    /// Shuts it down, and waits for its end.
    pub fn shut_down(&mut self) -> ExitStatus {
        // It may be gone before it answers.
        let _ = self.socket.lock().api("fsctl shutdown");
        let mut status = None;
        super::wait_until("FreeSWITCH to end", || {
            status = self.child.try_wait().expect("a child of this process");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FreeSwitch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the event socket hands an event on as it is: it reads headers line by line.
pub fn carries(event: &Event) -> bool {
    event.0.iter().all(|(_, value)| {
        !value.is_empty()
            && !value.starts_with(b" ")
            && !value.starts_with(b"ARRAY::")
            && !value.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
    })
}

/// A connection that has logged in.
pub struct EventSocket(BufReader<TcpStream>);

impl EventSocket {
    /// Logs in.
    pub fn new(stream: TcpStream) -> io::Result<EventSocket> {
        stream.set_read_timeout(Some(super::PATIENCE))?;
        let mut socket = EventSocket(BufReader::new(stream));
        socket.read_reply()?;
        let reply = socket.ask(b"auth ClueCon")?;
        if reply.starts_with("+OK") { Ok(socket) } else { Err(io::Error::other(reply)) }
    }

    fn api(&mut self, command: &str) -> io::Result<String> {
        self.ask(format!("api {command}").as_bytes())
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<String> {
        self.0.get_mut().write_all(&[request, b"\n\n"].concat())?;
        self.read_reply()
    }

    /// Asks for the events of a subclass.
    pub fn subscribe(&mut self, subclass: &str) {
        let reply = self.ask(format!("event plain CUSTOM {subclass}").as_bytes());
        assert!(reply.expect("the switch lives").starts_with("+OK"));
    }

    /// Waits for an event in which this text stands. Whoever binds after that does not get it any more.
    pub fn wait_for(&mut self, text: &str) {
        while !self.read_reply().expect("the event comes").contains(text) {}
    }

    /// A reply is a text in its header `Reply-Text`, or a body.
    fn read_reply(&mut self) -> io::Result<String> {
        let (mut text, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(": ") {
                Some(("Reply-Text", value)) => text = value.to_owned(),
                Some(("Content-Length", value)) => length = value.parse().map_err(io::Error::other)?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(text + &String::from_utf8_lossy(&body))
    }
}

/// A folder of modules: those that are installed, with the one under test in its place.
fn link_modules(options: &Options<'_>) {
    let folder = options.folder.join("mod");
    std::fs::create_dir(&folder).expect("a folder for modules");
    let places = ["lib/freeswitch/mod", "mod"].map(|place| options.prefix.join(place));
    let installed = places.iter().find(|place| place.is_dir()).expect("FREESWITCH_PREFIX has modules");
    for name in options.modules {
        let file = format!("{name}.so");
        symlink(installed.join(&file), folder.join(file)).expect("a link to a module");
    }
    let module = options.module.canonicalize();
    let module = module.unwrap_or_else(|error| panic!("{}: {error}", options.module.display()));
    symlink(module, folder.join("mod_fail2ban.so")).expect("a link to the module");
}

/// A port that nobody listens at, a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The least that FreeSWITCH runs with, and the files that the tests write.
fn configuration(port: u16) -> String {
    format!(
        r#"<?xml version="1.0"?>
<document type="freeswitch/xml">
  <section name="configuration">
    {}
    <configuration name="sofia.conf"><profiles/></configuration>
    <X-PRE-PROCESS cmd="include" data="autoload_configs/*.xml"/>
  </section>
</document>
"#,
        core_configuration(&MODULES, "127.0.0.1", port, "")
    )
}

/// What every FreeSWITCH here is configured with: the modules that it loads, the event socket, which may have more
/// `<param …/>`s, and a log of everything.
pub fn core_configuration(modules: &[&str], listen_ip: &str, port: u16, more: &str) -> String {
    let modules: String = modules.iter().map(|name| format!("<load module=\"{name}\"/>")).collect();
    format!(
        r#"<configuration name="modules.conf"><modules>{modules}</modules></configuration>
    <configuration name="switch.conf">
      <settings>
        <param name="loglevel" value="debug"/>
        <param name="sessions-per-second" value="1000"/>
      </settings>
    </configuration>
    <configuration name="event_socket.conf">
      <settings>
        <param name="nat-map" value="false"/>
        <param name="listen-ip" value="{listen_ip}"/>
        <param name="listen-port" value="{port}"/>
        <param name="password" value="ClueCon"/>
        {more}
      </settings>
    </configuration>
    <configuration name="logfile.conf">
      <profiles>
        <profile name="default">
          <settings><param name="rollover" value="0"/></settings>
          <mappings><map name="all" value="console,debug,info,notice,warning,err,crit,alert"/></mappings>
        </profile>
      </profiles>
    </configuration>"#
    )
}
