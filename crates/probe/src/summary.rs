//! The summary of a single run against one server.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::junit::{Case, Suite};
use crate::log;
use crate::record::Record;
use crate::settings::{LogFormat, Settings, SummaryFormat};

/// The result in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// Failed requests.
    pub errors: u64,
    /// Requests whose answers were wrong without being failures.
    pub validation_errors: u64,
    /// The limit of errors that ends the run.
    pub max_errors: u64,
    /// The number of requests that the files contain.
    pub requests: usize,
    /// The number of requests that were sent.
    pub sent: u64,
    /// Whether a signal ended the run before every request was sent and answered.
    pub is_stopped: bool,
    /// When the first request was sent.
    pub start: Timestamp,
    /// From the first request to the end.
    pub elapsed: Duration,
    cases: Option<Vec<Case>>,
}

impl Summary {
    /// The summary before the first request.
    pub(crate) fn new(settings: &Settings, requests: usize) -> Self {
        // Only JUnit names every request; the other formats need no list of them.
        let cases = (settings.summary == SummaryFormat::Xml).then(Vec::new);
        let (max_errors, start) = (settings.max_errors, Timestamp::now());
        Self { max_errors, requests, cases, start, ..Self::default() }
    }

    /// Counts a request.
    pub(crate) fn add(&mut self, record: &Record) {
        let verdict = &record.verdict;
        self.sent += 1;
        self.errors += u64::from(verdict.failed);
        self.validation_errors += u64::from(!verdict.failed && !verdict.is_valid());
        if let Some(cases) = &mut self.cases {
            let tag = record.tag.as_ref().map(|tag| format!("{tag}: ")).unwrap_or_default();
            let failure = verdict
                .fault
                .map(|fault| (fault.name(), verdict.errors.lines().collect::<Vec<_>>().join("\n")));
            let name = format!("{tag}{}: {}", record.verb, record.path);
            let seconds = record.took.duration.as_secs_f64();
            cases.push(Case { class: name.clone(), name, seconds, failure });
        }
    }

    /// Whether there were so many errors that the run ends. A limit of 0 counts as 1: without any
    /// request there would be nothing to report.
    pub(crate) fn is_over(&self) -> bool {
        self.errors + self.validation_errors >= self.max_errors.max(1)
    }

    /// Whether the exit code reports a failure.
    pub(crate) fn is_failure(&self) -> bool {
        self.errors > 0 || self.validation_errors >= self.max_errors.max(1)
    }

    /// The suite of `server` in the JUnit summary, which is one document for all servers; `None` if
    /// another format is asked for.
    pub(crate) fn suite(self, server: &str, servers: usize) -> Option<Suite> {
        let cases = self.cases?;
        // WebV's name; if there are several servers, readers must be able to tell them apart.
        let name = if servers > 1 { format!("{SUITE} {server}") } else { SUITE.to_owned() };
        Some(Suite {
            name,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            start: self.start,
            seconds: self.elapsed.as_secs_f64(),
            tests: self.requests,
            properties: vec![("server", server.to_owned())],
            cases,
        })
    }

    fn status(&self) -> &'static str {
        match self.is_stopped {
            _ if self.is_over() => "Test Failed",
            true => "Test Stopped",
            false => "Test Completed",
        }
    }
}

/// The summary of one server in `format`; `None` if that has none, or one for all servers.
pub(crate) fn summary(format: SummaryFormat, result: &Summary) -> Option<String> {
    let Summary { errors, validation_errors, max_errors, .. } = *result;
    let status = result.status();
    match format {
        SummaryFormat::None | SummaryFormat::Xml => None,
        SummaryFormat::Tsv => Some(format!(
            "{status}\tErrors\t{errors}\tValidationErrorCount\t{validation_errors}\
             \tMaxErrors\t{max_errors}"
        )),
        SummaryFormat::Json | SummaryFormat::JsonCamel => Some(log::object(
            match format {
                SummaryFormat::JsonCamel => LogFormat::JsonCamel,
                _ => LogFormat::Json,
            },
            json!({
                "Date": log::date(Timestamp::now()),
                "Status": status,
                "ValidationErrorCount": validation_errors,
                "ErrorCount": errors,
                "MaxErrors": max_errors,
                "RequestCount": result.sent,
                "SuccessCount": result.sent - errors - validation_errors,
                "Start": log::date(result.start),
                "End": log::date(result.start + result.elapsed),
                "Duration": result.elapsed.as_millis() as u64,
            }),
        )),
    }
}

const SUITE: &str = "WebVToJUnit";
