//! The metrics that WebV does not have: microseconds, phases, kinds of errors, bytes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::fault::Fault;
use crate::metrics::native::NativeHistogram;
use crate::metrics::path::{PathMetrics, ServerPath};
use crate::metrics::protobuf::NativeSeries;
use crate::metrics::registry::{PHASE_SECONDS, registered};
use crate::record::Record;
use crate::testfile::Case;

/// The families, for all servers.
pub(super) struct Fine {
    durations: HistogramVec,
    // The same durations, for scrapers that collect native histograms.
    native: Mutex<NativeSeries>,
    phases: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    dropped: IntCounterVec,
    in_flight: IntGaugeVec,
    expiry: IntGaugeVec,
    path: PathMetrics,
    // In the order of `Fault::ALL`.
    errors: [IntCounter; Fault::ALL.len()],
    // The label of each request.
    paths: Vec<String>,
}

/// The series of one server.
pub(super) struct FineServer {
    all: Arc<Fine>,
    labels: Vec<String>,
    // By request and by status class. A series exists once it has a value, and is kept so that its
    // labels need not be looked up again.
    durations: Vec<[OnceLock<DurationSeries>; STATUS_CLASSES.len()]>,
    phases: [OnceLock<Histogram>; PHASES.len()],
    path: ServerPath,
    received: IntCounter,
    sent: IntCounter,
    dropped: IntCounter,
    in_flight: IntGauge,
}

/// The durations of one request and status class, in both forms.
struct DurationSeries {
    classic: Histogram,
    native: Arc<Mutex<NativeHistogram>>,
}

/// Counts a request as unanswered until it is dropped.
pub(crate) struct InFlight(IntGauge);

/// The label of each request: its tag, or its path with the prefix and without the query. Only
/// [`PATHS_MAX`] paths have labels of their own, because each is a series for every bucket.
pub(super) fn path_labels(prefix: &str, cases: &[Arc<Case>]) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    let label = |case: &Arc<Case>| {
        if let Some(tag) = &case.tag {
            return tag.clone();
        }
        let path = case.path.split('?').next().unwrap_or(&case.path);
        let path = format!("{prefix}{path}");
        if !known.contains(&path) {
            if known.len() == PATHS_MAX {
                return OTHER.to_owned();
            }
            known.push(path.clone());
        }
        path
    };
    cases.iter().map(label).collect()
}

impl Fine {
    pub(super) fn new(
        registry: &Registry,
        server_labels: &[&str],
        buckets: Vec<f64>,
        paths: Vec<String>,
    ) -> prometheus::Result<Self> {
        let with = |more: &[&'static str]| [server_labels, more].concat();
        let histogram = |name: &str, help: &str, buckets: Vec<f64>, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets);
            registered(registry, HistogramVec::new(opts, labels)?)
        };
        let counter = |name: &str, help: &str| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), server_labels)?)
        };
        let gauge = |name: &str, help: &str| {
            registered(registry, IntGaugeVec::new(Opts::new(name, help), server_labels)?)
        };
        // Without the server, because a central prober has hundreds of them; the durations show
        // which of them has errors.
        let errors = Opts::new(
            "heartbeat_probe_errors_total",
            "Requests that were not answered as they should be, by the first thing wrong.",
        );
        let errors = registered(registry, IntCounterVec::new(errors, &["kind"])?)?;
        Ok(Self {
            durations: histogram(
                DURATIONS,
                "Whole requests, opening a connection included.",
                buckets,
                &with(&["path", "status"]),
            )?,
            native: Mutex::default(),
            phases: histogram(
                "heartbeat_probe_phase_duration_seconds",
                "Parts of requests, also of failed ones, as far as they came.",
                PHASE_SECONDS.to_vec(),
                &with(&["phase"]),
            )?,
            path: PathMetrics::new(registry, server_labels)?,
            received: counter(
                "heartbeat_probe_received_bytes_total",
                "Bytes of answers, heads included, TLS not.",
            )?,
            sent: counter(
                "heartbeat_probe_sent_bytes_total",
                "Bytes of requests, heads included, TLS not.",
            )?,
            dropped: counter(
                "heartbeat_probe_dropped_ticks_total",
                "Requests that were due and not sent, because too many were unanswered.",
            )?,
            in_flight: gauge(
                "heartbeat_probe_requests_in_flight",
                "Requests that are sent and not answered yet.",
            )?,
            expiry: gauge(
                "heartbeat_probe_tls_expiry_timestamp_seconds",
                "When the first certificate of the server's chain expires, in Unix time.",
            )?,
            errors: Fault::ALL.map(|fault| errors.with_label_values(&[fault.name()])),
            paths,
        })
    }
}

impl Fine {
    /// The durations as native histograms.
    pub(super) fn native(&self) -> MutexGuard<'_, NativeSeries> {
        self.native.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FineServer {
    pub(super) fn new(all: Arc<Fine>, labels: &[String]) -> Self {
        Self {
            path: all.path.to(labels),
            durations: all.paths.iter().map(|_| Default::default()).collect(),
            phases: Default::default(),
            received: all.received.with_label_values(labels),
            sent: all.sent.with_label_values(labels),
            dropped: all.dropped.with_label_values(labels),
            in_flight: all.in_flight.with_label_values(labels),
            labels: labels.to_vec(),
            all,
        }
    }

    pub(super) fn observe(&self, index: usize, record: &Record) {
        let class = status_class(record);
        let series = self.durations[index][class].get_or_init(|| self.durations(index, class));
        let seconds = record.took.duration.as_secs_f64();
        series.classic.observe(seconds);
        series.native.lock().unwrap_or_else(PoisonError::into_inner).observe(seconds);
        self.path.observe(&record.took.phases.path);
        self.received.inc_by(record.bytes_received);
        self.sent.inc_by(record.bytes_sent);
        if let Some(fault) = record.verdict.fault {
            self.all.errors[fault as usize].inc();
        }
        let phases = &record.took.phases;
        let opening = &phases.opening;
        if let Some(expiry) = opening.expiry {
            let expiry = i64::try_from(expiry).unwrap_or(i64::MAX);
            self.all.expiry.with_label_values(&self.labels).set(expiry);
        }
        let times =
            [opening.resolve, opening.connect, opening.tls, phases.first_byte, phases.transfer];
        for (phase, time) in times.into_iter().enumerate() {
            self.observe_phase(phase, time);
        }
    }

    pub(super) fn dropped(&self, ticks: u64) {
        self.dropped.inc_by(ticks);
    }

    pub(super) fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Removes the series.
    pub(super) fn forget(&self) {
        let all = &self.all;
        for (path, classes) in all.paths.iter().zip(&self.durations) {
            for (class, series) in STATUS_CLASSES.iter().zip(classes) {
                if series.get().is_some() {
                    let _ = all.durations.remove_label_values(&self.with(&[path, class]));
                    all.native().remove(&self.native_key(path, class));
                }
            }
        }
        for (phase, series) in PHASES.iter().zip(&self.phases) {
            if series.get().is_some() {
                let _ = all.phases.remove_label_values(&self.with(&[phase]));
            }
        }
        all.path.forget(&self.labels);
        for counter in [&all.received, &all.sent, &all.dropped] {
            let _ = counter.remove_label_values(&self.labels);
        }
        for gauge in [&all.in_flight, &all.expiry] {
            let _ = gauge.remove_label_values(&self.labels);
        }
    }

    // Only phases that have ended are counted and have a series.
    fn observe_phase(&self, phase: usize, time: Option<Duration>) {
        if let Some(time) = time {
            let series = self.phases[phase]
                .get_or_init(|| self.all.phases.with_label_values(&self.with(&[PHASES[phase]])));
            series.observe(time.as_secs_f64());
        }
    }

    fn durations(&self, index: usize, class: usize) -> DurationSeries {
        let (path, class) = (&self.all.paths[index], STATUS_CLASSES[class]);
        let classic = self.all.durations.with_label_values(&self.with(&[path, class]));
        let native = Arc::clone(self.all.native().entry(self.native_key(path, class)).or_default());
        DurationSeries { classic, native }
    }

    // The values of the labels address (if there is one), path, server and status.
    fn native_key(&self, path: &str, class: &str) -> Vec<String> {
        let mut key = self.labels[1..].to_vec();
        key.extend([path.to_owned(), self.labels[0].clone(), class.to_owned()]);
        key
    }

    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.labels.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn status_class(record: &Record) -> usize {
    if !record.answered {
        return 0;
    }
    match record.status_code {
        ..200 => 1,
        200..300 => 2,
        300..400 => 3,
        400..500 => 4,
        _ => 5,
    }
}

/// The family that has native histograms, too.
pub(super) const DURATIONS: &str = "heartbeat_probe_request_duration_seconds";
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
const PHASES: [&str; 5] = ["resolve", "connect", "tls", "first_byte", "transfer"];
const PATHS_MAX: usize = 64;
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    fn case(path: &str, tag: Option<&str>) -> Arc<Case> {
        let tag = tag.map(str::to_owned);
        Arc::new(Case { path: path.to_owned(), tag, ..Case::default() })
    }

    #[test]
    fn the_label_of_a_request_is_its_tag_or_its_path_without_the_query() {
        let cases = [case("/a?1", None), case("/a?2", None), case("/b", Some("tag"))];
        assert_eq!(path_labels("/pre", &cases), ["/pre/a", "/pre/a", "tag"]);
    }

    #[test]
    fn paths_above_the_limit_share_a_label() {
        let mut cases: Vec<_> = (0..=PATHS_MAX).map(|n| case(&format!("/{n}"), None)).collect();
        cases.push(case("/0", None));
        cases.push(case("/x", Some("t")));
        let labels = path_labels("", &cases);
        assert_eq!(labels[PATHS_MAX - 1], format!("/{}", PATHS_MAX - 1));
        assert_eq!(labels[PATHS_MAX..], [OTHER, "/0", "t"]);
    }
}
