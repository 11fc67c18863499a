//! The fail2bans that the kit is tested with: those of Debian 12, 13 and 14, unpacked and not installed.

pub mod daemon;
pub mod network;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use super::namespace::{self, output_of};
use super::suite::Why;

/// The Python that Debian's fail2ban is made for; another may come first in the PATH.
const PYTHON: &str = "/usr/bin/python3";

/// A fail2ban, unpacked.
pub struct Fail2ban {
    root: PathBuf,
}

/// Debian 12's, 1.0.2.
pub fn bookworm() -> Result<&'static Fail2ban, Why> {
    static UNPACKED: OnceLock<Result<Fail2ban, Why>> = OnceLock::new();
    UNPACKED.get_or_init(|| Fail2ban::unpack("bookworm")).as_ref().map_err(Why::clone)
}

/// Debian 13's, 1.1.0.
pub fn trixie() -> Result<&'static Fail2ban, Why> {
    static UNPACKED: OnceLock<Result<Fail2ban, Why>> = OnceLock::new();
    UNPACKED.get_or_init(|| Fail2ban::unpack("trixie")).as_ref().map_err(Why::clone)
}

/// That of the coming Debian 14, 1.1.1.
pub fn forky() -> Result<&'static Fail2ban, Why> {
    static UNPACKED: OnceLock<Result<Fail2ban, Why>> = OnceLock::new();
    UNPACKED.get_or_init(|| Fail2ban::unpack("forky")).as_ref().map_err(Why::clone)
}

/// A fail2ban by the name of its Debian, and how to get it.
pub type Release = (&'static str, fn() -> Result<&'static Fail2ban, Why>);

/// All of them.
pub const ALL: [Release; 3] = [("bookworm", bookworm), ("trixie", trixie), ("forky", forky)];

/// Those of Debian's stable releases, for tests that take long.
pub const STABLE: [Release; 2] = [("bookworm", bookworm), ("trixie", trixie)];

/// The kit as it is shipped.
pub fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/fail2ban")
}

fn in_tests(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fail2ban").join(file)
}

impl Fail2ban {
    /// Unpacks the fail2ban of a Debian release, unless that was done before, and sees whether this machine's
    /// Python can run it: 1.0.2 needs modules that Python 3.12 and newer no longer have.
    fn unpack(release: &str) -> Result<Fail2ban, Why> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fail2ban-{release}"));
        let unpack = in_tests("../unpack.sh");
        output_of(Command::new(unpack).arg(&root).args([release, "fail2ban"])).map_err(|why| {
            Why::Missing(format!("the fail2ban of Debian's {release} is not to be had: {why}"))
        })?;
        let fail2ban = Fail2ban { root };
        match fail2ban.check_filter(&["runs"]) {
            Ok(_) => Ok(fail2ban),
            Err(why) => {
                let last = why.trim().lines().last().unwrap_or_default();
                Err(Why::Missing(format!("Debian {release}: {last}")))
            }
        }
    }

    /// Where a program of this fail2ban is.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("usr/bin").join(name)
    }

    /// A command that runs a script with this fail2ban's code; `within` may put it elsewhere,
    /// such as `nsenter --net=…`.
    pub fn python(&self, within: &[&str], script: &Path) -> Command {
        let mut words = within.iter().copied().chain([PYTHON]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(script);
        command.env("PYTHONPATH", self.root.join("usr/lib/python3/dist-packages"));
        command
    }

    /// Runs one of its programs to its end.
    pub fn run(&self, name: &str, args: &[&str]) -> Result<String, String> {
        output_of(self.python(&[], &self.program(name)).args(args))
    }

    /// Runs `check_filter.py` with it.
    pub fn check_filter(&self, args: &[&str]) -> Result<String, String> {
        output_of(self.python(&[], &in_tests("check_filter.py")).args(args))
    }

    /// Makes, in an empty directory, its own configuration with the kit added and the jail that
    /// its package enables, sshd, taken out. `jails` is what a user would write to jail.local.
    pub fn configure(&self, directory: &Path, jails: &str) {
        let from = format!("{}/.", self.root.join("etc/fail2ban").display());
        for from in [from, format!("{}/.", kit().display())] {
            output_of(Command::new("cp").args(["-r", &from]).arg(directory)).unwrap();
        }
        let jails = format!("[sshd]\nenabled = false\n\n{jails}");
        std::fs::write(directory.join("jail.d/zz.local"), jails).unwrap();
    }
}

impl fmt::Display for Fail2ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fail2ban in {}", self.root.display())
    }
}
