//! Why there is no answer.

use std::fmt::{self, Write};
use std::io;
use std::time::Duration;

use crate::client::connection::{FIELDS_DEFAULT, HEADER_FIELDS_MAX};
use crate::client::protocol::READ_BUFFER_MAX;
use crate::client::tls;

/// What ended a request without a complete answer.
#[derive(Debug)]
pub enum ClientError {
    /// The name has no address.
    Resolve {
        /// The name.
        host: String,
        /// The error of the name service.
        source: io::Error,
    },
    /// No address accepted the connection.
    Connect {
        /// Host and port.
        to: String,
        /// The error of the last attempt.
        source: io::Error,
    },
    /// The proxy opened no tunnel to the server.
    Proxy {
        /// Its host, port and variable.
        proxy: String,
        /// What it did.
        why: String,
    },
    /// The handshake failed: mostly a certificate that is not trusted.
    Tls {
        /// The name that the certificate must be for.
        host: String,
        /// The error of the handshake.
        source: io::Error,
    },
    /// The whole request took longer than this limit.
    Timeout(Duration),
    /// The connection closed before the whole head or the whole body had arrived.
    Truncated {
        /// Bytes of the body that had arrived.
        received: u64,
    },
    /// The connection broke, or the answer is not HTTP of the expected version.
    Http(hyper::Error),
    /// A server without TLS was asked in HTTP/2 and has never answered in it.
    NoHttp2(hyper::Error),
}

impl ClientError {
    pub(super) fn of_http(error: hyper::Error, received: u64) -> Self {
        let truncated = error.is_incomplete_message() || is_early_end(&error);
        if truncated { Self::Truncated { received } } else { Self::Http(error) }
    }

    /// Whether the server has ended the connection without an error: by a GOAWAY frame with
    /// NO_ERROR (RFC 9113 section 6.8).
    pub(crate) fn is_go_away(&self) -> bool {
        let Self::Http(error) = self else { return false };
        let source = std::error::Error::source(error);
        source.and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        })
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => write!(f, "{host} cannot be resolved: {source}"),
            Self::Connect { to, source } => write!(f, "{to} cannot be reached: {source}"),
            Self::Tls { host, source } => {
                write!(f, "TLS with {host} failed: {}", tls::words(source))
            }
            Self::Proxy { proxy, why } => write!(f, "the proxy {proxy} cannot be used: {why}"),
            Self::Timeout(after) => write!(f, "no complete answer within {after:?}"),
            Self::Truncated { received: 0 } => {
                f.write_str("the connection closed before a complete answer")
            }
            Self::Truncated { received } => {
                write!(f, "the connection closed after {received} bytes of the body")
            }
            Self::Http(error) if error.is_parse_too_large() => {
                let kib = READ_BUFFER_MAX / 1024;
                write!(
                    f,
                    "the head of the answer has more than {kib} KiB or {HEADER_FIELDS_MAX} fields \
                     ({FIELDS_DEFAULT} in a load)"
                )
            }
            Self::Http(error) => f.write_str(&chain(error)),
            Self::NoHttp2(error) => {
                write!(f, "the server does not answer in HTTP/2 without TLS: {}", chain(error))
            }
        }
    }
}

impl std::error::Error for ClientError {}

fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

// A body that ends early is a read error; so is a peer that closes TLS without close_notify. In
// HTTP/2 the first of them is reported as a broken pipe.
fn is_early_end(error: &hyper::Error) -> bool {
    let Some(source) = std::error::Error::source(error) else { return false };
    let in_http1 = source.downcast_ref::<io::Error>();
    let in_http2 = source.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
    in_http1.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        || in_http2.is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe)
        })
}
