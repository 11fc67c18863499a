//! What waits for something: challenges for credentials, and credentials of a SUBSCRIBE or MESSAGE for a success.
//!
//! A client that is challenged and never answers is not a phone. Credentials of a SUBSCRIBE or MESSAGE that are wrong
//! fire no event, but right ones do: those that no success follows are unconfirmed.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;

use crate::decision::Method;
use crate::event::address;
use crate::event::event_type::EventType;
use crate::event::field::Field;
use crate::event::signal::Signal;
use crate::memory::account::Account;
use crate::memory::lookup::{Client, Lookup, LookupOrder};
use crate::table::{Sweep, Table};
use crate::text::bounded_text::BoundedText;

/// Most challenges that wait at a time. An entry takes about 450 bytes.
pub const MOST_CHALLENGES: usize = 8192;
/// Most credentials that wait at a time.
pub const MOST_CREDENTIALS: usize = 4096;
/// Most of one call, so that a search never takes long. A further one takes the place of the last.
const MOST_OF_ONE_CALL: usize = 64;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A challenge that waits for credentials.
    Challenge,
    /// Credentials that wait for a success.
    Credentials,
}

/// A challenge, or credentials, that wait.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which of the two.
    pub kind: Kind,
    /// When it came.
    pub order: LookupOrder,
    /// The address it came from.
    pub ip: IpAddr,
    /// For whom it counts.
    pub client: Client,
    /// The user.
    pub user: BoundedText<48>,
    /// The account, for credentials.
    pub account: Account,
    /// The transport, if it is proven.
    pub transport: Option<&'static [u8]>,
    method: BoundedText<16>,
    port: BoundedText<5>,
    call_id: BoundedText<96>,
    from_user: BoundedText<48>,
    realm: BoundedText<48>,
    profile: BoundedText<32>,
    agent: BoundedText<64>,
}

/// Everything that waits. Nothing is allocated after it is made.
pub struct Pending {
    entries: Table<Entry>,
    hasher: RandomState,
    /// Challenges that wait.
    pub challenges: usize,
    /// Credentials that wait.
    pub credentials: usize,
    /// Challenges that found no room. A flood fills the table with its own; then others are not watched until there is
    /// room. Those that are watched are never dropped for it, so that a phone that answers is never taken for a
    /// scanner.
    pub untracked_challenges: u64,
    /// Credentials that found no room.
    pub untracked_credentials: u64,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            entries: Table::new(MOST_CHALLENGES + MOST_CREDENTIALS),
            hasher: RandomState::new(),
            challenges: 0,
            credentials: 0,
            untracked_challenges: 0,
            untracked_credentials: 0,
        }
    }
}

impl Pending {
    /// FreeSWITCH has challenged.
    pub fn challenge(&mut self, order: LookupOrder, challenge: &Signal<'_>) {
        let call_id = challenge.text_or_empty(Field::CallId);
        let text = |field| challenge.text_or_empty(field);
        let entry = Entry {
            kind: Kind::Challenge,
            order,
            ip: challenge.ip,
            client: Client { ip: challenge.ip, trusted: false },
            user: BoundedText::new(text(Field::ToUser)),
            account: Account::new(b""),
            transport: None,
            method: BoundedText::new(b""),
            port: BoundedText::new(text(Field::Port)),
            call_id: BoundedText::new(call_id),
            from_user: BoundedText::new(text(Field::FromUser)),
            realm: BoundedText::new(b""),
            profile: BoundedText::new(text(Field::Profile)),
            agent: BoundedText::new(text(Field::Agent)),
        };
        self.insert(self.challenge_key(call_id, challenge.ip), entry);
    }

    /// Credentials of a SUBSCRIBE or MESSAGE came; of other methods it is not known how success shows.
    pub fn credentials(&mut self, order: LookupOrder, lookup: &Lookup<'_>) {
        let Some(client) = lookup.client else { return };
        let key = match lookup.method {
            b"SUBSCRIBE" => self.call_key(lookup.call_id),
            b"MESSAGE" => self.message_key(&Sender::of(lookup)),
            _ => return,
        };
        let entry = Entry {
            kind: Kind::Credentials,
            order,
            ip: lookup.ip,
            client,
            user: BoundedText::new(lookup.user),
            account: lookup.account(),
            transport: lookup.transport,
            method: BoundedText::new(lookup.method),
            port: BoundedText::new(lookup.port.unwrap_or_default()),
            call_id: BoundedText::new(lookup.call_id),
            from_user: BoundedText::new(b""),
            realm: BoundedText::new(lookup.realm),
            profile: BoundedText::new(lookup.profile),
            agent: BoundedText::new(lookup.agent),
        };
        self.insert(key, entry);
    }

    fn insert(&mut self, key: u64, entry: Entry) {
        let (waiting, most, untracked) = match entry.kind {
            Kind::Challenge => (&mut self.challenges, MOST_CHALLENGES, &mut self.untracked_challenges),
            Kind::Credentials => (&mut self.credentials, MOST_CREDENTIALS, &mut self.untracked_credentials),
        };
        let (mut count, mut own, mut last) = (0, 0, None);
        self.entries.find_all(key, |slot, there| {
            own += usize::from(there.ip == entry.ip);
            (count, last) = (count + 1, Some(slot));
        });
        let mut key = key;
        if count >= MOST_OF_ONE_CALL && own < MOST_OF_ONE_CALL {
            // Others have filled the room of this call, which may hide nobody. What waits here instead is not found by
            // an answer or a success.
            key = self.hasher.hash_one((entry.kind as u8, key, entry.ip));
            (count, last) = (0, None);
            self.entries.find_all(key, |slot, _| (count, last) = (count + 1, Some(slot)));
        }
        if count >= MOST_OF_ONE_CALL
            && let Some(there) = last.and_then(|slot| self.entries.get_mut(slot))
        {
            *untracked += 1;
            *there = entry;
        } else if *waiting < most && self.entries.insert(key, entry).is_some() {
            *waiting += 1;
        } else {
            *untracked += 1;
        }
    }

    /// Credentials came for a call; whether they answer a challenge. A NAT may have given the phone another address
    /// meanwhile, so if there is none from this address, one of that call from any.
    pub fn answer(&mut self, call_id: &[u8], ip: IpAddr) -> bool {
        let key = self.challenge_key(call_id, ip);
        let here = self.entries.find(key, |entry| entry.ip == ip);
        here.or_else(|| self.entries.find(key, |_| true)).is_some_and(|slot| self.remove(slot).is_some())
    }

    /// Good credentials came for a call: they answer all its challenges by that profile at that address, and at one
    /// other, since a NAT may have changed it. Not at more: one account does not clear a crowd that shares a call-id.
    pub fn answer_all(&mut self, call_id: &[u8], profile: Option<&[u8]>, ip: Option<IpAddr>) {
        let key = self.hasher.hash_one((Kind::Challenge as u8, call_id));
        let profile = profile.map(BoundedText::new);
        let is_its = |entry: &Entry| profile.is_none_or(|profile| entry.profile == profile);
        let mut other = None;
        loop {
            let here = |entry: &Entry| is_its(entry) && (Some(entry.ip) == ip || Some(entry.ip) == other);
            if let Some(slot) = self.entries.find(key, here) {
                self.remove(slot);
            } else if other.is_none()
                && let Some(slot) = self.entries.find(key, is_its)
            {
                other = self.remove(slot).map(|entry| entry.ip);
            } else {
                return;
            }
        }
    }

    /// A profile has accepted a SUBSCRIBE of this call; returns the credentials that are confirmed by it, if they
    /// `may_be`.
    pub fn confirm_call(
        &mut self,
        call_id: &[u8],
        profile: Option<&[u8]>,
        may_be: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        self.confirm(self.call_key(call_id), profile, may_be)
    }

    /// A profile has accepted somebody's MESSAGE. Whose it is does not show if others behind the same proxy wait for
    /// it in the sender's name.
    pub fn confirm_message(&mut self, sender: &Sender<'_>) -> Option<Entry> {
        let key = self.message_key(sender);
        let mut first = None;
        let mut is_shared = false;
        self.entries.find_all(key, |_, there| {
            is_shared |= *first.get_or_insert(there.client.ip) != there.client.ip;
        });
        self.confirm(key, sender.profile, |_| !is_shared)
    }

    /// One success confirms one set of credentials: the last, since guesses may have gone before it. Another profile
    /// may not ask for credentials. Where a client's credentials for two accounts wait for it, whose it is does not
    /// show, and one may be a guess: it confirms neither. Nor does it where others may have had it. But anybody who
    /// knows the call can bring that about, so what follows from it is not proven by the transport.
    fn confirm(
        &mut self,
        key: u64,
        profile: Option<&[u8]>,
        may_be: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let profile = profile.map(BoundedText::new);
        let is_its = |entry: &Entry| profile.is_none_or(|profile| entry.profile == profile);
        let mut last = None;
        self.entries.find_all(key, |slot, entry| {
            if is_its(entry) {
                last = Some(slot);
            }
        });
        let entry = self.entries.get(last?)?;
        let mut has_another = false;
        self.entries.find_all(key, |_, there| {
            let is_another = there.account != entry.account && there.client.ip == entry.client.ip;
            has_another |= is_its(there) && is_another;
        });
        if !has_another && may_be(entry) {
            return self.remove(last?);
        }
        self.entries.get_mut(last?)?.transport = None;
        None
    }

    /// Looks at the next `most` entries and takes out the first that is over.
    pub fn sweep(&mut self, most: usize, is_over: impl FnMut(&Entry) -> bool) -> Sweep<Entry> {
        let swept = self.entries.sweep(most, is_over);
        if let Sweep::Taken(entry) = &swept {
            self.count_out(entry.kind);
        }
        swept
    }

    fn remove(&mut self, slot: usize) -> Option<Entry> {
        let entry = self.entries.remove(slot)?;
        self.count_out(entry.kind);
        Some(entry)
    }

    fn count_out(&mut self, kind: Kind) {
        match kind {
            Kind::Challenge => self.challenges -= 1,
            Kind::Credentials => self.credentials -= 1,
        }
    }

    /// Without a call-id the address alone is left: a sender can have FreeSWITCH leave it out.
    fn challenge_key(&self, call_id: &[u8], ip: IpAddr) -> u64 {
        if call_id.is_empty() {
            self.hasher.hash_one((Kind::Challenge as u8, ip))
        } else {
            self.hasher.hash_one((Kind::Challenge as u8, call_id))
        }
    }

    fn call_key(&self, call_id: &[u8]) -> u64 {
        self.hasher.hash_one((Kind::Credentials as u8, call_id))
    }

    /// Of all profiles.
    fn message_key(&self, sender: &Sender<'_>) -> u64 {
        self.hasher.hash_one((sender.ip, sender.port, sender.from_user))
    }
}

/// Who sent a MESSAGE, as far as FreeSWITCH shows it when it has accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The address that it came from.
    pub ip: IpAddr,
    /// The port there.
    pub port: Option<&'a [u8]>,
    /// The profile.
    pub profile: Option<&'a [u8]>,
    /// Behind a proxy, whose clients share its address and port; else nothing.
    pub from_user: &'a [u8],
}

impl<'a> Sender<'a> {
    /// Who sent the credentials of a MESSAGE.
    pub fn of(lookup: &Lookup<'a>) -> Sender<'a> {
        Sender {
            ip: lookup.ip,
            port: lookup.port,
            profile: Some(lookup.profile),
            from_user: lookup.from_user,
        }
    }

    /// By what a MESSAGE and the challenge before it belong together.
    pub fn key(&self) -> impl Hash + use<> {
        let (port, profile) = (self.port.unwrap_or_default(), self.profile.unwrap_or_default());
        (
            self.ip,
            BoundedText::<5>::new(port),
            BoundedText::<32>::new(profile),
            BoundedText::<48>::new(self.from_user),
        )
    }
}

impl Entry {
    /// Who was challenged. Not behind a proxy: nobody watches its challenges.
    pub fn sender(&self) -> Sender<'_> {
        let (port, profile) = (Some(self.port.bytes()), Some(self.profile.bytes()));
        Sender { ip: self.ip, port, profile, from_user: b"" }
    }

    /// The method of credentials.
    pub fn method(&self) -> Option<Method> {
        Method::of(self.method.bytes())
    }

    /// The port of the address, if FreeSWITCH reported it.
    pub fn port(&self) -> Option<u16> {
        address::parse_port(self.port.bytes())
    }

    /// What is logged if nothing came.
    pub fn signal(&self) -> Signal<'_> {
        let (event_type, user) = match self.kind {
            Kind::Challenge => (EventType::ChallengeUnanswered, Field::ToUser),
            Kind::Credentials => (EventType::AuthUnconfirmed, Field::AuthUser),
        };
        let mut signal = Signal::new(event_type, self.client.ip, self.user.bytes());
        signal.via = (self.client.ip != self.ip).then_some(self.ip);
        if self.user.is_cut() {
            signal.set_cut(Field::User);
        }
        signal.set(Field::Transport, self.transport);
        set_if_present(&mut signal, Field::Port, &self.port);
        set_if_present(&mut signal, Field::Method, &self.method);
        set_if_present(&mut signal, Field::Profile, &self.profile);
        set_if_present(&mut signal, Field::Realm, &self.realm);
        set_if_present(&mut signal, Field::Agent, &self.agent);
        set_if_present(&mut signal, Field::CallId, &self.call_id);
        set_if_present(&mut signal, Field::FromUser, &self.from_user);
        set_if_present(&mut signal, user, &self.user);
        signal
    }
}

/// Gives a signal a text that was kept, unless it is empty.
fn set_if_present<'a, const N: usize>(signal: &mut Signal<'a>, field: Field, text: &'a BoundedText<N>) {
    if !text.bytes().is_empty() {
        signal.set(field, Some(text.bytes()));
        if text.is_cut() {
            signal.set_cut(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn order(number: u64) -> LookupOrder {
        LookupOrder { number, at: Now { wall: number as i64, monotonic: number as i64 * 1_000_000 } }
    }

    fn challenge(pending: &mut Pending, number: u64, ip: u32, call_id: &str) {
        let mut signal = Signal::new(EventType::Challenge, IpAddr::V4(ip.into()), b"1009");
        signal.set(Field::ToUser, Some(b"1009"));
        signal.set(Field::CallId, Some(call_id.as_bytes()));
        signal.set(Field::Port, Some(b"5060"));
        pending.challenge(order(number), &signal);
    }

    fn lookup<'a>(method: &'a str, call_id: &'a str) -> Lookup<'a> {
        Lookup { method: method.as_bytes(), call_id: call_id.as_bytes(), ..Lookup::default() }
    }

    /// When the entries that are left came, and their addresses; none is left then.
    fn drain(pending: &mut Pending) -> Vec<(u64, IpAddr)> {
        let mut left = Vec::new();
        loop {
            match pending.sweep(100, |_| true) {
                Sweep::Taken(entry) => left.push((entry.order.number, entry.ip)),
                Sweep::More => {}
                Sweep::Done => break,
            }
        }
        assert_eq!((pending.challenges, pending.credentials), (0, 0));
        left.sort_unstable();
        left
    }

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn only_a_challenge_that_stays_unanswered_is_left() {
        let mut pending = Pending::default();
        challenge(&mut pending, 10, 1, "phone");
        challenge(&mut pending, 11, 2, "scanner");
        assert!(pending.answer(b"phone", ip(1)) && !pending.answer(b"phone", ip(1)));
        assert_eq!(pending.challenges, 1);
        assert_eq!(drain(&mut pending), [(11, ip(2))]);
    }

    #[test]
    fn credentials_answer_one_challenge_and_good_ones_all_of_the_call() {
        let mut pending = Pending::default();
        (0..3).for_each(|number| challenge(&mut pending, number, 1, "c"));
        pending.answer(b"c", ip(1));
        assert_eq!(pending.challenges, 2);
        pending.answer_all(b"c", Some(b"internal"), Some(ip(1)));
        assert_eq!(pending.challenges, 2, "of another profile");
        pending.answer_all(b"c", None, Some(ip(1)));
        assert!(drain(&mut pending).is_empty());
    }

    #[test]
    fn good_credentials_answer_for_one_machine_and_not_for_all_that_share_its_call_id() {
        let mut pending = Pending::default();
        (1..=4).for_each(|ip| (0..2).for_each(|_| challenge(&mut pending, 0, ip, "crowd")));
        pending.answer_all(b"crowd", None, Some(ip(3)));
        let left = drain(&mut pending);
        assert_eq!(left.len(), 4);
        assert!(left.iter().all(|(_, left)| *left != ip(3)));
    }

    #[test]
    fn an_answer_is_for_the_challenge_of_its_own_address_if_there_is_one() {
        for order in [[1, 2], [2, 1]] {
            let mut pending = Pending::default();
            order.iter().for_each(|&ip| challenge(&mut pending, 0, ip, "the call-id of another"));
            pending.answer(b"the call-id of another", ip(2));
            assert_eq!(drain(&mut pending), [(0, ip(1))]);
        }
        let mut pending = Pending::default();
        challenge(&mut pending, 0, 1, "a phone whose NAT gave it another address");
        assert!(pending.answer(b"a phone whose NAT gave it another address", ip(2)));
    }

    #[test]
    fn a_flood_with_one_call_id_takes_no_room_from_others_and_hides_no_right_guess() {
        let mut pending = Pending::default();
        (0..1000).for_each(|number| challenge(&mut pending, number, 1, "flood"));
        assert_eq!((pending.challenges, pending.untracked_challenges), (64, 936));
        (0..1000).for_each(|number| pending.credentials(order(number), &lookup("SUBSCRIBE", "flood")));
        assert_eq!((pending.credentials, pending.untracked_credentials), (64, 936));
        assert_eq!(
            pending.confirm_call(b"flood", None, |_| true).unwrap().order,
            order(999),
            "the last, not an older one"
        );
    }

    #[test]
    fn what_others_send_with_a_call_id_hides_no_guess() {
        let mut pending = Pending::default();
        let send = |pending: &mut Pending, number: u64, from: u32| {
            let client = Client { ip: ip(from), trusted: false };
            let lookup = Lookup { ip: ip(from), client: Some(client), ..lookup("SUBSCRIBE", "flood") };
            pending.credentials(order(number), &lookup);
        };
        (0..200).for_each(|number| send(&mut pending, number, 2));
        (200..240).for_each(|number| send(&mut pending, number, 3));
        let left = drain(&mut pending);
        assert_eq!(left.iter().filter(|(_, left)| *left == ip(3)).count(), 40);
        assert_eq!(left.len(), 64 + 40);
    }

    #[test]
    fn a_success_that_may_be_another_accounts_confirms_nobody() {
        let mut pending = Pending::default();
        let own = Lookup { user: b"1005", ..lookup("SUBSCRIBE", "c") };
        pending.credentials(order(0), &own);
        pending.credentials(order(1), &lookup("SUBSCRIBE", "c"));
        assert!(pending.confirm_call(b"c", None, |_| true).is_none());
        assert_eq!(drain(&mut pending).len(), 2);
        // Two clients of one proxy.
        let other = Client { ip: ip(9), trusted: false };
        let message = Lookup { from_user: b"1009", ..lookup("MESSAGE", "-") };
        let guess = Lookup { user: b"1005", from_user: b"1005", client: Some(other), ..message };
        pending.credentials(order(2), &message);
        pending.credentials(order(3), &guess);
        let sender = Sender { profile: None, ..Sender::of(&message) };
        assert_eq!(pending.confirm_message(&sender).unwrap().order, order(2));
        assert!(pending.confirm_message(&sender).is_none());
        assert_eq!(drain(&mut pending), [(3, IP)]);
        // One in the other's name.
        pending.credentials(order(4), &message);
        pending.credentials(order(5), &Lookup { from_user: b"1009", ..guess });
        assert!(pending.confirm_message(&sender).is_none());
        assert_eq!(drain(&mut pending).len(), 2);
    }

    #[test]
    fn where_a_success_may_be_anothers_nothing_is_proven_by_the_transport() {
        let transports = |confirm: &dyn Fn(&mut Pending)| {
            let mut pending = Pending::default();
            pending.credentials(order(0), &lookup("SUBSCRIBE", "c"));
            pending.credentials(order(1), &lookup("SUBSCRIBE", "d"));
            confirm(&mut pending);
            std::iter::from_fn(|| match pending.sweep(100, |_| true) {
                Sweep::Taken(entry) => Some((entry.order.number, entry.transport)),
                Sweep::More | Sweep::Done => None,
            })
            .collect::<std::collections::BTreeMap<_, _>>()
        };
        let tcp = Some(&b"tcp"[..]);
        let by_another_address = transports(&|pending| {
            assert!(pending.confirm_call(b"c", None, |_| false).is_none());
        });
        assert_eq!(by_another_address, [(0, None), (1, tcp)].into());
        let in_its_name = transports(&|pending| {
            pending.credentials(order(2), &Lookup { user: b"1005", ..lookup("SUBSCRIBE", "c") });
            pending.credentials(order(3), &lookup("SUBSCRIBE", "c"));
            assert!(pending.confirm_call(b"c", None, |_| true).is_none());
        });
        assert_eq!(in_its_name, [(0, tcp), (1, tcp), (2, tcp), (3, None)].into());
    }

    #[test]
    fn a_challenge_whose_call_id_is_left_out_is_one_of_its_address() {
        let mut pending = Pending::default();
        for ip in [1, 2] {
            pending.challenge(order(0), &Signal::new(EventType::Challenge, IpAddr::V4(ip.into()), b"1009"));
        }
        assert!(pending.answer(b"", ip(1)) && !pending.answer(b"", ip(1)));
        assert_eq!(drain(&mut pending), [(0, ip(2))]);
    }

    #[test]
    fn a_success_is_of_the_last_credentials_and_of_its_profile() {
        let mut pending = Pending::default();
        (0..3).for_each(|number| pending.credentials(order(number), &lookup("SUBSCRIBE", "c")));
        assert!(pending.confirm_call(b"c", Some(b"open"), |_| true).is_none());
        assert_eq!(pending.confirm_call(b"c", Some(b"internal"), |_| true).unwrap().order, order(2));
        assert_eq!(pending.confirm_call(b"c", None, |_| true).unwrap().order, order(1));
        pending.credentials(order(4), &lookup("MESSAGE", "-"));
        pending.credentials(order(5), &Lookup { port: Some(b"5061"), ..lookup("MESSAGE", "-") });
        pending.credentials(order(6), &lookup("PUBLISH", "nobody knows"));
        let from = |port| Sender { ip: IP, port: Some(port), profile: Some(b"internal"), from_user: b"" };
        assert!(pending.confirm_message(&from(b"5061")).is_some());
        assert!(pending.confirm_message(&from(b"5061")).is_none());
        assert_eq!(drain(&mut pending), [(0, IP), (4, IP)]);
    }

    #[test]
    fn a_million_challenges_take_no_more_memory_and_leave_credentials_their_room() {
        let mut pending = Pending::default();
        assert!((MOST_CHALLENGES + MOST_CREDENTIALS) * size_of::<Option<(u64, Entry)>>() < 7 << 20);
        for number in 0..1_000_000 {
            challenge(&mut pending, number, number as u32, &format!("flood{number}"));
            if number % 1000 == 0 {
                pending.answer(format!("flood{number}").as_bytes(), ip(number as u32));
            }
        }
        assert_eq!(pending.challenges, MOST_CHALLENGES);
        assert!(pending.untracked_challenges > 900_000);
        (0..3 * MOST_CREDENTIALS as u64)
            .for_each(|number| pending.credentials(order(number), &lookup("SUBSCRIBE", &number.to_string())));
        assert_eq!(pending.credentials, MOST_CREDENTIALS);
        assert_eq!(pending.untracked_credentials, 2 * MOST_CREDENTIALS as u64);
        assert!(drain(&mut pending).iter().all(|(number, ip)| *ip == IP || number % 1000 != 0));
    }

    #[test]
    fn a_long_text_is_cut_and_marked_so() {
        let long = "x".repeat(1000);
        let mut pending = Pending::default();
        let mut signal = Signal::new(EventType::Challenge, IP, b"1009");
        signal.set(Field::CallId, Some(long.as_bytes()));
        signal.set(Field::Agent, Some(long.as_bytes()));
        pending.challenge(order(0), &signal);
        let Sweep::Taken(entry) = pending.sweep(100, |_| true) else { panic!("it waits") };
        let signal = entry.signal();
        assert_eq!(signal.text_or_empty(Field::Agent).len(), 64);
        assert!(signal.is_cut(Field::Agent) && signal.is_cut(Field::CallId) && !signal.is_cut(Field::User));
        assert_eq!(signal.text(Field::FromUser), None);
    }
}
