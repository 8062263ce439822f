//! Owns the configuration of a server. It does not change once the server has started.

use std::net::IpAddr;
use std::time::Duration;

use heartbeat_protocol::Site;

use crate::os::event_loop::Driver;

/// The largest allowed number of worker threads.
pub const THREADS_MAX: usize = 1024;

/// The configuration of a server. [`Config::new`] has the defaults of the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port; 0 picks a free one, which [`crate::Server::address`] then returns.
    pub port: u16,
    /// Address to listen on; None means every address of IPv6 and IPv4, or of IPv4 alone if
    /// IPv6 is switched off.
    pub address: Option<IpAddr>,
    /// The prefix and the sizes below it.
    pub site: Site,
    /// Worker threads, 1 to [`THREADS_MAX`]. None means one per CPU that this process may use, but
    /// no more than the CPU quota of its cgroup pays for.
    pub threads: Option<usize>,
    /// The I/O driver, without which the server does not start. None means io_uring if the kernel
    /// and the seccomp profile allow it, and epoll otherwise.
    pub io: Option<Driver>,
    /// How large answers are sent, as far as the kernel allows it. None means the cheapest way that
    /// works: splice if the kernel allows it, copy otherwise.
    pub send: Option<Tier>,
    /// The access log on standard output; None means off.
    pub log: Option<LogFormat>,
    /// The most connections at a time, of all workers together; at least 1. None means as many as
    /// the limits of the process allow, and a larger value is lowered to that number.
    pub max_connections: Option<usize>,
    /// How long a peer may take to send a whole request head.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. The default is longer than the 600 s
    /// for which Google's load balancers keep a connection: if the server closed first, requests
    /// on their way to it would be lost.
    pub idle_timeout: Duration,
    /// How long a body, received or sent, may make no progress.
    pub stall_timeout: Duration,
    /// How long new connections are still served once a drain has begun.
    pub drain_delay: Duration,
    /// How long work in flight may take after the drain delay.
    pub drain_timeout: Duration,
    /// The version that `/version` reports.
    pub version: &'static str,
    /// The revision that the version was built from.
    pub revision: &'static str,
    /// A second listener, for operators; None means off.
    pub admin: Option<Admin>,
    /// The name of the machine that this runs on; empty if it is not known.
    pub node: String,
    /// The zone of that machine; empty if it is not known.
    pub zone: String,
    /// Whether the metrics include what the kernel knows about the network paths of connections
    /// (TCP_INFO, tcp(7)).
    pub tcp_metrics: bool,
    /// Whether each line of the access log ends with the round-trip time and the number of
    /// retransmitted segments of its connection.
    pub log_tcp: bool,
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
            io: None,
            send: None,
            log: None,
            max_connections: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(620),
            stall_timeout: Duration::from_secs(60),
            drain_delay: Duration::from_secs(3),
            drain_timeout: Duration::from_secs(25),
            version: env!("CARGO_PKG_VERSION"),
            revision: "unknown",
            admin: None,
            node: String::new(),
            zone: String::new(),
            tcp_metrics: true,
            log_tcp: false,
        }
    }
}

/// The listener for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// TCP port; 0 picks a free one.
    pub port: u16,
    /// Address to listen on; None means that of the main listener.
    pub address: Option<IpAddr>,
}

/// How a server sends large answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tier {
    /// Ordinary vectored writes.
    Copy,
    /// References to pages that a pipe holds, instead of copies (splice(2)).
    Splice,
    /// Vectored writes from registered buffers (WRITEV_FIXED, Linux 6.15).
    Registered,
    /// SENDMSG_ZC from registered buffers (Linux 6.15).
    Zerocopy,
}

impl Tier {
    /// Its name in options, metrics and the banner.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Registered => "registered",
            Self::Zerocopy => "zerocopy",
        }
    }
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Tab-separated values.
    Tsv,
    /// One JSON object per line.
    Json,
}
