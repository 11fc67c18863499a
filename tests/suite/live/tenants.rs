//! Two tenants with the same extension in each, where Lua serves directory, sofia.conf and acl.conf, as FusionPBX has
//! it.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::agent::{Agent, Answer, Request};
use super::configuration::{GUARDED_SIP, SIP, sofia_profile};
use super::guesser::assert_refused;
use super::site::{LUA, Plan, Site};
use super::stock;
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Peer;
use crate::support::fail2ban::network::Transport::Udp;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::wait_until;

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network, stock::is_installed, stock::has_lua],
        tests![
            loaded_before_all_others_it_judges_each_tenant_by_itself,
            first_in_modules_conf_it_judges_each_tenant_by_itself,
            what_lua_serves_as_sofia_conf_and_acl_conf_is_read_once_freeswitch_has_started,
        ],
    );
}

/// Their domains. The password of a user is `of-` and the domain.
const A: &str = "tenant-a.test";
const B: &str = "tenant-b.test";
/// So many failures make an attacker.
const ATTACKER_AFTER: usize = 10;
const REGISTER: &str = "Expires: 300\r\n";

/// Has Lua serve what else is in the files of `conf`, with this in each of sofia's profiles that has an ACL.
fn serve_by_lua(conf: &Path, ips: [IpAddr; 2], guards: &str) {
    for name in ["sofia.conf", "acl.conf"] {
        fs::remove_file(conf.join(format!("autoload_configs/{name}.xml"))).expect("a file of this name");
    }
    fs::remove_dir_all(conf.join("directory")).expect("a directory in files");
    write_sofia_conf(conf, ips, guards);
    let acls = r#"<configuration name="acl.conf"><network-lists>
        <list name="lan" default="deny"><node type="allow" cidr="192.0.2.0/24"/></list>
        <list name="friends" default="deny"><node type="allow" cidr="10.99.2.77/32"/></list>
        </network-lists></configuration>"#;
    fs::write(conf.join("lua-acl.conf.xml"), acls).expect("what Lua serves");
    let script = conf.join("serve.lua");
    let text = format!(
        r#"local function document(section, text)
             XML_STRING = '<document type="freeswitch/xml"><section name="' .. section .. '">' .. text .. '</section></document>'
           end
           if XML_REQUEST["section"] == "configuration" then
             local file = io.open("{folder}/lua-" .. XML_REQUEST["key_value"] .. ".xml")
             if file then
               document("configuration", file:read("*a"))
               file:close()
             end
           elseif XML_REQUEST["section"] == "directory" then
             local user, domain = params:getHeader("user"), params:getHeader("domain")
             local is_there = user == "1001" or user == "1002"
             if is_there and (domain == "{A}" or domain == "{B}") then
               document("directory", '<domain name="' .. domain .. '" alias="true"><groups><group name="default"><users><user id="' ..
                 user .. '"><params><param name="password" value="of-' .. domain ..
                 '"/></params></user></users></group></groups></domain>')
             else
               document("result", '<result status="not found"/>')
             end
           end"#,
        folder = conf.display()
    );
    fs::write(&script, text).expect("the script");
    let settings = format!(
        r#"<configuration name="lua.conf"><settings>
             <param name="xml-handler-script" value="{}"/>
             <param name="xml-handler-bindings" value="configuration,directory"/>
           </settings></configuration>"#,
        script.display()
    );
    fs::write(conf.join("autoload_configs/lua.conf.xml"), settings).expect("its settings");
}

fn write_sofia_conf(conf: &Path, ips: [IpAddr; 2], guards: &str) {
    let open = r#"<param name="auth-calls" value="true"/><param name="auth-subscriptions" value="true"/>
        <param name="auth-messages" value="true"/>"#;
    let guarded = format!(
        r#"<param name="auth-calls" value="false"/><param name="apply-inbound-acl" value="lan"/>{guards}"#
    );
    let mut profiles = String::new();
    for (number, ip) in ips.into_iter().enumerate() {
        for (name, port, access) in [("open", SIP, open), ("guarded", GUARDED_SIP, &guarded)] {
            let profile = sofia_profile(&format!("{name}{number}"), ip, port, access);
            // The domain is the one that a phone asks for.
            let profile =
                profile.replace("\"manage-presence\" value=\"false\"", "\"manage-presence\" value=\"true\"");
            let profile = profile.lines().filter(|line| !line.contains("name=\"force-register-"));
            profiles += &profile.collect::<Vec<_>>().join("\n");
        }
    }
    let text = format!(
        r#"<configuration name="sofia.conf"><global_settings/><profiles>{profiles}</profiles></configuration>"#
    );
    fs::write(conf.join("lua-sofia.conf.xml"), text).expect("what Lua serves");
}

fn site(is_preloaded: bool, more: &str) -> Site {
    let shipped = include_str!("../../../conf/autoload_configs/fail2ban.conf.xml");
    let conf = shipped.replace("</config>", &format!("{more}</config>"));
    let plan = Plan { fail2ban_conf: &conf, after: &[LUA], is_preloaded, ..Plan::default() };
    Site::stock(&plan, |network, conf| {
        serve_by_lua(conf, [V4, V6].map(|family| network.attacker.server(family)), "");
    })
}

fn agent(site: &Site, from: &Peer, family: Family, domain: &str) -> Agent {
    Agent::new(&from.namespace, from.address(family), Udp, site.port(family, SIP), domain)
}

fn register<'a>(user: &'a str, password: &'a str) -> Request<'a> {
    Request {
        user: user.as_bytes(),
        headers: REGISTER,
        answer: Answer::Password(password),
        ..Request::default()
    }
}

fn of(domain: &str) -> String {
    format!("of-{domain}")
}

fn loaded_before_all_others_it_judges_each_tenant_by_itself() {
    each_tenant_is_judged_by_itself(&site(true, ""));
}

fn first_in_modules_conf_it_judges_each_tenant_by_itself() {
    each_tenant_is_judged_by_itself(&site(false, ""));
}

fn each_tenant_is_judged_by_itself(site: &Site) {
    let (office, bad) = (&site.network.bystander, &site.network.attacker);
    let why = |whom: &str| site.cli(&format!("fail2ban why {whom}"));
    // Both are behind one address; the one's password is none of the other's.
    let mut in_a = agent(site, office, V4, A);
    assert_eq!(in_a.send(&register("1001", &of(A))), [401, 200]);
    wait_until("the office to be known", || {
        site.cli(&format!("fail2ban known {}", office.address(V4))).contains(&format!(" 1001@{A}"))
    });
    let mut in_b = agent(site, office, V4, B);
    for _ in 0..ATTACKER_AFTER {
        assert_eq!(in_b.send(&register("1001", &of(A))), [401, 403]);
    }
    // The account is silenced, for a minute; the office and its namesake are not.
    assert_eq!(in_b.send(&register("1001", &of(B))), [401, 403]);
    assert_eq!(in_b.send(&register("1002", &of(B))), [401, 200]);
    assert_eq!(in_a.send(&register("1001", &of(A))), [401, 200]);
    wait_until("the failures", || why(&format!("1001@{B}")).contains("10 failures"));
    assert!(why(&format!("1001@{B}")).contains("refused"), "{}", why(&format!("1001@{B}")));
    let namesake = why(&format!("1001@{A}"));
    assert!(namesake.contains("no failures that count; refused nowhere"), "{namesake}");
    site.cli(&format!("fail2ban forgive 1001@{B}"));
    assert_eq!(in_b.send(&register("1001", &of(B))), [401, 200]);

    // A guesser, by all that can be refused.
    let mut guesser = agent(site, bad, V4, A);
    for _ in 0..ATTACKER_AFTER {
        assert_eq!(guesser.send(&register("1001", "guess")), [401, 403]);
    }
    assert_refused(&mut guesser, "1001", &of(A));
    // Somebody who asks for users that no tenant has, and for tenants that are none.
    for (number, domain) in [A, B, "tenant-c.test", A].into_iter().enumerate() {
        let user = format!("nobody{number}");
        assert_eq!(agent(site, bad, V6, domain).send(&register(&user, "guess")), [401, 403]);
    }
    wait_until("both attackers", || site.log_text().matches(" mod_fail2ban: attacker ").count() == 2);
    let text = site.log_text();
    let ip = bad.address(V4);
    assert!(text.contains(&format!(" attacker source={ip} ip={ip} known=no ")), "{text}");
    let network = format!(" attacker source={} ip={} known=no ", bad.network(), bad.address(V6));
    let line = text.lines().find(|line| line.contains(&network)).unwrap_or_else(|| panic!("{text}"));
    // Of the last one the failure may come before the warning, and is enough.
    assert!(line.contains("unknown_user=4") || line.contains("failure=1 unknown_user=3"), "{line}");

    let look_ups = &site.status()["look_ups"];
    assert_eq!(look_ups["attempts_hidden"], 0, "{look_ups}");
    assert!(!site.cli("fail2ban status").contains("HIDDEN"));
}

/// A rejection by an ACL counts only if sofia.conf leaves no doubt that the address comes from the network.
fn what_lua_serves_as_sofia_conf_and_acl_conf_is_read_once_freeswitch_has_started() {
    let site = site(true, r#"<param name="trusted-acl" value="friends"/>"#);
    let stranger = &site.network.bystander;
    let ips = [V4, V6].map(|family| site.network.attacker.server(family));
    let call = |family| {
        let (ip, server) = (stranger.address(family), site.port(family, GUARDED_SIP));
        let mut agent = Agent::new(&stranger.namespace, ip, Udp, server, A);
        let call = Request { method: "INVITE", user: b"x", to: Some("9196"), ..Request::default() };
        // FreeSWITCH takes so many new calls a second.
        wait_until("a rejection", || agent.send(&call) == [403]);
    };
    let lines = |family| {
        let line = format!(" acl_reject ip={} ", stranger.address(family));
        site.log_text().matches(&line).count()
    };
    // The settings are read again two seconds after the start.
    wait_until("a rejection to count", || {
        call(V4);
        lines(V4) > 0
    });
    assert!(!site.host_log().contains("is not in acl.conf"), "{}", site.host_log());
    call(V6);
    wait_until("the next to count", || lines(V6) == 1);
    let before = lines(V4);

    // A profile that trusts proxies: the address may be the text of a header.
    write_sofia_conf(&site.path("conf"), ips, r#"<param name="apply-proxy-acl" value="friends"/>"#);
    assert!(site.cli("fail2ban reload").starts_with("+OK"));
    (0..3).for_each(|_| call(V4));
    write_sofia_conf(&site.path("conf"), ips, "");
    assert!(site.cli("fail2ban reload").starts_with("+OK"));
    call(V6);
    wait_until("the next to count", || lines(V6) == 2);
    assert_eq!(lines(V4), before, "{}", site.log_text());
}
