//! The ten good addresses, the ten attackers, and what each attacker does.

use std::thread;

use super::*;

pub const OFFICE: u8 = 16;
pub const FORGED_PHONE: u8 = 17;
pub const MISTYPER: u8 = 18;

pub fn good(family: Family) -> Addresses {
    let of = |host| address(family, NEIGHBOURS, host);
    let mut good: Addresses = (11..16).map(|host| (of(host), "a phone with twelve keys")).collect();
    good.extend([
        (of(FIRST), "a phone with twelve keys, over TCP"),
        (of(OFFICE), "an office with an old phone"),
        (of(FORGED_PHONE), "a phone in whose name somebody fails"),
        (of(TRUNK), "a trunk in whose name somebody fails"),
        (of(MISTYPER), "somebody who mistypes four times"),
    ]);
    assert_eq!(good.len(), 10);
    good
}

pub fn attackers(family: Family) -> Addresses {
    let names = [
        "guesses by REGISTER",
        "guesses once for each of many users",
        "guesses by INVITE",
        "guesses by SUBSCRIBE",
        "guesses by MESSAGE",
        "never answers",
        "answers with what it makes up",
        "calls to nowhere",
        "injects text",
    ];
    let mut attackers: Addresses =
        (11..).zip(names).map(|(host, name)| (address(family, ATTACKERS, host), name)).collect();
    attackers.insert(address(family, ATTACKERS, FIRST), "guesses by Verto");
    assert_eq!(attackers.len(), 10);
    attackers
}

pub fn attack<'scope>(street: &'scope Street<'_>, scope: &'scope thread::Scope<'scope, '_>) {
    let wrong = Answer::Password("guess");
    let register = Request { user: b"1000", headers: REGISTER, answer: wrong, ..Request::default() };
    scope.spawn(move || street.attack(11, SIP, |agent, _| agent.send(&register)));
    scope.spawn(move || {
        street.attack(12, SIP, |agent, number| {
            let user = (1000 + number).to_string();
            agent.send(&Request { user: user.as_bytes(), ..register })
        });
    });
    let invite = Request { method: "INVITE", to: Some("9196"), headers: "", ..register };
    scope.spawn(move || street.attack(13, SIP, |agent, _| send_patiently(agent, &invite)));
    let subscribe = Request { method: "SUBSCRIBE", to: Some("1001"), headers: BUSY_LAMP, ..register };
    scope.spawn(move || street.attack(14, SIP, |agent, _| agent.send(&subscribe)));
    let message = Request { method: "MESSAGE", to: Some("1001"), headers: TEXT, body: "x", ..register };
    scope.spawn(move || street.attack(15, SIP, |agent, _| agent.send(&message)));
    scope.spawn(move || {
        street.attack(16, SIP, |agent, _| agent.send(&Request { answer: Answer::Never, ..register }));
    });
    scope.spawn(move || {
        let hides = Request { answer: Answer::MadeUp, call_id: Some("always-the-same"), ..register };
        street.attack(17, SIP, |agent, _| agent.send(&hides));
    });
    scope.spawn(move || {
        let call = Request { to: Some("900441234567890"), answer: Answer::Never, ..invite };
        street.attack(18, EXTERNAL_SIP, |agent, _| send_patiently(agent, &call));
    });
    scope.spawn(move || {
        street.attack(19, SIP, |agent, number| {
            let name = INJECTIONS[number % INJECTIONS.len()];
            // FreeSWITCH compares the name in To with that of the credentials.
            let to = Some("1000");
            agent.send(&Request { user: name.as_bytes(), to, auth_user: to, ..register })
        });
    });
    scope.spawn(move || {
        for _ in 0..TRIES {
            let peer = &street.site.network.attacker;
            // Where the firewall has it, no connection is made any more.
            if verto::try_login(peer, street.site.port(street.family, VERTO), "1000", "guess") != Some(false)
            {
                return;
            }
        }
    });
}

/// Names that would have strangers banned, if they could.
const INJECTIONS: [&str; 4] = [
    "x] ip[8.8.8.8] at[",
    "\" ip=8.8.4.4 known=no user=\"",
    "fold\r\n 2026-11-22T00:51:58.493952+0000 mod_fail2ban: register_failure ip=2001:4860:4860::8888 user=",
    "fold\r\n A registration failed user[q] ip[9.9.9.9] at[",
];
