//! A server whose answers a test chooses, most of them wrong.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The fields, with names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body_length: u64,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
    /// The number of the connection of this stub, from 0.
    pub(crate) connection: usize,
}

/// The reaction to a request.
pub(crate) enum Reply {
    /// Sends these bytes, and reads the next request.
    Raw(Vec<u8>),
    /// Sends these bytes, and closes.
    RawClose(Vec<u8>),
    /// Sends these bytes, and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes, and then nothing more.
    Hang(Vec<u8>),
    /// Sends these bytes one by one, with a pause before each.
    Slow(Vec<u8>, Duration),
    /// Sends these bytes after a pause.
    Late(Vec<u8>, Duration),
    /// Sends a head, and then this many bytes of the pattern.
    Stream(Vec<u8>, u64),
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running stub; it ends with the test.
pub(crate) struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    /// Answers each request as `script` says.
    pub(crate) fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script)
    }

    /// The same with TLS.
    pub(crate) fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), tls, script)
    }

    /// The same on this address.
    pub(crate) fn start_at(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { script: Box::new(script), seen: Arc::clone(&seen) });
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(address).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                accept(listener, tls, shared).await;
            });
        });
        Self { address: told.recv().unwrap(), seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A complete answer with a length.
pub(crate) fn answer(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n");
    let content_type = match content_type {
        "" => String::new(),
        told => format!("Content-Type: {told}\r\n"),
    };
    format!("{head}{content_type}\r\n{body}").into_bytes()
}

/// The answers of Heartbeat to sizes, with its default limits.
pub(crate) fn heartbeat(seen: &Seen) -> Reply {
    let size = seen.path.strip_prefix("/heartbeat/").and_then(|size| size.parse::<u64>().ok());
    match size {
        Some(size @ 1..=1_048_576) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
            );
            Reply::Stream(head.into_bytes(), size)
        }
        Some(_) => Reply::Raw(answer(400, "", "")),
        None => Reply::Raw(answer(404, "", "")),
    }
}

struct Shared {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    for connection in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, connection, &shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, connection, &shared).await,
                    Err(_) => Some(()),
                },
            }
        });
    }
}

/// The stream that is answered on; only a plain socket can be reset.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn reset_on_close(&self) {}
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {}

// `None` ends the connection at any point.
async fn serve(stream: impl Wire, connection: usize, shared: &Shared) -> Option<()> {
    let mut stream = stream;
    let mut input = Vec::new();
    loop {
        let seen = read_request(&mut stream, &mut input, connection).await?;
        shared.seen.lock().unwrap().push(seen.clone());
        match (shared.script)(&seen) {
            Reply::Raw(bytes) => stream.write_all(&bytes).await.ok()?,
            Reply::RawClose(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Reply::Reset(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.reset_on_close();
                return None;
            }
            Reply::Hang(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                std::future::pending::<()>().await;
            }
            Reply::Slow(bytes, pause) => {
                for byte in bytes {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&[byte]).await.ok()?;
                }
            }
            Reply::Late(bytes, pause) => {
                tokio::time::sleep(pause).await;
                stream.write_all(&bytes).await.ok()?;
            }
            Reply::Stream(head, length) => {
                stream.write_all(&head).await.ok()?;
                write_pattern(&mut stream, length).await?;
            }
        }
        stream.flush().await.ok()?;
    }
}

async fn write_pattern(stream: &mut impl Wire, length: u64) -> Option<()> {
    let block = b"0123456789ABCDEF".repeat(4096);
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..part]).await.ok()?;
        left -= part as u64;
    }
    Some(())
}

async fn read_request(
    stream: &mut impl Wire,
    input: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(input.drain(..end).collect()).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: u64 = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let (mut body, mut got) = (Vec::new(), 0);
    while got < length {
        if input.is_empty() && stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
        let part = usize::try_from(length - got).unwrap().min(input.len());
        let bytes: Vec<u8> = input.drain(..part).collect();
        got += part as u64;
        if body.len() < BODY_KEPT {
            body.extend(bytes);
        }
    }
    Some(Seen { method, path, headers, body_length: got, body, connection })
}

const BODY_KEPT: usize = 4096;
