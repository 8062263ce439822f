//! Owns the event loop of a worker: builds it over io_uring or over epoll, or reports what refused
//! it and what would help.

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use io_uring_06::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::os::refusal::Refusal;
use crate::os::sys;

/// Submission queue entries of a worker's ring. monoio submits when the queue is full, so this
/// bounds a batch and not the connections.
const ENTRIES: u32 = 256;

/// Completion queue entries. The kernel keeps further completions, but they are slower; with
/// DEFER_TASKRUN it hands out a few dozen at a time. The queues count towards resident memory and,
/// on some kernels, against RLIMIT_MEMLOCK: with these numbers 64 workers fit in the usual 8 MiB.
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

/// A worker's event loop.
pub(crate) type EventLoop = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// The flags of a worker's ring (Linux 6.1). With them the kernel works on completions only when
/// the loop asks for them, which took 8.1 instead of 9.8 us of CPU per small request.
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
        .map_err(Refusal::of("io_uring_setup"))?;
    Ok(EventLoop::Uring(runtime))
}

/// Builds an event loop over epoll.
///
/// # Errors
/// What refused it.
pub(crate) fn build_epoll() -> Result<EventLoop, Refusal> {
    prove_epoll()?;
    RuntimeBuilder::<LegacyDriver>::new()
        .with_entries(EPOLL_EVENTS)
        .enable_timer()
        .build()
        .map(EventLoop::Legacy)
        .map_err(Refusal::of("epoll_create1"))
}

/// Proves by use that epoll and the calls of every connection are allowed: monoio ignores errors of
/// epoll_wait(2), and a worker would spin.
fn prove_epoll() -> Result<(), Refusal> {
    let (near, far) = UnixStream::pair().map_err(Refusal::of("socketpair"))?;
    let mut epoll = sys::Epoll::new(1).map_err(Refusal::of("epoll_create1"))?;
    let _registration = epoll.add(far.as_raw_fd(), 0).map_err(Refusal::of("epoll_ctl"))?;
    sys::send_at_once(near.as_raw_fd(), b"x").map_err(Refusal::of("sendto"))?;
    epoll.wait(&mut Vec::new()).map_err(Refusal::of(sys::WAIT_CALLS))?;
    let mut byte = Vec::with_capacity(1);
    sys::receive(far.as_raw_fd(), &mut byte).map_err(Refusal::of("recvfrom"))?;
    Ok(())
}

/// Makes the event loop of the calling thread watch a descriptor that does not belong to it.
///
/// # Errors
/// Those of fcntl(2) and epoll_ctl(2).
pub(crate) fn watch(descriptor: RawFd) -> Result<monoio::net::UnixStream, Refusal> {
    let duplicate = sys::duplicate(descriptor).map_err(Refusal::of("fcntl"))?;
    monoio::net::UnixStream::from_std(duplicate).map_err(Refusal::of("epoll_ctl"))
}
