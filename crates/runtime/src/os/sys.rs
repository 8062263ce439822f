//! Owns the system calls that no dependency wraps, each as a safe function with its man page's
//! contract kept here. Must not decide anything.

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Turns the -1 of a system call into the errno it left.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Which way of a connection [`shutdown`] closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What the peer sends: a waiting read ends as if the peer had finished.
    Read,
    /// What this side sends: the peer sees the end.
    Write,
    /// Both: waiting operations end.
    Both,
}

/// shutdown(2).
pub(crate) fn shutdown(socket: RawFd, way: Way) -> io::Result<()> {
    let how = match way {
        Way::Read => libc::SHUT_RD,
        Way::Write => libc::SHUT_WR,
        Way::Both => libc::SHUT_RDWR,
    };
    // SAFETY: shutdown(2) takes no memory; a descriptor that is not open is EBADF.
    check(unsafe { libc::shutdown(socket, how) }).map(|_| ())
}

/// Sets SO_LINGER to zero: the next close(2) resets the connection and frees what is unsent.
pub(crate) fn reset_on_close(socket: RawFd) -> io::Result<()> {
    set_option(socket, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Bounds what a socket holds of unread answers (SO_SNDBUF, socket(7)): the kernel keeps twice
/// `bytes`, and up to a packet more.
pub(crate) fn set_send_buffer(socket: RawFd, bytes: usize) -> io::Result<()> {
    set_option(socket, libc::SO_SNDBUF, &c_int::try_from(bytes).unwrap_or(c_int::MAX))
}

/// setsockopt(2) at level SOL_SOCKET. `T` is the type that socket(7) gives for the option.
fn set_option<T>(socket: RawFd, name: c_int, value: &T) -> io::Result<()> {
    let (value, bytes) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value is live for the call, and its size is passed with it.
    check(unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, name, value, bytes) }).map(|_| ())
}

/// Bytes that wait in a socket for the peer to acknowledge them (SIOCOUTQ, tcp(7)).
pub(crate) fn unacknowledged_bytes(socket: RawFd) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int, which is live for the call.
    check(unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Throws away up to `bytes_max` bytes that have arrived on a TCP socket, without copying them
/// (MSG_TRUNC, tcp(7)). Never waits: WouldBlock where nothing has arrived, 0 at the end.
pub(crate) fn discard_received(socket: RawFd, bytes_max: usize) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC TCP writes nothing to the buffer, which may therefore be null
    // (tcp(7), since Linux 2.4).
    let received = unsafe { libc::recv(socket, std::ptr::null_mut(), bytes_max, flags) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Receives into the spare capacity of `buffer`, which is not empty, without waiting (recv(2)).
pub(crate) fn receive(socket: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let (room, bytes) = (spare.as_mut_ptr().cast(), spare.len());
    // SAFETY: the kernel writes at most `bytes` bytes to the spare capacity.
    let received = unsafe { libc::recv(socket, room, bytes, libc::MSG_DONTWAIT) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has initialised the `received` bytes behind the current length.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// Sends as much of `bytes` as a socket takes at once (send(2)).
pub(crate) fn send_at_once(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    send_with(socket, bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

/// Sends as much of `bytes` as a socket takes at once, and says that more follows: a short head
/// waits for its payload instead of leaving in a packet of its own (MSG_MORE, tcp(7)).
pub(crate) fn send_ahead(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    send_with(socket, bytes, libc::MSG_MORE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

fn send_with(socket: RawFd, bytes: &[u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: the bytes are live for the call, and their number is passed with them.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Whether a listener that does not block may accept (accept4(2)): EPERM and ENOSYS say that a
/// seccomp profile refuses it. A connection that waits already is left in the queue.
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

/// An epoll set whose sockets are edge-triggered and watched for what arrives.
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

/// A socket of an [`Epoll`] set that has something to read, or whose peer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The number that the socket was added with.
    pub(crate) index: u32,
    /// Whether the end of the peer is behind what there is to read.
    pub(crate) has_ended: bool,
}

impl Epoll {
    /// An empty set (epoll_create1(2)).
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no memory.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and open, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Adds a socket. What is there already is reported at once (epoll_ctl(2)).
    pub(crate) fn add(&self, socket: RawFd, index: u32) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: index.into() };
        let (set, operation) = (self.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: the event is live for the call.
        check(unsafe { libc::epoll_ctl(set, operation, socket, &raw mut event) }).map(|_| ())
    }

    /// Removes a socket.
    pub(crate) fn remove(&self, socket: RawFd) {
        let (set, operation) = (self.as_raw_fd(), libc::EPOLL_CTL_DEL);
        // SAFETY: since Linux 2.6.9 the event of EPOLL_CTL_DEL may be null.
        unsafe { libc::epoll_ctl(set, operation, socket, std::ptr::null_mut()) };
    }

    /// Replaces `events` by those that are there now, as many as it has capacity for, without
    /// waiting (epoll_wait(2)). EINTR counts as none.
    pub(crate) fn wait(&self, events: &mut Vec<libc::epoll_event>) -> io::Result<()> {
        events.clear();
        let room = i32::try_from(events.capacity()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events, for which there is capacity.
        let count = unsafe { libc::epoll_wait(self.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        match check(count) {
            Ok(count) => {
                // SAFETY: the kernel has initialised the first `count` events.
                unsafe { events.set_len(count as usize) };
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What an event says.
    pub(crate) fn ready(event: &libc::epoll_event) -> Ready {
        const ENDED: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
        Ready { index: event.u64 as u32, has_ended: event.events & ENDED != 0 }
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Duplicates a descriptor (fcntl(2), F_DUPFD_CLOEXEC). The type is one that event loops can
/// watch; nothing is read from it or written to it.
pub(crate) fn duplicate(descriptor: RawFd) -> io::Result<UnixStream> {
    // SAFETY: F_DUPFD_CLOEXEC takes no memory; a descriptor that is not open is EBADF.
    let duplicate = check(unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and open, and nobody else has it.
    Ok(unsafe { UnixStream::from_raw_fd(duplicate) })
}

/// Sends what a socket takes at once of `slices`, which are at most 1024 (IOV_MAX) (sendmsg(2)).
pub(crate) fn send_slices(socket: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr names no memory.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // An IoSlice is an iovec, says its documentation.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message and the slices are live for the call, and the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Makes operations on a socket that are not told so one by one wait or not (FIONBIO, ioctl(2)).
pub(crate) fn set_nonblocking(socket: RawFd, nonblocking: bool) -> io::Result<()> {
    let mut value = c_int::from(nonblocking);
    // SAFETY: FIONBIO reads one int, which is live for the call.
    check(unsafe { libc::ioctl(socket, libc::FIONBIO, &raw mut value) }).map(|_| ())
}

/// Appends references to the first `bytes_max` bytes of one pipe to another, and leaves the first
/// as it is. Never waits (tee(2)).
pub(crate) fn tee(from: &impl AsRawFd, to: &impl AsRawFd, bytes_max: usize) -> io::Result<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: tee(2) takes no memory; descriptors that are no pipes are EINVAL.
    let moved = unsafe { libc::tee(from, to, bytes_max, libc::SPLICE_F_NONBLOCK) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Moves up to `bytes_max` bytes between a pipe and something else, by reference where it can.
/// The pipe is never waited for; the other side is as its O_NONBLOCK says. `has_more` tells a
/// socket that more follows (splice(2)).
pub(crate) fn splice(
    from: &impl AsRawFd,
    to: &impl AsRawFd,
    bytes_max: usize,
    has_more: bool,
) -> io::Result<usize> {
    let more = if has_more { libc::SPLICE_F_MORE } else { 0 };
    let flags = libc::SPLICE_F_NONBLOCK | more;
    let (none, from, to) = (std::ptr::null_mut(), from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: splice(2) takes no memory where both offsets are null.
    let moved = unsafe { libc::splice(from, none, to, none, bytes_max, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Takes a stream out of the calling thread's event loop, so that another one may have it. No
/// operation is in flight on it.
pub(crate) fn leave_loop(stream: monoio::net::TcpStream) -> std::net::TcpStream {
    let socket = stream.into_raw_fd();
    // SAFETY: monoio gives up the descriptor, which is open, and nobody else has it.
    unsafe { std::net::TcpStream::from_raw_fd(socket) }
}

/// The CPUs that the calling thread may run on, in ascending order (sched_getaffinity(2)).
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live and its size is passed with it.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) })?;
    let is_allowed = |cpu: &usize| {
        // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits in the set.
        unsafe { libc::CPU_ISSET(*cpu, &set) }
    };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect())
}

/// Binds the calling thread to one CPU (sched_setaffinity(2)).
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is live and its size is passed with it.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) }).map(|_| ())
}

/// The soft limit of open descriptors (getrlimit(2)).
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit.rlim_cur)
}

/// Time of a clock that only moves with the tick, some milliseconds, and costs no system call
/// (clock_gettime(2)).
pub(crate) fn coarse_time(clock: CoarseClock) -> Duration {
    let id = match clock {
        CoarseClock::Realtime => libc::CLOCK_REALTIME_COARSE,
        CoarseClock::Monotonic => libc::CLOCK_MONOTONIC_COARSE,
    };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec is live for the call. It can not fail with these clocks, and would
    // leave the zeroes.
    unsafe { libc::clock_gettime(id, &mut time) };
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// The clocks of [`coarse_time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoarseClock {
    /// Since 1970-01-01 UTC.
    Realtime,
    /// Since some moment before this process; never goes back.
    Monotonic,
}

/// CPU time of this process, user and system (clock_gettime(2)).
pub(crate) fn process_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec is live for the call. It can not fail with this clock, and would leave
    // the zeroes.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// Bytes of a memory page (sysconf(3)).
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf(3) takes no memory.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Waits until `descriptor` takes something, or reports an error instead (poll(2)).
pub(crate) fn wait_writable(descriptor: RawFd) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pollfd is live for the call, and its number is passed with it.
    check(unsafe { libc::poll(&raw mut poll, 1, -1) }).map(|_| ())
}

/// Makes signals do nothing to this process (signal(2)).
pub(crate) fn ignore_signals(signals: &[c_int]) {
    for signal in signals {
        // SAFETY: signal(2) takes no memory, and SIG_IGN calls nothing.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// SIGTERM and SIGINT, taken from every thread of this process and handed out one by one.
#[derive(Debug)]
pub(crate) struct BlockedSignals {
    set: libc::sigset_t,
}

impl BlockedSignals {
    /// Blocks both in the calling thread and the threads it starts from now on
    /// (pthread_sigmask(3)).
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is live memory for sigemptyset, which initialises it.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is live, and both signals exist.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
        }
        // SAFETY: the set has been initialised; a null old set is allowed.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if error != 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(Self { set }) }
    }

    /// Takes one of the signals, waiting up to `timeout` for it; None means without end. False if
    /// the time is over or another signal has interrupted it (sigtimedwait(2)).
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
        // SAFETY: the set has been initialised, the timespec is live or null, and a null siginfo
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
            assert!(pin_thread(libc::CPU_SETSIZE as usize).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn clocks_advance() {
        assert!(coarse_time(CoarseClock::Realtime).as_secs() > 1_700_000_000);
        let before = coarse_time(CoarseClock::Monotonic);
        std::thread::sleep(Duration::from_millis(20));
        assert!(coarse_time(CoarseClock::Monotonic) > before);
    }
}
