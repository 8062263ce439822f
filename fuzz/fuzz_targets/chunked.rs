//! Reads any bytes as a chunked body. Compares the decoder, which gets them in pieces and with
//! content skipped, with a simple reader that has the whole body and splits it into lines.

#![no_main]

use heartbeat_protocol::{BodyDecoder, Framing, Rejection, Step};
use libfuzzer_sys::fuzz_target;

/// A body shorter than this can not exceed a limit of extensions or trailers.
const UNLIMITED_BYTES: usize = 300;

/// The content and the length of a body; none if it is incomplete.
type Verdict = Result<Option<(Vec<u8>, usize)>, Rejection>;

fuzz_target!(|data: &[u8]| {
    let whole = decode(data, data.len().max(1), false);
    for step in [1, 2, 3, 7, 20] {
        assert_eq!(decode(data, step, false), whole, "pieces of {step}");
        assert_eq!(decode(data, step, true), whole, "pieces of {step}, skipped");
    }
    if data.len() < UNLIMITED_BYTES && whole != Err(Rejection::BodyTooLarge) {
        match (by_lines(data), whole) {
            (Some(expected), found) => assert_eq!(found, Ok(Some(expected))),
            (None, Ok(Some(found))) => panic!("accepted: {found:?}"),
            (None, _) => {}
        }
    }
});

fn decode(data: &[u8], step: usize, skipping: bool) -> Verdict {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut content = Vec::new();
    let mut position = 0;
    for piece in data.chunks(step) {
        let mut piece = piece;
        while !piece.is_empty() {
            let ahead = usize::try_from(decoder.content_ahead()).unwrap_or(usize::MAX);
            if skipping && ahead > 0 {
                let (skipped, rest) = piece.split_at(ahead.min(piece.len()));
                decoder.skip(skipped.len() as u64);
                content.extend_from_slice(skipped);
                position += skipped.len();
                piece = rest;
                continue;
            }
            let (read, step) = decoder.decode(piece)?;
            assert!(read > 0);
            position += read;
            piece = &piece[read..];
            match step {
                Step::NeedData => assert!(piece.is_empty()),
                Step::Data(data) => content.extend_from_slice(data),
                Step::End => return Ok(Some((content, position))),
            }
        }
    }
    Ok(None)
}

/// The content and the length of a chunked body; none if it is incomplete or malformed.
fn by_lines(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut content = Vec::new();
    let mut rest = data;
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at(digits);
        let size = str::from_utf8(size).ok()?;
        if size.is_empty() || size.len() > 16 || !are_extensions(extensions) {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        if size == 0 {
            break;
        }
        content.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some((content, data.len() - rest.len()));
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if !is_token(&line[..colon]) || !line[colon..].iter().all(text) {
            return None;
        }
    }
}

/// The first line without its CRLF, and what follows it.
fn line(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &data[..end];
    let plain = !line.contains(&b'\r') && !line.contains(&b'\n');
    plain.then_some((line, &data[end + 2..]))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, read from the left.
fn are_extensions(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(rest) = text.trim_space_start().strip_prefix(b";") else { return false };
        let Some(rest) = rest.trim_space_start().after_token() else { return false };
        text = rest;
        let Some(rest) = rest.trim_space_start().strip_prefix(b"=") else { continue };
        let value = rest.trim_space_start();
        let rest = if value.starts_with(b"\"") { after_quotes(value) } else { value.after_token() };
        let Some(rest) = rest else { return false };
        text = rest;
    }
    true
}

fn after_quotes(value: &[u8]) -> Option<&[u8]> {
    let mut position = 1;
    loop {
        let escaped = usize::from(value.get(position) == Some(&b'\\'));
        let byte = *value.get(position + escaped)?;
        if !(byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
            return None;
        }
        position += escaped + 1;
        if escaped == 0 && byte == b'"' {
            return value.get(position..);
        }
    }
}

fn is_token(text: &[u8]) -> bool {
    text.after_token().is_some_and(<[u8]>::is_empty)
}

trait Text {
    fn trim_space_start(&self) -> &Self;
    fn after_token(&self) -> Option<&Self>;
}

impl Text for [u8] {
    fn trim_space_start(&self) -> &Self {
        let spaces = self.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        &self[spaces..]
    }

    /// What follows the token at the start; none if there is no token.
    fn after_token(&self) -> Option<&Self> {
        let no_token = b"()<>@,;:\\\"/[]?={} \t";
        let length = self
            .iter()
            .take_while(|byte| byte.is_ascii_graphic() && !no_token.contains(byte))
            .count();
        (length > 0).then(|| &self[length..])
    }
}
