//! Debian's rsyslog, unpacked and not installed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::suite::Why;

/// Where rsyslog is unpacked.
pub fn rsyslog() -> Result<PathBuf, Why> {
    let unpack = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unpack.sh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rsyslog");
    let mut command = Command::new(unpack);
    command.arg(&folder);
    command.args(["own", "rsyslog", "rsyslog-relp", "librelp0", "libestr0", "libfastjson4", "liblognorm5"]);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if output.status.success() {
        Ok(folder)
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Why::Missing(format!("Debian's packages of rsyslog are not to be had: {why}")))
    }
}

/// A running rsyslog, killed on drop.
pub struct Rsyslog(Child);

impl Rsyslog {
    /// Starts one with a shipped file, in which `changes` are made, in a folder of its own; `within` may put it
    /// elsewhere, such as `nsenter --net=…`.
    pub fn start(
        root: &Path,
        within: &[&str],
        folder: &Path,
        file: &str,
        changes: &[(&str, &str)],
    ) -> Rsyslog {
        fs::create_dir_all(folder).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/rsyslog").join(file);
        let mut text = fs::read_to_string(&file).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{}: there is no {from}", file.display());
            text = text.replace(from, to);
        }
        let configuration = folder.join("rsyslog.conf");
        let own = format!("global(workDirectory=\"{}\")\n", folder.display());
        fs::write(&configuration, own + &text).unwrap();
        let libraries = fs::read_dir(root.join("usr/lib")).unwrap().flatten().map(|entry| entry.path());
        let libraries = libraries.filter(|path| path.join("rsyslog/imfile.so").exists());
        let libraries = libraries.last().expect("rsyslog's modules");
        let program = root.join("usr/sbin/rsyslogd");
        let mut words = within.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.args(["-n", "-iNONE"]).arg("-M").arg(libraries.join("rsyslog")).arg("-f").arg(configuration);
        command.env("LD_LIBRARY_PATH", libraries).stdin(Stdio::null()).stderr(Stdio::null());
        Rsyslog(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
