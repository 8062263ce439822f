//! The byte stream below HTTP: a socket, with or without TLS, whose bytes are counted.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use heartbeat_tcp_info::{TcpInfo, tcp_info};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::version::{self, HttpVersion};

/// A connection's transport.
pub(super) struct Stream {
    transport: Transport,
    traffic: Arc<Traffic>,
}

pub(super) enum Transport {
    Plain(TcpStream),
    // Boxed, because its buffers would make every plain stream as large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What has been sent and received on a connection, including heads and framing, but not TLS.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    kernel: Mutex<Option<(Instant, TcpInfo)>>,
}

impl Transport {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Stream {
    pub(super) fn new(transport: Transport, traffic: Arc<Traffic>) -> Self {
        Self { transport, traffic }
    }

    /// Whether HTTP/2 is spoken on it: as the TLS handshake has agreed, or else as `wanted`.
    pub(super) fn speaks_http2(&self, wanted: HttpVersion) -> bool {
        match &self.transport {
            Transport::Plain(_) => wanted == HttpVersion::Two,
            Transport::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(version::HTTP2),
        }
    }
}

impl Traffic {
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What the kernel knew about the connection up to [`SAMPLE_PAUSE`] before the last bytes
    /// arrived, or before it was closed.
    pub(super) fn kernel(&self) -> Option<TcpInfo> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, info)| info)
    }

    fn sample(&self, tcp: &TcpStream) {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        if kernel.is_none_or(|(at, _)| at.elapsed() >= SAMPLE_PAUSE) {
            *kernel = tcp_info(tcp.as_fd()).ok().map(|info| (Instant::now(), info));
        }
    }
}

// A request that has failed has read nothing for a long time, or never.
impl Drop for Stream {
    fn drop(&mut self) {
        self.traffic.sample(self.transport.tcp());
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let done = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let read = buf.filled().len() - before;
        this.traffic.received.fetch_add(read as u64, Ordering::Relaxed);
        if read > 0 {
            this.traffic.sample(this.transport.tcp());
        }
        done
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        this.traffic.count_sent(done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        };
        this.traffic.count_sent(done)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Traffic {
    fn count_sent(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &done {
            self.sent.fetch_add(*written as u64, Ordering::Relaxed);
        }
        done
    }
}

// A load of many thousand requests a second does not ask the kernel for each of them; the kernel's
// counters are cumulative, so nothing is lost.
const SAMPLE_PAUSE: Duration = Duration::from_millis(50);
