//! The DNS client of the mesh: every address of one name, A and AAAA, over UDP and TCP.
//!
//! The system's own resolver is not used, because it hides the difference between a name that has
//! no addresses and a name service that does not answer.

mod exchange;
mod message;
mod resolv_conf;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

pub use message::{Kind, Reply, query, read};
pub use resolv_conf::ResolvConf;

/// The result of a look-up, per family, because one family may fail alone.
#[derive(Debug)]
pub struct Found {
    /// From A records.
    pub v4: Result<Vec<IpAddr>, DnsError>,
    /// From AAAA records.
    pub v6: Result<Vec<IpAddr>, DnsError>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum DnsError {
    /// The name cannot be written in DNS.
    Name(String),
    /// No server answered in time.
    Silent,
    /// A server answered that it failed, with this response code.
    Refused(&'static str),
    /// The answer is not a DNS message.
    Malformed,
    /// The system could not send or receive.
    Io(io::Error),
}

/// Looks names up. It remembers which candidate of the search list had addresses, so that later
/// look-ups do not ask for the others.
#[derive(Debug, Default)]
pub struct Dns {
    server: Option<SocketAddr>,
    good_candidate: Option<String>,
}

impl Dns {
    /// Asks `server`, or without one the servers in the configuration.
    pub fn new(server: Option<SocketAddr>) -> Self {
        Self { server, good_candidate: None }
    }

    /// Every address of `name`. The search domains of `conf` are tried as resolv.conf(5) says.
    pub async fn look_up(&mut self, conf: &ResolvConf, name: &str) -> Found {
        let servers = self.server.map_or_else(|| conf.servers.clone(), |server| vec![server]);
        let mut candidates = conf.candidates(name);
        if let Some(good) = &self.good_candidate {
            candidates.retain(|candidate| candidate != good);
            candidates.insert(0, good.clone());
        }
        let mut last = Found { v4: Ok(Vec::new()), v6: Ok(Vec::new()) };
        for candidate in candidates {
            let (v4, v6) = tokio::join!(
                exchange::ask(conf, &servers, &candidate, Kind::A),
                exchange::ask(conf, &servers, &candidate, Kind::Aaaa),
            );
            last = Found { v4, v6 };
            if last.has_addresses() {
                self.good_candidate = Some(candidate);
                return last;
            }
            // A server that is silent or fails says nothing about the name. Going on would turn its
            // failure into "no such name".
            if last.v4.is_err() || last.v6.is_err() {
                return last;
            }
        }
        last
    }
}

impl Found {
    fn has_addresses(&self) -> bool {
        let some = |family: &Result<Vec<IpAddr>, DnsError>| {
            family.as_ref().is_ok_and(|found| !found.is_empty())
        };
        some(&self.v4) || some(&self.v6)
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} cannot be a DNS name"),
            Self::Silent => f.write_str("no DNS server answered in time"),
            Self::Refused(code) => write!(f, "the DNS server answered {code}"),
            Self::Malformed => f.write_str("the answer of the DNS server is malformed"),
            Self::Io(error) => write!(f, "the DNS server cannot be asked: {error}"),
        }
    }
}

impl std::error::Error for DnsError {}
