//! Owns every bound that a peer or a configuration can reach, each with its reason.

/// Longest message head: request line, field lines and the empty line, in bytes.
///
/// Browsers and proxies stay below 8 KiB; twice that leaves room for tracing and cookie fields of
/// service meshes. Above it: 431, or 414 or 501 if the request line itself is the cause.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest request-target in bytes; RFC 9112 section 3 recommends request lines of 8000 octets.
/// Above it: 414.
pub const TARGET_BYTES_MAX: usize = 8000;

/// Longest method token in bytes. The longest standard one has 17 (`UPDATEREDIRECTREF`).
/// Above it: 501 (RFC 9112 section 3).
pub const METHOD_BYTES_MAX: usize = 32;

/// Most field lines in a head or a trailer section. Above it: 431.
pub const FIELD_LINES_MAX: usize = 100;

/// Most empty lines before a request line (RFC 9112 section 2.2 asks to ignore at least one).
/// Above it: 400.
pub const LEADING_EMPTY_LINES_MAX: u8 = 2;

/// Longest request body in bytes: 1 TiB, a thousand times the largest answer. Above it: 413.
pub const BODY_BYTES_MAX: u64 = 1 << 40;

/// Longest body that the server still reads after it has refused the request, so that it can keep
/// the connection. If Content-Length announces more, the server answers at once; of a longer
/// chunked body it reads this many bytes. In both cases it then closes the connection.
pub const REFUSED_BODY_BYTES_MAX: u64 = 64 * 1024;

/// Most hexadecimal digits of a chunk-size, leading zeros included; 16 digits are 64 bits. Above
/// it: 400.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Most bytes of chunk extensions in one body, all chunks together. They carry no content, and
/// without a bound a peer could send them for ever (RFC 9112 section 7.1.1). Above it: 400.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4096;

/// Most bytes of a trailer section. Above it: 431.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// Most digits of a size in a request, leading zeros included. Above it: 400.
pub const SIZE_DIGITS_MAX: usize = 20;

/// Largest answer that may be configured, in bytes: 1 GiB.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 30;

/// Longest URI prefix that may be configured, in bytes, both slashes included. Every redirect
/// contains the prefix, and its head must fit into [`RESPONSE_HEAD_BYTES_MAX`].
pub const URI_BYTES_MAX: usize = 256;

/// Longest authority (Host, or that of an absolute-form target) that is repeated in an answer, in
/// bytes: a DNS name of 255 bytes, a colon and a port. Above it: 400, for `/.well-known/nq` only.
pub const AUTHORITY_BYTES_MAX: usize = 261;

/// Longest head that the encoder writes, in bytes. The longest one has all measurements, each
/// with as many digits as its type allows, and the fields that pages of other origins need.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 640;
