//! Calls to nowhere in FreeSWITCH's stock configuration, among a thousand calls that are none.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::agent::{Agent, Answer, Request};
use super::configuration::SIP;
use super::site::{Plan, Site};
use super::stock::{self, EXTERNAL_SIP, PASSWORD};
use crate::support::fail2ban::network::Family::{self, V4, V6};
use crate::support::fail2ban::network::Transport::{self, Tcp, Udp};
use crate::support::fail2ban::network::{Network, Peer};
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{configuration, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    suite.add(
        &[needs::free_switch, needs::network, stock::is_installed],
        tests![strangers_calls_that_nothing_takes_are_logged_and_of_a_thousand_others_none],
    );
}

const PARAMS: &str = r#"<param name="events" value="call_to_nowhere,reported"/>
    <param name="format" value="dated"/><param name="known-for" value="1d"/>"#;

/// Profiles beside the stock ones, by their ports. The list `trunks` holds the bystander.
const AUTH_OR_ACL: u16 = 5090;
const ACL: u16 = 5091;
const ACL_OR_OTHER_CONTEXT: u16 = 5092;
const BLIND_AUTH: u16 = 5093;
const ONLY_G722: u16 = 5094;
const PROFILES: [(u16, &str); 5] = [
    (
        AUTH_OR_ACL,
        r#"<param name="auth-calls" value="true"/><param name="apply-inbound-acl" value="trunks"/>"#,
    ),
    (ACL, r#"<param name="auth-calls" value="false"/><param name="apply-inbound-acl" value="trunks"/>"#),
    (
        ACL_OR_OTHER_CONTEXT,
        r#"<param name="auth-calls" value="false"/><param name="apply-inbound-acl" value="trunks:public:empty"/>"#,
    ),
    (BLIND_AUTH, r#"<param name="auth-calls" value="true"/><param name="accept-blind-auth" value="true"/>"#),
    (
        ONLY_G722,
        r#"<param name="auth-calls" value="false"/><param name="inbound-codec-prefs" value="G722"/>
           <param name="inbound-late-negotiation" value="false"/>"#,
    ),
];

/// Where a telephone answers with the status that is called.
const TELEPHONE: u16 = 5999;
/// How often each of the usual calls is made.
const TIMES: usize = 45;
/// A number that nothing takes.
const NUMBER: &str = "9011441234567";

const EITHER: &str = "telephone-gone-then-hung-up";

/// What the dialplan does with a number, and what the caller is answered.
const TAKEN: [(&str, u16, &str); 20] = [
    ("answered", 200, "answer; park"),
    ("busy", 486, "respond 486 Busy Here"),
    ("declined", 603, "respond 603 Decline"),
    ("hung-up-busy", 486, "hangup USER_BUSY"),
    ("hung-up-rejected", 603, "hangup CALL_REJECTED"),
    ("redirected", 302, "redirect sip:somebody@10.99.2.2"),
    ("redirected-with-a-cause", 300, "redirect sip:somebody@10.99.2.2 NORMAL_CLEARING"),
    ("over-a-limit", 480, "limit hash live limit 0"),
    ("over-a-limit-busy", 486, "limit hash live limit-busy 0 !USER_BUSY"),
    ("announced", 404, "pre_answer; sleep 20; hangup UNALLOCATED_NUMBER"),
    ("announced-to-the-end", 480, "pre_answer; sleep 20"),
    ("rung", 480, "ring_ready; sleep 20"),
    ("transferred", 404, "transfer nobody XML empty"),
    ("no-codec", 488, "set absolute_codec_string=G722; answer"),
    ("not-registered", 480, "bridge user/1000@10.99.1.1"),
    ("no-gateway", 484, "bridge sofia/gateway/nowhere/1"),
    ("telephone-busy", 486, "bridge sofia/external/486@10.99.2.2:5999"),
    ("telephone-gone", 404, "bridge sofia/external/404@10.99.2.2:5999"),
    (EITHER, 404, "set continue_on_fail=true; bridge sofia/external/404@10.99.2.2:5999"),
    (
        "telephone-forwards",
        486,
        "set continue_on_fail=true; bridge sofia/external/302@10.99.2.2:5999; hangup",
    ),
];

/// The same for what takes long, or is given up.
const SLOW: [(&str, &str); 4] = [
    ("waits", "sleep 3000"),
    ("parked", "park"),
    ("parked-for-a-second", "set park_timeout=1:NORMAL_CLEARING; park"),
    ("nobody-answers", "bridge [leg_timeout=1]sofia/external/1@10.99.2.99"),
];

/// What the dialplan may do with a number that nothing takes.
const REFUSED: [(&str, u16, &str); 4] = [
    ("hung-up", 480, "hangup"),
    ("not-found", 404, "respond 404 Not Found"),
    ("incomplete", 484, "respond 484 Address Incomplete"),
    ("hung-up-unallocated", 404, "hangup UNALLOCATED_NUMBER"),
];
const REPORTED: (&str, &str) = ("reported", "fail2ban_report call-to-nowhere");

fn dialplan() -> String {
    let taken = TAKEN.iter().chain(&REFUSED).map(|(number, _, actions)| (number, actions));
    let slow = SLOW.iter().chain([&REPORTED]).map(|(number, actions)| (number, actions));
    // FreeSWITCH drops each line that has "include" in it.
    let mut text = "<include>\n".to_owned();
    for (number, actions) in taken.chain(slow) {
        text += &format!(
            "<extension name=\"{number}\"><condition field=\"destination_number\" expression=\"^{number}$\">"
        );
        for action in actions.split("; ") {
            let (application, data) = action.split_once(' ').unwrap_or((action, ""));
            text += &format!("<action application=\"{application}\" data=\"{data}\"/>");
        }
        text += "</condition></extension>";
    }
    text + "\n</include>"
}

fn profiles(ip: IpAddr) -> String {
    let mut text = "<include>\n".to_owned();
    for (port, params) in PROFILES {
        text += &format!(
            r#"<profile name="port{port}"><domains/><settings>
                 <param name="sip-ip" value="{ip}"/><param name="rtp-ip" value="{ip}"/>
                 <param name="sip-port" value="{port}"/><param name="dialplan" value="XML"/>
                 <param name="context" value="public"/><param name="inbound-codec-prefs" value="PCMU"/>
                 <param name="inbound-late-negotiation" value="true"/><param name="manage-presence" value="false"/>
                 {params}
               </settings></profile>"#
        );
    }
    text + "\n</include>"
}

fn prepare(network: &Network, conf: &Path) {
    let write = |file: &str, text: &str| fs::write(conf.join(file), text).expect(file);
    // The extension that is shipped would report what nothing takes.
    let _ = fs::remove_file(conf.join("dialplan/public/99_fail2ban_nowhere.xml"));
    for context in ["public", "default"] {
        write(&format!("dialplan/{context}/01_calls.xml"), &dialplan());
    }
    write("sip_profiles/nowhere.xml", &profiles(network.attacker.server(V4)));
    let acl = fs::read_to_string(conf.join("autoload_configs/acl.conf.xml")).expect("acl.conf");
    let trunks = "<list name=\"trunks\" default=\"deny\"><node type=\"allow\" cidr=\"10.99.2.0/24\"/></list>";
    let acl = acl.replace("</network-lists>", &format!("{trunks}</network-lists>"));
    write("autoload_configs/acl.conf.xml", &acl);
}

/// A telephone that answers each call with the status that is called, until the test ends.
fn answer_calls(at: &Peer) {
    let address = SocketAddr::new(at.address(V4), TELEPHONE);
    let socket = at.namespace.run(|| UdpSocket::bind(address)).expect("the telephone's socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    std::thread::spawn(move || {
        let mut room = [0; 65536];
        while let Ok((size, from)) = socket.recv_from(&mut room) {
            let request = String::from_utf8_lossy(&room[..size]).into_owned();
            let Some(rest) = request.strip_prefix("INVITE sip:") else { continue };
            let status = rest.split('@').next().unwrap_or_default();
            let copied = ["via:", "from:", "call-id:", "cseq:"];
            let mut reply = format!("SIP/2.0 {status} As called\r\n");
            for line in request.lines().take_while(|line| !line.is_empty()) {
                let lower = line.to_ascii_lowercase();
                if copied.iter().any(|name| lower.starts_with(name)) {
                    reply += &format!("{line}\r\n");
                } else if lower.starts_with("to:") {
                    reply += &format!("{line};tag=telephone\r\n");
                }
            }
            reply += &format!("Contact: <sip:486@{address}>\r\nContent-Length: 0\r\n\r\n");
            let _ = socket.send_to(reply.as_bytes(), from);
        }
    });
}

struct Calls<'a> {
    site: &'a Site,
    made: std::cell::Cell<usize>,
}

impl Calls<'_> {
    fn agent(&self, from: &Peer, family: Family, transport: Transport, port: u16) -> Agent {
        let server = self.site.port(family, port);
        Agent::new(&from.namespace, from.address(family), transport, server, "10.99.1.1")
    }

    /// Calls a number so many times, each time with this answer.
    fn make(&self, agent: &mut Agent, times: usize, number: &str, answer: Answer<'_>, status: u16) {
        // Of a name that the directory has, blind authentication takes the context.
        let user: &[u8] = if matches!(answer, Answer::Never) { b"nobody" } else { b"1001" };
        let method = "INVITE";
        for _ in 0..times {
            let request = Request { method, user, to: Some(number), answer, ..Request::default() };
            let mut got = agent.send(&request);
            // Until the next second FreeSWITCH takes as few as in the stock settings.
            while got == [503] {
                std::thread::sleep(Duration::from_millis(100));
                got = agent.send(&request);
            }
            // Where the dialplan ends after a leg that failed, it depends on FreeSWITCH's threads which cause is sent.
            let is_either = number == EITHER && got.last() == Some(&480);
            assert!(is_either || got.last() == Some(&status), "{number}: {got:?}");
        }
        self.made.set(self.made.get() + times);
    }

    fn give_up(&self, agent: &mut Agent, times: usize, number: &str) {
        for _ in 0..times {
            let request = Request { method: "INVITE", user: b"1001", to: Some(number), ..Request::default() };
            assert_eq!(agent.give_up(&request), Some(487), "{number}");
        }
        self.made.set(self.made.get() + times);
    }

    /// Waits until FreeSWITCH has done with all calls, and gives the module's lines.
    fn lines(&self, count: usize) -> Vec<String> {
        wait_until("the end of all calls", || self.site.cli("show channels count").starts_with("0 total"));
        let lines = self.site.wait_for_lines(count);
        let event = |line: &String| line.split_once(" mod_fail2ban: ").expect("a dated line").1.to_owned();
        lines.iter().map(event).collect()
    }
}

fn strangers_calls_that_nothing_takes_are_logged_and_of_a_thousand_others_none() {
    let plan = Plan { fail2ban_conf: &configuration(PARAMS), ..Plan::default() };
    let site = Site::stock(&plan, prepare);
    wait_until("the profiles", || site.cli("sofia status").matches("RUNNING").count() >= 4 + PROFILES.len());
    site.cli("fsctl sps 10000");
    let (stranger, trunk) = (&site.network.attacker, &site.network.bystander);
    answer_calls(trunk);
    let calls = Calls { site: &site, made: 0.into() };

    // What the dialplan takes.
    let mut agent = calls.agent(stranger, V4, Udp, EXTERNAL_SIP);
    for (number, status, _) in TAKEN {
        calls.make(&mut agent, TIMES, number, Answer::Never, status);
    }
    for (number, _) in &SLOW[..2] {
        calls.give_up(&mut agent, TIMES, number);
    }
    for (number, _) in &SLOW[2..] {
        calls.make(&mut agent, 3, number, Answer::Never, 480);
    }
    let mut agent = calls.agent(stranger, V4, Udp, ONLY_G722);
    calls.make(&mut agent, TIMES, NUMBER, Answer::Never, 488);
    // What strangers do not call.
    let mut agent = calls.agent(stranger, V4, Udp, SIP);
    calls.make(&mut agent, TIMES, "hung-up", Answer::Password(PASSWORD), 480);
    calls.make(&mut agent, TIMES, "not-found", Answer::Password(PASSWORD), 404);
    for port in [AUTH_OR_ACL, ACL, ACL_OR_OTHER_CONTEXT] {
        let mut agent = calls.agent(trunk, V4, Udp, port);
        calls.make(&mut agent, TIMES, NUMBER, Answer::Never, 480);
        calls.make(&mut agent, TIMES, "not-found", Answer::Never, 404);
    }
    assert_eq!(calls.lines(0), [""; 0]);
    assert!(calls.made.get() > 1000, "{}", calls.made.get());

    // What they call, in vain.
    let expected = |from: &Peer, family, profile: &str, transport: &str, number: &str, known: &str| {
        let ip = from.address(family);
        let start = format!("call_to_nowhere ip={ip} known={known} port=");
        let middle = format!(" profile=\"{profile}\" transport={transport} agent=\"live test\" call_id=\"");
        (start, middle, format!("\" from_user=\"nobody\" to_user=\"{number}\" user=\"\""))
    };
    let mut wanted = Vec::new();
    let mut call = |from: &Peer, family, transport, port, profile: &str, number: &str, status| {
        let mut agent = calls.agent(from, family, transport, port);
        calls.make(&mut agent, 5, number, Answer::Never, status);
        let transport = if transport == Udp { "udp" } else { "tcp" };
        // The stranger has logged in meanwhile.
        let known = if from.address(family) == stranger.address(V4) { "yes" } else { "no" };
        wanted.extend(vec![expected(from, family, profile, transport, number, known); 5]);
    };
    call(stranger, V4, Udp, EXTERNAL_SIP, "external", NUMBER, 480);
    call(stranger, V4, Tcp, EXTERNAL_SIP, "external", NUMBER, 480);
    call(stranger, V6, Udp, EXTERNAL_SIP, "external-ipv6", NUMBER, 480);
    call(stranger, V6, Tcp, EXTERNAL_SIP, "external-ipv6", NUMBER, 480);
    call(stranger, V4, Udp, ACL_OR_OTHER_CONTEXT, "port5092", NUMBER, 404);
    call(stranger, V4, Udp, BLIND_AUTH, "port5093", NUMBER, 480);
    // Let in elsewhere, but not by this profile.
    call(trunk, V4, Udp, EXTERNAL_SIP, "external", NUMBER, 480);
    for (number, status, _) in REFUSED {
        call(stranger, V4, Udp, EXTERNAL_SIP, "external", number, status);
    }
    let lines = calls.lines(wanted.len());
    for ((start, middle, end), line) in wanted.iter().zip(&lines) {
        let fits = line.starts_with(start) && line.contains(middle) && line.ends_with(end);
        assert!(fits, "{line}\nis not {start}…{middle}…{end}");
    }

    // What is reported counts once.
    let mut agent = calls.agent(stranger, V4, Udp, EXTERNAL_SIP);
    calls.make(&mut agent, 5, REPORTED.0, Answer::Never, 480);
    let lines = calls.lines(wanted.len() + 5);
    assert!(lines[wanted.len()..].iter().all(|line| line.starts_with("reported ip=")), "{lines:#?}");
}
