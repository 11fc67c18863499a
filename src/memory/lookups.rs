//! What follows from a lookup of credentials, and from what shows how it ended.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::Memory;
use super::lookup::Lookup;
use super::observe::From;
use super::outcome::{Announcement, Outcome};
use super::pending::Entry;
use super::unknown::Looked;
use crate::decision::{self, Answer, Method, What};
use crate::settings::Settings;
use crate::time::Now;

impl Memory {
    /// FreeSWITCH has looked credentials up; whether it is to refuse them, with what FreeSWITCH's log is to say then.
    pub fn looked_up(
        &mut self,
        settings: &Settings,
        now: Now,
        lookup: &Lookup<'_>,
        trusted: bool,
    ) -> Option<Outcome> {
        let refusal = self.refusal(settings, now, lookup, trusted);
        if let Some(watch) = &mut self.watch {
            let awaited = settings.watches_confirmations() && !trusted && refusal.is_none();
            watch.looked_up(now, lookup, awaited);
            if settings.decides_by_all() && refusal.is_none() {
                watch.unknown.looked_up(lookup);
            }
        }
        refusal
    }

    fn refusal(
        &mut self,
        settings: &Settings,
        now: Now,
        lookup: &Lookup<'_>,
        trusted: bool,
    ) -> Option<Outcome> {
        let source = settings.source_of(lookup.ip);
        let trusted = trusted || settings.is_own(lookup.ip);
        let standing = self.standing(now, source, trusted);
        let (Some(engine), Some(method)) = (&mut self.engine, Method::of(lookup.method)) else { return None };
        if method == Method::Invite
            && self.watch.as_ref().is_some_and(|watch| watch.is_accepted_call(lookup.call_id))
        {
            return None;
        }
        let account = lookup.account();
        let accepted_here = self.known.as_ref().is_some_and(|known| known.has_account(now, source, &account));
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
        match engine.lookup(now, &asked) {
            Answer::LetThrough => None,
            Answer::Refuse(refusal) => {
                let announcement =
                    refusal.first.then_some(Announcement::Refused { source, account, refusal });
                Some(Outcome { announcement, ..Outcome::new(source) })
            }
        }
    }

    /// A profile has accepted a SUBSCRIBE of this call.
    pub fn confirmed_call(&mut self, settings: &Settings, now: Now, call_id: &[u8], profile: Option<&[u8]>) {
        let confirmed = self.watch.as_mut().and_then(|watch| watch.confirmed_call(now, call_id, profile));
        self.confirmed(settings, now, confirmed);
    }

    /// A profile has accepted a MESSAGE from this address and port.
    pub fn confirmed_message(
        &mut self,
        settings: &Settings,
        now: Now,
        ip: IpAddr,
        port: Option<&[u8]>,
        profile: Option<&[u8]>,
    ) {
        let watch = self.watch.as_mut();
        let confirmed = watch.and_then(|watch| watch.confirmed_message(now, ip, port, profile));
        self.confirmed(settings, now, confirmed);
    }

    fn confirmed(&mut self, settings: &Settings, now: Now, entry: Option<Entry>) {
        if let (Some(entry), Some(engine)) = (entry, &mut self.engine) {
            engine.login(now, settings.source_of(entry.ip), entry.account.bytes(), entry.method());
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
        let mut outcome = Outcome::new(settings.source_of(looked.ip));
        outcome.is_silent = true;
        let accepted = self.known.as_ref()?.has_account_anywhere(now, &looked.account);
        let from = From { source: outcome.source, ip: looked.ip, trusted: settings.is_own(looked.ip) };
        let what = What::UnknownUser { account: looked.account.bytes(), accepted };
        self.judge(now, from, looked.transport, what, &mut outcome);
        Some((looked, outcome))
    }
}
