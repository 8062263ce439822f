//! Decodes the bytes of a body as .NET does, by the charset of its Content-Type or its byte order
//! mark.

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use crate::validation::media_type::MediaType;

/// Converts a body to text as it arrives. Invalid bytes become U+FFFD.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoder {
    // `None` until the first bytes have been read.
    charset: Option<Charset>,
    named: Option<Charset>,
    // A character that is not yet complete, or the start of the body.
    pending: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    Utf16Le,
    Utf16Be,
    Utf32Le,
    Utf32Be,
}

impl Decoder {
    /// A decoder for an answer with these header fields.
    ///
    /// # Errors
    ///
    /// A message about a charset that is unknown.
    pub(super) fn for_headers(headers: &HeaderMap) -> Result<Self, String> {
        let media_type = headers.get(CONTENT_TYPE).and_then(MediaType::parse);
        let Some(name) = media_type.and_then(|media_type| media_type.charset()) else {
            return Ok(Self::default());
        };
        match Charset::named(&name) {
            Some(charset) => Ok(Self { named: Some(charset), ..Self::default() }),
            None => Err(format!("the charset {name} of the body is not known")),
        }
    }

    /// Appends the text of `bytes` to `text`.
    pub(super) fn decode(&mut self, bytes: &[u8], text: &mut String) {
        if self.pending.is_empty() && self.charset.is_some() {
            return self.decode_all(bytes, text);
        }
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        if self.charset.is_none() {
            if all.len() < MARK_MAX {
                self.pending = all;
                return;
            }
            let skipped = self.begin(&all);
            all.drain(..skipped);
        }
        self.decode_all(&all, text);
    }

    /// The text of what is left at the end of the body.
    pub(super) fn rest(&self) -> String {
        let mut end = self.clone();
        let mut text = String::new();
        if end.charset.is_none() {
            let all = std::mem::take(&mut end.pending);
            let skipped = end.begin(&all);
            end.decode_all(&all[skipped..], &mut text);
        }
        if !end.pending.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        text
    }

    // Chooses the charset; returns the length of the byte order mark.
    fn begin(&mut self, start: &[u8]) -> usize {
        let marks = MARKS.iter().filter(|(mark, _)| start.starts_with(mark));
        let mut fit = marks.filter(|(_, charset)| self.named.is_none_or(|named| named == *charset));
        let (length, marked) = match fit.next() {
            Some((mark, charset)) => (mark.len(), Some(*charset)),
            None => (0, None),
        };
        self.charset = Some(self.named.or(marked).unwrap_or(Charset::Utf8));
        length
    }

    fn decode_all(&mut self, bytes: &[u8], text: &mut String) {
        let left = match self.charset {
            None | Some(Charset::Utf8) => utf8(bytes, text),
            Some(Charset::Ascii) => {
                let ascii = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
                text.extend(bytes.iter().map(ascii));
                &[]
            }
            Some(Charset::Latin1) => {
                text.extend(bytes.iter().map(|byte| char::from(*byte)));
                &[]
            }
            Some(Charset::Utf16Le) => utf16(bytes, u16::from_le_bytes, text),
            Some(Charset::Utf16Be) => utf16(bytes, u16::from_be_bytes, text),
            Some(Charset::Utf32Le) => utf32(bytes, u32::from_le_bytes, text),
            Some(Charset::Utf32Be) => utf32(bytes, u32::from_be_bytes, text),
        };
        self.pending.extend_from_slice(left);
    }
}

impl Charset {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" => Some(Self::Utf8),
            "us-ascii" | "ascii" => Some(Self::Ascii),
            "iso-8859-1" | "latin1" | "iso_8859-1" | "l1" => Some(Self::Latin1),
            "utf-16" | "utf-16le" | "unicode" | "ucs-2" => Some(Self::Utf16Le),
            "utf-16be" | "unicodefffe" => Some(Self::Utf16Be),
            "utf-32" | "utf-32le" => Some(Self::Utf32Le),
            "utf-32be" => Some(Self::Utf32Be),
            _ => None,
        }
    }
}

fn utf8<'b>(bytes: &'b [u8], text: &mut String) -> &'b [u8] {
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(all) => {
                text.push_str(all);
                return &[];
            }
            Err(error) => error,
        };
        let (valid, after) = rest.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        let Some(length) = error.error_len() else { return after };
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &after[length..];
    }
}

fn utf16<'b>(bytes: &'b [u8], unit: fn([u8; 2]) -> u16, text: &mut String) -> &'b [u8] {
    let whole = bytes.len() - bytes.len() % 2;
    let units: Vec<u16> =
        bytes[..whole].chunks_exact(2).map(|two| unit([two[0], two[1]])).collect();
    // The first unit of a surrogate pair waits for the second.
    let waits = units.last().is_some_and(|last| (0xD800..0xDC00).contains(last));
    let complete = units.len() - usize::from(waits);
    let letters = char::decode_utf16(units[..complete].iter().copied());
    text.extend(letters.map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)));
    &bytes[complete * 2..]
}

fn utf32<'b>(bytes: &'b [u8], unit: fn([u8; 4]) -> u32, text: &mut String) -> &'b [u8] {
    let whole = bytes.len() - bytes.len() % 4;
    let letters =
        bytes[..whole].chunks_exact(4).map(|four| unit([four[0], four[1], four[2], four[3]]));
    text.extend(letters.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)));
    &bytes[whole..]
}

// The longer marks come first, because that of UTF-32LE begins with that of UTF-16LE.
const MARKS: [(&[u8], Charset); 5] = [
    (&[0xFF, 0xFE, 0, 0], Charset::Utf32Le),
    (&[0, 0, 0xFE, 0xFF], Charset::Utf32Be),
    (&[0xEF, 0xBB, 0xBF], Charset::Utf8),
    (&[0xFF, 0xFE], Charset::Utf16Le),
    (&[0xFE, 0xFF], Charset::Utf16Be),
];
const MARK_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn decoded(content_type: &str, body: &[u8], cut: usize) -> String {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        }
        let mut decoder = Decoder::for_headers(&headers).unwrap();
        let mut text = String::new();
        for part in body.chunks(cut) {
            decoder.decode(part, &mut text);
        }
        text + &decoder.rest()
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_body_is_decoded_by_its_charset_or_its_mark_however_it_is_split() {
        let text = "aä€😀";
        let little: Vec<u8> = units(text).iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units(text).iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let wide: Vec<u8> = text.chars().flat_map(|one| u32::from(one).to_le_bytes()).collect();
        let marked = |mark: &[u8], body: &[u8]| [mark, body].concat();
        for (content_type, body, expected) in [
            ("text/plain", text.as_bytes().to_vec(), text),
            ("", marked(&[0xEF, 0xBB, 0xBF], text.as_bytes()), text),
            ("a/b; charset=\"UTF-8\"", marked(&[0xEF, 0xBB, 0xBF], text.as_bytes()), text),
            ("a/b; charset=utf-16", little.clone(), text),
            ("a/b; charset=utf-16", marked(&[0xFF, 0xFE], &little), text),
            ("a/b", marked(&[0xFF, 0xFE], &little), text),
            ("a/b", marked(&[0xFE, 0xFF], &big), text),
            ("a/b; charset=utf-16BE", big, text),
            ("a/b", marked(&[0xFF, 0xFE, 0, 0], &wide), text),
            ("a/b; charset=utf-32", wide, text),
            ("a/b; charset=iso-8859-1", b"a\xE4".to_vec(), "aä"),
            ("a/b; charset=us-ascii", b"a\xE4".to_vec(), "a?"),
            ("a/b", b"a\xE4b\xE2\x82".to_vec(), "a\u{fffd}b\u{fffd}"),
            ("a/b", b"".to_vec(), ""),
            ("a/b", b"x".to_vec(), "x"),
        ] {
            for cut in [1, 2, 3, 5, 100] {
                assert_eq!(decoded(content_type, &body, cut), expected, "{content_type} {cut}");
            }
        }
    }

    #[test]
    fn an_unknown_charset_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("a/b; charset=klingon"));
        let error = Decoder::for_headers(&headers).unwrap_err();
        assert_eq!(error, "the charset klingon of the body is not known");
    }
}
