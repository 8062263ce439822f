//! Heartbeat answers with exactly as many bytes as the URL asks for.
//!
//! This crate is the program around the server: arguments in, exit code out.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use heartbeat_command_line::Stop;

use crate::failure::Failure;
use crate::settings::Settings;

mod args;
mod dashes;
mod failure;
mod healthcheck;
mod notice;
mod serve;
mod settings;
mod values;

fn main() -> ExitCode {
    run().unwrap_or_else(|failure| {
        notice::print(&format!("heartbeat: {failure}\n"));
        failure.exit_code()
    })
}

fn run() -> Result<ExitCode, Failure> {
    // Text that is not UTF-8 gets a U+FFFD here. No option accepts this character, so such a value
    // is refused when its option is parsed.
    let text = |raw: OsString| raw.to_string_lossy().into_owned();
    let environment = |name: &str| std::env::var_os(name).map(text);
    let matches = match args::parse(std::env::args_os().skip(1).map(text)) {
        Ok(matches) => matches,
        Err(Stop::Misuse(misuse)) => return Err(misuse.into()),
        Err(Stop::Page(page)) => {
            // The reader may have closed the pipe (`heartbeat --help | head -1`).
            let _ = io::stdout().write_all(page.as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let settings = Settings { arguments: &matches, environment: &environment };
    if let Some(check) = matches.subcommand_matches(args::HEALTHCHECK) {
        return healthcheck::run(check.get_one(args::URL), &settings);
    }
    warn_of_misspelt_variables();
    serve::serve(settings.config()?)
}

/// Warns of environment variables that begin with `HB_` and belong to no option.
fn warn_of_misspelt_variables() {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let misspelt = args::misspelt(names);
    if !misspelt.is_empty() {
        let names = misspelt.join(", ").escape_default().to_string();
        notice::print(&format!("heartbeat: warning: no such option: {names}; see --help\n"));
    }
}
