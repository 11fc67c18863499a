//! Runs the tests of a suite some of which can't run everywhere. What can't run here is *ignored*, with its
//! reason; with `REQUIRE_ALL=1` in the environment it fails. The output and the options are those of Rust's own
//! test runner.
//!
//! ```text
//! fn main() -> ExitCode {
//!     let mut suite = Suite::default();
//!     suite.add(&[], tests![a_test, another_test]);
//!     suite.add(&[needs::root], tests![a_test_that_mounts_a_disk]);
//!     suite.run()
//! }
//! ```

#![allow(dead_code, reason = "each suite uses a part")]

use std::any::Any;
use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};

/// Why a test can't run here.
#[derive(Clone, Debug)]
pub enum Why {
    /// Something is missing that this machine could have. `REQUIRE_ALL=1` does not accept that.
    Missing(String),
    /// The test is about another host than the one that is tested here, so nothing is missing.
    OtherHost(String),
}

/// Something that a test needs to run: an error says why it is not to be had.
pub type Need = fn() -> Result<(), Why>;

/// The name of a test that is given something, and its function.
pub type TestOf<T> = (&'static str, fn(T));

/// The names of test functions, and the functions.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => { &[$((stringify!($test), $test)),*] };
}

/// Tests to be run.
#[derive(Default)]
pub struct Suite {
    tests: Vec<Test>,
    /// How many run at once on one core.
    for_each_core: Option<usize>,
}

struct Test {
    name: String,
    run: Box<dyn FnOnce() -> Result<(), Why> + Send>,
}

enum Outcome {
    Passed,
    Failed(String),
    Ignored(String),
}

impl Suite {
    /// Adds tests that need all of these.
    pub fn add(&mut self, needs: &[Need], tests: &[(&'static str, fn())]) {
        for &(name, test) in tests {
            let needs = needs.to_vec();
            let run = Box::new(move || {
                needs.iter().try_for_each(|need| need())?;
                test();
                Ok(())
            });
            self.tests.push(Test { name: name.to_owned(), run });
        }
    }

    /// The same, with something before the tests' names, such as the name of their file.
    pub fn add_in(&mut self, of: &str, needs: &[Need], tests: &[(&'static str, fn())]) {
        let before = self.tests.len();
        self.add(needs, tests);
        for test in &mut self.tests[before..] {
            test.name = format!("{of}::{}", test.name);
        }
    }

    /// Adds tests that need all of these and are given something, such as one of several fail2bans, which may
    /// not be to be had; `of` tells it apart from others in the tests' names.
    pub fn add_with<T: 'static>(
        &mut self,
        needs: &[Need],
        of: &str,
        get: fn() -> Result<T, Why>,
        tests: &[TestOf<T>],
    ) {
        for &(name, test) in tests {
            let needs = needs.to_vec();
            let run = Box::new(move || {
                needs.iter().try_for_each(|need| need())?;
                test(get()?);
                Ok(())
            });
            self.tests.push(Test { name: format!("{of}::{name}"), run });
        }
    }

    /// How many tests run at once for each core: one where each takes much of the machine, more than two where
    /// they mostly wait.
    pub fn for_each_core(mut self, tests: usize) -> Suite {
        self.for_each_core = Some(tests);
        self
    }

    /// Runs what the arguments of the program ask for.
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        // libtest-mimic reads the arguments, and lists and filters tests. It pads names to one width, which
        // readers of the usual output do not expect, so the tests are run and told of here.
        let trials: Vec<_> = self.tests.iter().map(|test| Trial::test(&test.name, || Ok(()))).collect();
        if arguments.list {
            return libtest_mimic::run(&arguments, trials).exit_code();
        }
        let total = self.tests.len();
        let chosen = self.tests.into_iter().zip(&trials);
        let chosen = chosen.filter(|(_, trial)| !arguments.ignored && !arguments.is_filtered_out(trial));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = arguments.test_threads.unwrap_or(cores * self.for_each_core.unwrap_or(2));
        run(chosen.map(|(test, _)| test).collect(), total, threads)
    }
}

fn run(tests: Vec<Test>, total: usize, threads: usize) -> ExitCode {
    let start = Instant::now();
    let count = tests.len();
    say(&format!("\nrunning {count} test{}\n", if count == 1 { "" } else { "s" }));
    let (mut ignored, mut failures) = (0, Vec::new());
    let next = Mutex::new(tests.into_iter());
    let (sender, outcomes) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let sender = sender.clone();
            let next = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
            scope.spawn(move || {
                while let Some(Test { name, run }) = next() {
                    let _ = sender.send((name, outcome(run)));
                }
            });
        }
        drop(sender);
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Passed => say(&format!("test {name} ... ok\n")),
                Outcome::Ignored(why) => {
                    ignored += 1;
                    say(&format!("test {name} ... ignored, {why}\n"));
                }
                Outcome::Failed(message) => {
                    say(&format!("test {name} ... FAILED\n"));
                    failures.push((name, message));
                }
            }
        }
    });
    if !failures.is_empty() {
        say("\nfailures:\n");
        for (name, message) in &failures {
            say(&format!("\n---- {name} stdout ----\n{message}\n"));
        }
        say("\n\nfailures:\n");
        for (name, _) in &failures {
            say(&format!("    {name}\n"));
        }
    }
    let (failed, seconds) = (failures.len(), start.elapsed().as_secs_f64());
    say(&format!(
        "\ntest result: {}. {} passed; {failed} failed; {ignored} ignored; 0 measured; {} filtered out; finished \
         in {seconds:.2}s\n\n",
        if failed == 0 { "ok" } else { "FAILED" },
        count - failed - ignored,
        total - count
    ));
    // What the runner of Rust gives when tests have failed.
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn outcome(run: Box<dyn FnOnce() -> Result<(), Why> + Send>) -> Outcome {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Why::Missing(why))) if is_all_required() => {
            Outcome::Failed(format!("it can't run here, and REQUIRE_ALL is set: {why}"))
        }
        Ok(Err(Why::Missing(why) | Why::OtherHost(why))) => Outcome::Ignored(one_line(&why)),
        Err(panic) => Outcome::Failed(message_of(panic.as_ref())),
    }
}

fn is_all_required() -> bool {
    std::env::var_os("REQUIRE_ALL").is_some_and(|value| !value.is_empty() && value != "0")
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it panicked without words".to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// To the standard output, where nobody may be listening any more.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// What tests may need.
pub mod needs {
    use super::{HashMap, Mutex, PoisonError, Why};
    use std::path::PathBuf;
    use std::process::Command;

    /// The stand-in, for what can't be done with a real FreeSWITCH: storms, failures on demand, the host's log.
    pub fn stand_in() -> Result<(), Why> {
        match std::env::var_os("FREESWITCH_PREFIX") {
            None => Ok(()),
            Some(_) => Err(Why::OtherHost("it is for the stand-in, and FREESWITCH_PREFIX is set".into())),
        }
    }

    /// A real FreeSWITCH.
    pub fn free_switch() -> Result<(), Why> {
        match std::env::var_os("FREESWITCH_PREFIX") {
            Some(prefix) if !prefix.is_empty() => Ok(()),
            _ => Err(Why::Missing("FREESWITCH_PREFIX names no installed FreeSWITCH".into())),
        }
    }

    /// The right to mount a small file system.
    pub fn mount() -> Result<(), Why> {
        let mount = "disk=$(mktemp -d); mount -t tmpfs -o size=64k tmpfs $disk && umount $disk; failed=$?; \
                     rmdir $disk; exit $failed";
        works("a disk can't be mounted here (root can)", mount)
    }

    /// The right to make network namespaces.
    pub fn network() -> Result<(), Why> {
        let enter = "unshare -n nsenter --net=/proc/self/ns/net \
                     ip link add link1 type veth peer name link2 netns /proc/self/ns/net";
        works("network namespaces can't be made here (root can)", enter)
    }

    /// nftables.
    pub fn nftables() -> Result<(), Why> {
        works("nftables does not work here", "unshare -n nft add table inet a")
    }

    /// iptables.
    pub fn iptables() -> Result<(), Why> {
        works("iptables does not work here", "unshare -n iptables --new-chain a")
    }

    /// sipp, which makes calls.
    pub fn sipp() -> Result<(), Why> {
        command_exists("sipp is not installed (Debian: sip-tester)", "sipp")
    }

    /// FreeSWITCH's own mod_fail2ban, to compare with.
    pub fn c_module() -> Result<(), Why> {
        match std::env::var_os("C_MODULE_SO") {
            Some(path) if !path.is_empty() => Ok(()),
            _ => Err(Why::Missing("C_MODULE_SO names no mod_fail2ban.so of FreeSWITCH's own".into())),
        }
    }

    /// Where that is.
    pub fn c_module_path() -> PathBuf {
        std::env::var_os("C_MODULE_SO").expect("the suite has seen that it is set").into()
    }

    fn command_exists(otherwise: &str, name: &str) -> Result<(), Why> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&paths).any(|folder| folder.join(name).exists());
        if found { Ok(()) } else { Err(Why::Missing(otherwise.to_owned())) }
    }

    /// Tries a command of the shell's, once for all tests of the suite.
    fn works(otherwise: &str, command: &'static str) -> Result<(), Why> {
        static TRIED: Mutex<Option<HashMap<&str, Result<(), Why>>>> = Mutex::new(None);
        let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
        let try_it = || match Command::new("sh").args(["-c", command]).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(Why::Missing(format!("{otherwise}: {said}")))
            }
            Err(error) => Err(Why::Missing(format!("{otherwise}: {error}"))),
        };
        tried.get_or_insert_default().entry(command).or_insert_with(try_it).clone()
    }
}
