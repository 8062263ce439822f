//! Owns the request line: its bytes, its limits, and what its target names. It is not left to
//! httparse, which accepts targets and versions that RFC 9112 does not allow.
//!
//! A fast path reads a usual line that has arrived whole; any other line is read byte by byte. Both
//! paths end in the same state.

use crate::fields::{hides_control_byte, is_host};
use crate::grammar::{PATH, QUERY, TOKEN, is_of};
use crate::limits::{METHOD_BYTES_MAX, TARGET_BYTES_MAX};
use crate::{Rejection, Target, Version};

/// The only scheme that an absolute-form target may have here.
const SCHEME: &[u8] = b"http://";

/// How usual lines begin.
const USUAL_STARTS: [&[u8]; 4] = [b"GET /", b"HEAD /", b"POST /", b"PUT /"];

/// What follows the target of a usual line.
const USUAL_END: &[u8; 11] = b" HTTP/1.1\r\n";

/// How far the request line has been read: the method as long as its end is not known, then the
/// target as long as its end is not known, then the version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestLine {
    /// Bytes that have been read; the rest of the line follows them.
    pub(crate) position: usize,
    /// 0 until it is known.
    method_end: usize,
    /// End of the target up to its first `?`; 0 until it is known.
    path_end: usize,
    /// 0 until it is known.
    target_end: usize,
    /// Hexadecimal digits that must follow a `%` in the target.
    hex_digits_due: u8,
}

impl RequestLine {
    /// Continues where the last call stopped. Returns true once the line is complete, its CRLF
    /// included.
    pub(crate) fn read(&mut self, window: &[u8]) -> Result<bool, Rejection> {
        if self.position == 0 && self.read_usual(window) {
            return Ok(true);
        }
        self.read_bytes(window)
    }

    pub(crate) fn method<'i>(&self, head: &'i [u8]) -> &'i [u8] {
        &head[..self.method_end]
    }

    pub(crate) fn target_bytes<'i>(&self, head: &'i [u8]) -> &'i [u8] {
        &head[self.method_end + 1..self.target_end]
    }

    pub(crate) fn version(&self, head: &[u8]) -> Version {
        let minor = head[self.target_end + USUAL_END.len() - 3];
        if minor == b'0' { Version::Http10 } else { Version::Http11 }
    }

    /// What the target names; none if its form is not valid. Its bytes must have been checked.
    pub(crate) fn target<'i>(&self, head: &'i [u8]) -> Option<Target<'i>> {
        let bytes = self.target_bytes(head);
        let query = head[self.path_end..self.target_end].get(1..).unwrap_or_default();
        let mut path = &head[self.method_end + 1..self.path_end];
        if bytes == b"*" {
            return Some(Target::Asterisk);
        }
        if bytes.first() != Some(&b'/') {
            let authority = authority(bytes).filter(|authority| is_host(authority))?;
            // An empty path is the root (RFC 9110 section 4.2.3).
            path = match &path[SCHEME.len() + authority.len()..] {
                b"" => b"/",
                path => path,
            };
        }
        Some(Target::Path { path, query })
    }

    /// The fast path. Reads a line that has arrived whole and has nothing unusual: one of four
    /// methods, origin-form, no percent-encoding, HTTP/1.1. Returns false, and changes nothing, for
    /// any other line.
    fn read_usual(&mut self, window: &[u8]) -> bool {
        let Some(start) = USUAL_STARTS.into_iter().find(|start| window.starts_with(start)) else {
            return false;
        };
        let method_end = start.len() - b" /".len();
        let path_end = end_of_run(window, method_end + 1, PATH);
        let target_end = match window.get(path_end) {
            Some(b'?') => end_of_run(window, path_end + 1, PATH | QUERY),
            _ => path_end,
        };
        let is_too_long = target_end - method_end - 1 > TARGET_BYTES_MAX;
        if is_too_long || !window[target_end..].starts_with(USUAL_END) {
            return false;
        }
        let position = target_end + USUAL_END.len();
        *self = Self { position, method_end, path_end, target_end, hex_digits_due: 0 };
        true
    }

    fn read_bytes(&mut self, window: &[u8]) -> Result<bool, Rejection> {
        if self.target_end > 0 && self.position == self.target_end + USUAL_END.len() {
            return Ok(true);
        }
        while let Some(byte) = window.get(self.position).copied() {
            match (self.method_end, self.target_end) {
                (0, _) => self.method_byte(byte)?,
                (_, 0) => self.target_byte(byte, window)?,
                _ => self.version_byte(byte, window)?,
            }
            self.position += 1;
            // The line feed at the end is the only one that is not rejected.
            if byte == b'\n' {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn method_byte(&mut self, byte: u8) -> Result<(), Rejection> {
        if byte == b' ' && self.position > 0 {
            self.method_end = self.position;
            return Ok(());
        }
        if !is_of(byte, TOKEN) {
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
            if self.path_end == 0 {
                self.path_end = self.position;
            }
            return self.check_form(window);
        } else if byte == b'\r' && self.position > start {
            // HTTP/0.9: a request line that ends with its target.
            return Err(Rejection::VersionMalformed);
        } else if byte == b'%' {
            self.hex_digits_due = 2;
        } else if !is_of(byte, PATH | QUERY) {
            return Err(if byte == b'\n' { Rejection::LineEnding } else { Rejection::Target });
        } else if byte == b'?' && self.path_end == 0 {
            self.path_end = self.position;
        }
        if self.position - start == TARGET_BYTES_MAX {
            return Err(Rejection::TargetTooLong);
        }
        Ok(())
    }

    fn version_byte(&self, byte: u8, window: &[u8]) -> Result<(), Rejection> {
        let is_in_place = match USUAL_END[self.position - self.target_end] {
            b'\r' if byte == b'\n' => return Err(Rejection::LineEnding),
            b'\n' if byte != b'\n' => return Err(Rejection::LineEnding),
            b'\n' => {
                let name = &window[self.target_end..self.position - 1];
                let is_supported = matches!(name, b" HTTP/1.0" | b" HTTP/1.1");
                return if is_supported { Ok(()) } else { Err(Rejection::VersionUnsupported) };
            }
            b'1' => byte.is_ascii_digit(),
            usual => byte == usual,
        };
        if is_in_place { Ok(()) } else { Err(Rejection::VersionMalformed) }
    }

    /// Checks that the method allows the form of the target (RFC 9112 section 3.2).
    fn check_form(&self, window: &[u8]) -> Result<(), Rejection> {
        let method = self.method(window);
        if method == b"CONNECT" {
            return Err(Rejection::Tunnel);
        }
        let is_valid = match self.target(window) {
            Some(Target::Asterisk) => method == b"OPTIONS",
            Some(Target::Path { path, .. }) => !has_bracket(path) && !hides_control_byte(path),
            None => false,
        };
        if is_valid { Ok(()) } else { Err(Rejection::Target) }
    }
}

/// The authority of an absolute-form target.
pub(crate) fn authority(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    rest.split(|byte| matches!(byte, b'/' | b'?')).next()
}

/// Brackets belong to IP literals: a path has none (RFC 3986 section 3.3).
fn has_bracket(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'[' | b']'))
}

/// The end of the run of bytes of these kinds that begins at `start`.
fn end_of_run(window: &[u8], start: usize, kinds: u8) -> usize {
    let rest = &window[start..];
    let run = rest.iter().position(|byte| !is_of(*byte, kinds));
    start + run.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::messages::message;
    use crate::rig::mutation::mutate;
    use crate::rig::random::Random;
    use crate::rig::vector::{folder, read_all};

    /// Reads `first` and then `whole`, which begins with `first`: once with the fast path, and once
    /// without it.
    fn verdicts(first: &[u8], whole: &[u8]) -> [(Result<bool, Rejection>, RequestLine); 2] {
        [RequestLine::read, RequestLine::read_bytes].map(|read| {
            let mut line = RequestLine::default();
            let verdict = match read(&mut line, first) {
                Ok(false) => read(&mut line, whole),
                verdict => verdict,
            };
            (verdict, line)
        })
    }

    #[test]
    fn both_ways_agree_on_every_input_and_every_cut() {
        let sections = read_all(folder());
        let cases = sections.iter().flat_map(|section| &section.cases);
        let mut texts: Vec<Vec<u8>> = cases.map(|case| case.bytes()).collect();
        texts.extend((0..500).map(|seed| message(&mut Random::new(seed)).bytes));
        let others: Vec<&[u8]> = texts.iter().map(|text| &text[..]).collect();
        let random = &mut Random::new(1);
        let alphabet = b"GETHADPOSU /?%[]#\r\n.019azHTTP/1.1\t\x00\xff";
        let mut usual = 0;
        for round in 0..12_000 {
            let text = match round {
                _ if round < others.len() => others[round].to_vec(),
                _ if random.one_in(2) => mutate(random.pick(&others), &others, random),
                _ => {
                    let mut text = random.pick::<[u8]>(&[b"GET /", b"HEAD /", b""]).to_vec();
                    text.extend(
                        (0..random.below(12)).map(|_| alphabet[random.below(alphabet.len())]),
                    );
                    text.extend_from_slice(random.pick::<[u8]>(&[b" HTTP/1.1\r\n", b"\r\n", b""]));
                    text
                }
            };
            let line_end = text.iter().position(|byte| *byte == b'\n');
            let end = line_end.map_or(text.len(), |at| at + 1).min(200);
            for cut in 0..=end {
                let [fast, slow] = verdicts(&text[..cut], &text);
                assert_eq!(fast, slow, "cut at {cut}: {}", text.escape_ascii());
            }
            usual += usize::from(RequestLine::default().read_usual(&text));
        }
        assert!(usual > 2000, "the fast way was taken {usual} times");
    }

    #[test]
    fn both_ways_have_the_same_limit() {
        for bytes in [TARGET_BYTES_MAX - 1, TARGET_BYTES_MAX, TARGET_BYTES_MAX + 1] {
            for target in ["/".repeat(bytes), format!("/?{}", "x".repeat(bytes - 2))] {
                let line = format!("GET {target} HTTP/1.1\r\n");
                let [fast, slow] = verdicts(b"", line.as_bytes());
                assert_eq!(fast, slow, "{bytes}");
                assert_eq!(fast.0.is_ok(), bytes <= TARGET_BYTES_MAX, "{bytes}");
            }
        }
    }
}
