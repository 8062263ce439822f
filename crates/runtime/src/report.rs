//! Owns what a start reports: what a server runs on, or why it did not start.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;

use crate::config::Tier;
use crate::os::event_loop::Driver;
use crate::os::refusal::Refusal;

/// What a server runs on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Worker threads.
    pub threads: usize,
    /// The driver of the event loops.
    pub driver: Driver,
    /// Why it is this driver: its ring flags, that the configuration requires it, or that io_uring
    /// was refused.
    pub driver_reason: &'static str,
    /// Why io_uring was refused, if it was wanted and refused.
    pub refusal: Option<Refusal>,
    /// How large answers are sent.
    pub send: Tier,
    /// Why it is this tier.
    pub send_reason: String,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The configured `max_connections`, if the limits of the process allow less.
    pub max_connections_refused: Option<usize>,
}

/// Why a server did not start. Nothing of it is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A field of the configuration has a value that is not allowed.
    Config {
        /// The field of [`crate::Config`].
        field: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The server cannot listen on the address.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system call that was refused.
        refusal: Refusal,
    },
    /// io_uring is required, and was refused.
    Uring(Refusal),
    /// RLIMIT_NOFILE leaves no descriptor for a connection.
    Descriptors {
        /// The limit.
        limit: u64,
        /// The lowest limit with which these threads can serve.
        needed: u64,
        /// The threads.
        threads: usize,
    },
    /// Another system call was refused.
    System(Refusal),
    /// The thread of a worker ended before it served, without a reason of its own.
    Worker,
}

impl From<Refusal> for StartError {
    fn from(refusal: Refusal) -> Self {
        Self::System(refusal)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { field, allowed } => write!(formatter, "{field}: expected {allowed}"),
            Self::Bind { address, refusal } => {
                let error = &refusal.source;
                write!(formatter, "cannot listen on {address}: {error}")?;
                match error.raw_os_error() {
                    Some(libc::EADDRINUSE) => {
                        formatter.write_str("; stop what listens there, or choose another port")
                    }
                    Some(libc::EACCES) if address.port() < 1024 => formatter
                        .write_str("; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"),
                    Some(libc::EADDRNOTAVAIL) => {
                        formatter.write_str("; choose an address that this machine has")
                    }
                    _ => write!(formatter, ": {}", refusal.cause_and_remedy()),
                }
            }
            Self::Uring(refusal) => write!(formatter, "io_uring is required, but {refusal}"),
            Self::Descriptors { limit, needed, threads } => {
                let (threads, remedy) = match threads {
                    1 => ("this thread needs", "raise it"),
                    _ => ("these threads need", "raise it, or ask for fewer threads"),
                };
                write!(
                    formatter,
                    "RLIMIT_NOFILE (ulimit -n) is {limit}, but {threads} at least {needed} \
                     descriptors; {remedy}"
                )
            }
            Self::System(refusal) => write!(formatter, "{refusal}"),
            Self::Worker => formatter.write_str(
                "a worker ended during the start: this is not expected; please report it",
            ),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { refusal, .. } | Self::Uring(refusal) | Self::System(refusal) => {
                Some(&refusal.source)
            }
            Self::Config { .. } | Self::Descriptors { .. } | Self::Worker => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn bind(port: u16, errno: i32) -> String {
        let refusal = Refusal::of("bind")(io::Error::from_raw_os_error(errno));
        StartError::Bind { address: ([127, 0, 0, 1], port).into(), refusal }.to_string()
    }

    #[test]
    fn a_refused_port_names_the_cause_that_is_true() {
        assert!(bind(80, libc::EACCES).contains("CAP_NET_BIND_SERVICE"));
        assert!(bind(23_084, libc::EACCES).contains("seccomp"));
        assert!(bind(80, libc::EPERM).contains("seccomp"));
        assert!(bind(80, libc::EADDRINUSE).contains("stop what listens there"));
    }

    #[test]
    fn a_refused_system_call_keeps_its_source() {
        let error = StartError::from(Refusal::of("mmap")(io::ErrorKind::OutOfMemory.into()));
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
    }
}
