//! Any bytes as a line of FreeSWITCH's log: nothing panics, and nobody but its sender is accused of an unknown user.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::event::host_line;
use mod_fail2ban::memory::lookup::{Client, Lookup};
use mod_fail2ban::memory::unknown::Unknown;

fuzz_target!(|input: &[u8]| {
    drop(host_line::parse(input, false));
    drop(host_line::parse(input, true));

    // 0xFE, which UTF-8 never has, separates the user from the domain.
    let mut parts = input.splitn(2, |byte| *byte == 0xFE);
    let (user, domain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let lookup = |ip: &'static str, user, domain| Lookup {
        ip: ip.parse().expect("an address"),
        address: ip.as_bytes(),
        client: Some(Client { ip: ip.parse().expect("an address"), trusted: false }),
        port: None,
        from_user: b"",
        method: b"REGISTER",
        call_id: b"",
        transport: None,
        user,
        realm: b"",
        domain,
        profile: b"",
        agent: b"",
    };
    let mut unknown = Unknown::default();
    unknown.looked_up(&lookup("192.0.2.1", b"victim", b"x"));
    unknown.looked_up(&lookup("192.0.2.7", user, domain));
    let (user, domain) = (String::from_utf8_lossy(user), String::from_utf8_lossy(domain));
    let line = format!(
        "Can't find user [{user}@{domain}] from 192.0.2.7\nYou must define a domain called '{domain}' in your directory and \
         add a user with the id=\"{user}\" attribute\nand you must configure your device to use the proper domain in its \
         authentication credentials.\n"
    );
    for line in [input, line.as_bytes()] {
        if let Some(looked) = unknown.warned(line) {
            assert_eq!(looked.ip.to_string(), "192.0.2.7");
        }
    }
});
