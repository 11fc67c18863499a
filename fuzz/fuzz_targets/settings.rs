//! Any text as `fail2ban.conf.xml`, and as what other files of FreeSWITCH's say: nothing panics, and an error is one line.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mod_fail2ban::settings::other_files::{self, SofiaAcls};
use mod_fail2ban::settings::{Settings, xml};

fuzz_target!(|input: &str| {
    let inside = format!("<configuration><bindings><config>{input}</config></bindings></configuration>");
    for text in [input, &inside] {
        match Settings::parse(text, Path::new("/")) {
            Ok((settings, _)) => assert!(!settings.refuse_attackers || settings.tracks_known()),
            Err(why) => assert!(why.starts_with("fail2ban.conf: ")),
        }
        let _ = SofiaAcls::parse(text);
        let _ = other_files::left_out_by_allowlist(text);
        xml::has_password(text);
    }
});
