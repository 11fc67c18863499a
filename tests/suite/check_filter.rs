//! `scripts/check-filter`: tells a filter that can be misled from one that can't.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::fail2ban::{self, Fail2ban};
use crate::support::suite::{Suite, tests};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    for (release, get) in fail2ban::ALL {
        suite.add_with(
            &[],
            release,
            get,
            tests![
                the_shipped_filter_is_not_misled_in_any_mode,
                a_usual_filter_for_the_c_module_bans_a_stranger_and_takes_a_users_name_for_a_date,
                a_filter_for_freeswitchs_own_log_takes_an_address_from_a_name,
                fail2bans_own_filter_is_not_misled_and_counts_good_phones,
                a_filter_that_reads_nothing_is_not_called_safe,
                a_file_that_is_no_filter_is_named,
            ],
        );
    }
}

/// What it said, and the code that it ended with.
fn check(fail2ban: &Fail2ban, options: &[&str], file: &Path) -> (String, Option<i32>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-filter");
    let root = fail2ban.program("fail2ban-client").ancestors().nth(3).unwrap().to_owned();
    let output = fail2ban
        .python(&[], &script)
        .args(options)
        .arg("--fail2ban")
        .arg(root)
        .arg(file)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (text.concat(), output.status.code())
}

fn check_regex(fail2ban: &Fail2ban, failregex: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.conf");
    fs::write(&file, format!("[Definition]\nfailregex = {failregex}\n")).unwrap();
    check(fail2ban, &[], &file)
}

fn shipped() -> PathBuf {
    fail2ban::kit().join("filter.d/freeswitch-fail2ban.conf")
}

fn the_shipped_filter_is_not_misled_in_any_mode(fail2ban: &Fail2ban) {
    for (mode, reads) in [
        ("attackers", &["format classic", "format dated", "format json"][..]),
        ("proven", &["format dated", "format json"]),
        ("failures", &["the C module's lines", "format classic", "format dated", "format json"]),
        // Release 1.1.0's.
        ("normal", &["format dated"]),
        ("aggressive", &["format dated"]),
        ("known", &["format dated"]),
        ("reported", &["format dated"]),
    ] {
        let (said, code) = check(fail2ban, &["--mode", mode], &shipped());
        assert_eq!(code, Some(0), "{mode}: {said}");
        assert!(reads.iter().all(|source| said.contains(source)), "{mode}: {said}");
        assert!(said.contains("It was not misled") && !said.contains("risk:"), "{mode}: {said}");
    }
    let (said, code) = check(fail2ban, &["--mode", "agressive"], &shipped());
    assert!(code == Some(2) && said.contains("in mode agressive"), "{said}");
}

fn a_usual_filter_for_the_c_module_bans_a_stranger_and_takes_a_users_name_for_a_date(fail2ban: &Fail2ban) {
    let (said, code) = check_regex(fail2ban, r"^A registration failed user\[.*?\] ip\[<HOST>\]");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("MISLED: finds 203.0.113.9"), "{said}");
    assert!(said.contains("user[x] ip[203.0.113.9] at[] ip[192.0.2.1]"), "{said}");
    assert!(said.contains("MISLED: finds a time") && said.contains("user[20200101T000000]"), "{said}");
}

fn a_filter_for_freeswitchs_own_log_takes_an_address_from_a_name(fail2ban: &Fail2ban) {
    let unanchored = r"\[WARNING\] sofia_reg\.c:\d+ SIP auth failure \(REGISTER\) on sofia profile '\w+' for \[.*\] from ip <HOST>";
    let (said, code) = check_regex(fail2ban, unanchored);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("Can't find user [[WARNING]") && said.contains("MISLED: finds 203.0.113.9"),
        "{said}"
    );

    let (said, code) = check_regex(fail2ban, r"\[WARNING\] .* sofia/\w+/.*@<HOST> Abandoned");
    assert!(code == Some(1) && said.contains("sofia/internal/1009@203.0.113.9 Abandoned"), "{said}");
}

fn fail2bans_own_filter_is_not_misled_and_counts_good_phones(fail2ban: &Fail2ban) {
    let stock = fail2ban.program("fail2ban-client").ancestors().nth(3).unwrap().to_owned();
    let stock = stock.join("etc/fail2ban/filter.d/freeswitch.conf");
    let (said, code) = check(fail2ban, &[], &stock);
    assert!(code == Some(0) && said.contains("risk: counts what good phones do"), "{said}");
    let (said, code) = check(fail2ban, &["--mode", "normal"], &stock);
    assert!(code == Some(0) && !said.contains("risk:"), "{said}");
    // A filter for nothing else.
    let challenges = r"^ \[WARNING\] sofia_reg.c:\d+ SIP auth challenge \(REGISTER\) on sofia profile '\w+' for \[[^\]]*\] from ip <ADDR>$";
    let (said, code) = check_regex(fail2ban, challenges);
    assert!(code == Some(0) && said.contains("risk: counts what good phones do"), "{said}");
}

fn a_filter_that_reads_nothing_is_not_called_safe(fail2ban: &Fail2ban) {
    // As FusionPBX has shipped it: between its quotes it takes nothing but dots.
    let blind = r"\[WARNING\] sofia_reg.c:\d+ SIP auth failure \(REGISTER\) on sofia profile \'\.*\' for \[.*\] from ip <HOST>";
    let (said, code) = check_regex(fail2ban, blind);
    assert!(code == Some(2) && said.contains("reads none of the lines"), "{said}");
}

fn a_file_that_is_no_filter_is_named(fail2ban: &Fail2ban) {
    let (said, code) = check(fail2ban, &[], Path::new("/nonexistent/mine.conf"));
    assert!(code == Some(2) && said.contains("/nonexistent/mine.conf"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.conf");
    fs::write(&empty, "[Definition]\n").unwrap();
    let (said, code) = check(fail2ban, &[], &empty);
    assert!(code == Some(2) && said.contains("empty.conf"), "{said}");
}
