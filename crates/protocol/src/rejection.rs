//! Owns the list of mistakes that a peer can make in a message, and the status for each.

use crate::Status;
use crate::table::table;

table! {
    /// Why a message is rejected. The answer closes the connection, and nothing after the message
    /// is parsed (RFC 9112 sections 2.2 and 11.2).
    pub enum Rejection {
        /// A line of the head ends in LF without CR, or holds CR without LF (RFC 9112 section 2.2).
        LineEnding = Status::BadRequest,
        /// More empty lines before the request line than are allowed (RFC 9112 section 2.2).
        EmptyLines = Status::BadRequest,
        /// The method is not a token, or the bytes are not HTTP at all (RFC 9112 section 3).
        Method = Status::BadRequest,
        /// The method is longer than supported (RFC 9112 section 3).
        MethodTooLong = Status::NotImplemented,
        /// The request-target breaks its grammar, or has a form that its method does not allow
        /// (RFC 9112 section 3.2).
        Target = Status::BadRequest,
        /// The request-target is longer than supported (RFC 9110 section 15.5.15).
        TargetTooLong = Status::UriTooLong,
        /// CONNECT asks for a tunnel, and this server is no proxy (RFC 9110 section 9.3.6).
        Tunnel = Status::NotImplemented,
        /// The HTTP-version is malformed or missing (RFC 9112 section 2.3).
        VersionMalformed = Status::BadRequest,
        /// The HTTP-version is well-formed but not supported (RFC 9110 section 15.6.6).
        VersionUnsupported = Status::VersionNotSupported,
        /// A field line breaks its grammar; obs-fold is such a line (RFC 9112 section 5).
        FieldLine = Status::BadRequest,
        /// The head is longer, or has more field lines, than supported (RFC 6585 section 5).
        HeadTooLarge = Status::FieldsTooLarge,
        /// Host is missing, repeated or invalid (RFC 9112 section 3.2).
        Host = Status::BadRequest,
        /// Content-Length is invalid or repeated (RFC 9112 section 6.3).
        ContentLength = Status::BadRequest,
        /// The message has both Content-Length and Transfer-Encoding (RFC 9112 section 6.1).
        FramingConflict = Status::BadRequest,
        /// Transfer-Encoding is malformed, has `chunked` twice or not at the end, or comes with
        /// HTTP/1.0 (RFC 9112 section 6.1).
        TransferEncoding = Status::BadRequest,
        /// Transfer-Encoding names a coding other than `chunked` (RFC 9112 section 6.1).
        TransferCodingUnknown = Status::NotImplemented,
        /// The chunked body breaks its grammar (RFC 9112 section 7.1).
        Chunk = Status::BadRequest,
        /// The trailer section is larger than supported.
        TrailersTooLarge = Status::FieldsTooLarge,
        /// The body is longer than supported (RFC 9110 section 15.5.14).
        BodyTooLarge = Status::ContentTooLarge,
    }

    /// The status of the answer.
    pub fn status(self) -> Status;
}
