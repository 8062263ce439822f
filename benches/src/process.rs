//! Owns the processes that the benchmarks start: each in a process group of its own, on given CPUs,
//! and killed when its parent ends. Owns what /proc reports of them.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::sys;

/// A process group that is killed when this is dropped.
pub struct Group {
    /// The process that was started; its children are in its group.
    pub child: Child,
}

impl Group {
    /// Starts the command on these CPUs.
    pub fn start(mut command: Command, cpus: &[usize]) -> io::Result<Self> {
        let before = sys::allowed_cpus()?;
        sys::tie_to_parent(&mut command);
        sys::pin(cpus)?;
        let child = command.spawn();
        sys::pin(&before)?;
        let child = child.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
        })?;
        sys::remember_group(child.id() as i32);
        Ok(Self { child })
    }

    fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Every process of the group.
    pub fn members(&self) -> Vec<i32> {
        members(self.id())
    }

    /// User and system time of all processes of the group.
    pub fn cpu_time(&self) -> Duration {
        self.members().iter().filter_map(|&pid| sys::process_cpu_time(pid).ok()).sum()
    }

    /// Resident memory of all processes of the group, bytes. Pages that they share count once
    /// (Pss).
    pub fn resident_bytes(&self) -> u64 {
        self.members().iter().filter_map(|&pid| resident_bytes(pid)).sum()
    }

    /// The CPU time of every thread of the group, in the order of their paths in /proc.
    pub fn thread_times(&self) -> Vec<ThreadTime> {
        let mut times = Vec::new();
        for pid in self.members() {
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            let mut paths: Vec<_> = threads.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
                times.push(thread_time(&text));
            }
        }
        times
    }
}

/// The CPU time of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// Time in which it ran on a CPU.
    pub ran: Duration,
    /// Time in which it was runnable and waited for a CPU.
    pub waited: Duration,
}

impl Drop for Group {
    fn drop(&mut self) {
        sys::kill_group(self.id());
        // The process was killed, so the wait is short and its status says nothing.
        let _ = self.child.wait();
    }
}

/// Every process in this group (proc_pid_stat(5)).
fn members(group: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| group_of(pid) == Some(group)).collect()
}

fn group_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    group_in_stat(&stat)
}

/// The fifth field; the second is a name in parentheses and may hold anything.
fn group_in_stat(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// The first two numbers of /proc/PID/task/TID/schedstat, nanoseconds.
fn thread_time(schedstat: &str) -> ThreadTime {
    let mut numbers = schedstat.split_whitespace().map(|word| word.parse().unwrap_or(0));
    let mut next = || Duration::from_nanos(numbers.next().unwrap_or(0));
    ThreadTime { ran: next(), waited: next() }
}

fn resident_bytes(pid: i32) -> Option<u64> {
    let of = |file: &str, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        kibibytes_in(&text, name)
    };
    of("smaps_rollup", "Pss:").or_else(|| of("status", "VmRSS:"))
}

/// A line like `VmRSS:  1234 kB` in bytes.
fn kibibytes_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_group_is_found_after_a_name_with_parentheses_and_spaces() {
        assert_eq!(group_in_stat("7 (a) b (c) S 1 42 42 0 -1"), Some(42));
        assert_eq!(group_in_stat("nonsense"), None);
    }

    #[test]
    fn a_thread_has_run_and_waited() {
        let (ran, waited) = (Duration::from_nanos(5), Duration::from_nanos(7));
        assert_eq!(thread_time("5 7 1\n"), ThreadTime { ran, waited });
        assert_eq!(thread_time(""), ThreadTime::default());
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n";
        assert_eq!(kibibytes_in(text, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(kibibytes_in(text, "Pss:"), None);
    }

    #[test]
    fn a_group_is_ended_with_its_children_and_its_time_is_counted() {
        let mut command = Command::new("sh");
        command.args(["-c", "sh -c 'while :; do :; done' & wait"]);
        let group = Group::start(command, &sys::allowed_cpus().unwrap()).unwrap();
        let id = group.id();
        let begin = Instant::now();
        while group.cpu_time() < Duration::from_millis(5) {
            assert!(begin.elapsed() < Duration::from_secs(60), "no time is counted");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(group.members().len() >= 2);
        assert!(group.resident_bytes() > 0);
        drop(group);
        let begin = Instant::now();
        while !members(id).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(60), "somebody is left");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
