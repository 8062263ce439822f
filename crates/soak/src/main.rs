//! Puts mixed load on a server over the loopback. It checks the heads and payloads of the answers,
//! and watches the server's memory and descriptors. Its time and the number of requests are
//! limited. The exit code is 1 if anything was wrong.
//!
//! ```text
//! cargo build --release
//! cargo run --release --package heartbeat-soak -- --seconds 300 --io both --sizes 1K,64K,1M
//! ```

#![forbid(unsafe_code)]

mod link;
mod mix;
mod options;
mod tally;
mod watched;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use heartbeat_command_line::Stop;

use crate::options::Options;
use crate::tally::Tally;
use crate::watched::{Memory, Watched};

/// How often the state is reported.
const REPORT: Duration = Duration::from_secs(10);

/// How often memory is read.
const LOOK: Duration = Duration::from_millis(250);

/// How much resident memory may grow after the first tenth of the time, in KiB.
const GROWTH_KIB_MAX: u64 = 2048;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => return Stop::from(error).end("heartbeat-soak"),
    };
    println!("seed {}, {} clients, sizes {}", options.seed, options.clients, options.sizes());
    let mut errors = 0;
    for driver in options.drivers() {
        match soak(driver, &options) {
            Ok(count) => errors += count,
            Err(wrong) => {
                println!("ERROR: {driver}: {wrong}");
                errors += 1;
            }
        }
    }
    println!("soak: {}", if errors == 0 { "no errors" } else { "ERRORS, see above" });
    ExitCode::from(u8::from(errors > 0))
}

/// Soaks a server with one driver, and returns how many errors there were.
fn soak(driver: &str, options: &Options) -> Result<u64, String> {
    let mut server = match options.address {
        Some(address) => Watched::running(address)?,
        None => Watched::start(&options.program()?, driver, &options.threads)?,
    };
    println!("\n== {driver}: {}", server.identity());
    let tally = Tally::new(options.requests);
    let descriptors = server.descriptors();
    let address = server.address();
    let start = Instant::now();
    let memory = thread::scope(|scope| {
        for index in 0..options.clients {
            let tally = &tally;
            let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(index);
            scope.spawn(move || mix::run(address, seed, &options.sizes, tally));
        }
        let memory = watch(&server, &tally, start, Duration::from_secs(options.seconds));
        tally.stop();
        memory
    });
    let seconds = start.elapsed().as_secs_f64();
    if let Some(before) = descriptors
        && let Err(now) = server.expect_descriptors(before)
    {
        tally.error(&format!("{now} descriptors are open, {before} were at the start"));
    }
    if let Some(growth) = memory.growth_kib()
        && growth > GROWTH_KIB_MAX
    {
        tally.error(&format!("resident memory has grown by {growth} KiB"));
    }
    println!("{memory}");
    println!("ends of connections: {}", server.ends());
    let identity = server.identity().clone();
    if let Err(wrong) = server.stop() {
        tally.error(&wrong);
    }
    let errors = tally.errors();
    println!("ledger: {identity} {tally} seconds={seconds:.1} {}", options.ledger());
    Ok(errors)
}

/// Watches the server until the time is over or the requests are done, and reports its state.
fn watch(server: &Watched, tally: &Tally, start: Instant, limit: Duration) -> Memory {
    let mut memory = Memory::default();
    let mut next_report = REPORT;
    while start.elapsed() < limit && !tally.is_over() {
        thread::sleep(LOOK.min(limit.saturating_sub(start.elapsed())));
        memory.note(server.resident_kib(), start.elapsed() * 10 >= limit);
        if start.elapsed() >= next_report {
            next_report += REPORT;
            let open = server.descriptors().map_or(String::new(), |n| format!(" descriptors={n}"));
            let now = server.resident_kib().map_or(String::new(), |n| format!(" resident_kib={n}"));
            println!("{:>6} s: {tally}{now}{open}", start.elapsed().as_secs());
        }
    }
    memory
}
