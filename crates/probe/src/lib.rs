//! A prober that is compatible with WebV, and a load generator, for Heartbeat and other servers.

#![forbid(unsafe_code)]

mod about;
pub mod args;
pub mod client;
pub mod dry_run;
pub mod fault;
pub mod load;
pub mod log;
pub mod merge;
pub mod mesh;
pub mod metrics;
pub mod once;
pub mod output;
pub mod page;
mod paragraph;
pub mod path;
pub mod pattern;
pub mod probe;
mod recognition;
pub mod record;
pub mod run;
pub mod run_loop;
pub mod settings;
pub mod stop;
pub mod summary;
pub mod testfile;
pub mod timing;
pub mod validation;
pub mod web;
