//! Owns how many workers there are and which CPU each is pinned to: the affinity set of the
//! process, bounded by its cgroup's CPU quota.

use std::io;
use std::path::Path;

use crate::os::{cgroup, sys};

/// The CPU of each worker, in order.
///
/// If `threads` is given, there are that many workers, on the allowed CPUs in turn. Otherwise there
/// is one per allowed CPU, but no more than the quota pays for: under a quota of one CPU, two
/// pinned event loops only throttle each other. If there are more CPUs than workers, `seed` picks
/// the first CPU, so that many such processes on a machine do not share CPU 0.
///
/// # Errors
/// Those of sched_getaffinity(2).
pub(crate) fn worker_cpus(threads: Option<usize>, seed: usize) -> io::Result<Vec<usize>> {
    Ok(spread(&sys::allowed_cpus()?, threads, cgroup::cpu_quota(Path::new("/")), seed))
}

fn spread(cpus: &[usize], threads: Option<usize>, quota: Option<usize>, seed: usize) -> Vec<usize> {
    let affordable = quota.unwrap_or(usize::MAX).min(cpus.len()).max(1);
    let workers = threads.unwrap_or(affordable);
    let first = if workers < cpus.len() { seed } else { 0 };
    (0..workers).map(|worker| cpus[(first % cpus.len() + worker) % cpus.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_per_allowed_cpu() {
        assert_eq!(spread(&[2, 5, 7], None, None, 9), [2, 5, 7]);
        assert_eq!(spread(&[2, 5, 7], None, Some(8), 9), [2, 5, 7]);
    }

    #[test]
    fn a_quota_bounds_the_workers_and_spreads_them() {
        assert_eq!(spread(&[2, 5, 7], None, Some(1), 0), [2]);
        assert_eq!(spread(&[2, 5, 7], None, Some(2), 2), [7, 2]);
        assert_eq!(spread(&[2, 5, 7], None, Some(0), usize::MAX).len(), 1);
    }

    #[test]
    fn configured_workers_take_the_cpus_in_turn() {
        assert_eq!(spread(&[2, 5], Some(5), Some(1), 1), [2, 5, 2, 5, 2]);
        assert_eq!(spread(&[2, 5, 7], Some(2), None, 1), [5, 7]);
    }
}
