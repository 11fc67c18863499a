//! A stand-in for FreeSWITCH: loads the module through the real ABI and does with it what it is told, one
//! JSON request a line on its input, one JSON reply a line on its output.
//!
//! | request | what it does |
//! |---|---|
//! | `{"load":{}}`, `{"unload":{}}` | as the commands of FreeSWITCH; `{"load":{"path":"…"}}` loads another file |
//! | `{"out_of_turn":"load"}`, `{"out_of_turn":"unload"}` | calls the module's function whatever is under way |
//! | `{"api":"fail2ban status"}` | runs a command of the module's, or `reloadxml`, `reloadacl`, `version` |
//! | `{"execute":{"app":"…","data":"…","channel":{"caller_profile":{…},"variables":{…}}}}` | runs an application on a call; replies with its variables |
//! | `{"fire":{"Event-Name":"CUSTOM",…}}` | delivers an event and returns when every handler has; see `headers` |
//! | `{"locate":{"section":"directory","tag":"domain","key":"name","value":"…","params":{…}}}` | looks a piece of XML up; replies with who answered |
//! | `{"bind_search":{"name":"…","sections":["directory"],"answers":true,"hangs":0}}` | binds a search function of another module's; `hangs`: seconds, or 0 for until it is released |
//! | `{"unbind_search":"…"}`, `{"release":"…"}`, `{"waiting":"…"}` | undoes it; lets its look-ups go on; how many it holds up |
//! | `{"slow_xml":2.5}`, `{"slow_xml":null}` | from now on opening `fail2ban.conf` takes so many seconds, as with a slow xml_curl; 0: until `null` releases it. `{"waiting":"settings"}` tells how many wait |
//! | `{"api_in_event":"fail2ban reload"}` | runs a command while an event is being delivered, as a Lua hook does |
//! | `{"clock":3600}` | sets the wall clock that many seconds away from the machine's; see `clock` |
//! | `{"fail":{"function":"switch_event_bind_removable","nth":2}}`, `{"fail":null}` | has one call of the module's fail; `null` takes it back and tells whether it was still to come |
//! | `{"is_failure_pending":{}}` | tells that, and leaves it |
//! | `{"registrations":[{"reg_user":"…","realm":"…","network_ip":"…","expires":0}]}` | sets what the core's database has |
//! | `{"hang":{"call":"stat","file":"/…"}}`, `{"hang":null}` | from now on `stat` or `close` hangs for a file, as with a network file system, until `null` releases it. `{"waiting":"disk"}`: how many wait |
//! | `{"without_password":["user@domain"]}` | these users of the directory have no password; all others have one |
//! | `{"ready":false}` | the switch is starting or shutting down: using its database is a fault of the module's |
//! | `{"log":{"level":4,"channel":0,"file":"sofia_reg.c","text":"IP …"}}` | writes a line to the host's log |
//! | `{"storm":{"threads":4,"count":100000,"seconds":2,"event":{…}}}` | many events at once; replies with the handler's times |
//! | `{"storm":{…,"background":true}}`, `{"join":{}}` | the same, while other requests are served; `join` ends it |
//! | `{"begin":{…}}`, `{"ended":1}`, `{"end":1}` | does any request above but storms while others are served; whether it is done; waits for its reply |
//! | `{"complete":"fail2ban "}` | the recorded completions that begin like this |
//! | `{"leaks":{}}` | how many bindings, loggers, handles and completions there are |
//! | `{"exit":{}}`, or the end of the input | unloads and exits |
//!
//! Whatever calls the module runs on threads that live as long as the process, as FreeSWITCH's do.
//!
//! `stand-in demo` shows the module at work instead, in the FreeSWITCH that `FREESWITCH_PREFIX` names or else
//! in another stand-in.
//!
//! A reply is `{"ok":…}` or `{"error":"why"}`.

mod c_library;
mod clock;
mod demo;
mod headers;
mod host;
mod loader;
mod register;
mod storm;
#[path = "../support/switch/mod.rs"]
mod switch;
/// The module's own declarations, but not by way of its crate: that would link the module into its host.
#[path = "../../src/sys.rs"]
#[allow(dead_code)]
mod sys;

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::call::Call;
use crate::host::database::{self, Registration};
use crate::host::event::{self, Event};
use crate::host::{acl, completions, failures, log, search, state, threads, user, xml};
use crate::loader::Loader;
use crate::storm::Storm;

const USAGE: &str = "stand-in --conf DIR --log DIR --db DIR --module PATH | stand-in demo";

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
    let outcome = match ["--conf", "--log", "--db", "--module"].map(value) {
        [Some(conf), Some(log), Some(db), Some(module)] => {
            host::start(&conf, &log, &db).and_then(|()| serve(module))
        }
        _ => Err(format!("usage: {USAGE}")),
    };
    if let Err(error) = outcome {
        eprintln!("stand-in: {error}");
        std::process::exit(1);
    }
}

fn serve(module: PathBuf) -> Result<(), String> {
    let loader = Arc::new(Loader::new(module));
    let mut session = Session { loader: Arc::clone(&loader), storm: None, begun: HashMap::new(), number: 0 };
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let request: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        if request.get("exit").is_some() {
            break;
        }
        reply(session.answer(request))?;
    }
    session.storm = None;
    let _ = threads::run(move || loader.unload());
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

type Answer = Result<Value, String>;

struct Session {
    loader: Arc<Loader>,
    storm: Option<Storm>,
    /// Requests that were begun and not ended, by number.
    begun: HashMap<u64, Begun>,
    number: u64,
}

enum Begun {
    Running(Receiver<Answer>),
    Done(Answer),
}

impl Session {
    /// Answers a request about requests and storms here, and any other on a thread of the host's.
    fn answer(&mut self, mut request: Value) -> Answer {
        let (name, body) = member(&request)?;
        match name {
            "storm" => self.storm(body),
            "join" => {
                let storm = self.storm.take().ok_or("there is no storm")?;
                storm.stop();
                Ok(storm.join())
            }
            "begin" => {
                self.number += 1;
                let running = self.begin(request["begin"].take());
                self.begun.insert(self.number, Begun::Running(running));
                Ok(self.number.into())
            }
            "ended" => {
                let number = body.as_u64().ok_or("not a number")?;
                let begun = self.begun.get_mut(&number).ok_or("no such request was begun")?;
                if let Begun::Running(running) = begun {
                    match running.try_recv() {
                        Ok(answer) => *begun = Begun::Done(answer),
                        Err(TryRecvError::Empty) => return Ok(false.into()),
                        Err(TryRecvError::Disconnected) => return Err("the request panicked".into()),
                    }
                }
                Ok(true.into())
            }
            "end" => {
                let number = body.as_u64().ok_or("not a number")?;
                match self.begun.remove(&number).ok_or("no such request was begun")? {
                    Begun::Done(answer) => answer,
                    Begun::Running(running) => wait(&running),
                }
            }
            _ => wait(&self.begin(request)),
        }
    }

    fn begin(&self, request: Value) -> Receiver<Answer> {
        let loader = Arc::clone(&self.loader);
        threads::begin(move || answer(&loader, &request))
    }

    fn storm(&mut self, request: &Value) -> Answer {
        let storm = Storm::start(request)?;
        if request.get("background") == Some(&Value::Bool(true)) {
            self.storm = Some(storm);
            return Ok(Value::Null);
        }
        Ok(storm.join())
    }
}

fn wait(running: &Receiver<Answer>) -> Answer {
    running.recv().map_err(|_| "the request panicked".to_owned())?
}

/// The name and the body of a request.
fn member(request: &Value) -> Result<(&str, &Value), String> {
    let first = request.as_object().and_then(|members| members.iter().next());
    first.map(|(name, body)| (name.as_str(), body)).ok_or("a request is an object with one member".into())
}

fn answer(loader: &Loader, request: &Value) -> Answer {
    let (name, body) = member(request)?;
    let text = || body.as_str().ok_or_else(|| format!("not a text: {body}"));
    match name {
        "load" => {
            // FreeSWITCH's `load` reloads the XML before; the event of that may come after the module has
            // bound its handlers, and here it always does.
            let _ = xml::reload();
            loader.load(body.get("path").and_then(Value::as_str).map(Path::new))?;
            event::reloaded();
        }
        "unload" => loader.unload()?,
        "out_of_turn" => loader.call_out_of_turn(text()? == "load")?,
        "api" => return api(loader, text()?),
        "api_in_event" => return event::while_delivering(|| api(loader, text()?)),
        "clock" => clock::set_offset(body.as_i64().ok_or("the clock is set by whole seconds")?),
        "execute" => return execute(loader, body),
        "fire" => Event::new(&headers::parse(body)?)?.deliver(),
        "locate" => return locate(body),
        "bind_search" => bind_search(body)?,
        "unbind_search" => search::unbind_other(text()?),
        "release" => search::release(text()?)?,
        "waiting" if body == "settings" => return Ok(search::SLOW_SETTINGS.waiting().into()),
        "waiting" if body == "disk" => return Ok(c_library::DISK.waiting().into()),
        "waiting" => return Ok(search::waiting(text()?).into()),
        "slow_xml" => match seconds(body)? {
            None => search::SLOW_SETTINGS.release(),
            Some(time) => search::SLOW_SETTINGS.close(time),
        },
        "hang" => {
            let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
            c_library::hang(text("call").zip(text("file").map(PathBuf::from)));
        }
        "is_failure_pending" => return Ok(failures::is_pending().into()),
        "fail" => {
            let was_pending = failures::is_pending();
            let nth = body.get("nth").and_then(Value::as_u64).and_then(|nth| usize::try_from(nth).ok());
            let function = body.get("function").and_then(Value::as_str);
            failures::fail(function.map(|function| (function, nth.unwrap_or(1))))?;
            return Ok(was_pending.into());
        }
        "registrations" => set_registrations(body)?,
        "without_password" => {
            let users = body.as_array().into_iter().flatten().filter_map(Value::as_str);
            user::set_without_password(users.map(str::to_owned).collect());
        }
        "ready" => state::set_ready(body == true),
        "log" => write_log(body)?,
        "complete" => {
            let start = text()?;
            return Ok(completions::all().into_iter().filter(|row| row.starts_with(start)).collect());
        }
        "leaks" => return Ok(host::left_open().into_iter().collect()),
        _ => return Err(format!("no such request: {name}")),
    }
    Ok(Value::Null)
}

fn api(loader: &Loader, line: &str) -> Answer {
    match line {
        "version" => return Ok("a stand-in for FreeSWITCH".into()),
        "reloadxml" => {
            xml::reload().map_err(|error| format!("-ERR {error}"))?;
            event::reloaded();
            return Ok("+OK [Success]\n".into());
        }
        "reloadacl" => {
            acl::reload();
            return Ok("+OK acl reloaded\n".into());
        }
        _ => {}
    }
    let written = loader.api(&c_string(line)?).ok_or_else(|| format!("-ERR {line} Command not found!"))?;
    String::from_utf8(written).map(Value::String).map_err(|error| error.to_string())
}

fn execute(loader: &Loader, request: &Value) -> Answer {
    let text = |name: &str| c_string(request.get(name).and_then(Value::as_str).unwrap_or_default());
    let channel = &request["channel"];
    let mut variables = headers::parse(&texts_alone(&channel["variables"]))?;
    variables.extend(headers::parse(&texts_alone(&channel["caller_profile"]))?);
    let mut call = Call::new(variables);
    let app = text("app")?;
    let done = loader.execute(&app, &text("data")?, &mut call);
    done.ok_or_else(|| format!("-ERR {} Application not found!", app.to_string_lossy()))?;
    let text = |text: &CString| Value::from(text.to_string_lossy());
    let texts = call.variables.iter().map(|(name, value)| (name.to_string_lossy().into_owned(), text(value)));
    Ok(texts.collect())
}

/// An object without its members that are null; an object where there is none.
fn texts_alone(object: &Value) -> Value {
    let members = object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn locate(request: &Value) -> Answer {
    let text = |name: &str| c_string(request.get(name).and_then(Value::as_str).unwrap_or_default());
    let mut params = match request.get("params") {
        None | Some(Value::Null) => None,
        Some(params) => {
            let mut headers = headers::parse(params)?;
            headers.insert(0, (c"Event-Name".to_owned(), c"REQUEST_PARAMS".to_owned()));
            Some(Event::new(&headers)?)
        }
    };
    let answered =
        search::locate(&text("section")?, &text("tag")?, &text("key")?, &text("value")?, params.as_mut())?;
    Ok(answered.into())
}

fn bind_search(request: &Value) -> Result<(), String> {
    let name = request.get("name").and_then(Value::as_str).ok_or("a search function needs a name")?;
    let sections = request.get("sections").and_then(Value::as_array).map(Vec::as_slice);
    let sections: Vec<_> = match sections {
        Some(sections) => sections.iter().filter_map(Value::as_str).collect(),
        None => vec!["directory"],
    };
    let hangs = seconds(request.get("hangs").unwrap_or(&Value::Null))?;
    search::bind_other(name, &sections, request.get("answers") == Some(&Value::Bool(true)), hangs)
}

/// `None` for null; of a number of seconds, `None` for 0, which means no end.
fn seconds(value: &Value) -> Result<Option<Option<Duration>>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.ok_or_else(|| format!("not seconds: {value}"))?;
    Ok(Some((!seconds.is_zero()).then_some(seconds)))
}

fn set_registrations(rows: &Value) -> Result<(), String> {
    let row = |row: &Value| {
        let text = |name: &str| c_string(row.get(name).and_then(Value::as_str).unwrap_or_default());
        Ok(Registration {
            network_ip: text("network_ip")?,
            reg_user: text("reg_user")?,
            realm: text("realm")?,
            expires: row.get("expires").and_then(Value::as_i64).ok_or("a registration expires at a time")?,
        })
    };
    let rows = rows.as_array().ok_or("registrations are a list")?;
    database::set(rows.iter().map(row).collect::<Result<_, String>>()?);
    Ok(())
}

fn write_log(line: &Value) -> Result<(), String> {
    let number = |name: &str, usual: u32| {
        let number = line.get(name).and_then(Value::as_u64).unwrap_or(u64::from(usual));
        u32::try_from(number).map_err(|error| error.to_string())
    };
    let level = number("level", sys::SWITCH_LOG_WARNING)?;
    if level > sys::SWITCH_LOG_DEBUG {
        return Err("no such level".into());
    }
    let text = |name: &str| c_string(line.get(name).and_then(Value::as_str).unwrap_or_default());
    log::write(number("channel", sys::SWITCH_CHANNEL_ID_LOG)?, level, &text("file")?, 1, &text("text")?);
    Ok(())
}

/// A text of a request as C has them.
fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("C has no zero bytes in texts: {text:?}"))
}
