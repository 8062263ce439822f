//! Owns the parsing of a request head: from bytes to a request, or to the reason why it is
//! rejected. The only file that uses httparse, which splits the field lines.
//!
//! The verdict depends on the bytes alone, and not on how they arrive. Lines are judged in their
//! order. A complete line is judged at once, and so is a bare CR: a peer that sends garbage gets
//! its answer without waiting for a timeout.

use crate::fields::{has_member, is_host, list_members};
use crate::framing::{self, FramingFields};
use crate::limits::{FIELD_LINES_MAX, HEAD_BYTES_MAX, LEADING_EMPTY_LINES_MAX};
use crate::request_line::{RequestLine, authority};
use crate::{Framing, Method, Rejection, Request, Version};

/// Field lines for which memory is initialized at first. Few heads have more, and initializing
/// memory for [`FIELD_LINES_MAX`] field lines would cost more than parsing an ordinary head.
const USUAL_FIELD_LINES: usize = 16;

type Fields<'i> = [httparse::Header<'i>];

/// How far one head has been read. However small the pieces in which it arrives, every byte is
/// searched for LF once, judged at most once while the head is incomplete, and judged once more
/// when it is complete. The first lines of a head with more than [`USUAL_FIELD_LINES`] are then
/// judged twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadReader {
    empty_lines: u8,
    request_line: RequestLine,
    /// Bytes that have been searched for line ends.
    scanned: usize,
    /// Bytes up to the end of the last complete line. When [`HeadReader::read`] returns, the lines
    /// before it have been judged.
    lines: usize,
    judged_field_lines: usize,
}

impl HeadReader {
    /// Continues to read. `input` starts with the bytes that earlier calls did not consume.
    ///
    /// Returns how many bytes are not needed again (leading empty lines, and the head once it is
    /// complete), and the head if it is complete.
    pub(crate) fn read<'i>(
        &mut self,
        input: &'i [u8],
    ) -> (usize, Result<Option<Request<'i>>, Rejection>) {
        let mut skipped = 0;
        while !self.has_begun() && input[skipped..].starts_with(b"\r\n") {
            if self.empty_lines == LEADING_EMPTY_LINES_MAX {
                return (skipped, Err(Rejection::EmptyLines));
            }
            self.empty_lines += 1;
            skipped += 2;
        }
        let result = self.read_lines(&input[skipped..]);
        let head_bytes = if let Ok(Some(_)) = result { std::mem::take(self).lines } else { 0 };
        (skipped + head_bytes, result)
    }

    /// Whether bytes of a head have arrived. Empty lines before it do not count.
    pub(crate) fn has_begun(&self) -> bool {
        self.request_line.position > 0
    }

    fn read_lines<'i>(&mut self, input: &'i [u8]) -> Result<Option<Request<'i>>, Rejection> {
        // A CR alone may be the first half of an empty line.
        if input == b"\r" && !self.has_begun() {
            return Ok(None);
        }
        let window = &input[..input.len().min(HEAD_BYTES_MAX)];
        if !self.request_line.read(window)? {
            return Ok(None);
        }
        let fields_start = self.request_line.position;
        self.lines = self.lines.max(fields_start);
        self.scanned = self.scanned.max(fields_start);
        let judged = self.lines;
        while let Some(found) = find_line_feed(&window[self.scanned..]) {
            let line_feed = self.scanned + found;
            if window[line_feed - 1] != b'\r' {
                self.judge_lines(&window[judged..self.lines])?;
                return Err(Rejection::LineEnding);
            }
            let line_is_empty = line_feed - self.lines == 1;
            self.scanned = line_feed + 1;
            self.lines = line_feed + 1;
            if line_is_empty {
                return self.complete(&window[..self.lines]).map(Some);
            }
        }
        self.judge_lines(&window[judged..self.lines])?;
        // The last byte of the earlier input may be the CR of a pair.
        let unfinished = self.scanned.saturating_sub(1).max(self.lines);
        if bare_carriage_return(&window[unfinished..]).is_some() {
            return Err(Rejection::LineEnding);
        }
        self.scanned = window.len();
        if input.len() >= HEAD_BYTES_MAX {
            return Err(Rejection::HeadTooLarge);
        }
        Ok(None)
    }

    /// Judges the field lines that have become complete since the last call.
    fn judge_lines(&mut self, lines: &[u8]) -> Result<(), Rejection> {
        if lines.is_empty() {
            return Ok(());
        }
        let lines_max = FIELD_LINES_MAX - self.judged_field_lines;
        let mut storage = [httparse::EMPTY_HEADER; FIELD_LINES_MAX];
        split_fields(lines, &mut storage[..lines_max])
            .map_err(|error| rejection(error, lines, lines_max))?;
        self.judged_field_lines += lines.iter().filter(|byte| **byte == b'\n').count();
        Ok(())
    }

    /// Judges a head that has arrived whole.
    fn complete<'i>(&self, head: &'i [u8]) -> Result<Request<'i>, Rejection> {
        let lines = &head[self.request_line.position..];
        let mut usual = [httparse::EMPTY_HEADER; USUAL_FIELD_LINES];
        let mut storage;
        let fields = match split_fields(lines, &mut usual) {
            Err(httparse::Error::TooManyHeaders) => {
                storage = [httparse::EMPTY_HEADER; FIELD_LINES_MAX];
                split_fields(lines, &mut storage)
            }
            fields => fields,
        };
        let fields = fields.map_err(|error| rejection(error, lines, FIELD_LINES_MAX))?;
        self.interpret(head, fields)
    }

    /// Judges the field lines together, and decides what the head asks for.
    fn interpret<'i>(&self, head: &'i [u8], fields: &Fields<'i>) -> Result<Request<'i>, Rejection> {
        let line = &self.request_line;
        let version = line.version(head);
        let mut host = None;
        let mut host_repeated = false;
        let mut is_forwarded_https = None;
        let mut framing_fields = FramingFields::default();
        // HTTP/1.1 keeps a connection unless asked to close it, and HTTP/1.0 only if asked to keep
        // it (RFC 9112 section 9.3).
        let mut keep_alive = version == Version::Http11;
        let mut close = false;
        let mut asks_for_continue = false;
        let mut unknown_expectation = false;
        for field in fields {
            let value = field.value.trim_ascii();
            match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => {
                    host_repeated |= host.replace(value).is_some();
                }
                6 if field.name.eq_ignore_ascii_case("expect") => {
                    let is_continue = |member: &[u8]| member.eq_ignore_ascii_case(b"100-continue");
                    asks_for_continue |= list_members(value).any(is_continue);
                    unknown_expectation |= !list_members(value).all(is_continue);
                }
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    close |= has_member(value, "close");
                    keep_alive = keep_alive || has_member(value, "keep-alive");
                }
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    let repeated = framing_fields.content_length.replace(value).is_some();
                    framing_fields.content_length_repeated |= repeated;
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    framing_fields.transfer_codings.add(value);
                }
                17 if field.name.eq_ignore_ascii_case("x-forwarded-proto") => {
                    let so_far = is_forwarded_https.unwrap_or(true);
                    is_forwarded_https = Some(so_far && value.eq_ignore_ascii_case(b"https"));
                }
                _ => {}
            }
        }
        // HTTP/1.1 requires Host even if an absolute-form target overrides it.
        let host_is_good = host.map_or(version == Version::Http10, is_host);
        if host_repeated || !host_is_good {
            return Err(Rejection::Host);
        }
        let framing = framing::decide(version, &framing_fields)?;
        let method_token = line.method(head);
        let target_bytes = line.target_bytes(head);
        // An HTTP/1.0 peer does not understand an interim response, and must not get one. For a
        // message without content a server may leave 100 out or send it (RFC 9110 section 10.1.1).
        // This one leaves it out only if no field announces content: Java 17's client announces 0
        // bytes and then waits for 100.
        let announces_content =
            framing == Framing::Chunked || framing_fields.content_length.is_some();
        Ok(Request {
            method: Method::from_token(method_token),
            method_token,
            target: line.target(head).ok_or(Rejection::Target)?,
            target_bytes,
            authority: authority(target_bytes).or(host).unwrap_or_default(),
            is_forwarded_https: is_forwarded_https.unwrap_or(false),
            version,
            framing,
            unknown_expectation,
            expects_continue: asks_for_continue && version == Version::Http11 && announces_content,
            is_persistent: keep_alive && !close,
        })
    }
}

/// Splits `lines` into fields. Returns no field if the empty line at their end is still missing.
fn split_fields<'s, 'i>(
    lines: &'i [u8],
    storage: &'s mut Fields<'i>,
) -> Result<&'s Fields<'i>, httparse::Error> {
    match httparse::parse_headers(lines, storage)? {
        httparse::Status::Complete((_, fields)) => Ok(fields),
        httparse::Status::Partial => Ok(&[]),
    }
}

/// The reason to reject `lines`, for which httparse returned `error`. At most `lines_max` lines are
/// allowed.
///
/// A bare CR is judged before its line is complete. It therefore precedes every other error in the
/// same line, but no error in an earlier line.
fn rejection(error: httparse::Error, lines: &[u8], lines_max: usize) -> Rejection {
    let Some(at) = bare_carriage_return(lines) else {
        return match error {
            httparse::Error::TooManyHeaders => Rejection::HeadTooLarge,
            httparse::Error::NewLine => Rejection::LineEnding,
            _ => Rejection::FieldLine,
        };
    };
    let line_start = lines[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let before = &lines[..line_start];
    let mut storage = [httparse::EMPTY_HEADER; FIELD_LINES_MAX];
    match split_fields(before, &mut storage[..lines_max]) {
        Ok(_) => Rejection::LineEnding,
        Err(error) => rejection(error, before, lines_max),
    }
}

/// The position of the first CR that is followed by another byte than LF.
fn bare_carriage_return(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair[0] == b'\r' && pair[1] != b'\n')
}

/// The position of the first LF. Looks at eight bytes at a time, because lines are long.
fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    const LINE_FEEDS: u64 = u64::from_le_bytes([b'\n'; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ LINE_FEEDS;
        let zeros = difference.wrapping_sub(ONES) & !difference & HIGH_BITS;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(|byte| *byte == b'\n')?;
    Some(words.len() * 8 + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{METHOD_BYTES_MAX, TARGET_BYTES_MAX};

    fn read(input: &[u8]) -> Result<Option<Request<'_>>, Rejection> {
        HeadReader::default().read(input).1
    }

    fn rejection(input: &[u8]) -> Option<Rejection> {
        read(input).err()
    }

    #[test]
    fn finds_the_first_line_feed_at_every_offset() {
        for length in 0..40 {
            assert_eq!(find_line_feed(&vec![b'x'; length]), None);
            for at in 0..length {
                let mut bytes = vec![0x8a; length];
                bytes[at..].fill(b'\n');
                assert_eq!(find_line_feed(&bytes), Some(at));
            }
        }
    }

    #[test]
    fn head_limit_holds_on_both_sides() {
        let fixed = b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let head = |bytes: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - fixed))
        };
        assert!(matches!(read(head(HEAD_BYTES_MAX).as_bytes()), Ok(Some(_))));
        assert_eq!(rejection(head(HEAD_BYTES_MAX + 1).as_bytes()), Some(Rejection::HeadTooLarge));
    }

    #[test]
    fn field_line_limit_holds_on_both_sides() {
        let head = |fields: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
        };
        assert!(matches!(read(head(FIELD_LINES_MAX).as_bytes()), Ok(Some(_))));
        assert_eq!(rejection(head(FIELD_LINES_MAX + 1).as_bytes()), Some(Rejection::HeadTooLarge));
    }

    /// The verdict on `input` when it arrives in pieces of `piece_bytes` bytes.
    fn verdict(input: &[u8], piece_bytes: usize) -> Result<usize, Rejection> {
        let mut reader = HeadReader::default();
        for end in (piece_bytes..input.len()).step_by(piece_bytes).chain([input.len()]) {
            let (consumed, result) = reader.read(&input[..end]);
            if result?.is_some() {
                return Ok(consumed);
            }
        }
        panic!("an incomplete head")
    }

    #[test]
    fn a_mistake_near_a_limit_of_lines_has_one_verdict_however_it_arrives() {
        for lines_before in [14, 15, 16, 17, 98, 99, 100, 101] {
            for mistake in
                ["X: y\r\n", "no colon\r\n", "X: y\rz\r\n", "X: y\n", "\ry\r\n", " y\r\n"]
            {
                for lines_after in [0, 1, 2, 90] {
                    let head = format!(
                        "GET / HTTP/1.1\r\nHost: a\r\n{}{mistake}{}\r\n",
                        "X: y\r\n".repeat(lines_before - 1),
                        "Z:\r\n".repeat(lines_after),
                    );
                    let whole = verdict(head.as_bytes(), head.len());
                    for piece_bytes in [1, 2, 3, 7, 60, 200] {
                        let found = verdict(head.as_bytes(), piece_bytes);
                        assert_eq!(found, whole, "{lines_before} {mistake:?} {lines_after}");
                    }
                }
            }
        }
    }

    #[test]
    fn target_limit_holds_on_both_sides() {
        let head =
            |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
        assert!(matches!(read(head(TARGET_BYTES_MAX).as_bytes()), Ok(Some(_))));
        assert_eq!(
            rejection(head(TARGET_BYTES_MAX + 1).as_bytes()),
            Some(Rejection::TargetTooLong)
        );
    }

    #[test]
    fn method_limit_holds_on_both_sides() {
        let head = |bytes: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(bytes));
        assert!(matches!(read(head(METHOD_BYTES_MAX).as_bytes()), Ok(Some(_))));
        assert_eq!(
            rejection(head(METHOD_BYTES_MAX + 1).as_bytes()),
            Some(Rejection::MethodTooLong)
        );
    }

    #[test]
    fn empty_line_limit_holds_on_both_sides() {
        let head =
            |lines: usize| format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(lines));
        let max = LEADING_EMPTY_LINES_MAX as usize;
        assert!(matches!(read(head(max).as_bytes()), Ok(Some(_))));
        assert_eq!(rejection(head(max + 1).as_bytes()), Some(Rejection::EmptyLines));
    }

    #[test]
    fn a_field_value_has_no_control_byte_but_tabs() {
        let long = "x".repeat(80);
        let fields = ["Host", "Expect", "Connection", "Content-Length", "Transfer-Encoding", "X"];
        for (field, byte) in fields.into_iter().flat_map(|field| (0..=255).map(move |b| (field, b)))
        {
            let expected = match byte {
                b'\r' | b'\n' => Some(Rejection::LineEnding),
                b'\t' | b' '..=b'~' | 0x80.. => None,
                _ => Some(Rejection::FieldLine),
            };
            for (before, after) in [("", ""), ("a", ""), ("", "a"), ("a,", ",a"), (&long, &long)] {
                let start = format!("GET / HTTP/1.1\r\n{field}: {before}");
                let head = [start.as_bytes(), &[byte], after.as_bytes(), b"\r\n\r\n"].concat();
                let found = rejection(&head)
                    .filter(|found| matches!(found, Rejection::FieldLine | Rejection::LineEnding));
                assert_eq!(found, expected, "{field}: {before}{byte:#x}{after}");
            }
        }
    }

    #[test]
    fn connection_options_of_all_lines_decide_whether_the_connection_persists() {
        for (version, lines, persistent) in [
            ("1.1", "", true),
            ("1.1", "Connection: Upgrade, CLOSE ,,\r\nConnection: keep-alive\r\n", false),
            ("1.1", "Connection:\tkeep-alive\r\nConnection: close\r\n", false),
            ("1.1", "Connection: closed, x-close\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Upgrade\r\nConnection: ,\tKeep-Alive\r\n", true),
            ("1.0", "Connection: keepalive\r\n", false),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
            let found = read(head.as_bytes()).unwrap().unwrap().is_persistent;
            assert_eq!(found, persistent, "{version} {lines:?}");
        }
    }

    #[test]
    fn expectations_other_than_continue_are_unknown() {
        for (lines, continues, unknown) in [
            ("", false, false),
            ("Expect: ,\r\n", false, false),
            ("Expect: 100-Continue\r\n", true, false),
            ("Expect: 100-continue=yes\r\n", false, true),
            ("Expect: 100-continue, ,100-continue=yes\r\n", true, true),
            ("Expect: 100-continue\r\nExpect: x\r\nExpect:\r\n", true, true),
        ] {
            let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n{lines}\r\n");
            let head = read(head.as_bytes()).unwrap().unwrap();
            let found = (head.expects_continue, head.unknown_expectation);
            assert_eq!(found, (continues, unknown), "{lines:?}");
        }
    }

    #[test]
    fn garbage_is_rejected_before_its_line_ends() {
        assert_eq!(rejection(b"\x16\x03\x01\x02"), Some(Rejection::Method));
        assert_eq!(rejection(b"GET /\xff"), Some(Rejection::Target));
        assert_eq!(rejection(b"GET / http"), Some(Rejection::VersionMalformed));
        assert_eq!(
            rejection(b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n"),
            Some(Rejection::FieldLine)
        );
    }

    #[test]
    fn the_first_mistake_decides_the_rejection() {
        let input = b"GET / HTTP/1.1\r\nHo st: a\r\nX: y\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::FieldLine));
        let input = b"PRI * HTTP/2.0\r\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::Target));
        let input = b"GET / HTTP/2.0\r\nbad line\r\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::VersionUnsupported));
    }
}
