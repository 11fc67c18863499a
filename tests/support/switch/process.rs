//! What a process has, as the kernel tells it.

use std::path::PathBuf;
use std::time::Duration;

fn entries(pid: u32, what: &str) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(format!("/proc/{pid}/{what}")).expect("the process lives");
    listed.map_while(Result::ok).map(|entry| entry.path()).collect()
}

fn text(pid: u32, what: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{what}")).expect("the process lives")
}

/// What its open descriptors are of.
pub fn descriptors(pid: u32) -> Vec<PathBuf> {
    entries(pid, "fd").into_iter().filter_map(|fd| std::fs::read_link(fd).ok()).collect()
}

/// The names of its threads, sorted.
pub fn threads(pid: u32) -> Vec<String> {
    let tasks = entries(pid, "task").into_iter();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.join("comm")).ok());
    let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Whether a file of this name is in its memory.
pub fn has_mapped(pid: u32, name: &str) -> bool {
    text(pid, "maps").contains(name)
}

/// Memory that is resident and its own, in KiB.
pub fn memory(pid: u32) -> usize {
    status(pid, "RssAnon").trim_end_matches(" kB").parse().expect("a number")
}

/// A field of the kernel's summary.
pub fn status(pid: u32, field: &str) -> String {
    let status = text(pid, "status");
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let value = fields.find_map(|(name, value)| (name == field).then(|| value.trim().to_owned()));
    value.expect("a kernel of today")
}

/// How much processor time it has taken.
pub fn processor_time(pid: u32) -> Duration {
    let stat = text(pid, "stat");
    let (_, fields) = stat.rsplit_once(") ").expect("its name is in brackets");
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    // SAFETY: takes no pointers.
    let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
    Duration::from_micros(ticks * 1_000_000 / a_second)
}
