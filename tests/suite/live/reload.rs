//! Settings that change while registrations fail.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::site::Site;
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network],
        tests![
            a_hundred_changes_of_settings_under_attack_lose_and_double_nothing,
            fail2ban_reload_applies_a_changed_file_by_itself,
            a_bad_file_changes_nothing_and_fail2ban_reload_says_why
        ],
    );
}

const CHANGES: usize = 100;

/// The user of a failure's line, in whatever format.
fn failed(line: &str) -> Option<&str> {
    let user = |rest: &'static str, end| line.rsplit_once(rest)?.1.split_once(end).map(|(user, _)| user);
    if line.starts_with("A registration failed") {
        user(" user[", ']')
    } else if line.contains(" register_failure ip=") {
        user(" user=\"", '"')
    } else if line.contains("\"event\":\"register_failure\"") {
        user("\"user\":\"", '"')
    } else {
        None
    }
}

fn a_hundred_changes_of_settings_under_attack_lose_and_double_nothing() {
    let site = Site::start("");
    let over = AtomicBool::new(false);
    let attacks = thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let mut caller = site.caller(V4);
            let mut attacks = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(caller.fail(format!("u{attacks}").as_bytes()), Some(403));
                attacks += 1;
            }
            attacks
        });
        for change in 0..CHANGES {
            let format = ["dated", "json", "classic"][change % 3];
            let log = site.path(&format!("log/fail2ban.{}.log", change % 4));
            let params = format!(
                "<param name=\"format\" value=\"{format}\"/><param name=\"logfile\" value=\"{}\"/>",
                log.display()
            );
            site.write_config(&configuration(&params));
            let command = if change % 2 == 0 { "reloadxml" } else { "fail2ban reload" };
            let answer = site.cli(command);
            assert!(answer.starts_with("+OK"), "{answer}");
            wait_until(command, || site.status()["settings"]["logfile"] == log.display().to_string());
        }
        over.store(true, Ordering::Relaxed);
        attack.join().expect("the attack went on to the end")
    });
    // Sofia answers before the event of it is delivered.
    wait_until("the last line", || users(&site).values().sum::<usize>() >= attacks);
    site.cli("unload mod_fail2ban");
    let lines = users(&site);
    assert!(attacks > CHANGES / 10, "only {attacks} registrations failed meanwhile");
    assert_eq!(lines.len(), attacks, "some are lost");
    assert!(lines.values().all(|count| *count == 1), "some are doubled");
}

/// How many lines each user has in all of the logs.
fn users(site: &Site) -> BTreeMap<String, usize> {
    let mut users = BTreeMap::new();
    for entry in fs::read_dir(site.path("log")).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("fail2ban") {
            for user in fs::read_to_string(entry.path()).expect("a log").lines().filter_map(failed) {
                *users.entry(user.to_owned()).or_insert(0) += 1;
            }
        }
    }
    users
}

/// The file is on disk, FreeSWITCH has not been told to read it.
fn fail2ban_reload_applies_a_changed_file_by_itself() {
    let site = Site::start("");
    site.write_config(&configuration("<param name=\"format\" value=\"dated\"/>"));
    let answer = site.cli("fail2ban reload");
    assert!(answer.starts_with("+OK"), "{answer}");
    assert_eq!(site.status()["settings"]["format"], "dated");
}

fn a_bad_file_changes_nothing_and_fail2ban_reload_says_why() {
    let site = Site::start("");
    site.write_config(&configuration("<param name=\"format\" value=\"yaml\"/>"));
    site.cli("reloadxml");
    let answer = site.cli("fail2ban reload");
    assert!(answer.starts_with("-ERR") && answer.contains("yaml") && answer.contains("dated"), "{answer}");
    assert_eq!(site.caller(V4).fail(b"1000"), Some(403));
    assert!(site.wait_for_lines(2)[1].starts_with("A registration failed user[1000] ip["));
}
