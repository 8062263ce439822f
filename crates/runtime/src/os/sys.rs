//! Owns the system calls of this crate, each as a safe function. `rustix` and `socket2` make most
//! of them. The others are `unsafe` calls of the C library. Must not decide anything.

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use heartbeat_tcp_info::TcpInfo;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt};
use rustix::pipe::SpliceFlags;
use rustix::process::CpuSet;
use socket2::SockRef;

/// Flags of a send(2) that never waits, and that raises no SIGPIPE.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// The system calls that start a thread. C libraries use clone(2) where they do not know clone3(2),
/// or where the kernel does not.
pub(crate) const THREAD_CALLS: &str = "clone3 or clone";

/// The system calls behind the C function epoll_wait(3): musl tries the second one first, and some architectures have
/// only that.
pub(crate) const WAIT_CALLS: &str = "epoll_wait or epoll_pwait";

/// Lends a descriptor, which its owner keeps open for the call, to a function of a library.
///
/// The table of deadlines names sockets by number. A connection leaves the table before its socket
/// is closed (`place`), so a number in the table is an open socket. The exception is a socket that
/// the event loop has refused: it is closed at once, and its connection leaves the table next.
fn lend<T, E: Into<io::Error>>(
    descriptor: RawFd,
    call: impl FnOnce(BorrowedFd<'_>) -> Result<T, E>,
) -> io::Result<T> {
    if descriptor < 0 {
        // A socket that the event loop has refused; see `Socket::raw`.
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the borrow ends with `call`, and the caller keeps the descriptor open until then. It
    // is not -1.
    call(unsafe { BorrowedFd::borrow_raw(descriptor) }).map_err(E::into)
}

/// Turns the -1 of a system call into the errno that it left.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What the kernel knows about the path of a TCP connection (TCP_INFO, tcp(7)).
pub(crate) fn tcp_info(socket: RawFd) -> io::Result<TcpInfo> {
    lend(socket, heartbeat_tcp_info::tcp_info)
}

/// shutdown(2).
pub(crate) fn shutdown(socket: RawFd, how: Shutdown) -> io::Result<()> {
    lend(socket, |socket| SockRef::from(&socket).shutdown(how))
}

/// Sets SO_LINGER to zero: the next close(2) resets the connection and frees what is unsent.
pub(crate) fn reset_on_close(socket: RawFd) -> io::Result<()> {
    lend(socket, |socket| sockopt::set_socket_linger(socket, Some(Duration::ZERO)))
}

/// Bounds what a socket holds of unread answers (SO_SNDBUF, socket(7)): the kernel keeps twice
/// `bytes`, and up to a packet more.
pub(crate) fn set_send_buffer(socket: RawFd, bytes: usize) -> io::Result<()> {
    lend(socket, |socket| sockopt::set_socket_send_buffer_size(socket, bytes))
}

/// The number of bytes in a socket that the peer has not acknowledged (SIOCOUTQ, tcp(7)).
pub(crate) fn unacknowledged_bytes(socket: RawFd) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int, which is live for the call.
    check(unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Discards up to `bytes_max` bytes that have arrived on a TCP socket, without copying them
/// (MSG_TRUNC, tcp(7)). Never waits: the result is WouldBlock if nothing has arrived, and 0 at the
/// end of the stream.
pub(crate) fn discard_received(socket: RawFd, bytes_max: usize) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC TCP writes nothing to the buffer, which may therefore be null
    // (tcp(7), since Linux 2.4).
    let received = unsafe { libc::recv(socket, std::ptr::null_mut(), bytes_max, flags) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Receives into the spare capacity of `buffer`, without waiting (recv(2)). There must be some.
pub(crate) fn receive(socket: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let received = lend(socket, |socket| {
        rustix::net::recv_uninit(socket, spare, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes.len())
    })?;
    // SAFETY: the kernel has initialized the `received` bytes behind the current length.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Sends as much of `bytes` as a socket accepts without waiting (send(2)).
pub(crate) fn send_at_once(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    lend(socket, |socket| rustix::net::send(socket, bytes, SEND))
}

/// Sends as much of `bytes` as a socket accepts without waiting, and announces that more follows:
/// a short head waits for its payload instead of leaving in a packet of its own (MSG_MORE, tcp(7)).
pub(crate) fn send_ahead(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    lend(socket, |socket| rustix::net::send(socket, bytes, SEND | SendFlags::MORE))
}

/// Sends as much of `slices`, which are at most 1024 (IOV_MAX), as a socket accepts without waiting
/// (sendmsg(2)).
pub(crate) fn send_slices(socket: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    lend(socket, |socket| rustix::net::sendmsg(socket, slices, &mut control, SEND))
}

/// Whether the process may accept on a non-blocking listener (accept4(2)): EPERM and ENOSYS mean
/// that a seccomp profile refuses the call. A connection that waits stays in the queue.
pub(crate) fn may_accept(listener: RawFd) -> io::Result<()> {
    // SAFETY: the flag is not valid, so the call fails before it takes anything from the queue; a
    // null address is allowed.
    let result = unsafe {
        libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), INVALID_FLAG)
    };
    debug_assert!(result < 0);
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        error => Err(error),
    }
}

/// A flag that accept4(2) does not know.
const INVALID_FLAG: c_int = 1;

/// An epoll set whose sockets are edge-triggered and watched for input.
pub(crate) struct Epoll {
    set: Rc<OwnedFd>,
    events: Vec<libc::epoll_event>,
}

/// The entry of a socket in an [`Epoll`] set, which it removes when it is dropped. It must be
/// dropped before the socket is closed.
#[derive(Debug)]
pub(crate) struct Registration {
    set: Rc<OwnedFd>,
    socket: RawFd,
}

/// A socket of an [`Epoll`] set that has something to read, or whose peer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// What [`Epoll::add`] was given for it.
    pub(crate) tag: u32,
    /// Whether the end of the stream follows what there is to read.
    pub(crate) has_ended: bool,
}

impl Epoll {
    /// An empty set, which reports at most `events_max` sockets at a time (epoll_create1(2)).
    pub(crate) fn new(events_max: usize) -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { set: Rc::new(set), events: Vec::with_capacity(events_max) })
    }

    /// Adds a socket. Input that is there already is reported at once (epoll_ctl(2)).
    pub(crate) fn add(&self, socket: RawFd, tag: u32) -> io::Result<Registration> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(tag.into());
        lend(socket, |socket| epoll::add(&self.set, socket, data, flags))?;
        Ok(Registration { set: Rc::clone(&self.set), socket })
    }

    /// Replaces `ready` by the sockets that are ready now, without waiting (epoll_wait(2)). EINTR
    /// counts as none.
    ///
    /// The call is that of the C library, as in monoio: musl makes epoll_pwait(2) of it. So a wait
    /// that succeeds here proves that monoio's wait is allowed as well.
    pub(crate) fn wait(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        const ENDED: c_int = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        ready.clear();
        let (set, most) = (self.set.as_raw_fd(), self.events.capacity() as c_int);
        // SAFETY: the kernel writes `most` events at most, which is the capacity of the buffer.
        let count = match check(unsafe { libc::epoll_wait(set, self.events.as_mut_ptr(), most, 0) })
        {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        };
        // SAFETY: the kernel has written the first `count` events.
        unsafe { self.events.set_len(count as usize) };
        ready.extend(self.events.iter().map(|event| Ready {
            tag: event.u64 as u32,
            has_ended: event.events as c_int & ENDED != 0,
        }));
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // It fails only if the socket is not in the set any more.
        let _ = lend(self.socket, |socket| epoll::delete(&self.set, socket));
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.set.as_raw_fd()
    }
}

/// Duplicates a descriptor (fcntl(2), F_DUPFD_CLOEXEC). The result has a type that event loops can
/// watch, whatever the descriptor is. Nothing is read from it or written to it.
pub(crate) fn duplicate(descriptor: RawFd) -> io::Result<UnixStream> {
    lend(descriptor, |descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 0))
        .map(UnixStream::from)
}

/// Sets or clears O_NONBLOCK of a socket (FIONBIO, ioctl(2)).
pub(crate) fn set_nonblocking(socket: RawFd, nonblocking: bool) -> io::Result<()> {
    lend(socket, |socket| rustix::io::ioctl_fionbio(socket, nonblocking))
}

/// Appends references to the first `bytes_max` bytes of one pipe to another, and leaves the first
/// as it is. Never waits (tee(2)).
pub(crate) fn tee(from: &impl AsFd, to: &impl AsFd, bytes_max: usize) -> io::Result<usize> {
    Ok(rustix::pipe::tee(from, to, bytes_max, SpliceFlags::NONBLOCK)?)
}

/// Moves up to `bytes_max` bytes out of a pipe or into one, by reference if the kernel can. Never
/// waits for the pipe; O_NONBLOCK decides whether the call waits for the other side (splice(2)).
pub(crate) fn splice(from: &impl AsFd, to: &impl AsFd, bytes_max: usize) -> io::Result<usize> {
    Ok(rustix::pipe::splice(from, None, to, None, bytes_max, SpliceFlags::NONBLOCK)?)
}

/// Moves bytes as [`splice`] does, out of a pipe into a socket. `has_more` announces to the socket
/// that more follows.
pub(crate) fn splice_to_socket(
    from: &impl AsFd,
    socket: RawFd,
    bytes_max: usize,
    has_more: bool,
) -> io::Result<usize> {
    let more = if has_more { SpliceFlags::MORE } else { SpliceFlags::empty() };
    let flags = SpliceFlags::NONBLOCK | more;
    lend(socket, |socket| rustix::pipe::splice(from, None, socket, None, bytes_max, flags))
}

/// Takes a stream out of the calling thread's event loop, so that it can join another one. No
/// operation is in flight on it.
pub(crate) fn leave_loop(stream: monoio::net::TcpStream) -> std::net::TcpStream {
    let socket = stream.into_raw_fd();
    // SAFETY: monoio gives up the descriptor, which is open, and nobody else has it.
    unsafe { std::net::TcpStream::from_raw_fd(socket) }
}

/// The CPUs that the calling thread may run on, in ascending order (sched_getaffinity(2)).
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::process::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Binds the calling thread to one CPU (sched_setaffinity(2)).
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(rustix::process::sched_setaffinity(None, &set)?)
}

/// The soft limit of open descriptors (prlimit64(2) behind getrlimit(2)). `rustix` does not return an error of this
/// call, and a seccomp profile may refuse it.
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit.rlim_cur)
}

/// The clocks of [`time_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The time since 1970-01-01 UTC. It moves only with the kernel's tick, every few milliseconds,
    /// and reading it needs no system call.
    CoarseRealtime = libc::CLOCK_REALTIME_COARSE as isize,
    /// The time since some moment before this process, which never goes back. It moves only with
    /// the kernel's tick, and reading it needs no system call.
    CoarseMonotonic = libc::CLOCK_MONOTONIC_COARSE as isize,
    /// The time since the machine started, which goes on while it sleeps.
    Boot = libc::CLOCK_BOOTTIME as isize,
    /// The CPU time of this process, user and system.
    ProcessCpu = libc::CLOCK_PROCESS_CPUTIME_ID as isize,
}

/// The time of a clock (clock_gettime(2)), zero if a seccomp profile refuses the call: `rustix`
/// ends the process then.
pub(crate) fn time_of(clock: Clock) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec is live for the call.
    unsafe { libc::clock_gettime(clock as libc::clockid_t, &raw mut time) };
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// Bytes of a memory page.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Waits until `descriptor` accepts a write or has an error to report (poll(2)).
pub(crate) fn wait_writable(descriptor: RawFd) -> io::Result<()> {
    lend(descriptor, |descriptor| {
        let mut poll = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
        rustix::event::poll(&mut poll, -1).map(|_| ())
    })
}

/// Whether a connection is over in both directions, by a reset for example (poll(2)).
pub(crate) fn has_hung_up(socket: RawFd) -> bool {
    let over = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let polled = lend(socket, |socket| {
        let mut poll = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
        rustix::event::poll(&mut poll, 0).map(|_| poll[0].revents().intersects(over))
    });
    // A socket that has been closed already is over as well.
    polled.unwrap_or(true)
}

/// Makes signals do nothing to this process (signal(2)).
pub(crate) fn ignore_signals(signals: &[c_int]) {
    for signal in signals {
        // SAFETY: signal(2) takes no memory, and SIG_IGN calls nothing.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// SIGTERM and SIGINT, which are blocked and then taken one by one.
#[derive(Debug)]
pub(crate) struct BlockedSignals {
    set: libc::sigset_t,
}

impl BlockedSignals {
    /// Blocks both in the calling thread and the threads it starts from now on
    /// (pthread_sigmask(3)).
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is live memory for sigemptyset, which initializes it.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is live, and both signals exist.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
        }
        // SAFETY: the set has been initialized; a null old set is allowed.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if error != 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(Self { set }) }
    }

    /// Proves that the process may wait for signals, and takes none: the set is empty.
    pub(crate) fn prove(&self) -> io::Result<()> {
        let mut none = self.set;
        // SAFETY: the set is live memory.
        unsafe { libc::sigemptyset(&mut none) };
        Self { set: none }.wait(Some(Duration::ZERO)).map(|_| ())
    }

    /// Sends one of the signals to the calling thread (raise(3)).
    #[cfg(test)]
    pub(crate) fn raise(&self) {
        // SAFETY: raise(3) takes no memory, and the signal is blocked.
        assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
    }

    /// Waits up to `timeout` for one of the signals, without end if it is None, and takes it.
    /// Returns false if the time is over or another signal has interrupted the call
    /// (sigtimedwait(2)).
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
        // SAFETY: the set has been initialized, the timespec is live or null, and a null siginfo
        // is allowed.
        let signal = unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), timeout) };
        if signal > 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(false),
            error => Err(error),
        }
    }
}

/// Both ends of a TCP connection over loopback, the accepted one second.
#[cfg(test)]
pub(crate) fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let near = std::net::TcpStream::connect(address).expect("a connection");
    (near, listener.accept().expect("its other end").0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use heartbeat_testkit::eventually;

    use super::*;

    #[test]
    fn discards_what_has_arrived_and_never_waits() {
        let (mut near, far) = tcp_pair();
        let fd = far.as_raw_fd();
        assert_eq!(discard_received(fd, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        near.write_all(&[7; 1000]).unwrap();
        assert_eq!(discard_received(fd, 400).unwrap(), 400);
        assert_eq!(discard_received(fd, 4000).unwrap(), 600);
        drop(near);
        assert_eq!(discard_received(fd, 1).unwrap(), 0);
    }

    #[test]
    fn pins_to_a_cpu_that_is_allowed() {
        let cpus = allowed_cpus().unwrap();
        std::thread::spawn(move || {
            let last = cpus[cpus.len() - 1];
            pin_thread(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            assert!(pin_thread(CpuSet::MAX_CPU).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn clocks_advance() {
        assert!(time_of(Clock::CoarseRealtime).as_secs() > 1_700_000_000);
        let before = time_of(Clock::CoarseMonotonic);
        eventually("a tick of the kernel", || time_of(Clock::CoarseMonotonic) > before);
    }
}
