//! The HTTP/1.1 of Heartbeat: bytes in, events out; responses in, bytes out.
//!
//! This crate holds no socket, clock, thread or file descriptor. [`Connection`] is the state
//! machine of a connection; its readers of a head and of a body ([`BodyDecoder`]) remember how far
//! they have read. Everything else is a pure function. A caller drives a connection like this:
//!
//! ```
//! use heartbeat_protocol::{Connection, DateLine, Port, Event, Facts, Next, Site, route};
//!
//! let site = Site::new("/heartbeat/", 1, 1 << 20).unwrap();
//! let facts = Facts { ready: true, version: "0.5.0\n", version_json: "{}\n" };
//! let mut connection = Connection::new();
//! let mut answer = Vec::new();
//!
//! let mut input: &[u8] = b"GET /heartbeat/17 HTTP/1.1\r\nHost: example\r\n\r\n";
//! let routed = loop {
//!     let received = connection.receive(input);
//!     input = &input[received.consumed..];
//!     match received.event {
//!         Event::Request(request) => break route(&request, Port::Main, &site, &facts),
//!         other => panic!("{other:?}"),
//!     }
//! };
//! assert!(matches!(connection.receive(input).event, Event::EndOfMessage));
//! let response = routed.response();
//! connection.send(&response, &DateLine::new(1_000_000_000), &mut answer);
//! assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
//! assert_eq!(response.content.bytes(), 17);
//! assert!(matches!(connection.finish(), Next::KeepAlive));
//! ```
//!
//! The law of the crate is split invariance: the same bytes, cut anywhere, lead to the same events
//! and the same answers; only the pieces of content in [`Event::Data`] follow the cuts. The one
//! exception is `100 Continue`: the server leaves it out if a part of the body has already arrived,
//! which RFC 9110 section 10.1.1 allows.

#![forbid(unsafe_code)]

#[cfg(test)]
extern crate self as heartbeat_protocol;

mod alias;
mod body;
mod connection;
mod date;
mod decimal;
mod fields;
mod framing;
mod grammar;
mod head;
pub mod limits;
mod payload;
mod query;
mod rejection;
mod request;
mod request_line;
mod resource;
mod response;
mod responsiveness;
mod route;
mod site;
mod status;
mod table;
mod timing;

#[cfg(test)]
#[allow(dead_code, reason = "the unit tests use a part of what the tests share")]
#[path = "../tests/rig/mod.rs"]
mod rig;

pub use body::{BodyDecoder, Step};
pub use connection::{CloseReason, Connection, Event, Next, Received};
pub use date::{DateLine, rfc3339_seconds};
pub use decimal::push_decimal;
pub use framing::Framing;
pub use payload::{PATTERN, Payload, Segment};
pub use rejection::Rejection;
pub use request::{Method, Request, Target, Version};
pub use response::{CONTINUE, Content, Location, Persistence, Response};
pub use route::{Facts, Port, Route, Routed, route};
pub use site::{Site, SiteError, SiteOptions};
pub use status::Status;
pub use timing::ServerTiming;
