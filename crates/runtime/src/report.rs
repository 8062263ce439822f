//! Owns what a start reports: what a server runs on, or why it did not start.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::os::event_loop::{Driver, Refusal};
use crate::send::tier::Tier;

/// What a server runs on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Worker threads.
    pub threads: usize,
    /// The driver of the event loops.
    pub driver: Driver,
    /// Why it is this driver: its ring flags, that the configuration requires it, or what refused
    /// the other one.
    pub driver_reason: String,
    /// What refused io_uring, if it was wanted.
    pub refusal: Option<Refusal>,
    /// How large answers leave.
    pub send: Tier,
    /// Why it is this tier.
    pub send_reason: String,
    /// Most connections at a time.
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
    /// The address can not be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system call that was refused.
        call: &'static str,
        /// Why.
        source: io::Error,
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
    System {
        /// The system call.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { field, allowed } => write!(formatter, "{field}: expected {allowed}"),
            Self::Bind { address, call, source } => {
                let remedy = match source.raw_os_error() {
                    Some(libc::EADDRINUSE) => "; stop what listens there, or choose another port",
                    Some(libc::EACCES) if address.port() < 1024 => {
                        "; choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE"
                    }
                    Some(libc::EADDRNOTAVAIL) => "; choose an address that this machine has",
                    _ => "",
                };
                write!(formatter, "cannot listen on {address}: {source}")?;
                match remedy {
                    "" => write!(formatter, ": {}", cause(call, source)),
                    _ => formatter.write_str(remedy),
                }
            }
            Self::Uring(refusal) => write!(formatter, "io_uring is required: {refusal}"),
            Self::Descriptors { limit, needed, threads } => {
                let threads = if *threads == 1 { "a thread needs" } else { "the threads need" };
                write!(
                    formatter,
                    "RLIMIT_NOFILE (ulimit -n) allows {limit} descriptors, and {threads} {needed} \
                     to serve a connection; raise it, or ask for fewer threads"
                )
            }
            Self::System { call, source } => {
                write!(formatter, "{call} refused: {source}: {}", cause(call, source))
            }
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::System { source, .. } => Some(source),
            Self::Config { .. } | Self::Uring(_) | Self::Descriptors { .. } => None,
        }
    }
}

/// The likely cause of a refused system call and what would help.
fn cause(call: &str, error: &io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => {
            return format!("likely a seccomp profile without {call}; allow it");
        }
        Some(libc::EMFILE) => {
            "RLIMIT_NOFILE (ulimit -n) is used up; raise it, or ask for fewer threads"
        }
        Some(libc::ENFILE) => "the machine has no descriptor left; raise fs.file-max",
        Some(libc::EAGAIN) if call == "clone" => {
            "likely the limit of threads (ulimit -u, or the cgroup's pids.max); raise it, or ask \
             for fewer threads"
        }
        Some(libc::ENOMEM | libc::ENOBUFS) => "no memory is left; raise the memory limit",
        _ => "this is not expected; please report it",
    };
    text.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(port: u16, errno: i32) -> String {
        StartError::Bind {
            address: ([127, 0, 0, 1], port).into(),
            call: "bind",
            source: io::Error::from_raw_os_error(errno),
        }
        .to_string()
    }

    #[test]
    fn a_refused_port_names_the_cause_that_is_true() {
        assert!(bind(80, libc::EACCES).contains("CAP_NET_BIND_SERVICE"));
        assert!(bind(23_084, libc::EACCES).contains("seccomp"));
        assert!(bind(80, libc::EPERM).contains("seccomp"));
        assert!(bind(80, libc::EADDRINUSE).contains("stop what listens there"));
    }

    #[test]
    fn a_refused_system_call_names_cause_and_remedy_and_keeps_its_source() {
        for (call, errno, text) in [
            ("socketpair", libc::EMFILE, "RLIMIT_NOFILE"),
            ("socketpair", libc::EPERM, "a seccomp profile without socketpair"),
            ("clone", libc::EAGAIN, "pids.max"),
            ("mmap", libc::ENOMEM, "memory limit"),
        ] {
            let error = StartError::System { call, source: io::Error::from_raw_os_error(errno) };
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.source().is_some());
        }
    }
}
