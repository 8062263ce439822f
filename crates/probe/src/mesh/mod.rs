//! `heartbeat-probe mesh`: every node watches the paths to its neighbours.
//!
//! `args` is the command line, `dns` finds addresses, `ring` decides which node asks which,
//! `members` keeps both up to date (`alone` explains why there are no neighbours), `watch` asks one
//! neighbour over `link`s, in `turns`. `neighbour` is what is known about one neighbour, `state`
//! about all. `report` is the JSON, `gather` asks the other nodes for theirs, `metrics` and `site`
//! show it.

mod alone;
mod args;
pub mod dns;
mod durations;
mod events;
mod gather;
mod identity;
mod link;
mod members;
mod metrics;
mod neighbour;
pub(crate) mod report;
pub mod ring;
mod samples;
mod site;
mod state;
mod text;
mod turns;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Command};
use prometheus::IntCounter;

pub(crate) use args::MeshArgs;
pub(crate) use neighbour::LEAVING;

use crate::output::{Full, Output, complain, print};
use crate::settings::LogFormat;
use crate::stop::Stop;
use crate::web;
use events::Events;
use members::MemberSettings;
use report::Own;
use site::MeshSite;
use state::Mesh;
use watch::WatchSettings;

/// What a shell reports for a program that SIGINT has ended.
const EXIT_SECOND_SIGNAL: i32 = 130;
/// The name of the program in its messages.
const NAME: &str = "heartbeat-probe mesh";

/// The command line of `mesh`.
pub(crate) fn command() -> Command {
    let command = Command::new("mesh").bin_name("heartbeat-probe mesh");
    MeshArgs::augment_args(command).next_line_help(true)
}

/// Watches until a signal comes, or until the duration is over. It needs a runtime with I/O and
/// time.
///
/// The exit code is 0 after a signal, and 1 if it cannot start. After `--duration` it is 0 if every
/// path is well, and 1 if one is not or if there is none.
pub(crate) async fn run(args: MeshArgs) -> ExitCode {
    match watch(args).await {
        Ok(code) => code,
        Err(message) => {
            complain(NAME, message);
            ExitCode::FAILURE
        }
    }
}

async fn watch(args: MeshArgs) -> Result<ExitCode, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut stop = Stop::on_signals().map_err(|error| words(&error))?;
    let mut again = stop.clone();
    tokio::spawn(async move {
        again.asked_again().await;
        std::process::exit(EXIT_SECOND_SIGNAL);
    });
    let dropped = IntCounter::new(
        "heartbeat_probe_log_lines_dropped_total",
        "Lines of the log that were dropped, because nobody read it.",
    );
    let dropped = dropped.map_err(|error| words(&error))?;
    let format = if args.json { LogFormat::Json } else { LogFormat::TsvMin };
    let output =
        Output::start(format, Full::Drop(dropped.clone())).map_err(|error| words(&error))?;
    let durations = durations::Durations::new().map_err(|error| words(&error))?;
    let own = Own { node: args.node.clone(), zone: args.zone.clone(), address: args.own_address };
    let events = Events::new(output.clone(), args.json);
    let mesh = Arc::new(Mesh::new(own, args.asks(), durations.clone(), events));
    let page = metrics::Page::new(&mesh, &durations, &dropped).map_err(|error| words(&error))?;
    let listener = web::bind(args.port).await.map_err(|error| {
        format!("--port {}: cannot listen: {error}; choose another port", args.port)
    })?;
    let peer_port = args.peer_port.unwrap_or(args.port);
    // The pages show what is known from the start, so the prober is ready at once.
    let readiness = web::Readiness::default();
    readiness.set(true);
    let site = MeshSite::new(Arc::clone(&mesh), page, peer_port);
    tokio::spawn(web::serve(listener, site, readiness));
    let settings = member_settings(&args);
    let following = members::follow(&mesh, &settings, &mut stop);
    let is_over = match args.duration {
        Some(duration) => tokio::time::timeout(duration, following).await.is_err(),
        None => {
            following.await;
            false
        }
    };
    output.finish().await;
    if !is_over {
        return Ok(ExitCode::SUCCESS);
    }
    let report = mesh.report();
    print(&if args.json { text::json(&report) } else { text::table(&report, mesh.alone()) });
    Ok(if text::is_well(&report) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn member_settings(args: &MeshArgs) -> MemberSettings {
    MemberSettings {
        name: args.service.name.clone(),
        neighbors: args.neighbors,
        lookup_interval: args.lookup_interval,
        dns: args.dns,
        own_address: args.own_address,
        watch: WatchSettings {
            port: args.service.port,
            uri: args.uri.clone(),
            asks: args.asks(),
            interval: args.interval,
            timeout: args.timeout,
        },
    }
}
