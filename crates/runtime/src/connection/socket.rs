//! Owns the operations of a session on its stream: the trait, and the TCP socket behind it.
//!
//! Every operation tries its system call first and waits only if the kernel says so. A socket is
//! registered with the event loop when it waits for the first time: most sessions never do.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::IoBuf;
use monoio::io::AsyncWriteRent;

use crate::os::cgroup::Memory;
use crate::os::sys::{self, Registration};
use crate::send::outbound::{Outbound, VECTORS_MAX, WriteError};
use crate::send::pipe::PayloadPipe;
use crate::send::ring::SendRing;
use crate::send::tier::Way;
use crate::turns::Turn;
use crate::worker::Worker;

/// The most bytes that one call discards.
const DISCARD_BYTES_MAX: u64 = 1 << 30;

/// For payloads of at least this many bytes, the memory limit is checked first. Shorter answers fit
/// into the smallest send buffer.
const CHECKED_BYTES_MIN: u64 = 16 * 1024;

/// Send buffer of a socket if memory is scarce, in bytes. The kernel doubles it for its own needs
/// (socket(7)), and fills up the packet that it has begun.
const SCARCE_SEND_BUFFER_BYTES: usize = 8 * 1024;

/// How often an answer that waits for memory checks again.
const MEMORY_PAUSE: Duration = Duration::from_millis(20);

/// What a session does with its peer. Every operation may transfer fewer bytes than it could, and
/// any may be interrupted (EINTR): it has done nothing then, and is repeated.
pub(crate) trait Stream {
    /// Reads into the spare capacity of `buffer`; there must be some. 0 is the end.
    async fn receive(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>);

    /// Discards up to `bytes_max` bytes of what the peer sends, at least one. 0 is the end.
    async fn discard(&mut self, bytes_max: u64) -> io::Result<usize>;

    /// Sends `bytes` from `from` on.
    async fn send(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>);

    /// Sends the next bytes of `outbound`; the caller moves its cursor.
    async fn send_outbound(&mut self, outbound: &Outbound) -> io::Result<usize>;

    /// The socket, if there is one.
    fn fd(&self) -> Option<RawFd>;

    /// Half-closes: nothing further will be sent.
    fn shutdown_send(&mut self);

    /// Turns the close that follows into a reset, which frees what is unsent.
    fn reset_on_close(&mut self);
}

/// A TCP connection of a worker.
pub(crate) struct Socket {
    /// Its entry in the epoll set of the lane, up to the first wait. Dropped before the socket.
    registration: Option<Registration>,
    handle: Handle,
    worker: Rc<Worker>,
    turn: Turn,
    /// Whether the last write was short, because the socket is full: the next one waits first.
    is_full: bool,
    /// Whether its send buffer has been made small because memory is scarce.
    has_small_buffer: bool,
}

/// A socket on its own, or registered with the event loop.
enum Handle {
    Plain(TcpStream),
    Registered(monoio::net::TcpStream),
    /// The socket is closed, because the event loop has refused it. Also the value for the moment
    /// in which one variant becomes the other.
    Lost,
}

/// What a write that never waits has done.
struct Written {
    bytes: usize,
    is_full: bool,
}

impl Socket {
    pub(crate) fn new(
        stream: TcpStream,
        registration: Option<Registration>,
        worker: Rc<Worker>,
    ) -> Self {
        let (turn, handle) = (Turn::default(), Handle::Plain(stream));
        Self { registration, handle, worker, turn, is_full: false, has_small_buffer: false }
    }

    /// The socket, or -1 if it has been lost. The operation that lost it has reported an error.
    fn raw(&self) -> RawFd {
        self.fd().unwrap_or(-1)
    }

    /// The socket, which is no longer registered with an event loop, and its entry in the lane's
    /// epoll set if it still has one. None if the socket has been lost.
    pub(crate) fn into_stream(self) -> Option<(TcpStream, Option<Registration>)> {
        let stream = match self.handle {
            Handle::Plain(stream) => stream,
            Handle::Registered(stream) => sys::leave_loop(stream),
            Handle::Lost => return None,
        };
        Some((stream, self.registration))
    }

    /// The socket, registered with the event loop.
    fn registered(&mut self) -> io::Result<&mut monoio::net::TcpStream> {
        if let Handle::Plain(_) = self.handle
            && let Handle::Plain(stream) = std::mem::replace(&mut self.handle, Handle::Lost)
        {
            self.registration = None;
            self.handle = Handle::Registered(monoio::net::TcpStream::from_std(stream)?);
        }
        match &mut self.handle {
            Handle::Registered(stream) => Ok(stream),
            Handle::Plain(_) | Handle::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Gives way to other tasks if this connection has run for long without a wait. This happens
    /// before an operation, because there may be nothing left to do after one.
    async fn take_turn(&mut self) {
        if self.turn.is_over() {
            self.worker.turns.give_way().await;
            self.turn.restart();
        }
    }

    async fn wait_readable(&mut self) -> io::Result<()> {
        self.turn.restart();
        self.registered()?.readable(false).await
    }

    async fn wait_writable(&mut self) -> io::Result<()> {
        self.turn.restart();
        self.registered()?.writable(false).await
    }

    /// Performs one operation of a large answer, without waiting.
    fn write(&self, way: &Way, outbound: &Outbound) -> Result<Written, WriteError> {
        match way {
            Way::Splice(pipe) => self.write_spliced(pipe, outbound),
            Way::Ring(ring) => self.write_vectors(Some(ring), outbound),
            Way::Copy => self.write_vectors(None, outbound),
        }
    }

    /// Sends head and payload as vectors: by a copy, or from the buffers that `ring` has
    /// registered.
    fn write_vectors(
        &self,
        ring: Option<&SendRing>,
        outbound: &Outbound,
    ) -> Result<Written, WriteError> {
        let mut slices = [IoSlice::new(&[]); VECTORS_MAX];
        let count = outbound.slices(&self.worker.arena, &mut slices);
        let slices = &slices[..count];
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let bytes = match ring {
            Some(ring) => {
                let written = ring.write(self.raw(), slices, outbound.head());
                let counters = self.worker.counters();
                counters.zerocopy_copied.set(ring.copied.get());
                counters.zerocopy_not_copied.set(ring.not_copied.get());
                written?
            }
            None => sys::send_slices(self.raw(), slices)?,
        };
        Ok(Written { bytes, is_full: bytes < offered })
    }

    /// Sends the head by a copy, and the payload by reference.
    fn write_spliced(
        &self,
        pipe: &PayloadPipe,
        outbound: &Outbound,
    ) -> Result<Written, WriteError> {
        let mut head_sent = 0;
        if let Some(head) = outbound.head_rest() {
            head_sent = sys::send_ahead(self.raw(), head)?;
            if head_sent < head.len() {
                return Ok(Written { bytes: head_sent, is_full: true });
            }
        }
        let (from, bytes) = outbound.payload_rest();
        // splice(2) obeys O_NONBLOCK of the socket. It is cleared again for io_uring, which would
        // report EAGAIN instead of waiting. Nothing else is in flight on this socket meanwhile.
        let is_blocking = self.worker.has_blocking_sockets();
        if is_blocking {
            sys::set_nonblocking(self.raw(), true)?;
        }
        let spliced = pipe.send(self.raw(), from, bytes);
        if is_blocking {
            sys::set_nonblocking(self.raw(), false)?;
        }
        match spliced {
            Ok(sent) => {
                let is_full = (sent as u64) < bytes.min(pipe.bytes_max(from));
                Ok(Written { bytes: head_sent + sent, is_full })
            }
            Err(_) if head_sent > 0 => Ok(Written { bytes: head_sent, is_full: true }),
            Err(error) => Err(error.into()),
        }
    }

    /// Respects the memory limit of the cgroup, which counts unread answers. If memory is scarce,
    /// this socket gets a small send buffer; if it is used up, the answer waits for others to be
    /// read.
    async fn wait_for_memory(&mut self) {
        loop {
            let memory = self.worker.memory();
            if memory == Memory::Ample {
                return;
            }
            self.make_send_buffer_small();
            // If the peer has reset the connection, the session goes on, fails, and frees memory.
            if memory == Memory::Scarce || sys::has_hung_up(self.raw()) {
                return;
            }
            self.pause().await;
        }
    }

    /// If memory is used up, a short answer waits until its peer has read the ones before it.
    async fn wait_for_reader(&mut self) {
        while !self.worker.has_memory_for_unread() {
            self.make_send_buffer_small();
            let has_read = sys::unacknowledged_bytes(self.raw()).is_ok_and(|bytes| bytes == 0);
            if has_read || sys::has_hung_up(self.raw()) {
                return;
            }
            self.pause().await;
        }
    }

    fn make_send_buffer_small(&mut self) {
        if !self.has_small_buffer {
            self.has_small_buffer = true;
            // This fails only if the socket is gone, which the write reports.
            let _ = sys::set_send_buffer(self.raw(), SCARCE_SEND_BUFFER_BYTES);
        }
    }

    async fn pause(&mut self) {
        self.turn.restart();
        // Boxed, because it is rare: unboxed, it would make every session half as large again.
        Box::pin(monoio::time::sleep(MEMORY_PAUSE)).await;
    }

    /// Writes through the event loop, which waits by itself until the socket accepts bytes.
    async fn write_waiting(&mut self, outbound: &Outbound) -> io::Result<usize> {
        self.turn.restart();
        let mut vectors = self.worker.buffers.vectors();
        outbound.vectors(&self.worker.arena, &mut vectors);
        let worker = Rc::clone(&self.worker);
        let (result, vectors) = self.registered()?.writev(vectors).await;
        worker.buffers.give_vectors(vectors);
        result
    }
}

fn is_would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Stream for Socket {
    async fn receive(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        self.take_turn().await;
        loop {
            match sys::receive(self.raw(), &mut buffer) {
                Err(error) if is_would_block(&error) => {
                    if let Err(error) = self.wait_readable().await {
                        return (Err(error), buffer);
                    }
                }
                result => return (result, buffer),
            }
        }
    }

    async fn discard(&mut self, bytes_max: u64) -> io::Result<usize> {
        self.take_turn().await;
        let bytes_max = bytes_max.min(DISCARD_BYTES_MAX) as usize;
        loop {
            match sys::discard_received(self.raw(), bytes_max) {
                Err(error) if is_would_block(&error) => self.wait_readable().await?,
                result => return result,
            }
        }
    }

    async fn send(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        self.take_turn().await;
        self.wait_for_reader().await;
        self.worker.note_sending(bytes.len() - from);
        match sys::send_at_once(self.raw(), &bytes[from..]) {
            Err(error) if is_would_block(&error) => {}
            result => return (result, bytes),
        }
        self.turn.restart();
        match self.registered() {
            // A write of the event loop waits by itself until the socket accepts bytes.
            Ok(stream) => {
                let (result, slice) = stream.write(bytes.slice(from..)).await;
                (result, slice.into_inner())
            }
            Err(error) => (Err(error), bytes),
        }
    }

    /// io_uring ends every poll of a socket whose peer has finished sending (EPOLLRDHUP), even if
    /// the socket is full. So if it is still full after a wait, a write of the event loop waits
    /// instead.
    async fn send_outbound(&mut self, outbound: &Outbound) -> io::Result<usize> {
        self.take_turn().await;
        if std::mem::take(&mut self.is_full) {
            self.wait_writable().await?;
        }
        let mut has_waited = false;
        loop {
            if outbound.payload_bytes() >= CHECKED_BYTES_MIN {
                self.wait_for_memory().await;
            }
            let way = self.worker.means.way(outbound.payload_bytes());
            let is_copy = matches!(way, Way::Copy);
            match self.write(way, outbound) {
                Ok(Written { bytes, is_full }) => {
                    self.is_full = is_full;
                    return Ok(bytes);
                }
                Err(WriteError::WouldBlock) if has_waited => {
                    return self.write_waiting(outbound).await;
                }
                Err(WriteError::WouldBlock) => {
                    has_waited = true;
                    self.wait_writable().await?;
                }
                Err(WriteError::Socket(error)) => return Err(error),
                Err(WriteError::Unable(error) | WriteError::Broken(error)) if is_copy => {
                    return Err(error);
                }
                Err(WriteError::Unable(_)) => return self.write_waiting(outbound).await,
                Err(WriteError::Broken(_)) => self.worker.means.give_up(),
            }
        }
    }

    fn fd(&self) -> Option<RawFd> {
        match &self.handle {
            Handle::Plain(stream) => Some(stream.as_raw_fd()),
            Handle::Registered(stream) => Some(stream.as_raw_fd()),
            Handle::Lost => None,
        }
    }

    fn shutdown_send(&mut self) {
        // ENOTCONN: the peer has reset the connection, which the next read reports.
        let _ = sys::shutdown(self.raw(), Shutdown::Write);
    }

    fn reset_on_close(&mut self) {
        let _ = sys::reset_on_close(self.raw());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::pin::pin;

    use heartbeat_protocol::Payload;

    use super::*;
    use crate::connection::simulation::worker_within;
    use crate::os::cgroup::{self, MemoryGauge};
    use crate::os::event_loop;

    /// Sends a large answer while memory is used up, and again while it is scarce.
    async fn send_within_a_limit(far: std::net::TcpStream, gauge: MemoryGauge, current: &Path) {
        far.set_nonblocking(true).unwrap();
        let peer = far.try_clone().unwrap();
        let worker = worker_within(Some(gauge));
        let mut socket = Socket::new(far, None, worker);
        let outbound = Outbound::new(None, Payload { bytes: 1 << 20 });
        {
            let sending = pin!(socket.send_outbound(&outbound));
            let waited = monoio::time::timeout(MEMORY_PAUSE * 5, sending).await;
            assert!(waited.is_err(), "memory is used up");
        }
        assert_eq!(sys::unacknowledged_bytes(peer.as_raw_fd()).unwrap(), 0);

        std::fs::write(current, "600\n").unwrap();
        let sent = socket.send_outbound(&outbound).await.unwrap();
        assert!(sent > 0 && sent < 1 << 19, "{sent} bytes into a small send buffer");
        assert!(socket.has_small_buffer);
    }

    #[test]
    fn a_socket_that_the_event_loop_has_refused_reports_errors() {
        let (near, _far) = sys::tcp_pair();
        let mut socket = Socket::new(near, None, worker_within(None));
        socket.handle = Handle::Lost;
        socket.shutdown_send();
        socket.reset_on_close();
        socket.make_send_buffer_small();
        assert!(socket.fd().is_none());
        assert!(socket.registered().is_err());
        let error = sys::send_at_once(socket.raw(), b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_large_answer_waits_for_memory_and_goes_on_with_a_small_send_buffer() {
        let root = cgroup::tree(
            "frugal",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/memory.current", "1000\n"),
            ],
        );
        let (_near, far) = sys::tcp_pair();
        let mut runtime = event_loop::build_epoll().unwrap();
        let gauge = MemoryGauge::find(&root).unwrap();
        let current = root.join("sys/fs/cgroup/memory.current");
        runtime.block_on(send_within_a_limit(far, gauge, &current));
        std::fs::remove_dir_all(root).unwrap();
    }

    /// Sends a short answer to two peers while memory is used up: to one that has read everything
    /// before, and to one that has not. The second answer waits until its peer resets.
    async fn send_near_the_limit(gauge: MemoryGauge) {
        let worker = worker_within(Some(gauge));
        let socket = |far: std::net::TcpStream| {
            far.set_nonblocking(true).unwrap();
            Socket::new(far, None, Rc::clone(&worker))
        };
        let answer = || b"x".repeat(100);
        let (_reader, far) = sys::tcp_pair();
        let (sent, _) = socket(far).send(answer(), 0).await;
        assert_eq!(sent.unwrap(), 100);

        let (hoarder, far) = sys::tcp_pair();
        far.set_nonblocking(true).unwrap();
        while (&far).write(&[0; 65_536]).is_ok() {}
        let mut full = socket(far);
        {
            let sending = pin!(full.send(answer(), 0));
            let waited = monoio::time::timeout(MEMORY_PAUSE * 5, sending).await;
            assert!(waited.is_err(), "its answers are unread");
        }
        assert!(full.has_small_buffer);
        socket2::SockRef::from(&hoarder).set_linger(Some(Duration::ZERO)).unwrap();
        drop(hoarder);
        let (sent, _) = full.send(answer(), 0).await;
        assert!(sent.is_err(), "the peer is gone");
    }

    #[test]
    fn a_short_answer_near_the_memory_limit_waits_until_those_before_it_are_read() {
        let root = cgroup::tree(
            "unread",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/memory.current", "1000\n"),
            ],
        );
        let mut runtime = event_loop::build_epoll().unwrap();
        runtime.block_on(send_near_the_limit(MemoryGauge::find(&root).unwrap()));
        std::fs::remove_dir_all(root).unwrap();
    }
}
