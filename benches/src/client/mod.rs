//! The load generator: one thread, one epoll instance, its own process on its own CPU.
//!
//! Its arguments say what it does, and lines on standard input when. After it has connected and
//! warmed up, it writes `ready`. For each `go` that it reads it takes one measurement, and writes
//! the outcome as one line of JSON. It ends at the end of its input. Before each `go` nothing is in
//! flight, so that the server's CPU time during a measurement belongs to the counted requests
//! alone.

mod connection;
mod load;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::sys;
use load::Load;

/// What the client does with the content of an answer.
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

/// The outcome of one measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers that were right.
    pub answers: u64,
    /// Answers that were wrong or did not come.
    pub errors: u64,
    /// The text of the first error.
    pub first_error: Option<String>,
    /// From the first request to the last answer.
    pub elapsed_s: f64,
    /// User and system time of the client.
    pub client_cpu_s: f64,
    /// Quantiles of the latency. In an open loop a latency begins when the request was due.
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
        // An error here happens in the measurement as well, and is reported there.
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
