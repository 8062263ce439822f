//! Owns the reading of a body, and above all the chunked transfer coding (RFC 9112 section 7.1).
//! Reads its framing byte by byte and accepts only what the grammar allows, so that no other parser
//! can disagree about where the body ends.

use crate::grammar::{TOKEN, is_field_byte, is_of};
use crate::limits::{
    BODY_BYTES_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, FIELD_LINES_MAX,
    TRAILER_BYTES_MAX,
};
use crate::{Framing, Rejection};

/// Finds the content and the end of a body.
#[derive(Clone, Debug, Default)]
pub struct BodyDecoder {
    state: State,
    is_chunked: bool,
    /// The chunk-size that is being read; after that, the bytes of data that are left in the chunk,
    /// so that it is 0 again when the next size begins. A body that is not chunked is read as the
    /// data of one chunk.
    chunk_bytes: u64,
    size_digits: u8,
    body_bytes: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_lines: usize,
}

/// What [`BodyDecoder::decode`] found at the front of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'i> {
    /// There was only framing. All of the input was read, and more is needed.
    NeedData,
    /// Content; never empty.
    Data(&'i [u8]),
    /// The end of the body, its trailer section included.
    End,
}

/// What the next byte must be. The names are those of the grammar.
///
/// To find the end of an extension, two of the states named `Extension` would be enough. The others
/// check its grammar, as the vectors demand (`in_an_extension`): request smuggling becomes possible
/// if a server accepts an extension that the proxy in front of it reads differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Whitespace after a size or an extension: a `;` must follow.
    ExtensionOrSpace,
    ExtensionNameStart,
    ExtensionName,
    /// Whitespace after the name of an extension: `=` or `;` must follow.
    ExtensionNameSpace,
    ExtensionValueStart,
    ExtensionValue,
    ExtensionQuoted,
    ExtensionQuotedPair,
    ExtensionQuotedEnd,
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: Framing) -> Self {
        let (state, chunk_bytes) = match framing {
            Framing::Length(0) => (State::Done, 0),
            Framing::Length(bytes) => (State::Data, bytes),
            Framing::Chunked => (State::Size, 0),
        };
        let is_chunked = framing == Framing::Chunked;
        Self { state, is_chunked, chunk_bytes, ..Self::default() }
    }

    /// Reads from the front of `input` up to the end of one run of content, of the body, or of the
    /// input. Returns how many bytes it read, and what they were.
    ///
    /// # Errors
    /// The framing breaks its grammar ([`Rejection::Chunk`]) or exceeds a limit. The decoder must
    /// not be used again.
    pub fn decode<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Step<'i>), Rejection> {
        let mut position = 0;
        while !self.is_complete() {
            if self.state == State::Data && position < input.len() {
                let left = usize::try_from(self.chunk_bytes).unwrap_or(usize::MAX);
                let data = &input[position..];
                let data = &data[..data.len().min(left)];
                self.skip(data.len() as u64);
                return Ok((position + data.len(), Step::Data(data)));
            }
            let Some(byte) = input.get(position) else { return Ok((position, Step::NeedData)) };
            self.state = self.next(*byte)?;
            position += 1;
        }
        Ok((position, Step::End))
    }

    /// Length of the content that comes next without framing in between, in bytes; 0 if framing
    /// comes next.
    pub fn content_ahead(&self) -> u64 {
        if self.state == State::Data { self.chunk_bytes } else { 0 }
    }

    /// Counts `bytes` bytes of content that the caller consumed without the decoder.
    ///
    /// `bytes` is at most [`Self::content_ahead`].
    pub fn skip(&mut self, bytes: u64) {
        assert!(bytes <= self.content_ahead());
        self.chunk_bytes -= bytes;
        if self.chunk_bytes == 0 {
            self.state = if self.is_chunked { State::DataCarriageReturn } else { State::Done };
        }
    }

    /// Whether the end of the body has been read.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    fn next(&mut self, byte: u8) -> Result<State, Rejection> {
        use State as S;
        match (self.state, byte) {
            (S::Size, _) => self.size(byte),
            (S::SizeLineFeed, b'\n') => self.chunk_begins(),
            (S::DataCarriageReturn, b'\r') => Ok(S::DataLineFeed),
            (S::DataLineFeed, b'\n') => Ok(S::Size),
            (S::LastLineFeed, b'\n') => Ok(S::Done),
            (S::SizeLineFeed | S::DataCarriageReturn | S::DataLineFeed | S::LastLineFeed, _) => {
                Err(Rejection::Chunk)
            }
            (S::TrailerStart | S::TrailerName | S::TrailerValue | S::TrailerLineFeed, _) => {
                self.trailer(byte)
            }
            (S::Data | S::Done, _) => unreachable!("decode handles these states itself"),
            _ => self.extension(byte),
        }
    }

    /// `chunk-size = 1*HEXDIG`: no sign, no space, no underscore, no `0x`.
    fn size(&mut self, byte: u8) -> Result<State, Rejection> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.size_digits == 0 => return Err(Rejection::Chunk),
            b'\r' => return Ok(State::SizeLineFeed),
            _ => return self.extension(byte),
        };
        if self.size_digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(Rejection::Chunk);
        }
        self.chunk_bytes = self.chunk_bytes << 4 | u64::from(digit);
        self.size_digits += 1;
        Ok(State::Size)
    }

    /// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
    fn extension(&mut self, byte: u8) -> Result<State, Rejection> {
        use State as S;
        if self.extension_bytes == CHUNK_EXTENSION_BYTES_MAX {
            return Err(Rejection::Chunk);
        }
        self.extension_bytes += 1;
        let next = match (self.state, byte) {
            (S::ExtensionQuoted, b'"') => S::ExtensionQuotedEnd,
            (S::ExtensionQuoted, b'\\') => S::ExtensionQuotedPair,
            (S::ExtensionQuoted | S::ExtensionQuotedPair, _) if is_field_byte(byte) => {
                S::ExtensionQuoted
            }
            (S::ExtensionNameStart | S::ExtensionName, _) if is_of(byte, TOKEN) => S::ExtensionName,
            (S::ExtensionValueStart | S::ExtensionValue, _) if is_of(byte, TOKEN) => {
                S::ExtensionValue
            }
            (S::ExtensionValueStart, b'"') => S::ExtensionQuoted,
            (S::ExtensionNameStart | S::ExtensionValueStart, b' ' | b'\t') => self.state,
            (S::ExtensionName | S::ExtensionNameSpace, b' ' | b'\t') => S::ExtensionNameSpace,
            (S::ExtensionName | S::ExtensionNameSpace, b'=') => S::ExtensionValueStart,
            (S::ExtensionName | S::ExtensionValue | S::ExtensionQuotedEnd, b'\r') => {
                S::SizeLineFeed
            }
            (S::ExtensionNameStart | S::ExtensionValueStart, _)
            | (S::ExtensionQuoted | S::ExtensionQuotedPair, _) => return Err(Rejection::Chunk),
            (_, b';') => S::ExtensionNameStart,
            (_, b' ' | b'\t') => S::ExtensionOrSpace,
            _ => return Err(Rejection::Chunk),
        };
        Ok(next)
    }

    /// Handles the end of a chunk-size line: counts the chunk, or goes on to the trailer section.
    fn chunk_begins(&mut self) -> Result<State, Rejection> {
        if self.chunk_bytes == 0 {
            return Ok(State::TrailerStart);
        }
        self.size_digits = 0;
        self.body_bytes = self.body_bytes.saturating_add(self.chunk_bytes);
        if self.body_bytes > BODY_BYTES_MAX {
            return Err(Rejection::BodyTooLarge);
        }
        Ok(State::Data)
    }

    /// `trailer-section = *( field-line CRLF )`. The fields are checked, counted and dropped: a
    /// trailer field must never be merged into the head (RFC 9110 section 6.5.1).
    fn trailer(&mut self, byte: u8) -> Result<State, Rejection> {
        if self.state == State::TrailerStart && byte == b'\r' {
            return Ok(State::LastLineFeed);
        }
        if self.trailer_bytes == TRAILER_BYTES_MAX {
            return Err(Rejection::TrailersTooLarge);
        }
        self.trailer_bytes += 1;
        let next = match self.state {
            State::TrailerStart if is_of(byte, TOKEN) => {
                if self.trailer_lines == FIELD_LINES_MAX {
                    return Err(Rejection::TrailersTooLarge);
                }
                self.trailer_lines += 1;
                State::TrailerName
            }
            State::TrailerName if is_of(byte, TOKEN) => State::TrailerName,
            State::TrailerName if byte == b':' => State::TrailerValue,
            State::TrailerValue if is_field_byte(byte) => State::TrailerValue,
            State::TrailerValue if byte == b'\r' => State::TrailerLineFeed,
            State::TrailerLineFeed if byte == b'\n' => State::TrailerStart,
            _ => return Err(Rejection::Chunk),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a body and how many bytes of `input` it took.
    fn decode(input: &[u8]) -> Result<(Vec<u8>, usize), Rejection> {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let mut content = Vec::new();
        let mut position = 0;
        loop {
            let (read, step) = decoder.decode(&input[position..])?;
            position += read;
            match step {
                Step::Data(data) => content.extend_from_slice(data),
                Step::End => return Ok((content, position)),
                Step::NeedData => panic!("incomplete: {:?}", String::from_utf8_lossy(input)),
            }
        }
    }

    #[test]
    fn removes_the_framing() {
        for (input, content) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
            ("00000000000000A\r\n0123456789\r\n000\r\n\r\n", "0123456789"),
            ("1;a\r\nx\r\n0;b=c\r\n\r\n", "x"),
            ("1 ; a = \"q\\\";\t\" ;d\r\nx\r\n0\r\n\r\n", "x"),
            ("1;a=\"\"\r\nx\r\n0\r\n\r\n", "x"),
            ("1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n", "x"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ] {
            let bytes = format!("{input}GET");
            assert_eq!(
                decode(bytes.as_bytes()),
                Ok((content.as_bytes().to_vec(), input.len())),
                "{input:?}"
            );
        }
    }

    #[test]
    fn rejects_what_the_grammar_does_not_allow() {
        for input in [
            "\r\n",
            "\n",
            " 5\r\n",
            "5 \r\n",
            "5\t\r\n",
            "5\n",
            "+5\r\n",
            "-5\r\n",
            "0x5\r\n",
            "5_0\r\n",
            "g\r\n",
            "5;\r\n",
            "5;=a\r\n",
            "5;a=\r\n",
            "5;a\n",
            "5;a=b \r\n",
            "5;a b\r\n",
            "5;a=b c\r\n",
            "5;[\r\n",
            "5;a=\"x\r\n",
            "5;a=\"x\"y\r\n",
            "5;a\0\r\n",
            "5\rx",
            "1\r\nxy",
            "1\r\nx\n",
            "1\r\nx\ry",
            "0\r\n\n",
            "0\r\n A: b\r\n",
            "0\r\nA : b",
            "0\r\n: b",
            "0\r\nA b\r\n",
            "0\r\nA: b\n",
            "0\r\nA: \0",
            "0\r\nA: b\r\n\n",
        ] {
            let verdict = {
                let mut decoder = BodyDecoder::new(Framing::Chunked);
                let mut position = 0;
                loop {
                    match decoder.decode(&input.as_bytes()[position..]) {
                        Ok((read, Step::Data(_))) => position += read,
                        Ok(step) => break Ok(step),
                        Err(rejection) => break Err(rejection),
                    }
                }
            };
            assert_eq!(verdict, Err(Rejection::Chunk), "{input:?}");
        }
    }

    fn verdict(input: &str) -> Result<usize, Rejection> {
        decode(input.as_bytes()).map(|(content, _)| content.len())
    }

    #[test]
    fn size_digit_limit_holds_on_both_sides() {
        let body = |digits: usize| format!("{:0>digits$}\r\nx\r\n0\r\n\r\n", 1);
        let max = CHUNK_SIZE_DIGITS_MAX as usize;
        assert_eq!(verdict(&body(max)), Ok(1));
        assert_eq!(verdict(&body(max + 1)), Err(Rejection::Chunk));
    }

    #[test]
    fn body_limit_holds_on_both_sides() {
        let first_line = |bytes: u64| {
            let line = format!("{bytes:x}\r\n");
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            decoder.decode(line.as_bytes()).map(|_| decoder.content_ahead())
        };
        assert_eq!(first_line(BODY_BYTES_MAX), Ok(BODY_BYTES_MAX));
        assert_eq!(first_line(BODY_BYTES_MAX + 1), Err(Rejection::BodyTooLarge));
        assert_eq!(first_line(u64::MAX), Err(Rejection::BodyTooLarge));
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        decoder.decode(b"1\r\nx\r\n").unwrap();
        decoder.decode(b"\r\n").unwrap();
        let line = format!("{BODY_BYTES_MAX:x}\r\n");
        assert_eq!(decoder.decode(line.as_bytes()), Err(Rejection::BodyTooLarge));
    }

    #[test]
    fn extension_limit_counts_all_chunks() {
        // Each of two chunks has a `;`, a name, and the CR that ends the line.
        let body = |bytes: usize| {
            let name = "e".repeat(bytes / 2 - 2);
            format!("1;{name}\r\nx\r\n0;{name}\r\n\r\n")
        };
        assert_eq!(verdict(&body(CHUNK_EXTENSION_BYTES_MAX)), Ok(1));
        assert_eq!(verdict(&body(CHUNK_EXTENSION_BYTES_MAX + 2)), Err(Rejection::Chunk));
    }

    #[test]
    fn trailer_limits_hold_on_both_sides() {
        let fixed = "A: \r\n".len();
        let body = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(bytes - fixed));
        assert_eq!(verdict(&body(TRAILER_BYTES_MAX)), Ok(0));
        assert_eq!(verdict(&body(TRAILER_BYTES_MAX + 1)), Err(Rejection::TrailersTooLarge));
        let body = |lines: usize| format!("0\r\n{}\r\n", "A:\r\n".repeat(lines));
        assert_eq!(verdict(&body(FIELD_LINES_MAX)), Ok(0));
        assert_eq!(verdict(&body(FIELD_LINES_MAX + 1)), Err(Rejection::TrailersTooLarge));
    }

    #[test]
    fn content_may_be_skipped() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert_eq!(decoder.decode(b"64\r\n"), Ok((4, Step::NeedData)));
        assert_eq!(decoder.content_ahead(), 100);
        decoder.skip(60);
        assert_eq!(decoder.content_ahead(), 40);
        decoder.skip(40);
        assert_eq!(decoder.content_ahead(), 0);
        assert_eq!(decoder.decode(b"\r\n0\r\n\r\n"), Ok((7, Step::End)));
    }
}
