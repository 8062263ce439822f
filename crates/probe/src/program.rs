//! The whole program: chooses the command, reads its arguments and returns the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};
use heartbeat_command_line::Stop;

use crate::args;
use crate::client::LOOKUPS_MAX;
use crate::load::{self, LoadArgs};
use crate::merge::{self, MergeArgs};
use crate::mesh::{self, MeshArgs};
use crate::path::{self, PathArgs};
use crate::run;

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    // No accepted value contains U+FFFD, so text that is not UTF-8 is rejected where it is read.
    let text = |raw: OsString| raw.to_string_lossy().into_owned();
    let words: Vec<String> = std::env::args_os().skip(1).map(text).collect();
    // One thread is enough, because the network is what is measured; a second one costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS_MAX + PAGE_THREADS)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "heartbeat-probe: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = if words.first().is_some_and(|word| word == LOAD) {
        match parsed::<LoadArgs>(load::command(), words) {
            Ok(args) => runtime.block_on(load::run(args)),
            Err(code) => code,
        }
    } else if words.first().is_some_and(|word| word == MERGE) {
        match parsed::<MergeArgs>(merge::command(), words) {
            Ok(args) => merge::run(args),
            Err(code) => code,
        }
    } else if words.first().is_some_and(|word| word == PATH) {
        match parsed::<PathArgs>(path::command(), words) {
            Ok(args) => runtime.block_on(path::run(args)),
            Err(code) => code,
        }
    } else if words.first().is_some_and(|word| word == MESH) {
        match parsed::<MeshArgs>(mesh::command(), words) {
            Ok(args) => runtime.block_on(mesh::run(args)),
            Err(code) => code,
        }
    } else {
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        runtime.block_on(run::run(words, environment))
    };
    // Name look-ups run on threads that cannot be interrupted; the program does not wait for them.
    runtime.shutdown_background();
    code
}

/// The command line with all commands of the program, for its man pages and completions.
pub fn command() -> Command {
    args::command()
        .subcommand(LoadArgs::augment_args(Command::new(LOAD)))
        .subcommand(MergeArgs::augment_args(Command::new(MERGE)))
        .subcommand(PathArgs::augment_args(Command::new(PATH)))
        .subcommand(MeshArgs::augment_args(Command::new(MESH)))
}

fn parsed<A: FromArgMatches>(command: Command, words: Vec<String>) -> Result<A, ExitCode> {
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    let parsed =
        command.try_get_matches_from(words).and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| Stop::from(error).end(&name))
}

const LOAD: &str = "load";
const MERGE: &str = "merge";
const MESH: &str = "mesh";
const PATH: &str = "path";
// Look-ups of names never take these threads, on which pages are rendered and the reports of the
// mesh are gathered: a page does not wait for a silent name service.
const PAGE_THREADS: usize = 4;
