//! Owns what a server is told once, before it starts. Immutable from then on.

use std::net::IpAddr;
use std::time::Duration;

use heartbeat_protocol::Site;

/// Most worker threads that can be asked for.
pub const THREADS_MAX: usize = 1024;

/// Everything a server is told. [`Config::new`] has the defaults of the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port; 0 picks a free one, which [`crate::Server::address`] then tells.
    pub port: u16,
    /// Address to listen on; none means every address of IPv6 and IPv4, or of IPv4 alone where
    /// IPv6 is switched off.
    pub address: Option<IpAddr>,
    /// The prefix and the sizes below it.
    pub site: Site,
    /// Worker threads, 1 to [`THREADS_MAX`]; none means one per CPU that this process may use.
    pub threads: Option<usize>,
    /// Which I/O driver.
    pub io: Io,
    /// Which send tier.
    pub send: SendTier,
    /// The access log on standard output; none means off.
    pub log: Option<LogFormat>,
    /// Most connections at a time, all workers together; none means as many as RLIMIT_NOFILE has
    /// room for.
    pub max_connections: Option<usize>,
    /// How long a peer may take for a whole head.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a body may make no progress, either way.
    pub stall_timeout: Duration,
    /// How long new connections are still served once a drain has begun.
    pub drain_delay: Duration,
    /// How long work in flight may take after that.
    pub drain_timeout: Duration,
    /// The version that `/version` tells.
    pub version: &'static str,
    /// The revision that the version was built from.
    pub revision: &'static str,
}

impl Config {
    /// The defaults of the command line, for a site.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self {
            port: 8080,
            address: None,
            site,
            threads: None,
            io: Io::Auto,
            send: SendTier::Auto,
            log: None,
            max_connections: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(60),
            drain_delay: Duration::from_secs(3),
            drain_timeout: Duration::from_secs(25),
            version: env!("CARGO_PKG_VERSION"),
            revision: "unknown",
        }
    }
}

/// Which I/O driver carries the event loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// io_uring where the kernel and its seccomp profile allow it, epoll otherwise.
    Auto,
    /// io_uring, or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// How large answers leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTier {
    /// Splice to peers on this host; to all others registered where it works, copy otherwise.
    Auto,
    /// Ordinary vectored writes.
    Copy,
    /// Vectored writes from registered buffers (WRITEV_FIXED, Linux 6.15).
    Registered,
    /// SENDMSG_ZC from registered buffers (Linux 6.15).
    Zerocopy,
    /// References to the kernel's own pages, from a pipe (splice(2)), to every peer.
    Splice,
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Tab-separated values.
    Tsv,
    /// One JSON object a line.
    Json,
}
