//! The load generator: one thread, one epoll instance, its own process on its own CPU.
//!
//! It is told what to do by its arguments and when by lines on standard input: after it has
//! connected and warmed up it writes `ready`; each `go` it reads is one measurement, answered by
//! one line of JSON; the end of input ends it. Between `ready` and `go` nothing is in flight, so
//! that the processor time of the server before and after belongs to exactly the requests counted.

mod connection;
mod load;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::sys;
use load::Load;

/// What becomes of the content of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It is copied into a buffer of 64 KiB, as a client that looks at it has to.
    Read,
    /// The kernel throws it away (MSG_TRUNC): shows the server, not the client.
    Discard,
}

/// What the load generator does.
#[derive(Clone, Debug, Args)]
pub struct ClientOptions {
    /// Where the server listens
    #[arg(long)]
    pub address: SocketAddr,
    /// The request-target
    #[arg(long)]
    pub path: String,
    /// Bytes of content that every answer has to have
    #[arg(long)]
    pub bytes: u64,
    /// Connections, each with one request (or one batch) at a time
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// How long one measurement sends new requests
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// How long requests are sent before the first measurement
    #[arg(long, default_value_t = 0.2)]
    pub warm_up: f64,
    /// What becomes of the content
    #[arg(long, value_enum, default_value = "read")]
    pub mode: Mode,
    /// Requests a second, sent when they are due whatever is still unanswered; 0: as many as go
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Requests in one write
    #[arg(long, default_value_t = 1)]
    pub depth: u32,
    /// Bytes of content in every request (POST)
    #[arg(long, default_value_t = 0)]
    pub upload: u64,
    /// That content comes in chunks of 16 KiB
    #[arg(long)]
    pub chunked: bool,
    /// A new connection for every request
    #[arg(long)]
    pub short_lived: bool,
    /// Ends a measurement after this many requests; 0: by time alone
    #[arg(long, default_value_t = 0)]
    pub requests: u64,
}

/// What one measurement found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that were right.
    pub answers: u64,
    /// Answers that were wrong or never came.
    pub errors: u64,
    /// What the first error was.
    pub first_error: Option<String>,
    /// From the first request to the last answer.
    pub elapsed_s: f64,
    /// User and system time of the client.
    pub client_cpu_s: f64,
    /// Latencies by quantile; in an open loop from when the request was due.
    pub latency: Latency,
}

/// Quantiles of the latency in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// Runs the load generator until its input ends.
pub fn run(options: &ClientOptions) -> io::Result<()> {
    sys::raise_open_files()?;
    let mut load = Load::connect(options)?;
    if options.warm_up > 0.0 {
        // What goes wrong here goes wrong in the measurement as well, and is told there.
        load.run(Duration::from_secs_f64(options.warm_up), options.requests)?;
    }
    say("ready")?;
    for line in io::stdin().lock().lines() {
        if line? != "go" {
            continue;
        }
        let outcome = load.run(Duration::from_secs_f64(options.seconds), options.requests)?;
        say(&serde_json::to_string(&outcome)?)?;
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
