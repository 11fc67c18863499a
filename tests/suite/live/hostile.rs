//! Names made to mislead, through real sofia: one line for one event, and fail2ban finds who it was.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::site::{OFFSET, Site};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::{self, Fail2ban};
use crate::support::needs;
use crate::support::suite::{Suite, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network];
    suite.add(&needs, tests![hostile_names_leave_json_lines_json]);
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &needs,
            release,
            get,
            tests![
                a_failure_is_one_line_and_fail2ban_finds_the_true_address_once_in_classic,
                a_failure_is_one_line_and_fail2ban_finds_the_true_address_once_in_dated,
            ],
        );
    }
}

fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "x] ip[8.8.8.8] at[",
        "x] ip[8.8.8.8] at[2020-01-01T00:00:00.000000+0000]",
        "fold\r\n A registration failed user[q] ip[9.9.9.9] at[",
        "fold\r\n\tA registration failed user[q] ip[9.9.9.9] at[2026-11-22T00:51:58.493952+0000]\r\n x",
        "2020-01-01T00:00:00.000000+0000 mod_fail2ban: register_failure ip=9.9.9.9 user=",
        "\" ip=9.9.9.9 user=\"",
        "\",\"ip\":\"9.9.9.9\",\"user\":\"",
        "esc\u{1b}[31mred\u{1b}[0m",
        "bell\u{7}back\u{8}del\u{7f}",
        "tab\tx",
        "c1\u{85}\u{9b}31m",
        "ls\u{2028}ps\u{2029}x",
        "rtl\u{202e}1.2.3.4\u{202c}",
        "zero\u{200b}width\u{feff}\u{ad}",
        "20200101T000000",
        "2020-01-01 00:00:00",
        "at[2020-01-01T00:00:00.000000+0000]",
        "%5D%20ip%5B9.9.9.9%5D",
        "%0d%0aA registration failed user[] ip[9.9.9.9]",
        "%00%",
        "a;b=c;user=phone",
        "a:secret",
        "a/b?c&d",
        "'; DROP TABLE users; --",
        "\\\\\\\"",
        "张三",
        "Renée",
        "o'brien",
        "user name",
        "<sip:a@b>",
        "a,b",
        "$(reboot)`id`",
        "%s%n%x",
        "A registration failed user[a] ip[7.7.7.7] at[2026-11-22T00:51:58.493952+0000]",
        "1.2.3.4",
        "::1",
    ]
    .into_iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(b"bad\xff\xfe\xc3".to_vec());
    names.push(b"\xc0\x80\xed\xa0\x80".to_vec());
    names.push(vec![b'a'; 300]);
    names.push(vec![0xe5; 300]);
    names.push("张".repeat(100).into_bytes());
    names.push([vec![b'a'; 250], b"] ip[9.9.9.9] at[".to_vec()].concat());
    names
}

/// The time of a line in microseconds since 1970.
fn time_of(format: &str, line: &str) -> i64 {
    let stamp = match format {
        "classic" => &line[line.len() - 32..line.len() - 1],
        _ => &line[..31],
    };
    let (local, offset) = stamp.split_at(26);
    assert_eq!(offset, OFFSET, "{line:?}");
    let numbers: Vec<i64> =
        local.split(['-', 'T', ':', '.']).map(|part| part.parse().expect("a number")).collect();
    let [year, month, day, hour, minute, second, micro] = numbers[..] else { panic!("{line:?}") };
    // Days from March on: the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second - (5 * 60 + 30) * 60) * 1_000_000 + micro
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_micros()).expect("it is not that late")
}

/// Fails once with each name, and has fail2ban find what it should.
fn attack(fail2ban: &Fail2ban, site: &Site, format: &str, family: Family) {
    let mut caller = site.caller(family);
    let began = now();
    let mut refused = Vec::new();
    for name in names() {
        match caller.fail(&name) {
            Some(403) => refused.push(name),
            // Sofia can't make a name of it: there is no attempt, and must be no line.
            Some(400..500) | None => {}
            Some(status) => panic!("{status}: {}", name.escape_ascii()),
        }
    }
    assert!(refused.len() > 30, "sofia took only {}", refused.len());
    let lines = site.wait_for_lines(2 * refused.len());
    let ended = now();

    let ip = site.attacker(family);
    let mut expected = String::new();
    for line in site.log_text().lines() {
        let time = time_of(format, line);
        assert!((began - 60_000_000..=ended).contains(&time), "{line:?}");
        let is_failure = lines.iter().position(|it| it == line).is_some_and(|at| at % 2 == 1);
        let wish = is_failure.then(|| json!({ "ip": ip, "time": time as f64 / 1e6 }));
        let _ = writeln!(expected, "{}", json!(wish));
    }
    for line in lines {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    let wishes = site.path("expected");
    std::fs::write(&wishes, expected).expect("the expectations");
    let [log, wishes] = [site.log_file(), wishes].map(|path| path.display().to_string());
    fail2ban.check_filter(&["batch", &log, &wishes]).unwrap_or_else(|why| panic!("{fail2ban}: {why}"));
}

fn a_failure_is_one_line_and_fail2ban_finds_the_true_address_once_in_classic(fail2ban: &'static Fail2ban) {
    let site = Site::start("");
    attack(fail2ban, &site, "classic", V4);
}

fn a_failure_is_one_line_and_fail2ban_finds_the_true_address_once_in_dated(fail2ban: &'static Fail2ban) {
    let site = Site::start("<param name=\"format\" value=\"dated\"/>");
    attack(fail2ban, &site, "dated", V6);
}

fn hostile_names_leave_json_lines_json() {
    let site = Site::start("<param name=\"format\" value=\"json\"/>");
    let mut caller = site.caller(V4);
    let refused = names().iter().filter(|name| caller.fail(name) == Some(403)).count();
    for line in site.wait_for_lines(2 * refused) {
        let line: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert_eq!(line["ip"], json!(site.attacker(V4)), "{line}");
    }
}
