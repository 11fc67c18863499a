//! The log. A line goes to `freeswitch.log` at once, and to the bound loggers from a thread of its own, as
//! in the core.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::sys;
use parking_lot::Mutex;

type Function =
    unsafe extern "C" fn(*const sys::switch_log_node_t, sys::switch_log_level_t) -> sys::switch_status_t;

/// The core's names for its levels.
const LEVELS: [&str; 8] = ["CONSOLE", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"];

static LOG: OnceLock<Mutex<Log>> = OnceLock::new();
static LOGGERS: Mutex<Vec<(Function, sys::switch_log_level_t)>> = Mutex::new(Vec::new());

struct Log {
    file: File,
    queue: Sender<Line>,
}

/// One line on its way to the loggers.
struct Line {
    channel: sys::switch_text_channel_t,
    level: sys::switch_log_level_t,
    file: CString,
    number: u32,
    text: CString,
    /// Where in `text` the message begins, behind date, level and place.
    content: usize,
    timestamp: i64,
}

/// Opens the file and starts the thread.
pub fn open(path: &Path) -> io::Result<()> {
    let file = File::options().append(true).create(true).open(path)?;
    let (queue, lines) = mpsc::channel();
    std::thread::Builder::new().name("host-log".into()).spawn(|| give_to_loggers(lines))?;
    LOG.set(Mutex::new(Log { file, queue })).map_err(|_| io::Error::other("opened before"))
}

/// How many loggers are bound.
pub fn loggers() -> usize {
    LOGGERS.lock().len()
}

/// Logs a line of the host's own, or of the module. A line of the channel "log clean" has no date, level and
/// place in front.
pub fn write(
    channel: sys::switch_text_channel_t,
    level: sys::switch_log_level_t,
    file: &CStr,
    number: u32,
    message: &CStr,
) {
    let Some(name) = LEVELS.get(level as usize) else { super::fault("a log level that does not exist") };
    // The core's prefix, with the file cut to its base name.
    let file = file.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let timestamp = super::now();
    let place = file.escape_ascii();
    let mut text = Vec::new();
    let mut content = 0;
    if channel != sys::SWITCH_CHANNEL_ID_LOG_CLEAN {
        text = format!("{} 99.00% [{name}] {place}:{number}", date(timestamp)).into_bytes();
        content = text.len();
        text.push(b' ');
    }
    text.extend_from_slice(message.to_bytes());
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let mut log = LOG.get().expect("the host was started").lock();
    let _ = log.file.write_all(&text);
    let c_string = |bytes: &[u8]| CString::new(bytes).expect("made of C strings");
    let line =
        Line { channel, level, file: c_string(file), number, text: c_string(&text), content, timestamp };
    let _ = log.queue.send(line);
}

fn date(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    // SAFETY: all zero bytes are a `tm`.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point at values of this function.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    let (year, month) = (tm.tm_year + 1900, tm.tm_mon + 1);
    let micros = micros.rem_euclid(1_000_000);
    format!(
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02}.{micros:06}",
        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
    )
}

/// The core's log thread: holds the lock of the loggers while it calls them.
fn give_to_loggers(lines: Receiver<Line>) {
    for (sequence, line) in (1..).zip(lines) {
        let loggers = LOGGERS.lock();
        let node = line.node(sequence);
        for (function, _) in loggers.iter().filter(|(_, level)| *level >= line.level) {
            // SAFETY: the node and its texts live through the call; the lock keeps the logger's code in place.
            unsafe { function(&raw const node, line.level) };
        }
    }
}

impl Line {
    fn node(&self, sequence: i64) -> sys::switch_log_node_t {
        // SAFETY: all zero bytes are a node without anything.
        let mut node: sys::switch_log_node_t = unsafe { std::mem::zeroed() };
        let data = self.text.as_ptr().cast_mut();
        node.data = data;
        node.content = data.wrapping_add(self.content);
        for (to, from) in node.file.iter_mut().zip(self.file.to_bytes().iter().take(79)) {
            *to = *from as c_char;
        }
        node.line = self.number;
        node.level = self.level;
        node.slevel = self.level;
        node.channel = self.channel;
        node.timestamp = self.timestamp;
        node.sequence = sequence;
        node
    }
}

/// Logs a line. The core's function takes any format and any number of arguments; this one what the module
/// always passes, a format of "%s" and one text, which reach a function of fixed arguments in the same
/// registers and on the same stack.
///
/// # Safety
/// The texts are NULL or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_log_printf(
    channel: sys::switch_text_channel_t,
    file: *const c_char,
    _func: *const c_char,
    line: c_int,
    _userdata: *const c_char,
    level: sys::switch_log_level_t,
    fmt: *const c_char,
    text: *const c_char,
) {
    // SAFETY: as this function asks of its caller.
    let fmt = unsafe { super::borrowed(fmt) }.map(CStr::to_bytes);
    if !matches!(fmt, Some(b"%s" | b"%s\n")) {
        super::fault("a log format other than \"%s\": a message must never be the format");
    }
    // SAFETY: as this function asks of its caller; with this format there is one more argument.
    let Some(text) = (unsafe { super::borrowed(text) }) else { super::fault("a log line without text") };
    // SAFETY: as this function asks of its caller.
    let file = unsafe { super::borrowed(file) }.unwrap_or_default();
    write(channel, level, file, u32::try_from(line).unwrap_or(0), text);
}

/// # Safety
/// `function` may be called from the log's thread until it is unbound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn switch_log_bind_logger(
    function: sys::switch_log_function_t,
    level: sys::switch_log_level_t,
    _is_console: sys::switch_bool_t,
) -> sys::switch_status_t {
    let Some(function) = function else { super::fault("a logger without a function") };
    if super::failures::is_due("switch_log_bind_logger") {
        return sys::SWITCH_STATUS_MEMERR;
    }
    LOGGERS.lock().push((function, level));
    sys::SWITCH_STATUS_SUCCESS
}

/// Once it has returned, the logger runs no more.
#[unsafe(no_mangle)]
pub extern "C" fn switch_log_unbind_logger(function: sys::switch_log_function_t) -> sys::switch_status_t {
    let mut loggers = LOGGERS.lock();
    let place = loggers
        .iter()
        .position(|(bound, _)| function.is_some_and(|function| std::ptr::fn_addr_eq(*bound, function)));
    match place {
        Some(place) => {
            loggers.remove(place);
            sys::SWITCH_STATUS_SUCCESS
        }
        None => sys::SWITCH_STATUS_FALSE,
    }
}
