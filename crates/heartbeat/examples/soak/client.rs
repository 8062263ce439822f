//! A connection that checks every byte of every answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::Tally;

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

const READ_BYTES: usize = 64 * 1024;

/// What payloads are made of, long enough for the read that starts at its last byte.
static EXPECTED: LazyLock<Vec<u8>> =
    LazyLock::new(|| b"0123456789ABCDEF".repeat(READ_BYTES / 16 + 1));

pub(crate) struct Client<'t> {
    stream: TcpStream,
    tally: &'t Tally,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'t> Client<'t> {
    pub(crate) fn connect(address: SocketAddr, tally: &'t Tally) -> Result<Self, String> {
        let connect = || {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| format!("connecting: {error}"))?;
        Tally::add(&tally.connections, 1);
        Ok(Self { stream, tally, buffer: vec![0; READ_BYTES], start: 0, end: 0 })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), String> {
        let bytes = bytes.as_ref();
        self.stream.write_all(bytes).map_err(|error| format!("sending: {error}"))?;
        self.count(&self.tally.bytes_sent, bytes.len());
        Ok(())
    }

    /// Sends so many bytes of the pattern.
    pub(crate) fn send_pattern(&mut self, mut bytes: usize) -> Result<(), String> {
        while bytes > 0 {
            let part = bytes.min(READ_BYTES);
            self.send(&EXPECTED[..part])?;
            bytes -= part;
        }
        Ok(())
    }

    /// Reads a 200 with so many bytes of the pattern; says whether it closes the connection.
    pub(crate) fn answer(&mut self, bytes: usize) -> Result<bool, String> {
        let head = self.head()?;
        let length = format!("\r\nContent-Length: {bytes}\r\n");
        if !head.starts_with("HTTP/1.1 200 ") || !head.contains(&length) {
            return Err(format!("a wrong head for {bytes} bytes: {head:?}"));
        }
        self.payload(bytes)?;
        Tally::add(&self.tally.requests, 1);
        Ok(head.contains("\r\nConnection: close\r\n"))
    }

    /// Reads a message that is so many bytes in all.
    pub(crate) fn wire_answer(&mut self, bytes: usize) -> Result<(), String> {
        let head = self.head()?;
        let body = bytes.checked_sub(head.len()).ok_or_else(|| format!("too long: {head:?}"))?;
        if !head.contains(&format!("\r\nContent-Length: {body}\r\n")) {
            return Err(format!("a wrong head for {bytes} bytes on the wire: {head:?}"));
        }
        self.payload(body)?;
        Tally::add(&self.tally.requests, 1);
        Ok(())
    }

    /// Reads an answer without content.
    pub(crate) fn refusal(&mut self, status: u16) -> Result<(), String> {
        let head = self.head()?;
        if !head.starts_with(&format!("HTTP/1.1 {status} "))
            || !head.contains("\r\nContent-Length: 0\r\n")
        {
            return Err(format!("not an empty {status}: {head:?}"));
        }
        Tally::add(&self.tally.requests, 1);
        Ok(())
    }

    pub(crate) fn head(&mut self) -> Result<String, String> {
        loop {
            let here = &self.buffer[self.start..self.end];
            if let Some(at) = here.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&here[..at + 4]).into_owned();
                self.start += at + 4;
                return Ok(head);
            }
            if here.len() > 512 {
                return Err(format!("no head: {:?}", String::from_utf8_lossy(here)));
            }
            self.receive("a head")?;
        }
    }

    /// Reads so many bytes, which have to be the pattern from its start.
    pub(crate) fn payload(&mut self, bytes: usize) -> Result<(), String> {
        let mut position = 0;
        while position < bytes {
            if self.start == self.end {
                self.receive("content")?;
            }
            let here = (self.end - self.start).min(bytes - position);
            let phase = position % 16;
            if self.buffer[self.start..self.start + here] != EXPECTED[phase..phase + here] {
                return Err(format!("not the pattern within {here} bytes from {position} on"));
            }
            self.start += here;
            position += here;
        }
        Ok(())
    }

    /// The connection ends here, without a reset and without another byte.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        if self.start < self.end {
            return Err("more than was asked for".to_owned());
        }
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("more than was asked for".to_owned()),
            Err(error) => Err(format!("at the end: {error}")),
        }
    }

    pub(crate) fn end_sending(&self) -> Result<(), String> {
        self.stream.shutdown(Shutdown::Write).map_err(|error| format!("half-closing: {error}"))
    }

    fn receive(&mut self, what: &str) -> Result<(), String> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = self.stream.read(&mut self.buffer[self.end..]);
        let count = count.map_err(|error| format!("reading {what}: {error}"))?;
        if count == 0 {
            return Err(format!("the end inside or before {what}"));
        }
        self.end += count;
        self.count(&self.tally.bytes_received, count);
        Ok(())
    }

    fn count(&self, counter: &AtomicU64, bytes: usize) {
        Tally::add(counter, bytes as u64);
    }
}
