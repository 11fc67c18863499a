//! Loading and unloading, before sofia and after it, however often.

use std::path::Path;

use super::site::Site;
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{self, configuration};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network],
        tests![
            it_loads_before_sofia_and_both_can_be_unloaded_and_loaded_in_any_order,
            verto_can_be_reloaded_while_its_logins_are_listened_to,
            loading_and_unloading_grows_neither_threads_nor_descriptors,
            loading_and_unloading_takes_no_more_memory_than_a_module_that_does_nothing,
            the_code_is_gone_after_an_unload_and_a_newer_build_is_what_runs_next,
        ],
    );
    let needs = [needs::free_switch, needs::network, needs::c_module];
    suite.add(&needs, tests![the_c_module_and_this_one_can_take_each_others_place,]);
}

/// A failed registration gives its line, and no other comes.
fn assert_it_listens(site: &Site, user: &str) {
    let lines = || site.log_text().matches(&format!("A registration failed user[{user}]")).count();
    assert_eq!(site.caller(V4).fail(user.as_bytes()), Some(403));
    support::wait_until(&format!("the line of {user}"), || lines() > 0);
    assert_eq!(lines(), 1, "{}", site.log_text());
}

fn assert_ok(answer: &str) {
    assert!(answer.contains("+OK") && !answer.contains("-ERR"), "{answer}");
}

fn it_loads_before_sofia_and_both_can_be_unloaded_and_loaded_in_any_order() {
    let site = Site::start("");
    let log = site.host_log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text} is not in the log"));
    assert!(at("Successfully Loaded [mod_fail2ban]") < at("Successfully Loaded [mod_sofia]"));
    assert_it_listens(&site, "first");

    assert_ok(&site.cli("unload mod_fail2ban"));
    assert_eq!(site.cli("module_exists mod_fail2ban"), "false");
    let mut events = site.events("sofia::register_failure");
    assert_eq!(site.caller(V4).fail(b"nobody-listens"), Some(403));
    events.wait_for("nobody-listens");
    assert_ok(&site.cli("load mod_fail2ban"));
    assert_it_listens(&site, "after-load");
    assert_ok(&site.cli("reload mod_fail2ban"));
    assert_it_listens(&site, "after-reload");

    // To listen to a subclass reserves it, and sofia refuses to load where it can't reserve its own.
    for number in 0..3 {
        assert_ok(&site.cli("reload mod_sofia"));
        site.wait_until_sofia_runs();
        assert_it_listens(&site, &format!("after-sofia-{number}"));
    }
    assert_ok(&site.cli("unload mod_sofia"));
    assert_ok(&site.cli("reload mod_fail2ban"));
    assert_ok(&site.cli("load mod_sofia"));
    site.wait_until_sofia_runs();
    assert_it_listens(&site, "after-both");

    assert_ok(&site.cli("unload mod_fail2ban"));
    assert_ok(&site.cli("reload mod_sofia"));
    site.wait_until_sofia_runs();
    assert_ok(&site.cli("load mod_fail2ban"));
    assert_it_listens(&site, "after-sofia-alone");
    assert!(!site.log_text().contains("nobody-listens"));
    let log = site.host_log();
    assert!(!log.contains("Couldn't register subclass"), "sofia could not load");
}

fn verto_can_be_reloaded_while_its_logins_are_listened_to() {
    let site = Site::start("<param name=\"events\" value=\"verto_login_failure\"/>");
    for _ in 0..2 {
        assert_ok(&site.cli("reload mod_verto"));
    }
    assert!(!site.host_log().contains("Couldn't register subclass"), "Verto could not load");
}

/// Loads and unloads often; how threads, descriptors and memory (KiB) have grown since the tenth.
fn growth(site: &Site, cycles: usize) -> [isize; 3] {
    let figures = || site.figures().map(usize::cast_signed);
    let mut before = figures();
    for number in 0..cycles {
        if number == 10 {
            // By now FreeSWITCH has all that it makes once.
            before = figures();
        }
        assert_ok(&site.cli("load mod_fail2ban"));
        assert_ok(&site.cli("unload mod_fail2ban"));
    }
    let after = figures();
    std::array::from_fn(|at| after[at] - before[at])
}

/// As often as `CYCLES` says.
fn loading_and_unloading_grows_neither_threads_nor_descriptors() {
    let cycles = std::env::var("CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let site = Site::without_module(&support::module_path(), Some(&configuration("")));
    let [threads, descriptors, _] = growth(&site, cycles);
    assert_ok(&site.cli("load mod_fail2ban"));
    assert_it_listens(&site, "still");
    assert!(threads <= 0 && descriptors <= 0, "{threads} threads and {descriptors} descriptors more");
}

fn loading_and_unloading_takes_no_more_memory_than_a_module_that_does_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = support::c_module("empty.c", folder.path(), "nothing");
    let of = |module: &Path| growth(&Site::without_module(module, Some(&configuration(""))), 400)[2];
    let (memory, least) = (of(&support::module_path()), of(&nothing));
    // What FreeSWITCH leaves behind comes in lumps, some runs have half as many again; and the first cycles of ours
    // make some pages resident once. 400 cycles that leave 13 KiB each would be seen.
    assert!(memory <= least + least / 2 + 2048, "{memory} KiB more, a module that does nothing {least}");
}

/// What an operator may do before he unloads, on FreeSWITCH's own threads.
fn use_everything(site: &Site, user: &str) {
    assert_it_listens(site, user);
    assert_ok(&site.cli("fail2ban reload"));
    assert_ok(&site.cli("reloadxml"));
    assert_ok(&site.cli("fail2ban test"));
    site.status();
    site.hang_up();
    let mut caller = site.caller(V4);
    for _ in 0..20 {
        assert_eq!(caller.fail(b"many"), Some(403));
    }
}

fn assert_gone(site: &Site) {
    assert_eq!(site.cli("module_exists mod_fail2ban"), "false");
    let mapped = support::process::has_mapped(site.pid(), "mod_fail2ban");
    assert!(!mapped, "the library is still in the memory of FreeSWITCH");
    let threads = support::process::threads(site.pid());
    assert!(!threads.iter().any(|name| name.contains("fail2ban")), "{threads:?}");
}

fn the_code_is_gone_after_an_unload_and_a_newer_build_is_what_runs_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let newer = support::newer_build(folder.path());
    let place = folder.path().join("mod_fail2ban.so");
    support::install(&support::module_path(), &place);
    let site = Site::without_module(&place, Some(&configuration("")));
    let builds = [(support::module_path(), "Fail2ban was started at["), (newer, support::NEWER_START)];
    for turn in 0..3 {
        for (number, (build, begins)) in builds.iter().enumerate() {
            support::install(build, &place);
            let starts = site.log_text().matches(begins).count();
            assert_ok(&site.cli("load mod_fail2ban"));
            use_everything(&site, &format!("user-{turn}-{number}"));
            assert_ok(&site.cli("unload mod_fail2ban"));
            assert_gone(&site);
            assert_eq!(site.log_text().matches(begins).count(), starts + 1, "{}", site.log_text());
        }
    }
}

fn the_c_module_and_this_one_can_take_each_others_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("mod_fail2ban.so");
    support::install(&needs::c_module_path(), &place);
    let site = Site::without_module(&place, Some(&configuration("")));
    assert_ok(&site.cli("load mod_fail2ban"));
    for turn in 0..3 {
        assert!(site.cli("fail2ban status").contains("Command not found"), "the C module has no command");
        assert_it_listens(&site, &format!("c-{turn}"));
        support::install(&support::module_path(), &place);
        assert_ok(&site.cli("reload mod_fail2ban"));
        assert!(site.cli("fail2ban status").contains("version"));
        use_everything(&site, &format!("this-{turn}"));
        support::install(&needs::c_module_path(), &place);
        assert_ok(&site.cli("reload mod_fail2ban"));
    }
    assert_ok(&site.cli("unload mod_fail2ban"));
    assert_gone(&site);
}
