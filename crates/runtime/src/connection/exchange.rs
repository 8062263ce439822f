//! Owns what is remembered of requests until their answers are out: gathered answers, and what
//! metrics and access log will say of each.

use std::net::IpAddr;
use std::time::Instant;

use heartbeat_protocol::{Route, Status};

use crate::observe::access_log::{AccessLog, Entry, escape};
use crate::observe::metrics::{Answered, Counters};

/// Capacity of an outbox, in bytes of gathered answers.
pub(crate) const OUTBOX_BYTES: usize = 8 * 1024;

/// Answers that wait to be sent, and the exchanges they complete.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Heads and short contents, as they will be sent.
    pub(crate) bytes: Vec<u8>,
    exchanges: Vec<Exchange>,
    /// Method and path of each exchange, one after the other; empty without an access log.
    names: String,
}

/// A request whose answer is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) route: Route,
    pub(crate) status: Status,
    pub(crate) started: Instant,
    /// The payload, where the answer is one.
    pub(crate) payload_bytes: Option<u64>,
    /// Content sent and received, in bytes.
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    verb_bytes: usize,
    path_bytes: usize,
}

impl Exchange {
    pub(crate) fn new(route: Route, status: Status, started: Instant, bytes_in: u64) -> Self {
        Self {
            route,
            status,
            started,
            payload_bytes: None,
            bytes_out: 0,
            bytes_in,
            verb_bytes: 0,
            path_bytes: 0,
        }
    }
}

/// Method and path of a request, escaped for the access log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Name {
    text: String,
    verb_bytes: usize,
}

impl Name {
    /// The name of a request that was understood.
    pub(crate) fn set(&mut self, method: &[u8], target: &[u8]) {
        self.text.clear();
        escape(method, &mut self.text);
        self.verb_bytes = self.text.len();
        escape(target, &mut self.text);
    }

    /// What can be made out of a request that was not understood: the words of its first line.
    pub(crate) fn guess(&mut self, input: &[u8]) {
        let line_end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = &input[..line_end.unwrap_or(input.len())];
        let (method, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (&line[..0], line),
        };
        let is_word = !method.is_empty() && method.iter().all(u8::is_ascii_alphanumeric);
        let (method, rest) = if is_word { (method, rest) } else { (&line[..0], line) };
        let target_end = rest.windows(6).rposition(|window| window == b" HTTP/");
        self.set(method, &rest[..target_end.unwrap_or(rest.len())]);
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(OUTBOX_BYTES),
            exchanges: Vec::new(),
            names: String::new(),
        }
    }

    /// Whether the bytes have not outgrown their capacity.
    pub(crate) fn is_standard(&self) -> bool {
        self.bytes.capacity() == OUTBOX_BYTES
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.exchanges.clear();
        self.names.clear();
    }

    /// Adds an exchange, which is complete once the bytes so far are out.
    pub(crate) fn push(&mut self, mut exchange: Exchange, name: Option<&Name>) {
        if let Some(name) = name {
            exchange.verb_bytes = name.verb_bytes;
            exchange.path_bytes = name.text.len() - name.verb_bytes;
            self.names.push_str(&name.text);
        }
        self.exchanges.push(exchange);
    }

    /// Counts and logs the exchanges: their answers are out.
    pub(crate) fn settle(&mut self, counters: &Counters, log: Option<&AccessLog>, remote: IpAddr) {
        if self.exchanges.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut names = self.names.as_str();
        for exchange in self.exchanges.drain(..) {
            let duration_ns = now.duration_since(exchange.started).as_nanos() as u64;
            counters.note_answer(&Answered {
                route: exchange.route,
                status: exchange.status,
                payload_bytes: exchange.payload_bytes,
                response_body_bytes: exchange.bytes_out,
                request_body_bytes: exchange.bytes_in,
                duration_ns,
            });
            let Some(log) = log else { continue };
            let (verb, rest) = names.split_at(exchange.verb_bytes);
            let (path, rest) = rest.split_at(exchange.path_bytes);
            names = rest;
            log.write(&Entry {
                status: exchange.status.code(),
                bytes_out: exchange.bytes_out,
                bytes_in: exchange.bytes_in,
                duration_us: duration_ns / 1000,
                remote,
                verb,
                path,
            });
        }
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_misunderstood_requests_are_guessed() {
        for (input, verb, path) in [
            (&b"GET /a\tb HTTP/1.1\r\nHost: a\r\n"[..], "GET", "/a\\x09b"),
            (b"GET /\xff", "GET", "/\\xff"),
            (b"GET / HTTP/2.0\r\n", "GET", "/"),
            (b"\x16\x03\x01 x", "-", "\\x16\\x03\\x01 x"),
            (b"", "-", "-"),
            (b"\r\n\r\n\r\n", "-", "-"),
            (b"hello", "-", "hello"),
        ] {
            let mut name = Name::default();
            name.guess(input);
            assert_eq!(name.text.split_at(name.verb_bytes), (verb, path), "{input:?}");
        }
    }
}
