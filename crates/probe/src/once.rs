//! A single run: every request to every server, one after the other.

use std::time::{Duration, Instant};

use crate::junit;
use crate::output::Output;
use crate::probe::Probe;
use crate::settings::{LogFormat, Settings};
use crate::stop::Stop;
use crate::summary::{Summary, summary};

/// Runs all requests of all `probes` once and returns the exit code.
pub(crate) async fn run(
    settings: &Settings,
    probes: &[Probe],
    output: &Output,
    stop: &mut Stop,
) -> u8 {
    let mut failures = 0;
    let mut suites = Vec::new();
    for (index, probe) in probes.iter().enumerate() {
        let columns = matches!(settings.log_format, LogFormat::Tsv | LogFormat::TsvMin);
        if index > 0 && columns {
            output.line("").await;
        }
        let result = one_server(settings, probe, stop).await;
        if let Some(text) = summary(settings.summary, &result) {
            output.line(text).await;
        }
        if result.is_failure() {
            failures += result.errors + result.validation_errors;
        }
        suites.extend(result.suite(probe.server(), probes.len()));
        if stop.is_asked() {
            break;
        }
    }
    if !suites.is_empty() {
        output.line(junit::document(&suites)).await;
    }
    // An exit code is one byte: without the limit, 256 errors would be reported as 0.
    u8::try_from(failures).unwrap_or(u8::MAX)
}

async fn one_server(settings: &Settings, probe: &Probe, stop: &mut Stop) -> Summary {
    tokio::select! {
        () = probe.recognize() => {}
        () = stop.asked() => {}
    }
    let start = Instant::now();
    let mut result = Summary::new(settings, probe.len());
    for index in 0..probe.len() {
        if stop.is_asked() || result.is_over() {
            break;
        }
        let sent = Instant::now();
        tokio::select! {
            record = probe.ask(index) => {
                result.add(&record);
                if record.verdict.failed && probe.fails_on_validation_error(index) {
                    break;
                }
            }
            () = stop.asked() => break,
        }
        let last = index + 1 == probe.len();
        let pause = if last { Duration::ZERO } else { settings.sleep };
        stop.or_after(pause.saturating_sub(sent.elapsed())).await;
    }
    result.elapsed = start.elapsed();
    result
}
