//! Loading and unloading, before sofia and after it, however often.

use std::path::{Path, PathBuf};

use super::common::{self, configuration};
use super::network::Family::V4;
use super::site::Site;

/// A failed registration gives its line, and no other comes.
fn assert_it_listens(site: &Site, user: &str) {
    let lines = || site.log_text().matches(&format!("A registration failed user[{user}]")).count();
    assert_eq!(site.caller(V4).fail(user.as_bytes()), Some(403));
    common::wait_until(&format!("the line of {user}"), || lines() > 0);
    assert_eq!(lines(), 1, "{}", site.log_text());
}

fn assert_ok(answer: &str) {
    assert!(answer.contains("+OK") && !answer.contains("-ERR"), "{answer}");
}

#[test]
fn it_loads_before_sofia_and_both_can_be_unloaded_and_loaded_in_any_order() {
    let Some(site) = Site::start("") else { return };
    let log = site.host_log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text} is not in the log"));
    assert!(at("Successfully Loaded [mod_fail2ban]") < at("Successfully Loaded [mod_sofia]"));
    assert_it_listens(&site, "first");

    assert_ok(&site.cli("unload mod_fail2ban"));
    assert_eq!(site.cli("module_exists mod_fail2ban"), "false");
    assert_eq!(site.caller(V4).fail(b"nobody-listens"), Some(403));
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

#[test]
fn verto_can_be_reloaded_while_its_logins_are_listened_to() {
    let Some(site) = Site::start("<param name=\"events\" value=\"verto_login_failure\"/>") else { return };
    for _ in 0..2 {
        assert_ok(&site.cli("reload mod_verto"));
    }
    assert!(!site.host_log().contains("Couldn't register subclass"), "Verto could not load");
}

/// Loads and unloads `cycles` times; how threads, descriptors and memory (KiB) have grown since the tenth.
fn growth(module: &Path, cycles: usize) -> Option<[isize; 3]> {
    let site = Site::without_module(module, Some(&configuration("")))?;
    let figures = || [site.count("task"), site.count("fd"), site.memory()].map(usize::cast_signed);
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
    assert_ok(&site.cli("load mod_fail2ban"));
    assert_it_listens(&site, "still");
    Some(std::array::from_fn(|at| after[at] - before[at]))
}

/// As often as `CYCLES` says.
#[test]
fn loading_and_unloading_grows_neither_threads_nor_descriptors_and_no_more_memory_than_the_c_module() {
    let cycles = std::env::var("CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let Some([threads, descriptors, memory]) = growth(&common::module_path(), cycles) else { return };
    println!("{cycles} cycles: {threads} threads, {descriptors} descriptors, {memory} KiB more");
    assert!(threads <= 0 && descriptors <= 0, "{threads} threads and {descriptors} descriptors more");
    let Some(c_module) = std::env::var_os("C_MODULE_SO").map(PathBuf::from) else { return };
    let Some([c_threads, c_descriptors, c_memory]) = growth(&c_module, cycles) else { return };
    println!("the C module: {c_threads} threads, {c_descriptors} descriptors, {c_memory} KiB more");
    // Memory is counted in pages, and FreeSWITCH's own threads take some meanwhile.
    assert!(memory <= c_memory + 1024, "{memory} KiB more, the C module {c_memory}");
}
