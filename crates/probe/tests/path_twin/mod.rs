//! A server that answers like a Heartbeat, and reports the facts of its kernel.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use heartbeat_tcp_info::tcp_info;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it differs from a Heartbeat, if it does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// It is another server, with one page of this many bytes.
    pub(crate) foreign: Option<u64>,
    /// It ignores `?timing`.
    pub(crate) silent: bool,
    /// It answers 413 to longer bodies as soon as it knows their length (nginx).
    pub(crate) told_body_max: Option<u64>,
    /// It answers 413 to longer bodies after this many bytes have arrived (Go).
    pub(crate) read_body_max: Option<u64>,
    /// It closes idle connections after this time.
    pub(crate) idle_max: Option<Duration>,
    /// It adds these fields to every answer.
    pub(crate) fields: &'static str,
    /// It sends chunked answers.
    pub(crate) chunked: bool,
    /// It stops answering once a client has left after a `100 Continue`, like Caddy 2.6, whose
    /// process ends (golang/go#65123).
    pub(crate) fragile: bool,
}

/// Serves on a separate thread until the process ends. `enter` is called on this thread first, and
/// moves it to where the server must be.
pub(crate) fn start(
    address: &str,
    manners: Manners,
    enter: impl FnOnce() + Send + 'static,
) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    let address: SocketAddr = address.parse().unwrap();
    std::thread::spawn(move || {
        enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind(address).await.unwrap();
            let broken = Arc::new(AtomicBool::new(false));
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                if broken.load(Ordering::Relaxed) {
                    continue;
                }
                let broken = Arc::clone(&broken);
                tokio::spawn(async move {
                    let mut peer = Peer { stream, input: Vec::new(), manners, broken };
                    while let Ok(true) = peer.turn().await {}
                });
            }
        });
    });
    told.recv().unwrap()
}

struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    manners: Manners,
    broken: Arc<AtomicBool>,
}

struct Request {
    method: String,
    target: String,
    length: u64,
    expects: bool,
}

impl Peer {
    /// Answers one request; false at the end of the connection.
    async fn turn(&mut self) -> io::Result<bool> {
        let limit = self.manners.idle_max.unwrap_or(Duration::from_secs(600));
        let Ok(request) = tokio::time::timeout(limit, self.request()).await else {
            return Ok(false);
        };
        let Some(request) = request? else { return Ok(false) };
        let start = Instant::now();
        if self.manners.told_body_max.is_some_and(|most| request.length > most) {
            self.refuse(413).await?;
            return Ok(false);
        }
        if request.expects {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let received = self.receive(request.length).await;
        if received.is_err() && request.expects && self.manners.fragile {
            self.broken.store(true, Ordering::Relaxed);
        }
        if !received? {
            self.refuse(413).await?;
            return Ok(false);
        }
        let receive = (request.method == "POST").then(|| (start.elapsed(), request.length));
        self.answer(&request, start, receive).await?;
        Ok(!self.manners.fields.contains("close"))
    }

    async fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.input.drain(..end + 4).collect();
                return Ok(Some(parse(&String::from_utf8(head).unwrap())));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns whether the whole body was accepted.
    async fn receive(&mut self, length: u64) -> io::Result<bool> {
        let most = self.manners.read_body_max.unwrap_or(u64::MAX);
        let mut received = 0;
        while received < length {
            if self.input.is_empty() {
                self.input.reserve(256 * 1024);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let part = usize::try_from(length - received).unwrap().min(self.input.len());
            self.input.drain(..part);
            received += part as u64;
            if received > most {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn refuse(&mut self, status: u16) -> io::Result<()> {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        // Half-close, drain, close: otherwise a reset could arrive before the answer is read.
        self.stream.shutdown().await?;
        let mut drained = 0;
        while drained < 1 << 20 {
            self.input.clear();
            match self.stream.read_buf(&mut self.input).await? {
                0 => break,
                read => drained += read,
            }
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        request: &Request,
        start: Instant,
        receive: Option<(Duration, u64)>,
    ) -> io::Result<()> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if let Some(bytes) = self.manners.foreign {
            let fields = format!("Server: other\r\n{}", self.manners.fields);
            if request.method == "HEAD" {
                return self.stream.write_all(head(bytes, &fields).as_bytes()).await;
            }
            return self.payload(bytes, &fields).await;
        }
        if path == "/version" {
            let body = "{\"version\":\"9.9.9\",\"revision\":\"x\",\"driver\":\"epoll\",\
                \"send\":\"splice\",\"threads\":1,\"uri\":\"/heartbeat/\",\"min\":1,\
                \"max\":1048576,\"node\":\"twin-node\",\"zone\":\"z1\"}";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            return self.stream.write_all((head + body).as_bytes()).await;
        }
        let timing = match query.split('&').any(|word| word == "timing") && !self.manners.silent {
            true => timing(&self.stream, start, receive)?,
            false => String::new(),
        };
        let own = "Content-Type: text/plain\r\nCache-Control: no-cache, no-transform\r\n";
        let fields = format!("{own}{}{timing}", self.manners.fields);
        let size = path.strip_prefix("/heartbeat/").unwrap_or_default();
        match size.strip_prefix("wire/") {
            None => match size.parse() {
                Ok(size) => self.payload(size, &fields).await,
                Err(_) => self.payload(0, "").await,
            },
            Some(size) => {
                let whole: u64 = size.parse().unwrap();
                // The fields of a proxy come in addition.
                let own = fields.replace(self.manners.fields, "");
                let length = |size: u64| head(size, &own).len() as u64 + size;
                let size = (0..whole).rev().find(|size| length(*size) <= whole).unwrap();
                self.payload(size, &fields).await
            }
        }
    }

    async fn payload(&mut self, size: u64, fields: &str) -> io::Result<()> {
        let block = b"0123456789ABCDEF".repeat(4096);
        if self.manners.chunked {
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n");
            let whole = usize::try_from(size).unwrap();
            let body: Vec<u8> = block.iter().copied().cycle().take(whole).collect();
            let body = String::from_utf8(body).unwrap();
            let text = format!("{head}{size:x}\r\n{body}\r\n0\r\n\r\n");
            return self.stream.write_all(text.as_bytes()).await;
        }
        let mut bytes = head(size, fields).into_bytes();
        let mut left = size;
        loop {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            bytes.extend_from_slice(&block[..part]);
            self.stream.write_all(&bytes).await?;
            left -= part as u64;
            bytes.clear();
            if left == 0 {
                return Ok(());
            }
        }
    }
}

fn head(size: u64, fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{fields}\r\n")
}

fn parse(head: &str) -> Request {
    let mut words = head.split(' ');
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    Request {
        method: words.next().unwrap().to_owned(),
        target: words.next().unwrap().to_owned(),
        length: field("content-length").map_or(0, |length| length.parse().unwrap()),
        expects: field("expect").is_some(),
    }
}

fn timing(
    stream: &TcpStream,
    start: Instant,
    receive: Option<(Duration, u64)>,
) -> io::Result<String> {
    let info = tcp_info(stream.as_fd())?;
    let ms = |us: u32| f64::from(us) / 1000.0;
    let mut text = format!(
        "Server-Timing: app;dur={:.3}, rtt;dur={:.3}, rttvar;dur={:.3}, minrtt;dur={:.3}, \
         retrans;desc=\"{}\", segs;desc=\"{}\", mss;desc=\"{}\", pmtu;desc=\"{}\", \
         rate;desc=\"{}\"",
        start.elapsed().as_secs_f64() * 1000.0,
        ms(info.rtt_us),
        ms(info.rttvar_us),
        ms(info.min_rtt_us.unwrap_or(0)),
        info.segments_retransmitted,
        info.data_segments_out.unwrap_or(0),
        info.mss,
        info.path_mtu,
        info.delivery_rate_bytes_per_second.unwrap_or(0),
    );
    if let Some((time, bytes)) = receive {
        let ms = time.as_secs_f64() * 1000.0;
        text += &format!(", recv;dur={ms:.3}, recv-bytes;desc=\"{bytes}\"");
    }
    Ok(text + "\r\nTiming-Allow-Origin: *\r\n")
}
