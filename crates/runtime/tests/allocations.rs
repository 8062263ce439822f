//! Nothing is allocated for a request, on either driver and in every send tier, unless a session has
//! to wait for the network: then the event loop allocates once. This test is alone
//! in its file, because it counts the allocations of every thread of the process but the client's,
//! and because it changes the standard output of the process.

mod support;

use std::fs::File;
use std::os::fd::AsFd;

use heartbeat_runtime::{Config, LogFormat, Server};
use heartbeat_testkit::CountingAllocator;
use support::{Client, each_driver_with, each_tier, request};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Payload sizes, and how often each is requested: far more often than a server may allocate.
const GETS: [(u64, u64); 4] = [(17, 2000), (1 << 10, 1000), (64 << 10, 600), (1 << 20, 200)];

/// Payload sizes of pipelined requests, and how often a client sends [`PIPELINED`] of them at once.
const PIPELINES: [(u64, u64); 2] = [(17, 200), (16 << 10, 100)];
const PIPELINED: usize = 16;

/// Body sizes of uploads, and how often each is sent.
const UPLOADS: [(usize, u64); 3] = [(100, 1000), (7000, 600), (200_000, 200)];

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 4096;

/// Numbers of connections that have a request at the same time. With only one, no task has to give
/// way.
const CONNECTIONS: [usize; 2] = [1, 20];

/// How often a payload is requested before anything is counted. After that the buffers have their
/// final sizes, and each slot has been used.
const WARM_UP: u64 = 400;

/// What a server may allocate during a load, however many requests the load has: its housekeeping
/// depends on the time that passes, and tables double occasionally.
const ALLOCATIONS_MAX: u64 = 32;

/// What it may allocate besides for each connection: there are as many spare buffers as sessions
/// have needed at a time so far, and the warm-up may not have reached the most.
const ALLOCATIONS_PER_CONNECTION: u64 = 6;

/// If as many bytes as this go one way at once, a session may have to wait for the other side: it
/// depends on the time that each side gets of the CPUs. The event loop then allocates once for the
/// socket (the shared descriptor of monoio).
const WAITING_BYTES_MIN: u64 = 64 * 1024;

/// Requests for which a server with an access log may allocate once. It allocates for each batch of
/// lines, and batches become due by their length and as time passes.
const REQUESTS_PER_ALLOCATION_OF_LOG: u64 = 4;

/// What a client sends at once, again and again.
struct Load {
    name: String,
    message: Vec<u8>,
    /// The number of answers to it, and the payload of each.
    answers: usize,
    bytes: u64,
    /// How often it is sent while allocations are counted.
    times: u64,
}

impl Load {
    fn all() -> Vec<Self> {
        let path = |bytes| format!("/heartbeat/{bytes}");
        let gets = GETS.map(|(bytes, times)| Self {
            name: format!("GET of {bytes} bytes"),
            message: request("GET", &path(bytes)).into_bytes(),
            answers: 1,
            bytes,
            times,
        });
        let pipelines = PIPELINES.map(|(bytes, times)| Self {
            name: format!("{PIPELINED} pipelined GETs of {bytes} bytes"),
            message: request("GET", &path(bytes)).repeat(PIPELINED).into_bytes(),
            answers: PIPELINED,
            bytes,
            times,
        });
        let upload = |name: &str, field: &str, body: &[u8], times| {
            let head = format!("POST /heartbeat/17 HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n");
            Self {
                name: format!("POST {name}"),
                message: [head.as_bytes(), body].concat(),
                answers: 1,
                bytes: 17,
                times,
            }
        };
        let uploads = UPLOADS.into_iter().flat_map(|(bytes, times)| {
            let body = vec![b'x'; bytes];
            [
                upload(
                    &format!("of {bytes} bytes"),
                    &format!("Content-Length: {bytes}"),
                    &body,
                    times,
                ),
                upload(
                    &format!("of {bytes} bytes in chunks"),
                    "Transfer-Encoding: chunked",
                    &chunked(&body),
                    times,
                ),
            ]
        });
        gets.into_iter().chain(pipelines).chain(uploads).collect()
    }

    /// How often a session may have to wait for the first time.
    fn waits_max(&self) -> u64 {
        let up = self.message.len() as u64;
        let down = self.bytes * self.answers as u64;
        if up.max(down) < WAITING_BYTES_MIN { 0 } else { self.times }
    }

    /// All connections send this, then all of them read their answers. This repeats until they have
    /// sent it `times` times.
    fn send(&self, clients: &mut [Client], times: u64) {
        for _ in 0..times / clients.len() as u64 {
            clients.iter_mut().for_each(|client| client.send(&self.message));
            for client in &mut *clients {
                for _ in 0..self.answers {
                    assert!(client.answer().is_payload(self.bytes), "{}", self.name);
                }
            }
        }
    }
}

/// A body in chunks, its last chunk included.
fn chunked(body: &[u8]) -> Vec<u8> {
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let chunks = body.chunks(CHUNK_BYTES).flat_map(chunk);
    chunks.chain(b"0\r\n\r\n".iter().copied()).collect()
}

/// Sends every load to a server. Adds to `wrong` those for which the server has allocated more than
/// `allowed` permits for their number of requests.
fn check(server: &Server, log: &str, allowed: impl Fn(u64) -> u64, wrong: &mut Vec<String>) {
    let (driver, send) = (server.report().driver.name(), server.report().send.name());
    let loads = Load::all();
    for connections in CONNECTIONS {
        let before = CountingAllocator::count();
        let connect = |_| Client::connect(server.address());
        let mut clients: Vec<_> = (0..connections).map(connect).collect();
        loads[0].send(&mut clients, connections as u64);
        assert!(CountingAllocator::count() > before, "a connection is allocated and counted");
        for load in &loads {
            load.send(&mut clients, WARM_UP);
            let before = CountingAllocator::count();
            load.send(&mut clients, load.times);
            let count = CountingAllocator::count() - before;
            let report = format!(
                "{driver} {send}{log}, {connections} connections, {} x {}: {count}",
                load.times, load.name
            );
            println!("{report}");
            let of_connections = ALLOCATIONS_PER_CONNECTION * connections as u64;
            let requests = load.times * load.answers as u64;
            if count > of_connections + load.waits_max() + allowed(requests) {
                wrong.push(report);
            }
        }
        clients.into_iter().for_each(Client::finish);
    }
}

#[test]
fn nothing_is_allocated_for_a_request() {
    CountingAllocator::leave_out_this_thread();
    let mut wrong = Vec::new();
    for server in each_tier() {
        check(&server, "", |_| ALLOCATIONS_MAX, &mut wrong);
    }
    // A server duplicates standard output when it starts. So it is another one only until then.
    let nowhere = File::create("/dev/null").expect("a device of every machine");
    let own = std::io::stdout().as_fd().try_clone_to_owned().expect("a standard output");
    let adjust = |config: &mut Config| {
        config.log = Some(LogFormat::Tsv);
        rustix::stdio::dup2_stdout(&nowhere).expect("dup2");
    };
    for server in each_driver_with(adjust) {
        rustix::stdio::dup2_stdout(&own).expect("dup2");
        let allowed = |requests| requests / REQUESTS_PER_ALLOCATION_OF_LOG;
        check(&server, ", with a log", allowed, &mut wrong);
    }
    rustix::stdio::dup2_stdout(&own).expect("dup2");
    assert!(wrong.is_empty(), "allocations: {wrong:#?}");
}
