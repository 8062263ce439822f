//! What the metrics of the loop and those of the mesh have in common.

use prometheus::core::Collector;
use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder};

/// Registers the metrics of the program itself: its version and its process.
pub(crate) fn register_program(registry: &Registry) -> prometheus::Result<()> {
    let build = Opts::new("heartbeat_probe_build_info", "The version that runs.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    registered(registry, IntGauge::with_opts(build)?)?.set(1);
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))
}

/// The metrics of `registry` in Prometheus' text format.
pub(crate) fn text(registry: &Registry) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory fails only for families without a name, and all have one.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut page);
    page
}

/// Registers `collector` and returns it.
pub(super) fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// One bound per decade from 10 us to 10 s. They are the server's, so that both fit on one panel.
pub(super) const PHASE_SECONDS: [f64; 7] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];
