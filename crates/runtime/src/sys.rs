//! Owns the system calls that no dependency wraps, each as a safe function with its man page's
//! contract kept here. Must not decide anything.

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
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
pub(crate) fn set_send_buffer(socket: RawFd, bytes: c_int) -> io::Result<()> {
    set_option(socket, libc::SO_SNDBUF, &bytes)
}

/// setsockopt(2) at level SOL_SOCKET. `T` is the type that socket(7) gives for the option.
fn set_option<T>(socket: RawFd, name: c_int, value: &T) -> io::Result<()> {
    let (value, bytes) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value is live for the call, and its size is passed with it.
    check(unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, name, value, bytes) }).map(|_| ())
}

/// Bytes that wait in a socket for the peer to acknowledge them (SIOCOUTQ, tcp(7)).
pub(crate) fn unacknowledged_bytes(socket: RawFd) -> io::Result<c_int> {
    let mut bytes: c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int, which is live for the call.
    check(unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes)
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

/// Sends as much of `bytes` as a socket takes at once, and says that more follows: a short head
/// waits for its payload instead of leaving in a packet of its own (MSG_MORE, tcp(7)).
pub(crate) fn send_ahead(socket: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes are live for the call, and their number is passed with them.
    let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
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

/// Raises the soft limit of open descriptors to the hard one, and returns it (getrlimit(2)).
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: the limit is live for the call.
        if check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) }).is_ok() {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

/// Gives the pages of this program's code back to the page cache (madvise(2), MADV_DONTNEED):
/// what is still needed comes back on demand, and what only the start needed does not.
pub(crate) fn release_code_pages() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let Some((start, end)) = code_range(line) else { continue };
        // SAFETY: the range is a private, never written mapping of a file that is executable and
        // not writable: the kernel reads its pages anew, the same bytes, at the next access.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

/// The addresses of a line of proc_pid_maps(5), where it is code of a file.
fn code_range(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()? != "r-xp" || !words.nth(3)?.starts_with('/') {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// Keeps transparent huge pages out of this process (prctl(2), PR_SET_THP_DISABLE): an allocator's
/// arena would otherwise turn its first kilobytes into 2 MiB pages.
pub(crate) fn refuse_huge_pages() -> io::Result<()> {
    // SAFETY: this prctl takes no memory.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }).map(|_| ())
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

/// What a descriptor refers to, as far as writing without waiting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file, or anything that takes all it is given.
    File,
    /// A pipe or a terminal: takes as much as it has room for.
    Pipe,
    /// A socket.
    Socket,
}

/// What `descriptor` refers to (fstat(2)).
pub(crate) fn file_kind(descriptor: RawFd) -> FileKind {
    // SAFETY: an all-zero stat is live memory for fstat to fill.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the stat is live for the call. Where it fails, the mode stays 0.
    unsafe { libc::fstat(descriptor, &mut stat) };
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO | libc::S_IFCHR => FileKind::Pipe,
        libc::S_IFSOCK => FileKind::Socket,
        _ => FileKind::File,
    }
}

/// Writes as much of `bytes` as `descriptor` takes without waiting; WouldBlock where that is
/// nothing. For a pipe, `bytes` are no more than PIPE_BUF.
pub(crate) fn write_at_once(descriptor: RawFd, kind: FileKind, bytes: &[u8]) -> io::Result<usize> {
    if kind == FileKind::Pipe {
        let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
        // SAFETY: the pollfd is live for the call, and its number is passed with it.
        check(unsafe { libc::poll(&mut poll, 1, 0) })?;
        // An error condition is told by the write below.
        if poll.revents == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
    }
    let written = if kind == FileKind::Socket {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes are live for the call, and their number is passed with them.
        unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags) }
    } else {
        // SAFETY: as above.
        unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) }
    };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
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

    /// Takes one of the signals, waiting up to `timeout` for it; none means without end
    /// (sigtimedwait(2)).
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<c_int> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
        // SAFETY: the set has been initialised, the timespec is live or null, and a null siginfo
        // is allowed.
        let signal = unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), timeout) };
        (signal > 0).then_some(signal)
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
    fn only_code_of_files_is_released() {
        let line = "55d0c0a00000-55d0c0b00000 r-xp 00100000 fe:00 1234   /usr/bin/heartbeat";
        assert_eq!(code_range(line), Some((0x55d0_c0a0_0000, 0x55d0_c0b0_0000)));
        for line in [
            "55d0c0a00000-55d0c0b00000 r--p 00100000 fe:00 1234   /usr/bin/heartbeat",
            "55d0c0a00000-55d0c0b00000 rw-p 00100000 fe:00 1234   /usr/bin/heartbeat",
            "7ffd1c9f0000-7ffd1c9f2000 r-xp 00000000 00:00 0      [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_range(line), None, "{line}");
        }
        release_code_pages();
    }

    #[test]
    fn clocks_advance() {
        assert!(coarse_time(CoarseClock::Realtime).as_secs() > 1_700_000_000);
        let before = coarse_time(CoarseClock::Monotonic);
        std::thread::sleep(Duration::from_millis(20));
        assert!(coarse_time(CoarseClock::Monotonic) > before);
    }
}
