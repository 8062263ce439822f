//! Owns one connection of the load generator: what is still to be sent, and which answers are still
//! to come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use super::Mode;
use crate::answer::{AnswerReader, Expected, HEAD_BYTES_MAX};
use crate::sys;

/// Most bytes of one read if content is read.
const READ_BYTES: usize = 64 << 10;
/// Most bytes of one read if long content is discarded. It is little more than a head, because a
/// longer read would copy content.
const HEAD_READ_BYTES: usize = 512;
/// Most bytes of one write of an upload.
const UPLOAD_BYTES: usize = 256 << 10;
/// Bytes in a chunk of an upload that has chunks.
const CHUNK_BYTES: usize = 16 << 10;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Most reads of one connection before the others have their turn.
const READS_IN_A_ROW: usize = 16;

/// What all connections share: the request, and memory to read into and upload from.
pub(super) struct Shared {
    pub(super) request: Vec<u8>,
    pub(super) upload: Upload,
    pub(super) mode: Mode,
    buffer: Vec<u8>,
}

/// The content of a request as it is sent: repetitions of a piece, and an end.
pub(super) struct Upload {
    piece: Vec<u8>,
    /// Bytes of all repetitions of the piece, of which the last may be cut off.
    pieces_bytes: u64,
    end: &'static [u8],
}

impl Upload {
    /// This many bytes, without framing.
    pub(super) fn at_length(bytes: u64) -> Self {
        let piece = vec![b'x'; if bytes > 0 { UPLOAD_BYTES } else { 0 }];
        Self { piece, pieces_bytes: bytes, end: b"" }
    }

    /// This many bytes in chunks. The number must be a multiple of [`CHUNK_BYTES`].
    pub(super) fn in_chunks(bytes: u64) -> Self {
        let chunk =
            [format!("{CHUNK_BYTES:x}\r\n").as_bytes(), &[b'x'; CHUNK_BYTES], b"\r\n"].concat();
        let pieces_bytes = bytes / CHUNK_BYTES as u64 * chunk.len() as u64;
        Self { piece: chunk.repeat(UPLOAD_BYTES / CHUNK_BYTES), pieces_bytes, end: LAST_CHUNK }
    }

    /// The number of bytes that are sent, framing included.
    fn bytes(&self) -> u64 {
        self.pieces_bytes + self.end.len() as u64
    }

    /// The next bytes to send, if `left` bytes of the upload have not been sent.
    fn next(&self, left: u64) -> &[u8] {
        let end = self.end.len() as u64;
        if left <= end {
            return &self.end[(end - left) as usize..];
        }
        let at = (self.bytes() - left) % self.piece.len() as u64;
        let rest = &self.piece[at as usize..];
        &rest[..rest.len().min((left - end) as usize)]
    }
}

impl Shared {
    pub(super) fn new(request: Vec<u8>, upload: Upload, mode: Mode, bytes: u64) -> Self {
        let buffer_bytes = match mode {
            Mode::Read => READ_BYTES,
            Mode::Discard if bytes <= HEAD_BYTES_MAX as u64 => HEAD_BYTES_MAX,
            Mode::Discard => HEAD_READ_BYTES,
        };
        Self { request, upload, mode, buffer: vec![0; buffer_bytes] }
    }
}

/// One connection, and the answers that it waits for.
pub(super) struct Connection {
    stream: TcpStream,
    reader: AnswerReader,
    /// Bytes of the heads that are still to be sent.
    unsent: usize,
    /// Bytes of the upload that are still to be sent.
    upload_left: u64,
    /// Answers that are still to come.
    pub(super) owed: u32,
    /// True from a request until the end of its answer, or, on a short-lived connection, until the
    /// end of the connection.
    pub(super) busy: bool,
    /// When the requests were sent, or, in an open loop, were due.
    pub(super) since: Instant,
    /// Whether epoll watches the connection for writing.
    pub(super) watched_for_room: bool,
}

impl Connection {
    pub(super) fn open(address: SocketAddr, expected: Expected) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address)?,
            reader: AnswerReader::new(expected),
            unsent: 0,
            upload_left: 0,
            owed: 0,
            busy: false,
            since: Instant::now(),
            watched_for_room: false,
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Closes the connection, and opens a new one in its place.
    pub(super) fn reopen(&mut self, address: SocketAddr) -> io::Result<()> {
        self.stream = connect(address)?;
        self.reader.restart();
        self.owed = 0;
        self.busy = false;
        self.unsent = 0;
        self.upload_left = 0;
        self.watched_for_room = false;
        Ok(())
    }

    /// Begins a batch of `owed` requests.
    pub(super) fn begin(&mut self, shared: &Shared, owed: u32, since: Instant) -> io::Result<()> {
        self.owed = owed;
        self.busy = true;
        self.since = since;
        self.unsent = shared.request.len();
        self.upload_left = shared.upload.bytes();
        self.send(shared)
    }

    /// Whether a part of the request is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        self.unsent > 0 || self.upload_left > 0
    }

    /// Sends as much as the socket takes without blocking.
    pub(super) fn send(&mut self, shared: &Shared) -> io::Result<()> {
        while self.is_sending() {
            let rest = &shared.request[shared.request.len() - self.unsent..];
            let bytes = if rest.is_empty() { shared.upload.next(self.upload_left) } else { rest };
            let head = !rest.is_empty();
            match (&self.stream).write(bytes) {
                Ok(n) if head => self.unsent -= n,
                Ok(n) => self.upload_left -= n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what has arrived. Returns how many answers ended with it.
    pub(super) fn receive(&mut self, shared: &mut Shared) -> io::Result<u32> {
        let mut complete = 0;
        for _ in 0..READS_IN_A_ROW {
            let ahead = self.reader.content_ahead();
            let discards = shared.mode == Mode::Discard && ahead > 0;
            let result = if discards {
                sys::discard(self.fd(), ahead)
            } else {
                (&self.stream).read(&mut shared.buffer).map(|n| n as u64)
            };
            let n = match result {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let asked = if discards { ahead } else { shared.buffer.len() as u64 };
            if discards {
                complete += u32::from(self.reader.skip(n));
            } else {
                complete += self.take(&shared.buffer[..n as usize])?;
            }
            if complete >= self.owed || n < asked {
                break;
            }
        }
        if complete > self.owed {
            return Err(io::Error::other("more answers than requests"));
        }
        self.owed -= complete;
        Ok(complete)
    }

    fn take(&mut self, mut input: &[u8]) -> io::Result<u32> {
        let mut complete = 0;
        while !input.is_empty() {
            let fed = self.reader.feed(input).map_err(|wrong| {
                io::Error::new(ErrorKind::InvalidData, format!("wrong answer: {wrong:?}"))
            })?;
            input = &input[fed.consumed..];
            complete += u32::from(fed.complete);
        }
        Ok(complete)
    }

    /// Returns whether the server has closed the connection, as its answer announced.
    pub(super) fn receive_end(&mut self) -> io::Result<bool> {
        let mut rest = [0; 64];
        match (&self.stream).read(&mut rest) {
            Ok(0) => Ok(true),
            Ok(_) => Err(io::Error::other("bytes after the last answer")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of an upload, written at most `step` bytes at a time.
    fn sent(upload: &Upload, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut left = upload.bytes();
        while left > 0 {
            let next = upload.next(left);
            let written = &next[..next.len().min(step)];
            out.extend_from_slice(written);
            left -= written.len() as u64;
        }
        out
    }

    #[test]
    fn an_upload_with_content_length_is_its_bytes_and_nothing_else() {
        assert!(sent(&Upload::at_length(0), 1).is_empty());
        for bytes in [1, UPLOAD_BYTES - 1, UPLOAD_BYTES, UPLOAD_BYTES + 1] {
            assert_eq!(sent(&Upload::at_length(bytes as u64), 1000), vec![b'x'; bytes]);
        }
    }

    #[test]
    fn an_upload_in_chunks_is_the_same_however_it_is_written() {
        let chunk = format!("4000\r\n{}\r\n", "x".repeat(CHUNK_BYTES));
        // These are more chunks than a piece holds.
        let chunks = UPLOAD_BYTES / CHUNK_BYTES + 3;
        let expected = chunk.repeat(chunks) + "0\r\n\r\n";
        let upload = Upload::in_chunks((chunks * CHUNK_BYTES) as u64);
        for step in [7, CHUNK_BYTES, usize::MAX] {
            assert!(sent(&upload, step) == expected.as_bytes(), "{step} bytes at a time");
        }
    }
}
