//! Owns how the method and the path of a request are written into the access log: as one text, with
//! a tab between them. Neither has a tab or a line feed of its own, because both are escaped.

use std::fmt::Write;

/// Longest method or path in a line, in bytes before escaping; the rest is cut off.
pub(crate) const PATH_BYTES_MAX: usize = 256;

/// Sets `name` to that of a request that was understood.
pub(crate) fn set(name: &mut String, method: &[u8], target: &[u8]) {
    name.clear();
    escape(method, name);
    name.push('\t');
    escape(target, name);
}

/// Sets `name` to that of a request that was not understood: the words of its first line.
pub(crate) fn guess(name: &mut String, input: &[u8]) {
    let line_end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let line = &input[..line_end.unwrap_or(input.len())];
    let (method, rest) = match line.iter().position(|byte| *byte == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (&line[..0], line),
    };
    let is_word = !method.is_empty() && method.iter().all(u8::is_ascii_alphanumeric);
    let (method, rest) = if is_word { (method, rest) } else { (&line[..0], line) };
    let target_end = rest.windows(6).rposition(|window| window == b" HTTP/");
    set(name, method, &rest[..target_end.unwrap_or(rest.len())]);
}

/// Appends `bytes`, cut at [`PATH_BYTES_MAX`], so that they fit a column and a JSON string:
/// control characters, line and paragraph separators, characters that change the direction of
/// text, double quotes, backslashes and bytes that are not UTF-8 become `\xHH`. No bytes at all
/// become `-`.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    if bytes.is_empty() {
        out.push('-');
    }
    for chunk in bytes[..bytes.len().min(PATH_BYTES_MAX)].utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_misleading(character) || matches!(character, '"' | '\\') {
                let mut encoded = [0; 4];
                push_hex(out, character.encode_utf8(&mut encoded).as_bytes());
            } else {
                out.push(character);
            }
        }
        push_hex(out, chunk.invalid());
    }
}

/// Whether a terminal or a viewer would show the line as something other than it is (Unicode
/// Standard Annex 9, and the general categories Zl, Zp and Cf, which that annex names).
fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
        )
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = String::new();
        escape(bytes, &mut out);
        out
    }

    #[test]
    fn names_of_misunderstood_requests_are_guessed() {
        for (input, verb, path) in [
            (&b"GET /a\tb HTTP/1.1\r\nHost: a\r\n"[..], "GET", "/a\\x09b"),
            (b"GET /\xff", "GET", "/\\xff"),
            (b"GET / HTTP/2.0\r\n", "GET", "/"),
            (b"\x16\x03\x01 x", "-", "\\x16\\x03\\x01 x"),
            (b"", "-", "-"),
            (b"\r\n\r\n\r\n", "-", "-"),
            (b"hello", "-", "hello"),
        ] {
            let mut name = "of another request".to_string();
            guess(&mut name, input);
            assert_eq!(name.split_once('\t'), Some((verb, path)), "{input:?}");
        }
    }

    #[test]
    fn a_name_has_no_line_feed_and_no_tab_but_the_one_behind_the_method() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut name = String::new();
        set(&mut name, &bytes, &bytes);
        let (verb, path) = name.split_once('\t').unwrap();
        assert!(verb == path && !verb.contains(['\t', '\n', '\r']), "{name}");
        assert_eq!(verb, escaped(&bytes));
    }

    #[test]
    fn bytes_that_would_break_a_line_are_escaped() {
        assert_eq!(escaped(b""), "-");
        assert_eq!(escaped(b"/a\tb\nc\x00\x7f"), "/a\\x09b\\x0ac\\x00\\x7f");
        assert_eq!(escaped(b"/\xff\xfe"), "/\\xff\\xfe");
        assert_eq!(escaped("/é".as_bytes()), "/é");
        assert_eq!(escaped("\u{85}".as_bytes()), "\\xc2\\x85");
        assert_eq!(escaped(b"\\x09"), "\\x5cx09");
        // A character cut in two is escaped and does not disappear.
        let cut = ["a".repeat(PATH_BYTES_MAX - 1), "é".to_string()].concat();
        assert!(escaped(cut.as_bytes()).ends_with("a\\xc3"));
    }

    #[test]
    fn characters_that_mislead_a_reader_are_escaped() {
        for character in ['\u{202e}', '\u{2028}', '\u{2029}', '\u{2066}', '\u{200f}', '\u{feff}'] {
            let text = character.to_string();
            let shown = escaped(text.as_bytes());
            assert!(shown.is_ascii() && shown.starts_with("\\x"), "{character:?}: {shown}");
        }
    }

    #[test]
    fn a_path_is_cut_at_its_limit() {
        assert_eq!(escaped(&[b'a'; PATH_BYTES_MAX]).len(), PATH_BYTES_MAX);
        assert_eq!(escaped(&[b'a'; PATH_BYTES_MAX + 1]).len(), PATH_BYTES_MAX);
    }
}
