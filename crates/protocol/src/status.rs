//! Owns the status codes that this server uses, each with its number and its status line.

/// The status codes that this server uses (RFC 9110 section 15, RFC 6585).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 204
    NoContent,
    /// 301
    MovedPermanently,
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 413
    ContentTooLarge,
    /// 414
    UriTooLong,
    /// 417
    ExpectationFailed,
    /// 431
    FieldsTooLarge,
    /// 501
    NotImplemented,
    /// 503
    ServiceUnavailable,
    /// 505
    VersionNotSupported,
}

/// Every status once, in the order of the enum: its code and its status line.
const TABLE: [(Status, u16, &str); 14] = [
    (Status::Ok, 200, "HTTP/1.1 200 OK\r\n"),
    (Status::NoContent, 204, "HTTP/1.1 204 No Content\r\n"),
    (Status::MovedPermanently, 301, "HTTP/1.1 301 Moved Permanently\r\n"),
    (Status::BadRequest, 400, "HTTP/1.1 400 Bad Request\r\n"),
    (Status::NotFound, 404, "HTTP/1.1 404 Not Found\r\n"),
    (Status::MethodNotAllowed, 405, "HTTP/1.1 405 Method Not Allowed\r\n"),
    (Status::RequestTimeout, 408, "HTTP/1.1 408 Request Timeout\r\n"),
    (Status::ContentTooLarge, 413, "HTTP/1.1 413 Content Too Large\r\n"),
    (Status::UriTooLong, 414, "HTTP/1.1 414 URI Too Long\r\n"),
    (Status::ExpectationFailed, 417, "HTTP/1.1 417 Expectation Failed\r\n"),
    (Status::FieldsTooLarge, 431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    (Status::NotImplemented, 501, "HTTP/1.1 501 Not Implemented\r\n"),
    (Status::ServiceUnavailable, 503, "HTTP/1.1 503 Service Unavailable\r\n"),
    (Status::VersionNotSupported, 505, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
];

impl Status {
    /// The number of statuses.
    pub const COUNT: usize = TABLE.len();

    /// Every status, in the order of [`Status::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|row| row.0)
    }

    /// The position of this status in [`Status::all`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The three-digit status code.
    #[must_use]
    pub fn code(self) -> u16 {
        TABLE[self.index()].1
    }

    /// Whether this is an error status (4xx or 5xx).
    #[must_use]
    pub fn is_refusal(self) -> bool {
        self.code() >= 400
    }

    /// The status line with its CRLF.
    pub(crate) fn line(self) -> &'static str {
        TABLE[self.index()].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_indexes() {
        for (index, status) in Status::all().enumerate() {
            assert_eq!(status.index(), index, "{status:?}");
        }
    }

    #[test]
    fn every_status_line_has_its_code() {
        for status in Status::all() {
            let line = status.line();
            assert_eq!(line[9..12], status.code().to_string(), "{line}");
            assert!(line.starts_with("HTTP/1.1 ") && line.ends_with("\r\n"), "{line}");
        }
    }
}
