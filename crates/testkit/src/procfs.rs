//! Owns what the kernel reports of another process (proc(5)).

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::eventually;
use crate::sandbox::{Resource, limit_of, stop_thread};

/// For how long the workers are watched that must sleep.
const WATCHED: Duration = Duration::from_millis(200);

/// A process by its id. It must not have been waited for, because the id may then be reused.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// Sets a soft resource limit of the process while it runs.
    #[track_caller]
    pub fn limit(&self, resource: Resource, value: u64) {
        limit_of(self.0, resource, value);
    }

    /// Stops a thread of the process for good, as a system call does that hangs. The process must
    /// be a child of this one.
    #[track_caller]
    pub fn stop_thread(self, name: &str) {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).expect("a process");
        let thread = tasks.filter_map(Result::ok).find(|task| {
            let comm = fs::read_to_string(task.path().join("comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        });
        let thread = thread.and_then(|task| task.file_name().to_str()?.parse().ok());
        stop_thread(thread.unwrap_or_else(|| panic!("no thread {name}")));
    }

    /// A value of /proc/PID/status in KiB, such as `VmRSS`.
    #[must_use]
    pub fn status_kib(self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// The code of the program itself, without its libraries: its size, and how much of it is
    /// resident, in KiB.
    #[must_use]
    pub fn code_kib(self) -> Option<(u64, u64)> {
        let program = fs::read_link(format!("/proc/{}/exe", self.0)).ok()?;
        let program = program.to_str()?;
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.0)).ok()?;
        let is_code = |line: &str| line.contains(" r-xp ") && line.ends_with(program);
        let mut lines = smaps.lines().skip_while(|line| !is_code(line));
        let mut value = |name: &str| -> Option<u64> {
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some((value("Size:")?, value("Rss:")?))
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn descriptors(self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.0)).ok()?.count())
    }

    /// How many worker threads it has. The kernel's own threads for io_uring are not among them.
    #[must_use]
    pub fn workers(self) -> usize {
        self.busy_times().len()
    }

    /// Waits until all workers sleep. A worker that retries without a pause does not sleep.
    ///
    /// This looks at the time for which a worker has run or was ready to run, and not at its state:
    /// on a busy machine, one that wakes up for a moment waits for a CPU for most of the moments in
    /// which somebody looks.
    #[track_caller]
    pub fn expect_sleeping_workers(self) {
        eventually("the workers sleep", || {
            let (begun, before) = (Instant::now(), self.busy_times());
            thread::sleep(WATCHED);
            let after = self.busy_times();
            let most = begun.elapsed() / 2;
            let mut both = before.iter().zip(&after);
            !before.is_empty()
                && before.len() == after.len()
                && both.all(|(before, after)| after.saturating_sub(*before) < most)
        });
    }

    /// For how long each worker has run, or was ready to run and waited for a CPU.
    fn busy_times(self) -> Vec<Duration> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.0)) else { return Vec::new() };
        let times = tasks.filter_map(|task| {
            let path = task.ok()?.path();
            let name = fs::read_to_string(path.join("comm")).ok()?;
            let times = fs::read_to_string(path.join("schedstat")).ok()?;
            let mut times = times.split_whitespace().map(str::parse);
            let (ran, waited): (u64, u64) = (times.next()?.ok()?, times.next()?.ok()?);
            name.starts_with("worker-").then(|| Duration::from_nanos(ran + waited))
        });
        times.collect()
    }
}
