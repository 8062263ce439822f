//! The metrics for Prometheus: WebV's two, and finer ones.

mod fine;
mod native;
mod path;
mod protobuf;
mod registry;
mod summary;
mod webv;

use std::sync::Arc;

use prometheus::{IntCounter, Registry};

pub(crate) use fine::InFlight;
pub(crate) use protobuf::PROTOBUF_TYPE;
pub(crate) use registry::{register_program, text};

use crate::metrics::fine::{Fine, FineServer};
use crate::metrics::webv::{Place, Webv};
use crate::page::History;
use crate::record::Record;
use crate::settings::{MetricsChoice, RunLoop, Settings};
use crate::testfile::Case;

/// All metrics of the process.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    webv: Arc<Webv>,
    // `None` if only WebV's metrics are served.
    fine: Option<Arc<Fine>>,
    lines_dropped: IntCounter,
    history: Arc<History>,
}

/// The metrics of one server, or of one address of it. Those of an address end when this is
/// dropped.
pub(crate) struct ServerMetrics {
    webv: Arc<Webv>,
    fine: Option<FineServer>,
    // The server, and its address if each address is asked separately.
    labels: Vec<String>,
    history: Arc<History>,
}

impl Metrics {
    /// Metrics with nothing counted yet, for a loop that asks for `cases`.
    ///
    /// # Errors
    ///
    /// Metric names that collide, which is a defect of this program.
    pub(crate) fn new(
        settings: &Settings,
        run_loop: &RunLoop,
        cases: &[Arc<Case>],
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let place = Place::new(settings.region.as_deref(), settings.zone.as_deref());
        let server_labels: &[&str] = match run_loop.resolve_all {
            true => &["server", "address"],
            false => &["server"],
        };
        let webv = Arc::new(Webv::new(&registry, server_labels, place)?);
        let lines_dropped = IntCounter::new(
            "heartbeat_probe_log_lines_dropped_total",
            "Lines of the log that were dropped, because nobody read it.",
        )?;
        let fine = match run_loop.metrics {
            MetricsChoice::Webv => None,
            MetricsChoice::All => {
                registry.register(Box::new(lines_dropped.clone()))?;
                let paths = fine::path_labels(&settings.url_prefix, cases);
                let buckets = run_loop.buckets.clone();
                Some(Arc::new(Fine::new(&registry, server_labels, buckets, paths)?))
            }
        };
        register_program(&registry)?;
        Ok(Self { registry, webv, fine, lines_dropped, history: Arc::default() })
    }

    /// The metrics of one server, or of one `address` of it.
    pub(crate) fn server(&self, server: &str, address: Option<&str>) -> ServerMetrics {
        let mut labels = vec![server.to_owned()];
        if self.webv.has_addresses() {
            labels.push(address.unwrap_or_default().to_owned());
        }
        let fine = self.fine.as_ref().map(|fine| FineServer::new(Arc::clone(fine), &labels));
        let history = Arc::clone(&self.history);
        ServerMetrics { webv: Arc::clone(&self.webv), fine, labels, history }
    }

    /// The counter of lines of the log that were dropped.
    pub(crate) fn lines_dropped(&self) -> IntCounter {
        self.lines_dropped.clone()
    }

    /// The last hour, for the page that people read.
    pub(crate) fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }

    /// The page in Prometheus' protobuf, with native histograms.
    pub(crate) fn protobuf(&self) -> Vec<u8> {
        let families = self.registry.gather();
        match &self.fine {
            Some(fine) => protobuf::page(&families, fine::DURATIONS, &fine.native()),
            None => protobuf::page(&families, fine::DURATIONS, &protobuf::NativeSeries::new()),
        }
    }

    /// The page, in Prometheus' text format.
    pub(crate) fn page(&self) -> Vec<u8> {
        text(&self.registry)
    }
}

impl ServerMetrics {
    /// Counts the request `index`.
    pub(crate) fn observe(&self, index: usize, record: &Record) {
        self.webv.observe(&self.labels, record);
        self.history.observe(record);
        if let Some(fine) = &self.fine {
            fine.observe(index, record);
        }
    }

    /// Counts requests that were due and not sent.
    pub(crate) fn dropped(&self, ticks: u64) {
        if let Some(fine) = &self.fine {
            fine.dropped(ticks);
        }
    }

    /// Counts a request as unanswered until the result is dropped.
    pub(crate) fn in_flight(&self) -> Option<InFlight> {
        self.fine.as_ref().map(FineServer::in_flight)
    }
}

impl Drop for ServerMetrics {
    fn drop(&mut self) {
        if self.webv.has_addresses() {
            self.webv.forget(&self.labels);
            if let Some(fine) = &self.fine {
                fine.forget();
            }
        }
    }
}
