//! A strict HTTP/1.1 client over one blocking socket. Every head that it reads is held against
//! the rules that all answers share, and every payload against the pattern.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

/// How long anything may take: far more than it does, on the busiest of machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the 200 with a payload says about its path through caches and proxies.
const CACHE_CONTROL: &str = "no-cache, no-transform";

/// Longest head that any answer may have, in bytes.
const HEAD_BYTES_MAX: usize = 512;

/// Most bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// What payloads are made of, long enough for the read that starts at its last byte.
static EXPECTED: LazyLock<Vec<u8>> =
    LazyLock::new(|| b"0123456789ABCDEF".repeat(READ_BYTES / 16 + 1));

/// A request without a body.
pub(crate) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// As it came, the empty line included.
    pub(crate) text: String,
}

impl Head {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn content_length(&self) -> u64 {
        self.field("Content-Length").expect("a Content-Length").parse().expect("a number")
    }

    /// Whether it announces the end of the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("Connection") == Some("close")
    }

    /// The head without its Date line, which alone may differ between equal answers.
    pub(crate) fn without_date(&self) -> String {
        self.text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.text.trim_end_matches("\r\n").split("\r\n").skip(1);
        lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{}", self.text));
            (name, value.trim_start_matches(' '))
        })
    }

    #[track_caller]
    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("an ASCII head").to_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let head = Self { status: status.unwrap_or_else(|| panic!("{text}")), text };
        head.check();
        head
    }

    /// The rules of every answer.
    #[track_caller]
    fn check(&self) {
        let text = &self.text;
        assert!(text.len() <= HEAD_BYTES_MAX, "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "bare CR or LF: {text:?}");
        let mut names: Vec<_> = self.fields().map(|(name, _)| name.to_lowercase()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a repeated field: {text}");
        let allowed = [
            "allow",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "date",
            "location",
            "x-heartbeat-wire-min",
        ];
        assert!(names.iter().all(|name| allowed.contains(&name.as_str())), "{text}");
        let date = self.field("Date").expect("a Date");
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{text}");
        let is_ok = self.status == 200;
        // A redirect to a size depends on the configuration, and must not be kept for ever.
        let names_a_size = self.field("Location").is_some_and(|path| !path.ends_with('/'));
        let cache_control = match is_ok {
            true => Some(CACHE_CONTROL),
            false => names_a_size.then_some("no-cache"),
        };
        assert_eq!(self.field("Cache-Control"), cache_control, "{text}");
        assert_eq!(self.field("Content-Type").is_some(), is_ok, "{text}");
        match self.status {
            200 => assert!(self.field("Content-Length").is_some(), "{text}"),
            204 => assert_eq!(self.field("Content-Length"), None, "{text}"),
            _ => assert_eq!(self.content_length(), 0, "{text}"),
        }
    }
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer has been received and not been taken.
    unread: Range<usize>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("a server that listens"))
    }

    /// A client over a socket that has been prepared in some way.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(PATIENCE)).expect("SO_SNDTIMEO");
        Self { stream, buffer: vec![0; READ_BYTES], unread: 0..0 }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("a server that reads");
    }

    /// Tells the server that nothing further will be sent.
    pub(crate) fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    /// Asks for `path`, and reads the whole answer, whose content is the pattern.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Head {
        self.send(request("GET", path));
        self.answer()
    }

    /// Asks for `path`, and reads the whole answer, whose content is a text.
    #[track_caller]
    pub(crate) fn get_text(&mut self, path: &str) -> (Head, String) {
        self.send(request("GET", path));
        let head = self.head();
        let text = self.take(head.content_length() as usize);
        (head, String::from_utf8(text).expect("UTF-8"))
    }

    /// Reads a whole answer, whose content is the pattern.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Head {
        let head = self.head();
        if head.status != 204 {
            self.payload(head.content_length());
        }
        head
    }

    /// Reads a head, and nothing behind it.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        loop {
            let rest = &self.buffer[self.unread.clone()];
            if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = Head::parse(&rest[..at + 4]);
                self.unread.start += at + 4;
                return head;
            }
            assert!(rest.len() <= HEAD_BYTES_MAX, "no head: {:?}", String::from_utf8_lossy(rest));
            let so_far = String::from_utf8_lossy(rest).into_owned();
            assert!(self.receive() > 0, "the connection ended inside or before a head: {so_far:?}");
        }
    }

    /// Reads `bytes` bytes, which have to be the pattern from its start.
    #[track_caller]
    pub(crate) fn payload(&mut self, bytes: u64) {
        let mut position = 0;
        while position < bytes {
            if self.unread.is_empty() {
                assert!(self.receive() > 0, "{position} bytes of {bytes}, then the end");
            }
            let rest = &self.buffer[self.unread.clone()];
            let phase = (position % 16) as usize;
            let here = rest.len().min((bytes - position) as usize);
            // One comparison: the test program is compiled without optimisation.
            let is_pattern = rest[..here] == EXPECTED[phase..phase + here];
            assert!(is_pattern, "not the pattern between bytes {position} and {here} further");
            self.unread.start += here;
            position += here as u64;
        }
    }

    /// Checks what has already been read of a payload of `bytes` bytes, and returns how many are
    /// still to be read from the stream.
    #[track_caller]
    pub(crate) fn buffered_payload(&mut self, bytes: usize) -> usize {
        let here = self.unread.len();
        self.payload(here as u64);
        bytes - here
    }

    /// Reads exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let got = self.take(bytes.len());
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes));
    }

    /// Reads to the end of the connection, which is no reset, and returns how much there was.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> u64 {
        let mut bytes = 0;
        loop {
            bytes += self.unread.len() as u64;
            self.unread = 0..0;
            if self.receive() == 0 {
                return bytes;
            }
        }
    }

    /// The connection ends here, without a reset and without another byte.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        self.expect_nothing_unread();
        self.receive();
        self.expect_nothing_unread();
    }

    /// Whether the server ends the connection here, by its end or by a reset, without another
    /// byte.
    #[track_caller]
    pub(crate) fn expect_end_or_reset(&mut self) {
        self.expect_nothing_unread();
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Ends the connection from this side: the server has nothing to add.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.end_sending();
        self.expect_end();
    }

    #[track_caller]
    fn expect_nothing_unread(&self) {
        let unread = String::from_utf8_lossy(&self.buffer[self.unread.clone()]);
        assert!(unread.is_empty(), "more than was asked for: {unread:?}");
    }

    #[track_caller]
    fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.unread.len() < bytes {
            let so_far = self.unread.len();
            assert!(self.receive() > 0, "{so_far} bytes of {bytes}, then the end");
        }
        let start = self.unread.start;
        self.unread.start += bytes;
        self.buffer[start..start + bytes].to_vec()
    }

    /// Reads once, and returns how much came; 0 is the end.
    #[track_caller]
    fn receive(&mut self) -> usize {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let count = self.stream.read(&mut self.buffer[self.unread.end..]);
        let count = count.unwrap_or_else(|error| panic!("reading from the server: {error}"));
        self.unread.end += count;
        count
    }
}
