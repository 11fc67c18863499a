//! The answer that has credentials refused: what is in it, and that nothing of it stays if it can't be made. A program
//! by itself, since it has the stand-in's functions in it.
#![allow(missing_docs, reason = "a program")]

#[path = "stand_in/host/mod.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod host;
#[path = "../src/sys.rs"]
#[allow(dead_code, reason = "as above")]
mod sys;

use std::ffi::CString;

use host::{answer, failures};
use mod_fail2ban::host::refusal::refusing_user;
use parking_lot::Mutex;

/// There is one host, and so one test at a time.
static HOST: Mutex<()> = Mutex::new(());

/// Gives the host an answer for this domain and address, which it takes if it is the one that refuses them.
fn is_taken(domain: &[u8], ip: &str) {
    let answer = refusing_user(domain, ip.as_bytes()).expect("an answer");
    let [domain, ip] = [domain, ip.as_bytes()].map(|text| CString::new(text).expect("no NUL"));
    answer::take(answer.into_raw().cast(), &domain, Some(&ip));
}

#[test]
fn whatever_domain_and_address_are_asked_for_the_user_is_there_and_refused() {
    let _one = HOST.lock();
    let long = vec![b'x'; 70_000];
    let domains: [&[u8]; 8] =
        [b"10.99.0.1", b"", b"<!--", b"\xff\xfe", b"ARRAY::a|:b", b"a\"b'&c;</domain>", b"!x", &long];
    for domain in domains {
        for ip in ["10.99.0.2", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0.5"] {
            is_taken(domain, ip);
        }
    }
    assert_eq!(answer::documents(), 0);
}

#[test]
fn what_is_no_address_is_not_answered() {
    let _one = HOST.lock();
    for ip in ["", "10.99.0.2 ", "<!--", "10.99.0.2\"", "a&b", "1.2.3.4/8"] {
        assert!(refusing_user(b"switch.example", ip.as_bytes()).is_none(), "{ip:?}");
    }
    assert!(refusing_user(b"a\0b", b"10.99.0.2").is_none());
    assert_eq!(answer::documents(), 0);
}

#[test]
fn an_answer_that_is_not_given_is_freed() {
    let _one = HOST.lock();
    let answer = refusing_user(b"switch.example", b"10.99.0.2");
    assert_eq!(answer::documents(), 1);
    drop(answer);
    assert_eq!(answer::documents(), 0);
}

#[test]
fn each_step_that_fails_gives_no_answer_and_frees_what_there_was() {
    let _one = HOST.lock();
    let mut failed = Vec::new();
    for function in ["switch_xml_parse_str_dynamic", "switch_xml_child", "switch_xml_set_attr_d"] {
        for nth in 1.. {
            failures::fail(Some((function, nth))).expect("it can be made to fail");
            let answer = refusing_user(b"switch.example", b"10.99.0.2");
            if failures::is_pending() {
                assert!(answer.is_some(), "{function}: nothing has failed");
                failures::fail(None).expect("it is taken back");
                failed.push((function, nth - 1));
                break;
            }
            assert!(answer.is_none(), "{function}, call {nth}");
            assert_eq!(answer::documents(), 0, "{function}, call {nth}");
        }
    }
    // So many calls of each were seen to fail: the document, five elements, three attributes.
    let calls = [("switch_xml_parse_str_dynamic", 1), ("switch_xml_child", 5), ("switch_xml_set_attr_d", 3)];
    assert_eq!(failed, calls);
}
