//! Ten failing registrations before and ten after: twenty failures in the files, none twice.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::site::Site;
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::wait_until;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network],
        tests![
            a_renamed_log_is_followed_by_a_new_one,
            a_renamed_log_is_followed_by_a_new_one_after_sighup,
            a_deleted_log_is_followed_by_a_new_one,
            a_truncated_log_begins_anew
        ],
    );
}

const OLD: &str = "log/fail2ban.log.1";

/// The users that failed, in a file.
fn users(path: PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let failed = text.lines().filter_map(|line| line.strip_prefix("A registration failed user["));
    failed.map(|rest| rest.split_once(']').expect("a whole line").0.to_owned()).collect()
}

fn ten_failures(site: &Site, first: usize) {
    let mut caller = site.caller(V4);
    for number in first..first + 10 {
        assert_eq!(caller.fail(format!("u{number}").as_bytes()), Some(403));
    }
}

fn expected(first: usize) -> Vec<String> {
    (first..first + 10).map(|number| format!("u{number}")).collect()
}

/// The first ten are in the old file if it is kept, the others in the log.
fn rotated(kept: bool, rotate: impl Fn(&Site)) {
    let site = Site::start("");
    ten_failures(&site, 0);
    wait_until("the lines before", || users(site.log_file()).len() == 10);
    rotate(&site);
    ten_failures(&site, 10);
    wait_until("the lines after", || users(site.log_file()).len() >= 10);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(users(site.log_file()), expected(10));
    assert_eq!(users(site.path(OLD)), if kept { expected(0) } else { vec![] });
}

fn rename(site: &Site) {
    fs::rename(site.log_file(), site.path(OLD)).expect("there is a log");
}

fn a_renamed_log_is_followed_by_a_new_one() {
    rotated(true, rename);
}

fn a_renamed_log_is_followed_by_a_new_one_after_sighup() {
    rotated(true, |site| {
        rename(site);
        site.hang_up();
        wait_until("the new log", || site.log_file().exists());
    });
}

fn a_deleted_log_is_followed_by_a_new_one() {
    rotated(false, |site| fs::remove_file(site.log_file()).expect("there is a log"));
}

fn a_truncated_log_begins_anew() {
    rotated(true, |site| {
        fs::copy(site.log_file(), site.path(OLD)).expect("there is a log");
        OpenOptions::new().write(true).truncate(true).open(site.log_file()).expect("there is a log");
    });
}
