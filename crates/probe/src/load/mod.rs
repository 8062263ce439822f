//! `heartbeat-probe load`: requests at a constant rate, or as many as the answers let it.
//!
//! At a rate (`--rate`, an open loop) the times at which requests are due are fixed in advance, and
//! latency counts from those: a server that stalls makes later requests wait, and their waiting
//! is part of what a user would have seen ("coordinated omission" is what hides it). The time from
//! the sending on is told beside it as service time.
//!
//! Where things are: `args` is the command line, `schedule` says when a request is due, `target`
//! what it asks for and what must come, `drive` sends, `tally` counts, `report` is the result,
//! `text` and `chart` write it, `alarm` waits to the microsecond.

mod alarm;
mod args;
mod chart;
mod drive;
mod report;
mod schedule;
mod tally;
mod target;
mod text;

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

pub use args::LoadArgs;
pub(crate) use args::{size, time};

use crate::client::Tls;
use crate::output::complain;
use crate::stop::Stop;
use drive::{Drive, work};
use report::{Facts, Report, Times};
use schedule::Schedule;
use tally::Tally;

/// The exit code where nothing was sent, because what is asked for can not be.
pub const EXIT_USAGE: u8 = 2;

/// Who complains.
const NAME: &str = "heartbeat-probe load";
/// Requests under way when a signal comes may end within this time: whoever waits at a terminal
/// does not wait longer.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two progress lines.
const PROGRESS: Duration = Duration::from_secs(1);
/// To the begin of the line, and clears it: ECMA-48 EL.
const LINE_START: &str = "\r\x1b[K";
/// Descriptors beside those of connections and their timers: standard streams, the event loop's,
/// the name service's.
const SPARE_DESCRIPTORS: u64 = 64;

/// Sends a load and prints its result. It needs a runtime with I/O and time.
///
/// The exit code is 0 where every request was sent and answered as it should be, 1 where one was
/// not or none was sent at all, and [`EXIT_USAGE`] where the arguments, a file or a certificate can
/// not be used.
pub async fn run(args: LoadArgs) -> ExitCode {
    let drive = match prepare(&args) {
        Ok(drive) => Rc::new(drive),
        Err(message) => {
            complain(NAME, message);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let interrupted = match LocalSet::new().run_until(send(&args, &drive)).await {
        Ok(interrupted) => interrupted,
        Err(error) => {
            complain(NAME, error);
            return ExitCode::FAILURE;
        }
    };
    let report = conclude(&args, &drive, interrupted);
    let tally = drive.tally.borrow();
    let text = if args.json {
        // Keys are text and numbers are finite: there is nothing that JSON could not hold.
        serde_json::to_string(&report).unwrap_or_default() + "\n"
    } else {
        let times = if args.rate.is_some() { &tally.corrected } else { &tally.service };
        text::render(&report, times)
    };
    // Whoever closed standard output early does not want the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare(args: &LoadArgs) -> Result<Drive, String> {
    let (servers, turns) = target::turns(args)?;
    let tls = Tls::for_targets(&servers, args.ca_file.as_deref());
    let tls = tls.map_err(|error| error.to_string())?;
    raise_descriptors(args.connections as u64 * (servers.len() as u64 + 1) + SPARE_DESCRIPTORS);
    Ok(Drive {
        tally: RefCell::new(Tally::new(turns.len())),
        servers,
        turns,
        tls,
        keep_alive: !args.no_keep_alive,
        timeout: args.timeout,
        is_open: args.rate.is_some(),
        start: Instant::now(),
        schedule: RefCell::new(Schedule::new(args.plan())),
        under_way: Cell::new(0),
        stopped: watch::Sender::new(false),
    })
}

/// Whether a signal ended it.
async fn send(args: &LoadArgs, drive: &Rc<Drive>) -> std::io::Result<bool> {
    let mut stop = Stop::on_signals()?;
    let mut workers = JoinSet::new();
    for _ in 0..args.connections {
        workers.spawn_local(work(Rc::clone(drive)));
    }
    if std::io::stderr().is_terminal() {
        tokio::task::spawn_local(show_progress(Rc::clone(drive)));
    }
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
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{LINE_START}");
    }
    Ok(interrupted)
}

async fn all(workers: &mut JoinSet<std::io::Result<()>>) -> std::io::Result<()> {
    while let Some(ended) = workers.join_next().await {
        ended.map_err(std::io::Error::other)??;
    }
    Ok(())
}

fn conclude(args: &LoadArgs, drive: &Drive, interrupted: bool) -> Report {
    let now = drive.start.elapsed();
    let schedule = drive.schedule.borrow();
    let mut tally = drive.tally.borrow_mut();
    tally.abandoned = drive.under_way.get();
    let measured_from = schedule.measured_from();
    let facts = Facts {
        rate: args.rate,
        connections: args.connections,
        keep_alive: drive.keep_alive,
        interrupted,
        warm_up: measured_from,
        lasted: schedule.over().saturating_sub(measured_from),
        unsent: schedule.unsent(now),
    };
    let names: Vec<_> =
        drive.turns.iter().map(|turn| (turn.method.clone(), turn.url.clone())).collect();
    Report::new(&tally, facts, &names)
}

/// One line that is written over, on a terminal.
async fn show_progress(drive: Rc<Drive>) {
    let mut stopped = drive.stopped.subscribe();
    let mut since = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(PROGRESS) => {}
        }
        let mut tally = drive.tally.borrow_mut();
        let recent = &mut tally.recent;
        let rate = recent.requests as f64 / since.elapsed().as_secs_f64();
        since = Instant::now();
        let elapsed = drive.start.elapsed().as_secs_f64();
        let times = Times::of(&recent.times);
        let line = text::progress(elapsed, rate, &times, recent.failed, recent.requests);
        recent.clear();
        let _ = write!(std::io::stderr(), "{LINE_START}{line}");
    }
}

/// As many as are wanted, or as the system allows: what is missing shows as failed connections.
fn raise_descriptors(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let is_enough = limit.current.is_none_or(|current| current >= wanted);
    if !is_enough {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}
