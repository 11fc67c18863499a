//! `fail2ban metrics`: the counters in the OpenMetrics text format, for Prometheus.
//!
//! No label holds an address, or anything that an attacker can shape.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::VERSION;
use crate::console::status::{Status, WriterState};
use crate::event::event_type::{EventType, PerType};

/// All metrics, ending in `# EOF`.
pub fn text(status: &Status) -> String {
    let now = &status.now;
    let mut out = Metrics(String::new());
    out.family("fail2ban", "info", "", "Which code runs, and the format of its lines.");
    let format = now.settings.format.name();
    out.line(&format!("fail2ban_info{{version=\"{VERSION}\",format=\"{format}\"}} 1"));
    let up = status.up.as_secs_f64();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() - up);
    out.family("fail2ban_start_time_seconds", "gauge", "seconds", "When the module was loaded.");
    out.line(&format!("fail2ban_start_time_seconds {started:.3}"));

    let of = |count: fn(&crate::log::buffer::Counters) -> u64| now.counters.map(|counters| count(&counters));
    out.per_type(
        "fail2ban_events_seen",
        "counter",
        "Events that the settings log.",
        &of(|counters| counters.seen),
    );
    out.per_type("fail2ban_lines_written", "counter", "Lines in the log.", &of(|counters| counters.written));
    out.per_type(
        "fail2ban_lines_dropped",
        "counter",
        "Lines lost for want of room or of a file.",
        &of(|counters| counters.dropped),
    );
    out.per_type("fail2ban_lines_waiting", "gauge", "Lines in memory.", &of(|counters| counters.waiting()));
    out.per_type("fail2ban_events_known", "counter", "Events of known addresses.", &now.known);
    out.per_type(
        "fail2ban_events_trusted",
        "counter",
        "Events of trusted addresses, not logged.",
        &now.trusted,
    );
    out.per_type(
        "fail2ban_events_no_address",
        "counter",
        "Events without an address, not logged.",
        &now.no_address,
    );

    out.gauge(
        "fail2ban_buffer_used_bytes",
        "bytes",
        "Bytes that wait to be written.",
        now.waiting_bytes as u64,
    );
    out.gauge(
        "fail2ban_buffer_size_bytes",
        "bytes",
        "Most bytes that may wait.",
        now.settings.buffer_size as u64,
    );
    out.family(
        "fail2ban_writer_state",
        "gauge",
        "",
        "Whether lines are written: 1 for the state that it is in.",
    );
    for (state, name) in WriterState::ALL {
        let is_it = u8::from(status.writer_state() == state);
        out.line(&format!("fail2ban_writer_state{{state=\"{name}\"}} {is_it}"));
    }
    if let Some(at) = now.last_error_at {
        out.family("fail2ban_last_error_timestamp_seconds", "gauge", "seconds", "When writing last failed.");
        out.line(&format!("fail2ban_last_error_timestamp_seconds {}.{:06}", at / 1_000_000, at % 1_000_000));
    }
    let (known, _) = now.known_addresses.unwrap_or_default();
    out.gauge(
        "fail2ban_known_addresses",
        "",
        "Addresses whose credentials were accepted lately.",
        known as u64,
    );
    let decision = &status.decision;
    out.gauge("fail2ban_attackers", "", "Sources that are attackers.", status.attackers.len() as u64);
    out.gauge(
        "fail2ban_suspects",
        "",
        "Sources with points that are no attackers.",
        decision.suspects as u64,
    );
    out.gauge(
        "fail2ban_accounts_under_attack",
        "",
        "Accounts at which many strangers have failed within an hour.",
        status.under_attack.len() as u64,
    );
    out.counter(
        "fail2ban_attackers_found",
        "Attackers found, and levels that attackers rose to.",
        decision.found,
    );
    out.counter(
        "fail2ban_attackers_evicted",
        "Attackers that were forgotten early for want of room.",
        decision.evicted,
    );
    out.counter("fail2ban_refused", "Lookups of credentials that were refused.", decision.refused);
    let lookups = now.lookups.unwrap_or_default();
    out.gauge(
        "fail2ban_challenges_waiting",
        "",
        "Calls whose challenge is not answered yet.",
        lookups.challenges as u64,
    );
    out.counter(
        "fail2ban_challenges_untracked",
        "Challenges not watched for want of room.",
        lookups.challenges_untracked,
    );
    out.line("# EOF");
    out.0
}

struct Metrics(String);

impl Metrics {
    fn line(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: u64) {
        self.family(name, "gauge", unit, help);
        self.line(&format!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", "", help);
        self.line(&format!("{name}_total {value}"));
    }

    fn per_type(&mut self, name: &str, kind: &str, help: &str, counts: &PerType<u64>) {
        self.family(name, kind, "", help);
        let suffix = if kind == "counter" { "_total" } else { "" };
        for (event_type, count) in EventType::ALL.iter().zip(counts) {
            self.line(&format!("{name}{suffix}{{event=\"{}\"}} {count}", event_type.name()));
        }
    }
}
