//! The module at work, for someone who has never seen it: replays an attack that a real FreeSWITCH recorded,
//! shows the log as it grows, and says what each kind of line means and what fail2ban makes of it.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use crate::switch::{Switch, recorded, wait_until};

/// So that one can watch; the attack as a whole takes about three seconds.
const BETWEEN_EVENTS: Duration = Duration::from_millis(30);

/// As in `conf/fail2ban/jail.d/freeswitch-fail2ban.conf`: so many failures are one too many.
const MAX_RETRY: u32 = 10;

/// How a line of the log begins, whether fail2ban counts it, and what it means.
const MEANINGS: [(&str, bool, &str); 4] = [
    (
        "A registration was attempted",
        false,
        "Someone sent a password. Good phones do that all day, so fail2ban does not count it.",
    ),
    (
        "A registration failed",
        true,
        "FreeSWITCH answered 403 to a registration or a call: mostly, the password was wrong. fail2ban counts \
         this line against the address in ip[…].",
    ),
    (
        "Abandoned call from ",
        false,
        "A call was begun, FreeSWITCH asked for a password, and none ever came: a scanner, most likely. \
         In this format, which does not tell who has logged in, fail2ban counts it in its aggressive mode only.",
    ),
    ("Fail2ban stoping", false, "The module was unloaded; what was waiting has been written before."),
];

const TRAP: &str = "A trap. The attacker chose a user name that reads like the rest of a line, to have 8.8.8.8 \
                    banned in its place. The C module writes such a name as it is; this one makes its brackets \
                    harmless, and the only ip[…] in the line is its own.";

/// Runs it.
pub fn run() -> io::Result<()> {
    let switch = Switch::loaded("");
    let host =
        if switch.is_real() { "the FreeSWITCH that is installed here" } else { "a stand-in for FreeSWITCH" };
    say("")?;
    say("mod_fail2ban tells fail2ban, from inside FreeSWITCH, who is attacking it.")?;
    say(&format!("It is now loaded into {host} and writes to {}", switch.log_file().display()))?;
    say("")?;
    say("An attack that was recorded on FreeSWITCH 1.10.12 is replayed: a scanner at 10.99.0.2 guesses")?;
    say("passwords, sends traps for whoever reads the log, and makes calls that it never completes.")?;
    say("This is the log as it grows (» says what a kind of line means, the first time there is one):")?;
    say("")?;
    let mut reader = Reader::default();
    for event in recorded("events-1.10.12.jsonl") {
        switch.fire_event(&event);
        sleep(BETWEEN_EVENTS);
        reader.show(&switch.log_text())?;
    }
    wait_until("the last of the attack", || switch.log_text().matches("Abandoned call").count() == 2);
    reader.show(&switch.log_text())?;
    let status = switch.api("fail2ban status");
    switch.unload().map_err(io::Error::other)?;
    reader.show(&switch.log_text())?;
    say("")?;
    say("Before it was unloaded, fs_cli -x 'fail2ban status' said:")?;
    say("")?;
    for line in status.lines() {
        say(&format!("  {line}"))?;
    }
    say("")?;
    say(
        "The filter and the jails for fail2ban are in conf/fail2ban; README.md says how to set them up. With the",
    )?;
    say(
        "settings that are shipped, addresses that have logged in are known and not banned: docs/security.md.",
    )
}

/// What has been shown so far.
#[derive(Default)]
struct Reader {
    lines: usize,
    explained: BTreeSet<&'static str>,
    failures: HashMap<String, u32>,
}

impl Reader {
    /// Shows what is new in the log.
    fn show(&mut self, log: &str) -> io::Result<()> {
        // A line is one once its end is there.
        let complete = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in complete.lines().skip(self.lines) {
            self.lines += 1;
            say(&format!("  {line}"))?;
            self.explain(line)?;
        }
        Ok(())
    }

    fn explain(&mut self, line: &str) -> io::Result<()> {
        let Some((start, counts, meaning)) = MEANINGS.into_iter().find(|(start, ..)| line.starts_with(start))
        else {
            return Ok(());
        };
        if self.explained.insert(start) {
            note(meaning)?;
        }
        if line.contains("ip%5B")
            && line.contains("%5D")
            && !line.contains("%20")
            && self.explained.insert(TRAP)
        {
            note(TRAP)?;
        }
        let ip = line.split_once("] ip[").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(ip, _)| ip);
        if counts {
            let failures = self.failures.entry(ip.to_owned()).or_default();
            *failures += 1;
            if *failures == MAX_RETRY {
                note(&format!(
                    "That was failure number {MAX_RETRY} of {ip} within ten minutes. Here fail2ban, with the \
                     jail in conf/fail2ban, has the firewall drop whatever {ip} sends, for an hour at first. \
                     (Nothing is banned now: this is a replay, which goes on.)"
                ))?;
            }
        }
        Ok(())
    }
}

/// An explanation, set off from the log and wrapped.
fn note(text: &str) -> io::Result<()> {
    let mut line = String::from("    »");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 100 {
            say(&line)?;
            line = String::from("     ");
        }
        line += " ";
        line += word;
    }
    say(&line)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
