//! Owns the way from bytes to a request head or the reason why there is none. The only file that
//! names httparse, which splits the field lines; the request line is checked here byte by byte,
//! because httparse takes targets and versions that RFC 9112 does not.
//!
//! Verdicts depend on the bytes alone: lines are judged in the order they stand, and a line that
//! is complete is judged at once, so that a peer that sends garbage hears of it without a timeout.

use std::mem::MaybeUninit;

use crate::fields::{
    ConnectionOptions, Expectations, hides_control_byte, is_host, is_token_byte, trim,
};
use crate::framing::{self, FramingFields};
use crate::limits::{
    FIELD_LINES_MAX, HEAD_BYTES_MAX, LEADING_EMPTY_LINES_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX,
};
use crate::{Method, Rejection, Request, Target, Version};

/// The only scheme of an absolute-form target that names something here.
const SCHEME: &[u8] = b"http://";

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'i> {
    pub(crate) request: Request<'i>,
    /// The peer allows another request after this one.
    pub(crate) persistent: bool,
    /// The peer waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// What became of the bytes so far.
pub(crate) struct Scan<'i> {
    /// Bytes that are done with: leading empty lines, and the head once it is complete.
    pub(crate) consumed: usize,
    pub(crate) outcome: Outcome<'i>,
}

pub(crate) enum Outcome<'i> {
    NeedData,
    Head(Head<'i>),
    Rejected(Rejection),
}

/// Where the reading of one head stands, so that no byte of it is looked at twice while it
/// arrives piece by piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeadReader {
    empty_lines: u8,
    request_line: RequestLine,
    /// Bytes in which every line end has been looked at.
    scanned: usize,
    /// Bytes up to the end of the last complete line.
    lines: usize,
}

impl HeadReader {
    /// Looks at `input`, which starts with the bytes not consumed before.
    pub(crate) fn read<'i>(&mut self, input: &'i [u8]) -> Scan<'i> {
        let (skipped, rejection) = self.skip_empty_lines(input);
        let outcome = match rejection {
            Some(rejection) => Outcome::Rejected(rejection),
            None => match self.read_lines(&input[skipped..]) {
                Ok(None) => Outcome::NeedData,
                Ok(Some(head)) => {
                    let consumed = skipped + self.lines;
                    *self = Self::default();
                    return Scan { consumed, outcome: Outcome::Head(head) };
                }
                Err(rejection) => Outcome::Rejected(rejection),
            },
        };
        Scan { consumed: skipped, outcome }
    }

    /// Whether bytes of a head have arrived: an empty line before it does not count.
    pub(crate) fn has_begun(&self) -> bool {
        self.request_line.position > 0
    }

    fn skip_empty_lines(&mut self, input: &[u8]) -> (usize, Option<Rejection>) {
        let mut skipped = 0;
        while !self.has_begun() && input[skipped..].starts_with(b"\r\n") {
            if self.empty_lines == LEADING_EMPTY_LINES_MAX {
                return (skipped, Some(Rejection::EmptyLines));
            }
            self.empty_lines += 1;
            skipped += 2;
        }
        (skipped, None)
    }

    fn read_lines<'i>(&mut self, input: &'i [u8]) -> Result<Option<Head<'i>>, Rejection> {
        // A lone CR may yet become an empty line.
        if input == b"\r" && !self.has_begun() {
            return Ok(None);
        }
        let window = &input[..input.len().min(HEAD_BYTES_MAX)];
        if !self.request_line.read(window)? {
            return Ok(None);
        }
        let lines_before = self.lines;
        self.lines = self.lines.max(self.request_line.position);
        self.scanned = self.scanned.max(self.request_line.position);
        while let Some(found) = find_line_feed(&window[self.scanned..]) {
            let line_feed = self.scanned + found;
            if window[line_feed - 1] != b'\r' {
                split_fields(&window[..self.lines])?;
                return Err(Rejection::LineEnding);
            }
            let line_is_empty = line_feed - self.lines == 1;
            self.scanned = line_feed + 1;
            self.lines = line_feed + 1;
            if line_is_empty {
                return self.complete(&window[..self.lines]).map(Some);
            }
        }
        self.scanned = window.len();
        if self.lines > lines_before || input.len() >= HEAD_BYTES_MAX {
            split_fields(&window[..self.lines])?;
        }
        if input.len() >= HEAD_BYTES_MAX {
            return Err(Rejection::HeadTooLarge);
        }
        Ok(None)
    }

    /// Judges a head that has arrived whole.
    fn complete<'i>(&self, head: &'i [u8]) -> Result<Head<'i>, Rejection> {
        let mut storage = [const { MaybeUninit::uninit() }; FIELD_LINES_MAX];
        let fields = parse(head, &mut storage)?;
        let line = &self.request_line;
        let version = line.version();
        let mut host = None;
        let mut host_repeated = false;
        let mut is_forwarded_https = None;
        let mut framing_fields = FramingFields::default();
        let mut connection = ConnectionOptions::default();
        let mut expectations = Expectations::default();
        for field in fields {
            let value = trim(field.value);
            match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => {
                    host_repeated |= host.replace(value).is_some();
                }
                6 if field.name.eq_ignore_ascii_case("expect") => expectations.add(value),
                10 if field.name.eq_ignore_ascii_case("connection") => connection.add(value),
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
        // Host is required in HTTP/1.1 even where an absolute-form target overrides it.
        let host_is_good = host.map_or(version == Version::Http10, is_host);
        if host_repeated || !host_is_good {
            return Err(Rejection::Host);
        }
        let framing = framing::decide(version, &framing_fields)?;
        let request = Request {
            method: Method::from_token(&head[..line.method_end]),
            method_token: &head[..line.method_end],
            target: target(line.target(head)).ok_or(Rejection::Target)?,
            target_bytes: line.target(head),
            authority: authority(line.target(head)).or(host).unwrap_or_default(),
            is_forwarded_https: is_forwarded_https.unwrap_or(false),
            version,
            framing,
            unknown_expectation: expectations.unknown,
        };
        let persistent = match version {
            Version::Http11 => !connection.close,
            Version::Http10 => connection.keep_alive && !connection.close,
        };
        // An HTTP/1.0 peer can not take an interim response (RFC 9110 section 10.1.1).
        let expects_continue =
            expectations.continue_100 && version == Version::Http11 && !framing.is_empty();
        Ok(Head { request, persistent, expects_continue })
    }
}

/// Where the reading of a request line stands.
#[derive(Clone, Debug, Default)]
struct RequestLine {
    /// Bytes that have been read; what is left of the line comes next.
    position: usize,
    part: Part,
    method_end: usize,
    target_end: usize,
    /// Hexadecimal digits that a `%` in the target still wants.
    hex_digits_due: u8,
    version_digits: [u8; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Method,
    Target,
    Version,
    Done,
}

impl RequestLine {
    /// Reads on, byte by byte. True once the line is complete, its CRLF included.
    fn read(&mut self, window: &[u8]) -> Result<bool, Rejection> {
        while self.part != Part::Done {
            let Some(byte) = window.get(self.position).copied() else { return Ok(false) };
            match self.part {
                Part::Method => self.method_byte(byte)?,
                Part::Target => self.target_byte(byte, window)?,
                Part::Version | Part::Done => self.version_byte(byte)?,
            }
            self.position += 1;
        }
        Ok(true)
    }

    fn method_byte(&mut self, byte: u8) -> Result<(), Rejection> {
        if byte == b' ' && self.position > 0 {
            self.method_end = self.position;
            self.part = Part::Target;
            return Ok(());
        }
        if !is_token_byte(byte) {
            return Err(if byte == b'\n' { Rejection::LineEnding } else { Rejection::Method });
        }
        if self.position == METHOD_BYTES_MAX {
            return Err(Rejection::MethodTooLong);
        }
        Ok(())
    }

    fn target_byte(&mut self, byte: u8, window: &[u8]) -> Result<(), Rejection> {
        let start = self.method_end + 1;
        if self.hex_digits_due > 0 {
            if !byte.is_ascii_hexdigit() {
                return Err(Rejection::Target);
            }
            self.hex_digits_due -= 1;
        } else if byte == b' ' && self.position > start {
            self.target_end = self.position;
            self.part = Part::Version;
            return check_form(&window[..self.method_end], self.target(window));
        } else if byte == b'\r' && self.position > start {
            // HTTP/0.9: a request line that ends with its target.
            return Err(Rejection::VersionMalformed);
        } else if byte == b'%' {
            self.hex_digits_due = 2;
        } else if !is_target_byte(byte) {
            return Err(if byte == b'\n' { Rejection::LineEnding } else { Rejection::Target });
        }
        if self.position - start == TARGET_BYTES_MAX {
            return Err(Rejection::TargetTooLong);
        }
        Ok(())
    }

    fn version_byte(&mut self, byte: u8) -> Result<(), Rejection> {
        const NAME: &[u8; 5] = b"HTTP/";
        let index = self.position - self.target_end - 1;
        let as_expected = match index {
            0..=4 => byte == NAME[index],
            5 | 7 => {
                self.version_digits[(index - 5) / 2] = byte;
                byte.is_ascii_digit()
            }
            6 => byte == b'.',
            8 if byte == b'\n' => return Err(Rejection::LineEnding),
            8 => byte == b'\r',
            _ if byte != b'\n' => return Err(Rejection::LineEnding),
            _ => {
                self.part = Part::Done;
                let spoken = matches!(&self.version_digits, b"10" | b"11");
                return if spoken { Ok(()) } else { Err(Rejection::VersionUnsupported) };
            }
        };
        if as_expected { Ok(()) } else { Err(Rejection::VersionMalformed) }
    }

    fn target<'i>(&self, head: &'i [u8]) -> &'i [u8] {
        &head[self.method_end + 1..self.target_end]
    }

    fn version(&self) -> Version {
        if self.version_digits[1] == b'0' { Version::Http10 } else { Version::Http11 }
    }
}

/// Whether `byte` may stand in a request-target. `[` and `]` belong to IP literals, and are seen
/// in queries; `#` never reaches a server (RFC 9112 section 3.2, RFC 3986 appendix A).
fn is_target_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~')
}

/// Which form goes with which method (RFC 9112 section 3.2).
fn check_form(method: &[u8], target: &[u8]) -> Result<(), Rejection> {
    if method == b"CONNECT" {
        return Err(Rejection::Tunnel);
    }
    let good = match self::target(target) {
        Some(Target::Asterisk) => method == b"OPTIONS",
        Some(Target::Path { path, .. }) => !hides_control_byte(path),
        None => false,
    };
    if good { Ok(()) } else { Err(Rejection::Target) }
}

/// What a request-target whose bytes have been checked names; none if it has no valid form.
fn target(bytes: &[u8]) -> Option<Target<'_>> {
    if bytes == b"*" {
        return Some(Target::Asterisk);
    }
    if bytes.first() == Some(&b'/') {
        return Some(split_query(bytes));
    }
    let authority = authority(bytes).filter(|authority| is_host(authority))?;
    // An empty path is the root (RFC 9110 section 4.2.3).
    match split_query(&bytes[SCHEME.len() + authority.len()..]) {
        Target::Path { path: b"", query } => Some(Target::Path { path: b"/", query }),
        target => Some(target),
    }
}

/// The authority of an absolute-form target.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    rest.split(|byte| matches!(byte, b'/' | b'?')).next()
}

fn split_query(bytes: &[u8]) -> Target<'_> {
    match bytes.iter().position(|byte| *byte == b'?') {
        Some(mark) => Target::Path { path: &bytes[..mark], query: &bytes[mark + 1..] },
        None => Target::Path { path: bytes, query: &[] },
    }
}

/// Judges the field lines that are complete so far.
fn split_fields(lines: &[u8]) -> Result<(), Rejection> {
    let mut storage = [const { MaybeUninit::uninit() }; FIELD_LINES_MAX];
    parse(lines, &mut storage).map(|_| ())
}

fn parse<'s, 'i>(
    lines: &'i [u8],
    storage: &'s mut [MaybeUninit<httparse::Header<'i>>],
) -> Result<&'s [httparse::Header<'i>], Rejection> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(lines, storage) {
        Ok(httparse::Status::Complete(_)) => Ok(request.headers),
        Ok(httparse::Status::Partial) => Ok(&[]),
        Err(httparse::Error::TooManyHeaders) => Err(Rejection::HeadTooLarge),
        Err(httparse::Error::NewLine) => Err(Rejection::LineEnding),
        // The request line has been judged before, so that what is left are field lines.
        Err(_) => Err(Rejection::FieldLine),
    }
}

/// The first LF in `bytes`, found eight bytes at a time: a head is mostly text without one.
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

    fn read(input: &[u8]) -> Outcome<'_> {
        HeadReader::default().read(input).outcome
    }

    fn rejection(input: &[u8]) -> Option<Rejection> {
        match read(input) {
            Outcome::Rejected(rejection) => Some(rejection),
            _ => None,
        }
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
    fn target_bytes_are_those_of_the_uri_grammar() {
        let allowed: Vec<u8> = (0..=255).filter(|byte| is_target_byte(*byte)).collect();
        let expected: Vec<u8> = (0..=255_u8)
            .filter(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(byte))
            .collect();
        // `%` is taken where its two digits are counted.
        assert_eq!(allowed, expected);
    }

    #[test]
    fn head_limit_holds_on_both_sides() {
        let fixed = b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let head = |bytes: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(bytes - fixed))
        };
        assert!(matches!(read(head(HEAD_BYTES_MAX).as_bytes()), Outcome::Head(_)));
        assert_eq!(rejection(head(HEAD_BYTES_MAX + 1).as_bytes()), Some(Rejection::HeadTooLarge));
    }

    #[test]
    fn field_line_limit_holds_on_both_sides() {
        let head = |fields: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
        };
        assert!(matches!(read(head(FIELD_LINES_MAX).as_bytes()), Outcome::Head(_)));
        assert_eq!(rejection(head(FIELD_LINES_MAX + 1).as_bytes()), Some(Rejection::HeadTooLarge));
    }

    #[test]
    fn target_limit_holds_on_both_sides() {
        let head =
            |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
        assert!(matches!(read(head(TARGET_BYTES_MAX).as_bytes()), Outcome::Head(_)));
        assert_eq!(
            rejection(head(TARGET_BYTES_MAX + 1).as_bytes()),
            Some(Rejection::TargetTooLong)
        );
    }

    #[test]
    fn method_limit_holds_on_both_sides() {
        let head = |bytes: usize| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(bytes));
        assert!(matches!(read(head(METHOD_BYTES_MAX).as_bytes()), Outcome::Head(_)));
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
        assert!(matches!(read(head(max).as_bytes()), Outcome::Head(_)));
        assert_eq!(rejection(head(max + 1).as_bytes()), Some(Rejection::EmptyLines));
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
    fn the_first_mistake_is_the_one_that_is_told() {
        let input = b"GET / HTTP/1.1\r\nHo st: a\r\nX: y\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::FieldLine));
        let input = b"PRI * HTTP/2.0\r\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::Target));
        let input = b"GET / HTTP/2.0\r\nbad line\r\n\r\n";
        assert_eq!(rejection(input), Some(Rejection::VersionUnsupported));
    }
}
