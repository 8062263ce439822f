//! An HTTP client that measures each part of a request and keeps no body.
//!
//! [`Client`] keeps a pool of connections to one server; [`Connection`] is a single one, for
//! callers that need an exact number of connections. Neither follows redirects.

mod connect;
mod connection;
mod cookies;
mod error;
mod facts;
mod pool;
mod protocol;
mod proxy;
mod request;
mod resolve;
mod stream;
mod target;
mod tls;
mod version;

pub(crate) use connect::{Opening, Route};
pub(crate) use connection::{Answer, Connection, HEADER_FIELDS_MAX, Phases};
pub(crate) use error::ClientError;
pub(crate) use facts::PathFacts;
pub(crate) use pool::{Client, ClientSettings};
pub(crate) use proxy::{Proxies, Proxy};
pub(crate) use request::{Request, RequestBody, RequestError};
pub(crate) use resolve::{FixedAddress, LOOKUPS_MAX, Resolver};
pub(crate) use target::{Target, url_prefix};
pub(crate) use tls::{Tls, TlsSettings};
pub(crate) use tls::{Verifier, earliest_expiry, words};
pub(crate) use version::HttpVersion;

use hyper::HeaderMap;

use crate::pattern::PatternCheck;

/// Receives the body of an answer as it arrives.
pub(crate) trait BodySink: Send {
    /// The header fields of the answer, before its body.
    fn begin(&mut self, _: &HeaderMap) {}

    /// The next bytes, in order.
    fn take(&mut self, bytes: &[u8]);
}

impl BodySink for PatternCheck {
    fn take(&mut self, bytes: &[u8]) {
        PatternCheck::take(self, bytes);
    }
}

/// Discards a body; [`Answer`] has its length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Discard;

impl BodySink for Discard {
    fn take(&mut self, _: &[u8]) {}
}

/// Keeps a body up to a limit; a body that is longer is cut, which leaves invalid JSON.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    limit: usize,
}

impl Capture {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// The beginning of the body.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodySink for Capture {
    fn take(&mut self, bytes: &[u8]) {
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_body_up_to_its_limit() {
        let mut capture = Capture::new(5);
        capture.take(b"abc");
        capture.take(b"defg");
        capture.take(b"h");
        assert_eq!(capture.bytes(), b"abcde");
    }
}
