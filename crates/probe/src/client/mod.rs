//! An HTTP/1.1 client that tells how long each part of a request took, and keeps no body.
//!
//! [`Client`] keeps a pool of connections to one server; [`Connection`] is a single one, for those
//! who want to hold so many and no more. Neither follows redirects.

mod connect;
mod connection;
mod error;
mod facts;
mod pool;
mod request;
mod stream;
mod target;
mod tls;

pub use connect::Opening;
pub use connection::{Answer, Connection, Phases};
pub use error::ClientError;
pub use facts::PathFacts;
pub use pool::{Client, ClientSettings};
pub use request::{Request, RequestBody, RequestError};
pub use target::{Target, TargetError};
pub(crate) use tls::roots;
pub use tls::{Tls, TlsError};

/// Takes the body of an answer as it comes.
pub trait BodySink: Send {
    /// The next bytes, in order.
    fn take(&mut self, bytes: &[u8]);
}

/// Throws a body away; its length is told by the answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl BodySink for Discard {
    fn take(&mut self, _: &[u8]) {}
}
