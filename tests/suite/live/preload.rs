//! Loaded from `pre_load_modules.conf.xml`: before FreeSWITCH's database and before the modules that serve its
//! directory, and shut down after them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::look_ups::Directory;
use super::site::{LUA, Plan, Site, XML_CURL};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::V4;
use crate::support::fail2ban::network::{Network, Peer, Transport};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [needs::free_switch, needs::network, stock::is_installed];
    suite.add(
        &[&needs[..], &[stock::has_lua]].concat(),
        tests![
            before_a_directory_in_lua_nothing_is_hidden_and_all_is_written_at_the_shutdown,
            it_can_be_reloaded_and_unloaded_and_loaded_again
        ],
    );
    suite.add(
        &[&needs[..], &[stock::has_xml_curl]].concat(),
        tests![before_a_directory_over_http_nothing_is_hidden_and_all_is_written_at_the_shutdown],
    );
}

const PARAMS: &str = r#"<param name="format" value="dated"/><param name="known-for" value="1d"/>
    <param name="events" value="register_failure,challenge_unanswered,auth_unconfirmed,acl_reject"/>"#;

/// Makes the directory one of Lua's.
fn serve_by_lua(conf: &Path) {
    let script = conf.join("directory.lua");
    let text = format!(
        r#"local user = params:getHeader("user")
           local domain = params:getHeader("domain")
           if user and domain then
             XML_STRING = '<document type="freeswitch/xml"><section name="directory"><domain name="' .. domain ..
               '"><groups><group name="all"><users><user id="' .. user ..
               '"><params><param name="password" value="{PASSWORD}"/></params></user></users></group></groups></domain></section></document>'
           end"#
    );
    fs::write(&script, text).expect("the script");
    let settings = format!(
        r#"<configuration name="lua.conf"><settings>
             <param name="xml-handler-script" value="{}"/><param name="xml-handler-bindings" value="directory"/>
           </settings></configuration>"#,
        script.display()
    );
    fs::write(conf.join("autoload_configs/lua.conf.xml"), settings).expect("its settings");
}

/// A site with the module before all others.
fn preloaded(after: &[&'static str], prepare: impl FnOnce(&Network, &Path)) -> Site {
    let conf = configuration(PARAMS);
    let plan = Plan { fail2ban_conf: &conf, after, is_preloaded: true, ..Plan::default() };
    let site = Site::stock(&plan, prepare);
    wait_until("the completions", || site.cli("show complete").contains("fail2ban"));
    site
}

fn send(site: &Site, from: &Peer, method: &str, headers: &str, password: &str) -> Vec<u16> {
    let domain = site.network.attacker.server(V4).to_string();
    let server = site.port(V4, SIP);
    let mut agent = Agent::new(&from.namespace, from.address(V4), Transport::Udp, server, &domain);
    let answer = Answer::Password(password);
    agent.send(&Request { method, user: b"1002", headers, answer, ..Request::default() })
}

/// A phone that does what phones do, and an attacker: nothing that they send is hidden.
fn nothing_is_hidden(site: &Site) {
    let (good, bad) = (&site.network.bystander, &site.network.attacker);
    for _ in 0..3 {
        assert_eq!(send(site, good, "REGISTER", "Expires: 300\r\n", PASSWORD), [401, 200]);
        assert_eq!(send(site, good, "SUBSCRIBE", "Event: dialog\r\nExpires: 300\r\n", PASSWORD), [407, 202]);
        assert_eq!(send(site, bad, "REGISTER", "Expires: 300\r\n", "guess"), [401, 403]);
    }
    wait_until("six attempts", || site.status()["look_ups"]["attempts_seen"] == 6);
    let look_ups = &site.status()["look_ups"];
    assert_eq!(look_ups["attempts_hidden"], 0, "{look_ups}");
    assert!(!site.cli("fail2ban status").contains("HIDDEN"));
    wait_until("the phone to be known", || {
        !site.cli(&format!("fail2ban known {}", good.address(V4))).starts_with("-ERR")
    });
}

/// Shuts FreeSWITCH down with lines on their way, and sees them all in the log.
fn all_is_written_at_the_shutdown(site: &mut Site, failures: usize) {
    let bad = &site.network.attacker;
    for _ in 0..3 {
        assert_eq!(send(site, bad, "REGISTER", "Expires: 300\r\n", "guess"), [401, 403]);
    }
    let seen = || site.status()["signals"]["register_failure"]["seen"].clone();
    wait_until("the failures", || seen() == failures + 3);
    let status = site.shut_down();
    assert!(status.success(), "{status}");
    let text = site.log_text();
    assert_eq!(text.matches(" register_failure ip=").count(), failures + 3, "{text}");
    assert!(text.lines().last().is_some_and(|line| line.contains("Fail2ban stoping")), "{text}");
    let state = fs::read_to_string(site.path("db/fail2ban.state")).expect("what is known is saved");
    assert!(state.contains("1002@"), "{state}");
}

fn before_a_directory_in_lua_nothing_is_hidden_and_all_is_written_at_the_shutdown() {
    let mut site = preloaded(&[LUA], |_, conf| serve_by_lua(conf));
    nothing_is_hidden(&site);
    all_is_written_at_the_shutdown(&mut site, 3);
}

fn before_a_directory_over_http_nothing_is_hidden_and_all_is_written_at_the_shutdown() {
    let mut directory = None;
    let mut site = preloaded(&[XML_CURL], |network, conf| {
        directory = Some(Directory::start(&network.server, Duration::ZERO));
        Directory::write_settings(conf);
    });
    nothing_is_hidden(&site);
    all_is_written_at_the_shutdown(&mut site, 3);
    directory.expect("it was started").stop(&site.network.server);
}

fn it_can_be_reloaded_and_unloaded_and_loaded_again() {
    let mut site = preloaded(&[LUA], |_, conf| serve_by_lua(conf));
    nothing_is_hidden(&site);
    assert!(site.cli("fail2ban reload").starts_with("+OK"));
    assert!(site.cli("reload mod_fail2ban").contains("+OK"));
    assert!(site.cli("unload mod_fail2ban").contains("+OK"));
    wait_until("the completions to go", || !site.cli("show complete").contains("fail2ban"));
    assert!(site.cli("load mod_fail2ban").contains("+OK"));
    // It is behind Lua now, and says so; but for the first two seconds.
    let bad = &site.network.attacker;
    let mut failures = 3;
    wait_until("a hidden lookup to show", || {
        assert_eq!(send(&site, bad, "REGISTER", "Expires: 300\r\n", "guess"), [401, 403]);
        failures += 1;
        site.cli("fail2ban status").contains("HIDDEN")
    });
    let status = site.shut_down();
    assert!(status.success(), "{status}");
    assert_eq!(site.log_text().matches(" register_failure ip=").count(), failures, "{}", site.log_text());
}
