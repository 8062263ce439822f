//! Side-by-side measurements of Heartbeat and of servers that could replace it.
//!
//! - `scenario` lists what the servers are asked for, `peer` how each is started; `runner` starts
//!   them in turn and measures them.
//! - `client` is the load generator, and `answer` its reader of HTTP.
//! - `figure`, `statistics` and `results` hold the results, `targets` judges them, `report` writes
//!   them.
//! - `exchange` is a request without a socket, for the micro-benchmarks.
//! - `process` and `machine` read /proc, `network` makes namespaces, `sys` wraps system calls.
//!
//! Only `sys` has `unsafe` code.

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
