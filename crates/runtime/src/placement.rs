//! Owns how many workers there are and which CPU each is pinned to: the affinity set of the
//! process, bounded by its cgroup's CPU quota.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys;

/// The CPU of each worker, in order.
///
/// `threads` workers where it is given, on the allowed CPUs in turn. Otherwise one per allowed
/// CPU, but no more than the quota pays for: under a quota of one CPU, two pinned loops only
/// throttle each other. Where CPUs are left over, `seed` picks the first one, so that many such
/// processes on a machine do not meet on its CPU 0.
///
/// # Errors
/// Those of sched_getaffinity(2).
pub(crate) fn worker_cpus(threads: Option<usize>, seed: usize) -> io::Result<Vec<usize>> {
    Ok(spread(&sys::allowed_cpus()?, threads, cpu_quota(Path::new("/")), seed))
}

fn spread(cpus: &[usize], threads: Option<usize>, quota: Option<usize>, seed: usize) -> Vec<usize> {
    let affordable = quota.unwrap_or(usize::MAX).min(cpus.len()).max(1);
    let workers = threads.unwrap_or(affordable);
    let first = if workers < cpus.len() { seed } else { 0 };
    (0..workers).map(|worker| cpus[(first % cpus.len() + worker) % cpus.len()]).collect()
}

/// Whole CPUs that the cgroup's quota pays for, rounded up; none where there is no quota.
/// `root` is the file system's root, another one in tests.
fn cpu_quota(root: &Path) -> Option<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let quotas = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => lowest_quota(&root.join("sys/fs/cgroup"), path, quota_v2),
            _ if controllers.split(',').any(|name| name == "cpu") => {
                lowest_quota(&root.join("sys/fs/cgroup/cpu"), path, quota_v1)
            }
            _ => None,
        }
    });
    quotas.min()
}

/// The lowest quota of a group and the groups around it. Inside a container the path may name
/// groups that are not visible, where the mount point is the container's own group.
fn lowest_quota(mount: &Path, path: &str, quota: impl Fn(&Path) -> Option<usize>) -> Option<usize> {
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    group.ancestors().take_while(|directory| directory.starts_with(mount)).filter_map(quota).min()
}

/// cgroup v2: `cpu.max` holds `$MAX $PERIOD` in microseconds, or `max $PERIOD`.
fn quota_v2(directory: &Path) -> Option<usize> {
    let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
    let mut words = text.split_whitespace();
    whole_cpus(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
}

/// cgroup v1: `cpu.cfs_quota_us` is -1 where there is no quota.
fn quota_v1(directory: &Path) -> Option<usize> {
    let read = |name| fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok();
    whole_cpus(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

fn whole_cpus(quota_us: i64, period_us: i64) -> Option<usize> {
    if quota_us <= 0 || period_us <= 0 {
        return None;
    }
    usize::try_from(quota_us.div_euclid(period_us) + i64::from(quota_us % period_us != 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file tree in a directory of its own.
    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("heartbeat-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn quota_of(name: &str, files: &[(&str, &str)]) -> Option<usize> {
        let root = tree(name, files);
        let quota = cpu_quota(&root);
        fs::remove_dir_all(root).unwrap();
        quota
    }

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
    fn asked_for_workers_go_round() {
        assert_eq!(spread(&[2, 5], Some(5), Some(1), 1), [2, 5, 2, 5, 2]);
        assert_eq!(spread(&[2, 5, 7], Some(2), None, 1), [5, 7]);
    }

    #[test]
    fn reads_the_lowest_quota_of_version_2() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(quota_of("none", &[group]), None);
        let inner = ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(quota_of("max", &[group, inner]), None);
        let outer = ("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        assert_eq!(quota_of("outer", &[group, inner, outer]), Some(2));
        let mount = ("sys/fs/cgroup/cpu.max", "50000 100000\n");
        assert_eq!(quota_of("mount", &[group, inner, outer, mount]), Some(1));
    }

    #[test]
    fn reads_the_quota_of_version_1() {
        let group = ("proc/self/cgroup", "3:memory:/x\n4:cpu,cpuacct:/a\n");
        let quota = ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "300000\n");
        let period = ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota_of("v1", &[group, quota, period]), Some(3));
        let none = ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
        assert_eq!(quota_of("v1-none", &[group, none, period]), None);
    }
}
