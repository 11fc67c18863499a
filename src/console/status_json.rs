//! `fail2ban status json`, for a machine.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use crate::VERSION;
use crate::console::status::{MOST_ATTACKERS, Status};
use crate::decision::CauseReport;
use crate::event::event_type::EventType;

impl Status {
    /// All of it, on one line; the manual has the shape.
    pub fn json(&self) -> String {
        let now = &self.now;
        let settings = &now.settings;
        let events: Map<String, Value> = EventType::ALL
            .iter()
            .map(|event_type| {
                let (of, counters) = (*event_type as usize, now.counters[*event_type as usize]);
                let counts = json!({
                    "enabled": settings.logs(*event_type),
                    "seen": counters.seen,
                    "written": counters.written,
                    "waiting": counters.waiting(),
                    "dropped": counters.dropped,
                    "known": now.known[of],
                    "trusted": now.trusted[of],
                    "no_address": now.no_address[of],
                    "last_seen": now.last_seen[of],
                });
                (event_type.name().to_owned(), counts)
            })
            .collect();
        let addresses: Vec<Value> = now
        .sources
        .iter()
        .map(|address| json!({ "ip": address.key.to_string(), "count": address.count, "error": address.error }))
        .collect();
        let accounts: Vec<Value> = now
            .accounts
            .iter()
            .map(|account| {
                json!({
                    "account": account.key.readable(),
                    "count": account.count,
                    "error": account.error,
                    "addresses": account.others.count(),
                })
            })
            .collect();
        let failing: Vec<Value> = self
            .failing
            .iter()
            .map(|address| {
                json!({
                    "ip": address.source.to_string(),
                    "account": address.account.readable(),
                    "failures": address.failures,
                    "users": address.users.count(),
                })
            })
            .collect();
        let attackers = self.attackers.iter().take(MOST_ATTACKERS).map(|there| {
            let counts = |cause: &CauseReport| (cause.cause.clone(), cause.count.into());
            json!({
                "source": there.report.source.to_string(),
                "ip": there.report.ip.to_string(),
                "level": there.attack.level,
                "points": there.report.points,
                "causes": there.report.causes.iter().map(counts).collect::<Map<String, Value>>(),
                "found_seconds": there.attack.ago,
                "refused_seconds": if settings.refuse_attackers { there.attack.remaining() } else { 0 },
                "refused": there.attack.refused,
            })
        });
        let under_attack = self.under_attack.iter().take(MOST_ATTACKERS);
        let under_attack = under_attack
            .map(|there| json!({ "account": there.account.readable(), "sources": there.sources }));
        let decision = &self.decision;
        let lookups = now.lookups.unwrap_or_default();
        let all = json!({
            "version": VERSION,
            "time": now.time,
            "loaded_seconds": self.up.as_secs(),
            "state": self.writer_state().name(),
            "log_is_on_disk": self.is_on_disk(),
            "last_error": now.last_error.as_ref().map(|(at, error)| json!({ "time": at, "error": error })),
            "reloading_seconds": self.reloading.map(|time| time.as_secs()),
            "settings": {
                "logfile": settings.logfile.to_string_lossy(),
                "format": settings.format.name(),
                "events": settings.event_names(),
                "trusted-acl": settings.trusted.names(),
                "known-for": settings.known_for.as_secs(),
                "attacker-after": settings.attacker_after,
                "refuse-attackers": settings.refuse_attackers,
                "ipv6-prefix": settings.ipv6_prefix,
                "proxy": settings.proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "client-address-header": settings.client_address_header,
                "buffer-size": settings.buffer_size,
                "challenge-timeout": settings.challenge_timeout.as_secs(),
            },
            "waiting_bytes": now.waiting_bytes,
            "known": now.known_addresses.map(|(addresses, refused)| json!({ "addresses": addresses, "refused": refused, "failing": failing })),
            "attackers": attackers.collect::<Vec<_>>(),
            "attacker_count": self.attackers.len(),
            "attackers_found": decision.found,
            "attackers_evicted": decision.evicted,
            "suspects": decision.suspects,
            "can_refuse": self.can_refuse(),
            "refused": decision.refused,
            "accounts_under_attack": under_attack.collect::<Vec<_>>(),
            "accounts_under_attack_count": self.under_attack.len(),
            "challenges": { "waiting": lookups.challenges, "untracked": lookups.challenges_untracked },
            "look_ups": now.lookups.map(|these| json!({
                "seen": these.seen,
                "attempts_seen": these.attempts_seen,
                "attempts_hidden": these.attempts_hidden,
                "unconfirmed_waiting": these.unconfirmed,
                "untracked": these.untracked,
            })),
            "signals": events,
            "busiest": addresses,
            "accounts": accounts,
        });
        format!("{all}\n")
    }
}
