//! A soak: mixed load from this machine's loopback, every byte checked, memory and descriptors of
//! the server watched. Bounded by time and count; exit code 1 where anything was wrong.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example soak -- --seconds 300 --io both
//! ```

mod client;
mod mix;
mod watched;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use watched::{Memory, Watched};

const USAGE: &str = "\
usage: soak [--seconds N] [--requests N] [--clients N] [--threads N] [--seed N]
            [--io uring|epoll|both] [--program PATH | --address IP:PORT]

Each driver gets --seconds (60) or --requests (no limit), whichever is over first.
--program is the heartbeat beside this example where it is not given; with --address a server
that runs already is asked, whose --max is 1M, and memory is not watched.";

/// How often the state is told.
const REPORT: Duration = Duration::from_secs(10);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How much more memory than after a tenth of the time there may be at the end, in KiB.
const GROWTH_KIB_MAX: u64 = 2048;

/// Errors that are told one by one.
const ERRORS_TOLD: u64 = 20;

struct Options {
    seconds: u64,
    requests: u64,
    clients: u64,
    threads: String,
    seed: u64,
    drivers: Vec<&'static str>,
    program: PathBuf,
    address: Option<SocketAddr>,
}

/// What all clients together have done.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) aborts: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
    limit: u64,
    told: Mutex<()>,
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.requests.load(Ordering::Relaxed) >= self.limit
    }

    /// Counts an error, and tells it while there are few.
    pub(crate) fn error(&self, what: &str) {
        let number = self.errors.fetch_add(1, Ordering::Relaxed);
        if number < ERRORS_TOLD {
            let _guard = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            println!("ERROR: {what}");
        }
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("soak: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}, {} clients", options.seed, options.clients);
    let mut errors = 0;
    for driver in &options.drivers {
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

/// Soaks a server over one driver, and returns how many errors there were.
fn soak(driver: &str, options: &Options) -> Result<u64, String> {
    let mut server = match options.address {
        Some(address) => Watched::running(address),
        None => Watched::start(&options.program, driver, &options.threads)?,
    };
    println!("\n== {driver}: {}", server.description());
    let limit = if options.requests == 0 { u64::MAX } else { options.requests };
    let tally = Tally { limit, ..Tally::default() };
    let descriptors = server.descriptors();
    let address = server.address();
    let start = Instant::now();
    let memory = thread::scope(|scope| {
        for index in 0..options.clients {
            let tally = &tally;
            let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(index);
            scope.spawn(move || mix::run(address, seed, tally));
        }
        let memory = watch(&server, &tally, start, Duration::from_secs(options.seconds));
        tally.stop.store(true, Ordering::Relaxed);
        memory
    });
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
    println!("end: {}; {memory}", state(&tally, start));
    if let Err(wrong) = server.stop() {
        tally.error(&wrong);
    }
    Ok(Tally::get(&tally.errors))
}

/// Looks at the server until the time or the count is over, and tells how it goes.
fn watch(server: &Watched, tally: &Tally, start: Instant, limit: Duration) -> Memory {
    let mut memory = Memory::default();
    let mut next_report = REPORT;
    while start.elapsed() < limit && !tally.is_over() {
        thread::sleep(LOOK.min(limit.saturating_sub(start.elapsed())));
        memory.note(server.resident_kib(), start.elapsed() * 10 >= limit);
        if start.elapsed() >= next_report {
            next_report += REPORT;
            let open = server.descriptors().map_or(String::new(), |n| format!(", {n} descriptors"));
            let now = server.resident_kib().map_or(String::new(), |n| format!(", {n} KiB"));
            println!("{:>6} s: {}{now}{open}", start.elapsed().as_secs(), state(tally, start));
        }
    }
    memory
}

fn state(tally: &Tally, start: Instant) -> String {
    let requests = Tally::get(&tally.requests);
    let seconds = start.elapsed().as_secs_f64();
    format!(
        "{requests} requests ({:.0}/s), {} connections, {} aborts, {:.1} GB received, \
         {:.1} GB sent, {} errors",
        requests as f64 / seconds,
        Tally::get(&tally.connections),
        Tally::get(&tally.aborts),
        Tally::get(&tally.bytes_received) as f64 / 1e9,
        Tally::get(&tally.bytes_sent) as f64 / 1e9,
        Tally::get(&tally.errors),
    )
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seconds: 60,
        requests: 0,
        clients: 8,
        threads: "auto".to_owned(),
        seed: 1,
        drivers: vec!["uring", "epoll"],
        program: beside_this()?,
        address: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name}: no value, or no option"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: not a number"));
        match name.as_str() {
            "--seconds" => options.seconds = number()?,
            "--requests" => options.requests = number()?,
            "--clients" => options.clients = number()?,
            "--threads" => options.threads = value,
            "--seed" => options.seed = number()?,
            "--program" => options.program = value.into(),
            "--address" => {
                let address = value.parse().map_err(|_| format!("{value}: not IP:PORT"))?;
                options.address = Some(address);
                options.drivers = vec!["running"];
            }
            "--io" => {
                options.drivers = match value.as_str() {
                    "both" => vec!["uring", "epoll"],
                    "uring" => vec!["uring"],
                    "epoll" => vec!["epoll"],
                    _ => return Err(format!("--io {value}: uring, epoll or both")),
                }
            }
            _ => return Err(format!("{name}: no option")),
        }
    }
    Ok(options)
}

/// target/release/heartbeat, seen from target/release/examples/soak.
fn beside_this() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = this.parent().and_then(|examples| examples.parent());
    directory.map(|directory| directory.join("heartbeat")).ok_or_else(|| "no parent".to_owned())
}
