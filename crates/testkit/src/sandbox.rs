//! Owns the system calls of this crate that std does not wrap, each as a safe function: signals,
//! resource limits, and the restrictions of a child process (a seccomp filter that refuses system
//! calls as those of container runtimes do, resource limits, a user without privileges).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

/// The user and group ids of children without privileges: within the ids that a container usually
/// has, and outside those that distributions give to users.
const IDS: std::ops::Range<u32> = 30_000..50_000;

/// How far apart test programs begin whose process ids follow one another: more ids than one of
/// them uses.
const IDS_STRIDE: u32 = 53;

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The type of the RLIMIT_* constants, which differs between C libraries.
#[cfg(target_env = "musl")]
pub type Resource = libc::c_int;
/// The type of the RLIMIT_* constants, which differs between C libraries.
#[cfg(not(target_env = "musl"))]
pub type Resource = libc::__rlimit_resource_t;

/// A signal (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Signal {
    Interrupt = libc::SIGINT as isize,
    Terminate = libc::SIGTERM as isize,
    Continue = libc::SIGCONT as isize,
    Stop = libc::SIGSTOP as isize,
    HangUp = libc::SIGHUP as isize,
    User1 = libc::SIGUSR1 as isize,
    User2 = libc::SIGUSR2 as isize,
}

/// Sends a signal to a process that has not been waited for.
#[track_caller]
pub fn send_signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).expect("a process id");
    // SAFETY: kill(2) takes no memory.
    let result = check(unsafe { libc::kill(process, signal as i32) });
    result.unwrap_or_else(|error| panic!("{signal:?} to process {process}: {error}"));
}

/// Stops one thread of a child process for good, as a system call does that hangs (ptrace(2)).
/// Returns once it has stopped. Whatever ends the process ends the thread.
#[track_caller]
pub(crate) fn stop_thread(thread: u32) {
    let thread = libc::pid_t::try_from(thread).expect("a thread id");
    let (report, reported) = std::sync::mpsc::channel();
    // The kernel ties the thread to the one that stops it, which waits for its end.
    std::thread::spawn(move || {
        let ask = |request: libc::c_long| {
            // SAFETY: PTRACE_SEIZE and PTRACE_INTERRUPT take no memory.
            let result =
                unsafe { libc::syscall(libc::SYS_ptrace, request, thread, 0_usize, 0_usize) };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        let wait = || {
            // SAFETY: a null status is allowed.
            check(unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) })
        };
        let stopped = ask(libc::c_long::from(libc::PTRACE_SEIZE))
            .and_then(|()| ask(libc::c_long::from(libc::PTRACE_INTERRUPT)));
        // The receiver may have given up.
        let _ = report.send(stopped.and_then(|()| wait()));
        // The second wait ends with the thread.
        let _ = wait();
    });
    reported.recv().expect("a result").expect("a child that may be traced");
}

/// Sets a soft resource limit of a running process (prlimit(2)).
#[track_caller]
pub(crate) fn limit_of(process: u32, resource: Resource, value: u64) {
    let process = i32::try_from(process).expect("a process id");
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a null new limit asks for the old one, which is live for the call.
    let asked = unsafe { libc::prlimit(process, resource, std::ptr::null(), &raw mut limit) };
    check(asked).expect("the limits of a process of this user");
    limit.rlim_cur = value;
    // SAFETY: the limit is live for the call, and a null old limit is allowed.
    let set = unsafe { libc::prlimit(process, resource, &raw const limit, std::ptr::null_mut()) };
    check(set).expect("a lower limit");
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid(2) takes no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Sets the soft limit of a resource of this process, and returns the previous one. A value above
/// the hard limit is lowered to it.
#[track_caller]
pub fn limit_own(resource: Resource, soft: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: one rlimit is written, which is live for the call.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) }).expect("getrlimit(2)");
    let before = limit.rlim_cur;
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: the limit is live for the call and only read.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }).expect("setrlimit(2)");
    before
}

/// Restricts a child process between fork(2) and execve(2).
#[must_use = "the command has changed owner"]
pub trait Sandbox {
    /// Makes a system call fail with an errno.
    fn refuse(self, call: libc::c_long, errno: i32) -> Self;

    /// Sets a resource limit, soft and hard.
    fn limit(self, resource: Resource, value: u64) -> Self;

    /// Runs the program as a user without privileges if this process runs as root. It is another
    /// user each time, because the kernel charges locked memory to the user: a program of the same
    /// user would use up the limit of this one, and one that has ended does so for a moment.
    fn unprivileged(self) -> Self;
}

impl Sandbox for Command {
    fn refuse(mut self, call: libc::c_long, errno: i32) -> Self {
        let filter = filter(u32::try_from(call).expect("a system call"), errno);
        // SAFETY: between fork and exec only prctl(2) is called, and nothing is allocated.
        unsafe { self.pre_exec(move || install(&filter)) };
        self
    }

    fn limit(mut self, resource: Resource, value: u64) -> Self {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: between fork and exec only setrlimit(2) is called, with a live limit.
        unsafe { self.pre_exec(move || check(libc::setrlimit(resource, &raw const limit))) };
        self
    }

    fn unprivileged(mut self) -> Self {
        if is_root() {
            let id = next_id();
            // std also drops the supplementary groups with setgroups(2).
            self.uid(id).gid(id);
        }
        self
    }
}

/// A user id that no other child has.
fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(IDS_STRIDE);
    let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    IDS.start + number % (IDS.end - IDS.start)
}

/// A classic BPF program: on this architecture `call` fails with `errno`; everything else is
/// allowed.
fn filter(call: u32, errno: i32) -> [libc::sock_filter; 6] {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let refusal = libc::SECCOMP_RET_ERRNO | errno as u32;
    [
        statement(load, ARCHITECTURE_OFFSET, 0, 0),
        statement(is, ARCHITECTURE, 0, 3),
        statement(load, NUMBER_OFFSET, 0, 0),
        statement(is, call, 0, 1),
        statement(end, refusal, 0, 0),
        statement(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]
}

fn statement(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Installs a filter for the calling thread and for the program that it executes (prctl(2)).
fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: neither call keeps a pointer; the program and its filter live through the second
    // call, which only reads them.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
