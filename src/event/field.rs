//! What FreeSWITCH reports about an event, piece by piece.
#![forbid(unsafe_code)]

/// What a line can hold, in the order of `dated` and `json` lines: first what an attacker can't shape. Those after
/// [`Field::User`] are read but never written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in the lines")]
pub enum Field {
    Port,
    Profile,
    Transport,
    Method,
    Result,
    Acl,
    Reason,
    Realm,
    Agent,
    CallId,
    AuthUser,
    FromUser,
    ToUser,
    User,
    Ip,
    Success,
    Action,
    Domain,
    Direction,
    Cause,
    Disposition,
    Application,
    AnsweredAt,
    RangAt,
    EarlyMediaAt,
    BridgedAt,
    Excuse,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 27;

    /// Those that lines can hold, in their order, with their names there.
    pub const WRITTEN: [(Field, &'static str); 14] = [
        (Field::Port, "port"),
        (Field::Profile, "profile"),
        (Field::Transport, "transport"),
        (Field::Method, "method"),
        (Field::Result, "result"),
        (Field::Acl, "acl"),
        (Field::Reason, "reason"),
        (Field::Realm, "realm"),
        (Field::Agent, "agent"),
        (Field::CallId, "call_id"),
        (Field::AuthUser, "auth_user"),
        (Field::FromUser, "from_user"),
        (Field::ToUser, "to_user"),
        (Field::User, "user"),
    ];
}

/// The text of each [`Field`], where there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts<'a>([Option<&'a [u8]>; Field::COUNT]);

impl<'a> Texts<'a> {
    /// The text of a field.
    pub fn get(&self, field: Field) -> Option<&'a [u8]> {
        self.0[field as usize]
    }

    /// The text of a field; empty if there is none.
    pub fn or_empty(&self, field: Field) -> &'a [u8] {
        self.get(field).unwrap_or_default()
    }

    /// Sets the text of a field.
    pub fn set(&mut self, field: Field, text: Option<&'a [u8]>) {
        self.0[field as usize] = text;
    }
}

impl<'a> From<[Option<&'a [u8]>; Field::COUNT]> for Texts<'a> {
    fn from(texts: [Option<&'a [u8]>; Field::COUNT]) -> Texts<'a> {
        Texts(texts)
    }
}
