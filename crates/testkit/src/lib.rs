//! What the tests and tools of this workspace share: a strict HTTP client ([`Client`]), a harness
//! for programs in child processes ([`Launch`], [`Program`]), restrictions of a child process
//! ([`Sandbox`]), waiting with a deadline ([`eventually`]), ports that nobody else takes
//! ([`free_port`]), and an allocator that counts ([`CountingAllocator`]).
//!
//! Only tests and tools depend on this crate; the server never does. It knows the server only
//! from outside: its answers, its banner, its signals and what procfs reports of it.

mod allocations;
mod client;
mod head;
mod launch;
mod port;
mod procfs;
mod program;
mod sandbox;
mod waiting;

pub use allocations::CountingAllocator;
pub use client::{Client, request};
pub use head::Head;
pub use launch::{Launch, command, failing, finish};
pub use port::free_port;
pub use procfs::Process;
pub use program::{Program, address_in};
pub use sandbox::{Resource, Sandbox, Signal, is_root, limit_own, send_signal};
pub use waiting::{Deadline, PATIENCE, at_once, comes_true_within, eventually};
