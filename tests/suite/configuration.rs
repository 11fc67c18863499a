//! No configuration takes the switch down: what can't be used is refused with one line that says why, and a
//! good one then loads.

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            the_c_modules_own_file_loads_unchanged,
            no_parameters_are_the_c_modules_parameters,
            a_missing_file_is_refused,
            missing_bindings_are_refused,
            an_unknown_parameter_is_one_warning_that_names_it,
            an_empty_logfile_is_refused,
            an_unknown_format_is_refused,
            an_unknown_event_is_refused,
            a_size_that_is_none_is_refused,
            a_time_that_is_none_is_refused,
            an_acl_that_can_not_be_one_is_refused,
            a_logfile_that_can_not_be_opened_is_refused,
            broken_xml_at_run_time_leaves_the_switch_and_the_settings_as_they_are,
            a_bad_configuration_at_a_reload_leaves_the_old_settings_in_force,
            an_unknown_parameter_that_a_reload_brings_is_one_warning_though_nothing_else_changes,
            the_shipped_settings_are_for_new_installations_and_load_without_a_word
        ],
    );
    suite.add(&[needs::stand_in], tests![a_file_that_is_not_xml_is_refused]);
}

/// Loads with a configuration that has to be refused; gives the one error that says so.
fn refused(switch: &Switch, parts: &[&str]) -> String {
    let before = switch.host_lines("ERR").len();
    switch.load().expect_err("the load is refused");
    let errors = switch.host_lines("ERR").split_off(before);
    let [error] = errors.as_slice() else { panic!("not one error: {errors:#?}") };
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    assert!(switch.is_up());
    if !switch.is_real() {
        let leaks = switch.leaks();
        assert!(leaks.as_object().expect("an object").values().all(|count| count == 0), "{leaks}");
    }
    error.clone()
}

/// The same switch works once its configuration does.
fn then_loads(switch: &Switch, text: &str) {
    switch.write_config(text);
    switch.load().expect("a good configuration loads");
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    wait_until("the line", || {
        switch.log_text().contains("A registration failed user[1000] ip[192.0.2.1] at[")
    });
}

/// Each of these `<param …/>`s is refused with an error that says these parts; then a good one loads.
fn params_are_refused(cases: &[(&str, &[&str])]) {
    let switch = Switch::start("");
    for (params, parts) in cases {
        switch.write_config(&configuration(params));
        let error = refused(&switch, parts);
        assert!(error.contains("fail2ban.conf"), "{error:?} does not say where");
    }
    then_loads(&switch, &configuration(""));
}

fn the_c_modules_own_file_loads_unchanged() {
    let text = r#"<configuration name="fail2ban.conf" description="fail2ban log configs">
  <bindings>
    <config name="settings">
      <param name="logfile" value="$${log_dir}/fail2ban.log"/>
    </config>
  </bindings>
</configuration>"#;
    let switch = Switch::start_with(Some(text), "");
    then_loads(&switch, text);
    for level in ["WARNING", "ERR", "CRIT"] {
        let lines = switch.host_lines(level);
        assert!(!lines.iter().any(|line| line.contains("fail2ban")), "{lines:#?}");
    }
}

fn no_parameters_are_the_c_modules_parameters() {
    then_loads(&Switch::start(""), &configuration(""));
    let nothing = "<configuration name=\"fail2ban.conf\"><bindings/></configuration>";
    then_loads(&Switch::start_with(Some(nothing), ""), nothing);
}

fn a_missing_file_is_refused() {
    let switch = Switch::start_with(None, "");
    refused(&switch, &["fail2ban.conf"]);
    then_loads(&switch, &configuration(""));
}

/// FreeSWITCH itself does not start with such a file.
fn a_file_that_is_not_xml_is_refused() {
    for text in ["", "no XML at all", "<configuration name=\"fail2ban.conf\"><bindings>", "<a></b>"] {
        let switch = Switch::start_with(Some(text), "");
        refused(&switch, &["fail2ban.conf"]);
        then_loads(&switch, &configuration(""));
    }
}

fn missing_bindings_are_refused() {
    for inside in ["", "<settings><param name=\"logfile\" value=\"/tmp/x\"/></settings>"] {
        let text = format!("<configuration name=\"fail2ban.conf\">{inside}</configuration>");
        let switch = Switch::start_with(Some(&text), "");
        refused(&switch, &["fail2ban.conf", "<bindings>"]);
        then_loads(&switch, &configuration(""));
    }
}

fn an_unknown_parameter_is_one_warning_that_names_it() {
    let switch = Switch::start(r#"<param name="log-file" value="/tmp/x"/>"#);
    switch.load().expect("it is passed over");
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    switch.wait_for_lines(1);
    // Counted when all is over: `load` reloads the XML as well, and the event of that may come late.
    switch.unload().expect("the module unloads");
    let warnings = switch.host_lines("WARNING");
    assert_eq!(warnings.iter().filter(|line| line.contains("log-file")).count(), 1, "{warnings:#?}");
    let errors = switch.host_lines("ERR");
    assert!(!errors.iter().any(|line| line.contains("fail2ban")), "{errors:#?}");
}

fn an_unknown_parameter_that_a_reload_brings_is_one_warning_though_nothing_else_changes() {
    let switch = Switch::loaded("");
    let misspelt = r#"<param name="log-file" value="/tmp/x"/>"#;
    // Again after it was mended.
    for (params, warnings) in [(misspelt, 1), (misspelt, 1), ("", 1), (misspelt, 2)] {
        switch.write_config(&configuration(params));
        assert!(switch.api("fail2ban reload").starts_with("+OK"));
        let told = switch.host_lines("WARNING");
        assert_eq!(told.iter().filter(|line| line.contains("log-file")).count(), warnings, "{told:#?}");
    }
}

fn an_empty_logfile_is_refused() {
    params_are_refused(&[
        (r#"<param name="logfile" value=""/>"#, &["logfile", "path"]),
        (r#"<param name="logfile"/>"#, &["logfile", "path"]),
    ]);
}

fn an_unknown_format_is_refused() {
    params_are_refused(&[
        (r#"<param name="format" value="xml"/>"#, &["format", "xml", "classic", "dated", "json"]),
        (r#"<param name="format" value="Classic"/>"#, &["format", "Classic", "classic", "dated", "json"]),
        (r#"<param name="format" value=""/>"#, &["format", "classic", "dated", "json"]),
    ]);
}

fn an_unknown_event_is_refused() {
    let accepted = [
        "events",
        "register_attempt",
        "register_failure",
        "wrong_call_state",
        "challenge",
        "challenge_unanswered",
        "verto_login_failure",
        "acl_reject",
    ];
    params_are_refused(&[
        (r#"<param name="events" value="register_failure,sofia::register_attempt"/>"#, &accepted),
        (r#"<param name="events" value="register_failure,,"/>"#, &accepted),
        (r#"<param name="events" value=""/>"#, &accepted),
    ]);
}

fn a_size_that_is_none_is_refused() {
    params_are_refused(&[
        (r#"<param name="buffer-size" value=""/>"#, &["buffer-size", "8m"]),
        (r#"<param name="buffer-size" value="0"/>"#, &["buffer-size", "0", "8m"]),
        (r#"<param name="buffer-size" value="8g"/>"#, &["buffer-size", "8g", "8m"]),
        (r#"<param name="buffer-size" value="-1"/>"#, &["buffer-size", "-1", "8m"]),
        (r#"<param name="buffer-size" value="eight"/>"#, &["buffer-size", "eight", "8m"]),
        (r#"<param name="buffer-size" value="1.5m"/>"#, &["buffer-size", "1.5m", "8m"]),
        (
            r#"<param name="buffer-size" value="99999999999999999999"/>"#,
            &["buffer-size", "99999999999999999999"],
        ),
    ]);
}

fn a_time_that_is_none_is_refused() {
    params_are_refused(&[
        (r#"<param name="challenge-timeout" value=""/>"#, &["challenge-timeout", "seconds"]),
        (r#"<param name="challenge-timeout" value="0"/>"#, &["challenge-timeout", "0", "seconds"]),
        (r#"<param name="challenge-timeout" value="-1"/>"#, &["challenge-timeout", "-1", "seconds"]),
        (r#"<param name="challenge-timeout" value="soon"/>"#, &["challenge-timeout", "soon", "seconds"]),
        (r#"<param name="challenge-timeout" value="1.5"/>"#, &["challenge-timeout", "1.5", "seconds"]),
    ]);
}

fn an_acl_that_can_not_be_one_is_refused() {
    params_are_refused(&[
        (r#"<param name="trusted-acl" value=""/>"#, &["trusted-acl", "ACL"]),
        (r#"<param name="trusted-acl" value="10.0.0.0/33"/>"#, &["trusted-acl", "10.0.0.0/33"]),
    ]);
}

fn a_logfile_that_can_not_be_opened_is_refused() {
    params_are_refused(&[
        (
            r#"<param name="logfile" value="$${log_dir}/missing/fail2ban.log"/>"#,
            &["logfile", "/missing/fail2ban.log", "No such file or directory"],
        ),
        // A directory.
        (r#"<param name="logfile" value="$${log_dir}"/>"#, &["logfile", "/log", "directory"]),
        // A place where not even root may write.
        (r#"<param name="logfile" value="/proc/fail2ban.log"/>"#, &["logfile", "/proc/fail2ban.log"]),
    ]);
}

fn broken_xml_at_run_time_leaves_the_switch_and_the_settings_as_they_are() {
    let switch = Switch::loaded("");
    switch.write_config("<configuration name=\"fail2ban.conf\"><bindings><config>");
    assert!(switch.api("fail2ban reload").starts_with("-ERR"));
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    assert!(switch.wait_for_lines(1)[0].starts_with("A registration failed user[1000] ip["));
    assert!(switch.is_up());
}

fn a_bad_configuration_at_a_reload_leaves_the_old_settings_in_force() {
    let switch = Switch::loaded("");
    let before = switch.host_lines("ERR").len();
    switch.write_config(&configuration(r#"<param name="format" value="xml"/>"#));
    wait_until("the error", || switch.host_lines("ERR").len() > before);
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    let lines = switch.wait_for_lines(1);
    assert!(lines[0].starts_with("A registration failed user[1000] ip[192.0.2.1] at["), "{}", lines[0]);
    // The console gets it each time; the log has it once, however often the file is read.
    for _ in 0..3 {
        let answer = switch.api("fail2ban reload");
        assert!(answer.starts_with("-ERR") && answer.contains("classic, dated or json"), "{answer}");
        switch.api("reloadxml");
    }
    // Another mistake, and after it was corrected the first one again.
    switch.write_config(&configuration(r#"<param name="format" value="yaml"/>"#));
    wait_until("the second error", || switch.host_lines("ERR").len() >= before + 2);
    switch.write_config(&configuration(""));
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    switch.write_config(&configuration(r#"<param name="format" value="xml"/>"#));
    wait_until("the third error", || switch.host_lines("ERR").len() >= before + 3);
    switch.unload().unwrap();
    let errors = switch.host_lines("ERR").split_off(before);
    assert_eq!(errors.len(), 3, "once for each: {errors:#?}");
    let begins = "mod_fail2ban: reload rejected, previous settings stay active: fail2ban.conf: format=";
    let names = |error: &String| error.contains(begins) && error.contains("classic, dated or json");
    assert!(errors.iter().all(names), "{errors:#?}");
}

fn the_shipped_settings_are_for_new_installations_and_load_without_a_word() {
    let text = include_str!("../../conf/autoload_configs/fail2ban.conf.xml");
    let switch = Switch::start_with(Some(text), "");
    switch.load().unwrap();
    let settings = |switch: &Switch| {
        let status: serde_json::Value = serde_json::from_str(&switch.api("fail2ban status json")).unwrap();
        status["settings"].clone()
    };
    let shipped = settings(&switch);
    let mut expected = settings(&Switch::loaded(""));
    expected["logfile"] = shipped["logfile"].clone();
    expected["attacker-after"] = 10.into();
    expected["format"] = "dated".into();
    expected["known-for"] = 86_400.into();
    // What they are is held against the table by `documents`; status gives them in its order.
    let (_, events) = text.split_once("name=\"events\" value=\"").expect("the events");
    let (events, _) = events.split_once('"').expect("their end");
    expected["events"] = events.split(',').collect();
    expected["refuse-attackers"] = true.into();
    assert_eq!(shipped, expected);
    assert!(switch.host_lines("WARNING").iter().all(|line| !line.contains("fail2ban")));
    assert!(switch.host_lines("ERR").iter().all(|line| !line.contains("fail2ban")));
    assert!(switch.log_file().exists());
}
