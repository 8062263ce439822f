//! `heartbeat-probe path`: measures one path and explains what it finds.
//!
//! `args` is the command line, `names` finds addresses, `site` identifies the server, `latency`
//! sends small requests, `mtu` searches for the largest packet, `flow` transfers bulk data,
//! `loaded` sends small requests meanwhile, `middle` looks for proxies, `report` is the result,
//! `verdict` judges it, `text` prints it. Below them, `wire` is a connection, `head` the framing of
//! answers, `trust` the TLS, `quantiles` the statistics.

mod args;
mod flow;
mod head;
mod latency;
mod loaded;
mod measure;
mod middle;
mod mtu;
mod names;
mod quantiles;
mod report;
mod site;
mod text;
mod trust;
mod verdict;
mod wire;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Command};

pub(crate) use args::PathArgs;

use crate::client::{Proxies, Target};
use crate::load::EXIT_USAGE;
use crate::output::{complain, print};
use crate::paragraph::is_control;
use measure::Measure;
use report::{Level, Report};
use trust::Trust;

/// Measures a path and prints the result. It needs a runtime with I/O and time.
///
/// The exit code is 0 if nothing is wrong, 1 if there is a fault (with `--strict` also for a
/// warning), if nothing answers or after an interrupt, and [`EXIT_USAGE`] if the arguments cannot
/// be used.
pub(crate) async fn run(args: PathArgs) -> ExitCode {
    let (target, trust) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(message) => {
            complain(NAME, message);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let mut measure = Measure::new(&args, target, trust);
    let interrupted = tokio::select! {
        () = measure.all() => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    clear_progress();
    if interrupted {
        measure.report.skip("the rest", "interrupted");
    }
    let mut report = measure.into_report();
    report.findings = verdict::findings(&report);
    let text = match args.json {
        true => json(&report),
        false => text::render(&report),
    };
    print(&text);
    if is_good(&report, args.strict) && !interrupted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Escapes also the characters that JSON may contain as they are, but that control a terminal.
fn json(report: &Report) -> String {
    let mut escaped = String::new();
    // Keys are text and numbers are finite, so JSON can represent them all.
    for letter in serde_json::to_string(report).unwrap_or_default().chars() {
        // Only text contains such characters, and all of them have four digits.
        match is_control(letter) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => escaped.push(letter),
        }
    }
    escaped + "\n"
}

/// The command line of `path`.
pub(crate) fn command() -> Command {
    let command = Command::new("path").bin_name("heartbeat-probe path");
    PathArgs::augment_args(command).next_line_help(true)
}

fn prepare(args: &PathArgs) -> Result<(Target, Option<Trust>), String> {
    let target = Target::parse(&args.url).map_err(|error| error.to_string())?;
    if let Some(proxy) = Proxies::of_process().for_target(&target) {
        let warning = format!("warning: {target} is asked directly, not by the proxy {proxy}");
        complain(NAME, warning);
    }
    // A file that is named is read and checked anyway.
    if !target.is_https() && args.ca_file.is_none() {
        return Ok((target, None));
    }
    let verifier = trust::verifier(args.ca_file.as_deref())?;
    if !target.is_https() {
        return Ok((target, None));
    }
    let trust = Trust::new(target.host(), verifier)?;
    Ok((target, Some(trust)))
}

fn is_good(report: &Report, strict: bool) -> bool {
    let allowed = if strict { Level::Note } else { Level::Warning };
    // If nothing answers, nothing was measured.
    let answered = report.latency_us.p50.is_some();
    answered && report.findings.iter().all(|finding| finding.level <= allowed)
}

/// Shows on a terminal what is being measured, in a line that is overwritten.
fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{LINE_START}{what} ...");
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{LINE_START}");
    }
}

/// The name of the program in its messages.
const NAME: &str = "heartbeat-probe path";
/// Moves to the beginning of the line and clears it (ECMA-48, EL).
const LINE_START: &str = "\r\x1b[K";

#[cfg(test)]
mod tests {
    use super::report::Finding;
    use super::*;

    fn report(level: Level) -> Report {
        let finding = Finding { level, code: "x", text: String::new(), remedy: None };
        let mut report = Report { findings: vec![finding], ..Report::default() };
        report.latency_us.p50 = Some(1.0);
        report
    }

    #[test]
    fn faults_are_never_good_and_warnings_are_not_if_strict() {
        assert!(!is_good(&report(Level::Fault), false));
        assert!(is_good(&report(Level::Warning), false));
        assert!(!is_good(&report(Level::Warning), true));
        assert!(is_good(&report(Level::Note), true));
        assert!(!is_good(&Report::default(), false));
    }
}
