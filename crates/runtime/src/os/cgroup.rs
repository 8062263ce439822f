//! Owns the limits that the cgroups around this process set: CPU time, and memory. Everything is
//! read below a root directory, which is another one in tests.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The use of the memory limit, in percent, from which on memory counts as scarce and as used up.
/// The rest is for the writes under way, the batches in which the kernel counts (256 KiB per CPU),
/// and new connections.
const SCARCE_PERCENT: u64 = 50;
const USED_UP_PERCENT: u64 = 75;

/// A limit of at least this many bytes counts as none: send buffers never grow so far.
const LIMIT_BYTES_MAX: u64 = 64 << 30;

/// What is left of the memory that the cgroup may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Ample,
    /// Sockets should hold less.
    Scarce,
    /// Answers should wait: at the limit the kernel ends the process.
    UsedUp,
}

/// The memory use of the cgroup with the lowest limit around this process. Send buffers of sockets
/// count as its memory in cgroup v2; in v1 they do not.
#[derive(Debug)]
pub(crate) struct MemoryGauge {
    current: File,
    /// `memory.stat`, which reports how much of `current` is page cache. The kernel frees page
    /// cache before it kills a process.
    stat: Option<File>,
    limit_bytes: u64,
    version: &'static Version,
}

/// Where a version of cgroups reports the limits of a group and its use of memory.
#[derive(Debug)]
struct Version {
    /// The files that hold the CPU time for each period, and the length of a period, both in
    /// microseconds. The time is `max` or -1 if there is no quota.
    quota: &'static [&'static str],
    limit: &'static str,
    current: &'static str,
    /// The names of the page cache in `memory.stat`, that of child groups included.
    file_pages: [&'static str; 2],
}

static VERSION_1: Version = Version {
    quota: &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
    limit: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    file_pages: ["total_inactive_file", "total_active_file"],
};

static VERSION_2: Version = Version {
    quota: &["cpu.max"],
    limit: "memory.max",
    current: "memory.current",
    file_pages: ["inactive_file", "active_file"],
};

/// Bytes of `memory.stat` that are read: more than the file has.
const STAT_BYTES_MAX: usize = 8 * 1024;

impl MemoryGauge {
    /// None if nothing limits memory.
    pub(crate) fn find(root: &Path) -> Option<Self> {
        let groups = groups_with(root, "memory").into_iter();
        let gauges = groups.filter_map(|(version, directory)| Self::open(&directory, version));
        gauges.min_by_key(|gauge| gauge.limit_bytes)
    }

    fn open(directory: &Path, version: &'static Version) -> Option<Self> {
        let limit = fs::read_to_string(directory.join(version.limit)).ok()?;
        let limit_bytes = limit.trim().parse().ok()?;
        let current = File::open(directory.join(version.current)).ok()?;
        let stat = File::open(directory.join("memory.stat")).ok();
        (limit_bytes < LIMIT_BYTES_MAX).then_some(Self { current, stat, limit_bytes, version })
    }

    /// The limit, in bytes.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Reads what is left: one pread(2) of a file of the kernel, and a second one if memory seems
    /// to be short.
    pub(crate) fn read(&self) -> Memory {
        let mut text = [0; 24];
        let used = read_text(&self.current, &mut text).and_then(|text| text.trim().parse().ok());
        // If the file cannot be read, memory counts as ample.
        let used: u64 = used.unwrap_or(0);
        match self.judge(used) {
            Memory::Ample => Memory::Ample,
            _ => self.judge(used.saturating_sub(self.file_bytes())),
        }
    }

    fn judge(&self, used: u64) -> Memory {
        match used.saturating_mul(100) / self.limit_bytes.max(1) {
            0..SCARCE_PERCENT => Memory::Ample,
            SCARCE_PERCENT..USED_UP_PERCENT => Memory::Scarce,
            _ => Memory::UsedUp,
        }
    }

    fn file_bytes(&self) -> u64 {
        let mut text = [0; STAT_BYTES_MAX];
        let Some(text) = self.stat.as_ref().and_then(|stat| read_text(stat, &mut text)) else {
            return 0;
        };
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let pages = lines.filter(|(name, _)| self.version.file_pages.contains(name));
        pages.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
    }
}

/// The beginning of a file, as text.
fn read_text<'t>(file: &File, text: &'t mut [u8]) -> Option<&'t str> {
    let bytes = file.read_at(text, 0).ok()?;
    str::from_utf8(&text[..bytes]).ok()
}

/// Whole CPUs that the cgroup's quota pays for, rounded up; None if there is no quota. `root` is
/// the file system's root, another one in tests.
pub(crate) fn cpu_quota(root: &Path) -> Option<usize> {
    let groups = groups_with(root, "cpu").into_iter();
    groups.filter_map(|(version, directory)| quota(&directory, version)).min()
}

/// The groups around this process that may limit what `controller` controls (cgroups(7)): the
/// version of each, and its directory. Inside a container some may be named that are not visible,
/// if the mount point is the container's own group.
fn groups_with(root: &Path, controller: &str) -> Vec<(&'static Version, PathBuf)> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let mut groups = Vec::new();
    for (controllers, path) in own {
        let (version, mount) =
            if controllers.is_empty() { (&VERSION_2, "") } else { (&VERSION_1, controller) };
        let mount = root.join("sys/fs/cgroup").join(mount);
        if controllers.is_empty() || controllers.split(',').any(|name| name == controller) {
            let group = mount.join(path.trim_start_matches('/'));
            let around = group.ancestors().take_while(|directory| directory.starts_with(&mount));
            groups.extend(around.map(|directory| (version, directory.to_path_buf())));
        }
    }
    groups
}

/// The whole CPUs that the quota of one group pays for.
fn quota(directory: &Path, version: &Version) -> Option<usize> {
    let files = version.quota.iter().map(|name| fs::read_to_string(directory.join(name)).ok());
    let text = files.collect::<Option<Vec<_>>>()?.join(" ");
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    let (time_us, period_us): (usize, usize) = (numbers.next()??, numbers.next()??);
    (time_us > 0 && period_us > 0).then(|| time_us.div_ceil(period_us))
}

/// A file tree in a directory of its own, as a root for the functions above.
#[cfg(test)]
pub(crate) fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = std::env::temp_dir().join(format!("heartbeat-{}-{name}", std::process::id()));
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_of(name: &str, files: &[(&str, &str)]) -> Option<usize> {
        let root = tree(name, files);
        let quota = cpu_quota(&root);
        fs::remove_dir_all(root).unwrap();
        quota
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
        assert_eq!(quota_of("v1-half", &[group, quota]), None);
        for (name, quota_us, period_us) in [("v1-0", "0\n", "100000\n"), ("v1-by-0", "1\n", "0\n")]
        {
            let quota = ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", quota_us);
            let period = ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", period_us);
            assert_eq!(quota_of(name, &[group, quota, period]), None, "{name}");
        }
    }

    #[test]
    fn reports_how_much_of_the_lowest_memory_limit_is_used() {
        let root = tree(
            "memory",
            &[
                ("proc/self/cgroup", "1:name=systemd:/x\n0::/pod/box\n"),
                ("sys/fs/cgroup/pod/box/memory.max", "33554432\n"),
                ("sys/fs/cgroup/pod/box/memory.current", "1\n"),
                ("sys/fs/cgroup/pod/memory.max", "67108864\n"),
                ("sys/fs/cgroup/pod/memory.current", "67108864\n"),
            ],
        );
        let gauge = MemoryGauge::find(&root).unwrap();
        let limit = 32 << 20;
        assert_eq!(gauge.limit_bytes, limit);
        for (used, memory) in [
            (0, Memory::Ample),
            (limit / 2 - 1, Memory::Ample),
            (limit / 2, Memory::Scarce),
            (limit / 4 * 3 - 1, Memory::Scarce),
            (limit / 4 * 3, Memory::UsedUp),
            (limit, Memory::UsedUp),
        ] {
            let current = root.join("sys/fs/cgroup/pod/box/memory.current");
            fs::write(current, format!("{used}\n")).unwrap();
            assert_eq!(gauge.read(), memory, "{used}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn without_a_memory_limit_there_is_no_gauge() {
        let group = ("proc/self/cgroup", "0::/box\n");
        let current = ("sys/fs/cgroup/box/memory.current", "1\n");
        let gauge = |name: &str, files: &[(&str, &str)]| {
            let root = tree(name, files);
            let gauge = MemoryGauge::find(&root);
            fs::remove_dir_all(root).unwrap();
            gauge.map(|gauge| gauge.limit_bytes)
        };
        let limit = |text| ("sys/fs/cgroup/box/memory.max", text);
        assert_eq!(gauge("no-files", &[group]), None);
        assert_eq!(gauge("no-limit", &[group, current, limit("max\n")]), None);
        assert_eq!(gauge("vast", &[group, current, limit("68719476736\n")]), None);
        assert_eq!(gauge("large", &[group, current, limit("68719476735\n")]), Some((64 << 30) - 1));
        // The files of version 2 say nothing about a group of version 1.
        let first = ("proc/self/cgroup", "4:memory:/box\n");
        assert_eq!(gauge("version-1", &[first, current, limit("33554432\n")]), None);
        // A hierarchy of version 2 without the memory controller has no such files.
        let hybrid = ("proc/self/cgroup", "4:cpu:/box\n0::/box\n");
        assert_eq!(gauge("hybrid", &[hybrid]), None);
        assert_eq!(gauge("malformed", &[("proc/self/cgroup", "memory\n::\n\n")]), None);
    }

    #[test]
    fn reads_the_memory_limit_of_version_1() {
        let root = tree(
            "memory-1",
            &[
                ("proc/self/cgroup", "4:memory,hugetlb:/pod/box\n0::/\n"),
                ("sys/fs/cgroup/memory/pod/box/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/pod/box/memory.usage_in_bytes", "1\n"),
                ("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "1000\n"),
                ("sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "900\n"),
            ],
        );
        let gauge = MemoryGauge::find(&root).unwrap();
        assert_eq!((gauge.limit_bytes(), gauge.read()), (1000, Memory::UsedUp));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn page_cache_does_not_count_as_used_memory() {
        for (name, groups, folder, [limit, current], stat) in [
            (
                "stat-1",
                "4:memory:/\n",
                "sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                "inactive_file 900\nactive_file 900\ntotal_inactive_file 300\ntotal_active_file 1\n",
            ),
            (
                "stat-2",
                "0::/\n",
                "sys/fs/cgroup",
                ["memory.max", "memory.current"],
                "anon 599\ninactive_file 300\nactive_file 1\n",
            ),
        ] {
            let file = |name| format!("{folder}/{name}");
            let files =
                [(file(limit), "1000"), (file(current), "900"), (file("memory.stat"), stat)];
            let mut files: Vec<_> =
                files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            files.push(("proc/self/cgroup", groups));
            let root = tree(name, &files);
            let gauge = MemoryGauge::find(&root).unwrap();
            assert_eq!(gauge.read(), Memory::Scarce, "{name}");
            fs::write(root.join(folder).join(current), "1051\n").unwrap();
            assert_eq!(gauge.read(), Memory::UsedUp, "{name}");
            fs::remove_dir_all(root).unwrap();
        }
    }
}
