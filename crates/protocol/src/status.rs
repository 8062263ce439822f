//! Owns the status codes that this server uses, each with its number and its status line.

use crate::table::table;

table! {
    /// The status codes that this server uses (RFC 9110 section 15, RFC 6585).
    #[derive(Default)]
    pub enum Status {
        /// 200
        #[default]
        Ok = (200, "HTTP/1.1 200 OK\r\n"),
        /// 204
        NoContent = (204, "HTTP/1.1 204 No Content\r\n"),
        /// 301
        MovedPermanently = (301, "HTTP/1.1 301 Moved Permanently\r\n"),
        /// 400
        BadRequest = (400, "HTTP/1.1 400 Bad Request\r\n"),
        /// 404
        NotFound = (404, "HTTP/1.1 404 Not Found\r\n"),
        /// 405
        MethodNotAllowed = (405, "HTTP/1.1 405 Method Not Allowed\r\n"),
        /// 408
        RequestTimeout = (408, "HTTP/1.1 408 Request Timeout\r\n"),
        /// 413
        ContentTooLarge = (413, "HTTP/1.1 413 Content Too Large\r\n"),
        /// 414
        UriTooLong = (414, "HTTP/1.1 414 URI Too Long\r\n"),
        /// 417
        ExpectationFailed = (417, "HTTP/1.1 417 Expectation Failed\r\n"),
        /// 431
        FieldsTooLarge = (431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        /// 501
        NotImplemented = (501, "HTTP/1.1 501 Not Implemented\r\n"),
        /// 503
        ServiceUnavailable = (503, "HTTP/1.1 503 Service Unavailable\r\n"),
        /// 505
        VersionNotSupported = (505, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
    }

    fn row(self) -> (u16, &'static str);
}

impl Status {
    /// The three-digit status code.
    pub fn code(self) -> u16 {
        self.row().0
    }

    /// Whether this is an error status (4xx or 5xx).
    pub fn is_refusal(self) -> bool {
        self.code() >= 400
    }

    /// The status line with its CRLF.
    pub(crate) fn line(self) -> &'static str {
        self.row().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_line_has_its_code() {
        for status in Status::all() {
            let line = status.line();
            assert_eq!(line[9..12], status.code().to_string(), "{line}");
            assert!(line.starts_with("HTTP/1.1 ") && line.ends_with("\r\n"), "{line}");
        }
    }
}
