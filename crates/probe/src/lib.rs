//! A prober that is compatible with WebV, and a load generator, for Heartbeat and other servers.
//!
//! [`main`] is the program and [`command`] its command line; everything else is public for tests.

#![forbid(unsafe_code)]

mod about;
mod accept;
mod args;
mod client;
mod dry_run;
mod fault;
mod junit;
mod load;
mod log;
mod merge;
mod mesh;
mod metrics;
mod once;
mod output;
mod page;
mod paragraph;
mod path;
mod pattern;
mod probe;
mod program;
mod recognition;
mod record;
mod run;
mod run_loop;
mod settings;
mod stop;
mod summary;
mod testfile;
mod timing;
mod validation;
mod web;

pub use fault::Fault;
pub use mesh::{dns, ring};
pub use program::{command, main};
