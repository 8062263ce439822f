//! Owns the event loop of a worker: builds it over io_uring or over epoll, or reports what refused
//! it and what would help.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use io_uring_06::IoUring;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use crate::os::sys;

/// Submission queue entries of a worker's ring. monoio submits when it is full, so that this
/// bounds a batch and not the connections.
const ENTRIES: u32 = 256;

/// Completion queue entries. More completions at once are kept by the kernel, only slower; with
/// DEFER_TASKRUN it hands out a few dozen at a time. The queues count against RLIMIT_MEMLOCK and
/// towards resident memory: with these numbers 64 workers fit in the usual 8 MiB.
const COMPLETION_ENTRIES: u32 = 1024;

/// Events that one epoll_wait(2) returns at most.
const EPOLL_EVENTS: u32 = 512;

/// The kernel interface that event loops use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// Its name in metrics and the banner.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A worker's event loop.
pub(crate) enum EventLoop {
    Uring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

/// The flags of a worker's ring (Linux 6.1). They leave completions to the moment the loop asks for
/// them, which took 8.1 instead of 9.8 us of CPU per small request.
pub(crate) const RING_FLAGS: &str = "SINGLE_ISSUER, DEFER_TASKRUN";

/// Builds an event loop over io_uring. The calling thread is the one that will run it.
///
/// # Errors
/// What refused it: EINVAL before Linux 6.1.
pub(crate) fn build_uring() -> Result<EventLoop, Refusal> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(COMPLETION_ENTRIES);
    builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all();
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(builder)
        .with_entries(ENTRIES)
        .enable_timer()
        .build()
        .map_err(|error| Refusal::new("io_uring_setup", &error))?;
    check_enter()?;
    Ok(EventLoop::Uring(runtime))
}

/// Builds an event loop over epoll.
///
/// # Errors
/// Those of epoll_create1(2).
pub(crate) fn build_epoll() -> io::Result<EventLoop> {
    RuntimeBuilder::<LegacyDriver>::new()
        .with_entries(EPOLL_EVENTS)
        .enable_timer()
        .build()
        .map(EventLoop::Epoll)
}

/// Proves by use that epoll and the calls of every connection are allowed: monoio ignores errors of
/// epoll_wait(2), and a worker would spin.
///
/// # Errors
/// The system call that was refused, and why.
pub(crate) fn prove_epoll() -> Result<(), (&'static str, io::Error)> {
    let refused = |call| move |error| (call, error);
    let (near, far) = UnixStream::pair().map_err(refused("socketpair"))?;
    let mut epoll = sys::Epoll::new(1).map_err(refused("epoll_create1"))?;
    epoll.add(far.as_raw_fd(), 0).map_err(refused("epoll_ctl"))?;
    sys::send_at_once(near.as_raw_fd(), b"x").map_err(refused("sendto"))?;
    epoll.wait(&mut Vec::new()).map_err(refused("epoll_wait"))?;
    sys::receive(far.as_raw_fd(), &mut Vec::with_capacity(1)).map_err(refused("recvfrom"))?;
    Ok(())
}

/// A kernel that allows io_uring_setup(2) may still refuse io_uring_enter(2), whose errors monoio
/// ignores: without this check, a worker would spin.
fn check_enter() -> Result<(), Refusal> {
    let ring = io_uring::IoUring::new(2).map_err(|error| Refusal::new("io_uring_setup", &error))?;
    // There is nothing to submit and nothing to wait for: the call itself is what is tested.
    ring.submit_and_wait(0).map_err(|error| Refusal::new("io_uring_enter", &error))?;
    Ok(())
}

/// What refused io_uring, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    call: &'static str,
    errno: i32,
}

impl Refusal {
    pub(crate) fn new(call: &'static str, error: &io::Error) -> Self {
        Self { call, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }

    /// Its name in the metrics: that of the errno in lower case.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.errno {
            libc::EPERM | libc::EACCES => "eperm",
            libc::ENOSYS => "enosys",
            libc::ENOMEM => "enomem",
            libc::EINVAL => "einval",
            _ => "other",
        }
    }

    /// The likely cause and what would help, in one line.
    fn cause_and_remedy(&self) -> &'static str {
        match self.errno {
            libc::EPERM | libc::EACCES => match io_uring_disabled().as_deref() {
                Some("1") => {
                    "kernel.io_uring_disabled is 1; set it to 0, or join the group of \
                     kernel.io_uring_group"
                }
                Some("2") => "kernel.io_uring_disabled is 2; set it to 0",
                _ => {
                    "likely the container runtime's seccomp profile; allow io_uring_setup, \
                     io_uring_enter and io_uring_register in it"
                }
            },
            libc::ENOSYS => {
                "likely the container runtime's seccomp profile, or a kernel built without \
                 io_uring; allow io_uring_setup, io_uring_enter and io_uring_register"
            }
            libc::ENOMEM => {
                "likely RLIMIT_MEMLOCK (ulimit -l), which old and new kernels charge for rings; \
                 raise it, or ask for fewer --threads"
            }
            libc::EINVAL => "the kernel is too old; Linux 6.1 is the first that serves",
            _ => "no known cause",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(formatter, "{} refused: {error}: {}", self.call, self.cause_and_remedy())
    }
}

fn io_uring_disabled() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(text.trim().to_string())
}
