//! The module is a drop-in for the C module: it loads as that does, and writes its lines.

use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, data, recorded, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            the_recorded_attack_gives_the_c_modules_lines,
            names_that_would_forge_lines_are_escaped,
            the_log_begins_and_ends_as_the_c_modules_does,
            in_json_the_log_begins_and_ends_with_events_of_their_own,
            an_older_log_is_continued,
            a_hundred_loads_leak_nothing_and_find_no_old_state,
            a_reload_takes_up_the_settings_of_now,
            a_second_load_is_refused_and_the_first_goes_on,
            events_that_tell_no_address_are_not_logged_and_do_no_harm,
            events_without_a_subclass_or_with_a_similar_one_are_not_ours,
            of_headers_with_the_same_name_the_first_counts_whatever_their_case,
            addresses_are_written_bare,
            sofia_may_be_loaded_before_or_after,
            an_unloaded_module_hears_nothing,
        ],
    );
}

/// A line of the C module's, in its parts.
struct Line<'a> {
    message: &'a str,
    user: &'a str,
    ip: &'a str,
}

impl<'a> Line<'a> {
    /// Everything up to the last ` ip[` that may stand in the user's name.
    fn parse(line: &'a str) -> Line<'a> {
        let (rest, _time) = line.rsplit_once(" at[").expect(line);
        let (rest, ip) = rest.strip_suffix(']').expect(line).rsplit_once(" ip[").expect(line);
        let (message, user) = rest.strip_suffix(']').expect(line).split_once(" user[").expect(line);
        Line { message, user, ip }
    }

    /// As it has to read, without the time.
    fn expected(&self, user: &str) -> String {
        format!("{} user[{user}] ip[{}]", self.message, self.ip)
    }
}

/// A line of the module's without its time, which has to be one that fail2ban reads.
fn timeless(line: &str) -> String {
    let (rest, time) = line.rsplit_once(" at[").unwrap_or_else(|| panic!("no time in {line:?}"));
    let shape: String = time.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert!(
        ["0000-00-00T00:00:00.000000+0000]", "0000-00-00T00:00:00.000000-0000]"].contains(&shape.as_str()),
        "{line}"
    );
    rest.to_owned()
}

fn timeless_lines(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| timeless(line)).collect()
}

fn the_recorded_attack_gives_the_c_modules_lines() {
    let golden = data("c-module-1.10.12.log");
    let expected: Vec<_> = golden
        .lines()
        .skip(1)
        .map(|line| {
            let line = Line::parse(line);
            line.expected(&line.user.replace('[', "%5B").replace(']', "%5D"))
        })
        .collect();
    // With the C module's own settings file there are attacker lines beside them, which no filter made for it reads.
    let switch = Switch::loaded("<param name=\"attacker-after\" value=\"10\"/>");
    for event in recorded("events-1.10.12.jsonl") {
        switch.fire_event(&event);
    }
    let lines = switch.wait_for_lines(expected.len() + 1);
    let (attackers, lines): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.starts_with("An attacker was found user["));
    assert_eq!(attackers.len(), 1);
    assert!(attackers[0].contains("] ip[10.99.0.2] at["), "{attackers:?}");
    assert_eq!(timeless_lines(&lines), expected);
    let first = switch.log_text().lines().next().map(timeless);
    assert_eq!(first.as_deref(), golden.lines().next());
}

fn names_that_would_forge_lines_are_escaped() {
    let names: [(&[u8], &str); 6] = [
        (
            b"fold\r\n A registration failed user[q] ip[9.9.9.9] at[",
            "fold%0D%0A A registration failed user%5Bq%5D ip%5B9.9.9.9%5D at%5B",
        ),
        (b"tab\tx", "tab%09x"),
        (b"esc\x1b[31mred", "esc%1B%5B31mred"),
        ("ls\u{2028}x".as_bytes(), "ls%E2%80%A8x"),
        (b"bad\xff\xfe", "bad%FF%FE"),
        ("rtl\u{202e}1.2.3.4".as_bytes(), "rtl%E2%80%AE1.2.3.4"),
    ];
    let events = recorded("events-hostile-1.10.12.jsonl");
    let switch = Switch::loaded("");
    let mut expected = Vec::new();
    for (name, escaped) in names {
        // The last two were not recorded: JSON can't hold the one, and the other is like it.
        let of_name = |event: &&Event| event.get("to-user") == Some(name);
        let mut events: Vec<_> = events.iter().filter(of_name).cloned().collect();
        if events.is_empty() {
            let failure = Event::register_failure(name, "10.99.0.2");
            events = vec![failure.clone().with("Event-Subclass", "sofia::register_attempt"), failure];
        }
        if !events.iter().all(|event| switch.carries(event)) {
            continue;
        }
        for event in events {
            switch.fire_event(&event);
        }
        for message in ["A registration was attempted", "A registration failed"] {
            expected.push(format!("{message} user[{escaped}] ip[10.99.0.2]"));
        }
    }
    assert_eq!(timeless_lines(&switch.wait_for_lines(expected.len())), expected);
    // As many as the C module wrote for the same, had it not broken two of them in two.
    let broken = data("c-module-hostile-1.10.12.log").lines().filter(|line| line.starts_with(' ')).count();
    if !switch.is_real() {
        assert_eq!(expected.len(), data("c-module-hostile-1.10.12.log").lines().count() - 1 - broken);
    }
}

fn the_log_begins_and_ends_as_the_c_modules_does() {
    let switch = Switch::loaded("");
    wait_until("the first line", || switch.log_text().ends_with('\n'));
    switch.unload().expect("the module unloads");
    let text = switch.log_text();
    let lines: Vec<_> = text.lines().map(timeless).collect();
    assert_eq!(lines, ["Fail2ban was started", "Fail2ban stoping"]);
}

fn in_json_the_log_begins_and_ends_with_events_of_their_own() {
    let switch = Switch::loaded(r#"<param name="format" value="json"/>"#);
    wait_until("the first line", || switch.log_text().ends_with('\n'));
    switch.unload().expect("the module unloads");
    let text = switch.log_text();
    let lines =
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"));
    let events: Vec<_> = lines.map(|line| line["event"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(events, ["started", "stopped"]);
}

fn an_older_log_is_continued() {
    let switch = Switch::start("");
    std::fs::write(switch.log_file(), "an older line\n").expect("the log's folder is there");
    switch.load().expect("the module loads");
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    let lines = switch.wait_for_lines(2);
    assert!(switch.log_text().starts_with("an older line\nFail2ban was started at["));
    assert_eq!(timeless(&lines[1]), "A registration failed user[1000] ip[192.0.2.1]");
}

fn a_hundred_loads_leak_nothing_and_find_no_old_state() {
    let switch = Switch::start("");
    let cycle = |number: usize| {
        switch.load().expect("the module loads");
        switch.fire_event(&Event::register_failure(format!("user{number}"), "192.0.2.1"));
        let last = || switch.log_text().lines().last().map(str::to_owned).unwrap_or_default();
        wait_until("the event's line", || last().contains(&format!("user[user{number}]")));
        switch.unload().expect("the module unloads");
        assert!(last().starts_with("Fail2ban stoping at["), "{}", last());
    };
    // The first ones may set up what stays: a log file of the host's, a pool of the allocator's.
    (0..10).for_each(cycle);
    let before = switch.resources();
    (10..100).for_each(cycle);
    wait_until("threads and descriptors to be what they were", || {
        let now = switch.resources();
        // FreeSWITCH's own threads come and go.
        let same_threads = if switch.is_real() {
            !now.threads.iter().any(|name| name.contains("fail2ban"))
        } else {
            now.threads == before.threads
        };
        same_threads && now.descriptors == before.descriptors
    });
    if !switch.is_real() {
        let leaks = switch.leaks();
        assert!(leaks.as_object().expect("an object").values().all(|count| count == 0), "{leaks}");
    }
    let text = switch.log_text();
    let times = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(
        [
            times("Fail2ban was started at["),
            times("A registration failed user["),
            times("Fail2ban stoping at[")
        ],
        [100, 100, 100]
    );
    assert_eq!(text.lines().count(), 300);
}

fn a_reload_takes_up_the_settings_of_now() {
    let switch = Switch::loaded("");
    switch.fire_event(&Event::register_failure("first", "192.0.2.1"));
    switch.wait_for_lines(1);
    let other = switch.path("log/other.log");
    switch.unload().expect("the module unloads");
    switch.write_config(&configuration(r#"<param name="logfile" value="$${log_dir}/other.log"/>"#));
    switch.load().expect("the module loads");
    switch.fire_event(&Event::register_failure("second", "192.0.2.1"));
    let text = || std::fs::read_to_string(&other).unwrap_or_default();
    wait_until("the line in the other log", || text().contains("user[second]"));
    assert!(!text().contains("user[first]"));
    assert!(!switch.log_text().contains("user[second]"));
    switch.reload().expect("the module reloads");
    wait_until("a second start", || text().matches("Fail2ban was started at[").count() == 2);
    assert_eq!(switch.log_text().matches("Fail2ban was started at[").count(), 1);
}

fn a_second_load_is_refused_and_the_first_goes_on() {
    let switch = Switch::loaded("");
    switch.load().expect_err("it is loaded");
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    assert_eq!(timeless(&switch.wait_for_lines(1)[0]), "A registration failed user[1000] ip[192.0.2.1]");
}

fn events_that_tell_no_address_are_not_logged_and_do_no_harm() {
    let good = Event::register_failure("good", "192.0.2.1");
    let mut events = vec![
        good.clone().without("network-ip"),
        Event::new(&[("Event-Subclass", "sofia::register_failure")]),
        Event::new(&[("Event-Subclass", "sofia::register_attempt")]),
        Event::new(&[("Event-Subclass", "sofia::wrong_call_state")]),
        Event::new(&[("Event-Subclass", "sofia::register_failure"), ("network_ip", "192.0.2.1")]),
        Event::new(&[("Event-Subclass", "sofia::wrong_call_state"), ("network-ip", "192.0.2.1")]),
    ];
    for address in [
        "",
        " ",
        "unknown",
        "example.com",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1 ip[198.51.100.1]",
        "::1::",
        "[192.0.2.1",
    ] {
        events.push(good.clone().with("network-ip", address));
    }
    events.push(good.clone().with("network-ip", b"\xff\xfe"));
    let switch = Switch::loaded("");
    for event in events.iter().filter(|event| switch.carries(event)) {
        switch.fire_event(event);
    }
    switch.fire_event(&good);
    assert_eq!(timeless_lines(&switch.wait_for_lines(1)), ["A registration failed user[good] ip[192.0.2.1]"]);
    assert!(switch.is_up());
}

fn events_without_a_subclass_or_with_a_similar_one_are_not_ours() {
    let good = Event::register_failure("good", "192.0.2.1");
    let switch = Switch::loaded("");
    switch.fire_event(&good.clone().without("Event-Subclass"));
    for subclass in [
        "sofia::register",
        "sofia::register_failure2",
        "sofia::register_failur",
        "Sofia::Register_Failure",
        "sofia::register_failure ",
        "sofia",
        "xsofia::register_failure",
        "sofia::wrong_call_states",
    ] {
        switch.fire_event(&good.clone().with("Event-Subclass", subclass).with("to-user", "similar"));
    }
    switch.fire_event(&good.clone().without("to-user"));
    switch.fire_event(&good);
    assert_eq!(
        timeless_lines(&switch.wait_for_lines(2)),
        ["A registration failed user[] ip[192.0.2.1]", "A registration failed user[good] ip[192.0.2.1]"]
    );
}

fn of_headers_with_the_same_name_the_first_counts_whatever_their_case() {
    let switch = Switch::loaded("");
    switch.fire(&[
        ("Event-Subclass", "sofia::register_failure"),
        ("NETWORK-IP", "192.0.2.1"),
        ("network-ip", "198.51.100.1"),
        ("To-User", "first"),
        ("to-user", "second"),
    ]);
    assert_eq!(
        timeless_lines(&switch.wait_for_lines(1)),
        ["A registration failed user[first] ip[192.0.2.1]"]
    );
}

fn addresses_are_written_bare() {
    let switch = Switch::loaded("");
    for address in ["192.0.2.1", "2001:db8::1", "[2001:db8::1]", "2001:DB8:0:0::1", "::ffff:192.0.2.1"] {
        switch.fire_event(&Event::register_failure("1000", address));
    }
    let expected = ["192.0.2.1", "2001:db8::1", "2001:db8::1", "2001:db8::1", "192.0.2.1"];
    let expected = expected.map(|ip| format!("A registration failed user[1000] ip[{ip}]"));
    assert_eq!(timeless_lines(&switch.wait_for_lines(5)), expected);
}

fn sofia_may_be_loaded_before_or_after() {
    let switch = Switch::loaded("");
    // The stand-in has no sofia, and that is one half of the promise.
    if switch.is_real() {
        switch.command("load mod_sofia").expect("sofia finds its events' names free to use");
    }
    switch.fire_event(&Event::register_failure("after", "192.0.2.1"));
    switch.wait_for_lines(1);
    switch.reload().expect("the module loads beside sofia");
    switch.fire_event(&Event::register_failure("before", "192.0.2.1"));
    wait_until("the line", || switch.log_text().contains("A registration failed user[before]"));
    let errors = switch.host_lines("ERR");
    assert!(!errors.iter().any(|line| line.contains("subclass")), "{errors:#?}");
}

fn an_unloaded_module_hears_nothing() {
    let switch = Switch::loaded("");
    switch.unload().expect("the module unloads");
    let before = switch.log_text();
    switch.fire_event(&Event::register_failure("1000", "192.0.2.1"));
    assert!(switch.is_up());
    assert_eq!(switch.log_text(), before);
    switch.unload().expect_err("it is not loaded");
}
