//! Owns what a start tells: what a server runs on, or why it did not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::os::driver::Refusal;

/// What a server runs on, for a banner.
#[derive(Clone, Debug)]
pub struct Report {
    /// Worker threads.
    pub threads: usize,
    /// `io_uring` or `epoll`.
    pub driver: &'static str,
    /// Why that driver: its ring flags, that it was asked for, or what refused the other.
    pub driver_reason: String,
    /// Who refused io_uring, where it was wanted.
    pub refusal: Option<Refusal>,
    /// `copy`, `registered`, `zerocopy` or `splice`.
    pub send: &'static str,
    /// Why that tier.
    pub send_reason: String,
    /// Most connections at a time.
    pub max_connections: usize,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The address can not be listened on.
    Bind(SocketAddr, io::Error),
    /// io_uring was insisted on, and refused.
    Uring(Refusal),
    /// Something else that a system call refused; the text says what.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::AddrInUse => "; stop what listens there, or choose --port",
                    io::ErrorKind::PermissionDenied => {
                        "; choose a --port from 1024 up, or grant CAP_NET_BIND_SERVICE"
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        "; choose an --address that this machine has"
                    }
                    _ => "",
                };
                write!(formatter, "cannot listen on {address}: {error}{remedy}")
            }
            Self::Uring(refusal) => {
                write!(formatter, "--io uring: {refusal}; or start with --io auto")
            }
            Self::System(what, error) => write!(formatter, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
