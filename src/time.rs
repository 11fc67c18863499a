//! How a time reads in the log.
#![forbid(unsafe_code)]

/// A time as every format writes it: `2026-11-22T00:51:58.493952+0000`.
pub type Stamp = [u8; 31];

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock (`CLOCK_REALTIME`), in microseconds since 1970: for lines.
    pub wall: i64,
    /// The monotonic clock, in microseconds: for every duration.
    pub monotonic: i64,
}

impl Now {
    /// The monotonic clock in whole seconds.
    pub fn seconds(self) -> i64 {
        self.monotonic.div_euclid(1_000_000)
    }

    /// The wall clock in whole seconds since 1970.
    pub fn wall_seconds(self) -> i64 {
        self.wall.div_euclid(1_000_000)
    }
}

/// A time of day somewhere, to the second, and how far it is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "what they say")]
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
pub struct Stamper {
    local: fn(i64) -> LocalTime,
    second: i64,
    text: Stamp,
}

impl Stamper {
    /// `local` gives the local time of a second since 1970.
    pub fn new(local: fn(i64) -> LocalTime) -> Stamper {
        Stamper { local, second: i64::MIN, text: *b"0000-00-00T00:00:00.000000+0000" }
    }

    /// The time of so many microseconds since 1970.
    pub fn stamp(&mut self, micros: i64) -> Stamp {
        let second = micros.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            self.text = seconds_text((self.local)(second));
        }
        put_digits(&mut self.text[20..26], micros.rem_euclid(1_000_000).unsigned_abs());
        self.text
    }

    /// The same, for a person or a machine to read.
    pub fn text(&mut self, micros: i64) -> String {
        String::from_utf8_lossy(&self.stamp(micros)).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn india(second: i64) -> LocalTime {
        assert_eq!(second, 1_795_308_718);
        LocalTime { year: 2026, month: 11, day: 22, hour: 6, minute: 21, second: 58, offset: 19_800 }
    }

    #[test]
    fn the_minutes_of_the_utc_offset_are_minutes() {
        assert_eq!(&Stamper::new(india).stamp(1_795_308_718_493_952), b"2026-11-22T06:21:58.493952+0530");
        let west =
            |_| LocalTime { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, offset: -12_600 };
        assert_eq!(&Stamper::new(west).stamp(7), b"2026-01-02T03:04:05.000007-0330");
        let utc = |_| LocalTime { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, offset: 0 };
        assert_eq!(Stamper::new(utc).text(7), "2026-01-02T03:04:05.000007+0000");
    }

    #[test]
    fn the_local_time_is_asked_once_a_second() {
        let mut stamper = Stamper::new(india);
        stamper.stamp(1_795_308_718_000_000);
        stamper.local = |_| panic!("asked again");
        assert_eq!(&stamper.stamp(1_795_308_718_999_999)[20..26], b"999999");
    }

    #[test]
    fn the_end_of_daylight_saving_shows_within_a_second() {
        // Berlin, 2026-10-25: at 01:00 UTC the offset goes from +2 to +1 hours.
        let berlin = |second: i64| {
            let offset = if second < 1_792_890_000 { 7200 } else { 3600 };
            let local = (second + i64::from(offset)).rem_euclid(86_400);
            LocalTime {
                year: 2026,
                month: 10,
                day: 25,
                hour: (local / 3600) as u8,
                minute: (local / 60 % 60) as u8,
                second: (local % 60) as u8,
                offset,
            }
        };
        let mut stamper = Stamper::new(berlin);
        assert_eq!(&stamper.stamp(1_792_889_999_999_999), b"2026-10-25T02:59:59.999999+0200");
        assert_eq!(&stamper.stamp(1_792_890_000_000_000), b"2026-10-25T02:00:00.000000+0100");
        // And a clock that was put back.
        assert_eq!(&stamper.stamp(1_792_889_999_000_000), b"2026-10-25T02:59:59.000000+0200");
    }
}
