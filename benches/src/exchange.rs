//! Owns the work of one request without a socket: bytes in, head out, the ranges of its payload.
//! The micro-benchmarks time it, and callgrind counts its instructions.

use std::process::Command;

use heartbeat_protocol::{
    BodyDecoder, Connection, Content, DateLine, Event, Facts, Framing, Next, Payload, Port, Site,
    Step, route,
};

/// Length of the block that the payload repeats, in bytes. The server's own block has 32 KiB.
pub const BLOCK_BYTES: usize = 16 << 10;

/// Requests as clients send them.
pub const REQUESTS: &[(&str, &str)] = &[
    ("17 B, shortest head", "GET /heartbeat/17 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        "17 B, head of wrk",
        "GET /heartbeat/17 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\
         User-Agent: wrk/4.1.0\r\nConnection: keep-alive\r\n\r\n",
    ),
    (
        "17 B, head of a browser",
        "GET /heartbeat/17 HTTP/1.1\r\nHost: heartbeat.example:8080\r\nConnection: keep-alive\r\n\
         Cache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.5\r\n\
         Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\
         Priority: u=0, i\r\n\r\n",
    ),
    ("wire, 1,000 bytes", "GET /heartbeat/wire/1000 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("1 MB with its ranges", "GET /heartbeat/1048576 HTTP/1.1\r\nHost: x\r\n\r\n"),
];

/// A connection that gets the same request again and again.
pub struct Exchange {
    connection: Connection,
    site: Site,
    date: DateLine,
    out: Vec<u8>,
}

impl Exchange {
    /// A new connection.
    pub fn new() -> Self {
        Self {
            connection: Connection::new(),
            site: Site::new("/heartbeat/", 1, 1 << 20).expect("the site is a valid one"),
            date: DateLine::new(1_000_000_000),
            out: Vec::with_capacity(4096),
        }
    }

    /// Parses, routes and answers one request. Returns how many bytes its answer has; those of the
    /// payload are the sum of its ranges.
    pub fn perform(&mut self, request: &[u8]) -> u64 {
        let facts = Facts { ready: true, version: "0\n", version_json: "{}\n" };
        self.out.clear();
        let received = self.connection.receive(request);
        let Event::Request(head) = received.event else { panic!("not a request") };
        let routed = route(&head, Port::Main, &self.site, &facts);
        let end = self.connection.receive(&request[received.consumed..]).event;
        assert!(matches!(end, Event::EndOfMessage), "the request has a body");
        let (_, content) = self.connection.send(&routed.response(), &self.date, &mut self.out);
        let payload_bytes = match content {
            Content::Payload(payload) => {
                payload.segments(0, BLOCK_BYTES).map(|segment| segment.bytes as u64).sum()
            }
            _ => 0,
        };
        assert!(matches!(self.connection.finish(), Next::KeepAlive), "the connection closes");
        self.out.len() as u64 + payload_bytes
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// A body of `chunks` chunks of `chunk_bytes` each.
pub fn chunked_body(chunks: usize, chunk_bytes: usize) -> Vec<u8> {
    let chunk = format!("{chunk_bytes:x}\r\n{}\r\n", "x".repeat(chunk_bytes));
    (chunk.repeat(chunks) + "0\r\n\r\n").into_bytes()
}

/// Decodes a whole body. Returns how many bytes of content it has.
pub fn decode_chunked(mut body: &[u8]) -> u64 {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut content = 0;
    loop {
        match decoder.decode(body) {
            Ok((consumed, Step::Data(data))) => {
                content += data.len() as u64;
                body = &body[consumed..];
            }
            Ok((_, Step::End)) => return content,
            Ok((_, Step::NeedData)) | Err(_) => panic!("the body is whole and right"),
        }
    }
}

/// The number of ranges of a payload.
pub fn count_segments(bytes: u64) -> usize {
    Payload { bytes }.segments(0, BLOCK_BYTES).count()
}

/// Performs one case `times` times, for callgrind: a request of [`REQUESTS`] by its index, or a
/// chunked body for any other number.
pub fn repeat(case: usize, times: u64) -> u64 {
    let mut exchange = Exchange::new();
    let body = chunked_body(64, 1024);
    let mut bytes = 0;
    for _ in 0..times {
        bytes += match REQUESTS.get(case) {
            Some((_, request)) => exchange.perform(std::hint::black_box(request.as_bytes())),
            None => decode_chunked(std::hint::black_box(&body)),
        };
    }
    bytes
}

/// Prints the instructions per request. This program runs under callgrind twice for each case, and
/// the difference of the two counts leaves out what both runs have in common.
pub fn count_instructions() -> Result<(), String> {
    const FEW: u64 = 1_000;
    const MANY: u64 = 3_000;
    if crate::machine::first_line("valgrind", &["--version"]).is_none() {
        println!("instructions are not counted: valgrind does not run here");
        return Ok(());
    }
    println!("| request | instructions |\n| --- | --- |");
    let names = REQUESTS.iter().map(|(name, _)| *name);
    for (case, name) in names.chain(["chunked body, 64 x 1 KB"]).enumerate() {
        let per_request = (counted(case, MANY)? - counted(case, FEW)?) / (MANY - FEW) as f64;
        println!("| {name} | {per_request:.0} |");
    }
    Ok(())
}

fn counted(case: usize, times: u64) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.args(["repeat", &case.to_string(), &times.to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    collected(&said).ok_or_else(|| format!("valgrind: {}", said.lines().last().unwrap_or("")))
}

/// callgrind ends with `==123== Collected : 456`.
fn collected(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_in_full_again_and_again() {
        for (name, request) in REQUESTS {
            let mut exchange = Exchange::new();
            let first = exchange.perform(request.as_bytes());
            assert!(first > 100, "{name}");
            assert_eq!(exchange.perform(request.as_bytes()), first, "{name}");
        }
        assert_eq!(Exchange::new().perform(REQUESTS[3].1.as_bytes()), 1000);
    }

    #[test]
    fn a_chunked_body_is_decoded_to_its_end() {
        assert_eq!(decode_chunked(&chunked_body(64, 1024)), 64 << 10);
    }

    #[test]
    fn a_payload_is_counted_in_blocks() {
        assert_eq!(count_segments(BLOCK_BYTES as u64 * 3 + 1), 4);
    }

    #[test]
    fn the_count_in_the_output_of_callgrind_is_found() {
        assert_eq!(collected("==1== Events : Ir\n==1== Collected : 4567\n"), Some(4567.0));
        assert_eq!(collected("==1== no\n"), None);
    }
}
