//! The keeper: a thread that does what may take FreeSWITCH or a disk long, so that neither the writer nor any of
//! FreeSWITCH's threads waits for it. It reads the settings, asks the directory, and saves what is known.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bindings::Bindings;
use crate::decision::Source;
use crate::event::address;
use crate::event::event_type::EventType;
use crate::host::say::{Level, say};
use crate::host::{addresses, boundary, clock, completion, configuration, registrations, state, user};
use crate::memory::Memory;
use crate::memory::account::Account;
use crate::memory::state_file::{self, Record};
use crate::requests::Work;
use crate::settings::Settings;
use crate::settings::other_files::{self, SofiaAcls};
use crate::settings::xml::{FILE, has_password};
use crate::target::Target;
use crate::time::Now;

/// What the keeper works on.
pub struct Keeper {
    target: Arc<Target>,
    bindings: Arc<Bindings>,
    state_file: PathBuf,
    completions: &'static [&'static str],
    /// FreeSWITCH had started when the module was loaded.
    had_started: bool,
    /// What was last said about the settings in the file: said again only when it changes.
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    warnings: Vec<String>,
    error: Option<String>,
}

impl Keeper {
    /// For the module that is being loaded. `warnings` have been said already.
    pub fn new(
        target: Arc<Target>,
        bindings: Arc<Bindings>,
        completions: &'static [&'static str],
        warnings: Vec<String>,
        had_started: bool,
    ) -> Keeper {
        let state_file = configuration::db_dir().join(state_file::NAME);
        let said = Mutex::new(Said { warnings, error: None });
        Keeper { target, bindings, state_file, completions, had_started, said }
    }

    /// Puts back what was remembered when FreeSWITCH, or the module, ended last.
    pub fn restore(&self, memory: &mut Memory) {
        let now = clock::now();
        // A clock that was put back makes nobody known for longer than `known-for` from now.
        let since = |wall: i64| now.wall_seconds().saturating_sub(wall).max(0);
        for record in or_warn(state_file::load(&self.state_file)) {
            match (record, &mut memory.known, &mut memory.engine) {
                (Record::Known { source, account, seen }, Some(known), _) => {
                    let account = Account::new(account.as_bytes());
                    known.learn(now, now.seconds() - since(seen), source, &account);
                }
                (Record::Source(saved, report), _, Some(engine)) => {
                    engine.restore(now, &report, since(saved))
                }
                _ => {}
            }
        }
    }

    /// What release 1.1.0 took for known, if this release has saved nothing yet: the directory is asked first which of
    /// its accounts need a password.
    fn take_over_1_1(&self) {
        if self.state_file.exists() {
            return;
        }
        for record in or_warn(state_file::load_1_1(&self.state_file.with_file_name(state_file::NAME_1_1))) {
            if let Record::Known { source, account, seen } = record {
                let age = clock::now().wall_seconds().saturating_sub(seen).max(0);
                let (user, domain) = account.rsplit_once('@').unwrap_or((&account, ""));
                self.learn(age, source, user.as_bytes(), domain.as_bytes());
            }
        }
    }

    /// Completions, which FreeSWITCH keeps in its database.
    pub fn add_completions(&self) {
        for words in self.completions {
            completion::set(&format!("add fail2ban {words}"));
        }
    }

    fn take_over_registrations(&self) {
        let settings = Arc::clone(&self.target.journal.settings());
        if !settings.tracks_known() {
            return;
        }
        self.take_over_1_1();
        registrations::for_each(clock::now().wall_seconds(), |ip, user, realm| {
            // FreeSWITCH does not keep who registered through a proxy.
            if let Some((ip, _)) = address::parse(ip)
                && !settings.is_proxy(ip)
            {
                self.learn(0, settings.source_of(ip), user, realm);
            }
        });
        self.ask_directory();
    }

    /// An account was accepted at an address this many seconds ago. Asks the directory when enough is to be asked.
    fn learn(&self, age: i64, source: Source, user: &[u8], domain: &[u8]) {
        let learn = |now: Now, memory: &mut Memory| {
            memory.learn(now, now.seconds() - age, source, user, domain);
            memory.has_many_questions()
        };
        if self.target.journal.with_memory(learn) {
            self.ask_directory();
        }
    }

    /// The thread's life.
    pub fn run(&self) {
        let mut is_saved = true;
        let mut save = || {
            let was_saved = is_saved;
            is_saved = boundary::guard("saving", false, || self.save(was_saved));
        };
        loop {
            match self.target.requests.next_work() {
                Work::Start => boundary::guard("the start", (), || self.start()),
                Work::Reload { reads_files } => self.reload(reads_files),
                Work::Ask => boundary::guard("asking the directory", (), || self.ask_directory()),
                Work::Save => save(),
                Work::End => return save(),
            }
        }
    }

    /// FreeSWITCH has started: makes up for what had to wait.
    fn start(&self) {
        // A reload may have taken long before it comes to this.
        if !state::is_ready() {
            return;
        }
        if !self.had_started {
            self.add_completions();
            self.target.requests.reload_soon();
        }
        self.take_over_registrations();
    }

    /// Asks which of the accounts that logged in need a password.
    fn ask_directory(&self) {
        while !self.target.requests.is_stopping()
            && let Some(question) = self.target.journal.with_memory(|_, memory| memory.next_question())
        {
            let found = user::find(question.user.bytes(), question.domain.bytes());
            let has_password = found.is_some_and(|user| has_password(&user));
            self.target
                .journal
                .with_memory(|now, memory| memory.answer(now, &question.account, has_password));
        }
    }

    fn reload(&self, reads_files: bool) {
        let failed = Err("reading them has failed".into());
        let result = boundary::guard("a reload", failed, || self.try_reload(reads_files));
        let error = result.as_ref().err().cloned();
        let has_changed = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut said.error, error.clone()) != error
        };
        match &result {
            Ok(true) => say(Level::Notice, "mod_fail2ban: the changed settings are active"),
            Err(why) if has_changed && !self.target.requests.is_stopping() => {
                let words = format!("mod_fail2ban: reload rejected, previous settings stay active: {why}");
                say(Level::Error, &words);
            }
            Ok(false) | Err(_) => {}
        }
        self.target.requests.finish_reload(result);
    }

    /// Makes the settings in the file the active ones; whether any has changed. Rejected as a whole if any of them
    /// can't be.
    fn try_reload(&self, reads_files: bool) -> Result<bool, String> {
        if reads_files {
            configuration::reload()?;
        }
        let (mut settings, warnings) = read_settings()?;
        if self.target.requests.is_stopping() {
            return Err("it is being unloaded".into());
        }
        self.warn(warnings);
        let journal = &self.target.journal;
        if !state::is_ready() {
            // Not read again: FreeSWITCH starts, or all calls are paused.
            settings.sofia_acls = journal.settings().sofia_acls.clone();
        }
        // The directory may have changed with the files.
        journal.with_memory(|_, memory| memory.passwords.iter_mut().for_each(|passwords| passwords.forget()));
        let before = Arc::clone(&journal.settings());
        if *before == settings {
            return Ok(false);
        }
        let is_same_file = *before == settings.with_surroundings_of(&before);
        let mut prepared = journal.prepare(settings.clone())?;
        let begins_to_know = settings.tracks_known() && !before.tracks_known();
        if begins_to_know || (settings.decides() && !before.decides()) {
            self.restore(prepared.memory());
        }
        // First bind all that either settings need, then change over, then unbind what the new ones don't.
        self.bindings.change(&self.target, &settings, || journal.apply(prepared))?;
        if begins_to_know && state::is_ready() {
            self.take_over_registrations();
        }
        Ok(!is_same_file)
    }

    /// Says what is odd about the settings in the file, unless the same was said of them before.
    fn warn(&self, warnings: Vec<String>) {
        let before = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut said.warnings, warnings.clone())
        };
        if before != warnings {
            warnings.iter().for_each(|warning| say(Level::Warning, warning));
        }
    }

    /// Saves what is remembered if that has changed; whether it is saved now. That it can't be is said once for each
    /// time that it begins.
    fn save(&self, was_saved: bool) -> bool {
        let journal = &self.target.journal;
        let has_changed = journal.with_memory(|_, memory| std::mem::take(&mut memory.has_changed));
        if self.target.requests.is_abandoned() || !has_changed {
            return was_saved;
        }
        let now = clock::now();
        let known = journal.known_accounts().into_iter().map(|entry| Record::Known {
            source: entry.source,
            account: String::from_utf8_lossy(entry.account.bytes()).into_owned(),
            seen: now.wall_seconds() - (now.seconds() - entry.seen),
        });
        let sources = journal.sources().into_iter();
        let sources = sources.map(|source| Record::Source(now.wall_seconds(), Box::new(source)));
        let Err(error) = state_file::save(&self.state_file, known.chain(sources)) else { return true };
        journal.with_memory(|_, memory| memory.has_changed = true);
        if was_saved {
            let path = self.state_file.display();
            say(
                Level::Warning,
                &format!(
                    "{path}: known sources and attackers can't be saved: {error}; they are lost when FreeSWITCH ends"
                ),
            );
        }
        false
    }
}

fn or_warn(records: Result<Vec<Record>, String>) -> Vec<Record> {
    records.unwrap_or_else(|warning| {
        say(Level::Warning, &warning);
        Vec::new()
    })
}

/// Reads `fail2ban.conf`; returns the settings and what is odd about them. The C module's `do_config`. What later
/// modules may serve is read once FreeSWITCH has started.
pub fn read_settings() -> Result<(Settings, Vec<String>), String> {
    let xml = configuration::read(FILE).ok_or_else(|| {
        format!("{FILE}: FreeSWITCH has no such configuration (or XML that can't be read); expected autoload_configs/{FILE}.xml with <configuration name=\"{FILE}\"><bindings>…")
    })?;
    let (mut settings, mut warnings) = Settings::parse(&xml, &configuration::log_dir())?;
    settings.own_addresses = addresses::own();
    if let Some(switch_conf) = configuration::read("switch.conf") {
        warnings.extend(other_files::left_out_by_allowlist(&switch_conf));
    }
    if state::is_ready() {
        if !settings.trusted.lists.is_empty() {
            let acl_conf = configuration::read("acl.conf");
            warnings.extend(other_files::unknown_acls(&settings.trusted, acl_conf.as_deref()));
        }
        if settings.reads_host_log() || settings.needs(EventType::CallToNowhere) {
            settings.sofia_acls = SofiaAcls::parse(&configuration::read("sofia.conf").unwrap_or_default());
        }
    }
    Ok((settings, warnings))
}
