//! What Prometheus is told: WebV's two metrics, and finer ones beside them.

mod summary;
mod webv;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Atomic, Collector, GenericCounter};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::fault::Fault;
use crate::metrics::webv::{Place, Webv};
use crate::page::History;
use crate::record::Record;
use crate::testfile::Case;

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    webv: Arc<Webv>,
    durations: HistogramVec,
    phases: HistogramVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    dropped: IntCounterVec,
    in_flight: IntGaugeVec,
    // In the order of the faults.
    errors: [IntCounter; Fault::ALL.len()],
    lines_dropped: IntCounter,
    history: Arc<History>,
}

/// The metrics of one server.
pub struct ServerMetrics {
    all: Metrics,
    server: String,
    // The label of each request: its tag, else its path.
    paths: Vec<String>,
    received: IntCounter,
    sent: IntCounter,
    dropped: IntCounter,
    in_flight: IntGauge,
}

/// Counts a request as unanswered until it is dropped.
pub struct InFlight(IntGauge);

impl Metrics {
    /// Metrics with nothing counted yet. `region` and `zone` become labels of WebV's metrics.
    ///
    /// # Errors
    ///
    /// Names that collide, which is a defect of this program.
    pub fn new(region: Option<&str>, zone: Option<&str>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            registered(&registry, HistogramVec::new(opts, labels)?)
        };
        let counter = |name: &str, help: &str| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), &["server"])?)
        };
        let gauge = Opts::new(
            "heartbeat_probe_requests_in_flight",
            "Requests that are sent and not answered yet.",
        );
        // Without the server: a central prober has hundreds, and which of them is in trouble the
        // durations tell.
        let errors = Opts::new(
            "heartbeat_probe_errors_total",
            "Requests that were not answered as they should be, by the first thing wrong.",
        );
        let errors = registered(&registry, IntCounterVec::new(errors, &["kind"])?)?;
        let lines_dropped = Opts::new(
            "heartbeat_probe_log_lines_dropped_total",
            "Lines of the log that were dropped, because nobody read it.",
        );
        let place = Place::new(region, zone);
        let metrics = Self {
            webv: Arc::new(Webv::new(&registry, place)?),
            durations: histogram(
                "heartbeat_probe_request_duration_seconds",
                "Whole requests, opening a connection included.",
                &["server", "path", "status"],
            )?,
            phases: histogram(
                "heartbeat_probe_phase_duration_seconds",
                "Parts of requests, also of failed ones, as far as they came.",
                &["server", "phase"],
            )?,
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
            in_flight: registered(&registry, IntGaugeVec::new(gauge, &["server"])?)?,
            errors: Fault::ALL.map(|fault| errors.with_label_values(&[fault.name()])),
            lines_dropped: registered(&registry, IntCounter::with_opts(lines_dropped)?)?,
            history: Arc::default(),
            registry,
        };
        metrics.register_process()?;
        Ok(metrics)
    }

    /// The metrics of one server, which is asked `cases`.
    pub fn server(&self, server: &str, cases: &[Arc<Case>]) -> ServerMetrics {
        let paths = cases.iter().map(|case| case.tag.as_ref().unwrap_or(&case.path).clone());
        ServerMetrics {
            all: self.clone(),
            server: server.to_owned(),
            paths: paths.collect(),
            received: self.received.with_label_values(&[server]),
            sent: self.sent.with_label_values(&[server]),
            dropped: self.dropped.with_label_values(&[server]),
            in_flight: self.in_flight.with_label_values(&[server]),
        }
    }

    /// Counts lines of the log that were dropped.
    pub fn lines_dropped(&self) -> IntCounter {
        self.lines_dropped.clone()
    }

    /// The last hour, for the page that people read.
    pub fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }

    /// The page, in Prometheus' text format.
    pub fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        // Writing to memory fails only for families without a name, and these have one.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut page);
        page
    }

    fn register_process(&self) -> prometheus::Result<()> {
        let build = Opts::new("heartbeat_probe_build_info", "The version that runs.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registered(&self.registry, IntGauge::with_opts(build)?)?.set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.registry.register(Box::new(process))
    }
}

impl ServerMetrics {
    /// Counts the request `index`.
    pub fn observe(&self, index: usize, record: &Record) {
        self.all.webv.observe(&self.server, record);
        self.all.history.observe(record);
        let labels = [self.server.as_str(), &self.paths[index], status_class(record)];
        let total = record.took.duration.as_secs_f64();
        self.all.durations.with_label_values(&labels).observe(total);
        count(&self.received, record.bytes_received);
        count(&self.sent, record.bytes_sent);
        if let Some(fault) = record.verdict.fault {
            self.all.errors[fault as usize].inc();
        }
        let phases = &record.took.phases;
        self.phase("resolve", phases.opening.resolve);
        self.phase("connect", phases.opening.connect);
        self.phase("tls", phases.opening.tls);
        self.phase("first_byte", phases.first_byte);
        self.phase("transfer", phases.transfer);
    }

    /// Counts requests that were due and not sent.
    pub fn dropped(&self, ticks: u64) {
        count(&self.dropped, ticks);
    }

    /// Counts a request as unanswered as long as the result lives.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    // Only phases that come to their end are counted, and have a series.
    fn phase(&self, name: &str, time: Option<Duration>) {
        if let Some(time) = time {
            let labels = [self.server.as_str(), name];
            self.all.phases.with_label_values(&labels).observe(time.as_secs_f64());
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn count<P: Atomic<T = u64>>(counter: &GenericCounter<P>, by: u64) {
    counter.inc_by(by);
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn status_class(record: &Record) -> &'static str {
    if !record.answered {
        return "none";
    }
    match record.status_code {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

// One a decade from 10 us to 10 s: the server's own, so that both fit on one panel.
const SECONDS: [f64; 7] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];
