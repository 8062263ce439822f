//! Owns the access log of a worker: how a line is written, and the lines that wait for standard
//! output. Must not wait: what does not fit is dropped and counted.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heartbeat_protocol::{push_decimal, rfc3339_seconds};
use heartbeat_tcp_info::TcpInfo;

use crate::config::LogFormat;
use crate::observe::exchange::Exchange;
use crate::observe::log_sink::LogSink;

/// Bytes of waiting lines that a worker keeps; further lines are dropped.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Once this many bytes of lines wait, they are written without waiting for the next flush.
const FLUSH_BYTES: usize = 32 * 1024;

/// One answered request, as a line shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) duration: Duration,
    /// Method and path as they were sent, escaped by `name`.
    pub(crate) verb: &'a str,
    pub(crate) path: &'a str,
    /// What the kernel knows of the connection, if the last columns are asked for.
    pub(crate) tcp: Option<TcpInfo>,
}

/// The waiting lines of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: LogFormat,
    /// Whether lines have the columns of [`Record::tcp`].
    has_tcp: bool,
    sink: Arc<LogSink>,
    waiting: RefCell<Vec<u8>>,
    /// Lines dropped since the last line that reported it.
    dropped: Cell<u64>,
    /// Lines dropped since `take_dropped` was last called.
    dropped_unreported: Cell<u64>,
    stamp: RefCell<Stamp>,
}

/// The text of the current second, so that only the fraction is written anew.
#[derive(Debug, Default)]
struct Stamp {
    unix_seconds: u64,
    text: String,
}

impl AccessLog {
    pub(crate) fn new(format: LogFormat, has_tcp: bool, sink: Arc<LogSink>) -> Self {
        Self {
            format,
            has_tcp,
            sink,
            waiting: RefCell::default(),
            dropped: Cell::new(0),
            dropped_unreported: Cell::new(0),
            stamp: RefCell::default(),
        }
    }

    /// Adds a line.
    pub(crate) fn write(&self, record: &Record<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_BYTES_MAX {
            self.note_dropped(1);
            return;
        }
        self.with_stamp(|stamp| write_record(self.format, stamp, record, &mut waiting));
        let is_due = waiting.len() >= FLUSH_BYTES;
        drop(waiting);
        if is_due && self.dropped.get() == 0 {
            self.flush();
        }
    }

    /// Writes the waiting lines as far as standard output accepts them. Returns true if none is
    /// left.
    pub(crate) fn flush(&self) -> bool {
        self.note_dropped(self.sink.take_lost());
        let mut waiting = self.waiting.borrow_mut();
        if !self.sink.write(&mut waiting) {
            return false;
        }
        let dropped = self.dropped.replace(0);
        if dropped == 0 {
            return self.sink.is_idle();
        }
        self.with_stamp(|stamp| {
            let mut line = Line::begin(self.format, stamp, &mut waiting);
            if self.format == LogFormat::Tsv {
                push_all(line.out, &["\t0\t0\t0\t0\t-\tDROPPED"]);
            }
            line.number("dropped", dropped);
            if self.format == LogFormat::Tsv && self.has_tcp {
                push_all(line.out, &["\t0\t0"]);
            }
            line.end();
        });
        false
    }

    /// Lines dropped since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped_unreported.replace(0)
    }

    fn note_dropped(&self, lines: u64) {
        self.dropped.set(self.dropped.get() + lines);
        self.dropped_unreported.set(self.dropped_unreported.get() + lines);
    }

    /// Calls `with` with the current time: RFC 3339, UTC, microseconds.
    fn with_stamp(&self, with: impl FnOnce(&str)) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut stamp = self.stamp.borrow_mut();
        if stamp.unix_seconds != now.as_secs() || stamp.text.is_empty() {
            stamp.unix_seconds = now.as_secs();
            stamp.text = rfc3339_seconds(now.as_secs());
        }
        let seconds_bytes = "2026-11-22T10:00:00".len();
        stamp.text.truncate(seconds_bytes);
        let mut fraction = *b".000000Z";
        let mut micros = now.subsec_micros();
        for digit in fraction[1..7].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        stamp.text.push_str(std::str::from_utf8(&fraction).unwrap_or_default());
        with(&stamp.text);
    }
}

fn write_record(format: LogFormat, stamp: &str, record: &Record<'_>, out: &mut Vec<u8>) {
    let Record { exchange, duration, verb, path, tcp } = record;
    let mut line = Line::begin(format, stamp, out);
    line.number("status", exchange.status.code().into());
    line.number("bytesOut", exchange.bytes_out);
    line.number("bytesIn", exchange.bytes_in);
    line.number("durationUs", duration.as_micros() as u64);
    line.text("remote", |out| push_address(out, exchange.remote));
    line.text("verb", |out| push_escaped(out, verb, format));
    line.text("path", |out| push_escaped(out, path, format));
    if let Some(tcp) = tcp {
        line.number("rtt_us", tcp.rtt_us.into());
        line.number("retransmits", tcp.segments_retransmitted.into());
    }
    line.end();
}

/// A line that is being written.
struct Line<'o> {
    format: LogFormat,
    out: &'o mut Vec<u8>,
}

impl<'o> Line<'o> {
    fn begin(format: LogFormat, stamp: &str, out: &'o mut Vec<u8>) -> Self {
        match format {
            LogFormat::Tsv => push_all(out, &[stamp]),
            LogFormat::Json => push_all(out, &["{\"date\":\"", stamp, "\""]),
        }
        Self { format, out }
    }

    /// Begins the next column, or the next member.
    fn name(&mut self, name: &str) {
        match self.format {
            LogFormat::Tsv => self.out.push(b'\t'),
            LogFormat::Json => push_all(self.out, &[",\"", name, "\":"]),
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        push_decimal(number, self.out);
    }

    fn text(&mut self, name: &str, push: impl FnOnce(&mut Vec<u8>)) {
        let quote: &[u8] = if self.format == LogFormat::Json { b"\"" } else { b"" };
        self.name(name);
        self.out.extend_from_slice(quote);
        push(self.out);
        self.out.extend_from_slice(quote);
    }

    fn end(self) {
        let end: &[u8] = if self.format == LogFormat::Json { b"}\n" } else { b"\n" };
        self.out.extend_from_slice(end);
    }
}

fn push_all(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    use std::io::Write;
    // IPv4 peers of a dual-stack listener are written as IPv4 addresses.
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                push_all(out, &[if index > 0 { "." } else { "" }]);
                push_decimal(octet.into(), out);
            }
        }
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Escaped text has no control characters and no double quotes. It may have backslashes, which are
/// doubled in JSON.
fn push_escaped(out: &mut Vec<u8>, escaped: &str, format: LogFormat) {
    if format == LogFormat::Tsv {
        return push_all(out, &[escaped]);
    }
    for byte in escaped.bytes() {
        if byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use heartbeat_protocol::{Route, Status};

    use super::*;
    use crate::observe::name::escape;

    fn line(format: LogFormat, verb: &str, path: &[u8], tcp: Option<TcpInfo>) -> String {
        let mut escaped = String::new();
        escape(path, &mut escaped);
        let exchange = Exchange {
            route: Route::Heartbeat,
            status: Status::Ok,
            started: Instant::now(),
            remote: "::ffff:10.1.2.3".parse().unwrap(),
            payload_bytes: Some(17),
            bytes_out: 17,
            bytes_in: 0,
        };
        let mut out = Vec::new();
        let duration = Duration::from_micros(12);
        let record = Record { exchange: &exchange, duration, verb, path: &escaped, tcp };
        write_record(format, "2026-11-22T10:00:00.000001Z", &record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tsv_has_the_columns_in_order() {
        assert_eq!(
            line(LogFormat::Tsv, "GET", b"/heartbeat/17?a=b", None),
            "2026-11-22T10:00:00.000001Z\t200\t17\t0\t12\t10.1.2.3\tGET\t/heartbeat/17?a=b\n"
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        assert_eq!(
            line(LogFormat::Json, "GET", b"/a\"b", None),
            "{\"date\":\"2026-11-22T10:00:00.000001Z\",\"status\":200,\"bytesOut\":17,\
             \"bytesIn\":0,\"durationUs\":12,\"remote\":\"10.1.2.3\",\"verb\":\"GET\",\
             \"path\":\"/a\\\\x22b\"}\n"
        );
    }

    #[test]
    fn tcp_figures_are_the_last_columns_and_keys() {
        let tcp = Some(TcpInfo { rtt_us: 251, segments_retransmitted: 3, ..TcpInfo::default() });
        assert!(line(LogFormat::Tsv, "GET", b"/", tcp).ends_with("\tGET\t/\t251\t3\n"));
        let json = line(LogFormat::Json, "GET", b"/", tcp);
        assert!(json.ends_with(",\"path\":\"/\",\"rtt_us\":251,\"retransmits\":3}\n"), "{json}");
    }
}
