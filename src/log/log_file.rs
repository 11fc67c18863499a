//! The log file: whole lines, in a file at the path, whatever is done to that file meanwhile.
#![forbid(unsafe_code)]

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::file::make_blocking;

/// Most bytes in one write, so that progress shows.
const CHUNK: usize = 256 << 10;

/// The log as it is open.
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode: they tell the file apart from another at the same path.
    id: (u64, u64),
    is_regular: bool,
}

impl LogFile {
    /// Opens the log for appending, and makes it if there is none.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        // Opening a pipe without a reader would block; with O_NONBLOCK it fails (ENXIO).
        let file = OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // But a pipe that is full must make the writer wait.
        make_blocking(&file)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.nlink() == 0 {
            // Such as /proc/self/fd/1 or /dev/stdout where that file was deleted.
            return Err(io::Error::new(
                ErrorKind::NotFound,
                "the file there is deleted, nobody could read it",
            ));
        }
        let id = (metadata.dev(), metadata.ino());
        let mut log = LogFile { path: path.to_owned(), file, id, is_regular: metadata.is_file() };
        log.end_last_line(&metadata)?;
        Ok(log)
    }

    /// Opens what is at the path now.
    pub fn reopen(&self) -> io::Result<LogFile> {
        LogFile::open(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path, device and inode.
    pub fn identity(&self) -> (PathBuf, u64, u64) {
        (self.path.clone(), self.id.0, self.id.1)
    }

    /// Whether this is the file of that identity.
    pub fn is(&self, (path, device, inode): &(PathBuf, u64, u64)) -> bool {
        self.path == *path && self.id == (*device, *inode)
    }

    /// Writes the next of these lines, as many as one write should take. `done` is how many of their bytes are in the
    /// file, also after an error; called again, it continues there. Once `stop` is set, nothing more is written.
    pub fn write_some(&mut self, lines: &[u8], done: &mut usize, stop: &AtomicBool) -> io::Result<()> {
        const ATTEMPTS: usize = 2;
        for _ in 0..ATTEMPTS {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::BrokenPipe.into());
            }
            self.reopen_if_rotated(lines, done)?;
            let start = *done;
            let end = start + next_chunk(&lines[start..]).len();
            if let Err(error) = self.write_until(&lines[..end], done, stop) {
                // A later load may have continued in the file: its lines are not to be cut.
                if !stop.load(Ordering::Relaxed) {
                    self.truncate_partial_line(lines, done);
                }
                return Err(error);
            }
            if !self.is_deleted(&self.file.metadata()?) {
                return Ok(());
            }
            // It was deleted before these lines were in it: they go into its successor.
            *done = start;
        }
        Err(io::Error::new(ErrorKind::NotFound, "the file is deleted as soon as it is written"))
    }

    fn write_until(&mut self, lines: &[u8], done: &mut usize, stop: &AtomicBool) -> io::Result<()> {
        while *done < lines.len() {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::BrokenPipe.into());
            }
            match self.file.write(&lines[*done..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sees to it that the file at the path is the one that is open.
    pub fn reopen_if_rotated(&mut self, lines: &[u8], done: &mut usize) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == self.id && !self.is_deleted(&there) => Ok(()),
            _ => {
                let next = self.reopen()?;
                self.switch_to(next, lines, done);
                Ok(())
            }
        }
    }

    /// Nobody can read it any more; a pipe's readers can.
    fn is_deleted(&self, metadata: &Metadata) -> bool {
        self.is_regular && metadata.nlink() == 0
    }

    /// Goes on in another file, with a whole line.
    pub fn switch_to(&mut self, next: LogFile, lines: &[u8], done: &mut usize) {
        *done = line_start(lines, *done);
        *self = next;
    }

    /// The lines from `done` on will never be written: what there is of one is taken back, or at least ended, so
    /// that the next line does not merge with it.
    pub fn give_up(&mut self, lines: &[u8], done: &mut usize) {
        self.truncate_partial_line(lines, done);
        if line_start(lines, *done) != *done {
            // Nothing more can be done about an error here.
            let _ = self.file.write_all(b"\n");
        }
    }

    /// When only a part of a line could be written, that part is taken back, so that nobody ever reads half a
    /// line. Where that can't be done, such as in a pipe, the line is finished later.
    fn truncate_partial_line(&mut self, lines: &[u8], done: &mut usize) {
        let start = line_start(lines, *done);
        let part = (*done - start) as u64;
        if part > 0
            && self.is_regular
            && let Ok(metadata) = self.file.metadata()
            && self.file.set_len(metadata.len().saturating_sub(part)).is_ok()
        {
            *done = start;
        }
    }

    /// Ends a line that a crash has left unfinished, lest the next one merge with it.
    fn end_last_line(&mut self, metadata: &Metadata) -> io::Result<()> {
        if metadata.is_file() && last_byte(&self.path).is_some_and(|byte| byte != b'\n') {
            self.file.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Where the line begins that the byte at `done` belongs to.
fn line_start(lines: &[u8], done: usize) -> usize {
    lines[..done].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// Whole lines, as many as one write should take.
fn next_chunk(lines: &[u8]) -> &[u8] {
    if lines.len() <= CHUNK {
        return lines;
    }
    let end = lines[..CHUNK].iter().rposition(|&byte| byte == b'\n').map_or(CHUNK, |at| at + 1);
    &lines[..end]
}

/// None where there is none or it can't be read, which a log need not be.
fn last_byte(path: &Path) -> Option<u8> {
    // What is there now may be a pipe.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).ok()?;
    file.read_exact(&mut last).ok()?;
    Some(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUNS: AtomicBool = AtomicBool::new(false);
    const LINES: &[u8] = b"first line\nsecond line\nthird line\n";

    /// A log into which a write has brought the first line and a part of the second, and then failed.
    struct Torn {
        folder: tempfile::TempDir,
        log: LogFile,
        done: usize,
    }

    impl Torn {
        fn new() -> Torn {
            let folder = tempfile::tempdir().unwrap();
            let mut log = LogFile::open(&folder.path().join("f.log")).unwrap();
            let done = b"first line\nsec".len();
            log.file.write_all(&LINES[..done]).unwrap();
            Torn { folder, log, done }
        }

        fn truncated(mut self) -> Torn {
            self.log.truncate_partial_line(LINES, &mut self.done);
            self
        }

        /// Goes on writing, and gives what is in a file then.
        fn go_on(&mut self, name: &str) -> String {
            self.log.write_some(LINES, &mut self.done, &RUNS).unwrap();
            assert_eq!(self.done, LINES.len());
            self.text(name)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.folder.path().join(name)).unwrap()
        }

        fn rename(&self) {
            fs::rename(self.folder.path().join("f.log"), self.folder.path().join("old.log")).unwrap();
        }
    }

    #[test]
    fn the_part_of_a_line_that_a_failed_write_has_left_is_taken_back() {
        let mut torn = Torn::new().truncated();
        assert_eq!(torn.text("f.log"), "first line\n");
        assert_eq!(torn.go_on("f.log").as_bytes(), LINES);
    }

    #[test]
    fn a_part_that_can_not_be_taken_back_is_finished() {
        assert_eq!(Torn::new().go_on("f.log").as_bytes(), LINES);
    }

    #[test]
    fn a_part_that_was_cut_off_already_is_not_cut_off_twice() {
        let torn = Torn::new();
        OpenOptions::new().write(true).truncate(true).open(&torn.log.path).unwrap();
        assert_eq!(torn.truncated().go_on("f.log"), "second line\nthird line\n");
    }

    #[test]
    fn a_line_in_a_file_that_was_renamed_is_written_whole_in_the_next() {
        let torn = Torn::new();
        torn.rename();
        let mut torn = torn.truncated();
        assert_eq!(torn.go_on("f.log"), "second line\nthird line\n");
        assert_eq!(torn.text("old.log"), "first line\n");
    }

    #[test]
    fn a_line_in_a_file_that_takes_no_more_is_written_whole_in_the_next() {
        let mut torn = Torn::new();
        torn.rename();
        torn.log.file = File::open(torn.folder.path().join("old.log")).unwrap();
        assert_eq!(torn.truncated().go_on("f.log"), "second line\nthird line\n");
    }

    #[test]
    fn nothing_is_written_while_there_is_no_file_to_be_had() {
        let mut torn = Torn::new().truncated();
        let path = torn.log.path.clone();
        torn.rename();
        fs::create_dir(&path).unwrap();
        assert!(torn.log.write_some(LINES, &mut torn.done, &RUNS).is_err());
        fs::remove_dir(&path).unwrap();
        assert_eq!(torn.go_on("f.log"), "second line\nthird line\n");
    }

    #[test]
    fn a_file_that_is_deleted_but_still_at_its_path_is_an_error_and_is_not_written_to() {
        use std::os::fd::AsRawFd;
        let deleted = tempfile::tempfile().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", deleted.as_raw_fd()));
        assert_eq!(LogFile::open(&path).err().map(|error| error.kind()), Some(ErrorKind::NotFound));

        // Deleted only after it was opened by its name in /proc.
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("f.log")).unwrap();
        let mut log = LogFile::open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))).unwrap();
        fs::remove_file(folder.path().join("f.log")).unwrap();
        let mut done = 0;
        assert!(log.write_some(LINES, &mut done, &RUNS).is_err());
        assert_eq!((done, file.metadata().unwrap().len()), (0, 0));
    }

    #[test]
    fn a_deleted_file_is_one_that_nobody_can_read_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        for (path, is_deleted) in [(file, true), (pipe, false)] {
            let log = LogFile::open(&path).unwrap();
            assert!(!log.is_deleted(&log.file.metadata().unwrap()));
            fs::remove_file(path).unwrap();
            assert_eq!(log.is_deleted(&log.file.metadata().unwrap()), is_deleted);
        }
    }

    #[test]
    fn an_unfinished_last_line_is_ended_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.log");
        for (before, after) in
            [("", ""), ("whole\n", "whole\n"), ("whole\ntor", "whole\ntor\n"), ("\n", "\n")]
        {
            fs::write(&path, before).unwrap();
            drop(LogFile::open(&path).unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_file_knows_itself_from_another_at_the_same_path() {
        let torn = Torn::new();
        let was = torn.log.identity();
        let metadata = torn.log.file.metadata().unwrap();
        assert_eq!(was, (torn.log.path.clone(), metadata.dev(), metadata.ino()));
        assert!(torn.log.is(&was));
        torn.rename();
        let next = torn.log.reopen().unwrap();
        assert!(!next.is(&was) && next.path() == torn.log.path());
        let (path, device, inode) = was;
        assert!(!torn.log.is(&(path.clone(), device + 1, inode)));
        assert!(!torn.log.is(&(path.join("other"), device, inode)));
    }

    #[test]
    fn who_has_been_given_up_cuts_nobody_elses_line() {
        static STOPS: AtomicBool = AtomicBool::new(true);
        let mut torn = Torn::new();
        let mut later = LogFile::open(&torn.log.path).unwrap();
        later.write_some(b"a later load\n", &mut 0, &RUNS).unwrap();
        assert!(torn.log.write_some(LINES, &mut torn.done, &STOPS).is_err());
        assert!(torn.text("f.log").ends_with("a later load\n"), "{}", torn.text("f.log"));
        torn.rename();
        assert!(torn.log.write_some(LINES, &mut torn.done, &STOPS).is_err());
        assert!(!torn.log.path.exists(), "nor does it make a new file");
    }

    #[test]
    fn a_write_that_fails_is_an_error() {
        let mut log = LogFile::open(Path::new("/dev/full")).unwrap();
        let mut done = 0;
        assert_eq!(log.write_some(LINES, &mut done, &RUNS).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(done, 0);
    }

    #[test]
    fn a_line_that_is_given_up_does_not_merge_with_the_next() {
        let mut torn = Torn::new();
        torn.log.give_up(LINES, &mut torn.done);
        assert_eq!(torn.text("f.log"), "first line\n");
        // In a pipe nothing can be taken back.
        let mut torn = Torn::new();
        torn.log.is_regular = false;
        torn.log.give_up(LINES, &mut torn.done);
        assert_eq!(torn.text("f.log"), "first line\nsec\n");
    }

    #[test]
    fn large_batches_are_written_in_chunks_of_whole_lines() {
        let lines = b"a line of some length\n".repeat(100_000);
        let chunk = next_chunk(&lines);
        assert!(chunk.len() <= CHUNK && chunk.len() > CHUNK - 100 && chunk.ends_with(b"\n"));
        let endless = vec![b'x'; CHUNK + 1];
        assert_eq!(next_chunk(&endless).len(), CHUNK);
    }
}
