//! `WebVDuration` and `WebVSummary`, with the names and labels that dashboards and relabeling rules
//! expect.

use prometheus::{HistogramOpts, HistogramVec, Registry};

use crate::metrics::registry::registered;
use crate::metrics::summary::Summary;
use crate::record::Record;

pub(super) struct Webv {
    durations: HistogramVec,
    summary: Summary,
    place: Place,
    has_addresses: bool,
}

/// The location of the prober: labels that exist only if they are set.
pub(super) struct Place(Vec<(&'static str, String)>);

impl Place {
    pub(super) fn new(region: Option<&str>, zone: Option<&str>) -> Self {
        let labels = [("region", region), ("zone", zone)];
        let set = labels.into_iter().filter_map(|(name, text)| Some((name, text?.to_owned())));
        Self(set.collect())
    }
}

impl Webv {
    pub(super) fn new(
        registry: &Registry,
        server_labels: &[&str],
        place: Place,
    ) -> prometheus::Result<Self> {
        let mut labels = [&["status", "failed"], server_labels].concat();
        labels.extend(place.0.iter().map(|(name, _)| *name));
        let opts = HistogramOpts::new("WebVDuration", "Histogram of WebV request duration")
            .buckets(prometheus::exponential_buckets(1.0, 2.0, 10)?);
        let durations = registered(registry, HistogramVec::new(opts, &labels)?)?;
        let summary = Summary::new("WebVSummary", "Summary of WebV request duration", &labels)?;
        let summary = registered(registry, summary)?;
        Ok(Self { durations, summary, place, has_addresses: server_labels.len() > 1 })
    }

    /// Whether each address of a server has a label.
    pub(super) fn has_addresses(&self) -> bool {
        self.has_addresses
    }

    pub(super) fn observe(&self, server: &[String], record: &Record) {
        let labels = self.labels(status(record.status_code), record.verdict.failed, server);
        // WebV rounds to whole milliseconds, so most of its answers count as 0; this does not.
        let milliseconds = record.took.duration.as_secs_f64() * 1000.0;
        self.durations.with_label_values(&labels).observe(milliseconds);
        self.summary.observe(&labels, milliseconds);
    }

    /// Removes the series of a server.
    pub(super) fn forget(&self, server: &[String]) {
        for status in STATUSES {
            for failed in [false, true] {
                let labels = self.labels(status, failed, server);
                let _ = self.durations.remove_label_values(&labels);
                self.summary.forget(&labels);
            }
        }
    }

    fn labels<'a>(&'a self, status: &'a str, failed: bool, server: &'a [String]) -> Vec<&'a str> {
        let mut labels = vec![status, if failed { "True" } else { "False" }];
        labels.extend(server.iter().map(String::as_str));
        labels.extend(self.place.0.iter().map(|(_, text)| text.as_str()));
        labels
    }
}

fn status(code: u16) -> &'static str {
    match code {
        500.. => "Error",
        429 => "Retry",
        400.. => "Warn",
        300.. => "Redirect",
        _ => "OK",
    }
}

const STATUSES: [&str; 5] = ["OK", "Redirect", "Warn", "Retry", "Error"];
