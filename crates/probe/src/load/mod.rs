//! `heartbeat-probe load`: sends requests at a constant rate, or as fast as the answers arrive.
//!
//! With a rate (`--rate`, an open loop) the times at which requests are due are fixed in advance,
//! and latency counts from those times. If a server stalls, later requests wait, and a user would
//! wait as long; a measurement that omits this has "coordinated omission". The time from the
//! sending of a request is reported as service time.
//!
//! Before the load: `args` and `values` parse the command line, `target` prepares the requests and
//! what their answers must be, `addresses` finds the servers' addresses, `descriptors` checks the
//! limits of the system. During the load: `schedule` computes when a request is due, `alarm` waits
//! to the microsecond, `drive` sends within its `time_limit`, `tally` counts in `histogram`s,
//! `sender` finds out whether this machine was the limit, `progress` shows the state. After it:
//! `report` is the result, `condition` and `verdict` judge it, `text`, `table`, `chart`, `junit`
//! and `markdown` write it with its `figures`, and `outcome` prints it and writes the files.

mod addresses;
mod alarm;
mod args;
mod chart;
mod condition;
mod descriptors;
mod drive;
mod figures;
pub(crate) mod histogram;
mod junit;
mod markdown;
pub(crate) mod outcome;
mod progress;
pub(crate) mod report;
mod schedule;
pub(crate) mod sender;
mod table;
mod tally;
mod target;
mod text;
mod time_limit;
mod values;
pub(crate) mod verdict;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, Command};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use args::LoadArgs;
pub(crate) use values::{size, time};

use crate::client::{Proxies, Resolver, Route, Tls};
use crate::output::complain;
use crate::stop::Stop;
use alarm::Alarm;
use drive::{Drive, locked, work};
use outcome::Outcome;
use report::{Facts, Names, Report};
use schedule::Schedule;
use sender::{CpuTime, Sender};
use tally::Tally;

/// The exit code if nothing was sent because the arguments cannot be used.
pub(crate) const EXIT_USAGE: u8 = heartbeat_command_line::Stop::EXIT_MISUSE;

/// The program name in messages.
const NAME: &str = "heartbeat-probe load";
/// The time that requests still have after a signal: a user at a terminal does not wait longer.
const FAREWELL: Duration = Duration::from_secs(1);

/// The command line of `load`.
pub(crate) fn command() -> Command {
    LoadArgs::augment_args(Command::new("load").bin_name(NAME)).next_line_help(true)
}

/// Sends a load and prints its result. It needs a runtime with I/O and time.
///
/// The exit code is 0 if every request was sent and answered as it should be; 1 if one was not, if
/// no request finished, or if this machine could not keep up with the rate; 3 if a condition of
/// `--fail-if` holds; and [`EXIT_USAGE`] if the arguments, a file or a certificate cannot be used.
pub(crate) async fn run(args: LoadArgs) -> ExitCode {
    match try_run(&args).await {
        Ok(code) => code,
        Err((code, message)) => {
            complain(NAME, message);
            ExitCode::from(code)
        }
    }
}

async fn try_run(args: &LoadArgs) -> Result<ExitCode, (u8, String)> {
    let unusable = |message| (EXIT_USAGE, message);
    let broken = |error: std::io::Error| (verdict::EXIT_FAILED, error.to_string());
    let mut drive = prepare(args).await.map_err(unusable)?;
    let outcome = Outcome::open(&args.outcome).map_err(unusable)?;
    let mut stop = Stop::on_signals().map_err(broken)?;
    wait_for_start(args.start_at, &mut stop).await;
    if stop.is_asked() {
        return Err((verdict::EXIT_FAILED, "a signal came before the load began".to_owned()));
    }
    let start = Timestamp::now();
    drive.start = Instant::now();
    let drive = Arc::new(drive);
    let before = CpuTime::now();
    let interrupted = send(args, &drive, stop).await.map_err(broken)?;
    let sender = before.zip(CpuTime::now());
    let sender = sender.and_then(|(from, to)| Sender::between(from, to, drive.start.elapsed()));
    let report = conclude(args, &drive, start, interrupted, sender);
    Ok(outcome.conclude(&report, NAME))
}

async fn prepare(args: &LoadArgs) -> Result<Drive, String> {
    let (servers, turns) = target::turns(args)?;
    let tls = Tls::for_targets(&servers, &args.tls()).map_err(|error| error.to_string())?;
    let proxies = Proxies::of_process();
    let resolver = Resolver::new(args.resolve.clone());
    let route = Route { resolver, tls, http: args.http, ..Route::default() };
    let proxied = servers.iter().filter_map(|server| Some((server, proxies.for_target(server)?)));
    let mut warnings: Vec<_> = proxied
        .map(|(server, proxy)| format!("{server} is asked directly, not by the proxy {proxy}"))
        .collect();
    let endpoints = addresses::endpoints(&servers, &route, &mut warnings).await;
    for warning in warnings {
        complain(NAME, format!("warning: {warning}"));
    }
    let connections = (0..servers.len()).map(|server| {
        let addresses = endpoints.iter().filter(|endpoint| endpoint.server == server).count();
        addresses.max(args.connections) as u64
    });
    descriptors::reserve(connections.sum())?;
    let alarm = Alarm::new().map_err(|error| error.to_string())?;
    Ok(Drive {
        tally: Mutex::new(Tally::new(turns.len(), endpoints.len())),
        servers,
        endpoints,
        turns,
        workers: args.connections,
        keep_alive: !args.no_keep_alive,
        timeout: args.timeout,
        is_open: args.rate.is_some(),
        start: Instant::now(),
        schedule: Mutex::new(Schedule::new(args.plan())),
        alarm: tokio::sync::Mutex::new(alarm),
        under_way: AtomicU64::new(0),
        stopped: watch::Sender::new(false),
    })
}

/// Waits for the moment at which several processes begin together, or for a signal.
async fn wait_for_start(moment: Option<Timestamp>, stop: &mut Stop) {
    let Some(moment) = moment else { return };
    match Duration::try_from(moment.duration_since(Timestamp::now())) {
        Ok(left) => stop.or_after(left).await,
        Err(_) => {
            let late = Timestamp::now().duration_since(moment).as_secs_f64();
            let why = format!("warning: --start-at {moment} was {late:.3} s ago; it begins now");
            complain(NAME, why);
        }
    }
}

/// Runs the load to its end. Returns whether a signal ended it early.
async fn send(args: &LoadArgs, drive: &Arc<Drive>, mut stop: Stop) -> std::io::Result<bool> {
    let mut workers = JoinSet::new();
    for worker in 0..args.connections {
        workers.spawn(work(Arc::clone(drive), worker));
    }
    tokio::spawn(progress::show(Arc::clone(drive), args.progress));
    let interrupted = tokio::select! {
        done = all(&mut workers) => {
            done?;
            false
        }
        () = stop.asked() => true,
    };
    drive.stop(interrupted);
    tokio::select! {
        done = all(&mut workers) => done?,
        () = stop.asked_again() => {}
        () = tokio::time::sleep(FAREWELL) => {}
    }
    progress::clear();
    Ok(interrupted)
}

async fn all(workers: &mut JoinSet<std::io::Result<()>>) -> std::io::Result<()> {
    while let Some(ended) = workers.join_next().await {
        ended.map_err(std::io::Error::other)??;
    }
    Ok(())
}

fn conclude(
    args: &LoadArgs,
    drive: &Drive,
    start: Timestamp,
    interrupted: bool,
    sender: Option<Sender>,
) -> Report {
    let now = drive.start.elapsed();
    let schedule = locked(&drive.schedule);
    let mut tally = locked(&drive.tally);
    tally.abandoned = drive.under_way.load(Ordering::Relaxed);
    let measured_from = schedule.measured_from();
    let facts = Facts {
        start,
        rate: args.rate,
        connections: args.connections,
        keep_alive: drive.keep_alive,
        interrupted,
        sender,
        warm_up: measured_from,
        lasted: schedule.over().saturating_sub(measured_from),
        unsent: schedule.unsent(now),
    };
    let targets = drive.turns.iter().map(|turn| (turn.method.clone(), turn.url.clone()));
    let addresses = drive.endpoints.iter().map(|endpoint| {
        (drive.servers[endpoint.server].as_str().to_owned(), endpoint.address.clone())
    });
    let names = Names { targets: targets.collect(), addresses: addresses.collect() };
    Report::new(&tally, facts, &names)
}
