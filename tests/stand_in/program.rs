//! A stand-in for FreeSWITCH: loads the module through the real ABI and does with it what it is told, one
//! JSON request a line on its input, one JSON reply a line on its output.
//!
//! | request | what it does |
//! |---|---|
//! | `{"load":{}}`, `{"unload":{}}` | as the commands of FreeSWITCH |
//! | `{"api":"fail2ban status"}` | runs a command of the module's, or `reloadxml`, `reloadacl`, `version` |
//! | `{"fire":{"Event-Name":"CUSTOM",…}}` | delivers an event and returns when every handler has; see `headers` |
//! | `{"log":{"level":4,"file":"sofia_reg.c","text":"IP …"}}` | writes a line to the host's log |
//! | `{"storm":{"threads":4,"count":100000,"event":{…}}}` | many events at once; replies with the handler's times |
//! | `{"storm":{…,"background":true}}`, `{"join":{}}` | the same, while other requests are served; `join` ends it |
//! | `{"complete":"fail2ban "}` | the recorded completions that begin like this |
//! | `{"leaks":{}}` | how many bindings, loggers, handles and completions there are |
//! | `{"exit":{}}`, or the end of the input | unloads and exits |
//!
//! `stand-in demo` shows the module at work instead, in the FreeSWITCH that `FREESWITCH_PREFIX` names or else
//! in another stand-in.
//!
//! A reply is `{"ok":…}` or `{"error":"why"}`.

#[path = "../common/mod.rs"]
mod common;
mod demo;
mod headers;
mod host;
mod loader;
mod storm;
/// The module's own declarations, but not by way of its crate: that would link the module into its host.
#[path = "../../src/sys.rs"]
#[allow(dead_code)]
mod sys;

use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::{acl, completions, event::Event, log};
use crate::loader::Loader;
use crate::storm::Storm;

const USAGE: &str = "stand-in --conf DIR --log DIR --module PATH | stand-in demo";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let pair = arguments.chunks(2).find(|pair| pair[0] == name)?;
        pair.get(1).map(PathBuf::from)
    };
    if arguments == ["demo"] {
        match demo::run() {
            // Whoever has seen enough closes the pipe.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("{error}"),
            _ => return,
        }
    }
    let outcome = match (value("--conf"), value("--log"), value("--module")) {
        (Some(conf), Some(log), Some(module)) => host::start(&conf, &log).and_then(|()| serve(module)),
        _ => Err(format!("usage: {USAGE}")),
    };
    if let Err(error) = outcome {
        eprintln!("stand-in: {error}");
        std::process::exit(1);
    }
}

fn serve(module: PathBuf) -> Result<(), String> {
    let mut session = Session { loader: Loader::new(module), storm: None };
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let request: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        let is_exit = request.get("exit").is_some();
        if is_exit {
            break;
        }
        reply(session.answer(&request))?;
    }
    session.storm = None;
    let _ = session.loader.unload();
    reply(Ok(Value::Null))
}

fn reply(outcome: Result<Value, String>) -> Result<(), String> {
    let reply = match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error }),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{reply}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

struct Session {
    loader: Loader,
    storm: Option<Storm>,
}

impl Session {
    fn answer(&mut self, request: &Value) -> Result<Value, String> {
        let (name, body) = request
            .as_object()
            .and_then(|members| members.iter().next())
            .ok_or("a request is an object with one member")?;
        match name.as_str() {
            "load" => {
                // FreeSWITCH's `load` reloads the XML before; the event of that may come after the module has
                // bound its handlers, and here it always does.
                let _ = host::xml::reload();
                self.loader.load()?;
                host::event::reloaded();
                Ok(Value::Null)
            }
            "unload" => self.loader.unload().map(|()| Value::Null),
            "api" => self.api(body.as_str().ok_or("a command is a text")?),
            "fire" => fire(body),
            "log" => write_log(body),
            "storm" => self.storm(body),
            "join" => {
                let storm = self.storm.take().ok_or("there is no storm")?;
                storm.stop();
                Ok(storm.join())
            }
            "complete" => {
                let start = body.as_str().unwrap_or_default();
                Ok(completions::all().into_iter().filter(|row| row.starts_with(start)).collect())
            }
            "leaks" => Ok(host::left_open().into_iter().collect()),
            _ => Err(format!("no such request: {name}")),
        }
    }

    fn api(&mut self, line: &str) -> Result<Value, String> {
        match line {
            "version" => return Ok("a stand-in for FreeSWITCH".into()),
            "reloadxml" => return reloadxml(),
            "reloadacl" => {
                acl::reload();
                return Ok("+OK acl reloaded\n".into());
            }
            _ => {}
        }
        let c_line = CString::new(line).map_err(|error| error.to_string())?;
        let written = self.loader.api(&c_line).ok_or_else(|| format!("-ERR {line} Command not found!"))?;
        String::from_utf8(written).map(Value::String).map_err(|error| error.to_string())
    }

    fn storm(&mut self, request: &Value) -> Result<Value, String> {
        let storm = Storm::start(request)?;
        if request.get("background") == Some(&Value::Bool(true)) {
            self.storm = Some(storm);
            return Ok(Value::Null);
        }
        Ok(storm.join())
    }
}

fn reloadxml() -> Result<Value, String> {
    host::xml::reload().map_err(|error| format!("-ERR {error}"))?;
    host::event::reloaded();
    Ok("+OK [Success]\n".into())
}

fn fire(event: &Value) -> Result<Value, String> {
    Event::new(&headers::parse(event)?)?.deliver();
    Ok(Value::Null)
}

fn write_log(line: &Value) -> Result<Value, String> {
    let level = line.get("level").and_then(Value::as_u64).unwrap_or(u64::from(sys::SWITCH_LOG_WARNING));
    let level =
        u32::try_from(level).ok().filter(|level| *level <= sys::SWITCH_LOG_DEBUG).ok_or("no such level")?;
    let text = |name: &str| CString::new(line.get(name).and_then(Value::as_str).unwrap_or_default());
    let file = text("file").map_err(|error| error.to_string())?;
    log::write(level, &file, 1, &text("text").map_err(|error| error.to_string())?);
    Ok(Value::Null)
}
