//! Owns the access log of a worker: how a line is written, and the lines that wait for standard
//! output. Must not wait: what does not fit is dropped and counted.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use heartbeat_protocol::{push_decimal, rfc3339_seconds};

use crate::config::LogFormat;
use crate::observe::log_sink::{LogSink, Outcome};

/// Waiting lines that a worker keeps, in bytes; a line beyond is dropped.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Waiting lines that are handed on without waiting for the next flush, in bytes.
const FLUSH_BYTES: usize = 32 * 1024;

/// Longest path in a line, in bytes before escaping; the rest is cut off.
pub(crate) const PATH_BYTES_MAX: usize = 256;

/// One answered request, as the log sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) status: u16,
    /// Content sent and received, in bytes.
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) duration_us: u64,
    pub(crate) remote: IpAddr,
    /// Method and path as they were sent, escaped by [`escape`].
    pub(crate) verb: &'a str,
    pub(crate) path: &'a str,
}

/// The waiting lines of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: LogFormat,
    sink: Arc<LogSink>,
    waiting: RefCell<Vec<u8>>,
    /// Lines dropped since the last one that said so.
    dropped: Cell<u64>,
    /// Lines dropped since they were last asked for.
    dropped_unreported: Cell<u64>,
    stamp: RefCell<Stamp>,
}

/// The date of a second, so that only its fraction is written anew.
#[derive(Debug, Default)]
struct Stamp {
    unix_seconds: u64,
    text: String,
}

impl AccessLog {
    pub(crate) fn new(format: LogFormat, sink: Arc<LogSink>) -> Self {
        Self {
            format,
            sink,
            waiting: RefCell::default(),
            dropped: Cell::new(0),
            dropped_unreported: Cell::new(0),
            stamp: RefCell::default(),
        }
    }

    /// Adds a line.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_BYTES_MAX {
            self.note_dropped(1);
            return;
        }
        self.with_stamp(|stamp| match self.format {
            LogFormat::Tsv => write_tsv(stamp, entry, &mut waiting),
            LogFormat::Json => write_json(stamp, entry, &mut waiting),
        });
        let is_due = waiting.len() >= FLUSH_BYTES;
        drop(waiting);
        if is_due && self.dropped.get() == 0 {
            self.flush();
        }
    }

    /// Hands the waiting lines on, as far as standard output takes them. True where all are gone.
    pub(crate) fn flush(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && self.dropped.get() == 0 {
            return true;
        }
        match self.sink.write(&mut waiting) {
            Outcome::Taken => {}
            Outcome::Stalled => return false,
            Outcome::Lost(lines) => {
                self.note_dropped(lines);
                return false;
            }
        }
        let dropped = self.dropped.replace(0);
        if dropped == 0 {
            return true;
        }
        self.with_stamp(|stamp| match self.format {
            LogFormat::Tsv => {
                push_all(&mut waiting, &[stamp, "\t0\t0\t0\t0\t-\tDROPPED\t"]);
                push_decimal(dropped, &mut waiting);
                waiting.push(b'\n');
            }
            LogFormat::Json => {
                push_all(&mut waiting, &["{\"date\":\"", stamp, "\",\"dropped\":"]);
                push_decimal(dropped, &mut waiting);
                waiting.extend_from_slice(b"}\n");
            }
        });
        false
    }

    /// Lines dropped since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped_unreported.replace(0)
    }

    fn note_dropped(&self, lines: u64) {
        self.dropped.set(self.dropped.get() + lines);
        self.dropped_unreported.set(self.dropped_unreported.get() + lines);
    }

    /// Calls `with` with the time of now: RFC 3339, UTC, microseconds.
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

fn write_tsv(stamp: &str, entry: &Entry<'_>, out: &mut Vec<u8>) {
    push_all(out, &[stamp]);
    for number in [u64::from(entry.status), entry.bytes_out, entry.bytes_in, entry.duration_us] {
        out.push(b'\t');
        push_decimal(number, out);
    }
    out.push(b'\t');
    push_address(out, entry.remote);
    push_all(out, &["\t", entry.verb, "\t", entry.path, "\n"]);
}

fn write_json(stamp: &str, entry: &Entry<'_>, out: &mut Vec<u8>) {
    push_all(out, &["{\"date\":\"", stamp, "\",\"status\":"]);
    push_decimal(u64::from(entry.status), out);
    for (name, number) in [
        (",\"bytesOut\":", entry.bytes_out),
        (",\"bytesIn\":", entry.bytes_in),
        (",\"durationUs\":", entry.duration_us),
    ] {
        push_all(out, &[name]);
        push_decimal(number, out);
    }
    push_all(out, &[",\"remote\":\""]);
    push_address(out, entry.remote);
    push_all(out, &["\",\"verb\":\""]);
    push_json(out, entry.verb);
    push_all(out, &["\",\"path\":\""]);
    push_json(out, entry.path);
    push_all(out, &["\"}\n"]);
}

fn push_all(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    use std::io::Write;
    // IPv4 peers of a dual-stack listener are written as what they are.
    let _ = match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            for (octet, end) in [(a, "."), (b, "."), (c, "."), (d, "")] {
                push_decimal(octet.into(), out);
                push_all(out, &[end]);
            }
            Ok(())
        }
        IpAddr::V6(address) => write!(out, "{address}"),
    };
}

/// Escaped text holds no control bytes and no double quotes, but backslashes.
fn push_json(out: &mut Vec<u8>, escaped: &str) {
    for byte in escaped.bytes() {
        if byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// Appends `bytes`, cut at [`PATH_BYTES_MAX`], so that they fit a column and a JSON string:
/// control bytes, double quotes, backslashes and what is not UTF-8 become `\xHH`. Nothing at all
/// becomes `-`.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    if bytes.is_empty() {
        out.push('-');
    }
    for chunk in bytes[..bytes.len().min(PATH_BYTES_MAX)].utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || matches!(character, '"' | '\\') {
                let mut encoded = [0; 4];
                push_hex(out, character.encode_utf8(&mut encoded).as_bytes());
            } else {
                out.push(character);
            }
        }
        push_hex(out, chunk.invalid());
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: fn(&str, &Entry<'_>, &mut Vec<u8>), verb: &str, path: &[u8]) -> String {
        let mut escaped = String::new();
        escape(path, &mut escaped);
        let entry = Entry {
            status: 200,
            bytes_out: 17,
            bytes_in: 0,
            duration_us: 12,
            remote: "::ffff:10.1.2.3".parse().unwrap(),
            verb,
            path: &escaped,
        };
        let mut out = Vec::new();
        write("2026-11-22T10:00:00.000001Z", &entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tsv_has_the_columns_in_order() {
        assert_eq!(
            line(write_tsv, "GET", b"/heartbeat/17?a=b"),
            "2026-11-22T10:00:00.000001Z\t200\t17\t0\t12\t10.1.2.3\tGET\t/heartbeat/17?a=b\n"
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        assert_eq!(
            line(write_json, "GET", b"/a\"b"),
            "{\"date\":\"2026-11-22T10:00:00.000001Z\",\"status\":200,\"bytesOut\":17,\
             \"bytesIn\":0,\"durationUs\":12,\"remote\":\"10.1.2.3\",\"verb\":\"GET\",\
             \"path\":\"/a\\\\x22b\"}\n"
        );
    }

    #[test]
    fn what_would_break_a_line_is_escaped() {
        let escaped = |bytes: &[u8]| {
            let mut out = String::new();
            escape(bytes, &mut out);
            out
        };
        assert_eq!(escaped(b""), "-");
        assert_eq!(escaped(b"/a\tb\nc\x00\x7f"), "/a\\x09b\\x0ac\\x00\\x7f");
        assert_eq!(escaped(b"/\xff\xfe"), "/\\xff\\xfe");
        assert_eq!(escaped("/é".as_bytes()), "/é");
        assert_eq!(escaped("\u{85}".as_bytes()), "\\xc2\\x85");
        assert_eq!(escaped(b"\\x09"), "\\x5cx09");
        assert_eq!(escaped(&[b'a'; PATH_BYTES_MAX]).len(), PATH_BYTES_MAX);
        assert_eq!(escaped(&[b'a'; PATH_BYTES_MAX + 1]).len(), PATH_BYTES_MAX);
        // A character cut in two is escaped, not lost.
        let cut = ["a".repeat(PATH_BYTES_MAX - 1), "é".to_string()].concat();
        assert!(escaped(cut.as_bytes()).ends_with("a\\xc3"));
    }
}
