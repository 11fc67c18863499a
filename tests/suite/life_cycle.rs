//! Nothing outlives an unload, and nothing waits for a reload: loading, reloading and unloading, in every state
//! and after everything that may go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{
    Event, Running, Switch, configuration, install, look_up, module_path, newer_build, probe, process,
    wait_at_most, wait_until,
};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            the_code_is_gone_after_each_thing_an_operator_does,
            the_version_is_told_at_the_load_and_by_status,
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            the_code_is_gone_after_events_from_many_threads,
            the_code_is_gone_after_a_disk_that_was_full,
            the_code_is_gone_after_a_refused_load,
            the_code_is_gone_after_loads_and_unloads_and_reloads_at_once,
            a_file_in_the_modules_place_is_what_the_next_load_runs,
            a_load_that_fails_at_any_step_leaves_nothing,
            a_load_goes_on_without_the_database,
            while_settings_are_read_lines_are_written_and_status_says_so,
            the_console_gets_the_outcome_of_its_own_reload,
            every_request_in_every_state_does_what_the_table_of_states_says,
            an_unload_does_not_wait_for_settings_that_are_being_read,
            a_reload_on_a_thread_that_delivers_events_does_not_deadlock,
            an_unload_does_not_wait_for_somebody_elses_look_up,
            every_line_is_whole_by_the_old_or_the_new_settings,
            a_log_that_is_unlinked_does_not_run_away,
            a_clock_that_is_set_moves_lines_and_nothing_else,
        ],
    );
}

/// What an unload may take.
const UNLOAD: Duration = Duration::from_secs(6);

/// The host has four threads to begin with: so often, and each has had its turn.
const TURNS: usize = 6;

/// The log listener, the search function, the application, known addresses: all that can be bound is.
const EVERYTHING: &str = "<param name=\"events\" value=\"register_attempt,register_failure,wrong_call_state,\
                          challenge,challenge_unanswered,verto_login_failure,acl_reject,auth_unconfirmed,\
                          success_after_failures,reported\"/><param name=\"known-for\" value=\"1d\"/>";

fn failure() -> Event {
    Event::register_failure("u{n}", "192.0.2.7")
}

fn status(switch: &Switch) -> Value {
    let text = switch.api("fail2ban status json");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn assert_gone(switch: &Switch, after: &str) {
    let said =
        || [switch.host_lines("WARNING"), switch.host_lines("ERR"), switch.host_lines("CRIT")].concat();
    assert!(!switch.has_code_mapped(), "the code is still in the memory map after {after}: {:#?}", said());
    let threads = switch.resources().threads;
    assert!(!threads.iter().any(|name| name.contains("fail2ban")), "{after}: {threads:?}");
    if !switch.is_real() {
        let leaks = switch.leaks();
        assert!(leaks.as_object().unwrap().values().all(|count| *count == 0), "{after}: {leaks}");
    }
}

/// What an operator does, and its name.
type Deed = (&'static str, fn(&Switch));

fn the_code_is_gone_after_each_thing_an_operator_does() {
    let switch = Switch::start(EVERYTHING);
    let deeds: [Deed; 10] = [
        ("nothing", |_| {}),
        ("an event", |switch| switch.fire_event(&Event::register_failure("1000", "192.0.2.7"))),
        ("status", |switch| drop(status(switch))),
        ("a reload", |switch| assert!(switch.api("fail2ban reload").starts_with("+OK"))),
        ("a reload with other settings", |switch| {
            switch.write_config(&configuration("<param name=\"format\" value=\"json\"/>"));
            assert!(switch.api("fail2ban reload").starts_with("+OK"));
            switch.write_config(&configuration(EVERYTHING));
        }),
        ("reloadxml", |switch| drop(switch.api("reloadxml"))),
        ("a test", |switch| assert!(switch.api("fail2ban test").starts_with("+OK"))),
        ("reopen", |switch| assert!(switch.api("fail2ban reopen").starts_with("+OK"))),
        ("a hangup", Switch::hang_up),
        ("help and a mistake", |switch| {
            switch.api("fail2ban help");
            assert!(switch.api("fail2ban statsu").starts_with("-ERR"));
        }),
    ];
    for (name, deed) in deeds {
        for _ in 0..TURNS {
            switch.load().expect("it loads");
            deed(&switch);
            switch.unload().expect("it unloads");
            assert_gone(&switch, name);
        }
    }
}

fn the_version_is_told_at_the_load_and_by_status() {
    let switch = Switch::loaded("<param name=\"format\" value=\"dated\"/>");
    let version = env!("CARGO_PKG_VERSION");
    let log = switch.log_file().display().to_string();
    let notices = switch.host_lines("NOTICE");
    let told =
        |line: &&String| [version, &log, "dated", "register_failure"].iter().all(|part| line.contains(part));
    assert_eq!(notices.iter().filter(told).count(), 1, "{notices:#?}");
    assert!(switch.api("fail2ban status").contains(version));
    assert!(switch.api("fail2ban status json").contains(version));
}

fn the_code_is_gone_after_events_from_many_threads() {
    let switch = Switch::start("");
    for turn in 0..TURNS {
        switch.load().unwrap();
        switch.begin_storm(4, &failure());
        for _ in 0..5 {
            assert_eq!(status(&switch)["state"], "writing");
        }
        // Once while events come, once after.
        if turn % 2 == 0 {
            switch.unload().unwrap();
            assert_gone(&switch, "an unload under a storm");
            switch.end_storm();
        } else {
            switch.end_storm();
            switch.unload().unwrap();
            assert_gone(&switch, "a storm");
        }
    }
}

fn the_code_is_gone_after_a_disk_that_was_full() {
    let switch = Switch::start("<param name=\"logfile\" value=\"/dev/full\"/>");
    switch.load().unwrap();
    switch.storm(4, 10_000, &failure());
    wait_until("the outage to be said", || !switch.host_lines("ERR").is_empty());
    switch.unload().unwrap();
    assert_gone(&switch, "a full disk");
}

fn the_code_is_gone_after_a_refused_load() {
    let switch = Switch::start("<param name=\"format\" value=\"yaml\"/>");
    for _ in 0..TURNS {
        switch.load().unwrap_err();
        assert_gone(&switch, "a refused load");
    }
}

fn the_code_is_gone_after_loads_and_unloads_and_reloads_at_once() {
    let switch = Switch::start("");
    switch.begin_storm(2, &failure());
    for _ in 0..20 {
        let requests = [
            json!({ "load": {} }),
            json!({ "api": "fail2ban reload" }),
            json!({ "api": "reloadxml" }),
            json!({ "unload": {} }),
            json!({ "api": "fail2ban status" }),
            json!({ "load": {} }),
            json!({ "unload": {} }),
        ];
        // Each may be refused, according to which comes first; none may hang, or take the host down.
        let running: Vec<Running<'_>> = requests.iter().map(|request| switch.begin(request)).collect();
        for request in running {
            let _ = request.end();
        }
    }
    switch.end_storm();
    let _ = switch.unload();
    wait_until("the code to be gone", || !switch.has_code_mapped());
    assert_gone(&switch, "all at once");
}

fn a_file_in_the_modules_place_is_what_the_next_load_runs() {
    let switch = Switch::start("");
    let another = probe(&switch.path(""), "another");
    let newer = newer_build(&switch.path(""));
    let place = switch.path("mod_fail2ban.so");
    let last_start = || {
        let log = switch.log_text();
        log.lines().rfind(|line| line.contains(" was ")).unwrap_or_default().to_owned()
    };
    for _ in 0..3 {
        for (module, begins) in
            [(module_path(), "Fail2ban was started at["), (newer.clone(), "Fail2ban was STARTED at[")]
        {
            install(&module, &place);
            switch.load_file(&place).unwrap();
            switch.storm(4, 1_000, &failure());
            assert!(switch.api("fail2ban reload").starts_with("+OK"));
            switch.unload().unwrap();
            assert!(last_start().starts_with(begins), "{}", last_start());
        }
        install(&another, &place);
        switch.load_file(&place).unwrap();
        assert_eq!(switch.api("fail2ban"), "another");
        switch.unload().unwrap();
    }
}

fn a_load_that_fails_at_any_step_leaves_nothing() {
    let switch = Switch::start(EVERYTHING);
    let open = || {
        let mut open = process::descriptors(switch.pid());
        open.sort_unstable();
        open
    };
    wait_until("the host", || switch.is_up());
    let before = open();
    // Each call of a load but for those that it can do without: after the first, settings are read for a reload.
    for (function, most) in [
        ("switch_loadable_module_create_module_interface", usize::MAX),
        ("switch_xml_open_cfg", 1),
        ("switch_loadable_module_create_interface", usize::MAX),
        ("switch_event_bind_removable", usize::MAX),
        ("switch_log_bind_logger", usize::MAX),
        ("switch_xml_bind_search_function_ret", usize::MAX),
        ("pthread_create", usize::MAX),
    ] {
        let mut nth = 1;
        while nth <= most {
            switch.fail_call(function, nth);
            let loaded = switch.load();
            if switch.take_failure_back() {
                // The module does not call it so often.
                loaded.unwrap_or_else(|error| panic!("{function}: {error}"));
                switch.unload().unwrap();
                break;
            }
            assert!(loaded.is_err(), "it loads although call {nth} of {function} fails");
            let step = format!("a load that fails at call {nth} of {function}");
            assert_gone(&switch, &step);
            assert_eq!(open(), before, "{step}");
            nth += 1;
        }
        assert!(nth > 1, "the module does not call {function}");
    }
    // And nothing of it is in the way of a good one.
    switch.load().unwrap();
    switch.fire_event(&Event::register_failure("1000", "192.0.2.7"));
    wait_until("the line", || switch.log_text().contains("1000"));
    assert_eq!(switch.log_text().matches("1000").count(), 1);
}

/// It takes registrations over from there, and can do without.
fn a_load_goes_on_without_the_database() {
    let switch = Switch::start(EVERYTHING);
    switch.fail_call("_switch_core_db_handle", 1);
    switch.load().unwrap();
    wait_until("the module to ask the database", || !switch.is_failure_pending());
    switch.unload().unwrap();
    assert_gone(&switch, "a load without the database");
}

fn while_settings_are_read_lines_are_written_and_status_says_so() {
    let switch = Switch::loaded("");
    switch.slow_settings();
    switch.write_config(&configuration("<param name=\"format\" value=\"dated\"/>"));
    wait_until("the settings to be read", || switch.waiting("settings") == 1);
    for number in 0..10 {
        switch.fire_event(&Event::register_failure(format!("u{number}"), "192.0.2.7"));
    }
    let lines = switch.wait_for_lines(10);
    assert!(lines.iter().all(|line| line.starts_with("A registration failed ")), "{lines:?}");
    let text = switch.api("fail2ban status");
    assert!(text.contains("reload"), "status does not say that a reload is under way:\n{text}");
    assert_eq!(status(&switch)["settings"]["format"], "classic");
    switch.end_slow_settings();
    wait_until("the new settings", || status(&switch)["settings"]["format"] == "dated");
    wait_until("status to say that no reload is under way", || {
        !switch.api("fail2ban status").contains("reload")
    });
}

fn the_console_gets_the_outcome_of_its_own_reload() {
    let switch = Switch::loaded("");
    let put = |format: &str| {
        let text = configuration(&format!("<param name=\"format\" value=\"{format}\"/>"));
        fs::write(switch.path("conf/autoload_configs/fail2ban.conf.xml"), text).unwrap();
    };
    for (wrong, right) in [("xml", "dated"), ("yaml", "json")] {
        // Nothing shows that no reload is to come: the host's own events ask for one, too.
        std::thread::sleep(Duration::from_millis(300));
        put(wrong);
        switch.slow_settings();
        let reload = json!({ "api": "fail2ban reload" });
        let bad = switch.begin(&reload);
        wait_until("the settings to be read", || switch.waiting("settings") == 1);
        // Meanwhile it is corrected and asked for again, and another request comes in.
        put(right);
        let good = switch.begin(&reload);
        // Nothing shows that it waits.
        std::thread::sleep(Duration::from_millis(200));
        switch.fire(&[("Event-Name", "RELOADXML")]);
        switch.end_slow_settings();
        for (request, starts) in [(bad, "-ERR"), (good, "+OK")] {
            let answer = request.end().unwrap();
            assert!(answer.as_str().is_some_and(|answer| answer.starts_with(starts)), "{answer}");
        }
    }
}

/// Those that another test here does not have: the table is in `src/module.rs`.
fn every_request_in_every_state_does_what_the_table_of_states_says() {
    let switch = Switch::start("<param name=\"events\" value=\"register_failure,auth_unconfirmed\"/>");
    let refuses = |function: &str, why: &str| {
        let before = switch.host_log().len();
        switch.call_out_of_turn(function).unwrap_err();
        let log = switch.host_log();
        assert!(log[before..].contains(why), "{function}: {}", &log[before..]);
    };
    let has_no_command = || assert!(!switch.api("fail2ban reload").starts_with("+OK"));

    // unloaded
    switch.call_out_of_turn("unload").expect("there is nothing to do");
    has_no_command();
    assert_gone(&switch, "an unload of nothing");

    // loading
    switch.slow_settings();
    let load = switch.begin(&json!({ "load": {} }));
    wait_until("the load to read the settings", || switch.waiting("settings") == 1);
    refuses("load", "it is being loaded");
    refuses("unload", "it is being loaded");
    switch.end_slow_settings();
    load.end().expect("nothing of that is in its way");

    // loaded
    refuses("load", "it is loaded already");
    switch.fire_event(&Event::register_failure("loaded", "192.0.2.7"));
    assert_eq!(switch.wait_for_lines(1).len(), 1);

    // reloading: another one comes after it, with what the file says then.
    switch.slow_settings();
    switch.write_config(&configuration("<param name=\"format\" value=\"dated\"/>"));
    wait_until("the reload", || switch.waiting("settings") == 1);
    refuses("load", "it is loaded already");
    let text = configuration(
        "<param name=\"format\" value=\"json\"/><param name=\"events\" value=\"register_failure,auth_unconfirmed\"/>",
    );
    switch.write_config(&text);
    switch.end_slow_settings();
    wait_until("the later settings", || status(&switch)["settings"]["format"] == "json");

    // stopping: somebody else's look-up holds it up.
    switch.bind_search("xml_curl", false, true);
    let slow = switch.begin(&look_up(&[("sip_auth_method", "SUBSCRIBE"), ("ip", "192.0.2.7")]));
    wait_until("the look-up", || switch.waiting("xml_curl") == 1);
    let unload = switch.begin(&json!({ "unload": {} }));
    wait_until("the unload", || switch.host_log().contains("Stopping: mod_fail2ban"));
    wait_until("it to be under way", || {
        switch.resources().threads.iter().any(|name| name == "fail2ban-unbind")
    });
    refuses("load", "it is being unloaded");
    refuses("unload", "it is being loaded or unloaded");
    has_no_command();
    switch.release("xml_curl");
    unload.end().unwrap();
    slow.end().unwrap();
    switch.unbind_search("xml_curl");
    assert_gone(&switch, "requests out of turn");
    assert_eq!(switch.log_text().matches("192.0.2.7").count(), 1);
}

/// Unloads, and sees that it takes no longer than it may.
fn unload_in_time(switch: &Switch) {
    let start = Instant::now();
    let unload = switch.begin(&json!({ "unload": {} }));
    wait_at_most(UNLOAD, "the unload", || unload.is_done());
    unload.end().unwrap_or_else(|error| panic!("{error} after {:?}", start.elapsed()));
    assert!(!switch.host_lines("CONSOLE").is_empty());
}

/// After an unload that could not end: all is unbound that can be, what was stuck ends without a word in the log
/// when `release` lets it, and a later load starts afresh.
fn a_later_load_starts_afresh(switch: &Switch, release: impl Fn()) {
    let leaks = switch.leaks();
    for what in ["event bindings", "loggers", "completions"] {
        assert_eq!(leaks[what], 0, "{leaks}");
    }
    let told = switch.host_log();
    assert!(told.contains("mod_fail2ban stays in memory"), "NOUNLOAD was not answered:\n{told}");
    let before = switch.log_text();
    switch.fire_event(&Event::register_failure("nobody-listens", "192.0.2.7"));

    // FreeSWITCH itself may hold the load up until then: binding a search function waits for look-ups.
    let load = switch.begin(&json!({ "load": {} }));
    release();
    load.end().expect("a later load starts afresh");
    switch.fire_event(&Event::register_failure("later", "192.0.2.7"));
    wait_until("the line", || switch.log_text().contains("later"));
    assert_eq!(status(switch)["signals"]["register_failure"]["seen"], 1);
    let threads = threads_of_one_load();
    wait_until("what was stuck to end", || {
        own_threads(switch) == threads && switch.leaks()["search functions"].as_u64() <= Some(1)
    });
    switch.fire_event(&Event::register_failure("last", "192.0.2.7"));
    wait_until("the line after", || switch.log_text().contains("last"));
    let after = switch.log_text();
    let new = after.strip_prefix(&*before).expect("nothing is taken back");
    for (text, times) in
        [("nobody-listens", 0), ("later", 1), ("last", 1), ("was started", 1), ("stoping", 0)]
    {
        assert_eq!(new.lines().filter(|line| line.contains(text)).count(), times, "{text}: {new}");
    }
    let log = switch.log_file();
    let open = process::descriptors(switch.pid());
    assert_eq!(open.iter().filter(|path| **path == log).count(), 1, "the old one's file is closed");
    switch.unload().unwrap();
    let leaks = switch.leaks();
    assert!(leaks.as_object().unwrap().values().all(|count| *count == 0), "{leaks}");
}

fn own_threads(switch: &Switch) -> usize {
    switch.resources().threads.iter().filter(|name| name.contains("fail2ban")).count()
}

/// How many threads with the module's name there are while it is loaded once and nothing is under way.
fn threads_of_one_load() -> usize {
    own_threads(&Switch::loaded(""))
}

fn an_unload_does_not_wait_for_settings_that_are_being_read() {
    let switch = Switch::loaded("<param name=\"known-for\" value=\"1d\"/>");
    switch.fire_event(&Event::register_attempt("1000", "10.0.0.7", "SUCCESS"));
    wait_until("the address to be known", || status(&switch)["known"]["addresses"] == 1);
    switch.slow_settings();
    switch.write_config(&configuration("<param name=\"format\" value=\"dated\"/>"));
    wait_until("the settings to be read", || switch.waiting("settings") == 1);
    unload_in_time(&switch);
    a_later_load_starts_afresh(&switch, || switch.end_slow_settings());
    let saved = fs::read_to_string(switch.path("db/fail2ban.state"));
    assert!(
        !saved.is_ok_and(|text| text.contains("10.0.0.7")),
        "what was stuck has saved its addresses later"
    );
}

/// As from a Lua hook: whoever delivers holds the lock that binding and unbinding need.
fn a_reload_on_a_thread_that_delivers_events_does_not_deadlock() {
    let switch = Switch::loaded("<param name=\"events\" value=\"register_failure\"/>");
    for events in ["challenge,verto_login_failure", "register_failure"] {
        let text = configuration(&format!("<param name=\"events\" value=\"{events}\"/>"));
        fs::write(switch.path("conf/autoload_configs/fail2ban.conf.xml"), text).unwrap();
        let reload = switch.begin(&json!({ "api_in_event": "fail2ban reload" }));
        wait_until("the reload", || reload.is_done());
        reload.end().unwrap();
        let events: Vec<_> = events.split(',').collect();
        wait_until("the settings", || {
            let active = &status(&switch)["settings"]["events"];
            let active: BTreeSet<_> = active.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            active == events.iter().copied().collect()
        });
    }
    switch.fire_event(&Event::register_failure("1000", "192.0.2.7"));
    switch.wait_for_lines(1);
    switch.unload().unwrap();
    assert_gone(&switch, "a reload in an event");
}

fn an_unload_does_not_wait_for_somebody_elses_look_up() {
    let events = "register_failure,auth_unconfirmed";
    let switch = Switch::start(&format!("<param name=\"events\" value=\"{events}\"/>"));
    // One before the module's own and one after it.
    for before in [true, false] {
        if before {
            switch.bind_search("xml_curl", false, true);
        }
        switch.load().unwrap();
        if !before {
            switch.bind_search("xml_curl", false, true);
        }
        assert_eq!(switch.leaks()["search functions"], 1);
        let slow = switch.begin(&look_up(&[("sip_auth_method", "SUBSCRIBE"), ("ip", "192.0.2.7")]));
        wait_until("the look-up", || switch.waiting("xml_curl") == 1);
        unload_in_time(&switch);
        // The look-up goes on, through the module's own function if that comes after.
        a_later_load_starts_afresh(&switch, || switch.release("xml_curl"));
        slow.end().unwrap();
        switch.unbind_search("xml_curl");
        fs::remove_file(switch.log_file()).unwrap();
    }
}

/// A line without what differs from event to event.
fn shape(line: &str) -> String {
    let digits: String = line.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    // The user's number has more digits or fewer.
    let mut shape = digits;
    while shape.contains("u00") {
        shape = shape.replace("u00", "u0");
    }
    shape
}

fn every_line_is_whole_by_the_old_or_the_new_settings() {
    let formats = ["classic", "dated", "json"];
    let switch = Switch::start("");
    let mut shapes = BTreeMap::new();
    for format in formats {
        switch.write_config(&configuration(&format!("<param name=\"format\" value=\"{format}\"/>")));
        switch.load().unwrap();
        switch.storm(1, 1, &failure());
        switch.unload().unwrap();
        let text = switch.log_text();
        let line = text.lines().find(|line| line.contains("u0")).unwrap();
        shapes.insert(shape(line), 0_u64);
        fs::remove_file(switch.log_file()).unwrap();
    }
    assert_eq!(shapes.len(), formats.len());

    switch.load().unwrap();
    switch.begin_storm(3, &failure());
    for turn in 0..150 {
        let format = formats[turn % formats.len()];
        let text = configuration(&format!("<param name=\"format\" value=\"{format}\"/>"));
        if turn % 2 == 0 {
            switch.write_config(&text);
        } else {
            fs::write(switch.path("conf/autoload_configs/fail2ban.conf.xml"), text).unwrap();
            switch.api("fail2ban reload");
        }
    }
    let calls = switch.end_storm()["calls"].as_u64().unwrap();
    let dropped = status(&switch)["signals"]["register_failure"]["dropped"].as_u64().unwrap();
    switch.unload().unwrap();
    let mut users = BTreeSet::new();
    for line in switch.log_text().lines() {
        if !line.contains("user") {
            continue;
        }
        let count = shapes.get_mut(&shape(line)).unwrap_or_else(|| panic!("not whole: {line}"));
        *count += 1;
        let (_, user) = line.rsplit_once("user").unwrap();
        let user: String =
            user.chars().skip_while(|char| !char.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        assert!(users.insert(user), "doubled: {line}");
    }
    assert_eq!(users.len() as u64 + dropped, calls);
    assert!(shapes.values().all(|count| *count > 0), "each was in force while events came: {shapes:?}");
}

/// The log is a file without a name that the process reaches by one of its descriptors.
fn a_log_that_is_unlinked_does_not_run_away() {
    let switch = Switch::start("<param name=\"logfile\" value=\"/proc/self/fd/2\"/>");
    fs::remove_file(switch.path("stderr")).unwrap();
    let size = || fs::metadata(format!("/proc/{}/fd/2", switch.pid())).unwrap().len();
    let _ = switch.load();
    switch.fire_event(&Event::register_failure("1000", "192.0.2.7"));
    // Nothing tells that it does not happen: it did within two seconds.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(size() < 100_000, "{} bytes for one event", size());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(switch.is_up());
    let _ = switch.unload();
    assert!(size() < 100_000, "{} bytes for one event", size());
    assert_gone(&switch, "an unlinked log");
}

fn a_clock_that_is_set_moves_lines_and_nothing_else() {
    let params = "<param name=\"format\" value=\"dated\"/><param name=\"challenge-timeout\" value=\"60\"/>\
                  <param name=\"events\" value=\"register_failure,challenge_unanswered\"/>";
    let switch = Switch::loaded(params);
    let challenge =
        Event::register_failure("1000", "192.0.2.8").with("Event-Subclass", "sofia::pre_register");
    switch.fire_event(&challenge.with("call-id", "one"));
    wait_until("the challenge", || status(&switch)["challenges"]["waiting"] == 1);
    switch.fire_event(&Event::register_failure("at-first", "192.0.2.7"));
    // One hour away from each other, whatever the day.
    for (number, (seconds, user)) in [(3600, "ahead"), (-3600, "behind"), (0, "back")].into_iter().enumerate()
    {
        switch.set_clock(seconds);
        switch.fire_event(&Event::register_failure(user, "192.0.2.7"));
        switch.wait_for_lines(2 + number);
    }
    let minutes: Vec<_> = switch.wait_for_lines(4).iter().map(|line| minute(line)).collect();
    for (place, wanted) in [(1, 60), (2, -60), (3, 0)] {
        let away = (minutes[place] - minutes[0]).rem_euclid(24 * 60);
        let wanted = i64::rem_euclid(wanted, 24 * 60);
        assert!(away == wanted || away == wanted + 1, "{minutes:?}");
    }
    // Two rounds of whatever looks after the challenges: nothing tells that it does not happen.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(switch.wait_for_lines(4).len(), 4);
    let status = status(&switch);
    assert_eq!(status["challenges"]["waiting"], 1);
    let last_seen = status["signals"]["register_failure"]["last_seen"].as_str().expect("a time").to_owned();
    assert!(switch.wait_for_lines(4)[3].starts_with(&last_seen), "{last_seen}");
}

/// The minute of the day in which a line was written.
fn minute(line: &str) -> i64 {
    let number = |from: usize| line[from..from + 2].parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
    number(11) * 60 + number(14)
}
