//! `heartbeat-bench run` measures Heartbeat beside its peers; `client` is its load generator.

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use heartbeat_bench::client::{self, ClientOptions};
use heartbeat_bench::exchange;
use heartbeat_command_line::Stop;

/// Measures Heartbeat side by side with what could be put in its place.
#[derive(Parser)]
#[command(name = "heartbeat-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Start each server in turn and measure it
    Run(run::RunOptions),
    /// Name the scenarios and the servers
    List,
    /// Count the protocol's instructions per request with callgrind
    Instructions,
    /// What callgrind runs: one of the protocol's requests, so often
    #[command(hide = true)]
    Repeat {
        /// Which, by its number
        case: usize,
        /// How often
        times: u64,
    },
    /// The load generator: connects, says ready, measures at each line `go`
    Client(ClientOptions),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return Stop::from(error).end("heartbeat-bench"),
    };
    let result = match arguments.command {
        What::Run(options) => run::run(&options),
        What::List => {
            run::list();
            Ok(())
        }
        What::Instructions => exchange::count_instructions(),
        What::Repeat { case, times } => {
            println!("{} bytes", exchange::repeat(case, times));
            Ok(())
        }
        What::Client(options) => client::run(&options).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heartbeat-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
