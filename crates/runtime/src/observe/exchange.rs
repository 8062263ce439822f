//! Owns the one record of an answered request: what the counters and the access log say about it.

use std::net::IpAddr;
use std::time::Instant;

use heartbeat_protocol::{Route, Status};

/// A request whose answer is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) route: Route,
    pub(crate) status: Status,
    /// When the head of the request was complete.
    pub(crate) started: Instant,
    pub(crate) remote: IpAddr,
    /// Length of the payload if the answer has one.
    pub(crate) payload_bytes: Option<u64>,
    /// Content sent and received, in bytes.
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
}
