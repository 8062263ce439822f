//! An HTTP/1.1 client that tells how long each part of a request took, and keeps no body.
//!
//! [`Client`] keeps a pool of connections to one server; [`Connection`] is a single one, for those
//! who want to hold so many and no more. Neither follows redirects.

mod connect;
mod connection;
mod cookies;
mod error;
mod facts;
mod pool;
mod proxy;
mod request;
mod resolve;
mod stream;
mod target;
mod tls;

pub use connect::{Opening, Route};
pub use connection::{Answer, Connection, Phases};
pub use error::ClientError;
pub use facts::PathFacts;
pub use pool::{Client, ClientSettings};
pub use proxy::{Proxies, Proxy};
pub use request::{Request, RequestBody, RequestError};
pub use resolve::{ADDRESSES_MAX, FixedAddress, FixedAddressError, Resolver};
pub use target::{Target, TargetError};
pub(crate) use tls::{earliest_expiry, trusted};
pub use tls::{Tls, TlsError, TlsSettings};

use hyper::HeaderMap;

use crate::pattern::PatternCheck;

/// Takes the body of an answer as it comes.
pub trait BodySink: Send {
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

/// Throws a body away; its length is told by the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl BodySink for Discard {
    fn take(&mut self, _: &[u8]) {}
}
