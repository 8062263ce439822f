//! The metrics of the mesh. Each scrape builds them from the current state, so the series of a node
//! end when it is no longer a neighbour.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::durations::Durations;
use super::neighbour::{Neighbour, Reach};
use super::state::{Mesh, State};
use super::turns::Direction;
use crate::fault::Fault;
use crate::metrics;

/// The page of metrics.
pub(crate) struct Page {
    registry: Registry,
}

impl Page {
    /// A page of everything that is known about `mesh` at the time of the request.
    ///
    /// # Errors
    ///
    /// Metric names that collide, which is a defect of this program.
    pub(crate) fn new(
        mesh: &Arc<Mesh>,
        durations: &Durations,
        lines_dropped: &IntCounter,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(MeshCollector(Arc::clone(mesh))))?;
        registry.register(Box::new(durations.collector()))?;
        registry.register(Box::new(lines_dropped.clone()))?;
        metrics::register_program(&registry)?;
        Ok(Self { registry })
    }

    /// The page in Prometheus' text format.
    pub(crate) fn text(&self) -> Vec<u8> {
        metrics::text(&self.registry)
    }
}

struct MeshCollector(Arc<Mesh>);

impl Collector for MeshCollector {
    fn desc(&self) -> Vec<&Desc> {
        // An unchecked collector: its families change with the neighbours.
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Names and labels are constants, so building them cannot fail.
        Families::of(&self.0.lock()).unwrap_or_default()
    }
}

/// The families that have a series for each neighbour.
struct Families {
    up: GaugeVec,
    last: GaugeVec,
    rtt: GaugeVec,
    retransmitted: IntCounterVec,
    path_mtu: GaugeVec,
    throughput: GaugeVec,
    errors: IntCounterVec,
}

impl Families {
    fn of(state: &State) -> prometheus::Result<Vec<MetricFamily>> {
        let families = Self::new()?;
        let names = names(state.neighbours.values());
        for (neighbour, name) in state.neighbours.values().zip(&names) {
            families.add(neighbour, name);
        }
        let nodes = IntGauge::new("heartbeat_mesh_nodes", "Addresses that the name has.")?;
        nodes.set(i64::try_from(state.ring.len()).unwrap_or(i64::MAX));
        let lookups = Opts::new("heartbeat_mesh_lookups_total", "Look-ups of the name.");
        let lookups = IntCounterVec::new(lookups, &["result"])?;
        let counts = &state.lookups;
        lookups.with_label_values(&["failed"]).inc_by(counts.failed);
        lookups.with_label_values(&["succeeded"]).inc_by(counts.done - counts.failed);
        let collectors: [&dyn Collector; 9] = [
            &families.up,
            &families.last,
            &families.rtt,
            &families.retransmitted,
            &families.path_mtu,
            &families.throughput,
            &families.errors,
            &nodes,
            &lookups,
        ];
        Ok(collectors.iter().flat_map(|collector| collector.collect()).collect())
    }

    fn new() -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str, more: &[&str]| {
            GaugeVec::new(Opts::new(name, help), &[&PEER, more].concat())
        };
        let counter = |name: &str, help: &str, more: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), &[&PEER, more].concat())
        };
        Ok(Self {
            up: gauge("heartbeat_mesh_up", "Whether the neighbour answers.", &[])?,
            last: gauge(
                "heartbeat_mesh_last_duration_seconds",
                "The last request that succeeded, by size.",
                &["size"],
            )?,
            rtt: gauge(
                "heartbeat_mesh_rtt_seconds",
                "The round-trip time to the neighbour, as the kernel smooths it.",
                &[],
            )?,
            retransmitted: counter(
                "heartbeat_mesh_retransmitted_segments_total",
                "TCP segments sent again: up by this node, down by the neighbour.",
                &["direction"],
            )?,
            path_mtu: gauge(
                "heartbeat_mesh_path_mtu_bytes",
                "The largest IP packet of the path, of the direction in which it is smaller.",
                &[],
            )?,
            throughput: gauge(
                "heartbeat_mesh_throughput_bits_per_second",
                "Of the last download of the largest size.",
                &[],
            )?,
            errors: counter(
                "heartbeat_mesh_errors_total",
                "Requests that were not answered as they should be, by what is wrong.",
                &["kind"],
            )?,
        })
    }

    fn add(&self, neighbour: &Neighbour, name: &str) {
        let zone = neighbour.identity.zone.as_deref().unwrap_or_default();
        let peer = [name, zone];
        match neighbour.reach {
            // A neighbour that was never asked is neither up nor down.
            Reach::Unknown => {}
            Reach::Up | Reach::Leaving(_) => self.up.with_label_values(&peer).set(1.0),
            Reach::Down => self.up.with_label_values(&peer).set(0.0),
        }
        for state in &neighbour.asks {
            if let Some(last) = state.last {
                let size = state.ask.key();
                self.last.with_label_values(&[name, zone, size.as_str()]).set(last.as_secs_f64());
            }
        }
        if let Some(rtt) = neighbour.rtt {
            self.rtt.with_label_values(&peer).set(rtt.as_secs_f64());
        }
        let ways = [(Direction::Up, neighbour.up), (Direction::Down, neighbour.down)];
        for (direction, segments) in ways {
            // A server that does not report its sent segments may still have retransmitted some.
            if segments.sent > 0 {
                let labels = [name, zone, direction.name()];
                self.retransmitted.with_label_values(&labels).inc_by(segments.again);
            }
        }
        if let Some(path_mtu) = neighbour.path_mtu {
            self.path_mtu.with_label_values(&peer).set(f64::from(path_mtu));
        }
        if let Some(throughput) = neighbour.throughput_bps {
            self.throughput.with_label_values(&peer).set(throughput as f64);
        }
        for fault in Fault::ALL {
            let count = neighbour.errors[fault as usize];
            if count > 0 {
                self.errors.with_label_values(&[name, zone, fault.name()]).inc_by(count);
            }
        }
    }
}

/// The names of the neighbours. If two claim the same name, their addresses are added, because they
/// must not share a series.
fn names<'a>(neighbours: impl Iterator<Item = &'a Neighbour>) -> Vec<String> {
    let neighbours: Vec<_> = neighbours.collect();
    let mut claims = HashMap::new();
    for node in neighbours.iter().filter_map(|neighbour| neighbour.identity.node.as_deref()) {
        *claims.entry(node).or_insert(0_usize) += 1;
    }
    let name = |neighbour: &&Neighbour| match neighbour.identity.node.as_deref() {
        Some(node) if claims[node] > 1 => format!("{node} ({})", neighbour.address),
        Some(node) => node.to_owned(),
        None => neighbour.address.to_string(),
    };
    neighbours.iter().map(name).collect()
}

const PEER: [&str; 2] = ["peer", "zone"];
