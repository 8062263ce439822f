//! What Prometheus is told: WebV's two metrics, and finer ones beside them.

mod fine;
mod path;
mod summary;
mod webv;

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{Encoder, IntCounter, IntGauge, Opts, Registry, TextEncoder};

pub use fine::InFlight;

use crate::metrics::fine::{Fine, FineServer};
use crate::metrics::webv::{Place, Webv};
use crate::page::History;
use crate::record::Record;
use crate::settings::{MetricsChoice, RunLoop, Settings};
use crate::testfile::Case;

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    webv: Arc<Webv>,
    // None where WebV's are enough.
    fine: Option<Arc<Fine>>,
    lines_dropped: IntCounter,
    history: Arc<History>,
}

/// The metrics of one server, or of one address of it. Those of an address are forgotten with it.
pub struct ServerMetrics {
    webv: Arc<Webv>,
    fine: Option<FineServer>,
    // The server, and its address where each is asked for itself.
    labels: Vec<String>,
    history: Arc<History>,
}

impl Metrics {
    /// Metrics with nothing counted yet, for a loop that asks for `cases`.
    ///
    /// # Errors
    ///
    /// Names that collide, which is a defect of this program.
    pub fn new(
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
    pub fn server(&self, server: &str, address: Option<&str>) -> ServerMetrics {
        let mut labels = vec![server.to_owned()];
        if self.webv.has_addresses() {
            labels.push(address.unwrap_or_default().to_owned());
        }
        let fine = self.fine.as_ref().map(|fine| FineServer::new(Arc::clone(fine), &labels));
        let history = Arc::clone(&self.history);
        ServerMetrics { webv: Arc::clone(&self.webv), fine, labels, history }
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
        text(&self.registry)
    }
}

/// Registers what every page tells of the program: its version and its process.
pub(crate) fn register_program(registry: &Registry) -> prometheus::Result<()> {
    let build = Opts::new("heartbeat_probe_build_info", "The version that runs.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    registered(registry, IntGauge::with_opts(build)?)?.set(1);
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))
}

/// What `registry` gathers, in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory fails only for families without a name, and these have one.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut page);
    page
}

impl ServerMetrics {
    /// Counts the request `index`.
    pub fn observe(&self, index: usize, record: &Record) {
        self.webv.observe(&self.labels, record);
        self.history.observe(record);
        if let Some(fine) = &self.fine {
            fine.observe(index, record);
        }
    }

    /// Counts requests that were due and not sent.
    pub fn dropped(&self, ticks: u64) {
        if let Some(fine) = &self.fine {
            fine.dropped(ticks);
        }
    }

    /// Counts a request as unanswered as long as the result lives.
    pub fn in_flight(&self) -> Option<InFlight> {
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

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
