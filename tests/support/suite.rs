//! Collects the tests of all suites and runs them with libtest-mimic. A test that can't run here is *ignored*, with
//! its reason; with `REQUIRE_ALL=1` in the environment it fails.
//!
//! ```text
//! pub fn add_to(suite: &mut Suite) {
//!     suite.add(&[], tests![a_test, another_test]);
//!     suite.add(&[needs::mount], tests![a_test_that_mounts_a_disk]);
//! }
//! ```

use std::process::ExitCode;
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Why a test can't run here.
#[derive(Clone, Debug)]
pub enum Why {
    /// Something is missing that this machine could have. `REQUIRE_ALL=1` does not accept that.
    Missing(String),
    /// The test is about another host than the one that is tested here, so nothing is missing.
    OtherHost(String),
}

/// Something that a test needs to run: the error is why it is missing.
pub type Need = fn() -> Result<(), Why>;

/// Test functions by name, and the module that they are in: see [`tests!`].
pub struct Tests<F: 'static> {
    pub module: &'static str,
    pub functions: &'static [(&'static str, F)],
}

/// Lists test functions of the module that it is used in.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        $crate::support::suite::Tests { module: module_path!(), functions: &[$((stringify!($test), $test)),*] }
    };
}
pub(crate) use tests;

/// The tests to run.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds tests that need all of these, as `MODULE::TEST`.
    pub fn add(&mut self, needs: &[Need], tests: Tests<fn()>) {
        for &(name, test) in tests.functions {
            self.push(format!("{}::{name}", tests.module), needs, move || {
                test();
                Ok(())
            });
        }
    }

    /// Adds tests that also need what `get` gives, such as one of several fail2bans, as `MODULE::OF::TEST`.
    pub fn add_with<T: 'static>(
        &mut self,
        needs: &[Need],
        of: &str,
        get: fn() -> Result<T, Why>,
        tests: Tests<fn(T)>,
    ) {
        for &(name, test) in tests.functions {
            self.push(format!("{}::{of}::{name}", tests.module), needs, move || {
                test(get()?);
                Ok(())
            });
        }
    }

    fn push(
        &mut self,
        path: String,
        needs: &[Need],
        test: impl FnOnce() -> Result<(), Why> + Send + 'static,
    ) {
        let (_this_program, name) =
            path.split_once("::").expect("the path of a module begins with the crate");
        let needs = needs.to_vec();
        self.trials.push(Trial::ignorable_test(name, move || {
            outcome(needs.iter().try_for_each(|need| need()).and_then(|()| test()))
        }));
    }

    /// Runs the tests that the arguments of the program ask for.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // Most tests wait most of the time; a FreeSWITCH is at work even then.
        let for_each_core = if std::env::var_os("FREESWITCH_PREFIX").is_some() { 1 } else { 4 };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        arguments.test_threads.get_or_insert(cores * for_each_core);
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}

fn outcome(result: Result<(), Why>) -> Result<Completion, Failed> {
    match result {
        Ok(()) => Ok(Completion::Completed),
        Err(Why::Missing(why)) if is_all_required() => {
            Err(format!("it can't run here, and REQUIRE_ALL is set: {why}").into())
        }
        Err(Why::Missing(why) | Why::OtherHost(why)) => Ok(Completion::ignored_with(one_line(&why))),
    }
}

fn is_all_required() -> bool {
    std::env::var_os("REQUIRE_ALL").is_some_and(|value| !value.is_empty() && value != "0")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
