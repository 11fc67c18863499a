//! The stand-in as a child process: a JSON request a line to it, a JSON reply a line from it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use parking_lot::Mutex;
use serde_json::Value;

/// A running stand-in.
pub struct StandIn {
    child: Mutex<Child>,
    pipe: Mutex<(ChildStdin, Receiver<String>)>,
    stderr: PathBuf,
}

impl StandIn {
    /// Starts it, with `conf` and `log` in `folder`.
    pub fn start(program: &Path, module: &Path, folder: &Path) -> StandIn {
        let stderr = folder.join("stderr");
        let mut child = Command::new(program)
            .arg("--conf")
            .arg(folder.join("conf"))
            .arg("--log")
            .arg(folder.join("log"))
            .arg("--db")
            .arg(folder.join("db"))
            .arg("--module")
            .arg(module)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).expect("a file for the errors"))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        // A thread reads, so that a module that hangs is a test that fails.
        let (sender, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        StandIn { child: Mutex::new(child), pipe: Mutex::new((input, replies)), stderr }
    }

    /// Makes a request that has to succeed.
    pub fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    /// Makes a request.
    ///
    /// # Panics
    /// When the stand-in dies of it or does not answer.
    pub fn try_ask(&self, request: &Value) -> Result<Value, String> {
        let mut pipe = self.pipe.lock();
        let reply =
            writeln!(pipe.0, "{request}").ok().and_then(|()| pipe.1.recv_timeout(super::PATIENCE * 4).ok());
        let Some(reply) = reply else { panic!("{request}: {}", self.fate()) };
        let mut reply: Value = serde_json::from_str(&reply).expect("a reply is JSON");
        match reply["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(reply["ok"].take()),
        }
    }

    /// Why there is no answer.
    fn fate(&self) -> String {
        let state = match self.child.lock().try_wait() {
            Ok(None) => "the switch hangs".to_owned(),
            Ok(Some(status)) => format!("the switch died: {status}"),
            Err(error) => error.to_string(),
        };
        format!("{state}\n{}", super::read(&self.stderr))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.lock().id()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}
