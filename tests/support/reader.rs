//! A strict reader of the log's lines, written from the contract and not from the writer's code: it takes
//! nothing for granted and accepts nothing else.

use std::net::IpAddr;

use mod_fail2ban::event::event_type::EventType;
use mod_fail2ban::event::field::Field;
use mod_fail2ban::event::signal::Signal;
use mod_fail2ban::log::line;
use mod_fail2ban::settings::format::Format;
use mod_fail2ban::time::Stamp;

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub event: &'static str,
    pub ip: IpAddr,
    /// Whether the address is a known one, where the line says so.
    pub known: Option<bool>,
    pub time: String,
    /// The texts by name: decoded where the format can be decoded, else as they stand.
    pub texts: Vec<(String, Vec<u8>)>,
}

/// A time that every test line has.
pub const AT: &Stamp = b"2026-11-22T00:51:58.493952+0000";

/// The line of a signal in a format.
pub fn written(format: Format, signal: &Signal<'_>, known: Option<bool>) -> Vec<u8> {
    let mut line = Vec::new();
    line::write(&mut line, format, AT, signal, known).unwrap();
    line
}

/// Writes a signal in each format, reads it back and panics if anything but the signal comes out.
pub fn check(signal: &Signal<'_>) {
    for (known, (format, name)) in [None, Some(true), Some(false)]
        .into_iter()
        .flat_map(|known| Format::ALL.map(|format| (known, format)))
    {
        let line = written(format, signal, known);
        let shown = String::from_utf8_lossy(&line);
        let read = read(format, &line).unwrap_or_else(|why| panic!("{name}: {why}: {shown:?}"));
        assert_eq!(
            (read.event, read.ip, read.time.as_bytes()),
            (signal.event_type.name(), signal.ip, &AT[..]),
            "{name}: {shown}"
        );
        // A classic line tells of known addresses alone.
        let told = if format == Format::Classic { known.filter(|known| *known) } else { known };
        assert_eq!(read.known, told, "{name}: {shown}");
        let user = signal.text(Field::User).unwrap_or_default();
        let (_, read_user) = read.texts.last().expect("every line has a user");
        if format == Format::Dated && user.len() <= 256 {
            assert_eq!(read_user, user, "{name}: {shown}");
        }
        assert!(line.len() < 16 << 10, "{name}: {} bytes", line.len());
    }
}

/// Reads a line.
pub fn read(format: Format, line: &[u8]) -> Result<Read, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let text = text.strip_suffix('\n').ok_or("no end of line")?;
    if let Some(char) = text.chars().find(|char| char.is_control() || is_invisible(*char)) {
        return Err(format!("holds {char:?}"));
    }
    match format {
        Format::Classic => read_classic(text),
        Format::Dated => read_dated(text),
        Format::Json => read_json(text),
    }
}

fn is_invisible(char: char) -> bool {
    matches!(char, '\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{1680}' | '\u{180e}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn read_classic(text: &str) -> Result<Read, String> {
    if text.matches('[').count() != 3 || text.matches(']').count() != 3 {
        return Err("not three pairs of brackets".into());
    }
    let of_known =
        EventType::ALL.iter().map(|it| (it, format!("A known address caused {}", it.name()), Some(true)));
    let mut all = EventType::ALL.iter().map(|it| (it, it.row().message.to_owned(), None)).chain(of_known);
    let found = all.find(|(_, message, _)| text.starts_with(&format!("{message} user[")));
    let (event_type, message, known) = found.ok_or("no known message")?;
    let rest = &text[message.len() + " user[".len()..];
    let (user, rest) = rest.split_once("] ip[").ok_or("no address")?;
    let (ip, rest) = rest.split_once("] at[").ok_or("no time")?;
    let time = rest.strip_suffix(']').ok_or("more after the time")?;
    let user = ("user".to_owned(), user.as_bytes().to_vec());
    Ok(Read { event: event_type.name(), ip: ip_of(ip)?, known, time: time.into(), texts: vec![user] })
}

fn read_dated(text: &str) -> Result<Read, String> {
    if text.contains(['[', ']']) {
        return Err("a bracket".into());
    }
    let (time, rest) = text.split_once(" mod_fail2ban: ").ok_or("no name of ours")?;
    let (event, rest) = rest.split_once(" ip=").ok_or("no address")?;
    let (ip, mut rest) = rest.split_once(' ').ok_or("nothing after the address")?;
    let known = match rest.strip_prefix("known=").and_then(|rest| rest.split_once(' ')) {
        Some((known, after)) => {
            rest = after;
            Some(match known {
                "yes" => true,
                "no" => false,
                _ => return Err(format!("known={known}")),
            })
        }
        None => None,
    };
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("no value")?;
        let (value, after) = match after.strip_prefix('"') {
            Some(after) => {
                let (value, after) = after.split_once('"').ok_or("no closing quote")?;
                (value, after.strip_prefix(' ').unwrap_or(after))
            }
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        texts.push((name.to_owned(), decoded(value)?));
        rest = after;
    }
    in_order(&texts)?;
    Ok(Read { event: event_of(event)?, ip: ip_of(ip)?, known, time: time.into(), texts })
}

fn read_json(text: &str) -> Result<Read, String> {
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let string = |name: &str| object.get(name).and_then(|value| value.as_str()).ok_or(format!("no {name}"));
    // The parser sorts names and drops doubles; their order and number are read from the text.
    let mut texts = Vec::new();
    for (_, name) in Field::WRITTEN {
        if let Some(value) = object.get(name) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if value.contains(['[', ']']) {
                return Err("a bracket".into());
            }
            texts.push((name.to_owned(), value.into_bytes()));
        }
    }
    let known = object.get("known").map(|known| known.as_bool().ok_or("known is no boolean")).transpose()?;
    if object.len() != texts.len() + 3 + usize::from(known.is_some()) {
        return Err("an unknown name".into());
    }
    Ok(Read {
        event: event_of(string("event")?)?,
        ip: ip_of(string("ip")?)?,
        known,
        time: string("time")?.into(),
        texts,
    })
}

fn event_of(name: &str) -> Result<&'static str, String> {
    EventType::of_name(name).map(EventType::name).ok_or(format!("unknown event {name:?}"))
}

fn ip_of(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("no address: {text:?}"))
}

fn in_order(texts: &[(String, Vec<u8>)]) -> Result<(), String> {
    let mut names = Field::WRITTEN.iter().map(|(_, name)| *name);
    match texts.iter().find(|(name, _)| !names.any(|known| known == name)) {
        Some((name, _)) => Err(format!("{name:?} is unknown, twice there or out of order")),
        None => Ok(()),
    }
}

/// Undoes percent-encoding; a `%` that is none is an error, but for the mark of a text that was cut.
fn decoded(value: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = value.strip_suffix("%...").unwrap_or(value).as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a lone %")?);
        rest = &rest[2..];
    }
    Ok(bytes)
}
