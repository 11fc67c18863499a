//! A configuration that can't be used leaves FreeSWITCH up, and FreeSWITCH's log says why, once.

use super::common::{configuration, module_path, wait_until};
use super::network::Family::V4;
use super::site::Site;

/// Loads with this `fail2ban.conf.xml`; the error has to tell all of `told`.
fn refused(fail2ban_conf: Option<&str>, told: &[&str]) {
    let Some(site) = Site::without_module(&module_path(), fail2ban_conf) else { return };
    let answer = site.cli("load mod_fail2ban");
    assert!(answer.contains("-ERR"), "{answer}");
    let errors = || -> Vec<String> {
        let log = site.host_log();
        log.lines().filter(|line| line.contains("mod_fail2ban is not loaded")).map(str::to_owned).collect()
    };
    wait_until("the error", || !errors().is_empty());
    let errors = errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("[ERR]"), "{}", errors[0]);
    for told in told {
        assert!(errors[0].contains(told), "{} lacks {told}", errors[0]);
    }
    println!("{}", errors[0]);
    site.assert_up();
    assert_eq!(site.cli("module_exists mod_fail2ban"), "false");
    assert_eq!(site.count_threads("fail2ban"), 0);

    // And once it is right, it loads.
    site.write_config(&configuration(""));
    let answer = site.cli("load mod_fail2ban");
    assert!(!answer.contains("-ERR"), "{answer}");
    assert_eq!(site.caller(V4).fail(b"1000"), Some(403));
    site.wait_for_lines(2);
}

#[test]
fn no_file() {
    refused(None, &["fail2ban.conf", "<bindings>"]);
}

#[test]
fn no_bindings() {
    refused(Some("<configuration name=\"fail2ban.conf\"></configuration>"), &["<bindings>"]);
}

#[test]
fn an_empty_logfile() {
    refused(Some(&configuration("<param name=\"logfile\" value=\"\"/>")), &["logfile", "path"]);
}

#[test]
fn an_unknown_format() {
    let conf = configuration("<param name=\"format\" value=\"xml\"/>");
    refused(Some(&conf), &["format", "xml", "classic, dated or json"]);
}

#[test]
fn a_logfile_in_a_folder_that_does_not_exist() {
    let conf = configuration("<param name=\"logfile\" value=\"$${log_dir}/missing/fail2ban.log\"/>");
    refused(Some(&conf), &["logfile", "/missing/fail2ban.log", "No such file or directory"]);
}

#[test]
fn a_logfile_that_is_a_folder() {
    let conf = configuration("<param name=\"logfile\" value=\"$${log_dir}\"/>");
    refused(Some(&conf), &["logfile", "directory"]);
}

#[test]
fn an_unknown_parameter_is_a_warning_that_names_it() {
    let conf = configuration("<param name=\"log-file\" value=\"x\"/>");
    let Some(site) = Site::without_module(&module_path(), Some(&conf)) else { return };
    let answer = site.cli("load mod_fail2ban");
    assert!(answer.contains("+OK"), "{answer}");
    let warnings = || -> Vec<String> {
        let log = site.host_log();
        log.lines().filter(|line| line.contains("\"log-file\"")).map(str::to_owned).collect()
    };
    wait_until("the warning", || !warnings().is_empty());
    assert_eq!(warnings().len(), 1, "{:#?}", warnings());
    assert!(warnings()[0].contains("[WARNING]"), "{:#?}", warnings());
}

/// FreeSWITCH keeps the whole of the configuration that it could read last.
#[test]
fn broken_xml_at_run_time_leaves_the_switch_and_the_settings_as_they_are() {
    let Some(site) = Site::start("") else { return };
    site.write_config("<configuration name=\"fail2ban.conf\"><bindings><config>");
    site.cli("reloadxml");
    site.cli("fail2ban reload");
    site.assert_up();
    assert_eq!(site.caller(V4).fail(b"1000"), Some(403));
    assert!(site.wait_for_lines(2)[1].starts_with("A registration failed user[1000] ip["));
    let answer = site.cli("reload mod_fail2ban");
    println!("reload mod_fail2ban with broken XML: {answer}");
    site.assert_up();
    site.write_config(&configuration(""));
    site.cli("reload mod_fail2ban");
    assert_eq!(site.cli("module_exists mod_fail2ban"), "true");
}
