//! How long requests to neighbours take.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec};

use super::turns::Ask;

/// The durations of requests, by size and by whether they stay within the zone. They are not kept
/// by neighbour, because that would be hundreds of series.
#[derive(Clone)]
pub(crate) struct Durations(HistogramVec);

impl Durations {
    /// Histograms without a value.
    ///
    /// # Errors
    ///
    /// An invalid metric name, which is a defect of this program.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let opts = HistogramOpts::new(
            "heartbeat_mesh_request_duration_seconds",
            "Requests to neighbours, from the request on an open connection to the last byte.",
        );
        Ok(Self(HistogramVec::new(opts.buckets(SECONDS.to_vec()), &["size", "same_zone"])?))
    }

    /// The collector for a registry.
    pub(super) fn collector(&self) -> HistogramVec {
        self.0.clone()
    }

    /// Adds one duration.
    pub(crate) fn observe(
        &self,
        ask: Ask,
        own_zone: Option<&str>,
        zone: Option<&str>,
        duration: Duration,
    ) {
        let same_zone = match (own_zone, zone) {
            (Some(own), Some(other)) if own == other => "true",
            (Some(_), Some(_)) => "false",
            _ => "unknown",
        };
        let seconds = duration.as_secs_f64();
        self.0.with_label_values(&[ask.key().as_str(), same_zone]).observe(seconds);
    }
}

/// From a request over a fast switch to one that is about to time out.
const SECONDS: [f64; 10] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
