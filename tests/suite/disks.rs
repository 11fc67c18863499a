//! On a disk that is full, gone or does not take a write, lines wait in memory; what does not fit is counted;
//! nothing is torn, and written + dropped = seen, exactly.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{Event, Switch, configuration, credentials, wait_at_most, wait_until};
use serde_json::{Value, json};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[],
        tests![
            a_log_that_can_never_be_written_can_be_left_for_another_one,
            what_can_not_be_written_before_an_unload_is_said_to_be_lost,
            a_pipe_without_a_reader_is_refused_at_once
        ],
    );
    suite.add(
        &[needs::stand_in],
        tests![
            while_a_write_hangs_handlers_go_on_and_memory_stays_within_the_buffer,
            after_a_long_stall_the_log_can_be_opened_anew,
            losses_are_reported_though_lines_go_on_coming,
            what_nobody_answers_while_nothing_can_be_written_has_its_own_time,
            a_larger_buffer_takes_more_lines_at_once_even_if_nothing_can_be_written,
            status_does_not_wait_for_a_disk_that_hangs,
            a_log_that_hangs_as_it_is_closed_holds_up_no_handler,
            a_slow_disk_is_not_called_stuck,
            a_pipe_is_never_opened_in_a_way_that_may_block,
            what_the_system_refuses_is_not_blamed_on_the_logfile,
            another_log_is_gone_on_in_though_more_is_changed_before_a_stuck_write_returns,
            a_writer_that_is_stuck_keeps_its_code_and_a_new_load_starts_afresh
        ],
    );
    suite.add(
        &[needs::stand_in, needs::mount],
        tests![
            on_a_full_disk_that_is_freed_the_lines_and_the_reported_losses_are_all_the_events,
            in_json_the_reported_losses_are_an_event_of_their_own,
            a_short_outage_loses_nothing,
            an_unload_on_a_full_disk_leaves_whole_lines_and_says_how_many_are_lost
        ],
    );
}

fn failure() -> Event {
    Event::register_failure("u{n}", "192.0.2.7")
}

fn status(switch: &Switch) -> Value {
    serde_json::from_str(&switch.api("fail2ban status json")).expect("status json is JSON")
}

/// Of the failures: seen, written, waiting, dropped. `waiting` is what the others leave, so that they add up shows
/// nothing: hold them against the events that were fired and the lines in the log.
fn tally(switch: &Switch) -> [u64; 4] {
    let status = status(switch);
    let of = &status["signals"]["register_failure"];
    ["seen", "written", "waiting", "dropped"].map(|name| of[name].as_u64().expect(name))
}

/// The failures in a log, each of which has to be whole, and the losses that it tells of.
fn failures_and_losses(text: &str) -> (u64, u64) {
    let (mut failures, mut losses) = (0, 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Fail2ban dropped ") {
            let (count, rest) = rest.split_once(" lines (register_failure=").expect(line);
            assert!(rest.starts_with(&format!("{count}) at[")), "{line}");
            losses += count.parse::<u64>().expect(line);
        } else if !line.starts_with("Fail2ban ") {
            assert!(
                line.starts_with("A registration failed user[u") && line.ends_with(']'),
                "torn: {line:?}"
            );
            assert!(line.matches("user[").count() == 1, "merged: {line:?}");
            failures += 1;
        }
    }
    (failures, losses)
}

fn logs_to(path: &Path, more: &str) -> String {
    format!("<param name=\"logfile\" value=\"{}\"/>{more}", path.display())
}

/// A small file system of its own; root alone can make one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> SmallDisk {
        fs::create_dir(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&at).output();
        let mount = mount.unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        SmallDisk(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A switch that logs to a small disk, and where. The disk goes before the switch, whose folder it is in.
fn on_a_small_disk(more: &str) -> (Switch, SmallDisk, PathBuf) {
    let switch = Switch::start("");
    let disk = SmallDisk::mount(switch.path("disk"));
    let log = disk.0.join("f.log");
    switch.write_config(&configuration(&logs_to(&log, more)));
    switch.load().unwrap();
    (switch, disk, log)
}

/// Fills what is free of a disk.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write(&[0; 4096]).is_ok() {}
}

fn on_a_full_disk_that_is_freed_the_lines_and_the_reported_losses_are_all_the_events() {
    let (switch, disk, log) = on_a_small_disk("<param name=\"buffer-size\" value=\"64k\"/>");
    switch.storm(2, 100, &failure());
    fill(&disk.0.join("filler"));
    switch.storm(4, 20_000, &failure());
    wait_until("the outage to be said", || !switch.host_lines("ERR").is_empty());
    let [seen, _, waiting, dropped] = tally(&switch);
    assert!(seen == 20_100 && waiting > 0 && dropped > 0);
    fs::remove_file(disk.0.join("filler")).unwrap();
    switch.storm(2, 100, &failure());
    let text = || fs::read_to_string(&log).unwrap();
    wait_until("the losses to be told", || text().contains("Fail2ban dropped "));
    wait_until("every line to be written", || tally(&switch)[2] == 0);
    let [seen, written, _, dropped] = tally(&switch);
    assert_eq!((seen, written + dropped), (20_200, 20_200));
    assert_eq!(failures_and_losses(&text()), (written, dropped));
    let warnings = switch.host_lines("WARNING");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(&format!("{dropped} lines were dropped (register_failure={dropped})")));
    assert_eq!(switch.host_lines("ERR").len(), 1, "once for the whole outage");
}

fn in_json_the_reported_losses_are_an_event_of_their_own() {
    let (switch, disk, log) =
        on_a_small_disk("<param name=\"format\" value=\"json\"/><param name=\"buffer-size\" value=\"64k\"/>");
    fill(&disk.0.join("filler"));
    switch.storm(2, 5_000, &failure());
    fs::remove_file(disk.0.join("filler")).unwrap();
    let losses = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines.filter(|line| line["event"] == "dropped").collect()
    };
    wait_until("the losses to be told", || !losses().is_empty());
    wait_until("every line to be written", || tally(&switch)[2] == 0);
    let [seen, written, _, dropped] = tally(&switch);
    assert_eq!((seen, written + dropped), (5_000, 5_000));
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("\"event\":\"register_failure\"").count() as u64, written);
    let losses = losses();
    assert_eq!(losses.iter().map(|line| line["lines"].as_u64().unwrap()).sum::<u64>(), dropped);
    assert_eq!(losses[0]["dropped"], serde_json::json!({ "register_failure": losses[0]["lines"] }));
}

fn a_short_outage_loses_nothing() {
    let (switch, disk, log) = on_a_small_disk("");
    for outage in 0..3 {
        fill(&disk.0.join("filler"));
        switch.storm(2, 200, &failure());
        wait_until("the outage to be said", || switch.host_lines("ERR").len() == outage + 1);
        fs::remove_file(disk.0.join("filler")).unwrap();
        wait_until("every line to be written", || tally(&switch)[2] == 0);
    }
    assert_eq!(failures_and_losses(&fs::read_to_string(&log).unwrap()), (600, 0));
    assert_eq!(tally(&switch), [600, 600, 0, 0]);
}

fn an_unload_on_a_full_disk_leaves_whole_lines_and_says_how_many_are_lost() {
    let (switch, _disk, log) = on_a_small_disk("");
    switch.storm(2, 10_000, &failure());
    wait_until("the outage to be said", || !switch.host_lines("ERR").is_empty());
    switch.unload().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.ends_with("]\n"), "{:?}", text.lines().last());
    let (failures, _) = failures_and_losses(&text);
    let lost = 10_000 - failures;
    let warnings = switch.host_lines("WARNING");
    assert!(
        warnings[0].contains(&format!("{lost} lines are lost (register_failure={lost})")),
        "{warnings:?}"
    );
}

fn a_log_that_can_never_be_written_can_be_left_for_another_one() {
    let switch = Switch::start(&logs_to(Path::new("/dev/full"), ""));
    switch.load().unwrap();
    wait_until("the outage to be said", || !switch.host_lines("ERR").is_empty());
    for number in 0..10 {
        switch.fire_event(&Event::register_failure(format!("u{number}"), "192.0.2.7"));
    }
    wait_until("the events", || tally(&switch)[2] == 10);
    assert_eq!(status(&switch)["state"], "failing");
    switch.write_config(&configuration(&logs_to(&switch.log_file(), "")));
    wait_until("every line to be written", || tally(&switch)[2] == 0);
    assert_eq!(failures_and_losses(&switch.log_text()), (10, 0));
    assert_eq!(status(&switch)["state"], "writing");
}

fn what_can_not_be_written_before_an_unload_is_said_to_be_lost() {
    let switch = Switch::start(&logs_to(Path::new("/dev/full"), ""));
    switch.load().unwrap();
    for number in 0..10 {
        switch.fire_event(&Event::register_failure(format!("u{number}"), "192.0.2.7"));
    }
    wait_until("the events", || tally(&switch)[2] == 10);
    switch.unload().unwrap();
    let warnings = switch.host_lines("WARNING");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("10 lines are lost (register_failure=10)"), "{warnings:?}");
    assert!(switch.is_up());
}

/// A switch that logs into a pipe, whose reader does not read until it is asked to.
fn on_a_pipe(more: &str) -> (Switch, File) {
    let switch = Switch::start("");
    let path = switch.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    switch.write_config(&configuration(&logs_to(&path, more)));
    switch.load().unwrap();
    (switch, reader)
}

/// Reads what there is in the pipe.
fn drain(pipe: &mut File, text: &mut Vec<u8>) {
    let mut block = [0; 65_536];
    while let Ok(read @ 1..) = pipe.read(&mut block) {
        text.extend_from_slice(&block[..read]);
    }
}

fn a_pipe_without_a_reader_is_refused_at_once() {
    let switch = Switch::start("");
    let path = switch.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    switch.write_config(&configuration(&logs_to(&path, "")));
    switch.load().unwrap_err();
    let errors = switch.host_lines("ERR");
    assert!(errors[0].contains("logfile=") && errors[0].contains("pipe"), "{errors:?}");
}

fn while_a_write_hangs_handlers_go_on_and_memory_stays_within_the_buffer() {
    let small = "<param name=\"buffer-size\" value=\"1m\"/>";
    let (switch, mut reader) = on_a_pipe(small);
    switch.storm(4, 100_000, &failure());
    let [seen, _, waiting, dropped] = tally(&switch);
    assert!(seen == 100_000 && waiting > 0 && dropped > 0, "{seen} {waiting} {dropped}");
    assert!(status(&switch)["waiting_bytes"].as_u64().unwrap() <= 1 << 20);
    wait_until("the stuck write to show", || status(&switch)["state"] == "stuck");
    let mut text = Vec::new();
    wait_until("every line to be read", || {
        drain(&mut reader, &mut text);
        tally(&switch)[2] == 0 && String::from_utf8_lossy(&text).contains("Fail2ban dropped ")
    });
    let [seen, written, _, dropped] = tally(&switch);
    assert_eq!(seen, written + dropped);
    drain(&mut reader, &mut text);
    assert_eq!(failures_and_losses(&String::from_utf8(text).unwrap()), (written, dropped));
}

fn losses_are_reported_though_lines_go_on_coming() {
    let (switch, mut reader) = on_a_pipe("<param name=\"buffer-size\" value=\"64k\"/>");
    switch.storm(2, 5_000, &failure());
    assert!(tally(&switch)[3] > 0, "too few for a loss");
    let mut text = Vec::new();
    wait_until("the losses to be reported", || {
        switch.fire_event(&failure());
        drain(&mut reader, &mut text);
        String::from_utf8_lossy(&text).contains("Fail2ban dropped ")
    });
    wait_until("the warning", || {
        switch.host_lines("WARNING").iter().any(|line| line.contains("were dropped"))
    });
}

fn what_nobody_answers_while_nothing_can_be_written_has_its_own_time() {
    let switch = Switch::loaded(&logs_to(
        Path::new("/dev/full"),
        "<param name=\"events\" value=\"register_failure,challenge_unanswered,auth_unconfirmed\"/>\
         <param name=\"challenge-timeout\" value=\"1\"/><param name=\"format\" value=\"json\"/>",
    ));
    let seen = |event: &str| status(&switch)["signals"][event]["seen"].clone();
    switch.fire_event(&Event::register_failure("1009", "192.0.2.7"));
    wait_until("the outage", || status(&switch)["state"] == "failing");
    let before = status(&switch)["time"].clone();
    switch.fire_event(&Event::challenge("scanner", "192.0.2.7"));
    switch.look_up(&credentials("SUBSCRIBE", "guess", "192.0.2.7", "udp"));
    let after = status(&switch)["time"].clone();
    wait_until("both to be judged", || seen("challenge_unanswered") == 1 && seen("auth_unconfirmed") == 1);
    assert_eq!(status(&switch)["state"], "failing");
    switch.write_config(&configuration("<param name=\"format\" value=\"json\"/>"));
    for line in switch.wait_for_lines(3).iter().filter(|line| !line.contains("register_failure")) {
        let line: Value = serde_json::from_str(line).unwrap();
        let time = line["time"].as_str().unwrap();
        assert!(
            before.as_str().unwrap() <= time && time <= after.as_str().unwrap(),
            "{before} {line} {after}"
        );
    }
}

fn a_larger_buffer_takes_more_lines_at_once_even_if_nothing_can_be_written() {
    let sized = |size: &str| {
        logs_to(Path::new("/dev/full"), &format!("<param name=\"buffer-size\" value=\"{size}\"/>"))
    };
    let switch = Switch::loaded(&sized("16k"));
    switch.storm(1, 1_000, &failure());
    wait_until("the outage", || status(&switch)["state"] == "failing");
    let [seen, _, waiting, dropped] = tally(&switch);
    assert!(seen == 1_000 && dropped > 0, "{waiting} {dropped}");
    fs::write(switch.path("conf/autoload_configs/fail2ban.conf.xml"), configuration(&sized("1m"))).unwrap();
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    switch.storm(1, 5_000, &failure());
    assert_eq!(tally(&switch), [6_000, 0, waiting + 5_000, dropped]);
    assert_eq!(status(&switch)["state"], "failing");
}

/// Does something in a thread of the host's that may not wait for a disk.
fn at_once(switch: &Switch, request: &Value) -> Value {
    let running = switch.begin(request);
    wait_at_most(Duration::from_secs(5), &request.to_string(), || running.is_done());
    running.end().unwrap()
}

fn status_does_not_wait_for_a_disk_that_hangs() {
    let switch = Switch::loaded("");
    switch.hang("stat", &switch.log_file());
    switch.fire_event(&Event::register_failure("u1", "192.0.2.7"));
    wait_until("the writer to hang", || switch.waiting("disk") == 1);
    wait_until("that to show", || {
        let text = at_once(&switch, &json!({ "api": "fail2ban status json" }));
        serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()["state"] == "stuck"
    });
    for command in ["status", "metrics", "known", "reload"] {
        at_once(&switch, &json!({ "api": format!("fail2ban {command}") }));
    }
    at_once(&switch, &json!({ "fire": Event::register_failure("u2", "192.0.2.7").to_json() }));
    switch.end_hang();
    assert_eq!(switch.wait_for_lines(2).len(), 2);
}

fn a_log_that_hangs_as_it_is_closed_holds_up_no_handler() {
    let (switch, mut reader) = on_a_pipe("");
    switch.storm(1, 5_000, &failure());
    wait_until("the stuck write to show", || status(&switch)["state"] == "stuck");
    // The writer is to go on in one log, and before it can, in another: the first is closed again.
    let first = switch.path("log/first.log");
    switch.write_config(&configuration(&logs_to(&first, "")));
    assert!(switch.api("fail2ban reload").starts_with("+OK"));
    switch.hang("close", &first);
    switch.write_config(&configuration(&logs_to(&switch.path("log/second.log"), "")));
    wait_until("the close to hang", || switch.waiting("disk") == 1);
    at_once(&switch, &json!({ "fire": Event::register_failure("u1", "192.0.2.7").to_json() }));
    at_once(&switch, &json!({ "api": "fail2ban status" }));
    switch.end_hang();
    let mut text = Vec::new();
    wait_until("the second log", || {
        drain(&mut reader, &mut text);
        fs::read_to_string(switch.path("log/second.log")).is_ok_and(|text| text.contains("user[u1]"))
    });
}

fn a_slow_disk_is_not_called_stuck() {
    let (switch, mut reader) = on_a_pipe("");
    switch.storm(1, 60_000, &failure());
    let (mut states, mut block) = (Vec::new(), [0; 65_536]);
    wait_until("the first call to return", || {
        let _ = reader.read(&mut block);
        status(&switch)["state"] == "writing"
    });
    let start = Instant::now();
    while tally(&switch)[2] > 0 {
        // As much as a pipe holds, again and again: each call for the log returns soon, a batch takes seconds.
        let _ = reader.read(&mut block);
        states.push(status(&switch)["state"].as_str().unwrap().to_owned());
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "not slow enough to show anything");
    assert!(states.iter().all(|state| state == "writing"), "{states:?}");
}

/// The stand-in goes down when the module opens a pipe and might wait for somebody at its other end.
fn a_pipe_is_never_opened_in_a_way_that_may_block() {
    let (switch, mut reader) = on_a_pipe("");
    switch.api("fail2ban reopen");
    switch.fire_event(&Event::register_failure("u1", "192.0.2.7"));
    let mut text = Vec::new();
    wait_until("the line", || {
        drain(&mut reader, &mut text);
        String::from_utf8_lossy(&text).contains("user[u1]")
    });
    switch.reload().unwrap();
    assert!(switch.is_up());
}

fn what_the_system_refuses_is_not_blamed_on_the_logfile() {
    let switch = Switch::start("<param name=\"buffer-size\" value=\"1024m\"/>");
    let limit = |bytes: &str| {
        let (pid, most) = (switch.pid().to_string(), format!("--as={bytes}"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &most]).status().unwrap().success());
    };
    let refused = || {
        let before = switch.host_lines("ERR").len();
        switch.load().unwrap_err();
        let errors = switch.host_lines("ERR").split_off(before);
        assert!(errors.len() == 1 && !errors[0].contains("logfile"), "{errors:?}");
        errors[0].clone()
    };
    switch.is_up();
    limit("1500000000:");
    let error = refused();
    assert!(
        error.contains("fail2ban.conf: buffer-size=\"1073741824\": ") && error.contains("expected"),
        "{error}"
    );
    limit("unlimited:");
    switch.write_config(&configuration(""));
    switch.fail_call("pthread_create", 1);
    assert!(refused().contains("mod_fail2ban is not loaded: no thread can be started: "));
    switch.load().unwrap();
}

fn another_log_is_gone_on_in_though_more_is_changed_before_a_stuck_write_returns() {
    let (switch, mut reader) = on_a_pipe("");
    switch.storm(1, 5_000, &failure());
    wait_until("the stuck write to show", || status(&switch)["state"] == "stuck");
    for more in ["", "<param name=\"format\" value=\"dated\"/>"] {
        switch.write_config(&configuration(&logs_to(&switch.log_file(), more)));
        assert!(switch.api("fail2ban reload").starts_with("+OK"));
    }
    let mut text = Vec::new();
    wait_until("the other log", || {
        drain(&mut reader, &mut text);
        switch.log_file().exists()
    });
    switch.fire_event(&Event::register_failure("after", "192.0.2.7"));
    wait_until("the line", || {
        drain(&mut reader, &mut text);
        switch.log_text().contains("user=\"after\"")
    });
}

fn after_a_long_stall_the_log_can_be_opened_anew() {
    let (switch, mut reader) = on_a_pipe("");
    // Enough for the writer to give back the memory that the stall has taken.
    switch.storm(2, 80_000, &failure());
    let mut text = Vec::new();
    wait_until("every line to be read", || {
        drain(&mut reader, &mut text);
        tally(&switch)[2] == 0
    });
    switch.api("fail2ban reopen");
    switch.storm(1, 10, &failure());
    wait_until("the lines after", || {
        drain(&mut reader, &mut text);
        tally(&switch)[1] == 80_010
    });
    assert!(switch.host_lines("ERR").is_empty(), "{:?}", switch.host_lines("ERR"));
}

fn a_writer_that_is_stuck_keeps_its_code_and_a_new_load_starts_afresh() {
    let (switch, mut reader) = on_a_pipe("");
    let own_threads = || {
        let threads = switch.resources().threads;
        threads.iter().filter(|name| name.contains("fail2ban")).count()
    };
    let before = own_threads();
    switch.storm(1, 5_000, &failure());
    let _ = switch.unload();
    let errors = switch.host_lines("ERR");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("stays in memory"), "{errors:?}");
    assert!(switch.has_code_mapped());
    let leaks = switch.leaks();
    assert!(leaks.as_object().unwrap().values().all(|count| *count == 0), "all is unbound: {leaks}");

    switch.write_config(&configuration(&logs_to(&switch.log_file(), "")));
    switch.load().unwrap();
    assert_eq!(tally(&switch), [0, 0, 0, 0]);
    switch.storm(1, 10, &failure());
    wait_until("the new writer", || failures_and_losses(&switch.log_text()) == (10, 0));
    // Nobody may be unloaded from under the old writer, nor does the new one have to stay for it.
    let _ = switch.unload();
    assert!(switch.has_code_mapped());
    let errors = switch.host_lines("ERR");
    assert!(errors[1].contains("an unload before this one has still not ended"), "{errors:?}");
    assert_eq!(own_threads(), 1, "the old writer alone");
    fs::remove_file(switch.log_file()).unwrap();
    switch.load().unwrap();
    switch.storm(1, 10, &failure());
    wait_until("the third writer", || failures_and_losses(&switch.log_text()) == (10, 0));

    // The old writer's call returns: what that has written is whole, nothing more is, and the file is closed.
    let (mut text, mut block) = (Vec::new(), [0; 65_536]);
    wait_until("the old writer to close its log", || match reader.read(&mut block) {
        Ok(0) => true,
        Ok(read) => {
            text.extend_from_slice(&block[..read]);
            false
        }
        Err(_) => false,
    });
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("Fail2ban stoping"), "it went on after its call had returned");
    assert!(text.ends_with("]\n"), "torn: {:?}", text.lines().last());
    assert!(failures_and_losses(&text).0 <= 5_000);
    wait_until("the old threads' end", || own_threads() == before);
    assert_eq!(failures_and_losses(&switch.log_text()), (10, 0));
    // After an unload that ended stuck the library may stay, but nothing of this load does.
    switch.unload().unwrap();
    assert_eq!(own_threads(), 0);
}
