//! The program around the library: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};

use heartbeat_probe::load::{self, LoadArgs};
use heartbeat_probe::mesh::{self, MeshArgs};
use heartbeat_probe::run;

fn main() -> ExitCode {
    // No accepted value holds U+FFFD, so text that is not UTF-8 is refused where it is read.
    let text = |raw: OsString| raw.to_string_lossy().into_owned();
    let words: Vec<String> = std::env::args_os().skip(1).map(text).collect();
    // One thread: what is measured is the network, and the memory of a second one is saved.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "heartbeat-probe: can not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = if words.first().is_some_and(|word| word == LOAD) {
        match load_args(words) {
            Ok(args) => runtime.block_on(load::run(args)),
            Err(code) => code,
        }
    } else if words.first().is_some_and(|word| word == MESH) {
        match mesh_args(words) {
            Ok(args) => runtime.block_on(mesh::run(args)),
            Err(code) => code,
        }
    } else {
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        runtime.block_on(run::run(words, environment))
    };
    // Name look-ups run on threads that can not be interrupted; nobody waits for them here.
    runtime.shutdown_background();
    code
}

fn load_args(words: Vec<String>) -> Result<LoadArgs, ExitCode> {
    let command = LoadArgs::augment_args(Command::new(LOAD).bin_name("heartbeat-probe load"));
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| LoadArgs::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(load::EXIT_USAGE) } else { ExitCode::SUCCESS }
    })
}

fn mesh_args(words: Vec<String>) -> Result<MeshArgs, ExitCode> {
    let command = MeshArgs::augment_args(Command::new(MESH).bin_name("heartbeat-probe mesh"));
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| MeshArgs::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { ExitCode::from(mesh::EXIT_USAGE) } else { ExitCode::SUCCESS }
    })
}

const LOAD: &str = "load";
const MESH: &str = "mesh";
