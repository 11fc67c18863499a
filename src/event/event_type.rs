//! The table of event types: everything that the module can write a line about.
//!
//! Settings, counts, what is bound and the columns of `status` follow from the row. What else a new one needs:
//! CONTRIBUTING.md.
#![forbid(unsafe_code)]

use crate::event::field::Field;
use crate::event::headers::{Header, Headers};
use crate::event::nowhere::CALL_END;

/// Where an event type comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A CUSTOM event of this subclass, with the headers that are read from it.
    Event(&'static str, &'static Headers),
    /// The end of a call, with the headers that are read from it.
    CallEnd(&'static Headers),
    /// A line of FreeSWITCH's own log.
    HostLog,
    /// The module derives it from events of these types.
    Derived(&'static [EventType]),
    /// The dialplan or an operator reports it.
    Report,
    /// The module decides it.
    Decision,
}

/// Whether an event can be caused in the name of another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgeable {
    /// Over UDP, by anyone who can send a packet with that source address; never over TCP, TLS, WS or WSS.
    OverUdp,
    /// Never: it comes over TCP, or from the switch itself.
    Never,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// The name in settings, in `dated` and `json` lines, in `status` and in metrics.
    pub name: &'static str,
    /// The message of a `classic` line.
    pub message: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Which field is the user in `classic` lines.
    pub user: Field,
    /// Whether it can be caused in the name of another address.
    pub forgeable: Forgeable,
    /// Whether it is logged unless the settings say otherwise: the C module's three are.
    pub is_default: bool,
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident $row:expr;)*) => {
        /// What a line can be about, in the order of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $variant,)*
        }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [EventType] = &[$(EventType::$variant),*];
        }

        const TABLE: &[Row] = &[$($row),*];
    };
}

event_types! {
    /// Credentials came, good or bad, for a REGISTER or an INVITE.
    RegisterAttempt Row {
        name: "register_attempt",
        message: "A registration was attempted",
        source: Source::Event("sofia::register_attempt", &ATTEMPT),
        user: Field::ToUser,
        forgeable: Forgeable::OverUdp,
        is_default: true,
    };
    /// FreeSWITCH answered 403: a wrong password, or one of the other reasons in the manual.
    RegisterFailure Row {
        name: "register_failure",
        message: "A registration failed",
        source: Source::Event("sofia::register_failure", &FAILURE),
        user: Field::ToUser,
        forgeable: Forgeable::OverUdp,
        is_default: true,
    };
    /// An INVITE was challenged and abandoned.
    WrongCallState Row {
        name: "wrong_call_state",
        // Ends in a space, as the C module writes it.
        message: "Abandoned call from ",
        source: Source::Event("sofia::wrong_call_state", &ABANDONED),
        user: Field::FromUser,
        forgeable: Forgeable::OverUdp,
        is_default: true,
    };
    /// FreeSWITCH asked for credentials; it asks every phone.
    Challenge Row {
        name: "challenge",
        message: "A registration was challenged",
        source: Source::Event("sofia::pre_register", &ATTEMPT),
        user: Field::ToUser,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// A challenge that no credentials answered in time.
    ChallengeUnanswered Row {
        name: "challenge_unanswered",
        message: "A challenge was never answered",
        source: Source::Derived(&[EventType::Challenge, EventType::RegisterAttempt]),
        user: Field::ToUser,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// A Verto (WebRTC) login failed.
    VertoLoginFailure Row {
        name: "verto_login_failure",
        message: "A verto login failed",
        source: Source::Event("verto::login", &VERTO),
        user: Field::User,
        forgeable: Forgeable::Never,
        is_default: false,
    };
    /// An ACL turned a request away.
    AclReject Row {
        name: "acl_reject",
        message: "A request was rejected by an ACL",
        source: Source::HostLog,
        user: Field::User,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// Credentials came by a way that has no verdict of its own, and nothing shows that they were accepted.
    AuthUnconfirmed Row {
        name: "auth_unconfirmed",
        message: "Credentials were not confirmed",
        // It shows which accounts FreeSWITCH has accepted.
        source: Source::Derived(&[EventType::RegisterAttempt]),
        user: Field::AuthUser,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// An address that was not known logged in after many failures.
    SuccessAfterFailures Row {
        name: "success_after_failures",
        message: "A login succeeded after failures",
        source: Source::Derived(&[EventType::RegisterAttempt, EventType::RegisterFailure, EventType::VertoLoginFailure]),
        user: Field::AuthUser,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// The dialplan or an operator reported a call.
    Reported Row {
        name: "reported",
        message: "A call was reported",
        source: Source::Report,
        user: Field::User,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// A stranger's call that FreeSWITCH refused because nothing takes its number.
    CallToNowhere Row {
        name: "call_to_nowhere",
        message: "A call went nowhere",
        source: Source::CallEnd(&CALL_END),
        user: Field::User,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
    /// The module has found an attacker, or one of the next level.
    Attacker Row {
        name: "attacker",
        message: "An attacker was found",
        source: Source::Decision,
        user: Field::User,
        forgeable: Forgeable::OverUdp,
        is_default: false,
    };
}

/// A value for each event type, by `event_type as usize`.
pub type PerType<T> = [T; EventType::COUNT];

impl EventType {
    /// How many there are.
    pub const COUNT: usize = EventType::ALL.len();

    /// Its row in the table.
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The name in settings and lines.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The event type of this name.
    pub fn of_name(name: &str) -> Option<EventType> {
        EventType::ALL.iter().copied().find(|event_type| event_type.name() == name)
    }

    /// Whether it comes from events of that other type, or is that type.
    pub fn is_derived_from(self, other: EventType) -> bool {
        match self.row().source {
            Source::Derived(types) => types.contains(&other),
            _ => self == other,
        }
    }
}

static ATTEMPT: Headers = Headers::new(&[
    Header::new("profile-name", Field::Profile),
    Header::new("from-user", Field::FromUser),
    Header::new("call-id", Field::CallId),
    Header::new("to-user", Field::ToUser),
    Header::new("network-ip", Field::Ip),
    Header::new("network-port", Field::Port),
    Header::new("username", Field::AuthUser),
    Header::new("realm", Field::Realm),
    Header::new("user-agent", Field::Agent),
    Header::new("auth-result", Field::Result),
]);

static FAILURE: Headers = Headers::new(&[
    Header::new("profile-name", Field::Profile),
    Header::new("to-user", Field::ToUser),
    Header::new("network-ip", Field::Ip),
    Header::new("user-agent", Field::Agent),
    Header::new("network-port", Field::Port),
    Header::new("registration-type", Field::Method),
]);

static ABANDONED: Headers = Headers::new(&[
    Header::new("from_user", Field::FromUser),
    Header::new("network_ip", Field::Ip),
    Header::new("network_port", Field::Port),
]);

static VERTO: Headers = Headers::new(&[
    Header::new("verto_profile_name", Field::Profile),
    Header::new("verto_client_address", Field::Ip),
    Header::new("verto_login", Field::User),
    Header::new("verto_success", Field::Success),
    Header::new("verto_result_txt", Field::Result),
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_names_are_unique() {
        for (index, event_type) in EventType::ALL.iter().enumerate() {
            assert_eq!(*event_type as usize, index);
            assert_eq!(EventType::of_name(event_type.name()), Some(*event_type));
        }
    }
}
