//! Side-by-side measurements of Heartbeat and what could be put in its place.
//!
//! `scenario` says what is asked of the servers, `peer` how each is started, `runner` starts them
//! in turn and measures them; `client` is the load generator and `answer` its reader of HTTP;
//! `figure`, `statistics` and `results` hold what was found, `targets` judges it, `report` writes
//! it; `exchange` is a request without a socket, for the micro-benchmarks; `process` and `machine`
//! read /proc, `network` makes namespaces, `sys` wraps system calls. `unsafe` is in `sys` alone.

pub mod answer;
pub mod client;
pub mod exchange;
pub mod figure;
pub mod machine;
pub mod network;
pub mod peer;
pub mod process;
pub mod report;
pub mod results;
pub mod runner;
pub mod scenario;
pub mod statistics;
pub mod sys;
pub mod targets;
