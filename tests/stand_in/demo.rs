//! The module at work, for someone who has never seen it: an attacker guesses a password until the module, with the
//! settings that are shipped, has it refused; then what an operator sees and what fail2ban reads.
//!
//! In an installed FreeSWITCH the attempts are REGISTERs. The stand-in has no SIP and compares no passwords: there an
//! attempt is the lookup that FreeSWITCH makes, and, if the module leaves it to the directory and the password is
//! wrong, the events that FreeSWITCH fires then.

use std::io::{self, Write};

use crate::register::{Client, ready_for_sip};
use crate::switch::{Event, Switch, credentials, wait_until};

const SETTINGS: &str = include_str!("../../conf/autoload_configs/fail2ban.conf.xml");
const USER: &str = "1009";
const PASSWORD: &str = "the-right-one";
const ATTACKER: &str = "198.51.100.7";
const OWNER: &str = "198.51.100.8";

const IN_FREESWITCH: &str = "\
It runs in the FreeSWITCH that is installed here. Since this machine's own addresses are never attackers, a SIP proxy
passes the REGISTERs on, for which the setting `proxy` is added. At the end of each line is FreeSWITCH's answer.";
const IN_THE_STAND_IN: &str = "\
It runs in a stand-in for FreeSWITCH, without SIP. At the end of each line is who answered FreeSWITCH's lookup of the
credentials: the directory, with the account, or mod_fail2ban, with a user that FreeSWITCH refuses (403).";

/// Runs it.
pub fn run() -> io::Result<()> {
    let mut host = Host::start()?;
    let about = if host.client.is_some() { IN_FREESWITCH } else { IN_THE_STAND_IN };
    say(&format!("\nmod_fail2ban with the settings that are shipped.\n{about}\n"))?;
    let mut number = 0;
    while complete_line(&host.switch, " attacker ").is_none() {
        number += 1;
        host.attempt(&format!("{number}"), ATTACKER, "wrong")?;
        // The shipped settings' `attacker-after`: from then on it is a matter of when the line is written.
        if number >= 10 {
            wait_until("the attacker's line", || complete_line(&host.switch, " attacker ").is_some());
        }
    }
    host.attempt(&format!("{}", number + 1), ATTACKER, PASSWORD)?;
    host.attempt("", OWNER, PASSWORD)?;

    let switch = &host.switch;
    say(
        "\nFrom the log. The second line is the one that fail2ban reads, with the filter in conf/fail2ban:\n",
    )?;
    for event_type in [" register_failure ", " attacker "] {
        say(&format!("  {}", complete_line(switch, event_type).unwrap_or_default()))?;
    }
    for command in ["fail2ban attackers".to_owned(), format!("fail2ban why {ATTACKER}")] {
        say(&format!("\nfs_cli -x '{command}'\n"))?;
        for line in switch.api(&command).lines() {
            say(&format!("  {line}"))?;
        }
    }
    say("\nREADME.md says how to install it.")
}

struct Host {
    switch: Switch,
    /// Where there is SIP.
    client: Option<Client>,
    attempts: usize,
}

impl Host {
    fn start() -> io::Result<Host> {
        let switch = Switch::start_with(Some(SETTINGS), "");
        let port =
            if switch.is_real() { Some(ready_for_sip(&switch, SETTINGS, USER, PASSWORD)?) } else { None };
        switch.load().map_err(io::Error::other)?;
        let client = port.map(|port| Client::new(&switch, port)).transpose()?;
        Ok(Host { switch, client, attempts: 0 })
    }

    /// Tries a password, and says what came of it.
    fn attempt(&mut self, number: &str, ip: &str, password: &str) -> io::Result<()> {
        let answer = match &mut self.client {
            Some(client) => client.register(ip, USER, password)?,
            None => self.look_up(ip, password),
        };
        let password = if password == PASSWORD { "the right password" } else { "a wrong password" };
        say(&format!("  {number:>2}  {USER} from {ip}, {password:<18}  {answer}"))
    }

    /// An attempt in the stand-in.
    fn look_up(&mut self, ip: &str, password: &str) -> String {
        self.attempts += 1;
        let call_id = format!("attempt-{}", self.attempts);
        if let Some(name) = self.switch.look_up(&credentials("REGISTER", &call_id, ip, "udp")) {
            return name;
        }
        if password != PASSWORD {
            self.switch.fire_event(&Event::register_attempt(USER, ip, "FORBIDDEN").with("call-id", call_id));
            self.switch.fire_event(&Event::register_failure(USER, ip));
        }
        "the directory".into()
    }
}

/// The first line of an event type whose end is there.
fn complete_line(switch: &Switch, event_type: &str) -> Option<String> {
    let log = switch.log_text();
    let complete = &log[..log.rfind('\n')?];
    complete.lines().find(|line| line.contains(event_type)).map(str::to_owned)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
