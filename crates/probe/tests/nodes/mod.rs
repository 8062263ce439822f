//! Servers and probers of many nodes, all on one port of one host: each address of 127.0.0.0/8 is a
//! node, and its answers depend on which one was asked.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The answer of a node to a path; `None` closes the connection without an answer.
pub(crate) type Answer = dyn Fn(Ipv4Addr, &str) -> Option<Vec<u8>> + Send + Sync;

/// Running nodes; they end with the test.
pub(crate) struct Nodes {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<(Ipv4Addr, String)>>>,
}

impl Nodes {
    pub(crate) fn start(
        answer: impl Fn(Ipv4Addr, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let nodes = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default() };
        let (answer, asked) = (Arc::new(answer), Arc::clone(&nodes.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                let serve = move || serve(stream, &*answer, &asked);
                std::thread::Builder::new().stack_size(256 * 1024).spawn(serve).unwrap();
            }
        });
        nodes
    }

    /// Which node was asked for which path.
    pub(crate) fn asked(&self) -> Vec<(Ipv4Addr, String)> {
        self.asked.lock().unwrap().clone()
    }
}

/// The address of a node.
pub(crate) fn node(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

/// The number of the node at an address.
pub(crate) fn number_of(own: Ipv4Addr) -> u16 {
    let [_, _, high, low] = own.octets();
    u16::from_be_bytes([high, low])
}

/// A complete answer with a status and a body.
pub(crate) fn answer(status: u16, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{more}\r\n{body}").into_bytes()
}

/// The answers of a good server of the node `name` in `zone`.
pub(crate) fn server(path: &str, name: &str, zone: &str) -> Vec<u8> {
    let fields = "Server-Timing: app;dur=0.01, retrans;desc=\"0\", segs;desc=\"9\", \
                  pmtu;desc=\"9001\"\r\n";
    server_with(path, name, zone, fields)
}

/// The same, with these header fields in the answers to paths with a size.
pub(crate) fn server_with(path: &str, name: &str, zone: &str, fields: &str) -> Vec<u8> {
    if path.ends_with("/version?format=json") {
        let told = serde_json::json!({"version": "0", "node": name, "zone": zone});
        return answer(200, "", &told.to_string());
    }
    if path == "/readyz" {
        return answer(200, "", "Ready\n");
    }
    let size = size_of(path).unwrap();
    let pattern = "0123456789ABCDEF".repeat(size / 16 + 1);
    answer(200, &format!("Content-Type: text/plain\r\n{fields}"), &pattern[..size])
}

/// The size that a path asks for.
pub(crate) fn size_of(path: &str) -> Option<usize> {
    path.strip_prefix("/heartbeat/")?.split('?').next()?.parse().ok()
}

/// The report of the prober of node `number` of `count`.
pub(crate) fn report(number: u16, count: u16) -> Vec<u8> {
    let peer = |next: u16| {
        let to = (number + next) % count;
        let is_bad = to == 5;
        serde_json::json!({
            "node": format!("n{to}"), "zone": if to < count / 2 { "a" } else { "b" },
            "address": node(to).to_string(), "up": !is_bad,
            "last_error": is_bad.then_some("GET 17: no connection within 5s"), "rtt_us": 200 + to,
            "latency_us": {"17": {"p50": 300, "p99": 900}}, "throughput_bps": 900_000_000,
            "retransmitted": 0, "sent": 5000, "path_mtu": 1500, "black_hole": false
        })
    };
    let zone = if number < count / 2 { "a" } else { "b" };
    let own = serde_json::json!({
        "node": format!("n{number}"), "zone": zone, "address": node(number).to_string()
    });
    let peers: Vec<_> = (1..=10).map(peer).collect();
    answer(200, "", &serde_json::json!({"self": own, "peers": peers}).to_string())
}

fn serve(stream: TcpStream, answer: &Answer, asked: &Mutex<Vec<(Ipv4Addr, String)>>) -> Option<()> {
    let IpAddr::V4(own) = stream.local_addr().ok()?.ip() else { return None };
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let (mut length, mut close) = (0, false);
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).ok()?;
            let field = field.trim().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            close |= field == "connection: close";
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        asked.lock().unwrap().push((own, path.clone()));
        writer.write_all(&answer(own, &path)?).ok()?;
        if close {
            return None;
        }
    }
}

/// Requests the page until it is as `wanted`; returns it.
pub(crate) fn wait_for(at: &str, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let page = get(at, path).map(|(_, body)| body).unwrap_or_default();
        if wanted(&page) {
            return page;
        }
        assert!(start.elapsed() < PATIENCE, "{path} of {at}: {page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Requests a page; returns its head and its body.
pub(crate) fn get(at: &str, path: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}
