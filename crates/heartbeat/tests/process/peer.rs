//! A client that tells what went wrong instead of panicking, so that a test can say which failures
//! are none.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

/// Longest head of any answer, in bytes.
const HEAD_BYTES_MAX: usize = 512;

const READ_BYTES: usize = 64 * 1024;

/// What payloads are made of.
const PATTERN: &[u8; 16] = b"0123456789ABCDEF";

/// A request without a body.
pub(crate) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whether it announces the end of the connection.
    pub(crate) fn closes(&self) -> bool {
        self.head.contains("\r\nConnection: close\r\n")
    }

    #[track_caller]
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.body).expect("UTF-8")
    }

    /// Whether the body is so many bytes of the pattern.
    pub(crate) fn is_payload(&self, bytes: usize) -> bool {
        self.status == 200 && self.body.len() == bytes && is_pattern(&self.body, 0)
    }
}

/// Whether `bytes` are the pattern from a place in it.
pub(crate) fn is_pattern(bytes: &[u8], from: usize) -> bool {
    let phase = from % PATTERN.len();
    let lead = bytes.len().min(PATTERN.len() - phase);
    bytes[..lead] == PATTERN[phase..phase + lead]
        && bytes[lead..].chunks(16).all(|chunk| *chunk == PATTERN[..chunk.len()])
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Gives the memory back that the last answer took; nothing of it is unread.
    pub(crate) fn forget_buffer(&mut self) {
        assert!(self.buffer.is_empty());
        self.buffer = Vec::new();
    }

    pub(crate) fn end_sending(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(request("GET", path))?;
        self.answer()
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let (status, head) = self.head()?;
        let body = self.take(content_length(&head))?;
        Ok(Answer { status, head, body })
    }

    /// Reads a status and a head, and nothing behind it.
    pub(crate) fn head(&mut self) -> io::Result<(u16, String)> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                let head = String::from_utf8(head).map_err(io::Error::other)?;
                let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
                let status = status.and_then(|digits| digits.parse().ok());
                return status.map(|status| (status, head)).ok_or_else(|| io::Error::other("head"));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a head without an end"));
            }
            self.receive("inside or before a head")?;
        }
    }

    /// Reads so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < bytes {
            self.receive("inside a body")?;
        }
        let rest = self.buffer.split_off(bytes);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Reads to the end, which is no reset, and returns how many bytes there were.
    pub(crate) fn read_to_end(&mut self) -> io::Result<usize> {
        let mut bytes = std::mem::take(&mut self.buffer).len();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Ok(bytes),
                count => bytes += count,
            }
        }
    }

    /// The connection ends here, without a reset and without another byte.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.read_to_end().expect("no reset"), 0, "more than was asked for");
    }

    fn receive(&mut self, place: &str) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.resize(start + READ_BYTES, 0);
        let result = self.stream.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + result.as_ref().copied().unwrap_or(0));
        match result? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the end {place}"))),
            _ => Ok(()),
        }
    }
}

fn content_length(head: &str) -> usize {
    let field = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    field.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
