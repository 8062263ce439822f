//! Owns the strict parsers of the field values that decide how a message is read: Host, Connection,
//! Content-Length, Transfer-Encoding, Expect. Must not know messages or connections.

use std::net::Ipv6Addr;

use crate::Rejection;
use crate::grammar::{NAME, TOKEN, is_of};

/// The members of a comma-separated list, trimmed; empty ones are skipped (RFC 9110 section
/// 5.6.1.2). A field value has no whitespace but spaces and tabs.
pub(crate) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether `name` is a member of the list, in any case.
pub(crate) fn has_member(value: &[u8], name: &str) -> bool {
    list_members(value).any(|member| member.eq_ignore_ascii_case(name.as_bytes()))
}

/// A Content-Length value: decimal digits of a 64-bit number and nothing else.
///
/// Leading zeros are rejected although the grammar allows them, because some peers read such a
/// number as octal (RFC 9110 section 8.6, RFC 9112 section 11.2).
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    match value {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => decimal(value),
        _ => None,
    }
}

/// The value of `digits`; none if they are not all digits, or the value does not fit 64 bits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The Transfer-Encoding field lines of one message, read as one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransferCodings {
    /// A member was `chunked`.
    chunked: bool,
    /// A member was another coding.
    unknown: bool,
    /// A member was not a token (a parameter, a quoted string, garbage) or came after `chunked`, or
    /// a line had no member.
    malformed: bool,
}

impl TransferCodings {
    /// Adds one field line.
    pub(crate) fn add(&mut self, value: &[u8]) {
        // Empty members are legal. But parsers disagree about a message in which one line has only
        // empty members: some use the first line, some the last.
        self.malformed |= list_members(value).next().is_none();
        for coding in list_members(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.malformed |= self.chunked || !coding.iter().all(|byte| is_of(*byte, TOKEN));
            self.chunked |= chunked;
            self.unknown |= !chunked;
        }
    }

    /// Whether there was a field line, whatever its value.
    pub(crate) fn present(self) -> bool {
        self.chunked || self.unknown || self.malformed
    }

    /// This server supports `chunked`, exactly once, and nothing else (RFC 9112 section 6.1). A
    /// list that repeats `chunked`, or has a coding after it, is malformed; any other coding is
    /// unknown.
    pub(crate) fn check(self) -> Result<(), Rejection> {
        if self.malformed {
            return Err(Rejection::TransferEncoding);
        }
        if self.unknown { Err(Rejection::TransferCodingUnknown) } else { Ok(()) }
    }
}

/// Whether `value` is a host with an optional port: the value of Host, and the authority of an
/// absolute-form target (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
///
/// Userinfo is rejected (RFC 9110 section 4.2.4), and so is an empty host (section 4.2.1). A comma
/// is legal in a reg-name, but rejected: an intermediary may have joined two Host lines with it. A
/// comma inside the brackets of an IPvFuture literal cannot come from such a join, and is allowed.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let plain = value.iter().position(|byte| !is_of(*byte, NAME)).unwrap_or(value.len());
    match &value[plain..] {
        [] => plain > 0,
        [b':', port @ ..] => plain > 0 && is_port(port),
        _ => is_unusual_host(value),
    }
}

/// Gives the same verdict as [`is_host`] on every value, without the shortcut for registered names
/// that have no `%`.
fn is_unusual_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if let Some(literal) = text.strip_prefix('[') {
        let Some((address, rest)) = literal.split_once(']') else { return false };
        let port = if rest.is_empty() { Some("") } else { rest.strip_prefix(':') };
        return is_ip_literal(address) && port.is_some_and(|port| is_port(port.as_bytes()));
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    is_reg_name(name.as_bytes()) && is_port(port.as_bytes())
}

/// `IPv6address / IPvFuture`, where `IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims /
/// ":" )`.
fn is_ip_literal(address: &str) -> bool {
    let Some(future) = address.strip_prefix(['v', 'V']) else {
        return address.parse::<Ipv6Addr>().is_ok();
    };
    let Some((version, rest)) = future.split_once('.') else { return false };
    let is_address_byte = |byte| is_of(byte, NAME) || matches!(byte, b',' | b':');
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !rest.is_empty()
        && rest.bytes().all(is_address_byte)
}

/// Whether a part of a URI holds a percent-encoded control byte. This server does not decode it,
/// but a proxy in front of it or a program that reads its log may (RFC 3986 section 7.3).
pub(crate) fn hides_control_byte(part: &[u8]) -> bool {
    let is_control =
        |digits: &[u8]| matches!(digits, [b'0' | b'1', _, ..] | [b'7', b'F' | b'f', ..]);
    part.split(|byte| *byte == b'%').skip(1).any(is_control)
}

/// `1*( unreserved / pct-encoded / sub-delims )` without the comma and without control bytes.
fn is_reg_name(name: &[u8]) -> bool {
    let is_allowed = |byte: &u8| *byte == b'%' || is_of(*byte, NAME);
    let is_encoded = |part: &[u8]| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit);
    !name.is_empty()
        && name.iter().all(is_allowed)
        && name.split(|byte| *byte == b'%').skip(1).all(is_encoded)
        && !hides_control_byte(name)
}

/// `*DIGIT`, up to 65535. The empty port is legal (RFC 3986 section 3.2.3).
fn is_port(port: &[u8]) -> bool {
    port.is_empty() || decimal(port).is_some_and(|number| number <= 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::random::Random;

    #[test]
    fn content_length_is_plain_digits_that_fit() {
        for (value, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("1048576", Some(1_048_576)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("00", None),
            ("05", None),
            ("+5", None),
            ("-5", None),
            ("0x5", None),
            ("5 ", None),
            ("5,5", None),
            ("1_0", None),
            ("5.0", None),
            ("\u{665}", None),
        ] {
            assert_eq!(content_length(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn host_grammar() {
        for valid in [
            "a",
            "example.com",
            "example.com:80",
            "example.com:",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "[::ffff:1.2.3.4]",
            "[v1.a]",
            "[vF0.a,b:c]:80",
            "a_b",
            "%41",
            "a;b=c",
            "xn--bcher-kva.example",
        ] {
            assert!(is_host(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "",
            ":80",
            "a:b",
            "a:65536",
            "a b",
            "a,b",
            "user@a",
            "a/",
            "a?",
            "a#b",
            "http://a",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.]",
            "[v.a]",
            "[v1.a",
            "%4",
            "%zz",
            "a\"",
            "a\\b",
            "a:80:80",
            "a:+80",
            "\u{e9}",
        ] {
            assert!(!is_host(invalid.as_bytes()), "{invalid}");
        }
    }

    #[test]
    fn the_shortcut_for_plain_hosts_changes_no_verdict() {
        let random = &mut Random::new(7);
        let pieces: &[&str] = &[
            "a", "B9", ".", "-", ":", ":80", ":65535", ":65536", "[", "]", "::1", "v1.", ",", "%",
            "%41", "%00", "_", "~", "@", "/", " ", "\u{e9}", "\0",
        ];
        let mut hosts = 0;
        for _ in 0..200_000 {
            let value: String = (0..random.below(6)).map(|_| random.pick(pieces)).collect();
            let verdict = is_host(value.as_bytes());
            assert_eq!(verdict, is_unusual_host(value.as_bytes()), "{value:?}");
            hosts += usize::from(verdict);
        }
        assert!(hosts > 20_000, "{hosts}");
    }

    #[test]
    fn a_member_of_a_list_is_found_in_any_case_and_only_whole() {
        for value in ["close", "Upgrade, CLOSE ,,", "\tClose", ",close,close"] {
            assert!(has_member(value.as_bytes(), "close"), "{value:?}");
        }
        for value in ["", ",", "closed, x-close, clos", "clo se", "close;q=1", "\"close\""] {
            assert!(!has_member(value.as_bytes(), "close"), "{value:?}");
        }
    }

    #[test]
    fn only_one_final_chunked_is_a_transfer_coding() {
        const MALFORMED: Result<(), Rejection> = Err(Rejection::TransferEncoding);
        const UNKNOWN: Result<(), Rejection> = Err(Rejection::TransferCodingUnknown);
        for (lines, expected) in [
            (&["chunked"][..], Ok(())),
            (&["CHUNKED"], Ok(())),
            (&[" , chunked ,"], Ok(())),
            (&[""], MALFORMED),
            (&[","], MALFORMED),
            (&["chunked, chunked"], MALFORMED),
            (&["chunked", "chunked"], MALFORMED),
            (&["chunked", ""], MALFORMED),
            (&["", "chunked"], MALFORMED),
            (&["chunked, gzip"], MALFORMED),
            (&["chunked;q=1"], MALFORMED),
            (&["\"chunked\""], MALFORMED),
            (&["chun ked"], MALFORMED),
            (&["gzip, chunked"], UNKNOWN),
            (&["gzip"], UNKNOWN),
            (&["identity"], UNKNOWN),
            (&["xchunked"], UNKNOWN),
            (&["gzip", "chunked"], UNKNOWN),
        ] {
            let mut codings = TransferCodings::default();
            lines.iter().for_each(|line| codings.add(line.as_bytes()));
            assert_eq!(codings.check(), expected, "{lines:?}");
        }
    }
}
