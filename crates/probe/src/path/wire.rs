//! One HTTP/1.1 connection on which the caller controls every byte and socket option. Must not
//! decide which requests are sent.
//!
//! The client of this crate hides what matters here: interim answers, the case of field names, the
//! ends of segments, and the socket.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use heartbeat_tcp_info::{TcpInfo, tcp_info};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use super::head::{Body, Head};
use super::trust::Trust;
use crate::pattern;

/// The address of connections, and how they are opened.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    /// The value of the `Host` field.
    pub(super) authority: String,
    pub(super) trust: Option<Trust>,
    pub(super) shape: Shape,
    /// Bytes sent and received so far, on all connections.
    pub(super) used: Arc<AtomicU64>,
    /// The limit of `used`. A connection that reaches it fails, see [`is_used_up`].
    pub(super) used_max: u64,
}

/// Socket options that limit what a connection may do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// The largest segment of both directions (TCP_MAXSEG, tcp(7)).
    pub(super) mss: Option<u32>,
    /// Bytes that may be under way towards the prober.
    pub(super) receive_buffer: Option<usize>,
    /// Bytes that may be under way from the prober.
    pub(super) send_buffer: Option<usize>,
}

impl Destination {
    pub(super) fn shaped(&self, shape: Shape) -> Self {
        Self { shape: Shape { mss: shape.mss.or(self.shape.mss), ..shape }, ..self.clone() }
    }

    /// Bytes of an IP packet in addition to the segment: the IP header and the TCP header without
    /// options.
    pub(super) fn header_bytes(&self) -> u32 {
        if self.address.is_ipv4() { 40 } else { 60 }
    }

    /// A request without a body, as it is sent.
    pub(super) fn get(&self, path: &str, fields: &str) -> String {
        self.head("GET", path, fields)
    }

    /// A HEAD request.
    pub(super) fn head_of(&self, path: &str) -> String {
        self.head("HEAD", path, "")
    }

    /// The head of a request with a body of `length` bytes.
    pub(super) fn post(&self, path: &str, length: u64, fields: &str) -> String {
        self.head("POST", path, &format!("Content-Length: {length}\r\n{fields}"))
    }

    fn head(&self, method: &str, path: &str, fields: &str) -> String {
        let host = &self.authority;
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{USER_AGENT}{fields}\r\n")
    }
}

/// An open connection.
pub(super) struct Wire {
    stream: Stream,
    input: Vec<u8>,
    used: Arc<AtomicU64>,
    used_max: u64,
    /// Whether nothing more can be asked after the last answer.
    closes: bool,
    pub(super) opened: Opened,
}

/// How long the steps to an open connection took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    pub(super) connect: Duration,
    pub(super) tls: Option<Duration>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An answer.
pub(super) struct Answer {
    pub(super) head: Head,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
    /// The length of the body, as far as it was read.
    pub(super) body_bytes: u64,
    /// Whether the body was read to its end. If not, the connection cannot be used again.
    pub(super) is_whole: bool,
    pub(super) took: Duration,
}

/// How much of a body was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) bytes: u64,
    pub(super) is_whole: bool,
}

impl Wire {
    /// Connects. Like everything here, it has no time limit.
    pub(super) async fn open(to: &Destination) -> io::Result<Self> {
        let start = Instant::now();
        let tcp = socket(to)?.connect(to.address).await?;
        // Requests are written at once: waiting to fill a segment would only add delay.
        tcp.set_nodelay(true)?;
        let mut opened = Opened { connect: start.elapsed(), tls: None };
        let stream = match &to.trust {
            None => Stream::Plain(tcp),
            Some(trust) => {
                let start = Instant::now();
                let stream = trust.connect(tcp).await?;
                opened.tls = Some(start.elapsed());
                Stream::Tls(Box::new(stream))
            }
        };
        let used = Arc::clone(&to.used);
        let used_max = to.used_max;
        Ok(Self { stream, input: Vec::new(), used, used_max, closes: false, opened })
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.ask_for(request, u64::MAX).await
    }

    /// Sends a request and reads its answer, but not more of the body than about `most` bytes.
    pub(super) async fn ask_for(&mut self, request: &str, most: u64) -> io::Result<Answer> {
        let start = Instant::now();
        self.write(request.as_bytes()).await?;
        let head = self.final_head().await?;
        let (mut body, mut read) = (Vec::new(), Read { bytes: 0, is_whole: true });
        if !request.starts_with("HEAD ") {
            let keep = |bytes: &[u8]| {
                let room = BODY_KEPT_BYTES_MAX.saturating_sub(body.len());
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            };
            read = self.body(&head, most, keep).await?;
        }
        self.closes = head.closes() || !read.is_whole;
        let Read { bytes: body_bytes, is_whole } = read;
        Ok(Answer { head, body, body_bytes, is_whole, took: start.elapsed() })
    }

    /// Opens the connection again if the server closes it. Returns whether it did.
    pub(super) async fn renew(&mut self, to: &Destination) -> io::Result<bool> {
        let closes = self.closes;
        if closes {
            *self = Self::open(to).await?;
        }
        Ok(closes)
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.left() {
            return Err(used_up());
        }
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await?,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
            }
        }
        self.used.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Writes `length` bytes of the repeating pattern.
    pub(super) async fn write_pattern(&mut self, length: u64) -> io::Result<()> {
        let block = pattern::block();
        let mut left = length;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(block.len()).min(block.len());
            self.write(&block[..part]).await?;
            left -= part as u64;
        }
        Ok(())
    }

    /// The next head, which may be that of an interim answer (1xx).
    pub(super) async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some((head, length)) = Head::parse(&self.input)? {
                self.input.drain(..length);
                return Ok(head);
            }
            if self.fill().await? == 0 {
                return Err(early_end());
            }
        }
    }

    /// The next head that is not an interim one.
    pub(super) async fn final_head(&mut self) -> io::Result<Head> {
        loop {
            let head = self.head().await?;
            if !head.is_interim() {
                return Ok(head);
            }
        }
    }

    /// Reads the body that follows `head`, and passes it to `show` piece by piece. Stops after about
    /// `most` bytes.
    pub(super) async fn body(
        &mut self,
        head: &Head,
        most: u64,
        mut show: impl FnMut(&[u8]),
    ) -> io::Result<Read> {
        let mut body = Body::of(head)?;
        let mut length = 0;
        loop {
            let taken = body.take(&self.input, |bytes| {
                length += bytes.len() as u64;
                show(bytes);
            })?;
            self.input.drain(..taken);
            if body.is_complete() {
                return Ok(Read { bytes: length, is_whole: true });
            }
            if length >= most {
                return Ok(Read { bytes: length, is_whole: false });
            }
            if self.fill().await? == 0 {
                let whole = Read { bytes: length, is_whole: true };
                return if body.ends_by_closing() { Ok(whole) } else { Err(early_end()) };
            }
        }
    }

    /// Waits until the server closes the connection, or until it breaks; unexpected data is only
    /// kept.
    pub(super) async fn closed(&mut self) -> io::Result<()> {
        while self.fill().await? > 0 {}
        Ok(())
    }

    /// What the kernel knows about the connection.
    pub(super) fn facts(&self) -> io::Result<TcpInfo> {
        tcp_info(self.socket())
    }

    /// Another descriptor of the socket, to read facts while the connection is in use.
    pub(super) fn watch(&self) -> io::Result<OwnedFd> {
        self.socket().try_clone_to_owned()
    }

    /// The TLS version, named as in the protocol.
    pub(super) fn tls_version(&self) -> Option<String> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => {
                let version = stream.get_ref().1.protocol_version()?;
                Some(format!("{version:?}").replace('_', "."))
            }
        }
    }

    /// Resets the connection when it is dropped, so that its buffers are not sent.
    pub(super) fn reset_on_drop(&self) -> io::Result<()> {
        self.tcp().set_zero_linger()
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.input.reserve(READ_BYTES);
        let Self { stream, input, used, used_max, .. } = self;
        // What is left is computed anew at each attempt, because other connections use it as well.
        let read = poll_fn(|context| {
            let left = used_max.saturating_sub(used.load(Ordering::Relaxed));
            if left == 0 {
                return Poll::Ready(Err(used_up()));
            }
            let read = match stream {
                Stream::Plain(stream) => pin!(stream.take(left).read_buf(input)).poll(context),
                Stream::Tls(stream) => pin!(stream.take(left).read_buf(input)).poll(context),
            };
            if let Poll::Ready(Ok(read)) = read {
                used.fetch_add(read as u64, Ordering::Relaxed);
            }
            read
        });
        match read.await {
            // Some servers close TLS without close_notify.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// How many bytes may still be sent and received.
    fn left(&self) -> u64 {
        self.used_max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}

/// Limits the time of an exchange.
pub(super) async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    tokio::time::timeout(limit, exchange).await.map_err(late)?
}

fn socket(to: &Destination) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(to.address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(mss) = to.shape.mss {
        socket.set_mss(mss.min(MAXSEG_MAX))?;
    }
    if let Some(bytes) = to.shape.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = to.shape.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Whether a connection has failed because no more bytes may be sent or received.
pub(super) fn is_used_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::QuotaExceeded
}

fn used_up() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "the bytes are used up (--max-bytes)")
}

fn early_end() -> io::Error {
    let why = "the connection closed before a complete answer";
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}

const USER_AGENT: &str = concat!("User-Agent: heartbeat-probe/", env!("CARGO_PKG_VERSION"), "\r\n");
/// Large enough to empty a socket with few system calls.
const READ_BYTES: usize = 256 * 1024;
/// The versions and payloads that are examined are much smaller.
const BODY_KEPT_BYTES_MAX: usize = 64 * 1024;
/// MAX_TCP_WINDOW: TCP_MAXSEG accepts no more.
pub(super) const MAXSEG_MAX: u32 = 32_767;
