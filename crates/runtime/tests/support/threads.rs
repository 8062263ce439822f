//! What the kernel reports of the workers' threads, which are in this process.

use std::fs;

/// What `read` finds in the procfs directory of each worker's thread, by the worker's name.
pub(crate) fn of_each_worker(read: impl Fn(&str) -> u64) -> Vec<(String, u64)> {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").filter_map(Result::ok);
    let mut numbers: Vec<_> = tasks
        .filter_map(|task| {
            let path = task.path().display().to_string();
            let name = fs::read_to_string(format!("{path}/comm")).ok()?.trim().to_owned();
            name.starts_with("worker-").then(|| (name, read(&path)))
        })
        .collect();
    numbers.sort();
    numbers
}

/// How often a thread has waited for something to do.
pub(crate) fn waits(task: &str) -> u64 {
    let status = fs::read_to_string(format!("{task}/status")).expect("a live worker");
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("a count")
}
