//! The summary of a single run against one server.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

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
    /// When the first request was sent.
    pub start: Timestamp,
    /// From the first request to the end.
    pub elapsed: Duration,
    cases: Option<Vec<JunitCase>>,
}

#[derive(Clone, Debug, PartialEq)]
struct JunitCase {
    name: String,
    elapsed: Duration,
    // The kind of the failure and its text.
    failure: Option<(&'static str, String)>,
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
            let failure = verdict.fault.map(|fault| (fault.name(), verdict.errors.join("\n")));
            let name = format!("{tag}{}: {}", record.verb, record.path);
            cases.push(JunitCase { name, elapsed: record.took.duration, failure });
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

    fn status(&self) -> &'static str {
        if self.is_over() { "Test Failed" } else { "Test Completed" }
    }
}

/// The summary in `format`; `None` if that is `None`.
pub(crate) fn summary(format: SummaryFormat, result: &Summary) -> Option<String> {
    let Summary { errors, validation_errors, max_errors, .. } = *result;
    let status = result.status();
    match format {
        SummaryFormat::None => None,
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
        SummaryFormat::Xml => Some(junit(result)),
    }
}

fn junit(result: &Summary) -> String {
    let cases = result.cases.as_deref().unwrap_or_default();
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let (tests, time) = (result.requests, result.elapsed.as_secs_f64());
    // The schema demands a time without a zone, in whole seconds.
    let start: String = result.start.to_string().chars().take(19).collect();
    let host = rustix::system::uname();
    let host = escaped(&host.nodename().to_string_lossy());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"WebVToJUnit\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"0\" time=\"{time:.6}\" timestamp=\"{start}\" hostname=\"{host}\">\n  \
         <properties />"
    );
    for case in cases {
        let (name, time) = (escaped(&case.name), case.elapsed.as_secs_f64());
        let _ = write!(xml, "  <testcase classname=\"{name}\" name=\"{name}\" time=\"{time:.6}\"");
        let _ = match &case.failure {
            Some((kind, text)) => writeln!(
                xml,
                ">\n    <failure type=\"{kind}\" message=\"{}\" />\n  </testcase>",
                escaped(text)
            ),
            None => writeln!(xml, " />"),
        };
    }
    xml.push_str("  <system-out />\n  <system-err />\n</testsuite>\n</testsuites>");
    xml
}

// Fit for text and attributes; a character that XML 1.0 cannot represent becomes a question mark.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#xA;"),
            '\r' => escaped.push_str("&#xD;"),
            '\t' => escaped.push_str("&#x9;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}
