//! How a signal reads in the log: one event, one line, in each of the three formats.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::IpAddr;

use crate::escape::{self, Inside};
use crate::signal::{Field, Kind, PerKind, Signal, is_token};

/// The setting `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The C module's lines.
    #[default]
    Classic,
    /// The date first and the attacker's text last, for fail2ban.
    Dated,
    /// One object a line, for machines.
    Json,
}

impl Format {
    /// All of them, with their names in the settings.
    pub const ALL: [(Format, &'static str); 3] =
        [(Format::Classic, "classic"), (Format::Dated, "dated"), (Format::Json, "json")];

    /// The name in the settings.
    pub fn name(self) -> &'static str {
        Format::ALL.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }
}

/// A time as every format writes it: `2026-11-22T00:51:58.493952+0000`.
pub type Stamp = [u8; 31];

/// A time of day somewhere, to the second, and how far it is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LocalTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// Seconds east of UTC.
    pub offset: i32,
}

/// Writes times; asks for the local time once a second, not once a line.
#[derive(Debug)]
pub struct Clock {
    local: fn(i64) -> LocalTime,
    second: i64,
    /// The host's clock moves in steps, so that many lines have the same time.
    micros: i64,
    text: Stamp,
}

impl Clock {
    /// `local` gives the local time of a second since 1970.
    pub fn new(local: fn(i64) -> LocalTime) -> Clock {
        Clock { local, second: i64::MIN, micros: i64::MIN, text: *b"0000-00-00T00:00:00.000000+0000" }
    }

    /// The time of so many microseconds since 1970.
    pub fn stamp(&mut self, micros: i64) -> Stamp {
        if micros != self.micros {
            self.micros = micros;
            let second = micros.div_euclid(1_000_000);
            if second != self.second {
                self.second = second;
                self.text = seconds_text((self.local)(second));
            }
            put_digits(&mut self.text[20..26], micros.rem_euclid(1_000_000).unsigned_abs());
        }
        self.text
    }
}

/// The C module prints the remainder of seconds as minutes (`+051800` for India); these are minutes.
fn seconds_text(local: LocalTime) -> Stamp {
    let mut text = *b"0000-00-00T00:00:00.000000+0000";
    put_digits(&mut text[0..4], local.year.into());
    put_digits(&mut text[5..7], local.month.into());
    put_digits(&mut text[8..10], local.day.into());
    put_digits(&mut text[11..13], local.hour.into());
    put_digits(&mut text[14..16], local.minute.into());
    put_digits(&mut text[17..19], local.second.into());
    let minutes = u64::from(local.offset.unsigned_abs() / 60);
    text[26] = if local.offset < 0 { b'-' } else { b'+' };
    put_digits(&mut text[27..29], minutes / 60);
    put_digits(&mut text[29..31], minutes % 60);
    text
}

/// Fills `digits` with the last digits of `number`.
fn put_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Writes the line of a signal.
pub fn write(out: &mut impl Write, format: Format, at: &Stamp, signal: &Signal<'_>) -> io::Result<()> {
    match format {
        Format::Classic => {
            out.write_all(signal.kind.message().as_bytes())?;
            out.write_all(b" user[")?;
            escape::write(out, signal.text(Field::User).unwrap_or_default(), Inside::Brackets)?;
            out.write_all(b"] ip[")?;
            write_ip(out, signal.ip)?;
            out.write_all(b"]")?;
            write_classic_at(out, at)
        }
        Format::Dated => {
            write_dated_start(out, at)?;
            out.write_all(signal.kind.name().as_bytes())?;
            out.write_all(b" ip=")?;
            write_ip(out, signal.ip)?;
            for (field, name) in Field::WRITTEN {
                if let Some(text) = told(signal, field) {
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
                        escape::write(out, text, Inside::Quotes)?;
                        out.write_all(b"\"")?;
                    }
                }
            }
            out.write_all(b"\n")
        }
        Format::Json => {
            write_json_start(out, at, signal.kind.name())?;
            out.write_all(b",\"ip\":\"")?;
            write_ip(out, signal.ip)?;
            out.write_all(b"\"")?;
            for (field, name) in Field::WRITTEN {
                if let Some(text) = told(signal, field) {
                    out.write_all(b",\"")?;
                    out.write_all(name.as_bytes())?;
                    if field == Field::Port {
                        out.write_all(b"\":")?;
                        out.write_all(port_digits(text))?;
                    } else {
                        out.write_all(b"\":\"")?;
                        escape::write(out, text, Inside::Json)?;
                        out.write_all(b"\"")?;
                    }
                }
            }
            out.write_all(b"}\n")
        }
    }
}

/// What an event does not tell is left out, but for the user, whom every line has.
fn told<'a>(signal: &Signal<'a>, field: Field) -> Option<&'a [u8]> {
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
pub enum Note {
    /// It was loaded.
    Started,
    /// It is being unloaded.
    Stopped,
    /// So many lines of each kind could not be written.
    Dropped(PerKind<u64>),
}

/// Writes the line of a note. The words and their spelling are the C module's.
pub fn write_note(out: &mut impl Write, format: Format, at: &Stamp, note: Note) -> io::Result<()> {
    match format {
        Format::Classic | Format::Dated => {
            if format == Format::Dated {
                write_dated_start(out, at)?;
            }
            match note {
                Note::Started => out.write_all(b"Fail2ban was started")?,
                Note::Stopped => out.write_all(b"Fail2ban stoping")?,
                Note::Dropped(dropped) => {
                    write!(out, "Fail2ban dropped {} lines ({})", total(&dropped), listed(&dropped))?;
                }
            }
            if format == Format::Classic { write_classic_at(out, at) } else { out.write_all(b"\n") }
        }
        Format::Json => match note {
            Note::Started => {
                write_json_start(out, at, "started")?;
                out.write_all(b"}\n")
            }
            Note::Stopped => {
                write_json_start(out, at, "stopped")?;
                out.write_all(b"}\n")
            }
            Note::Dropped(dropped) => {
                write_json_start(out, at, "dropped")?;
                let each: serde_json::Map<_, _> =
                    counted(&dropped).map(|(kind, lines)| (kind.name().to_owned(), lines.into())).collect();
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

/// The sum over all kinds.
pub fn total(counts: &PerKind<u64>) -> u64 {
    counts.iter().sum()
}

/// `register_attempt=40 register_failure=80`: the kinds that counted at all.
pub fn listed(counts: &PerKind<u64>) -> String {
    let each: Vec<String> = counted(counts).map(|(kind, count)| format!("{}={count}", kind.name())).collect();
    each.join(" ")
}

fn counted(counts: &PerKind<u64>) -> impl Iterator<Item = (Kind, u64)> + '_ {
    Kind::ALL.into_iter().zip(*counts).filter(|(_, count)| *count > 0)
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

/// Written from the parsed address, never copied. IPv4, nearly all there is, without the detour of `fmt`.
fn write_ip(out: &mut impl Write, ip: IpAddr) -> io::Result<()> {
    let IpAddr::V4(ip) = ip else {
        return write!(out, "{ip}");
    };
    let mut text = [0; 16];
    let mut len = 0;
    for octet in ip.octets() {
        let (digits, count) = &OCTETS[usize::from(octet)];
        text[len..len + 4].copy_from_slice(digits);
        len += count;
    }
    out.write_all(&text[..len - 1])
}

/// Each octet with the dot that follows it, and how long that is.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) =
            (b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8);
        octets[octet] = match octet {
            0..10 => ([ones, b'.', 0, 0], 2),
            10..100 => ([tens, ones, b'.', 0], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        octet += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;

    fn india(second: i64) -> LocalTime {
        assert_eq!(second, 1_795_308_718);
        LocalTime { year: 2026, month: 11, day: 22, hour: 6, minute: 21, second: 58, offset: 19_800 }
    }

    fn stamp() -> Stamp {
        Clock::new(india).stamp(1_795_308_718_493_952)
    }

    fn line(format: Format, signal: &Signal<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, format, &stamp(), signal).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn note(format: Format, note: Note) -> String {
        let mut out = Vec::new();
        write_note(&mut out, format, &stamp(), note).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn failure() -> Signal<'static> {
        let mut signal = Signal::new(Kind::RegisterFailure, [10, 99, 0, 2].into(), b"x\"] ip[");
        signal.texts[Field::Port as usize] = Some(b"5070");
        signal.texts[Field::Profile as usize] = Some(b"internal");
        signal.texts[Field::Method as usize] = Some(b"REGISTER");
        signal.texts[Field::Agent as usize] = Some(b"friendly-scanner");
        signal
    }

    #[test]
    fn the_minutes_of_the_utc_offset_are_minutes() {
        assert_eq!(&stamp(), b"2026-11-22T06:21:58.493952+0530");
        let west =
            |_| LocalTime { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, offset: -12_600 };
        assert_eq!(&Clock::new(west).stamp(7), b"2026-01-02T03:04:05.000007-0330");
    }

    #[test]
    fn the_local_time_is_asked_once_a_second() {
        let mut clock = Clock::new(india);
        clock.stamp(1_795_308_718_000_000);
        clock.local = |_| panic!("asked again");
        assert_eq!(&clock.stamp(1_795_308_718_999_999)[20..26], b"999999");
    }

    #[test]
    fn each_format_writes_its_line() {
        assert_eq!(
            line(Format::Classic, &failure()),
            "A registration failed user[x\"%5D ip%5B] ip[10.99.0.2] at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            line(Format::Dated, &failure()),
            "2026-11-22T06:21:58.493952+0530 mod_fail2ban: register_failure ip=10.99.0.2 port=5070 \
             profile=\"internal\" method=REGISTER agent=\"friendly-scanner\" user=\"x%22%5D ip%5B\"\n"
        );
        assert_eq!(
            line(Format::Json, &failure()),
            "{\"time\":\"2026-11-22T06:21:58.493952+0530\",\"event\":\"register_failure\",\"ip\":\"10.99.0.2\",\
             \"port\":5070,\"profile\":\"internal\",\"method\":\"REGISTER\",\"agent\":\"friendly-scanner\",\
             \"user\":\"x\\\"%5D ip%5B\"}\n"
        );
    }

    #[test]
    fn a_signal_without_a_user_has_an_empty_one() {
        let mut signal = failure();
        signal.texts = [None; Field::COUNT];
        signal.ip = "2001:db8::1".parse().unwrap();
        assert!(
            line(Format::Classic, &signal).starts_with("A registration failed user[] ip[2001:db8::1] at[")
        );
        assert!(line(Format::Dated, &signal).ends_with("ip=2001:db8::1 user=\"\"\n"));
    }

    #[test]
    fn start_stop_and_losses_are_said_in_each_format() {
        assert_eq!(
            note(Format::Classic, Note::Started),
            "Fail2ban was started at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            note(Format::Classic, Note::Stopped),
            "Fail2ban stoping at[2026-11-22T06:21:58.493952+0530]\n"
        );
        let dropped = Note::Dropped([40, 80, 0, 0, 0, 0, 0]);
        assert_eq!(
            note(Format::Classic, dropped),
            "Fail2ban dropped 120 lines (register_attempt=40 register_failure=80) at[2026-11-22T06:21:58.493952+0530]\n"
        );
        assert_eq!(
            note(Format::Dated, dropped),
            "2026-11-22T06:21:58.493952+0530 mod_fail2ban: Fail2ban dropped 120 lines (register_attempt=40 register_failure=80)\n"
        );
        assert_eq!(
            note(Format::Json, dropped),
            "{\"time\":\"2026-11-22T06:21:58.493952+0530\",\"event\":\"dropped\",\"lines\":120,\
             \"dropped\":{\"register_attempt\":40,\"register_failure\":80}}\n"
        );
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
