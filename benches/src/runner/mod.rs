//! Starts servers in turn, asks them, and keeps what they cost.

mod ask;
mod beside;
mod idle;
mod load_process;
mod rounds;
mod server;
mod wrk;
mod yardstick;

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::peer::Workshop;
pub use ask::take_sample;
pub use load_process::LoadProcess;
pub use rounds::run_scenario;
pub use server::start;
pub use yardstick::{Yardstick, yardstick};

/// What all measurements of a run share.
pub struct Bench {
    /// The scratch folder.
    pub workshop: Workshop,
    /// Every CPU there is.
    pub all_cpus: Vec<usize>,
    /// The server's, as long as it has one worker.
    pub server_cpus: Vec<usize>,
    /// The client's.
    pub client_cpus: Vec<usize>,
    /// How long one measurement takes.
    pub seconds: f64,
    /// How often each server is measured.
    pub rounds: usize,
    /// What could not be measured, a line each.
    pub missing: Mutex<BTreeSet<String>>,
}

impl Bench {
    /// Remembers what could not be measured, and says so the first time.
    pub fn miss(&self, what: String) {
        let mut missing = self.missing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if missing.insert(what.clone()) {
            eprintln!("{what}");
        }
    }

    /// The CPUs of a server with so many workers.
    fn cpus_for(&self, threads: usize) -> &[usize] {
        if threads > 1 { &self.all_cpus } else { &self.server_cpus }
    }
}
