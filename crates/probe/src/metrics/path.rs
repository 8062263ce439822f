//! The metrics of the path to each server.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::registry::{PHASE_SECONDS, registered};
use crate::client::PathFacts;

/// The metrics of all paths.
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
    pub(super) fn new(registry: &Registry, server_labels: &[&str]) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help).buckets(PHASE_SECONDS.to_vec());
            registered(registry, HistogramVec::new(opts, server_labels)?)
        };
        let retransmitted = Opts::new(
            "heartbeat_probe_retransmitted_segments_total",
            "Segments sent again: up by this end, down by the server's account.",
        );
        let labels = [server_labels, &["direction"]].concat();
        Ok(Self {
            server: histogram(
                "heartbeat_probe_server_seconds",
                "The server's own share of a request, by its Server-Timing.",
            )?,
            rtt: histogram(
                "heartbeat_probe_rtt_seconds",
                "Round-trip time by the kernel of this end, one value a request.",
            )?,
            retransmitted: registered(registry, IntCounterVec::new(retransmitted, &labels)?)?,
        })
    }

    pub(super) fn to(&self, labels: &[String]) -> ServerPath {
        ServerPath {
            server: self.server.with_label_values(labels),
            rtt: self.rtt.with_label_values(labels),
            down: self.retransmitted.with_label_values(&toward(labels, "down")),
            up: self.retransmitted.with_label_values(&toward(labels, "up")),
        }
    }

    /// Removes the series of one server.
    pub(super) fn forget(&self, labels: &[String]) {
        let _ = self.server.remove_label_values(labels);
        let _ = self.rtt.remove_label_values(labels);
        for direction in ["down", "up"] {
            let _ = self.retransmitted.remove_label_values(&toward(labels, direction));
        }
    }
}

fn toward(labels: &[String], direction: &str) -> Vec<String> {
    [labels, &[direction.to_owned()]].concat()
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
