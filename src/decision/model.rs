//! A slow model of the contract's text (*Who is an attacker*, *Refusal*), and the engine held to it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::time::Now;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const AFTER: usize = 10;

/// Points, one by one: for which account, and when that was tried last.
#[derive(Default)]
struct Points {
    all: Vec<Option<usize>>,
    clock: i64,
}

impl Points {
    fn add(&mut self, now: i64, account: Option<usize>, count: i64) {
        if self.all.is_empty() {
            self.clock = now;
        }
        self.all.extend((0..count).map(|_| account));
    }

    fn take_back(&mut self, account: usize) {
        if let Some(at) = self.all.iter().position(|there| *there == Some(account)) {
            self.all.remove(at);
        }
    }

    /// One each hour: those of no account first, then of the account that was tried longest ago.
    fn forgive(&mut self, now: i64, last: &HashMap<usize, i64>) {
        while !self.all.is_empty() && now >= self.clock + HOUR {
            self.clock += HOUR;
            let age = |account: &Option<usize>| account.map_or((0, 0), |account| (1, last[&account]));
            let oldest = (0..self.all.len()).min_by_key(|at| age(&self.all[*at])).unwrap();
            self.all.remove(oldest);
        }
    }
}

#[derive(Default)]
struct Suspect {
    points: Points,
    proven: Points,
    last: i64,
    tried: HashMap<usize, i64>,
    failures: HashMap<usize, u32>,
    unknown: HashSet<usize>,
    /// Level, since when, points towards the next.
    attack: Option<(u32, i64, i64)>,
    probe: Option<(usize, i64)>,
}

fn period(level: u32) -> i64 {
    (0..level - 1).fold(MINUTE, |period, _| (2 * period).min(HOUR))
}

#[derive(Default)]
struct Failures {
    count: usize,
    clock: i64,
    until: i64,
}

struct Open {
    source: usize,
    account: usize,
    slow: bool,
    at: i64,
}

#[derive(Default)]
struct Model {
    now: i64,
    sources: HashMap<usize, Suspect>,
    failed_at: HashMap<usize, HashMap<usize, i64>>,
    at_fault_until: i64,
    neighbours: HashMap<usize, Failures>,
    open: Vec<Open>,
}

/// An attacker line: its level, points, and whether it is proven.
type Line = Option<(u32, usize, bool)>;

impl Model {
    fn tidy(&mut self) {
        let now = self.now;
        for source in self.sources.values_mut() {
            source.points.forgive(now, &source.tried);
            source.proven.forgive(now, &source.tried);
        }
        self.sources.retain(|_, source| match source.attack {
            Some((_, since, _)) => now - since < 24 * HOUR,
            None => !source.points.all.is_empty() || now - source.last < MINUTE,
        });
        for there in self.neighbours.values_mut() {
            while there.count > 0 && now >= there.clock + HOUR {
                there.clock += HOUR;
                there.count -= 1;
            }
        }
        self.neighbours.retain(|_, there| there.count > 0);
        self.open.retain(|open| {
            let quarter = if open.slow { 15_000_000 } else { 2_500_000 };
            now.div_euclid(quarter) - open.at.div_euclid(quarter) < 4
        });
    }

    fn count(
        &mut self,
        source: usize,
        account: Option<usize>,
        points: i64,
        makes_levels: bool,
        proven: bool,
    ) -> Line {
        self.count_net(source, account, points, if makes_levels { points } else { 0 }, proven)
    }

    /// Points of which only some are new: the others were taken back before.
    fn count_net(
        &mut self,
        source: usize,
        account: Option<usize>,
        points: i64,
        new: i64,
        proven: bool,
    ) -> Line {
        let now = self.now;
        let there = self.sources.entry(source).or_default();
        there.last = now;
        if let Some(account) = account {
            there.tried.insert(account, now);
        }
        there.points.add(now, account, points);
        if proven {
            there.proven.add(now, account, points);
        }
        let level = match &mut there.attack {
            None if there.points.all.len() >= AFTER => 1,
            Some((level, since, fresh)) => {
                *fresh = (*fresh + new).max(0);
                if new <= 0 || *fresh < 3 || now < *since + period(*level) {
                    return None;
                }
                *level + 1
            }
            _ => return None,
        };
        there.attack = Some((level, now, 0));
        Some((level, there.points.all.len(), there.proven.all.len() >= AFTER))
    }

    fn fail(&mut self, source: usize, account: usize, proven: bool) -> Line {
        let now = self.now;
        let sources = self.failed_at.entry(account).or_default();
        sources.insert(source, now);
        let guessed = sources.values().filter(|last| now - **last < HOUR).count() >= 10;
        let failures = self.sources.entry(source).or_default().failures.entry(account).or_default();
        *failures += 1;
        let points = if guessed && *failures >= 2 { 5 } else { 1 };
        self.count(source, Some(account), points, true, proven)
    }

    /// The warning comes after the failure, or alone.
    fn unknown(&mut self, source: usize, account: usize, accepted: bool, failed: bool) -> Line {
        let now = self.now;
        if accepted {
            self.at_fault_until = now + 10 * MINUTE;
        } else {
            self.failed_at.remove(&account);
        }
        let there = self.sources.entry(source).or_default();
        let is_new = there.unknown.insert(account);
        if failed {
            *there.failures.get_mut(&account).unwrap() -= 1;
        }
        let points = match accepted {
            true => 0,
            false if now < self.at_fault_until => 1,
            false => [1, 3][usize::from(is_new)],
        };
        if failed {
            // Never the last point of a source: the clock is the same, it does not begin anew.
            let (clock, proven_clock) = (there.points.clock, there.proven.clock);
            let (alone, proven_alone) = (there.points.all.len() == 1, there.proven.all.len() == 1);
            there.points.take_back(account);
            there.proven.take_back(account);
            let line = self.count_net(source, Some(account), points, points - 1, true);
            let there = self.sources.get_mut(&source).unwrap();
            if !alone {
                there.points.clock = clock;
            }
            if !proven_alone {
                there.proven.clock = proven_clock;
            }
            return line;
        }
        self.count(source, Some(account), points, true, true)
    }

    fn fail_at_known(&mut self, account: usize) {
        let now = self.now;
        let there = self.neighbours.entry(account).or_default();
        if there.count == 0 {
            (there.clock, there.until) = (now, 0);
        }
        there.count = (there.count + 1).min(AFTER + 24);
        if there.count >= AFTER && now >= there.until {
            there.until = now + MINUTE;
        }
    }

    fn settle(&mut self, source: usize, account: usize, slow: bool) {
        let is_it = |open: &Open| open.source == source && open.account == account && open.slow == slow;
        if let Some(at) = self.open.iter().position(is_it) {
            self.open.remove(at);
        }
        if let Some(there) = self.sources.get_mut(&source)
            && there.probe.is_some_and(|(probed, _)| probed == account)
        {
            there.probe = None;
        }
    }

    fn refuses(&mut self, source: usize, account: usize, slow: bool) -> bool {
        let now = self.now;
        let mut failures = 0;
        if source == KNOWN {
            if let Some(there) = self.neighbours.get(&account) {
                failures = there.count;
                if now < there.until {
                    return true;
                }
            }
        } else if let Some(there) = self.sources.get_mut(&source) {
            if let Some((level, since, _)) = there.attack {
                let verdict_out = there.probe.is_some_and(|(_, at)| now - at < 10 * SECOND);
                let refused = now < since + period(level) || verdict_out;
                if !refused {
                    there.probe = Some((account, now));
                }
                return refused;
            }
            failures = there.points.all.len();
        }
        let out = |slow| {
            let is_it = |open: &&Open| open.source == source && open.account == account && open.slow == slow;
            self.open.iter().filter(is_it).count()
        };
        let allowance = if failures >= AFTER { 0 } else { 32 };
        let out = out(false) + out(true).saturating_sub(allowance);
        let refused = out > 0 && failures + out >= AFTER;
        if !refused {
            self.open.push(Open { source, account, slow, at: now });
        }
        refused
    }
}

const SOURCES: usize = 13;
const KNOWN: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    /// So many lookups, whose verdicts come at once or with the next `Deliver`, if at all.
    Guess {
        source: usize,
        account: usize,
        method: Method,
        count: usize,
        late: bool,
        proven: bool,
    },
    /// All strangers fail at one account.
    Botnet {
        account: usize,
    },
    Deliver,
    /// Of an account that does not exist; whether the failure comes first.
    Unknown {
        source: usize,
        account: usize,
        failure_first: bool,
    },
    AcceptedIsGone {
        source: usize,
    },
    Simple {
        source: usize,
        proven: bool,
    },
    Report {
        source: usize,
        points: u32,
    },
    OperatorReports {
        source: usize,
    },
    Login {
        source: usize,
        account: usize,
    },
    Forgive {
        source: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let wait = [0, 20_000, 11 * SECOND, 61 * SECOND, 10 * MINUTE, 61 * MINUTE, 25 * HOUR];
    let method = [Method::Register, Method::Invite, Method::Subscribe, Method::Message];
    let any_source = 0..SOURCES;
    prop_oneof![
        6 => proptest::sample::select(wait.to_vec()).prop_map(Step::Wait),
        12 => (any_source.clone(), 0_usize..3, proptest::sample::select(method.to_vec()), 1_usize..15, any::<bool>(), any::<bool>())
            .prop_map(|(source, account, method, count, late, proven)| {
                let count = if method.is_slow() { count * 4 } else { count };
                Step::Guess { source, account, method, count, late, proven }
            }),
        1 => (0_usize..3).prop_map(|account| Step::Botnet { account }),
        2 => Just(Step::Deliver),
        4 => (0..KNOWN, 10_usize..13, any::<bool>())
            .prop_map(|(source, account, failure_first)| Step::Unknown { source, account, failure_first }),
        1 => (0..KNOWN).prop_map(|source| Step::AcceptedIsGone { source }),
        2 => (0..KNOWN, any::<bool>()).prop_map(|(source, proven)| Step::Simple { source, proven }),
        1 => (0..KNOWN, 0_u32..6).prop_map(|(source, points)| Step::Report { source, points }),
        1 => (0..KNOWN).prop_map(|source| Step::OperatorReports { source }),
        2 => (any_source, 0_usize..3).prop_map(|(source, account)| Step::Login { source, account }),
        1 => (0..KNOWN).prop_map(|source| Step::Forgive { source }),
    ]
}

struct Both {
    engine: Engine,
    model: Model,
    late: Vec<(usize, usize, Method, bool)>,
}

impl Both {
    fn source(&self, source: usize) -> (Source, IpAddr, Standing) {
        let ip = IpAddr::from([203, 0, 113, source as u8 + 1]);
        (Source::single(ip), ip, if source == KNOWN { Standing::Known } else { Standing::Stranger })
    }

    fn now(&self) -> Now {
        Now { wall: 0, monotonic: self.model.now }
    }

    fn add(&mut self, source: usize, what: What<'_>, proven: bool) -> Line {
        let (source, ip, standing) = self.source(source);
        let outcome = self.engine.add(self.now(), &Event { source, ip, standing, proven, what });
        outcome.attacker.map(|found| (found.level, found.points as usize, found.proven))
    }

    fn fail(
        &mut self,
        (source, account, method, proven): (usize, usize, Method, bool),
    ) -> Result<(), TestCaseError> {
        let name = format!("{account}@example.com");
        let what = What::Failure { account: name.as_bytes(), method: Some(method) };
        let line = self.add(source, what, proven);
        self.model.settle(source, account, method.is_slow());
        let expected = if source == KNOWN {
            self.model.fail_at_known(account);
            None
        } else {
            self.model.fail(source, account, proven)
        };
        prop_assert_eq!(line, expected);
        Ok(())
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        // No two accounts are tried at the same time: which of them is forgiven first is left open.
        self.model.now += 1;
        self.model.tidy();
        match step {
            Step::Wait(micros) => self.model.now += micros,
            Step::Guess { source, account, method, count, late, proven } => {
                let name = format!("{account}@example.com");
                for _ in 0..count {
                    let (of, ip, standing) = self.source(source);
                    let lookup = Lookup {
                        source: of,
                        ip,
                        port: Some(b"5060"),
                        standing,
                        account: name.as_bytes(),
                        accepted_here: false,
                        method,
                        call_id: b"call",
                    };
                    let answer = self.engine.lookup(self.now(), &lookup);
                    let refused = self.model.refuses(source, account, method.is_slow());
                    prop_assert_eq!(answer != Answer::LetThrough, refused);
                    match (refused, late) {
                        (true, _) => {}
                        (false, true) => self.late.push((source, account, method, proven)),
                        (false, false) => self.fail((source, account, method, proven))?,
                    }
                }
            }
            Step::Botnet { account } => {
                for source in 0..KNOWN {
                    self.fail((source, account, Method::Register, true))?;
                }
            }
            Step::Deliver => {
                for late in std::mem::take(&mut self.late) {
                    self.fail(late)?;
                }
            }
            Step::Unknown { source, account, failure_first } => {
                let name = format!("{account}@example.com");
                let failure = What::Failure { account: name.as_bytes(), method: None };
                let unknown = What::UnknownUser { account: name.as_bytes(), accepted: false };
                if failure_first {
                    let line = self.add(source, failure, true);
                    prop_assert_eq!(line, self.model.fail(source, account, true));
                    let line = self.add(source, unknown, true);
                    prop_assert_eq!(line, self.model.unknown(source, account, false, true));
                } else {
                    let line = self.add(source, unknown, true);
                    prop_assert_eq!(line, self.model.unknown(source, account, false, false));
                    prop_assert_eq!(self.add(source, failure, true), None);
                }
            }
            Step::AcceptedIsGone { source } => {
                let was_at_fault = self.model.now < self.model.at_fault_until;
                let (of, ip, standing) = self.source(source);
                let what = What::UnknownUser { account: b"20@example.com", accepted: true };
                let event = Event { source: of, ip, standing, proven: true, what };
                let outcome = self.engine.add(self.now(), &event);
                prop_assert_eq!(outcome.directory_at_fault, !was_at_fault);
                prop_assert_eq!(outcome.attacker, None);
                prop_assert_eq!(self.model.unknown(source, 20, true, false), None);
                let failure = What::Failure { account: b"20@example.com", method: None };
                prop_assert_eq!(self.add(source, failure, true), None);
            }
            Step::Simple { source, proven } => {
                let line = self.add(source, What::Unanswered, proven);
                prop_assert_eq!(line, self.model.count(source, None, 1, false, proven));
            }
            Step::Report { source, points } => {
                let line = self.add(source, What::Report { points }, false);
                prop_assert_eq!(line, self.model.count(source, None, points.into(), true, false));
            }
            Step::OperatorReports { source } => {
                let (of, ip, standing) = self.source(source);
                let outcome = self.engine.report(self.now(), of, ip, standing);
                let line = outcome.attacker.map(|found| (found.level, found.points as usize, found.proven));
                prop_assert_eq!(line, self.model.count(source, None, AFTER as i64, true, true));
            }
            Step::Login { source, account } => {
                let name = format!("{account}@example.com");
                let (of, ..) = self.source(source);
                self.engine.login(self.now(), of, name.as_bytes(), None);
                if source == KNOWN {
                    self.model.neighbours.remove(&account);
                } else if let Some(there) = self.model.sources.get_mut(&source) {
                    there.points.all.retain(|point| *point != Some(account));
                    there.proven.all.retain(|point| *point != Some(account));
                    there.failures.remove(&account);
                    if there.points.all.is_empty() {
                        self.model.sources.remove(&source);
                    }
                }
            }
            Step::Forgive { source } => {
                let (of, ..) = self.source(source);
                let forgiven = self.engine.forgive(self.now(), of);
                prop_assert_eq!(forgiven, self.model.sources.remove(&source).is_some());
            }
        }
        self.model.tidy();
        for number in 0..KNOWN {
            let (source, ..) = self.source(number);
            let report = self.engine.why(self.now(), source);
            let there = self.model.sources.get(&number);
            let points = report.as_ref().map_or(0, |report| report.points as usize);
            prop_assert_eq!(points, there.map_or(0, |there| there.points.all.len()), "of {}", source);
            let level = report.as_ref().and_then(|report| Some(report.attack.as_ref()?.level));
            prop_assert_eq!(level, there.and_then(|there| Some(there.attack?.0)));
        }
        Ok(())
    }
}

fn engine() -> Engine {
    Engine::new(Settings { attacker_after: AFTER as u32, refuses: true, tracks_known: true })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_engine_decides_as_the_contract_says(steps in proptest::collection::vec(step(), 1..120)) {
        let mut both = Both { engine: engine(), model: Model { at_fault_until: i64::MIN, ..Model::default() }, late: Vec::new() };
        both.model.now = 1_000 * SECOND;
        for step in steps {
            both.run(step)?;
        }
    }

    /// What is saved and put back later decides as if there had been no restart; only the accounts that are
    /// guessed, refused at known sources or looked up are forgotten, and points towards the next level.
    #[test]
    fn a_restart_forgives_nobody(steps in proptest::collection::vec(step(), 1..60), down in 0_i64..200_000) {
        let mut both = Both { engine: engine(), model: Model { at_fault_until: i64::MIN, ..Model::default() }, late: Vec::new() };
        both.model.now = 1_000 * SECOND;
        for step in steps {
            both.run(step)?;
        }
        let mut restarted = engine();
        let mut from = Some(0);
        let later = Now { wall: 0, monotonic: 77 * SECOND };
        while let Some(at) = from {
            let (page, next) = both.engine.page(both.now(), at);
            for saved in page {
                let text = serde_json::to_string(&saved).unwrap();
                restarted.restore(later, &serde_json::from_str(&text).unwrap(), down);
            }
            from = next;
        }
        both.model.now += down * SECOND;
        for number in 0..SOURCES {
            let (source, ..) = both.source(number);
            let before = both.engine.why(both.now(), source);
            let after = restarted.why(later, source);
            // Whole seconds are saved, so an hour may end a second sooner or later.
            match (before, after) {
                (Some(before), Some(after)) => {
                    prop_assert!(before.points.abs_diff(after.points) <= 1, "{:?} {:?}", before, after);
                    prop_assert_eq!(before.attack.map(|there| there.level), after.attack.map(|there| there.level));
                }
                (None, None) => {}
                (before, after) => {
                    let all = [before, after];
                    let there = all.iter().flatten().next().unwrap();
                    prop_assert!(there.points <= 1 || there.attack.as_ref().is_some_and(|there| there.level_ago >= 86_398), "{:?}", there);
                }
            }
        }
    }
}
