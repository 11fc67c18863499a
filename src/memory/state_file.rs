//! What is remembered, on disk, so that a restart of the switch makes strangers of nobody.
//!
//! One JSON object a line. The first names the format, the last one counts the others: a file without it is not whole.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::decision::{Source, SourceReport};

/// The file's name, in FreeSWITCH's folder of databases.
pub const NAME: &str = "fail2ban.state";
/// The one that release 1.1.0 wrote.
pub const NAME_1_1: &str = "fail2ban.known";
const VERSION: u32 = 1;
/// No file that this module writes is as large.
const MOST_BYTES: u64 = 64 << 20;
const FIRST_LINE_1_1: &str = "mod_fail2ban known addresses 1";

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The first line: the version of the format.
    ModFail2banState(u32),
    /// An account that was accepted at an address.
    Known {
        /// The source.
        source: Source,
        /// The account.
        account: String,
        /// When, in seconds since 1970.
        seen: i64,
    },
    /// A source with points, maybe an attacker; with the seconds since 1970 from which its times are counted back.
    Source(i64, Box<SourceReport>),
    /// The last line: how many there are between it and the first.
    End(usize),
}

/// Writes the file: whole, or not at all.
pub fn save(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<()> {
    let new = path.with_extension("state.new");
    let result = write(&new, records).and_then(|()| fs::rename(&new, path));
    if result.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&new);
    }
    result
}

fn write(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<()> {
    // Whatever lies there instead of a file must not hold up the keeper.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o640).custom_flags(flags);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "what is there is not a file"));
    }
    let mut out = BufWriter::new(file);
    let mut line = |record: &Record| {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")
    };
    line(&Record::ModFail2banState(VERSION))?;
    let mut count = 0;
    for record in records {
        line(&record)?;
        count += 1;
    }
    line(&Record::End(count))?;
    out.into_inner()?.sync_all()
}

/// What is in the file; nothing if there is no file. The error says why it is not used.
pub fn load(path: &Path) -> Result<Vec<Record>, String> {
    read(path, |text| parse(text).ok_or_else(|| "not a whole file of this format".into()))
}

/// What is in a file of release 1.1.0.
pub fn load_1_1(path: &Path) -> Result<Vec<Record>, String> {
    read(path, |text| parse_1_1(text).ok_or_else(|| "not a whole file of release 1.1.0".into()))
}

fn read(path: &Path, parse: impl Fn(&str) -> Result<Vec<Record>, String>) -> Result<Vec<Record>, String> {
    // A pipe or a device in the file's place must not hold up the load.
    let text = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => read_whole(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    };
    text.and_then(|text| parse(&text)).map_err(|why| {
        format!(
            "{}: {why}; expected what this module has written there; it is not used, and addresses become known again \
             as they log in",
            path.display()
        )
    })
}

fn read_whole(file: File) -> Result<String, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.len() > MOST_BYTES || !metadata.is_file() {
        return Err("not a file of at most 64 MiB".into());
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(text)
}

/// The lines in between, if all is as it should be.
pub fn parse(text: &str) -> Option<Vec<Record>> {
    let lines = text.strip_suffix('\n')?.split('\n');
    let mut records: Vec<Record> =
        lines.map(|line| serde_json::from_str(line).ok()).collect::<Option<_>>()?;
    let Record::End(count) = records.pop()? else { return None };
    let is_whole = records.first() == Some(&Record::ModFail2banState(VERSION)) && records.len() == count + 1;
    records.remove(0);
    is_whole.then_some(records)
}

/// Lines of `ADDRESS SECONDS ACCOUNT` between one that names the format and `end COUNT`.
fn parse_1_1(text: &str) -> Option<Vec<Record>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != FIRST_LINE_1_1 {
        return None;
    }
    let count = lines.next_back()?.strip_prefix("end ")?.parse::<usize>().ok()?;
    let known = lines.map(|line| {
        let (ip, rest) = line.split_once(' ')?;
        let (seen, account) = rest.split_once(' ')?;
        let source = Source::single(ip.parse::<IpAddr>().ok()?);
        Some(Record::Known { source, account: account.to_owned(), seen: seen.parse().ok()? })
    });
    known.collect::<Option<Vec<_>>>().filter(|known| known.len() == count)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn known(ip: &str, account: &str) -> Record {
        Record::Known { source: ip.parse().unwrap(), account: account.into(), seen: -5 }
    }

    #[test]
    fn what_was_saved_is_read_and_a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(load(&path), Ok(Vec::new()));
        let records = vec![known("10.0.0.1", "1001@x\n张\"\\"), known("2001:db9::1", "gateway t")];
        save(&path, [known("10.0.0.9", "old")].into_iter()).unwrap();
        save(&path, records.clone().into_iter()).unwrap();
        assert_eq!(load(&path), Ok(records));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_damaged_foreign_or_huge_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        save(&path, [known("10.0.0.1", "a")].into_iter()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let huge = "x".repeat(65 << 20);
        let mut bad = vec![String::new(), "\n".into(), "nonsense\n".into(), huge];
        bad.push(good.trim_end().into());
        bad.push(good.replace("{\"end\":1}", "{\"end\":2}"));
        bad.push(good.replace("{\"mod_fail2ban_state\":1}", "{\"mod_fail2ban_state\":2}"));
        bad.push(good.replace("10.0.0.1", "nobody"));
        bad.push(good.lines().skip(1).map(|line| format!("{line}\n")).collect());
        for text in bad {
            fs::write(&path, &text).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.contains(NAME) && !error.contains('\n'), "{error}");
        }
        fs::write(&path, [0xFF, b'\n']).unwrap();
        assert!(load(&path).is_err());
    }

    #[test]
    fn the_file_of_release_1_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME_1_1);
        fs::write(&path, "mod_fail2ban known addresses 1\n10.0.0.1 -5 1001@x\nend 1\n").unwrap();
        assert_eq!(load_1_1(&path), Ok(vec![known("10.0.0.1", "1001@x")]));
        for text in [
            "",
            "mod_fail2ban known addresses 1\n10.0.0.1 5 a\nend 2\n",
            "mod_fail2ban known addresses 2\nend 0\n",
        ] {
            fs::write(&path, text).unwrap();
            assert!(load_1_1(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pipe_in_the_files_place_holds_up_neither_load_nor_save() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let pipe = |path: &Path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        pipe(&path);
        assert!(load(&path).unwrap_err().contains("not a file"));
        pipe(&path.with_extension("state.new"));
        assert!(save(&path, std::iter::empty()).is_err());
        // That was taken away, and so the next one succeeds.
        save(&path, std::iter::empty()).unwrap();
        assert_eq!(load(&path), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(\\{\"mod_fail2ban_state\":1\\}\n)?\\PC*(\n\\{\"end\":[0-9]{0,3}\\}\n)?") {
            let _ = parse(&text);
            let _ = parse_1_1(&text);
        }
    }
}
