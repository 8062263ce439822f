//! The view of the whole cluster: asks all nodes for their reports when somebody opens the page.
//!
//! It runs on a separate thread, so that a page does not delay the probes. It asks only addresses
//! that came from the name service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::link::Link;
use super::report::{ClusterNode, ClusterReport, NodeReport, Own};
use super::state::Mesh;
use crate::client::{Capture, ClientError, Request, RequestBody, Target};

/// Gathers the reports and keeps them for a moment, so that ten readers cost as much as one.
pub(crate) struct Gatherer {
    mesh: Arc<Mesh>,
    port: u16,
    latest: Mutex<Option<(Instant, Arc<ClusterReport>)>>,
}

impl Gatherer {
    /// Asks the probers on `port` of all addresses of the mesh.
    pub(crate) fn new(mesh: Arc<Mesh>, port: u16) -> Self {
        Self { mesh, port, latest: Mutex::new(None) }
    }

    /// The reports of all nodes, a few seconds old at most.
    pub(crate) async fn cluster(&self) -> Arc<ClusterReport> {
        // A caller that comes meanwhile waits, and gets what the first has gathered.
        let mut latest = self.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < KEPT_FOR
        {
            return Arc::clone(report);
        }
        let own = self.mesh.own_node();
        let (addresses, port) = (self.mesh.addresses(), self.port);
        let gathered = tokio::task::spawn_blocking(move || gather(own, &addresses, port)).await;
        let report = Arc::new(gathered.unwrap_or_default());
        *latest = Some((Instant::now(), Arc::clone(&report)));
        report
    }
}

/// Asks all `addresses` except that of `own`, whose report is known.
fn gather(own: ClusterNode, addresses: &[IpAddr], port: u16) -> ClusterReport {
    let others: Vec<_> =
        addresses.iter().copied().filter(|address| Some(*address) != own.own.address).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut nodes = match runtime {
        Ok(runtime) => {
            let nodes = runtime.block_on(ask_all(&others, port));
            runtime.shutdown_background();
            nodes
        }
        Err(error) => {
            let failed = |address: &IpAddr| silent(*address, &format!("not asked: {error}"));
            others.iter().map(failed).collect()
        }
    };
    nodes.push(own);
    ClusterReport { nodes }
}

async fn ask_all(addresses: &[IpAddr], port: u16) -> Vec<ClusterNode> {
    let end = tokio::time::Instant::now() + GATHER_TIME_MAX;
    let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
    let mut asked = JoinSet::new();
    for address in addresses.iter().copied() {
        let slots = Arc::clone(&slots);
        asked.spawn(async move {
            let answer = async {
                // The semaphore is never closed, so this never fails.
                let _slot = slots.acquire().await;
                let limit =
                    tokio::time::timeout(NODE_TIME_MAX, ask(SocketAddr::new(address, port)));
                limit.await.unwrap_or_else(|_| Err(format!("silent for {NODE_TIME_MAX:?}")))
            };
            let answer = tokio::time::timeout_at(end, answer).await;
            match answer {
                Ok(Ok(report)) => report.into(),
                Ok(Err(error)) => silent(address, &error),
                Err(_) => silent(address, "not asked in time"),
            }
        });
    }
    let mut nodes = Vec::with_capacity(addresses.len() + 1);
    while let Some(node) = asked.join_next().await {
        nodes.extend(node);
    }
    nodes
}

async fn ask(address: SocketAddr) -> Result<NodeReport, String> {
    let words = |error: ClientError| error.to_string();
    let target = Target::parse(&format!("http://{address}")).map_err(|error| error.to_string())?;
    let request = Request::new(&target, "GET", "/mesh.json", &[], RequestBody::Empty);
    let request = request.map_err(|error| error.to_string())?;
    let mut link = Link::open(address, true).await.map_err(words)?;
    let mut body = Capture::new(REPORT_BYTES_MAX);
    let answer = link.request(&request, &mut body).await.map_err(words)?;
    if answer.status != 200 {
        return Err(format!("the status of /mesh.json is {}, not 200", answer.status.as_u16()));
    }
    let report = NodeReport::read(body.bytes(), address.ip());
    report.ok_or_else(|| "its answer is not a mesh report".to_owned())
}

fn silent(address: IpAddr, error: &str) -> ClusterNode {
    let own = Own { address: Some(address), ..Own::default() };
    ClusterNode { own, peers: None, error: Some(error.to_owned()) }
}

/// Shorter than the refresh interval of the page, so that each refresh asks anew.
const KEPT_FOR: Duration = Duration::from_secs(3);
/// The limit for all nodes together, because a reader waits for it.
const GATHER_TIME_MAX: Duration = Duration::from_secs(2);
/// The limit for one node, so that silent nodes free their slots for the others.
const NODE_TIME_MAX: Duration = Duration::from_secs(1);
/// Enough for a thousand nodes that answer, and few enough for a default limit of descriptors.
const CONCURRENT_MAX: usize = 64;
/// The report of a hundred neighbours has some sixty kilobytes.
const REPORT_BYTES_MAX: usize = 256 * 1024;
