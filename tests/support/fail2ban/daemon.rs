//! A running fail2ban-server with the shipped kit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::Fail2ban;
use super::network::Namespace;

/// The jail that the kit ships.
pub const JAIL: &str = "freeswitch-fail2ban";

/// A fail2ban-server in a namespace, with all its files in a directory of its own.
pub struct Daemon {
    fail2ban: &'static Fail2ban,
    process: Child,
    directory: TempDir,
}

impl Daemon {
    /// Starts it, with the jail enabled on `log` and `settings` added to the jail's.
    pub fn start(fail2ban: &'static Fail2ban, place: &Namespace, log: &Path, settings: &str) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let configuration = directory.path().join("etc");
        fs::create_dir(&configuration).unwrap();
        let jail = format!("[{JAIL}]\nenabled = true\nlogpath = {}\n{settings}\n", log.display());
        fail2ban.configure(&configuration, &jail);
        let own_files = format!(
            "[Definition]\nallowipv6 = auto\nlogtarget = {}\nsocket = {}\npidfile = {}\ndbfile = {}\n",
            file("server.log"),
            file("socket"),
            file("pid"),
            file("database")
        );
        fs::write(configuration.join("fail2ban.local"), own_files).unwrap();

        let process = spawn(fail2ban, place, &directory);
        Daemon { fail2ban, process, directory }
    }

    /// Starts it again after it was stopped.
    pub fn restart(&mut self, place: &Namespace) {
        self.process.wait().unwrap();
        self.process = spawn(self.fail2ban, place, &self.directory);
    }

    /// Runs fail2ban-client; with the server's configuration, since it reads one even when it only asks,
    /// and without any refuses to run where fail2ban is not installed.
    pub fn client(&self, args: &[&str]) -> Result<String, String> {
        let [configuration, socket] = ["etc", "socket"].map(|name| self.file(name).display().to_string());
        self.fail2ban.run("fail2ban-client", &[&["-c", &configuration, "-s", &socket], args].concat())
    }

    /// Whether the jail watches the log.
    pub fn is_up(&self) -> bool {
        self.client(&["status", JAIL]).is_ok()
    }

    /// Whom the jail bans, one a line, from when, for how many seconds and until when.
    pub fn banned(&self) -> String {
        self.client(&["get", JAIL, "banip", "--with-time"]).unwrap().trim().to_owned()
    }

    /// What it has written to its own log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("server.log")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn spawn(fail2ban: &Fail2ban, place: &Namespace, directory: &TempDir) -> Child {
    fail2ban
        .python(&place.within(), &fail2ban.program("fail2ban-server"))
        .arg("-c")
        .arg(directory.path().join("etc"))
        .args(["-xf", "start"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its rules vanish with the namespace: there is nothing to stop in good order.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
