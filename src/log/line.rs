//! How a signal reads in the log: one event, one line, in each of the three formats.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use crate::decision::Found;
use crate::event::event_type::{EventType, PerType};
use crate::event::field::Field;
use crate::event::signal::{Signal, is_token};
use crate::settings::format::Format;
use crate::text::escape::{self, Context};
use crate::time::Stamp;

/// Writes the line of a signal. `known` tells whether its address is a known one, where that is told at all.
pub fn write(
    out: &mut impl Write,
    format: Format,
    at: &Stamp,
    signal: &Signal<'_>,
    known: Option<bool>,
) -> io::Result<()> {
    match format {
        Format::Classic => {
            match known {
                Some(true) => {
                    out.write_all(b"A known address caused ")?;
                    out.write_all(signal.event_type.name().as_bytes())?;
                }
                _ => out.write_all(signal.event_type.row().message.as_bytes())?,
            }
            out.write_all(b" user[")?;
            write_text(out, signal, Field::User, Context::Brackets)?;
            out.write_all(b"] ip[")?;
            write_ip(out, signal.ip)?;
            out.write_all(b"]")?;
            write_classic_at(out, at)
        }
        Format::Dated => {
            write_dated_start(out, at)?;
            out.write_all(signal.event_type.name().as_bytes())?;
            out.write_all(b" ip=")?;
            write_ip(out, signal.ip)?;
            if let Some(via) = signal.via {
                write!(out, " via={via}")?;
            }
            match known {
                Some(true) => out.write_all(b" known=yes")?,
                Some(false) => out.write_all(b" known=no")?,
                None => {}
            }
            for (field, name) in Field::WRITTEN {
                if let Some(text) = value_to_write(signal, field) {
                    out.write_all(b" ")?;
                    out.write_all(name.as_bytes())?;
                    let bare =
                        matches!(field, Field::Port | Field::Transport | Field::Method | Field::Result)
                            && is_token(text);
                    if bare {
                        out.write_all(b"=")?;
                        out.write_all(text)?;
                    } else {
                        out.write_all(b"=\"")?;
                        write_text(out, signal, field, Context::Quotes)?;
                        out.write_all(b"\"")?;
                    }
                }
            }
            out.write_all(b"\n")
        }
        Format::Json => {
            write_json_start(out, at, signal.event_type.name())?;
            out.write_all(b",\"ip\":\"")?;
            write_ip(out, signal.ip)?;
            out.write_all(b"\"")?;
            if let Some(via) = signal.via {
                write!(out, ",\"via\":\"{via}\"")?;
            }
            match known {
                Some(true) => out.write_all(b",\"known\":true")?,
                Some(false) => out.write_all(b",\"known\":false")?,
                None => {}
            }
            for (field, name) in Field::WRITTEN {
                if let Some(text) = value_to_write(signal, field) {
                    out.write_all(b",\"")?;
                    out.write_all(name.as_bytes())?;
                    if field == Field::Port {
                        out.write_all(b"\":")?;
                        out.write_all(port_digits(text))?;
                    } else {
                        out.write_all(b"\":\"")?;
                        write_text(out, signal, field, Context::Json)?;
                        out.write_all(b"\"")?;
                    }
                }
            }
            out.write_all(b"}\n")
        }
    }
}

/// Writes the line of an attacker, whose last event the signal is. In `classic` the source stands in `ip[…]`, so that it
/// is what is banned.
pub fn write_attacker(
    out: &mut impl Write,
    format: Format,
    at: &Stamp,
    signal: &Signal<'_>,
    found: &Found,
) -> io::Result<()> {
    let Found { source, ip, proven, points, level, causes, accounts, .. } = found;
    match format {
        Format::Classic => {
            write!(out, "{} user[", EventType::Attacker.row().message)?;
            write_text(out, signal, Field::User, Context::Brackets)?;
            write!(out, "] ip[{source}]")?;
            write_classic_at(out, at)
        }
        Format::Dated => {
            write_dated_start(out, at)?;
            let proven = if *proven { "yes" } else { "no" };
            write!(out, "attacker source={source} ip={ip}")?;
            if let Some(via) = signal.via {
                write!(out, " via={via}")?;
            }
            write!(
                out,
                " known=no proven={proven} points={points} level={level} causes=\"{causes}\" accounts={accounts} user=\""
            )?;
            write_text(out, signal, Field::User, Context::Quotes)?;
            out.write_all(b"\"\n")
        }
        Format::Json => {
            write_json_start(out, at, EventType::Attacker.name())?;
            write!(out, ",\"ip\":\"{ip}\"")?;
            if let Some(via) = signal.via {
                write!(out, ",\"via\":\"{via}\"")?;
            }
            write!(
                out,
                ",\"known\":false,\"source\":\"{source}\",\"proven\":{proven},\"points\":{points},\"level\":{level},\
                 \"causes\":{{"
            )?;
            for (number, (cause, count)) in causes.iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                write!(out, "{comma}\"{}\":{count}", cause.row().name)?;
            }
            write!(out, "}},\"accounts\":{accounts},\"user\":\"")?;
            write_text(out, signal, Field::User, Context::Json)?;
            out.write_all(b"\"}\n")
        }
    }
}

fn write_text(out: &mut impl Write, signal: &Signal<'_>, field: Field, context: Context) -> io::Result<()> {
    escape::write(out, signal.text_or_empty(field), signal.is_cut(field), context)
}

/// What an event does not tell is left out, but for the user, whom every line has.
fn value_to_write<'a>(signal: &Signal<'a>, field: Field) -> Option<&'a [u8]> {
    let always: Option<&[u8]> = if field == Field::User { Some(b"") } else { None };
    signal.text(field).or(always)
}

/// A number in JSON has no leading zeros.
fn port_digits(text: &[u8]) -> &[u8] {
    let zeros = text.iter().take_while(|&&digit| digit == b'0').count();
    &text[zeros.min(text.len() - 1)..]
}

/// What the module says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was loaded.
    Started,
    /// It is being unloaded.
    Stopped,
    /// So many lines of each event type could not be written.
    Dropped(PerType<u64>),
}

/// Writes the line of a notice. The words and their spelling are the C module's.
pub fn write_notice(out: &mut impl Write, format: Format, at: &Stamp, notice: Notice) -> io::Result<()> {
    match format {
        Format::Classic | Format::Dated => {
            if format == Format::Dated {
                write_dated_start(out, at)?;
            }
            match notice {
                Notice::Started => out.write_all(b"Fail2ban was started")?,
                Notice::Stopped => out.write_all(b"Fail2ban stoping")?,
                Notice::Dropped(dropped) => {
                    write!(out, "Fail2ban dropped {} lines ({})", total(&dropped), listed(&dropped))?;
                }
            }
            if format == Format::Classic { write_classic_at(out, at) } else { out.write_all(b"\n") }
        }
        Format::Json => match notice {
            Notice::Started => {
                write_json_start(out, at, "started")?;
                out.write_all(b"}\n")
            }
            Notice::Stopped => {
                write_json_start(out, at, "stopped")?;
                out.write_all(b"}\n")
            }
            Notice::Dropped(dropped) => {
                write_json_start(out, at, "dropped")?;
                let each: serde_json::Map<_, _> = counted(&dropped)
                    .map(|(event_type, lines)| (event_type.name().to_owned(), lines.into()))
                    .collect();
                writeln!(
                    out,
                    ",\"lines\":{},\"dropped\":{}}}",
                    total(&dropped),
                    serde_json::Value::Object(each)
                )
            }
        },
    }
}

/// The sum over all event types.
pub fn total(counts: &PerType<u64>) -> u64 {
    counts.iter().sum()
}

/// What FreeSWITCH's log says of losses.
pub fn losses(log: &Path, losses: &PerType<u64>, what: &str) -> String {
    format!("fail2ban log {}: {} lines {what} ({})", log.display(), total(losses), listed(losses))
}

/// `register_attempt=40 register_failure=80`: the event types that counted at all.
pub fn listed(counts: &PerType<u64>) -> String {
    let each: Vec<String> =
        counted(counts).map(|(event_type, count)| format!("{}={count}", event_type.name())).collect();
    each.join(" ")
}

fn counted(counts: &PerType<u64>) -> impl Iterator<Item = (EventType, u64)> + '_ {
    EventType::ALL.iter().copied().zip(*counts).filter(|(_, count)| *count > 0)
}

fn write_classic_at(out: &mut impl Write, at: &Stamp) -> io::Result<()> {
    out.write_all(b" at[")?;
    out.write_all(at)?;
    out.write_all(b"]\n")
}

fn write_dated_start(out: &mut impl Write, at: &Stamp) -> io::Result<()> {
    out.write_all(at)?;
    out.write_all(b" mod_fail2ban: ")
}

fn write_json_start(out: &mut impl Write, at: &Stamp, event: &str) -> io::Result<()> {
    out.write_all(b"{\"time\":\"")?;
    out.write_all(at)?;
    out.write_all(b"\",\"event\":\"")?;
    out.write_all(event.as_bytes())?;
    out.write_all(b"\"")
}

/// Written from the parsed address, never copied. IPv4, nearly all there is, without `fmt`, which would take a fifth
/// of the handler's time (`make bench`).
fn write_ip(out: &mut impl Write, ip: IpAddr) -> io::Result<()> {
    let IpAddr::V4(ip) = ip else {
        return write!(out, "{ip}");
    };
    let mut text = [b'.'; 16];
    let mut len = 0;
    for octet in ip.octets() {
        for (least, divisor) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= least {
                text[len] = b'0' + octet / divisor % 10;
                len += 1;
            }
        }
        len += 1;
    }
    out.write_all(&text[..len - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = *b"2026-11-22T06:21:58.493952+0530";

    fn line(format: Format, signal: &Signal<'_>, known: Option<bool>) -> String {
        let mut out = Vec::new();
        write(&mut out, format, &STAMP, signal, known).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn notice(format: Format, notice: Notice) -> String {
        let mut out = Vec::new();
        write_notice(&mut out, format, &STAMP, notice).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn failure() -> Signal<'static> {
        let mut signal = Signal::new(EventType::RegisterFailure, [10, 99, 0, 2].into(), b"x\"] ip[");
        signal.set(Field::Port, Some(b"5070"));
        signal.set(Field::Profile, Some(b"internal"));
        signal.set(Field::Method, Some(b"REGISTER"));
        signal.set(Field::Agent, Some(b"friendly-scanner"));
        signal
    }

    #[test]
    fn each_format_writes_its_line() {
        assert_eq!(
            line(Format::Classic, &failure(), None),
            "A registration failed user[x\"%5D ip%5B] ip[10.99.0.2] at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            line(Format::Dated, &failure(), None),
            "2026-11-22T06:21:58.493952+0530 mod_fail2ban: register_failure ip=10.99.0.2 port=5070 \
             profile=\"internal\" method=REGISTER agent=\"friendly-scanner\" user=\"x%22%5D ip%5B\"\n"
        );
        assert_eq!(
            line(Format::Json, &failure(), None),
            "{\"time\":\"2026-11-22T06:21:58.493952+0530\",\"event\":\"register_failure\",\"ip\":\"10.99.0.2\",\
             \"port\":5070,\"profile\":\"internal\",\"method\":\"REGISTER\",\"agent\":\"friendly-scanner\",\
             \"user\":\"x\\\"%5D ip%5B\"}\n"
        );
    }

    #[test]
    fn whether_the_address_is_known_stands_right_after_it() {
        assert_eq!(
            line(Format::Classic, &failure(), Some(true)),
            "A known address caused register_failure user[x\"%5D ip%5B] ip[10.99.0.2] at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(line(Format::Classic, &failure(), Some(false)), line(Format::Classic, &failure(), None));
        assert!(line(Format::Dated, &failure(), Some(true)).contains(" ip=10.99.0.2 known=yes port=5070 "));
        assert!(line(Format::Dated, &failure(), Some(false)).contains(" ip=10.99.0.2 known=no port=5070 "));
        assert!(
            line(Format::Json, &failure(), Some(true))
                .contains("\"ip\":\"10.99.0.2\",\"known\":true,\"port\"")
        );
        assert!(
            line(Format::Json, &failure(), Some(false))
                .contains("\"ip\":\"10.99.0.2\",\"known\":false,\"port\"")
        );
    }

    #[test]
    fn a_signal_without_a_user_has_an_empty_one() {
        let mut signal = Signal::new(EventType::RegisterFailure, "2001:db8::1".parse().unwrap(), b"");
        signal.set(Field::User, None);
        let classic = line(Format::Classic, &signal, None);
        assert!(classic.starts_with("A registration failed user[] ip[2001:db8::1] at["), "{classic}");
        assert!(line(Format::Dated, &signal, None).ends_with("ip=2001:db8::1 user=\"\"\n"));
    }

    #[test]
    fn a_text_of_which_only_the_beginning_was_kept_says_so() {
        let mut signal = failure();
        signal.set_cut(Field::Agent);
        assert!(line(Format::Dated, &signal, None).contains("agent=\"friendly-scanner%...\""));
    }

    #[test]
    fn start_stop_and_losses_are_said_in_each_format() {
        assert_eq!(
            notice(Format::Classic, Notice::Started),
            "Fail2ban was started at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            notice(Format::Classic, Notice::Stopped),
            "Fail2ban stoping at[2026-11-22T06:21:58.493952+0530]\n"
        );
        for (what, event) in [(Notice::Started, "started"), (Notice::Stopped, "stopped")] {
            assert_eq!(
                notice(Format::Json, what),
                format!("{{\"time\":\"2026-11-22T06:21:58.493952+0530\",\"event\":\"{event}\"}}\n")
            );
        }
        let mut losses = [0; EventType::COUNT];
        losses[EventType::RegisterAttempt as usize] = 40;
        losses[EventType::RegisterFailure as usize] = 80;
        let dropped = Notice::Dropped(losses);
        assert_eq!(
            notice(Format::Classic, dropped),
            "Fail2ban dropped 120 lines (register_attempt=40 register_failure=80) at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            notice(Format::Dated, dropped),
            "2026-11-22T06:21:58.493952+0530 mod_fail2ban: Fail2ban dropped 120 lines (register_attempt=40 register_failure=80)\n"
        );
        assert_eq!(
            notice(Format::Json, dropped),
            "{\"time\":\"2026-11-22T06:21:58.493952+0530\",\"event\":\"dropped\",\"lines\":120,\
             \"dropped\":{\"register_attempt\":40,\"register_failure\":80}}\n"
        );
    }

    #[test]
    fn a_port_is_a_number_in_json_as_it_came_elsewhere() {
        for (port, number) in [("5070", "5070"), ("0080", "80"), ("0", "0"), ("000", "0")] {
            let mut signal = failure();
            signal.set(Field::Port, Some(port.as_bytes()));
            assert!(line(Format::Json, &signal, None).contains(&format!(",\"port\":{number},")));
            assert!(line(Format::Dated, &signal, None).contains(&format!(" port={port} ")));
        }
    }

    #[test]
    fn every_ipv4_address_reads_as_the_library_writes_it() {
        for octet in 0..=255 {
            let ip = IpAddr::from([octet, 255 - octet, octet, octet]);
            let mut out = Vec::new();
            write_ip(&mut out, ip).unwrap();
            assert_eq!(out, ip.to_string().as_bytes());
        }
    }
}
