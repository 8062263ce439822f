//! `heartbeat-probe merge`: combines several results into one, as if one process had sent all of
//! it.
//!
//! Percentiles cannot be added. Each result contains its complete distributions; these are added,
//! so the percentiles of the merged result are as exact as those of one load.
//!
//! `input` reads results, `combine` adds them up.

mod combine;
mod input;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};

use crate::load::EXIT_USAGE;
use crate::load::outcome::{Outcome, OutcomeArgs};
use crate::load::report::Report;
use crate::output::complain;

/// The program name in messages.
const NAME: &str = "heartbeat-probe merge";

/// Puts the results of several `load --json` into one and shows it
#[derive(Args, Clone, Debug)]
pub(crate) struct MergeArgs {
    /// Results of `load --json`; standard input for none, and for -
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write the merged result as one JSON object
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    outcome: OutcomeArgs,
}

/// The command line of `merge`.
pub(crate) fn command() -> Command {
    MergeArgs::augment_args(Command::new("merge").bin_name(NAME)).next_line_help(true)
}

/// Merges, prints and returns the exit code of the merged result, by the rules of `load`.
pub(crate) fn run(args: MergeArgs) -> ExitCode {
    match try_run(args) {
        Ok(code) => code,
        Err(message) => {
            complain(NAME, message);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn try_run(args: MergeArgs) -> Result<ExitCode, String> {
    let results = input::read_all(&args.files)?;
    let merged = combine::combine(&results)?;
    if let Some(warning) = combine::spread(&merged) {
        complain(NAME, format!("warning: {warning}"));
    }
    // The files are opened last, because one of them may also be an input.
    let outcome = Outcome::open(&args.outcome)?;
    if let Some(path) = &args.output {
        write(&merged, path)?;
    }
    Ok(outcome.conclude(&merged, NAME))
}

fn write(report: &Report, path: &PathBuf) -> Result<(), String> {
    let text = serde_json::to_string(report).map_err(|error| error.to_string())? + "\n";
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}
