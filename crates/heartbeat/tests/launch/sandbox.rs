//! What a program may do once it has started: system calls refused as container runtimes refuse
//! them, resource limits, a user without privileges.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The user and group that nobody is.
const NOBODY: u32 = 65534;

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// What the RLIMIT_* constants are, which C libraries do not agree about.
#[cfg(target_env = "musl")]
pub(crate) type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
pub(crate) type Resource = libc::__rlimit_resource_t;

/// Whether this process may do what it likes.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid(2) takes no memory and can not fail.
    unsafe { libc::geteuid() == 0 }
}

/// Prepares a program between its fork and its exec.
pub(crate) trait Sandbox {
    /// Makes a system call fail with an errno.
    fn refuse(self, call: libc::c_long, errno: i32) -> Self;

    /// Sets a resource limit, soft and hard.
    fn limit(self, resource: Resource, value: u64) -> Self;

    /// Takes all privileges away, where there are any.
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
        unsafe { self.pre_exec(move || check(libc::setrlimit(resource, &limit))) };
        self
    }

    fn unprivileged(mut self) -> Self {
        if is_root() {
            // Groups beside the first one go as well: std calls setgroups(2).
            self.uid(NOBODY).gid(NOBODY);
        }
        self
    }
}

/// Classic BPF: on this architecture, the call fails; everything else goes through.
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

/// Installs a filter for the calling thread and whatever it executes (prctl(2)).
fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: neither call keeps a pointer; the program and its filter live through the second,
    // which only reads them.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
