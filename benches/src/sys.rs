//! Owns the system calls that no dependency wraps, each as a safe function. It is the only file of
//! the benchmarks with `unsafe`. Must not decide anything.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Turns the -1 of a failed system call into an error with its errno.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The CPUs the calling thread may run on, ascending (sched_getaffinity(2)).
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a `cpu_set_t` is an array of integers, for which all zeros is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live and its size is passed with it.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: every number asked for is below the number of bits in the set.
    Ok((0..bits).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Binds the calling thread to these CPUs, and with it what the thread starts from now on.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: a `cpu_set_t` is an array of integers, for which all zeros is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        assert!(cpu < 8 * size_of::<libc::cpu_set_t>(), "CPU {cpu} is beyond cpu_set_t");
        // SAFETY: the number was just compared with the number of bits in the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is live and its size is passed with it.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
        .map(|_| ())
}

/// User and system time of a whole process, with the threads that have ended. The resolution is
/// nanoseconds (clock_getcpuclockid(3)).
pub fn process_cpu_time(pid: i32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: one clockid_t is written, which is live for the call.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    clock_time(clock)
}

/// User and system time of the calling process.
pub fn own_cpu_time() -> io::Result<Duration> {
    clock_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_time(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one timespec is written, which is live for the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Raises the soft limit of open files to the hard one, and returns it.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one rlimit is written, which is live for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is live and only read.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// Gives the calling thread a network namespace of its own (unshare(2)).
pub fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: unshare(2) takes no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(|_| ())
}

/// Moves the calling thread into a network namespace (setns(2)).
pub fn enter_network_namespace(namespace: RawFd) -> io::Result<()> {
    // SAFETY: setns(2) takes no memory; a descriptor of anything else is EINVAL.
    check(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) }).map(|_| ())
}

/// Makes the command start in a network namespace, whose descriptor must be open until then.
pub fn start_in_network_namespace(command: &mut Command, namespace: RawFd) {
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe.
    unsafe { command.pre_exec(move || enter_network_namespace(namespace)) };
}

/// Gives the calling thread the lowest priority (nice 19).
pub fn be_nice() {
    // SAFETY: setpriority(2) takes no memory. A thread may always lower its priority.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Discards up to `bytes_max` bytes that have arrived on a TCP socket, without copying them
/// (MSG_TRUNC, tcp(7)). Returns how many; 0 if the peer has ended the connection.
pub fn discard(socket: RawFd, bytes_max: u64) -> io::Result<u64> {
    let wanted = usize::try_from(bytes_max.min(1 << 30)).unwrap_or(1 << 30);
    // SAFETY: with MSG_TRUNC on a TCP socket nothing is written to the buffer, so none is given.
    let n = unsafe { libc::recv(socket, std::ptr::null_mut(), wanted, libc::MSG_TRUNC) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as u64) }
}

/// A level-triggered epoll instance over numbered descriptors (epoll(7)).
pub struct Epoll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// One descriptor that is ready: the number with which it was added, and what it is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number given to [`Epoll::watch`].
    pub number: usize,
    /// There is data to read, an end or an error.
    pub readable: bool,
    /// A write would not block.
    pub writable: bool,
}

impl Epoll {
    /// An instance that reports at most `events_max` descriptors at a time.
    pub fn new(events_max: usize) -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no memory.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, events: vec![libc::epoll_event { events: 0, u64: 0 }; events_max] })
    }

    /// Adds a descriptor, or, with `again`, changes the events that it is watched for. With
    /// `writes` it is watched for writing as well.
    pub fn watch(&self, fd: RawFd, number: usize, writes: bool, again: bool) -> io::Result<()> {
        let wanted = if writes { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        let mut event = libc::epoll_event { events: wanted as u32, u64: number as u64 };
        let operation = if again { libc::EPOLL_CTL_MOD } else { libc::EPOLL_CTL_ADD };
        // SAFETY: the event is live and only read; a descriptor that is not open is EBADF.
        check(unsafe {
            libc::epoll_ctl(self.descriptor.as_raw_fd(), operation, fd, &raw mut event)
        })
        .map(|_| ())
    }

    /// Waits up to `timeout_ms` (negative: without a limit), and returns how many descriptors are
    /// [`ready`](Self::ready).
    pub fn wait(&mut self, timeout_ms: c_int) -> io::Result<usize> {
        // SAFETY: the array is live and its length is passed with it.
        let n = unsafe {
            libc::epoll_wait(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as c_int,
                timeout_ms,
            )
        };
        match check(n) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other.map(|n| n as usize),
        }
    }

    /// The descriptor with this index among those that the last [`wait`](Self::wait) found ready.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let ends = (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) as u32;
        Ready {
            number: event.u64 as usize,
            readable: event.events & ends != 0,
            writable: event.events & libc::EPOLLOUT as u32 != 0,
        }
    }
}

/// How many process groups may be alive at once. A measurement has two: a server and a client.
const GROUPS_MAX: usize = 64;
static GROUPS: [AtomicI32; GROUPS_MAX] = [const { AtomicI32::new(0) }; GROUPS_MAX];

/// Makes the command start in a process group of its own. The kernel kills its process when the
/// calling thread ends, whatever ends that (PR_SET_PDEATHSIG).
pub fn tie_to_parent(command: &mut Command) {
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)).map(|_| ())
        });
    }
}

/// Remembers a process group, so that [`kill_groups`] kills it.
pub fn remember_group(group: i32) {
    let free = |slot: &&AtomicI32| {
        slot.compare_exchange(0, group, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    };
    assert!(GROUPS.iter().find(free).is_some(), "more than {GROUPS_MAX} process groups");
}

/// Sends a signal to every process of a group.
pub fn signal_group(group: i32, signal: c_int) {
    // SAFETY: kill(2) takes no memory; for a group that does not exist it fails with ESRCH.
    unsafe { libc::kill(-group, signal) };
}

/// Kills a group and forgets it.
pub fn kill_group(group: i32) {
    signal_group(group, libc::SIGKILL);
    for slot in &GROUPS {
        let _ = slot.compare_exchange(group, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Kills every group that is remembered.
pub fn kill_groups() {
    for slot in &GROUPS {
        let group = slot.load(Ordering::SeqCst);
        if group > 0 {
            signal_group(group, libc::SIGKILL);
        }
    }
}

/// The signals that ask a program to end.
fn ending_signals() -> libc::sigset_t {
    // SAFETY: a `sigset_t` is an array of integers, for which all zeros is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the set is live, and the signal is one.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Blocks SIGINT, SIGTERM and SIGHUP, so that [`wait_for_ending_signal`] gets them. Call it before
/// any thread is started. Commands start with no signal blocked, because std unblocks them.
pub fn block_ending_signals() {
    let set = ending_signals();
    // SAFETY: the set is live and only read; the pointer for the old set may be null.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for SIGINT, SIGTERM or SIGHUP, and returns the one that came.
pub fn wait_for_ending_signal() -> c_int {
    let set = ending_signals();
    let mut signal = 0;
    // SAFETY: set and signal are live. It fails only for a set that names no signals.
    unsafe { libc::sigwait(&raw const set, &raw mut signal) };
    signal
}
