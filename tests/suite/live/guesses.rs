//! How many guesses FreeSWITCH compares, however fast they come and however late its events are. It is counted where
//! the module can't err: in a directory behind it, which FreeSWITCH asks for a password unless the module has answered.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::addresses::Side;
use super::agent::{Agent, Answer, Request};
use super::guesser::{self, INVITE, MESSAGE, Method, REGISTER, SUBSCRIBE, WAYS, Way, attempt, register};
use super::look_ups::Directory;
use super::site::{LUA, Plan, Site, XML_CURL};
use super::stock::{self, PASSWORD};
use crate::support::fail2ban::network::Family::V4;
use crate::support::needs;
use crate::support::suite::{Suite, tests};
use crate::support::{wait_at_most, wait_until};

/// The tests of this file.
pub fn add_to(suite: &mut Suite) {
    let needs = [
        needs::free_switch,
        needs::network,
        stock::is_installed,
        needs::openssl,
        stock::has_xml_curl,
        stock::has_lua,
    ];
    suite.add(
        &needs,
        tests![
            of_four_hundred_guesses_by_register_ten_are_compared,
            of_four_hundred_guesses_ten_are_compared_where_events_come_late,
            after_the_period_guesses_are_compared_one_at_a_time,
            of_guesses_by_invite_ten_are_compared,
            of_guesses_by_subscribe_and_message_a_few_more_are_compared,
            at_a_known_source_ten_guesses_for_each_account_are_compared_and_its_phones_go_on,
        ],
    );
}

const ATTACKER_AFTER: usize = 10;
/// Ten, and what FreeSWITCH's threads may have under way at once.
const AT_MOST: usize = 12;
/// A phone with many keys may subscribe 32 times at once.
const AT_MOST_SLOW: usize = 45;

/// A switch whose directory is behind the module.
struct Watched {
    site: Site,
    directory: Option<Directory>,
}

impl Watched {
    fn start(prepare: impl FnOnce(&Path)) -> Watched {
        let mut directory = None;
        let plan = Plan { after: &[XML_CURL, LUA], ..Plan::default() };
        let site = guesser::site(&plan, |network, conf| {
            directory = Some(Directory::start(&network.server, Duration::ZERO));
            Directory::write_settings(conf);
            prepare(conf);
        });
        Watched { site, directory }
    }

    /// How many passwords were compared for an account.
    fn compared(&self, user: &str) -> usize {
        self.directory.as_ref().expect("it runs").comparisons(user)
    }

    fn refused(&self) -> usize {
        self.site.status()["refused"].as_u64().expect("a count") as usize
    }

    /// Sends this many guesses with one nonce before a reply is read, and at once the right password, which is refused;
    /// gives how many passwords were compared, of how many requests.
    fn burst(&self, way: Way, method: Method, user: &str, count: usize) -> [usize; 2] {
        self.burst_and(way, method, user, count, |agent, request, nonce| {
            let right = agent.guess_for_reply(request, nonce, PASSWORD);
            assert_eq!(right, Some(method.refused), "the right password by {} over {way:?}", method.name);
        })
    }

    /// The same without the right password.
    fn wrong_burst(&self, way: Way, method: Method, user: &str, count: usize) -> [usize; 2] {
        self.burst_and(way, method, user, count, |_, _, _| ())
    }

    fn burst_and(
        &self,
        way: Way,
        method: Method,
        user: &str,
        count: usize,
        then: impl FnOnce(&mut Agent, &Request<'_>, &str),
    ) -> [usize; 2] {
        let ip = self.site.network.attacker.address(V4);
        let (compared, refused) = (self.compared(user), self.refused());
        let mut agent = guesser::agent(&self.site, Side::Attackers, way, ip);
        agent.patience = Duration::from_secs(20);
        let request = method.of(user, Answer::Never);
        let nonce = agent.nonce(&request);
        for number in 0..count {
            agent.guess(&request, &nonce, "guess");
            // As fast as FreeSWITCH's socket takes them.
            if way == Way::Udp && number % 8 == 7 {
                thread::sleep(Duration::from_millis(3));
            }
        }
        then(&mut agent, &request, &nonce);
        let all = || (self.compared(user) - compared) + (self.refused() - refused);
        wait_until("the requests to have been looked up", || all() > count * 3 / 4);
        // Calls are taken on threads of their own: one may be under way still.
        thread::sleep(Duration::from_secs(1));
        let compared = self.compared(user) - compared;
        println!("{} over {way:?}: {compared} of {} compared", method.name, all());
        [compared, all()]
    }

    fn forgive(&self) {
        let ip = self.site.network.attacker.address(V4);
        self.site.cli(&format!("fail2ban forgive {ip}"));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take() {
            directory.stop(&self.site.network.server);
        }
    }
}

fn of_four_hundred_guesses_by_register_ten_are_compared() {
    let watched = Watched::start(|_| ());
    for (way, user) in WAYS.into_iter().zip(["1002", "1004", "1005"]) {
        let [compared, _] = watched.burst(way, REGISTER, user, 400);
        assert!((ATTACKER_AFTER..=AT_MOST).contains(&compared), "{compared} over {way:?}");
        watched.forgive();
    }
}

/// Has a script of Lua's take 20 ms for each event of a failure, on the thread that delivers all events.
fn delay_events(conf: &Path) {
    let script = conf.join("slow.lua");
    fs::write(&script, "freeswitch.msleep(20)\n").expect("the script");
    let hook = |subclass: &str| {
        format!(r#"<hook event="CUSTOM" subclass="sofia::{subclass}" script="{}"/>"#, script.display())
    };
    let settings = format!(
        r#"<configuration name="lua.conf"><settings>{}{}</settings></configuration>"#,
        hook("register_attempt"),
        hook("register_failure")
    );
    fs::write(conf.join("autoload_configs/lua.conf.xml"), settings).expect("its settings");
}

fn of_four_hundred_guesses_ten_are_compared_where_events_come_late() {
    for way in [Way::Udp, Way::Tcp] {
        let watched = Watched::start(delay_events);
        let seen = || watched.site.status()["signals"]["register_failure"]["seen"].as_u64().expect("a count");
        let [compared, all] = watched.burst(way, REGISTER, "1002", 400);
        // Otherwise nothing came late.
        assert!((seen() as usize) < all / 2, "{} events of {all} attempts have come", seen());
        assert!((ATTACKER_AFTER..=AT_MOST).contains(&compared), "{compared} over {way:?}");
    }
}

fn after_the_period_guesses_are_compared_one_at_a_time() {
    let watched = Watched::start(delay_events);
    let [compared, _] = watched.burst(Way::Udp, REGISTER, "1002", 20);
    assert!((ATTACKER_AFTER..=AT_MOST).contains(&compared), "{compared}");
    // Its period is a minute.
    wait_at_most(Duration::from_secs(90), "the end of the period", || {
        watched.site.cli("fail2ban attackers").contains("one attempt at a time")
    });
    // The next has to wait for the verdict, and three failures make the next level.
    let [compared, _] = watched.wrong_burst(Way::Udp, REGISTER, "1002", 100);
    assert!((1..=3).contains(&compared), "{compared}");
}

fn of_guesses_by_invite_ten_are_compared() {
    let watched = Watched::start(|_| ());
    for (way, user) in WAYS.into_iter().zip(["1002", "1004", "1005"]) {
        // Each call has a thread of its own, and so which ten are compared is left to chance. The calls before, whose
        // challenge was never answered, are a point each some seconds later.
        let [compared, _] = watched.wrong_burst(way, INVITE, user, 25);
        assert!((ATTACKER_AFTER - 2..=AT_MOST).contains(&compared), "{compared} over {way:?}");
        let ip = watched.site.network.attacker.address(V4);
        let right = attempt(&watched.site, (Side::Attackers, ip), way, INVITE, user, PASSWORD);
        assert_eq!(right, Some(INVITE.refused), "the right password over {way:?}");
        watched.forgive();
        // FreeSWITCH limits the new calls of a second (`sessions-per-second`).
        thread::sleep(Duration::from_secs(2));
    }
}

fn of_guesses_by_subscribe_and_message_a_few_more_are_compared() {
    let watched = Watched::start(|_| ());
    let users = [["1002", "1004", "1005"], ["1006", "1007", "1008"]];
    for (method, users) in [SUBSCRIBE, MESSAGE].into_iter().zip(users) {
        for (way, user) in WAYS.into_iter().zip(users) {
            let [compared, _] = watched.burst(way, method, user, 400);
            assert!(
                (ATTACKER_AFTER..=AT_MOST_SLOW).contains(&compared),
                "{compared}: {method:?} over {way:?}"
            );
            // What is unconfirmed counts some seconds later, and makes an attacker then at the latest.
            let ip = watched.site.network.attacker.address(V4);
            wait_until("the guesser to be an attacker", || {
                watched.site.cli(&format!("fail2ban why {ip}")).contains("an attacker of level ")
            });
            assert_eq!(watched.compared(user), compared);
            watched.forgive();
        }
    }
}

fn at_a_known_source_ten_guesses_for_each_account_are_compared_and_its_phones_go_on() {
    let watched = Watched::start(|_| ());
    let site = &watched.site;
    let office = site.network.bystander.address(V4);
    let here = (Side::Neighbours, office);
    let phones = ["1002", "1004", "1005"];
    let all_is_well = || {
        for phone in phones {
            for method in [REGISTER, SUBSCRIBE, MESSAGE] {
                let answer = attempt(site, here, Way::Udp, method, phone, PASSWORD);
                assert_eq!(answer, Some(method.accepted), "{} of {phone}", method.name);
            }
        }
    };
    all_is_well();
    wait_until("the office to be known", || {
        !site.cli(&format!("fail2ban known {office}")).starts_with("-ERR")
    });
    thread::scope(|scope| {
        for victim in ["1006", "1007"] {
            scope.spawn(move || {
                for _ in 0..3 * ATTACKER_AFTER {
                    assert_eq!(register(site, here, victim, "guess"), Some(403));
                }
                assert_eq!(register(site, here, victim, PASSWORD), Some(403), "the right password");
            });
        }
        scope.spawn(|| (0..3).for_each(|_| all_is_well()));
    });
    for victim in ["1006", "1007"] {
        assert_eq!(watched.compared(victim), ATTACKER_AFTER, "{victim}");
        let why = site.cli(&format!("fail2ban why {victim}"));
        assert!(why.contains("refused here, it alone"), "{why}");
        // At home its owner goes on.
        let home = (Side::Neighbours, Side::Neighbours.address(V4, 1, 0));
        assert_eq!(register(site, home, victim, PASSWORD), Some(200), "{victim}");
    }
    all_is_well();
    assert_eq!(site.status()["attacker_count"], 0);
    assert!(!site.log_text().contains(" attacker source="), "{}", site.log_text());
}
