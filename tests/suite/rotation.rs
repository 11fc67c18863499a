//! The log may be renamed, deleted or truncated under the module: the next line lands in a file at its path,
//! and none is lost, torn or there twice.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, PATIENCE, Switch, configuration, wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            after_a_rename_lines_go_to_a_new_file,
            after_a_rename_and_a_hangup_lines_go_to_a_new_file,
            after_deletion_lines_go_to_a_new_file,
            after_copytruncate_lines_begin_at_the_start,
            a_new_folder_in_the_old_ones_place_is_found,
            the_log_is_there_again_before_the_next_event,
            a_line_that_a_crash_left_unfinished_does_not_merge_with_the_next,
            a_hangup_opens_the_log_again,
            the_command_reopen_opens_the_log_again,
        ],
    );
    suite.add(&[needs::stand_in], tests![rotation_under_load_loses_tears_and_doubles_nothing]);
}

/// Fires ten failures of the users `first`, `first` + 1, …
fn ten_failures(switch: &Switch, first: usize) {
    for number in first..first + 10 {
        switch.fire_event(&Event::register_failure(format!("u{number}"), "192.0.2.7"));
    }
}

/// The users in a file's lines, each of which has to be whole.
fn users(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    let lines = text.lines().filter(|line| !line.starts_with("Fail2ban "));
    lines
        .map(|line| {
            let user = line.strip_prefix("A registration failed user[").and_then(|rest| rest.split_once(']'));
            assert!(line.ends_with(']'), "{line}");
            user.unwrap_or_else(|| panic!("torn: {line}")).0.to_owned()
        })
        .collect()
}

fn expected(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|number| format!("u{number}")).collect()
}

/// Ten failures before a rotation and ten after it: the first are in `old`, if it still is, the others in the
/// log.
fn rotated(rotate: impl Fn(&Switch), old: Option<&str>, params: &str) {
    let switch = Switch::loaded(params);
    let log = switch.log_file();
    ten_failures(&switch, 0);
    wait_until("the lines before", || users(&log).len() == 10);
    rotate(&switch);
    ten_failures(&switch, 10);
    wait_until("the lines after", || users(&log).len() >= 10);
    assert_eq!(users(&log), expected(10, 20));
    if let Some(old) = old {
        assert_eq!(users(&switch.path(old)), expected(0, 10));
    }
}

fn after_a_rename_lines_go_to_a_new_file() {
    let rename = |switch: &Switch| fs::rename(switch.log_file(), switch.path("log/fail2ban.log.1")).unwrap();
    rotated(rename, Some("log/fail2ban.log.1"), "");
    let rename_and_create = |switch: &Switch| {
        rename(switch);
        fs::write(switch.log_file(), "").unwrap();
    };
    rotated(rename_and_create, Some("log/fail2ban.log.1"), "");
}

fn after_a_rename_and_a_hangup_lines_go_to_a_new_file() {
    let rename = |switch: &Switch| {
        fs::rename(switch.log_file(), switch.path("log/fail2ban.log.1")).unwrap();
        switch.hang_up();
    };
    rotated(rename, Some("log/fail2ban.log.1"), "");
}

fn after_deletion_lines_go_to_a_new_file() {
    rotated(|switch| fs::remove_file(switch.log_file()).unwrap(), None, "");
}

fn after_copytruncate_lines_begin_at_the_start() {
    let copytruncate = |switch: &Switch| {
        fs::copy(switch.log_file(), switch.path("log/fail2ban.log.1")).unwrap();
        fs::OpenOptions::new().write(true).truncate(true).open(switch.log_file()).unwrap();
    };
    rotated(copytruncate, Some("log/fail2ban.log.1"), "");
}

fn a_new_folder_in_the_old_ones_place_is_found() {
    let switch = Switch::start("");
    fs::create_dir(switch.path("own")).unwrap();
    let log = switch.path("own/f.log");
    let params = format!("<param name=\"logfile\" value=\"{}\"/>", log.display());
    switch.write_config(&configuration(&params));
    switch.load().unwrap();
    ten_failures(&switch, 0);
    wait_until("the lines before", || users(&log).len() == 10);
    // While there is no folder at all, lines wait.
    fs::rename(switch.path("own"), switch.path("old")).unwrap();
    ten_failures(&switch, 10);
    wait_until("the loss of the folder to be said", || {
        switch.host_log().contains("No such file or directory")
    });
    fs::create_dir(switch.path("own")).unwrap();
    wait_until("the lines after", || users(&log).len() >= 10);
    assert_eq!(users(&log), expected(10, 20));
    assert_eq!(users(&switch.path("old/f.log")), expected(0, 10));
}

fn the_log_is_there_again_before_the_next_event() {
    let switch = Switch::loaded("");
    fs::rename(switch.log_file(), switch.path("log/fail2ban.log.1")).unwrap();
    // fail2ban gives a file up that is missing for long.
    wait_at_most(PATIENCE, "the file", || switch.log_file().exists());
    fs::rename(switch.log_file(), switch.path("log/fail2ban.log.2")).unwrap();
    switch.api("fail2ban reopen");
    wait_at_most(PATIENCE, "the file", || switch.log_file().exists());
}

fn a_line_that_a_crash_left_unfinished_does_not_merge_with_the_next() {
    let switch = Switch::start("");
    fs::write(switch.log_file(), "A registration failed user[to").unwrap();
    switch.load().unwrap();
    switch.wait_for_lines(1);
    let text = switch.log_text();
    assert!(text.starts_with("A registration failed user[to\nFail2ban was started at["), "{text}");
}

/// Counts how often a file is opened, by whomever.
struct Opens(File);

impl Opens {
    fn of(path: &Path) -> Opens {
        // SAFETY: takes no pointers.
        let watch = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        assert!(watch >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new, and nobody else knows it.
        let watch = unsafe { OwnedFd::from_raw_fd(watch) };
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the text lives through the call.
        let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_OPEN) };
        assert!(added >= 0, "{}", io::Error::last_os_error());
        Opens(watch.into())
    }

    /// Whether it was opened since this was asked last.
    fn any(&mut self) -> bool {
        self.0.read(&mut [0; 4096]).is_ok_and(|read| read > 0)
    }
}

/// What is done, and nothing else, has the log opened again: a log that is in its place is not opened otherwise.
fn opens_the_log_again(what: impl Fn(&Switch)) {
    let switch = Switch::loaded("");
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    wait_until("the line", || switch.log_text().lines().count() == 2);
    let mut opens = Opens::of(&switch.log_file());
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    wait_until("the count of the line", || switch.api("fail2ban status json").contains("\"written\":2"));
    assert!(!opens.any());
    what(&switch);
    wait_until("the log to be opened", || opens.any());
    // And it is written on where it was.
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    wait_until("the line after", || switch.log_text().lines().count() == 4);
}

fn a_hangup_opens_the_log_again() {
    opens_the_log_again(Switch::hang_up);
}

fn the_command_reopen_opens_the_log_again() {
    opens_the_log_again(|switch| {
        let answer = switch.api("fail2ban reopen");
        assert!(answer.starts_with("+OK"), "{answer}");
    });
}

fn rotation_under_load_loses_tears_and_doubles_nothing() {
    let switch = Switch::loaded("");
    switch.begin_storm(4, &Event::register_failure("u{n}", "192.0.2.7"));
    for number in 0..50 {
        let old = switch.path(&format!("log/old.{number}"));
        fs::rename(switch.log_file(), old).unwrap();
        wait_until("the next file", || fs::metadata(switch.log_file()).is_ok_and(|log| log.len() > 0));
    }
    let calls = switch.end_storm()["calls"].as_u64().unwrap() as usize;
    switch.unload().unwrap();
    let mut all = users(&switch.log_file());
    for number in 0..50 {
        all.extend(users(&switch.path(&format!("log/old.{number}"))));
    }
    assert_eq!(all.len(), calls);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), calls, "a line is there twice");
}
