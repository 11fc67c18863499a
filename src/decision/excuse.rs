//! Our own refusals, which are nobody's failures.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::event::Method;
use super::ranked::Ranked;

/// Most different requests whose refusal is remembered.
const MOST: usize = 32_768;

/// What identifies a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request<'a> {
    /// The call.
    pub call_id: &'a [u8],
    /// REGISTER or INVITE; of others no attempt is reported.
    pub method: Method,
    /// The address.
    pub ip: IpAddr,
    /// The port there, in digits.
    pub port: Option<&'a [u8]>,
}

/// Refusals of one request: those of the last half of the time that they last, and those of the half before. So none
/// lasts longer, however many follow it.
struct Refusals {
    hash: u64,
    since: i64,
    recent: u32,
    before: u32,
}

impl Refusals {
    fn advance(&mut self, at: i64, lasts: i64) {
        let half = lasts / 2;
        if at - self.since >= lasts {
            (self.since, self.recent, self.before) = (at, 0, 0);
        } else if at - self.since >= half {
            (self.since, self.recent, self.before) = (self.since + half, 0, self.recent);
        }
    }
}

/// Refusals whose attempt has not been reported yet.
pub struct Excuses {
    refusals: Ranked<Refusals, 1>,
    hasher: RandomState,
}

impl Excuses {
    /// None yet.
    pub fn new() -> Excuses {
        Excuses { refusals: Ranked::new(MOST), hasher: RandomState::new() }
    }

    /// This request was refused by us. Both times in microseconds; `at` of the monotonic clock.
    pub fn add(&mut self, at: i64, lasts: i64, request: &Request<'_>) {
        let hash = self.hasher.hash_one(request);
        let slot = self.find(hash).unwrap_or_else(|| {
            self.refusals.insert(hash, Refusals { hash, since: at, recent: 0, before: 0 }, 0, |_| false).0
        });
        self.refusals.touch(slot, 0);
        if let Some(refusals) = self.refusals.get_mut(slot) {
            refusals.advance(at, lasts);
            refusals.recent = refusals.recent.saturating_add(1);
        }
    }

    /// Whether this attempt is one that we refused; each refusal excuses one.
    pub fn take(&mut self, at: i64, lasts: i64, request: &Request<'_>) -> bool {
        let found = self.find(self.hasher.hash_one(request));
        let Some((slot, refusals)) = found.and_then(|slot| Some((slot, self.refusals.get_mut(slot)?))) else {
            return false;
        };
        refusals.advance(at, lasts);
        let excused = refusals.recent + refusals.before > 0;
        let from = if refusals.before > 0 { &mut refusals.before } else { &mut refusals.recent };
        *from = from.saturating_sub(1);
        if refusals.recent + refusals.before == 0 {
            self.refusals.remove(slot);
        }
        excused
    }

    fn find(&self, hash: u64) -> Option<usize> {
        self.refusals.find(hash, |there| there.hash == hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const LASTS: i64 = 10 * SECOND;

    fn request(call_id: &'static str, port: &'static str) -> Request<'static> {
        Request {
            call_id: call_id.as_bytes(),
            method: Method::Register,
            ip: IpAddr::from([203, 0, 113, 7]),
            port: Some(port.as_bytes()),
        }
    }

    #[test]
    fn each_refusal_excuses_one_attempt_of_the_same_request() {
        let mut excuses = Excuses::new();
        excuses.add(0, LASTS, &request("a", "5060"));
        excuses.add(0, LASTS, &request("a", "5060"));
        assert!(!excuses.take(0, LASTS, &request("b", "5060")));
        assert!(!excuses.take(0, LASTS, &request("a", "5061")));
        assert!(!excuses.take(0, LASTS, &Request { method: Method::Invite, ..request("a", "5060") }));
        assert!(excuses.take(0, LASTS, &request("a", "5060")));
        assert!(excuses.take(SECOND, LASTS, &request("a", "5060")));
        assert!(!excuses.take(SECOND, LASTS, &request("a", "5060")));
    }

    #[test]
    fn an_excuse_lasts_its_time_and_more_refusals_do_not_prolong_it() {
        let mut excuses = Excuses::new();
        excuses.add(0, LASTS, &request("a", "5060"));
        assert!(excuses.take(LASTS - 1, LASTS, &request("a", "5060")));
        excuses.add(0, LASTS, &request("a", "5060"));
        assert!(!excuses.take(LASTS, LASTS, &request("a", "5060")));
        // A refusal a second, with no attempt that takes its excuse: none can be hoarded.
        for second in 0..100 {
            excuses.add(second * SECOND, LASTS, &request("b", "5060"));
        }
        let hoarded = (0..100).filter(|_| excuses.take(99 * SECOND, LASTS, &request("b", "5060"))).count();
        assert!((5..=10).contains(&hoarded), "{hoarded}");
        assert!(!excuses.take(110 * SECOND, LASTS, &request("b", "5060")));
    }
}
