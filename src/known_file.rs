//! Known addresses on disk, so that a restart of the switch makes strangers of nobody.
//!
//! One line for an address: the address, when it was last seen (seconds since 1970), its account. The first
//! line names the format, the last one counts the others: a file without it is not whole.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use percent_encoding::percent_decode_str;

use crate::known::{Account, Address, Known, MOST};
use crate::timestamp::Now;

/// The file's name, in FreeSWITCH's folder of databases.
pub const NAME: &str = "fail2ban.known";
const FIRST_LINE: &str = "mod_fail2ban known addresses 1";
/// A file of addresses that are as many and as long as can be is two thirds as large.
const MOST_BYTES: u64 = 8 << 20;

/// Writes the file: whole, or not at all.
pub fn save(path: &Path, addresses: &[Address], now: Now) -> io::Result<()> {
    let new = path.with_extension("known.new");
    let result = write(&new, addresses, now).and_then(|()| fs::rename(&new, path));
    if result.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&new);
    }
    result
}

fn write(path: &Path, addresses: &[Address], now: Now) -> io::Result<()> {
    // Whatever lies there instead of a file must not hold up the keeper.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "what is there is not a file"));
    }
    let mut text = format!("{FIRST_LINE}\n");
    for address in addresses {
        let seen = now.wall_seconds() - (now.seconds() - address.seen);
        text += &format!("{} {seen} {}\n", address.ip, address.account.readable());
    }
    text += &format!("end {}\n", addresses.len());
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Adds the addresses in the file; none if there is no file. The error says why it is not used.
pub fn load(path: &Path, known: &mut Known, now: Now) -> Result<(), String> {
    let refused = |why: String| {
        format!(
            "{}: {why}; expected what this module has written there; going on without it, addresses become known \
             as they log in",
            path.display()
        )
    };
    // A pipe or a device in the file's place must not hold up the load.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error.to_string())),
    };
    let metadata = file.metadata().map_err(|error| refused(error.to_string()))?;
    if metadata.len() > MOST_BYTES || !metadata.is_file() {
        return Err(refused("not a file of at most 8 MiB".into()));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    for (ip, wall, account) in
        parse(&text).ok_or_else(|| refused("not a whole list of known addresses".into()))?
    {
        // A clock that was put back makes nobody known for longer than `known-for` from now.
        let age = now.wall_seconds().saturating_sub(wall).max(0);
        let account: Vec<u8> = percent_decode_str(account).collect();
        known.learn(now, now.seconds() - age, ip, &Account::new(&account));
    }
    Ok(())
}

/// The lines in between, if all is as it should be.
fn parse(text: &str) -> Option<Vec<(IpAddr, i64, &str)>> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let (count, lines) = { (lines.next_back()?.strip_prefix("end ")?.parse::<usize>().ok()?, lines) };
    let addresses: Vec<_> = lines
        .map(|line| {
            let (ip, rest) = line.split_once(' ')?;
            let (seen, account) = rest.split_once(' ')?;
            Some((ip.parse::<IpAddr>().ok()?.to_canonical(), seen.parse().ok()?, account))
        })
        .collect::<Option<_>>()?;
    (addresses.len() == count && count <= MOST).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(wall: i64, monotonic: i64) -> Now {
        Now { wall: wall * 1_000_000, monotonic: monotonic * 1_000_000 }
    }

    fn empty() -> Known {
        Known::new(Duration::from_secs(DAY as u64))
    }

    fn known(now: Now) -> Known {
        let mut known = empty();
        known.learn(now, now.seconds(), "10.0.0.1".parse().unwrap(), &Account::new("1001@x\n张".as_bytes()));
        known.learn(now, now.seconds() - 100, "2001:db9::1".parse().unwrap(), &Account::new(b"gateway t"));
        known
    }

    #[test]
    fn what_was_known_is_known_after_a_restart_for_the_rest_of_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        save(&path, &known(at(1_000_000, 500)).page(at(1_000_000, 500), 0).0, at(1_000_000, 500)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // The monotonic clock begins again at another place.
        let now = at(1_000_000 + 1000, 7);
        let mut read = empty();
        load(&path, &mut read, now).unwrap();
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read.get(now, ip).unwrap().account.readable(), "1001@x%0A张");
        assert!(read.contains(at(0, 7 + DAY - 1001), ip));
        assert!(!read.contains(at(0, 7 + DAY - 1000), ip));
        let seen_before: IpAddr = "2001:db9::1".parse().unwrap();
        assert!(read.contains(at(0, 7 + DAY - 1101), seen_before));
        assert!(!read.contains(at(0, 7 + DAY - 1100), seen_before));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_file_is_no_error_and_any_other_file_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut known = empty();
        load(&path, &mut known, at(0, 0)).unwrap();
        let long = "x".repeat(9 << 20);
        for text in [
            "",
            "\n",
            "nonsense\n",
            "mod_fail2ban known addresses 1\n10.0.0.1 5 a\n",
            "mod_fail2ban known addresses 1\n10.0.0.1 5 a\nend 2\n",
            "mod_fail2ban known addresses 1\n10.0.0.1 5 a\nend 1",
            "mod_fail2ban known addresses 1\nnobody 5 a\nend 1\n",
            "mod_fail2ban known addresses 2\nend 0\n",
            &long,
        ] {
            fs::write(&path, text).unwrap();
            let error = load(&path, &mut known, at(10, 10)).unwrap_err();
            assert!(error.contains(NAME) && !error.contains('\n'), "{error}");
            assert!(known.is_empty());
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
        assert!(load(&path, &mut empty(), at(0, 0)).unwrap_err().contains("not a file"));
        pipe(&path.with_extension("known.new"));
        assert!(save(&path, &[], at(0, 0)).is_err());
        // That was taken away, and so the next one succeeds.
        save(&path, &[], at(0, 0)).unwrap();
        load(&path, &mut empty(), at(0, 0)).unwrap();
    }

    #[test]
    fn a_time_out_of_this_world_is_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let text = format!("{FIRST_LINE}\n10.0.0.1 {} a\n10.0.0.2 {} b\nend 2\n", i64::MIN, i64::MAX);
        fs::write(&path, text).unwrap();
        let mut known = empty();
        load(&path, &mut known, at(1000, 1000)).unwrap();
        assert_eq!(known.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(mod_fail2ban known addresses 1\n)?\\PC*(\nend [0-9]{0,3}\n)?") {
            let _ = parse(&text);
        }
    }
}
