//! The runtime of Heartbeat: one pinned event loop per core over io_uring or epoll, payloads that
//! leave as vectors over one registered block.
//!
//! [`Server`] is the whole face: start it, ask for its address, stop it, wait for it. Benchmark
//! harnesses and tests embed it.
//!
//! Where things are: `server` starts and ends workers, `worker` is one core, `listener` accepts,
//! `handover` spreads what is accepted over the workers, `session` performs on a `socket` what its
//! `dialogue` asks for, `outbound` is a large answer on its way, `arena` the memory it comes from,
//! `send_ring` the companion ring, `payload_pipe` the payload as pages to splice, `deadlines` the
//! time limits, `driver` and `tier` choose how bytes move, `sys` wraps system calls. `unsafe` is in
//! `sys`, `arena` and `send_ring` alone.

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

pub use config::{Address, Admin, Config, Io, LogFormat, SendTier, THREADS_MAX};
pub use os::event_loop::{Driver, Refusal};
pub use report::{Report, StartError};
pub use send::tier::Tier;
pub use server::Server;
pub use shutdown::Signals;
