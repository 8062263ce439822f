//! Owns a server as its embedder sees it.

use std::net::SocketAddr;

use crate::config::Config;
use crate::listener;
use crate::os::{placement, sys};
use crate::report::{Report, StartError};
use crate::start::{self, Workers};

/// A running server.
///
/// ```
/// use heartbeat_protocol::Site;
/// use heartbeat_runtime::{Config, Server};
///
/// let site = Site::new("/heartbeat/", 1, 1 << 20).unwrap();
/// let server = Server::start(Config { port: 0, ..Config::new(site) }).unwrap();
/// println!("serving on {}", server.address());
/// server.stop();
/// server.wait();
/// ```
///
/// Dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    workers: Workers,
}

impl Server {
    /// Starts the workers and returns once all of them serve.
    ///
    /// # Errors
    /// As [`StartError`] lists them; nothing is left running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let _ = sys::refuse_huge_pages();
        let descriptors = sys::raise_descriptor_limit()
            .map_err(|error| StartError::System("cannot read RLIMIT_NOFILE", error))?;
        let seed = std::process::id() as usize;
        let cpus = placement::worker_cpus(config.threads, seed)
            .map_err(|error| StartError::System("cannot read the CPU affinity", error))?;
        let (listeners, address) = listener::bind(config.address, config.port, cpus.len())
            .map_err(|(address, error)| StartError::Bind(address, error))?;
        let workers = start::start(config, descriptors, &cpus, listeners)?;
        Ok(Self { address, workers })
    }

    /// The address that is listened on, its port included where it was picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server runs on.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.workers.report
    }

    /// Gives memory back that only the start needed: the pages of the process's code, of which
    /// serving brings the better part of a megabyte less back. Called once all has been said.
    pub fn trim(&self) {
        sys::release_code_pages();
    }

    /// Begins the drain: not ready from now on, new connections served for the drain delay, then
    /// the listeners close and work in flight finishes. A second call ends the server at once.
    pub fn stop(&self) {
        self.workers.stop();
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.workers.is_finished()
    }

    /// Waits until every worker has ended.
    pub fn wait(mut self) {
        self.workers.join();
    }
}
