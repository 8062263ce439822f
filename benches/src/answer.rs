//! Owns the reading of HTTP/1.1 answers: where each ends, and whether it is the expected one. Must
//! not know sockets.
//!
//! It understands what the peers here send: Content-Length or chunks. A head that equals the last
//! one is recognized by comparison, so that it takes the client hardly any time.

/// What an answer must have to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The status.
    pub status: u16,
    /// Bytes of content.
    pub bytes: u64,
}

/// Why an answer does not count. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Another status than the expected one.
    Status(u16),
    /// Another number of bytes than expected.
    Length(u64),
    /// Not HTTP/1.1, or neither a length nor chunks.
    Framing,
    /// A head longer than [`HEAD_BYTES_MAX`].
    HeadTooLong,
}

/// The longest head that is read. The peers here send less than half a kilobyte.
pub const HEAD_BYTES_MAX: usize = 8192;

/// Reads answers from bytes in the pieces in which they arrive.
pub struct AnswerReader {
    expected: Expected,
    state: State,
    /// The beginning of a head whose end has not arrived.
    partial: Vec<u8>,
    /// The last whole head, and its Content-Length.
    known_head: Vec<u8>,
    known_length: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Content { left: u64 },
    Chunks { decoder: Chunks, total: u64 },
}

/// How far a chunked body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    /// In the size line: the size so far, and whether its digits have ended.
    Size { size: u64, ended: bool },
    /// In a chunk's data, this many bytes before its end.
    Data { left: u64 },
    /// In the line end after a chunk's data.
    DataEnd,
    /// In the lines after the last chunk: bytes of the current line so far.
    Trailer { line: u64 },
}

/// How far [`AnswerReader::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// How many bytes at the front of the input were read: all, unless an answer ended before.
    pub consumed: usize,
    /// Whether an answer ended with the last of them.
    pub complete: bool,
}

impl AnswerReader {
    /// A reader for a connection on which every answer is the expected one.
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            state: State::Head,
            partial: Vec::new(),
            known_head: Vec::new(),
            known_length: None,
        }
    }

    /// Forgets an answer that has begun, because the next bytes come from a new connection.
    pub fn restart(&mut self) {
        self.state = State::Head;
        self.partial.clear();
    }

    /// How many bytes of content are known to come next, with no framing in between.
    pub fn content_ahead(&self) -> u64 {
        match self.state {
            State::Content { left } => left,
            State::Chunks { decoder: Chunks::Data { left }, .. } => left,
            _ => 0,
        }
    }

    /// Counts content that the caller discarded, at most [`content_ahead`](Self::content_ahead).
    /// Returns whether an answer ended with it.
    pub fn skip(&mut self, bytes: u64) -> bool {
        assert!(bytes <= self.content_ahead(), "skipped beyond the content");
        match &mut self.state {
            State::Content { left } => {
                *left -= bytes;
                if *left == 0 {
                    self.state = State::Head;
                    return true;
                }
            }
            State::Chunks { decoder, total } => {
                if let Chunks::Data { left } = decoder {
                    *left -= bytes;
                    *total += bytes;
                    if *left == 0 {
                        *decoder = Chunks::DataEnd;
                    }
                }
            }
            State::Head => {}
        }
        false
    }

    /// Reads bytes up to the end of the current answer.
    pub fn feed(&mut self, input: &[u8]) -> Result<Fed, Wrong> {
        let mut at = 0;
        if self.state == State::Head {
            at = match self.feed_head(input)? {
                Some(consumed) => consumed,
                None => return Ok(Fed { consumed: input.len(), complete: false }),
            };
            if self.state == State::Head {
                return Ok(Fed { consumed: at, complete: true });
            }
        }
        while at < input.len() {
            let ahead = self.content_ahead().min((input.len() - at) as u64);
            let complete = if ahead > 0 {
                at += ahead as usize;
                self.skip(ahead)
            } else {
                at += 1;
                self.feed_chunk_byte(input[at - 1])?
            };
            if complete {
                return Ok(Fed { consumed: at, complete: true });
            }
        }
        Ok(Fed { consumed: at, complete: false })
    }

    /// Reads the rest of a head. Returns how many bytes it had, or none if its end has not arrived.
    fn feed_head(&mut self, input: &[u8]) -> Result<Option<usize>, Wrong> {
        if self.partial.is_empty()
            && !self.known_head.is_empty()
            && input.starts_with(&self.known_head)
        {
            self.begin_content()?;
            return Ok(Some(self.known_head.len()));
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(&input[..input.len().min(HEAD_BYTES_MAX)]);
        let from = before.saturating_sub(3);
        let Some(end) = self.partial[from..].windows(4).position(|w| w == b"\r\n\r\n") else {
            let too_long = self.partial.len() >= HEAD_BYTES_MAX;
            return if too_long { Err(Wrong::HeadTooLong) } else { Ok(None) };
        };
        let head_bytes = from + end + 4;
        if head_bytes > HEAD_BYTES_MAX {
            return Err(Wrong::HeadTooLong);
        }
        self.partial.truncate(head_bytes);
        let head = parse_head(&self.partial)?;
        if head.status != self.expected.status {
            return Err(Wrong::Status(head.status));
        }
        self.known_length = head.content_length;
        std::mem::swap(&mut self.known_head, &mut self.partial);
        self.partial.clear();
        self.begin_content()?;
        Ok(Some(head_bytes - before))
    }

    fn begin_content(&mut self) -> Result<(), Wrong> {
        self.state = match self.known_length {
            Some(n) if n != self.expected.bytes => return Err(Wrong::Length(n)),
            Some(0) => State::Head,
            Some(left) => State::Content { left },
            None => State::Chunks { decoder: Chunks::Size { size: 0, ended: false }, total: 0 },
        };
        Ok(())
    }

    /// Reads one byte of chunked framing. Returns whether the answer ended with it.
    fn feed_chunk_byte(&mut self, byte: u8) -> Result<bool, Wrong> {
        let State::Chunks { decoder, total } = &mut self.state else {
            return Err(Wrong::Framing);
        };
        match (decoder, byte) {
            (Chunks::Size { size, ended: false }, digit) if digit.is_ascii_hexdigit() => {
                let value = (digit as char).to_digit(16).map_or(0, u64::from);
                *size = size.checked_mul(16).ok_or(Wrong::Framing)? + value;
            }
            (decoder @ Chunks::Size { .. }, b'\n') => {
                let Chunks::Size { size, .. } = *decoder else { return Err(Wrong::Framing) };
                *decoder = match size {
                    0 => Chunks::Trailer { line: 0 },
                    left => Chunks::Data { left },
                };
            }
            (Chunks::Size { ended, .. }, _) => *ended = true,
            (decoder @ Chunks::DataEnd, b'\n') => *decoder = Chunks::Size { size: 0, ended: false },
            (Chunks::DataEnd, b'\r') | (Chunks::Trailer { .. }, b'\r') => {}
            (Chunks::Trailer { line: 0 }, b'\n') => {
                let total = *total;
                self.state = State::Head;
                let right = total == self.expected.bytes;
                return if right { Ok(true) } else { Err(Wrong::Length(total)) };
            }
            (Chunks::Trailer { line }, b'\n') => *line = 0,
            (Chunks::Trailer { line }, _) => *line += 1,
            (Chunks::DataEnd | Chunks::Data { .. }, _) => return Err(Wrong::Framing),
        }
        Ok(false)
    }
}

struct Head {
    status: u16,
    /// None if the body is chunked.
    content_length: Option<u64>,
}

fn parse_head(head: &[u8]) -> Result<Head, Wrong> {
    let text = std::str::from_utf8(head).map_err(|_| Wrong::Framing)?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or(Wrong::Framing)?;
    let mut content_length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            content_length = Some(value.trim().parse().map_err(|_| Wrong::Framing)?);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    if content_length.is_some() == chunked {
        return Err(Wrong::Framing);
    }
    Ok(Head { status, content_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVENTEEN: &[u8] =
        b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-LENGTH: 17\r\n\r\n0123456789ABCDEF0";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        A;x=1\r\n0123456789\r\n7\r\nABCDEF0\r\n0\r\nTrailer: x\r\n\r\n";

    fn expected(bytes: u64) -> Expected {
        Expected { status: 200, bytes }
    }

    /// Feeds all pieces and counts the answers that ended.
    fn answers(reader: &mut AnswerReader, pieces: &[&[u8]]) -> Result<usize, Wrong> {
        let mut complete = 0;
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() {
                let fed = reader.feed(input)?;
                input = &input[fed.consumed..];
                complete += usize::from(fed.complete);
            }
        }
        Ok(complete)
    }

    #[test]
    fn reads_the_same_answers_however_they_are_cut_in_three() {
        let twice: Vec<u8> = [SEVENTEEN, CHUNKED, SEVENTEEN, SEVENTEEN].concat();
        for first in 0..twice.len() {
            for second in first..twice.len() {
                let pieces = [&twice[..first], &twice[first..second], &twice[second..]];
                let mut reader = AnswerReader::new(expected(17));
                assert_eq!(answers(&mut reader, &pieces), Ok(4), "cut at {first}, {second}");
            }
        }
    }

    #[test]
    fn reads_the_same_answers_byte_by_byte() {
        let bytes: Vec<u8> = [CHUNKED, SEVENTEEN].concat();
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let mut reader = AnswerReader::new(expected(17));
        assert_eq!(answers(&mut reader, &pieces), Ok(2));
    }

    #[test]
    fn content_that_is_skipped_counts_like_content_that_is_read() {
        let head = SEVENTEEN.len() - 17;
        let mut reader = AnswerReader::new(expected(17));
        assert_eq!(reader.feed(&SEVENTEEN[..head + 2]).map(|fed| fed.complete), Ok(false));
        assert_eq!(reader.content_ahead(), 15);
        assert!(!reader.skip(14));
        assert!(reader.skip(1));
        assert_eq!(answers(&mut reader, &[SEVENTEEN]), Ok(1));
    }

    #[test]
    fn an_answer_without_content_ends_with_its_head() {
        let empty = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut reader = AnswerReader::new(expected(0));
        assert_eq!(answers(&mut reader, &[empty, empty]), Ok(2));
    }

    #[test]
    fn refuses_another_status() {
        let error = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\n";
        assert_eq!(
            answers(&mut AnswerReader::new(expected(17)), &[error]),
            Err(Wrong::Status(503))
        );
    }

    #[test]
    fn refuses_another_length_by_content_length_or_by_chunks() {
        assert_eq!(
            answers(&mut AnswerReader::new(expected(18)), &[SEVENTEEN]),
            Err(Wrong::Length(17))
        );
        assert_eq!(
            answers(&mut AnswerReader::new(expected(18)), &[CHUNKED]),
            Err(Wrong::Length(17))
        );
    }

    #[test]
    fn refuses_what_is_not_http_or_has_no_end() {
        for wrong in [&b"HTTP/1.0 200 OK\r\n\r\n"[..], b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]
        {
            assert_eq!(answers(&mut AnswerReader::new(expected(1)), &[wrong]), Err(Wrong::Framing));
        }
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
        let head_of = |bytes: usize| {
            let fixed = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".len();
            let padding = "x".repeat(bytes - fixed);
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {padding}\r\n\r\n")
        };
        let at_limit = head_of(HEAD_BYTES_MAX);
        assert_eq!(at_limit.len(), HEAD_BYTES_MAX);
        let mut reader = AnswerReader::new(expected(0));
        assert_eq!(answers(&mut reader, &[at_limit.as_bytes()]), Ok(1));
        let beyond = head_of(HEAD_BYTES_MAX + 1);
        let mut reader = AnswerReader::new(expected(0));
        assert_eq!(answers(&mut reader, &[beyond.as_bytes()]), Err(Wrong::HeadTooLong));
    }
}
