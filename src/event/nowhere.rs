//! Calls to nowhere: which of the calls that have ended FreeSWITCH refused because nothing takes their number.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use crate::event::field::{Field, Texts};
use crate::event::headers::{Header, Headers};

/// The variable of a channel that says that its call was reported, and so counts already.
pub const REPORTED: &CStr = c"fail2ban_reported";

/// What is read from CHANNEL_HANGUP_COMPLETE. All of it is FreeSWITCH's own: what a caller may name gets a prefix
/// (`sip_h_…`). (Seen in FreeSWITCH 1.10.12 and 1.11.2, and read in their sources.)
pub static CALL_END: Headers = Headers::new(&[
    Header::new("Hangup-Cause", Field::Cause),
    Header::new("Call-Direction", Field::Direction),
    Header::new("Caller-Caller-ID-Number", Field::FromUser),
    Header::new("Caller-Destination-Number", Field::ToUser),
    Header::new("variable_sip_call_id", Field::CallId),
    Header::new("variable_sip_network_ip", Field::Ip),
    Header::new("variable_sip_network_port", Field::Port),
    Header::new("variable_sip_via_protocol", Field::Transport),
    Header::new("variable_sofia_profile_name", Field::Profile),
    Header::new("variable_sip_user_agent", Field::Agent),
    Header::new("variable_sip_hangup_disposition", Field::Disposition),
    Header::new("variable_current_application", Field::Application),
    Header::new("variable_answer_epoch", Field::AnsweredAt),
    Header::new("variable_progress_epoch", Field::RangAt),
    Header::new("variable_progress_media_epoch", Field::EarlyMediaAt),
    Header::new("variable_bridge_epoch", Field::BridgedAt),
    Header::new("variable_sip_authorized", Field::Success),
    Header::new("variable_sip_auth_username", Field::AuthUser),
    // Any of these says that it is none, so which of them it is does not matter: an ACL let it in, it was sent to
    // another leg, or to another place in the dialplan (by `limit` as well), or it was reported.
    Header::new("variable_sip_acl_authed_by", Field::Excuse),
    Header::new("variable_originate_disposition", Field::Excuse),
    Header::new("variable_transfer_history", Field::Excuse),
    Header::new("variable_fail2ban_reported", Field::Excuse),
]);

/// How a call ends that nothing takes: the dialplan answers 404 or 484 or has no extension for it, or it has one that
/// comes to its end without having done anything with the call, as the last of the stock public context.
const CAUSES: [&[u8]; 4] =
    [b"UNALLOCATED_NUMBER", b"NO_ROUTE_DESTINATION", b"INVALID_NUMBER_FORMAT", b"NORMAL_CLEARING"];

/// Whether a call that has ended is one that a stranger made to nowhere.
pub fn is_call_to_nowhere(end: &Texts<'_>) -> bool {
    let cause = end.or_empty(Field::Cause);
    let never = |field| matches!(end.get(field), None | Some(b"" | b"0"));
    // With blind authentication, FreeSWITCH calls anybody authorized; only credentials have a user name.
    let is_logged_in = end.get(Field::Success) == Some(b"true") && !end.or_empty(Field::AuthUser).is_empty();
    end.get(Field::Direction) == Some(b"inbound")
        && end.get(Field::Disposition) == Some(b"send_refuse")
        && CAUSES.contains(&cause)
        && !is_taken_by(end.or_empty(Field::Application), cause)
        && [Field::AnsweredAt, Field::RangAt, Field::EarlyMediaAt, Field::BridgedAt].into_iter().all(never)
        && !is_logged_in
        && end.get(Field::Excuse).is_none()
}

/// Whether the last application has taken the call all the same. `redirect` answers 300 or 302, with any cause that the
/// dialplan gives it. `respond` has a cause of its own for all that it can answer; 3xx it can't, and the call ends after
/// it. What is parked somebody hangs up.
fn is_taken_by(application: &[u8], cause: &[u8]) -> bool {
    match application {
        b"redirect" | b"park" => true,
        b"respond" => cause == b"NORMAL_CLEARING",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// As a binding reads an event: the first header of a name counts.
    fn texts<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Texts<'a> {
        let mut texts = Texts::default();
        for (name, value) in headers {
            let header = CALL_END.list.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            if let Some(header) = header.filter(|header| texts.get(header.field).is_none()) {
                texts.set(header.field, Some(value.as_bytes()));
            }
        }
        texts
    }

    fn recorded() -> Vec<Map<String, Value>> {
        let events = include_str!("../../tests/data/hangup-events-1.10.12.jsonl");
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn is_one(event: &Map<String, Value>) -> bool {
        is_call_to_nowhere(&texts(event.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()))))
    }

    #[test]
    fn of_the_recorded_calls_those_of_strangers_to_numbers_that_nothing_takes_are_to_nowhere() {
        let numbers: Vec<_> = recorded()
            .iter()
            .filter(|event| is_one(event))
            .map(|event| event["Caller-Destination-Number"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(numbers, ["9011441234567", "00442012345678"]);
    }

    #[test]
    fn a_call_to_nowhere_with_one_thing_that_speaks_for_it_is_none() {
        let event = recorded().into_iter().find(is_one).unwrap();
        let with = |changes: &[(&str, &str)]| {
            let mut event = event.clone();
            for (name, value) in changes {
                event.insert((*name).to_owned(), Value::from(*value));
            }
            is_one(&event)
        };
        for cause in ["UNALLOCATED_NUMBER", "NO_ROUTE_DESTINATION", "INVALID_NUMBER_FORMAT"] {
            assert!(with(&[("Hangup-Cause", cause)]), "{cause}");
        }
        // Blind authentication, and a name that nobody has checked.
        assert!(with(&[("variable_sip_authorized", "true")]));
        assert!(with(&[("variable_sip_auth_username", "1001")]));
        assert!(with(&[("variable_current_application", "hangup")]));
        assert!(with(&[("variable_current_application", "respond"), ("Hangup-Cause", "UNALLOCATED_NUMBER")]));
        for cause in [
            "USER_BUSY",
            "CALL_REJECTED",
            "NORMAL_UNSPECIFIED",
            "INCOMPATIBLE_DESTINATION",
            "NORMAL_TEMPORARY_FAILURE",
            "ORIGINATOR_CANCEL",
            "NO_USER_RESPONSE",
            "",
        ] {
            assert!(!with(&[("Hangup-Cause", cause)]), "{cause}");
        }
        for change in [
            ("Call-Direction", "outbound"),
            ("variable_sip_hangup_disposition", "recv_cancel"),
            ("variable_answer_epoch", "1795604746"),
            ("variable_progress_epoch", "1795604746"),
            ("variable_progress_media_epoch", "1795604746"),
            ("variable_bridge_epoch", "1795604746"),
            ("variable_originate_disposition", "USER_NOT_REGISTERED"),
            ("variable_transfer_history", "1795604746:x:bl_xfer:1000/default/XML"),
            ("variable_sip_acl_authed_by", "trunks"),
            ("variable_current_application", "redirect"),
            ("variable_current_application", "park"),
            ("variable_current_application", "respond"),
        ] {
            assert!(!with(&[change]), "{change:?}");
        }
        assert!(!with(&[("variable_sip_authorized", "true"), ("variable_sip_auth_username", "1001")]));
        let reported = format!("variable_{}", REPORTED.to_str().unwrap());
        assert!(!with(&[(&reported, "true")]));
    }

    /// A value, and whether it allows a call to nowhere.
    fn one_of(values: &'static [(&'static str, bool)]) -> impl Strategy<Value = (&'static str, bool)> {
        prop::sample::select(values)
    }

    fn time() -> impl Strategy<Value = (&'static str, bool)> {
        one_of(&[("0", true), ("0", true), ("0", true), ("1795604746", false)])
    }

    proptest! {
        #[test]
        fn it_is_one_exactly_if_all_allows_it_whatever_the_caller_writes(
            cause in one_of(&[("NORMAL_CLEARING", true), ("NO_ROUTE_DESTINATION", true), ("USER_BUSY", false)]),
            direction in one_of(&[("inbound", true), ("inbound", true), ("outbound", false)]),
            disposition in one_of(&[("send_refuse", true), ("send_refuse", true), ("send_bye", false)]),
            times in [time(), time(), time(), time()],
            authorized in one_of(&[("true", false), ("false", true)]),
            user in one_of(&[("1001", false), ("", true)]),
            excuse in prop::option::of(prop::sample::select(vec![
                "variable_transfer_history", "variable_originate_disposition", "variable_fail2ban_reported",
            ])),
            written in prop::collection::vec(("(variable_sip_h_)?[A-Za-z_-]{1,20}", ".*"), 0..4),
            caller in ".*",
        ) {
            let mut headers = vec![
                ("Hangup-Cause", cause.0),
                ("Call-Direction", direction.0),
                ("Caller-Caller-ID-Number", caller.as_str()),
                ("variable_sip_user_agent", caller.as_str()),
                ("variable_sip_hangup_disposition", disposition.0),
                ("variable_answer_epoch", times[0].0),
                ("variable_progress_epoch", times[1].0),
                ("variable_progress_media_epoch", times[2].0),
                ("variable_bridge_epoch", times[3].0),
                ("variable_sip_authorized", authorized.0),
                ("variable_sip_auth_username", user.0),
            ];
            headers.extend(excuse.map(|name| (name, "x")));
            let prefixed: Vec<_> =
                written.iter().map(|(name, value)| (format!("variable_sip_h_{name}"), value)).collect();
            headers.splice(0..0, prefixed.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let allowed = cause.1 && direction.1 && disposition.1 && times.iter().all(|time| time.1)
                && (authorized.1 || user.1) && excuse.is_none();
            prop_assert_eq!(is_call_to_nowhere(&texts(headers)), allowed);
        }
    }
}
