//! What the requests to each server show about the path.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::{SECONDS, registered};
use crate::client::PathFacts;

/// The metrics of all paths.
#[derive(Clone)]
pub(super) struct PathMetrics {
    server: HistogramVec,
    rtt: HistogramVec,
    retransmitted: IntCounterVec,
}

/// The metrics of the path to one server.
pub(super) struct ServerPath {
    server: Histogram,
    rtt: Histogram,
    down: IntCounter,
    up: IntCounter,
}

impl PathMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            registered(registry, HistogramVec::new(opts, &["server"])?)
        };
        let retransmitted = Opts::new(
            "heartbeat_probe_retransmitted_segments_total",
            "Segments sent again: up by this end, down by the server's account.",
        );
        let labels = &["server", "direction"];
        Ok(Self {
            server: histogram(
                "heartbeat_probe_server_seconds",
                "The server's own share of a request, by its Server-Timing.",
            )?,
            rtt: histogram(
                "heartbeat_probe_rtt_seconds",
                "Round-trip time by the kernel of this end, one value a request.",
            )?,
            retransmitted: registered(registry, IntCounterVec::new(retransmitted, labels)?)?,
        })
    }

    pub(super) fn to(&self, server: &str) -> ServerPath {
        ServerPath {
            server: self.server.with_label_values(&[server]),
            rtt: self.rtt.with_label_values(&[server]),
            down: self.retransmitted.with_label_values(&[server, "down"]),
            up: self.retransmitted.with_label_values(&[server, "up"]),
        }
    }
}

impl ServerPath {
    pub(super) fn observe(&self, facts: &PathFacts) {
        if let Some(time) = facts.server {
            self.server.observe(time.as_secs_f64());
        }
        if let Some(time) = facts.rtt {
            self.rtt.observe(time.as_secs_f64());
        }
        self.down.inc_by(facts.retransmitted_down);
        self.up.inc_by(facts.retransmitted_up);
    }
}
