//! What follows from a lookup of credentials, and from what shows how it ended.
#![forbid(unsafe_code)]

use super::Memory;
use super::announcements::Announcement;
use super::lookup::{Client, Lookup};
use super::outcome::Outcome;
use super::pending::{Entry, Sender};
use super::unknown::Looked;
use super::watch::Success;
use crate::decision::{self, Answer, Method, What};
use crate::settings::Settings;
use crate::time::Now;

/// In seconds.
const HOUR: i64 = 3600;

impl Memory {
    /// FreeSWITCH has looked credentials up; whether it is to refuse them.
    pub fn looked_up(&mut self, settings: &Settings, now: Now, lookup: &Lookup<'_>) -> bool {
        let refuses = lookup.client.is_some_and(|client| self.refuses(settings, now, lookup, client));
        if let Some(watch) = &mut self.watch {
            let is_watched = !refuses && lookup.client.is_some_and(|client| !client.trusted);
            let success = if refuses {
                Success::Impossible
            } else if is_watched && settings.watches_confirmations() {
                Success::Awaited
            } else {
                Success::Possible
            };
            watch.looked_up(now, lookup, success);
            if is_watched && settings.decides_by_all() {
                watch.unknown.looked_up(lookup);
            }
        }
        if lookup.client.is_none() && now.seconds() - self.proxy_announced_at >= HOUR {
            self.proxy_announced_at = now.seconds();
            self.announcements.push(Announcement::ProxyWithoutClient(lookup.ip));
        }
        refuses
    }

    fn refuses(&mut self, settings: &Settings, now: Now, lookup: &Lookup<'_>, client: Client) -> bool {
        let source = settings.source_of(client.ip);
        let standing = self.standing(now, source, client.trusted || settings.is_own(client.ip));
        let (Some(engine), Some(method)) = (&mut self.engine, Method::of(lookup.method)) else {
            return false;
        };
        let account = lookup.account();
        if method == Method::Invite
            && self.watch.as_ref().is_some_and(|watch| watch.is_accepted_call(lookup.call_id, &account))
        {
            return false;
        }
        // A SUBSCRIBE or MESSAGE makes nobody known, but shows who has the password. Its verdict may never show.
        let accepted_lately = !lookup.has_verdict_event()
            && self.watch.as_ref().is_some_and(|watch| watch.accepted_lately(now, lookup));
        let accepted_here = accepted_lately
            || self.known.as_ref().is_some_and(|known| known.has_account(now, source, &account));
        let asked = decision::Lookup {
            source,
            ip: lookup.ip,
            port: lookup.port,
            standing,
            account: account.bytes(),
            accepted_here,
            method,
            call_id: lookup.call_id,
        };
        let Answer::Refuse(refusal) = engine.lookup(now, &asked) else { return false };
        if refusal.first {
            self.announcements.push(Announcement::Refused { source, account, refusal });
        }
        true
    }

    /// A profile has accepted a SUBSCRIBE of this call.
    pub fn confirmed_call(&mut self, settings: &Settings, now: Now, call_id: &[u8], profile: Option<&[u8]>) {
        let confirmed = self.watch.as_mut().and_then(|watch| watch.confirmed_call(now, call_id, profile));
        self.confirmed(settings, now, confirmed);
    }

    /// A profile has accepted somebody's MESSAGE.
    pub fn confirmed_message(&mut self, settings: &Settings, now: Now, sender: &Sender<'_>) {
        let confirmed = self.watch.as_mut().and_then(|watch| watch.confirmed_message(now, sender));
        self.confirmed(settings, now, confirmed);
    }

    fn confirmed(&mut self, settings: &Settings, now: Now, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.clear(now, settings.source_of(entry.client.ip), &entry.account, entry.method());
        }
    }

    /// FreeSWITCH warns that its directory has no such user; returns the lookup that it is about, and what follows.
    pub fn unknown_user(
        &mut self,
        settings: &Settings,
        now: Now,
        warning: &[u8],
    ) -> Option<(Looked, Outcome)> {
        let looked = self.watch.as_mut()?.unknown.warned(warning)?;
        let mut outcome = Outcome::new(settings, looked.client);
        outcome.is_silent = true;
        let accepted = self.known.as_ref()?.has_account_anywhere(now, &looked.account);
        let what = What::UnknownUser { account: looked.account.bytes(), accepted };
        self.judge(settings, now, looked.transport, what, &mut outcome);
        Some((looked, outcome))
    }
}
