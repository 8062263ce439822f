//! The pages on the prober's port, by path.

use std::net::IpAddr;
use std::sync::Arc;

use super::gather::Gatherer;
use super::metrics;
use super::report::ClusterReport;
use super::state::Mesh;
use crate::page::{self, NodeView};
use crate::web::{HTML_TYPE, JSON_TYPE, METRICS_TYPE, Page, Site};

/// The pages of a mesh.
pub(crate) struct MeshSite {
    mesh: Arc<Mesh>,
    metrics: Arc<metrics::Page>,
    gatherer: Gatherer,
}

impl MeshSite {
    /// The pages of `mesh`; the probers of other nodes listen on `port`.
    pub(crate) fn new(mesh: Arc<Mesh>, metrics: metrics::Page, port: u16) -> Self {
        let gatherer = Gatherer::new(Arc::clone(&mesh), port);
        Self { mesh, metrics: Arc::new(metrics), gatherer }
    }

    async fn node(&self) -> Option<Page> {
        let view = NodeView {
            report: self.mesh.report(),
            latest: self.mesh.latest(),
            nodes: self.mesh.addresses().len(),
            lookup_error: self.mesh.lookup_error(),
            alone: self.mesh.alone(),
        };
        rendered(HTML_TYPE, move || page::node(&view).into_bytes()).await
    }

    async fn cluster(&self, query: Option<&str>) -> Option<Page> {
        let report = self.gatherer.cluster().await;
        let Some(query) = query else {
            return rendered(HTML_TYPE, move || page::cluster(&report).into_bytes()).await;
        };
        let (from, to) = pair(query, &report)?;
        rendered(HTML_TYPE, move || page::pair(&report, from, to).into_bytes()).await
    }
}

impl Site for MeshSite {
    async fn page(&self, path: &str, query: Option<&str>) -> Option<Page> {
        match path {
            "/" => self.node().await,
            "/cluster" => self.cluster(query).await,
            "/mesh.json" => {
                let report = self.mesh.report();
                rendered(JSON_TYPE, move || json(&report)).await
            }
            "/cluster.json" => {
                let report = self.gatherer.cluster().await;
                rendered(JSON_TYPE, move || json(&*report)).await
            }
            "/metrics" => {
                let metrics = Arc::clone(&self.metrics);
                rendered(METRICS_TYPE, move || metrics.text()).await
            }
            _ => None,
        }
    }

    fn missing(&self, path: &str) -> Option<Page> {
        let body = page::unknown_pair().into_bytes().into();
        (path == "/cluster").then_some(Page { content_type: HTML_TYPE, body })
    }
}

/// Renders on a separate thread, because this one sends the requests.
async fn rendered(
    content_type: &'static str,
    render: impl FnOnce() -> Vec<u8> + Send + 'static,
) -> Option<Page> {
    let body = tokio::task::spawn_blocking(render).await.ok()?;
    Some(Page { content_type, body: body.into() })
}

fn json(report: &impl serde::Serialize) -> Vec<u8> {
    // Keys are text and numbers are finite, so JSON can represent them all.
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The two ends in the query of a link; `None` if they are not two nodes of this cluster.
fn pair(query: &str, report: &ClusterReport) -> Option<(IpAddr, IpAddr)> {
    let value = |name: &str| {
        let mut parts = query.split('&').filter_map(|part| part.split_once('='));
        let (_, value) = parts.find(|(key, _)| *key == name)?;
        value.replace("%3A", ":").replace("%3a", ":").parse::<IpAddr>().ok()
    };
    let known = |address: IpAddr| {
        let is_known = report.nodes.iter().any(|node| node.own.address == Some(address));
        is_known.then_some(address)
    };
    Some((known(value("from")?)?, known(value("to")?)?))
}
