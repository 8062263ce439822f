//! Starts the servers in turn, and measures them.

mod ask;
mod beside;
mod idle;
mod load_process;
mod long_heads;
mod rounds;
mod server;
mod wrk;

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::network::Namespace;
use crate::peer::Workshop;
pub use ask::take_sample;
pub use load_process::LoadProcess;
pub use rounds::run_scenario;
pub use server::start;

/// What all measurements of a run share.
pub struct Bench {
    /// The scratch folder.
    pub workshop: Workshop,
    /// Every CPU that this program may use.
    pub all_cpus: Vec<usize>,
    /// The CPU of a server with one worker.
    pub server_cpus: Vec<usize>,
    /// The CPU of the client.
    pub client_cpus: Vec<usize>,
    /// The namespace of clients that come over the veth pair; none if there is no pair.
    pub client_namespace: Option<Namespace>,
    /// How long one measurement sends requests.
    pub seconds: f64,
    /// How many times each server is measured.
    pub rounds: usize,
    /// What was left out, a line each.
    pub missing: Mutex<BTreeSet<String>>,
}

impl Bench {
    /// Remembers what was left out, and prints each such line once.
    pub fn miss(&self, what: String) {
        let mut missing = self.missing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if missing.insert(what.clone()) {
            eprintln!("{what}");
        }
    }

    /// The CPUs of a server with this many workers.
    fn cpus_for(&self, threads: usize) -> &[usize] {
        if threads > 1 { &self.all_cpus } else { &self.server_cpus }
    }
}
