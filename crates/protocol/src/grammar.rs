//! Owns which bytes are allowed where, by the grammar of HTTP and by that of URIs.

/// A byte of a token (RFC 9110 section 5.6.2).
pub(crate) const TOKEN: u8 = 1;

/// A byte of a path (RFC 3986 section 3.3) other than `%`.
pub(crate) const PATH: u8 = 2;

/// A byte of a query (RFC 3986 section 3.4) other than `%`. Brackets are accepted, because clients
/// send them unencoded.
pub(crate) const QUERY: u8 = 4;

/// A byte of a registered name (RFC 3986 section 3.2.2) other than `%` and the comma.
pub(crate) const NAME: u8 = 8;

/// Whether `byte` is of one of these kinds.
pub(crate) fn is_of(byte: u8, kinds: u8) -> bool {
    KINDS[byte as usize] & kinds != 0
}

/// Whether `byte` is allowed in a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5). In
/// a quoted-string, `"` and `\` have a meaning of their own.
pub(crate) fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The kinds of each byte. A target has no `#`: clients remove the fragment (RFC 9112 section 3.2).
static KINDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => TOKEN | PATH | QUERY | NAME,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'*' | b'+' => {
                TOKEN | PATH | QUERY | NAME
            }
            b'(' | b')' | b';' | b'=' => PATH | QUERY | NAME,
            b',' | b':' | b'@' | b'/' => PATH | QUERY,
            b'?' | b'[' | b']' => QUERY,
            b'#' | b'%' | b'^' | b'`' | b'|' => TOKEN,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_bytes_of_its_grammar() {
        let of = |kind: u8| -> Vec<u8> { (0..=255).filter(|byte| is_of(*byte, kind)).collect() };
        let among = |symbols: &[u8]| -> Vec<u8> {
            let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || symbols.contains(byte);
            (0..=255_u8).filter(is_known).collect()
        };
        assert_eq!(of(TOKEN), among(b"!#$%&'*+-.^_`|~"));
        assert_eq!(of(PATH), among(b"-._~!$&'()*+,;=:@/"));
        assert_eq!(of(QUERY), among(b"-._~!$&'()*+,;=:@/?[]"));
        assert_eq!(of(PATH | QUERY), of(QUERY));
        assert_eq!(of(NAME), among(b"-._~!$&'()*+;="));
    }
}
