//! What the engine is given.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::cause::Cause;
use super::source::Source;

/// What is known of a source at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is in `trusted-acl`, or an address of this switch: never accused, never refused. Loopback always is.
    Trusted,
    /// FreeSWITCH has accepted its credentials within `known-for`.
    Known,
    /// Anybody else.
    Stranger,
}

/// The requests whose credentials can be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "what they say")]
pub enum Method {
    Register,
    Invite,
    Subscribe,
    Message,
}

impl Method {
    /// The method of this name, as SIP writes it.
    pub fn of(name: &[u8]) -> Option<Method> {
        match name {
            b"REGISTER" => Some(Method::Register),
            b"INVITE" => Some(Method::Invite),
            b"SUBSCRIBE" => Some(Method::Subscribe),
            b"MESSAGE" => Some(Method::Message),
            _ => None,
        }
    }

    /// FreeSWITCH fires no event for its verdict, so that takes seconds to show.
    pub fn is_slow(self) -> bool {
        matches!(self, Method::Subscribe | Method::Message)
    }
}

/// Something that a source did. Not to be given: attempts that [`super::Engine::excuses`], and credentials refused
/// before a password was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The source.
    pub source: Source,
    /// Its address this time.
    pub ip: IpAddr,
    /// What is known of it.
    pub standing: Standing,
    /// It came over TCP, TLS, WS or WSS, so the address is real.
    pub proven: bool,
    /// What it did.
    pub what: What<'a>,
}

/// What a source did. An account is `user@domain` in any case, with the domain that FreeSWITCH looked up.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// Credentials were refused, or not confirmed.
    Failure {
        /// For this account.
        account: &'a [u8],
        /// With this method, if it is the verdict of a lookup that [`super::Engine::lookup`] has seen; none for
        /// Verto.
        method: Option<Method>,
    },
    /// FreeSWITCH's directory has no such user. In whatever order this and the failure of the same attempt come,
    /// the two count as one.
    UnknownUser {
        /// The account.
        account: &'a [u8],
        /// It was accepted within `known-for`, wherever: the directory is at fault.
        accepted: bool,
    },
    /// A challenge was never answered.
    Unanswered,
    /// A call was abandoned at its challenge.
    Abandoned,
    /// An ACL turned it away.
    Acl,
    /// A call went nowhere.
    Nowhere,
    /// The dialplan reported it, with these points, at most 1000.
    Report {
        /// How many.
        points: u32,
    },
}

impl<'a> What<'a> {
    /// What it counts as; a failure may count as worse.
    pub fn cause(&self) -> Cause {
        match self {
            What::Failure { .. } => Cause::Failure,
            What::UnknownUser { .. } => Cause::UnknownUser,
            What::Unanswered => Cause::Unanswered,
            What::Abandoned => Cause::Abandoned,
            What::Acl => Cause::Acl,
            What::Nowhere => Cause::Nowhere,
            What::Report { .. } => Cause::Report,
        }
    }

    /// The account that it is about; empty for what has to do with none.
    pub fn account(&self) -> &'a [u8] {
        match self {
            What::Failure { account, .. } | What::UnknownUser { account, .. } => account,
            _ => b"",
        }
    }
}
