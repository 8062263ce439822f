//! Owns the server, as a program that embeds it sees it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heartbeat_protocol::Port;

use crate::config::{Config, THREADS_MAX};
use crate::listener;
use crate::os::cgroup::MemoryGauge;
use crate::os::refusal::Refusal;
use crate::os::{placement, sys};
use crate::report::{Report, StartError};
use crate::shared::Shared;
use crate::shutdown::Order;
use crate::start::{self, Threads};

/// A running server. Dropping it ends it at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    threads: Threads,
}

impl Server {
    /// Starts the workers, and returns once all of them serve.
    ///
    /// # Errors
    /// Those that [`StartError`] lists. Nothing is left running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        check(&config)?;
        let descriptors = sys::descriptor_limit().map_err(Refusal::of("prlimit64"))?;
        let seed = std::process::id() as usize;
        let cpus = placement::worker_cpus(config.threads, seed)
            .map_err(Refusal::of("sched_getaffinity"))?;
        let memory = MemoryGauge::find(Path::new("/")).map(|gauge| gauge.limit_bytes());
        let limits = start::limits(&config, descriptors, memory, cpus.len())?;
        let (listeners, address) = listener::bind(config.address, config.port, cpus.len())?;
        let admin = config.admin.map(|admin| {
            let address = admin.address.or(config.address);
            listener::bind(address, admin.port, 1)
        });
        let (admin, admin_address) = admin.transpose()?.unzip();
        let mut listeners: Vec<_> =
            listeners.into_iter().map(|listener| vec![(listener, Port::Main)]).collect();
        let admin = admin.into_iter().flatten().map(|listener| (listener, Port::Admin));
        listeners[0].extend(admin);
        let (shared, threads) = start::start(&config, limits, &cpus, &listeners)?;
        Ok(Self { address, admin_address, shared, threads })
    }

    /// The address that the server listens on, with the port that was picked if the configuration
    /// has port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin port, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The driver, the send tier and the limits that the server runs with.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// Begins the drain. The server is not ready from now on, and serves new connections for the
    /// drain delay. Then it closes its listeners and finishes the work in flight. A second call
    /// ends the server at once.
    pub fn stop(&self) {
        let was_ready = self.shared.is_ready.swap(false, Ordering::Relaxed);
        self.threads.order(if was_ready { Order::Drain } else { Order::Quit });
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.are_finished()
    }

    /// Waits until every worker has ended. A worker that hangs in a system call never ends: see
    /// [`Server::wait_for`].
    pub fn wait(mut self) {
        self.threads.join();
    }

    /// Waits up to `timeout` until every worker has ended. Returns false if some have not: only the
    /// exit of the process ends their threads.
    #[must_use]
    pub fn wait_for(self, timeout: Duration) -> bool {
        self.threads.join_for(timeout)
    }
}

/// Refuses values that no server can run with.
fn check(config: &Config) -> Result<(), StartError> {
    let refuse = |field, allowed| Err(StartError::Config { field, allowed });
    if config.threads.is_some_and(|threads| !(1..=THREADS_MAX).contains(&threads)) {
        return refuse("threads", "1 to 1024");
    }
    if config.max_connections == Some(0) {
        return refuse("max_connections", "at least 1");
    }
    for (field, timeout) in [
        ("header_timeout", config.header_timeout),
        ("idle_timeout", config.idle_timeout),
        ("stall_timeout", config.stall_timeout),
    ] {
        if timeout.is_zero() {
            return refuse(field, "more than zero");
        }
    }
    let is_plain = |text: &str| !text.contains(|c: char| c.is_control() || c == '"' || c == '\\');
    for (field, name) in [
        ("node", config.node.as_str()),
        ("zone", config.zone.as_str()),
        ("version", config.version),
        ("revision", config.revision),
    ] {
        if !is_plain(name) {
            return refuse(field, "text without control characters, quotes and backslashes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use heartbeat_protocol::Site;

    use super::*;

    #[test]
    fn values_that_no_server_can_run_with_are_refused_by_their_field() {
        let good = || Config::new(Site::new("/heartbeat/", 1, 1 << 20).unwrap());
        assert!(check(&good()).is_ok());
        for (config, field) in [
            (Config { threads: Some(0), ..good() }, "threads"),
            (Config { threads: Some(THREADS_MAX + 1), ..good() }, "threads"),
            (Config { max_connections: Some(0), ..good() }, "max_connections"),
            (Config { idle_timeout: Duration::ZERO, ..good() }, "idle_timeout"),
            (Config { node: "a\"b".to_string(), ..good() }, "node"),
            (Config { zone: "a\nb".to_string(), ..good() }, "zone"),
            (Config { version: "1\n", ..good() }, "version"),
            (Config { revision: "\\", ..good() }, "revision"),
        ] {
            let error = Server::start(config).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
        for threads in [1, THREADS_MAX] {
            assert!(check(&Config { threads: Some(threads), ..good() }).is_ok());
        }
    }
}
