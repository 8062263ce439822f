//! The runtime of Heartbeat: a server that answers with exactly as many bytes as the URL asks for,
//! on one pinned event loop per core.
//!
//! Benchmark harnesses and tests embed it:
//!
//! ```
//! use heartbeat_runtime::{Config, Server, Site};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let site = Site::new("/heartbeat/", 1, 1 << 20)?;
//! let server = Server::start(Config { port: 0, ..Config::new(site) })?;
//! println!("serving on {}", server.address());
//! drop(server); // Ends it at once. `stop` and `wait` let it drain.
//! # Ok(())
//! # }
//! ```
//!
//! Several servers can run in one process. Four things belong to the process and not to a server:
//!
//! - Signals. A server installs no handler and blocks no signal. [`Signals`] blocks some and
//!   ignores others, if the program uses it. SIGPIPE must be ignored, as it is in every Rust
//!   program by default.
//! - Standard output. The access log, which is off by default, is written there.
//! - RLIMIT_NOFILE. A server reads it and limits its connections accordingly. It does not raise it.
//! - The CPUs. Each worker thread is pinned to one of the CPUs that the process may use.
//!
//! docs/ARCHITECTURE.md in the repository says how the crate is built.

#![deny(unsafe_code)]

mod admission;
mod config;
mod connection;
mod deadlines;
mod handover;
mod lane;
mod listener;
mod observe;
mod os;
mod place;
mod report;
mod send;
mod serve;
mod server;
mod shared;
mod shutdown;
mod start;
mod turns;
mod worker;

pub use config::{Admin, Config, LogFormat, THREADS_MAX, Tier};
pub use heartbeat_protocol::{Site, SiteError, SiteOptions};
pub use os::event_loop::Driver;
pub use os::refusal::Refusal;
pub use report::{Report, StartError};
pub use server::Server;
pub use shutdown::Signals;
