//! Owns the payload as references to pages of the kernel: a pipe is full of them, and answers are
//! spliced from it into sockets without a copy.
//!
//! sendfile(2) does the same from a file, but page by page. Each page of 4 KiB has its own look-up
//! and its own reference count, and a sender and a receiver on two cores contend for the cache line
//! of that count. Bytes that have been through a socket lie in runs of 32 KiB with one count each.
//! So the block goes through a socket pair once, is kept in a pipe, and is duplicated (tee(2)) for
//! each answer.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use heartbeat_protocol::PATTERN;

use crate::os::sys;
use crate::send::arena::{Arena, BLOCK_BYTES};

/// A pipe full of the payload, and what it takes to send from it.
#[derive(Debug)]
pub(crate) struct PayloadPipe {
    /// A pipe with the repeated block. Nothing reads from it, and it has no writer, so it never
    /// changes.
    source: PipeReader,
    source_bytes: usize,
    /// The pipe for the bytes that are on their way into a socket; empty between two calls.
    relay_in: PipeWriter,
    relay_out: PipeReader,
    /// /dev/null, which drops the bytes that a socket did not accept, without reading them.
    sink: File,
    /// Whether the relay could not be emptied. The next answer would begin with what is left in it.
    is_broken: Cell<bool>,
}

impl PayloadPipe {
    /// Fills the pipe with the block of `arena`, and proves by a send that it works.
    ///
    /// # Errors
    /// What refused it: EPERM or ENOSYS from a seccomp profile without splice and tee, EMFILE, a
    /// missing /dev/null, WouldBlock if `net.core.wmem_default` is less than the block.
    pub(crate) fn new(arena: &Arena) -> io::Result<Self> {
        let (source, source_bytes) = fill(arena)?;
        let (relay_out, relay_in) = io::pipe()?;
        let sink = File::options().write(true).open("/dev/null")?;
        let pipe =
            Self { source, source_bytes, relay_in, relay_out, sink, is_broken: Cell::new(false) };
        pipe.prove()?;
        Ok(pipe)
    }

    /// The most payload bytes that one call sends, from byte `from` of the payload on.
    pub(crate) fn bytes_max(&self, from: u64) -> u64 {
        self.source_bytes as u64 - from % PATTERN.len() as u64
    }

    /// Sends as much of `bytes` bytes of payload, from its byte `from` on, as the socket accepts
    /// without waiting. O_NONBLOCK is set on the socket.
    ///
    /// # Errors
    /// Those of tee(2) and splice(2). Nothing has been sent then.
    pub(crate) fn send(&self, socket: RawFd, from: u64, bytes: u64) -> io::Result<usize> {
        // The source starts with the pattern, so this many of its bytes come before byte `from`.
        let skipped = (from % PATTERN.len() as u64) as usize;
        let wanted = bytes.saturating_add(skipped as u64).min(self.source_bytes as u64) as usize;
        if self.is_broken.get() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let relayed = sys::tee(&self.source, &self.relay_in, wanted)?;
        if relayed <= skipped {
            self.is_broken.set(true);
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.empty_relay(skipped)?;
        let offered = relayed - skipped;
        let has_more = (offered as u64) < bytes;
        let sent = sys::splice_to_socket(&self.relay_out, socket, offered, has_more);
        let left = offered - sent.as_ref().copied().unwrap_or(0);
        // A failure here concerns the next answer: the bytes of this one have been sent.
        let _ = self.empty_relay(left);
        sent
    }

    /// Discards the first `bytes` bytes of the relay.
    fn empty_relay(&self, mut bytes: usize) -> io::Result<()> {
        while bytes > 0 {
            match sys::splice(&self.relay_out, &self.sink, bytes) {
                Ok(dropped @ 1..) => bytes -= dropped,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    self.is_broken.set(true);
                    return Err(result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Ok(())
    }

    /// Sends the pattern once, from its second byte on, through a socket pair, and compares it.
    fn prove(&self) -> io::Result<()> {
        let (near, mut far) = UnixStream::pair()?;
        let mut got = [0; PATTERN.len()];
        near.set_nonblocking(true)?;
        let sent = self.send(near.as_raw_fd(), 1, got.len() as u64)?;
        far.read_exact(&mut got[..sent])?;
        got.rotate_right(1);
        if got != *PATTERN {
            return Err(io::Error::other("splice(2) has altered the payload"));
        }
        Ok(())
    }
}

/// Makes a pipe that holds the block as often as it fits, and returns how many bytes that is: 512
/// KiB if the pipe has 16 places, and each has a run of 32 KiB.
fn fill(arena: &Arena) -> io::Result<(PipeReader, usize)> {
    let (mut near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    near.write_all(arena.block())?;
    let (block, block_in) = io::pipe()?;
    let mut moved = 0;
    while moved < BLOCK_BYTES {
        moved += match sys::splice(&far, &block_in, BLOCK_BYTES - moved)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => bytes,
        };
    }
    let (source, source_in) = io::pipe()?;
    let mut filled = 0;
    loop {
        match sys::tee(&block, &source_in, BLOCK_BYTES) {
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
        if filled % BLOCK_BYTES != 0 {
            break;
        }
    }
    Ok((source, filled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::sys::tcp_pair;

    #[test]
    fn sends_the_payload_from_any_byte_on() {
        let pipe = PayloadPipe::new(&Arena::new().unwrap()).unwrap();
        let (near, mut far) = tcp_pair();
        near.set_nonblocking(true).unwrap();
        let block = BLOCK_BYTES as u64;
        for from in [0, 1, 15, 16, 17, block - 1, block, (1 << 30) - 1] {
            for bytes in [1, 15, 16, 17, 4095, 4097, block - 1, block, block + 1] {
                let sent = pipe.send(near.as_raw_fd(), from, bytes).unwrap();
                assert_eq!(sent as u64, bytes);
                let mut got = vec![0; sent];
                far.read_exact(&mut got).unwrap();
                let expected = |at: usize| PATTERN[(from as usize + at) % PATTERN.len()];
                assert!((0..sent).all(|at| got[at] == expected(at)), "{from} {bytes}");
            }
        }
        assert!(!pipe.is_broken.get());
    }

    #[test]
    fn a_socket_that_is_full_leaves_nothing_behind_for_the_next() {
        let pipe = PayloadPipe::new(&Arena::new().unwrap()).unwrap();
        let (full, _unread) = tcp_pair();
        full.set_nonblocking(true).unwrap();
        let mut sent = 0;
        let refused = loop {
            match pipe.send(full.as_raw_fd(), sent, u64::MAX) {
                Ok(bytes) => sent += bytes as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        let (near, mut far) = tcp_pair();
        near.set_nonblocking(true).unwrap();
        assert_eq!(pipe.send(near.as_raw_fd(), 0, 17).unwrap(), 17);
        let mut got = [0; 17];
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"0123456789ABCDEF0");
    }

    #[test]
    fn a_peer_that_is_gone_costs_its_own_connection() {
        let pipe = PayloadPipe::new(&Arena::new().unwrap()).unwrap();
        let (near, far) = tcp_pair();
        near.set_nonblocking(true).unwrap();
        sys::reset_on_close(far.as_raw_fd()).unwrap();
        drop(far);
        let refused = pipe.send(near.as_raw_fd(), 0, 17).unwrap_err();
        assert!(matches!(
            refused.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ));
        assert!(!pipe.is_broken.get());
        assert!(pipe.prove().is_ok());
    }
}
