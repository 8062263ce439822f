//! The framing of answers: parses the head and finds the end of the body. Must not read from a
//! socket.

use std::io;

use crate::client::HEADER_FIELDS_MAX;

/// The head of an answer, with its field names as they were written.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The minor version of HTTP/1.
    pub(super) minor_version: u8,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    /// Its bytes on the wire.
    pub(super) bytes: usize,
}

impl Head {
    /// The head at the start of `input` and its length; `None` if it is not complete yet.
    pub(super) fn parse(input: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let parsed = match Self::parse_into(&mut [httparse::EMPTY_HEADER; FIELDS_USUAL], input) {
            Err(httparse::Error::TooManyHeaders) => {
                Self::parse_into(&mut vec![httparse::EMPTY_HEADER; HEADER_FIELDS_MAX], input)
            }
            other => other,
        };
        match parsed.map_err(no_http)? {
            Some(head) => {
                let length = head.bytes;
                Ok(Some((head, length)))
            }
            None if input.len() > HEAD_BYTES_MAX => Err(no_http("the head is too long")),
            None => Ok(None),
        }
    }

    fn parse_into<'a>(
        fields: &mut [httparse::Header<'a>],
        input: &'a [u8],
    ) -> Result<Option<Self>, httparse::Error> {
        let mut response = httparse::Response::new(fields);
        let mut parser = httparse::ParserConfig::default();
        // The loop accepts such lines as well.
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let httparse::Status::Complete(length) = parser.parse_response(&mut response, input)?
        else {
            return Ok(None);
        };
        let head = Self {
            minor_version: response.version.unwrap_or(1),
            status: response.code.unwrap_or(0),
            fields: response
                .headers
                .iter()
                .map(|field| (field.name.to_owned(), text(field.value)))
                .collect(),
            bytes: length,
        };
        Ok(Some(head))
    }

    pub(super) fn field(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let is_it = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(is_it).map(|(_, value)| value.as_str())
    }

    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The length of the body, if a field says it and is valid for it.
    pub(super) fn length(&self) -> Option<u64> {
        if self.is_chunked() { None } else { self.field("content-length")?.parse().ok() }
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|coding| {
            coding
                .rsplit(',')
                .next()
                .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
        })
    }

    /// Whether the server closes after this answer.
    pub(super) fn closes(&self) -> bool {
        let named = |token: &str| {
            self.all("connection")
                .flat_map(|value| value.split(','))
                .any(|word| word.trim().eq_ignore_ascii_case(token))
        };
        named("close") || (self.minor_version == 0 && !named("keep-alive"))
    }
}

/// The body of an answer, as far as it has arrived (RFC 9112 section 6.3).
#[derive(Debug)]
pub(super) enum Body {
    /// This many bytes are still to come.
    Length(u64),
    Chunked(Chunk),
    /// It ends with the connection.
    Open,
}

#[derive(Debug)]
pub(super) enum Chunk {
    /// A line with a size is next.
    Size,
    /// This many bytes are still to come, then an empty line.
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

impl Body {
    pub(super) fn of(head: &Head) -> io::Result<Self> {
        if head.is_interim() || head.status == 204 || head.status == 304 {
            return Ok(Self::Length(0));
        }
        if head.is_chunked() {
            return Ok(Self::Chunked(Chunk::Size));
        }
        match head.field("content-length") {
            Some(text) => text.parse().map(Self::Length).map_err(no_http),
            None => Ok(Self::Open),
        }
    }

    /// Consumes the part of `input` that belongs to the body, passes its data to `show`, and
    /// returns how many bytes of `input` were consumed.
    pub(super) fn take(&mut self, input: &[u8], mut show: impl FnMut(&[u8])) -> io::Result<usize> {
        match self {
            Self::Open => {
                show(input);
                Ok(input.len())
            }
            Self::Length(left) => Ok(take_data(left, input, &mut show)),
            Self::Chunked(chunk) => {
                let mut taken = 0;
                loop {
                    let step = chunk.take(&input[taken..], &mut show)?;
                    taken += step;
                    if step == 0 {
                        return Ok(taken);
                    }
                }
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    pub(super) fn ends_by_closing(&self) -> bool {
        matches!(self, Self::Open)
    }
}

impl Chunk {
    // Does one step. If it consumes nothing, it needs more input or the body is complete.
    fn take(&mut self, input: &[u8], show: &mut impl FnMut(&[u8])) -> io::Result<usize> {
        if let Self::Data(left) = self {
            let taken = take_data(left, input, show);
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Ok(taken);
        }
        if matches!(self, Self::Done) {
            return Ok(0);
        }
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return if input.len() > LINE_BYTES_MAX { Err(no_http("a chunk size")) } else { Ok(0) };
        };
        let line = input[..end].trim_ascii_end();
        *self = match self {
            Self::Size => match chunk_size(line)? {
                0 => Self::Trailer,
                size => Self::Data(size),
            },
            Self::DataEnd => Self::Size,
            _ if line.is_empty() => Self::Done,
            _ => Self::Trailer,
        };
        Ok(end + 1)
    }
}

fn take_data(left: &mut u64, input: &[u8], show: &mut impl FnMut(&[u8])) -> usize {
    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    show(&input[..part]);
    *left -= part as u64;
    part
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(line);
    let digits = text.split(';').next().unwrap_or_default().trim();
    // The parser would also take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(no_http("a chunk size"));
    }
    u64::from_str_radix(digits, 16).map_err(no_http)
}

/// The value of a field, which may be folded into several lines (RFC 9112 section 5.2).
fn text(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let lines: Vec<_> = value.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

fn no_http(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is not HTTP/1.1: {why}"))
}

/// More fields than this are rare, so room for them is made only then.
const FIELDS_USUAL: usize = 100;
/// Twice as much as the largest head that servers commonly send.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The line of a chunk size with its extensions.
const LINE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    /// The data of a body that arrives `step` bytes at a time, and how many bytes are left behind
    /// it.
    fn taken(body: Body, input: &[u8], step: usize) -> (Vec<u8>, bool, usize) {
        let (mut body, mut data, mut waiting, mut left) = (body, Vec::new(), Vec::new(), 0);
        for piece in input.chunks(step) {
            waiting.extend_from_slice(piece);
            let done = body.take(&waiting, |bytes| data.extend_from_slice(bytes)).unwrap();
            waiting.drain(..done);
            left = waiting.len();
        }
        (data, body.is_complete(), left)
    }

    #[test]
    fn a_head_is_parsed_only_when_it_is_complete() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVIA: 1.0 a\r\n\r\nhello";
        let end = text.len() - 5;
        assert!(Head::parse(&text.as_bytes()[..end - 1]).unwrap().is_none());
        let (head, length) = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.status, head.minor_version, length), (200, 1, end));
        assert_eq!((head.field("via"), head.fields[1].0.as_str()), (Some("1.0 a"), "VIA"));
        assert!(Head::parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn a_head_may_have_as_many_fields_as_the_loop_accepts_and_folded_ones() {
        let many = |fields| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(fields));
        for fields in [150, HEADER_FIELDS_MAX] {
            assert_eq!(head(&many(fields)).fields.len(), fields);
        }
        assert!(Head::parse(many(HEADER_FIELDS_MAX + 1).as_bytes()).is_err());
        let folded = head("HTTP/1.1 200 OK\r\nVia: 1.0 a,\r\n\t 1.1 b\r\nA: c\r\n\r\n");
        assert_eq!((folded.field("via"), folded.field("a")), (Some("1.0 a, 1.1 b"), Some("c")));
    }

    #[test]
    fn rejects_a_head_beyond_the_limit() {
        let mut text = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        text.resize(HEAD_BYTES_MAX, b'x');
        assert!(Head::parse(&text).unwrap().is_none());
        text.push(b'x');
        assert!(Head::parse(&text).is_err());
    }

    #[test]
    fn finds_the_end_of_a_body_however_it_is_cut() {
        let chunked = b"5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nT: x\r\n\r\n";
        for step in 1..=chunked.len() {
            let whole = taken(Body::Chunked(Chunk::Size), chunked, step);
            assert_eq!(whole, (b"helloyou".to_vec(), true, 0), "{step}");
            assert_eq!(taken(Body::Length(3), b"abcde", step), (b"abc".to_vec(), true, 2));
        }
        let part = taken(Body::Chunked(Chunk::Size), &chunked[..8], 8);
        assert_eq!(part, (b"h".to_vec(), false, 0));
        assert!(Body::Chunked(Chunk::Size).take(b"x\r\n", |_| {}).is_err());
    }

    #[test]
    fn chooses_the_framing_as_rfc_9112_does() {
        let body = |fields: &str| Body::of(&head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")));
        assert!(matches!(body("Content-Length: 7\r\n"), Ok(Body::Length(7))));
        assert!(matches!(body("Transfer-Encoding: gzip, chunked\r\n"), Ok(Body::Chunked(_))));
        assert!(matches!(body(""), Ok(Body::Open)));
        assert!(body("Content-Length: x\r\n").is_err());
        let none = head("HTTP/1.1 204 No Content\r\n\r\n");
        assert!(Body::of(&none).unwrap().is_complete());
    }

    #[test]
    fn knows_when_the_server_closes_the_connection() {
        let closes = |text: &str| head(text).closes();
        assert!(!closes("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(closes("HTTP/1.1 200 OK\r\nConnection: a, Close\r\n\r\n"));
        assert!(closes("HTTP/1.0 200 OK\r\n\r\n"));
        assert!(!closes("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"));
    }
}
