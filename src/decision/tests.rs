//! The rules of the contract, one by one, and what an enemy would try.

use std::net::IpAddr;

use super::*;
use crate::time::Now;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const SETTINGS: Settings = Settings { attacker_after: 10, refuses: true, tracks_known: true };

struct Fixture {
    engine: Engine,
    at: i64,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(SETTINGS)
    }

    fn with(settings: Settings) -> Fixture {
        Fixture { engine: Engine::new(settings), at: 5 * HOUR }
    }

    fn now(&self) -> Now {
        Now { wall: 0, monotonic: self.at }
    }

    fn event(&mut self, ip: IpAddr, standing: Standing, proven: bool, what: What<'_>) -> Outcome {
        let source = Source::of(ip, 64, |_| false);
        self.engine.add(self.now(), &Event { source, ip, standing, proven, what })
    }

    fn stranger(&mut self, ip: IpAddr, what: What<'_>) -> Outcome {
        self.event(ip, Standing::Stranger, false, what)
    }

    /// How many failures until there is a line.
    fn failures_to_a_line(&mut self, ip: IpAddr, account: &str) -> (usize, Found) {
        for number in 1..100 {
            if let Some(found) = self.stranger(ip, failure(account, None)).attacker {
                return (number, found);
            }
        }
        panic!("never an attacker");
    }

    fn lookup(&mut self, ip: IpAddr, account: &str, method: Method) -> Answer {
        self.lookup_as(ip, account, method, Standing::Stranger, false)
    }

    fn lookup_as(
        &mut self,
        ip: IpAddr,
        account: &str,
        method: Method,
        standing: Standing,
        accepted_here: bool,
    ) -> Answer {
        let source = Source::of(ip, 64, |_| false);
        let (port, call_id, account) = (Some(&b"5060"[..]), &b"call"[..], account.as_bytes());
        let lookup = Lookup { source, ip, port, standing, account, accepted_here, method, call_id };
        self.engine.lookup(self.now(), &lookup)
    }

    fn attackers(&mut self) -> Vec<SourceReport> {
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let page;
            (page, next) = self.engine.attackers_page(self.now(), from);
            all.extend(page);
        }
        all
    }

    /// How many of `count` lookups at once are let through.
    fn let_through(&mut self, count: usize, ip: IpAddr, account: &str, method: Method) -> usize {
        (0..count).filter(|_| self.lookup(ip, account, method) == Answer::LetThrough).count()
    }
}

fn ip(number: u32) -> IpAddr {
    IpAddr::V4((0x0B00_0000 + number).into())
}

fn failure(account: &str, method: Option<Method>) -> What<'_> {
    What::Failure { account: account.as_bytes(), method }
}

fn unknown(account: &str, accepted: bool) -> What<'_> {
    What::UnknownUser { account: account.as_bytes(), accepted }
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refuse(refusal) => refusal,
        Answer::LetThrough => panic!("let through"),
    }
}

// Who is an attacker

#[test]
fn ten_failures_make_an_attacker_and_its_line_says_why() {
    let mut it = Fixture::new();
    for number in 0..7 {
        let account = format!("100{}@a", number % 3);
        assert_eq!(it.event(ip(1), Standing::Stranger, true, failure(&account, None)), Outcome::default());
    }
    let found = it.stranger(ip(1), unknown("x@a", false)).attacker.unwrap();
    assert_eq!((found.level, found.points, found.proven, found.accounts), (1, 10, false, 4));
    assert_eq!(found.causes.to_string(), "failure=7 unknown_user=1");
    assert_eq!((found.source.to_string().as_str(), found.period), ("11.0.0.1", MINUTE));
}

#[test]
fn points_that_nobody_can_have_forged_prove_an_attacker_alone() {
    let mut it = Fixture::new();
    it.stranger(ip(1), What::Unanswered);
    let outcomes: Vec<_> =
        (0..9).map(|_| it.event(ip(1), Standing::Stranger, true, failure("a@a", None)).attacker).collect();
    assert!(!outcomes[8].unwrap().proven, "nine of ten");
    it.at += MINUTE;
    for _ in 0..3 {
        if let Some(found) = it.event(ip(1), Standing::Stranger, true, failure("a@a", None)).attacker {
            assert!(found.proven && found.level == 2);
        }
    }
}

#[test]
fn an_ipv6_network_is_one_attacker() {
    let mut it = Fixture::new();
    let at = |number: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, number]);
    let found =
        (0..10).filter_map(|number| it.stranger(at(number), failure("a@a", None)).attacker).last().unwrap();
    assert_eq!((found.source.to_string().as_str(), found.ip), ("2001:db8:1:2::/64", at(9)));
}

#[test]
fn nobody_known_trusted_or_of_this_machine_is_an_attacker() {
    let mut it = Fixture::new();
    for _ in 0..50 {
        for (ip, standing) in [
            (ip(1), Standing::Known),
            (ip(2), Standing::Trusted),
            (IpAddr::from([127, 0, 0, 1]), Standing::Stranger),
            ("::1".parse().unwrap(), Standing::Stranger),
        ] {
            assert_eq!(it.event(ip, standing, true, failure("a@a", None)), Outcome::default());
            assert_eq!(it.event(ip, standing, true, What::Report { points: 1000 }), Outcome::default());
            assert_eq!(it.engine.report(it.now(), Source::single(ip), ip, standing), Outcome::default());
        }
    }
    assert_eq!(it.attackers(), []);
}

#[test]
fn without_known_sources_only_failures_and_reports_count() {
    let mut it = Fixture::with(Settings { tracks_known: false, refuses: false, ..SETTINGS });
    for number in 0..50 {
        for what in [What::Unanswered, What::Abandoned, What::Acl, What::Nowhere, unknown("x@a", true)] {
            assert_eq!(it.stranger(ip(1), what), Outcome::default());
        }
        it.stranger(ip(number), failure("a@a", None));
    }
    // Fifty strangers failed at one account: it is not judged.
    assert_eq!(it.stranger(ip(7), failure("a@a", None)), Outcome::default());
    assert_eq!(it.engine.why(it.now(), Source::single(ip(7))).unwrap().points, 2);
    assert!(it.stranger(ip(7), What::Report { points: 8 }).attacker.is_some());
}

#[test]
fn with_attacker_after_0_nothing_is_decided() {
    let mut it = Fixture::with(Settings { attacker_after: 0, ..SETTINGS });
    for number in 0..50 {
        assert_eq!(it.stranger(ip(number % 20), failure("a@a", None)), Outcome::default());
        assert_eq!(it.lookup(ip(1), "a@a", Method::Register), Answer::LetThrough);
    }
    assert_eq!(
        it.engine.report(it.now(), Source::single(ip(1)), ip(1), Standing::Stranger),
        Outcome::default()
    );
    assert_eq!(it.engine.sizes(), (0, 0));
}

#[test]
fn a_login_clears_the_points_for_its_account_alone() {
    let mut it = Fixture::new();
    for _ in 0..5 {
        it.stranger(ip(1), failure("Alice@a", None));
        it.stranger(ip(1), failure("bob@a", None));
        if it.engine.why(it.now(), Source::single(ip(1))).unwrap().points == 8 {
            it.engine.login(it.now(), Source::single(ip(1)), b"alice@A", None);
            assert_eq!(it.engine.why(it.now(), Source::single(ip(1))).unwrap().points, 4);
        }
    }
    it.engine.login(it.now(), Source::single(ip(1)), b"alice@a", None);
    it.engine.login(it.now(), Source::single(ip(1)), b"bob@a", None);
    assert_eq!(it.engine.why(it.now(), Source::single(ip(1))), None);
}

#[test]
fn levels_rise_by_three_points_after_each_period_and_for_a_day() {
    let mut it = Fixture::new();
    it.failures_to_a_line(ip(1), "a@a");
    let mut periods = Vec::new();
    for _ in 0..7 {
        let level = it.attackers()[0].attack.clone().unwrap();
        it.at += level.remaining() * SECOND;
        for forgeable in [What::Unanswered, What::Abandoned, What::Acl, What::Nowhere] {
            assert_eq!(it.stranger(ip(1), forgeable).attacker, None, "a single packet makes no level");
        }
        let (failures, found) = it.failures_to_a_line(ip(1), "a@a");
        assert_eq!(failures, 3);
        periods.push(found.period / MINUTE);
    }
    assert_eq!(periods, [2, 4, 8, 16, 32, 60, 60]);
    it.at += 24 * HOUR - 1;
    assert_eq!(it.attackers().len(), 1);
    it.at += 1;
    assert_eq!(it.attackers().len(), 0);
    assert_eq!(it.failures_to_a_line(ip(1), "a@a").0, 10);
}

#[test]
fn an_operators_report_makes_an_attacker_at_once() {
    let mut it = Fixture::new();
    let found =
        it.engine.report(it.now(), Source::single(ip(1)), ip(1), Standing::Stranger).attacker.unwrap();
    assert_eq!((found.points, found.level, found.proven), (10, 1, true));
    assert_eq!(found.causes.to_string(), "report=1");
}

#[test]
fn unknown_users_cost_three_points_each_and_one_again() {
    let mut it = Fixture::new();
    for (name, points) in [("a@a", 3), ("b@a", 6), ("A@A", 7), ("b@a", 8)] {
        it.stranger(ip(1), unknown(name, false));
        it.stranger(ip(1), failure(name, None));
        assert_eq!(it.engine.why(it.now(), Source::single(ip(1))).unwrap().points, points);
    }
}

#[test]
fn a_directory_that_is_down_makes_no_attacker_of_phones_that_were_good() {
    let mut it = Fixture::new();
    let mut announced = 0;
    for round in 0..9 {
        for number in 0..100 {
            let account = format!("{number}@a");
            // Both orders; each phone roams, so its address is not known.
            let orders = [
                [unknown(&account, true), failure(&account, None)],
                [failure(&account, None), unknown(&account, true)],
            ];
            for what in orders[number as usize % 2] {
                let outcome = it.stranger(ip(number), what);
                announced += u32::from(outcome.directory_at_fault);
                assert_eq!(outcome.attacker, None);
            }
        }
        // Somebody who has not been here for days is judged gently meanwhile.
        let outcome = it.stranger(ip(200), unknown("new@a", false));
        assert_eq!(
            (outcome.attacker, it.stranger(ip(200), failure("new@a", None)).attacker),
            (None, None),
            "{round}"
        );
        it.at += MINUTE;
    }
    assert_eq!(announced, 1);
    assert!(
        (0..100).all(|number| it
            .engine
            .why(it.now(), Source::single(ip(number)))
            .is_none_or(|it| it.points == 0))
    );
    it.at += 10 * MINUTE;
    it.stranger(ip(201), unknown("new@a", false));
    assert_eq!(it.engine.why(it.now(), Source::single(ip(201))).unwrap().points, 3);
}

#[test]
fn a_botnet_with_three_guesses_an_address_at_one_account_is_found() {
    let mut it = Fixture::new();
    let mut found = std::collections::HashSet::new();
    let mut announced = Vec::new();
    for round in 0..3 {
        for bot in 0..50 {
            // In another order each time.
            let bot = (bot * 7 + round) % 50;
            let outcome = it.stranger(ip(bot), failure("1001@a", None));
            found.extend(outcome.attacker.map(|found| found.source));
            announced.extend(outcome.account_under_attack);
            it.at += SECOND;
        }
    }
    assert!(found.len() >= 45, "{}", found.len());
    assert_eq!(announced.len(), 1);
    assert_eq!((announced[0].account.bytes(), announced[0].sources), (&b"1001@a"[..], 10));
    assert_eq!(it.engine.accounts_under_attack(it.now()).count(), 1);
}

#[test]
fn one_slip_at_an_account_under_attack_costs_one_point() {
    let mut it = Fixture::new();
    for bot in 0..50 {
        it.stranger(ip(bot), failure("1001@a", None));
    }
    it.stranger(ip(99), failure("1001@a", None));
    assert_eq!(it.engine.why(it.now(), Source::single(ip(99))).unwrap().points, 1);
    it.stranger(ip(99), failure("1001@a", None));
    assert_eq!(it.engine.why(it.now(), Source::single(ip(99))).unwrap().points, 6);
}

// Refusal

#[test]
fn an_attacker_is_refused_for_the_period_of_its_level_and_then_one_lookup_at_a_time() {
    let mut it = Fixture::new();
    it.failures_to_a_line(ip(1), "a@a");
    let first = refused(it.lookup(ip(1), "b@a", Method::Register));
    assert_eq!(first, Refusal { why: Why::Attacker { level: 1 }, remaining: MINUTE, first: true });
    it.at += MINUTE - 1;
    assert_eq!(refused(it.lookup(ip(1), "b@a", Method::Message)).remaining, 1);
    assert!(!refused(it.lookup(ip(1), "b@a", Method::Subscribe)).first);
    it.at += 1;
    for guess in 0..3 {
        assert_eq!(it.let_through(50, ip(1), "b@a", Method::Register), 1, "{guess}");
        assert_eq!(it.stranger(ip(1), failure("b@a", Some(Method::Register))).attacker.is_some(), guess == 2);
    }
    let again = refused(it.lookup(ip(1), "b@a", Method::Register));
    assert_eq!(again, Refusal { why: Why::Attacker { level: 2 }, remaining: 2 * MINUTE, first: true });
    assert_eq!(it.attackers()[0].attack.as_ref().unwrap().refused, 3 + 3 * 49 + 1);
}

#[test]
fn a_guesser_gets_ten_guesses_however_fast_it_is() {
    for (method, most) in
        [(Method::Register, 10), (Method::Invite, 10), (Method::Subscribe, 42), (Method::Message, 42)]
    {
        let mut it = Fixture::new();
        assert_eq!(it.let_through(400, ip(1), "1001@a", method), most, "{method:?}");
        // The events come late: what is out turns into points one by one.
        let mut lines = 0;
        for _ in 0..most {
            lines += usize::from(it.stranger(ip(1), failure("1001@a", Some(method))).attacker.is_some());
            assert_eq!(it.let_through(10, ip(1), "1001@a", method), 0);
        }
        assert_eq!(lines, 1);
    }
}

#[test]
fn a_high_attacker_after_is_as_exact() {
    let mut it = Fixture::with(Settings { attacker_after: 1000, ..SETTINGS });
    assert_eq!(it.let_through(5000, ip(1), "1001@a", Method::Register), 1000);
    assert_eq!(it.let_through(5000, ip(2), "1001@a", Method::Message), 1032);
}

#[test]
fn lookups_that_never_get_a_verdict_count_for_ten_seconds_or_a_minute() {
    let mut it = Fixture::new();
    it.let_through(400, ip(1), "1001@a", Method::Register);
    it.let_through(400, ip(2), "1001@a", Method::Subscribe);
    it.at += 10 * SECOND;
    assert_eq!(it.let_through(400, ip(1), "1001@a", Method::Register), 10);
    // They are failures ten seconds after they came, or later; not again as many guesses before that.
    for _ in 0..7 {
        assert_eq!(it.let_through(400, ip(2), "1001@a", Method::Subscribe), 0);
        it.at += 5 * SECOND;
    }
    it.at += 15 * SECOND;
    assert_eq!(it.let_through(400, ip(2), "1001@a", Method::Subscribe), 42);
}

#[test]
fn where_events_are_late_lookups_and_excuses_last_a_minute() {
    let mut it = Fixture::new();
    let request = Request { call_id: b"call", method: Method::Register, ip: ip(1), port: Some(b"5060") };
    it.engine.verdict_took(it.now(), 5 * SECOND);
    it.let_through(400, ip(1), "1001@a", Method::Register);
    it.at += 8 * SECOND;
    it.engine.verdict_took(it.now(), 8 * SECOND);
    it.at += 30 * SECOND;
    assert_eq!(it.let_through(400, ip(1), "1001@a", Method::Register), 0);
    assert!(it.engine.excuses(it.now(), &request));
    it.at += 22 * SECOND;
    assert_eq!(it.let_through(400, ip(1), "1001@a", Method::Register), 10);
    // They are late no more.
    it.at += 10 * SECOND;
    assert!(!it.engine.excuses(it.now(), &request));
}

#[test]
fn verdicts_of_every_kind_free_a_lookup() {
    let mut it = Fixture::new();
    let source = Source::single(ip(1));
    for _ in 0..100 {
        assert_eq!(it.let_through(1, ip(1), "1001@a", Method::Register), 1);
        it.engine.settled(it.now(), source, b"1001@a", Method::Register);
        assert_eq!(it.let_through(1, ip(1), "1001@a", Method::Register), 1);
        it.engine.login(it.now(), source, b"1001@a", Some(Method::Register));
    }
}

#[test]
fn an_office_of_200_phones_and_a_phone_with_30_keys_are_let_through() {
    let mut it = Fixture::new();
    for phone in 0..200 {
        let account = format!("{phone}@a");
        for _ in 0..2 {
            assert_eq!(it.lookup(ip(1), &account, Method::Register), Answer::LetThrough);
        }
        assert_eq!(it.let_through(30, ip(1), &account, Method::Subscribe), 30);
    }
}

#[test]
fn other_accounts_do_not_push_out_the_lookups_of_one() {
    let mut it = Fixture::new();
    let mut guesses = 0;
    for round in 0..2000 {
        guesses += it.let_through(1, ip(1), "1001@a", Method::Register);
        for number in 0..20 {
            it.let_through(1, ip(1), &format!("{round} {number}@a"), Method::Register);
        }
        for number in 2..12 {
            it.let_through(1, ip(number), &format!("{round} {number}@a"), Method::Register);
        }
    }
    assert_eq!(guesses, 10);
}

#[test]
fn at_a_known_source_the_account_is_refused_and_not_the_office() {
    let mut it = Fixture::new();
    let known = |it: &mut Fixture, account: &str, accepted_here| {
        it.lookup_as(ip(1), account, Method::Register, Standing::Known, accepted_here)
    };
    for _ in 0..10 {
        assert_eq!(known(&mut it, "old@a", false), Answer::LetThrough);
        let outcome = it.event(ip(1), Standing::Known, false, failure("old@a", Some(Method::Register)));
        assert_eq!(outcome, Outcome::default());
    }
    for minute in 0..5 {
        let refusal = refused(known(&mut it, "old@a", false));
        assert_eq!(refusal, Refusal { why: Why::Account, remaining: MINUTE, first: true }, "{minute}");
        assert_eq!(known(&mut it, "good@a", true), Answer::LetThrough);
        assert_eq!(known(&mut it, "new@a", false), Answer::LetThrough);
        it.engine.settled(it.now(), Source::single(ip(1)), b"new@a", Method::Register);
        it.at += MINUTE;
        // One guess a minute.
        assert_eq!((0..50).filter(|_| known(&mut it, "old@a", false) == Answer::LetThrough).count(), 1);
        it.event(ip(1), Standing::Known, false, failure("old@a", Some(Method::Register)));
    }
    let why = it.engine.why_account(it.now(), &Typed::new("OLD"));
    assert!(why.sources[0].alone && why.sources[0].remaining == 60 && why.sources[0].level.is_none());
    it.at += MINUTE;
    assert_eq!(known(&mut it, "old@a", false), Answer::LetThrough);
    it.engine.login(it.now(), Source::single(ip(1)), b"old@a", Some(Method::Register));
    assert_eq!(known(&mut it, "old@a", false), Answer::LetThrough);
}

#[test]
fn at_a_known_source_a_guesser_gets_ten_guesses_at_an_account_however_fast() {
    let mut it = Fixture::new();
    let through = |it: &mut Fixture, account: &str, method| {
        let standing = Standing::Known;
        (0..400)
            .filter(|_| it.lookup_as(ip(1), account, method, standing, false) == Answer::LetThrough)
            .count()
    };
    assert_eq!(through(&mut it, "a@a", Method::Invite), 10);
    assert_eq!(through(&mut it, "b@a", Method::Subscribe), 42);
}

#[test]
fn late_verdicts_do_not_prolong_the_refusal_of_an_account() {
    let mut it = Fixture::new();
    for _ in 0..30 {
        it.event(ip(1), Standing::Known, false, failure("old@a", None));
        it.at += SECOND;
    }
    // Refused since the tenth, 21 s ago.
    let refusal = refused(it.lookup_as(ip(1), "old@a", Method::Register, Standing::Known, false));
    assert_eq!(refusal.remaining, 39 * SECOND);
}

#[test]
fn nobody_trusted_nor_accepted_there_is_ever_refused() {
    let mut it = Fixture::new();
    it.failures_to_a_line(ip(1), "a@a");
    for _ in 0..50 {
        let trusted = it.lookup_as(ip(1), "a@a", Method::Register, Standing::Trusted, false);
        let accepted = it.lookup_as(ip(1), "a@a", Method::Register, Standing::Known, true);
        let loopback = it.lookup(IpAddr::from([127, 0, 0, 1]), "a@a", Method::Register);
        assert_eq!([trusted, accepted, loopback], [Answer::LetThrough; 3]);
    }
}

#[test]
fn without_refuse_attackers_nothing_is_refused() {
    let mut it = Fixture::with(Settings { refuses: false, ..SETTINGS });
    it.failures_to_a_line(ip(1), "a@a");
    assert_eq!(it.let_through(100, ip(1), "a@a", Method::Register), 100);
}

#[test]
fn our_refusals_excuse_one_attempt_each_and_none_that_shows_in_no_event() {
    let mut it = Fixture::new();
    it.failures_to_a_line(ip(1), "a@a");
    let request = |method| Request { call_id: b"call", method, ip: ip(1), port: Some(b"5060") };
    refused(it.lookup(ip(1), "a@a", Method::Register));
    refused(it.lookup(ip(1), "a@a", Method::Subscribe));
    assert!(!it.engine.excuses(it.now(), &request(Method::Invite)));
    assert!(!it.engine.excuses(it.now(), &request(Method::Subscribe)));
    assert!(it.engine.excuses(it.now(), &request(Method::Register)));
    assert!(!it.engine.excuses(it.now(), &request(Method::Register)));
}

#[test]
fn forgiving_a_source_or_an_account_ends_all_of_it_at_once() {
    let mut it = Fixture::new();
    for (number, account) in [(1, "a@a"), (2, "a@a"), (3, "b@a")] {
        it.failures_to_a_line(ip(number), account);
    }
    for _ in 0..10 {
        it.event(ip(4), Standing::Known, false, failure("a@a", None));
    }
    assert!(it.engine.forgive(it.now(), Source::single(ip(1))));
    assert!(!it.engine.forgive(it.now(), Source::single(ip(1))));
    assert_eq!(it.lookup(ip(1), "a@a", Method::Register), Answer::LetThrough);
    assert_eq!(it.engine.forgive_account(it.now(), &Typed::new("A")), (vec![Source::single(ip(2))], true));
    assert_eq!(it.lookup(ip(2), "a@a", Method::Register), Answer::LetThrough);
    assert_eq!(it.lookup_as(ip(4), "a@a", Method::Register, Standing::Known, false), Answer::LetThrough);
    refused(it.lookup(ip(3), "b@a", Method::Register));
    assert_eq!(it.engine.forgive_account(it.now(), &Typed::new("a@a")), (vec![], false));
}

#[test]
fn why_says_what_a_source_did_and_when() {
    let mut it = Fixture::new();
    for _ in 0..4 {
        it.stranger(ip(1), failure("1009@a", None));
    }
    it.at += 2 * MINUTE;
    let why = it.engine.why(it.now(), Source::single(ip(1))).unwrap();
    assert_eq!(
        (why.points, why.accounts, why.tried[0].account.as_str(), why.tried[0].ago),
        (4, 1, "1009@a", 120)
    );
    assert_eq!(why.causes, [CauseReport { cause: "failure".into(), count: 4, ago: 120 }]);
    assert_eq!(why.attack, None);
    let account = it.engine.why_account(it.now(), &Typed::new("1009"));
    assert_eq!((account.sources.len(), account.sources[0].failures, account.sources[0].alone), (1, 4, false));
    assert!(!account.sources[0].unknown);
    // One source, however many domains it tried.
    it.stranger(ip(1), failure("1009@b", None));
    it.stranger(ip(1), What::UnknownUser { account: b"1009@c", accepted: false });
    let account = it.engine.why_account(it.now(), &Typed::new("1009"));
    assert_eq!((account.count, account.sources.len()), (1, 3));
    assert!(account.sources.iter().any(|there| there.unknown && there.account == "1009@c"));
}

#[test]
fn a_state_file_from_anywhere_costs_nothing_but_what_it_held() {
    let mut it = Fixture::new();
    for text in [
        r#"{"source":"203.0.113.7","ip":"1.2.3.4","ago":-9223372036854775808,"points":4294967295,"proven_points":4294967295,"proven":true,"forgiving":9223372036854775807,"proven_forgiving":-1,"causes":[{"cause":"failure","count":4294967295,"ago":9223372036854775807},{"cause":"x","count":1,"ago":0}],"accounts":0,"tried":[],"attack":{"level":4294967295,"ago":-5,"level_ago":-5,"refused":18446744073709551615}}"#,
        r#"{"source":"203.0.113.8","ip":"::","ago":0,"points":5,"proven_points":9,"proven":true,"forgiving":0,"proven_forgiving":0,"causes":[],"accounts":0,"tried":[{"account":"a","points":4294967295,"proven_points":7,"failures":4294967295,"unknown":true,"ago":0}],"attack":null}"#,
        r#"{"source":"127.0.0.1","ip":"127.0.0.1","ago":0,"points":50,"proven_points":9,"proven":true,"forgiving":0,"proven_forgiving":0,"causes":[],"accounts":0,"tried":[],"attack":{"level":0,"ago":0,"level_ago":0,"refused":0}}"#,
    ] {
        let saved: SourceReport = serde_json::from_str(text).unwrap();
        it.engine.restore(it.now(), &saved, i64::MAX);
        it.engine.restore(it.now(), &saved, -5);
        it.engine.restore(it.now(), &saved, 0);
        let (ip, source) = (saved.ip, saved.source);
        for _ in 0..20 {
            it.engine.add(
                it.now(),
                &Event { source, ip, standing: Standing::Stranger, proven: true, what: failure("a", None) },
            );
        }
        it.engine.why(it.now(), source);
    }
    let attackers = it.attackers();
    assert_eq!(attackers.len(), 2);
    assert!(attackers[0].attack.as_ref().unwrap().remaining() <= 3600);
}

// Floods

#[test]
fn in_a_flood_of_forged_addresses_an_attacker_is_found_at_its_tenth_failure() {
    let mut it = Fixture::new();
    let mut failures = 0;
    let mut flooded = 0;
    // 12,000 failures a second, each of another address and account; the attacker guesses 50 times a second.
    let found = (0..).find(|number| {
        it.at += SECOND / 12_000;
        flooded += 1;
        let account = format!("{number}@a");
        assert_eq!(it.stranger(ip(1_000_000 + flooded), failure(&account, None)).attacker, None);
        number % 240 == 0 && {
            failures += 1;
            it.stranger(ip(1), failure("1001@a", None)).attacker.is_some()
        }
    });
    assert_eq!((found.is_some(), failures), (true, 10));
}

#[test]
fn in_a_flood_of_forged_addresses_one_that_guesses_once_a_minute_is_found() {
    // 12,000 a second; of the debug build's time that would take a minute.
    const FLOOD: u32 = if cfg!(debug_assertions) { 40_000 } else { 720_000 };
    let mut it = Fixture::new();
    let mut flooded = 0;
    let minutes = (1..30).find(|_| {
        for _ in 0..FLOOD {
            flooded += 1;
            it.at += MINUTE / i64::from(FLOOD);
            it.stranger(ip(1_000_000 + flooded), What::Unanswered);
        }
        it.stranger(ip(1), failure("1001@a", None)).attacker.is_some()
    });
    // The first guess is forgotten.
    assert!(minutes.is_some_and(|minutes| minutes <= 12), "{minutes:?}");
}

#[test]
fn forged_packets_between_two_guesses_hide_nobody() {
    let mut it = Fixture::new();
    let mut forged = 0;
    let guesses = (1..100).find(|_| {
        for _ in 0..100 {
            forged += 1;
            // Each address twice, so that it counts as one that returns.
            it.stranger(ip(1000 + forged % 20_000), What::Unanswered);
        }
        it.at += MINUTE;
        it.stranger(ip(1), failure("1001@a", None)).attacker.is_some()
    });
    assert_eq!(guesses, Some(10));
}

#[test]
fn of_attackers_the_lowest_level_goes_first() {
    let mut it = Fixture::new();
    it.failures_to_a_line(ip(1), "a@a");
    it.at += MINUTE;
    it.failures_to_a_line(ip(1), "a@a");
    for number in 0..5000 {
        it.stranger(ip(100 + number), What::Report { points: 10 });
    }
    let attackers = it.attackers();
    assert_eq!(attackers.len(), 4096);
    assert!(attackers.iter().any(|there| there.source == Source::single(ip(1))));
    assert_eq!(it.engine.evicted_attackers(), 5001 - 4096);
    assert!(attackers.iter().all(|there| there.source != Source::single(ip(100))));
    // A flood of suspects changes nothing.
    for number in 0..20_000 {
        it.stranger(ip(1_000_000 + number), What::Unanswered);
    }
    assert_eq!(it.attackers().len(), 4096);
}

#[test]
fn points_forged_in_anothers_name_are_gone_with_its_day() {
    let mut it = Fixture::new();
    for _ in 0..50_000 {
        it.stranger(ip(1), What::Unanswered);
    }
    it.at += 24 * HOUR;
    assert_eq!(it.engine.why(it.now(), Source::single(ip(1))), None);
}
