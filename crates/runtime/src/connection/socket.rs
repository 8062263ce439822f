//! Owns the operations of a session on its stream: the trait, and the TCP socket of monoio behind
//! it, where the send tier decides how vectors leave.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::TcpStream;

use crate::config::SendTier;
use crate::os::cgroup::Memory;
use crate::os::sys::{self, Way};
use crate::send::outbound::{Outbound, VECTORS_MAX, WriteError};
use crate::send::tier::{RING_BYTES_MIN, SPLICE_BYTES_MIN};
use crate::worker::Worker;

/// Most bytes thrown away by one call.
const DISCARD_BYTES_MAX: u64 = 1 << 30;

/// Operations of a connection that may end at once, one after the other, before the other
/// connections of the worker get their turn.
const IN_A_ROW_MAX: u32 = 16;

/// How long a connection that has had its turn stands back on epoll. There, nothing but a timer
/// lets the loop come round: a task that wakes itself goes first again (monoio 0.2.4).
const STAND_BACK: Duration = Duration::from_millis(1);

/// Answers from this many bytes on look at the memory limit first: smaller ones fit in the least
/// send buffer there is.
const FRUGAL_BYTES_MIN: u64 = 16 * 1024;

// Every tier that never waits looks at it.
const _: () = assert!(FRUGAL_BYTES_MIN <= SPLICE_BYTES_MIN && FRUGAL_BYTES_MIN <= RING_BYTES_MIN);

/// Send buffer of a socket where memory is scarce, in bytes. The kernel doubles it for its own
/// needs (socket(7)), and fills up the packet that it has begun.
const FRUGAL_SEND_BUFFER_BYTES: i32 = 8 * 1024;

/// How long an answer waits before it looks again whether there is memory.
const FRUGAL_PAUSE: Duration = Duration::from_millis(20);

/// What a session does with its peer. Every count may be short, and any operation may be
/// interrupted (EINTR), in which case it has done nothing and is asked for again.
pub(crate) trait Stream {
    /// Reads into the spare capacity of `buffer`, which must not be empty. 0 is the end.
    async fn receive(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>);

    /// Throws away up to `bytes_max` bytes of what the peer sends, at least one. 0 is the end.
    async fn discard(&mut self, bytes_max: u64) -> io::Result<usize>;

    /// Sends `bytes` from `from` on.
    async fn send(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>);

    /// Sends the next bytes of `outbound`; the caller moves its cursor.
    async fn send_outbound(&mut self, outbound: &Outbound) -> io::Result<usize>;

    /// Tells the peer that nothing further will be sent.
    fn shutdown_send(&mut self);

    /// Makes the close that follows a reset, which frees what is unsent.
    fn reset_on_close(&mut self);
}

/// A TCP connection of a worker.
pub(crate) struct Socket {
    stream: TcpStream,
    worker: Rc<Worker>,
    in_a_row: u32,
    /// Whether the last write found less room than it had bytes: the next one waits first.
    is_full: bool,
    /// Whether its send buffer has been made small for want of memory.
    is_frugal: bool,
    /// Whether the peer is on this host, once that has been asked.
    is_local: Option<bool>,
}

/// What a tier that never waits has done.
struct Written {
    bytes: usize,
    is_full: bool,
}

type WriteFn = fn(&Socket, &Outbound) -> Result<Written, WriteError>;

impl Socket {
    pub(crate) fn new(stream: TcpStream, worker: Rc<Worker>) -> Self {
        Self { stream, worker, in_a_row: 0, is_full: false, is_frugal: false, is_local: None }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Lets the others have their turn where many operations in a row did not have to wait. Comes
    /// before an operation: after the last one of a request there may be nothing to wait for.
    async fn take_turn(&mut self, direction: Direction) -> io::Result<()> {
        if self.in_a_row < IN_A_ROW_MAX {
            return Ok(());
        }
        self.in_a_row = 0;
        if self.worker.is_epoll() {
            // Boxed: it is rare, and would add half again to what every connection costs.
            Box::pin(monoio::time::sleep(STAND_BACK)).await;
            return Ok(());
        }
        // What is ready is told at once, but by way of the ring.
        match direction {
            Direction::Receive => self.stream.readable(false).await,
            Direction::Send => self.stream.writable(false).await,
        }
    }

    fn note_turn(&mut self, turn: Turn) {
        self.in_a_row = match turn {
            Turn::Waited => 0,
            Turn::AtOnce => self.in_a_row + 1,
        };
    }

    /// Sends by a tier that never waits, waiting through monoio where the socket is full. None
    /// where the tier can not.
    ///
    /// io_uring ends every poll of a socket whose peer has finished sending (EPOLLRDHUP), room or
    /// not. So where a wait has brought no room, an ordinary write takes over, which waits itself.
    async fn send_at_once(
        &mut self,
        outbound: &Outbound,
        tier: WriteFn,
    ) -> Option<io::Result<usize>> {
        if self.is_full {
            self.is_full = false;
            self.in_a_row = 0;
            if let Err(error) = self.stream.writable(false).await {
                return Some(Err(error));
            }
        }
        let mut has_waited = false;
        loop {
            self.be_frugal().await;
            match tier(self, outbound) {
                Ok(Written { bytes, is_full }) => {
                    self.note_turn(Turn::AtOnce);
                    self.is_full = is_full;
                    return Some(Ok(bytes));
                }
                Err(WriteError::WouldBlock) if has_waited => return None,
                Err(WriteError::WouldBlock) => {
                    self.in_a_row = 0;
                    has_waited = true;
                    if let Err(error) = self.stream.writable(false).await {
                        return Some(Err(error));
                    }
                }
                Err(WriteError::Socket(error)) => return Some(Err(error)),
                Err(WriteError::Unable(_) | WriteError::Broken(_)) => return None,
            }
        }
    }

    /// Through the companion ring.
    fn write_registered(&self, outbound: &Outbound) -> Result<Written, WriteError> {
        let worker = &self.worker;
        let ring = worker.send_ring().ok_or_else(unsupported)?;
        let mut vectors = worker.vector_lists().take();
        outbound.vectors(worker.arena(), &mut vectors);
        let offered: usize = vectors.iter().map(|vector| vector.iov_len).sum();
        let written = ring.write(self.fd(), &vectors, outbound.head(), worker.arena());
        worker.vector_lists().give(vectors);
        worker.counters().set_zerocopy(ring.zerocopy_counts());
        written.map(|bytes| Written { bytes, is_full: bytes < offered })
    }

    /// All by a copy, as [`Socket::send_copy`], but without waiting.
    fn write_copied(&self, outbound: &Outbound) -> Result<Written, WriteError> {
        let mut slices = [IoSlice::new(&[]); VECTORS_MAX];
        let count = outbound.slices(self.worker.arena(), &mut slices);
        let slices = &slices[..count];
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let bytes = sys::send_slices(self.fd(), slices)?;
        Ok(Written { bytes, is_full: bytes < offered })
    }

    /// The head by a copy, the payload by reference.
    fn write_spliced(&self, outbound: &Outbound) -> Result<Written, WriteError> {
        let worker = &self.worker;
        let pipe = worker.payload_pipe().ok_or_else(unsupported)?;
        let mut head_sent = 0;
        if let Some(head) = outbound.head_rest(worker.arena()) {
            head_sent = sys::send_ahead(self.fd(), head)?;
            if head_sent < head.len() {
                return Ok(Written { bytes: head_sent, is_full: true });
            }
        }
        let (from, bytes) = outbound.payload_rest();
        // splice(2) asks the socket's flag, which io_uring must not find set: it would hand EAGAIN
        // on instead of waiting. Nothing else is under way on this socket meanwhile.
        let is_blocking = !worker.is_epoll();
        if is_blocking {
            sys::set_nonblocking(self.fd(), true)?;
        }
        let spliced = pipe.send(self.fd(), from, bytes);
        if is_blocking {
            sys::set_nonblocking(self.fd(), false)?;
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

    /// Keeps to the memory limit around this process, which unread answers count against: where
    /// memory is scarce this socket gets a small send buffer, and where it is used up the answer
    /// waits for others to be read.
    async fn be_frugal(&mut self) {
        loop {
            let Some(gauge) = &self.worker.shared().memory else { return };
            let memory = gauge.read();
            if memory == Memory::Ample {
                return;
            }
            if !self.is_frugal {
                self.is_frugal = true;
                // Refused by nothing but a socket that is gone, which the write tells.
                let _ = sys::set_send_buffer(self.fd(), FRUGAL_SEND_BUFFER_BYTES);
            }
            if memory == Memory::Scarce {
                return;
            }
            self.in_a_row = 0;
            // Boxed for the reason that it is in `take_turn`.
            Box::pin(monoio::time::sleep(FRUGAL_PAUSE)).await;
        }
    }

    /// Whether answers to this peer are spliced: asked for, or the peer is on this host, where a
    /// copy would only move the payload from one core's cache to another's.
    fn is_spliced_to(&mut self) -> bool {
        if self.worker.payload_pipe().is_none() {
            return false;
        }
        if self.worker.config().send == SendTier::Splice {
            return true;
        }
        let stream = &self.stream;
        *self.is_local.get_or_insert_with(|| match (stream.local_addr(), stream.peer_addr()) {
            (Ok(local), Ok(peer)) => is_same_host(local.ip(), peer.ip()),
            _ => false,
        })
    }

    async fn send_copy(&mut self, outbound: &Outbound) -> io::Result<usize> {
        let mut vectors = self.worker.vector_lists().take();
        outbound.vectors(self.worker.arena(), &mut vectors);
        let ((result, vectors), turn) = turn_of(pin!(self.stream.writev(vectors))).await;
        self.worker.vector_lists().give(vectors);
        self.note_turn(turn);
        result
    }
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Whether both ends of a connection are on one host, as far as their addresses tell.
fn is_same_host(local: IpAddr, peer: IpAddr) -> bool {
    local == peer || peer.to_canonical().is_loopback()
}

/// Which way an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Receive,
    Send,
}

/// Whether an operation ended at once or had to wait, and so let the others have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    AtOnce,
    Waited,
}

/// Awaits an operation, and tells which it was. The operation stays with the caller: a future
/// that is moved into another takes its room twice.
fn turn_of<F: Future>(mut operation: Pin<&mut F>) -> impl Future<Output = (F::Output, Turn)> {
    let mut turn = Turn::AtOnce;
    poll_fn(move |context| match operation.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready((output, turn)),
        Poll::Pending => {
            turn = Turn::Waited;
            Poll::Pending
        }
    })
}

impl Stream for Socket {
    async fn receive(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if let Err(error) = self.take_turn(Direction::Receive).await {
            return (Err(error), buffer);
        }
        let spare = buffer.len()..buffer.capacity();
        debug_assert!(!spare.is_empty());
        let ((result, slice), turn) =
            turn_of(pin!(self.stream.read(buffer.slice_mut(spare)))).await;
        self.note_turn(turn);
        (result, slice.into_inner())
    }

    async fn discard(&mut self, bytes_max: u64) -> io::Result<usize> {
        let bytes_max = bytes_max.min(DISCARD_BYTES_MAX) as usize;
        self.take_turn(Direction::Receive).await?;
        loop {
            match sys::discard_received(self.fd(), bytes_max) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.in_a_row = 0;
                    self.stream.readable(false).await?;
                }
                result => {
                    self.note_turn(Turn::AtOnce);
                    return result;
                }
            }
        }
    }

    async fn send(&mut self, bytes: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        if let Err(error) = self.take_turn(Direction::Send).await {
            return (Err(error), bytes);
        }
        let ((result, slice), turn) = turn_of(pin!(self.stream.write(bytes.slice(from..)))).await;
        self.note_turn(turn);
        (result, slice.into_inner())
    }

    async fn send_outbound(&mut self, outbound: &Outbound) -> io::Result<usize> {
        self.take_turn(Direction::Send).await?;
        if outbound.payload_bytes() >= SPLICE_BYTES_MIN
            && self.is_spliced_to()
            && let Some(result) = self.send_at_once(outbound, Self::write_spliced).await
        {
            return result;
        }
        if outbound.payload_bytes() >= RING_BYTES_MIN
            && self.worker.send_ring().is_some()
            && let Some(result) = self.send_at_once(outbound, Self::write_registered).await
        {
            return result;
        }
        // Within a memory limit nothing is left to the kernel to go on with unasked.
        if outbound.payload_bytes() >= FRUGAL_BYTES_MIN
            && self.worker.shared().memory.is_some()
            && let Some(result) = self.send_at_once(outbound, Self::write_copied).await
        {
            return result;
        }
        self.send_copy(outbound).await
    }

    fn shutdown_send(&mut self) {
        // ENOTCONN: the peer has reset the connection, which the next read tells.
        let _ = sys::shutdown(self.fd(), Way::Write);
    }

    fn reset_on_close(&mut self) {
        let _ = sys::reset_on_close(self.fd());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use heartbeat_protocol::Payload;

    use super::*;
    use crate::connection::simulation::{worker, worker_within};
    use crate::os::cgroup::{self, MemoryGauge};
    use crate::os::driver::{self, Driver};

    /// Takes the last bytes that there will be, as the operation before the others' turn.
    async fn discard_the_last(far: std::net::TcpStream) -> io::Result<usize> {
        let mut socket = Socket::new(TcpStream::from_std(far)?, worker());
        socket.in_a_row = IN_A_ROW_MAX - 1;
        let discarding = pin!(socket.discard(10));
        monoio::time::timeout(Duration::from_secs(5), discarding)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    #[test]
    fn a_peer_with_this_hosts_address_is_on_it() {
        let host =
            |local: &str, peer: &str| is_same_host(local.parse().unwrap(), peer.parse().unwrap());
        assert!(host("127.0.0.1", "127.0.0.2"));
        assert!(host("::1", "::1"));
        assert!(host("::ffff:127.0.0.1", "::ffff:127.0.0.1"));
        assert!(host("10.0.0.1", "10.0.0.1"));
        assert!(!host("10.0.0.1", "10.0.0.2"));
        assert!(!host("fe80::1", "fe80::2"));
    }

    /// Sends a large answer where memory is used up, and again where it is scarce.
    async fn send_within_a_limit(far: std::net::TcpStream, gauge: MemoryGauge, current: &Path) {
        far.set_nonblocking(true).unwrap();
        let peer = far.try_clone().unwrap();
        let worker = worker_within(Some(gauge));
        let mut socket = Socket::new(TcpStream::from_std(far).unwrap(), worker);
        let outbound = Outbound::new(None, Payload { bytes: 1 << 20 });
        {
            let sending = pin!(socket.send_outbound(&outbound));
            let waited = monoio::time::timeout(FRUGAL_PAUSE * 5, sending).await;
            assert!(waited.is_err(), "memory is used up");
        }
        assert_eq!(sys::unacknowledged_bytes(peer.as_raw_fd()).unwrap(), 0);

        std::fs::write(current, "600\n").unwrap();
        let sent = socket.send_outbound(&outbound).await.unwrap();
        assert!(sent > 0 && sent < 1 << 19, "{sent} bytes into a small send buffer");
        assert!(socket.is_frugal);
    }

    #[test]
    fn a_large_answer_waits_for_memory_and_is_content_with_little() {
        let root = cgroup::tree(
            "frugal",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/memory.current", "1000\n"),
            ],
        );
        let (_near, far) = sys::tcp_pair();
        let Ok(Driver::Epoll(mut runtime)) = driver::build_epoll() else { panic!("no epoll") };
        let gauge = MemoryGauge::find(&root).unwrap();
        let current = root.join("sys/fs/cgroup/memory.current");
        runtime.block_on(send_within_a_limit(far, gauge, &current));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_turn_is_given_before_an_operation_and_never_after_the_last() {
        let uring = driver::build_uring().map(|(driver, _)| driver).ok();
        let drivers = uring.into_iter().chain(driver::build_epoll());
        for driver in drivers {
            let (mut near, far) = sys::tcp_pair();
            near.write_all(b"0123456789").unwrap();
            far.set_nonblocking(matches!(driver, Driver::Epoll(_))).unwrap();
            let discarded = match driver {
                Driver::Uring(mut runtime) => runtime.block_on(discard_the_last(far)),
                Driver::Epoll(mut runtime) => runtime.block_on(discard_the_last(far)),
            };
            assert_eq!(discarded.unwrap(), 10);
        }
    }
}
