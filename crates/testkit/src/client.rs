//! Owns one blocking connection to a server. Checks every head that it reads against the rules of
//! all answers, and every payload against the pattern.
//!
//! A method named `try_...` returns an error; the method of the same name without `try_` panics
//! instead, and reports the line of the test that called it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;

use crate::head::HEAD_BYTES_MAX;
use crate::{Head, PATIENCE};

/// The most bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// The pattern of payloads, long enough for a read that starts at its last byte.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| b"0123456789ABCDEF".repeat(READ_BYTES / 16 + 1));

/// A request without a body.
#[must_use]
pub fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Empty until the first read.
    buffer: Vec<u8>,
    /// The part of the buffer that was received and not yet returned.
    unread: Range<usize>,
    bytes_received: u64,
    bytes_sent: u64,
}

/// Connecting and sending.
impl Client {
    /// Connects to a server that listens.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        ok(Self::try_connect(address))
    }

    /// Connects.
    ///
    /// # Errors
    /// As connect(2) reports them.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(TcpStream::connect_timeout(&address, PATIENCE)?))
    }

    /// A client over a socket that the caller has prepared.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
        Self { stream, buffer: Vec::new(), unread: 0..0, bytes_received: 0, bytes_sent: 0 }
    }

    /// The socket. Do not read from it what this client is to read.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How many bytes have been received, and how many have been sent.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        (self.bytes_received, self.bytes_sent)
    }

    /// Sends all of these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        ok(self.try_send(bytes));
    }

    /// Sends all of these bytes.
    ///
    /// # Errors
    /// As send(2) reports them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        self.stream.write_all(bytes).map_err(|error| in_context("sending", &error))?;
        self.bytes_sent += bytes.len() as u64;
        Ok(())
    }

    /// Sends this many bytes of the pattern.
    ///
    /// # Errors
    /// As send(2) reports them.
    pub fn try_send_pattern(&mut self, mut bytes: usize) -> io::Result<()> {
        while bytes > 0 {
            let part = bytes.min(READ_BYTES);
            self.try_send(&PATTERN[..part])?;
            bytes -= part;
        }
        Ok(())
    }

    /// Announces that nothing further will be sent (a half-close).
    #[track_caller]
    pub fn end_sending(&self) {
        ok(self.try_end_sending());
    }

    /// Announces that nothing further will be sent (a half-close).
    ///
    /// # Errors
    /// As shutdown(2) reports them.
    pub fn try_end_sending(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Frees the memory of the last answer, of which nothing may be unread.
    #[track_caller]
    pub fn free_buffer(&mut self) {
        self.expect_nothing_unread();
        (self.buffer, self.unread) = (Vec::new(), 0..0);
    }
}

/// Reading.
impl Client {
    /// Requests `path`, and reads the whole answer, whose content must be the pattern.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Head {
        ok(self.try_get(path))
    }

    /// Requests `path`, and reads the whole answer, whose content must be the pattern.
    ///
    /// # Errors
    /// As [`try_answer`](Self::try_answer) reports them.
    pub fn try_get(&mut self, path: &str) -> io::Result<Head> {
        self.try_send(request("GET", path))?;
        self.try_answer()
    }

    /// Requests `path`, and reads the whole answer, whose content must be a text.
    #[track_caller]
    pub fn get_text(&mut self, path: &str) -> (Head, String) {
        self.send(request("GET", path));
        let head = self.head();
        let text = self.take(head.content_length() as usize);
        (head, String::from_utf8(text).expect("UTF-8"))
    }

    /// Reads a whole answer, whose content must be the pattern.
    #[track_caller]
    pub fn answer(&mut self) -> Head {
        ok(self.try_answer())
    }

    /// Reads a whole answer, whose content must be the pattern.
    ///
    /// # Errors
    /// As recv(2) reports them; `UnexpectedEof` if the connection ends too early; `InvalidData`
    /// if the answer breaks a rule of all answers.
    pub fn try_answer(&mut self) -> io::Result<Head> {
        let head = self.try_head()?;
        self.try_payload(head.body_bytes().unwrap_or(0))?;
        Ok(head)
    }

    /// Reads a head, and nothing after it.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        ok(self.try_head())
    }

    /// Reads a head, and nothing after it.
    ///
    /// # Errors
    /// As [`try_answer`](Self::try_answer) reports them.
    pub fn try_head(&mut self) -> io::Result<Head> {
        loop {
            let rest = &self.buffer[self.unread.clone()];
            if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = Head::parse(&rest[..at + 4]);
                self.unread.start += at + 4;
                return head.map_err(wrong);
            }
            let so_far = String::from_utf8_lossy(rest).into_owned();
            if rest.len() > HEAD_BYTES_MAX {
                return Err(wrong(format!("a head without an end: {so_far:?}")));
            }
            if self.receive()? == 0 {
                return Err(early(format!("inside or before a head: {so_far:?}")));
            }
        }
    }

    /// Reads this many bytes, which must be the pattern from its start.
    #[track_caller]
    pub fn payload(&mut self, bytes: u64) {
        ok(self.try_payload(bytes));
    }

    /// Reads this many bytes, which must be the pattern from its start.
    ///
    /// # Errors
    /// As [`try_answer`](Self::try_answer) reports them.
    pub fn try_payload(&mut self, bytes: u64) -> io::Result<()> {
        let mut position = 0;
        while position < bytes {
            if self.unread.is_empty() && self.receive()? == 0 {
                return Err(early(format!("after {position} bytes of {bytes}")));
            }
            let rest = &self.buffer[self.unread.clone()];
            let phase = (position % 16) as usize;
            let here = rest.len().min((bytes - position) as usize);
            // One comparison of slices, because a loop is slow in test programs, which are hardly
            // optimized.
            if rest[..here] != PATTERN[phase..phase + here] {
                return Err(wrong(format!("not the pattern in {here} bytes from {position} on")));
            }
            self.unread.start += here;
            position += here as u64;
        }
        Ok(())
    }

    /// Checks the part of a payload of `bytes` bytes that has already been received, and returns
    /// how many bytes are still to be read from the stream.
    #[track_caller]
    pub fn buffered_payload(&mut self, bytes: usize) -> usize {
        let here = self.unread.len();
        self.payload(here as u64);
        bytes - here
    }

    /// Reads as many bytes as `bytes` has, which must be the same.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let got = self.take(bytes.len());
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes));
    }

    /// Reads to the end of the connection, which must not be a reset, and returns all bytes.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = self.buffer[self.unread.clone()].to_vec();
        self.unread = 0..0;
        let rest = self.stream.read_to_end(&mut bytes);
        self.bytes_received += ok(rest.map_err(|error| in_context("reading", &error))) as u64;
        bytes
    }

    /// Reads the end of the connection, which must come now, without a reset or another byte.
    #[track_caller]
    pub fn expect_end(&mut self) {
        ok(self.try_end());
    }

    /// Reads the end of the connection, which must come now, without a reset or another byte.
    ///
    /// # Errors
    /// As recv(2) reports them; `InvalidData` if another byte arrives.
    pub fn try_end(&mut self) -> io::Result<()> {
        if self.unread.is_empty() && self.receive()? == 0 {
            return Ok(());
        }
        Err(wrong(format!("more than was requested: {:?}", self.unread_text())))
    }

    /// Reads the end of the connection, which must come now, in order or by a reset, without
    /// another byte.
    #[track_caller]
    pub fn expect_end_or_reset(&mut self) {
        self.expect_nothing_unread();
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Half-closes the connection, and reads its end. The server must not send anything more.
    #[track_caller]
    pub fn finish(mut self) {
        self.end_sending();
        self.expect_end();
    }

    #[track_caller]
    fn expect_nothing_unread(&self) {
        let unread = self.unread_text();
        assert!(unread.is_empty(), "more than was requested: {unread:?}");
    }

    fn unread_text(&self) -> String {
        String::from_utf8_lossy(&self.buffer[self.unread.clone()]).into_owned()
    }

    #[track_caller]
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut taken = Vec::with_capacity(bytes);
        while taken.len() < bytes {
            if self.unread.is_empty() && ok(self.receive()) == 0 {
                panic!("{} bytes of {bytes}, then the end", taken.len());
            }
            let here = self.unread.len().min(bytes - taken.len());
            let start = self.unread.start;
            taken.extend_from_slice(&self.buffer[start..start + here]);
            self.unread.start += here;
        }
        taken
    }

    /// Reads once, and returns how many bytes were received; 0 is the end.
    fn receive(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BYTES];
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        assert!(self.unread.end < READ_BYTES, "a buffer that is not full");
        let room = &mut self.buffer[self.unread.end..];
        let count = loop {
            match self.stream.read(room) {
                // The kernel does not restart a call with a timeout for a process that was stopped
                // for a while (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let count = count.map_err(|error| in_context("reading", &error))?;
        self.unread.end += count;
        self.bytes_received += count as u64;
        Ok(count)
    }
}

#[track_caller]
fn ok<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn in_context(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn wrong(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn early(place: String) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended {place}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                        Content-Type: text/plain\r\nCache-Control: no-cache, no-transform\r\n";

    /// A client whose server sends this, half-closes, and then reads to the end.
    fn client_of(answer: String) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        });
        Client::connect(address)
    }

    fn answer(body: &str) -> String {
        format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn reads_answers_one_after_the_other_up_to_the_end() {
        let long = "0123456789ABCDEF".repeat(READ_BYTES / 8) + "012";
        let mut client = client_of(answer("0") + &answer(&long) + &answer("Pass\n"));
        assert!(client.answer().is_payload(1));
        assert!(client.answer().is_payload(long.len() as u64));
        assert_eq!(client.get_text("/").1, "Pass\n");
        let (received, sent) = client.traffic();
        assert!(received > long.len() as u64);
        assert_eq!(sent, request("GET", "/").len() as u64);
        client.finish();
    }

    #[test]
    fn notices_a_wrong_byte_wherever_it_is() {
        for at in [0, 1, 15, 16, 40] {
            let mut body = "0123456789ABCDEF".repeat(3).into_bytes();
            body[at] = b'x';
            let body = String::from_utf8(body).unwrap();
            let error = client_of(answer(&body)).try_answer().expect_err("a wrong byte");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{at}: {error}");
        }
    }

    #[test]
    fn notices_an_answer_that_is_too_short_or_too_long() {
        let whole = answer("0123456789ABCDEF");
        for length in [0, 10, whole.len() - 1] {
            let error = client_of(whole[..length].to_owned()).try_answer().expect_err("an end");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length}: {error}");
        }
        let mut client = client_of(whole + "0");
        client.answer();
        assert_eq!(client.try_end().expect_err("a byte").kind(), ErrorKind::InvalidData);
        let endless = client_of("x".repeat(HEAD_BYTES_MAX + 1)).try_head().expect_err("no head");
        assert_eq!(endless.kind(), ErrorKind::InvalidData, "{endless}");
    }
}
