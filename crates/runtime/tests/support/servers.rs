//! Servers inside the test program: one per driver and send tier, one after the other.

use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use heartbeat_protocol::Site;
use heartbeat_runtime::{Config, Driver, Server, StartError, Tier};

const DRIVERS: [(Driver, Option<Tier>); 2] = [(Driver::IoUring, None), (Driver::Epoll, None)];

const TIERS: [(Driver, Option<Tier>); 6] = [
    (Driver::IoUring, Some(Tier::Registered)),
    (Driver::IoUring, Some(Tier::Zerocopy)),
    (Driver::IoUring, Some(Tier::Copy)),
    (Driver::IoUring, Some(Tier::Splice)),
    (Driver::Epoll, Some(Tier::Copy)),
    (Driver::Epoll, Some(Tier::Splice)),
];

/// The defaults of the program, but with one worker, a free port of the loopback, and no drain
/// delay.
pub(crate) fn config(io: Option<Driver>, send: Option<Tier>) -> Config {
    let site = Site::new("/heartbeat/", 1, 1 << 20).expect("a site");
    Config {
        port: 0,
        address: Some(Ipv4Addr::LOCALHOST.into()),
        threads: Some(1),
        drain_delay: Duration::ZERO,
        io,
        send,
        ..Config::new(site)
    }
}

/// A server over each driver.
pub(crate) fn each_driver() -> impl Iterator<Item = Served> {
    each_driver_with(|_| ())
}

/// A server over each driver, configured further by `adjust`.
pub(crate) fn each_driver_with(adjust: impl Fn(&mut Config)) -> impl Iterator<Item = Served> {
    DRIVERS.into_iter().filter_map(move |(driver, send)| start(driver, send, &adjust))
}

/// A server for each way in which large answers leave.
pub(crate) fn each_tier() -> impl Iterator<Item = Served> {
    each_tier_with(|_| ())
}

/// A server for each way in which large answers leave, configured further by `adjust`.
pub(crate) fn each_tier_with(adjust: impl Fn(&mut Config)) -> impl Iterator<Item = Served> {
    TIERS.into_iter().filter_map(move |(driver, send)| start(driver, send, &adjust))
}

/// Starts a server. Returns None, and leaves a note on standard error, if this machine does not
/// have what the test needs.
fn start(driver: Driver, send: Option<Tier>, adjust: &impl Fn(&mut Config)) -> Option<Served> {
    let kind = Kind(driver, send);
    let mut config = config(Some(driver), send);
    adjust(&mut config);
    match Server::start(config) {
        Ok(server) if kind.is(&server) => return Some(Served { server, kind }),
        Ok(server) => kind.leave_out(&server.report().send_reason),
        Err(StartError::Uring(refusal)) => kind.leave_out(&refusal.to_string()),
        Err(error) => panic!("{kind}: {error}"),
    }
    None
}

/// A running server; it ends at once when this is dropped.
pub(crate) struct Served {
    server: Server,
    kind: Kind,
}

impl Served {
    /// Waits until every worker has ended, and fails the test if that takes longer than `limit`.
    #[track_caller]
    pub(crate) fn expect_finish(self, limit: Duration) {
        let is_finished = super::comes_true_within(limit, || self.is_finished());
        assert!(is_finished, "not ended after {limit:?}");
        self.server.wait();
    }
}

impl Deref for Served {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// What a test runs on, which it prints if it fails.
struct Kind(Driver, Option<Tier>);

impl Kind {
    /// Whether the server runs on the driver and the tier that the test needs.
    fn is(&self, server: &Server) -> bool {
        self.1.is_none_or(|wanted| wanted == server.report().send)
    }

    /// Reports once per test program, past the capture of its output, what is not tested here.
    fn leave_out(&self, why: &str) {
        static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let line = format!("\nWARNING: NOT TESTED on this machine: {self}: {why}\n");
        let mut said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !said.contains(&line) {
            let _ = std::io::stderr().write_all(line.as_bytes());
            said.push(line);
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "--io {} --send {}", self.0.name(), self.1.map_or("auto", Tier::name))
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed on {self}");
        }
    }
}
