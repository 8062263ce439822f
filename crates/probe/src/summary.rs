//! The summary of a single run against one server.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::log;
use crate::record::Record;
use crate::settings::{Settings, SummaryFormat};

/// What happened, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Failed requests.
    pub errors: u64,
    /// Requests that were answered wrongly, without being failures.
    pub validation_errors: u64,
    /// The limit that ends the run.
    pub max_errors: u64,
    /// Requests there are to send.
    pub requests: usize,
    /// From the first request to the end.
    pub elapsed: Duration,
    cases: Option<Vec<JunitCase>>,
}

#[derive(Clone, Debug, PartialEq)]
struct JunitCase {
    name: String,
    elapsed: Duration,
    failure: Option<String>,
}

impl Summary {
    /// Of nothing yet.
    pub fn new(settings: &Settings, requests: usize) -> Self {
        // JUnit alone names every request; the other formats need no memory of them.
        let cases = (settings.summary == SummaryFormat::Xml).then(Vec::new);
        Self { max_errors: settings.max_errors, requests, cases, ..Self::default() }
    }

    /// Counts a request.
    pub fn add(&mut self, record: &Record) {
        let verdict = &record.verdict;
        self.errors += u64::from(verdict.failed);
        self.validation_errors += u64::from(!verdict.failed && !verdict.is_valid());
        if let Some(cases) = &mut self.cases {
            let tag = record.tag.as_ref().map(|tag| format!("{tag}: ")).unwrap_or_default();
            let failure = (!verdict.errors.is_empty()).then(|| verdict.errors.join("\n"));
            let name = format!("{tag}{}: {}", record.verb, record.path);
            cases.push(JunitCase { name, elapsed: record.took.duration, failure });
        }
    }

    /// Whether there were so many errors that the run ends. A limit of 0 is one of 1: with no
    /// request at all there would be nothing to say.
    pub fn is_over(&self) -> bool {
        self.errors + self.validation_errors >= self.max_errors.max(1)
    }

    /// Whether the exit code tells of it.
    pub fn is_failure(&self) -> bool {
        self.errors > 0 || self.validation_errors >= self.max_errors.max(1)
    }

    fn status(&self) -> &'static str {
        if self.is_over() { "Test Failed" } else { "Test Completed" }
    }
}

/// The summary as `format` says; None if it says nothing.
pub fn summary(format: SummaryFormat, result: &Summary) -> Option<String> {
    let Summary { errors, validation_errors, max_errors, .. } = *result;
    let status = result.status();
    match format {
        SummaryFormat::None => None,
        SummaryFormat::Tsv => Some(format!(
            "{status}\tErrors\t{errors}\tValidationErrorCount\t{validation_errors}\
             \tMaxErrors\t{max_errors}"
        )),
        SummaryFormat::Json | SummaryFormat::JsonCamel => Some(
            json!({
                "Date": log::date(Timestamp::now()),
                "Status": status,
                "ValidationErrorCount": validation_errors,
                "ErrorCount": errors,
                "MaxErrors": max_errors,
            })
            .to_string(),
        ),
        SummaryFormat::Xml => Some(junit(result)),
    }
}

fn junit(result: &Summary) -> String {
    let cases = result.cases.as_deref().unwrap_or_default();
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let (tests, time) = (result.requests, result.elapsed.as_secs_f64());
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let _ = writeln!(
        xml,
        "<TestSuite failures=\"{failures}\" name=\"WebVToJUnit\" skipped=\"0\" tests=\"{tests}\" \
         time=\"{time:.6}\">"
    );
    for case in cases {
        let (name, time) = (escaped(&case.name), case.elapsed.as_secs_f64());
        let _ =
            writeln!(xml, "  <testcase classname=\"{name}\" name=\"{name}\" time=\"{time:.6}\">");
        let _ = match &case.failure {
            Some(text) => writeln!(xml, "    <failure message=\"{}\" />", escaped(text)),
            None => writeln!(xml, "    <system-out />"),
        };
        xml.push_str("  </testcase>\n");
    }
    xml.push_str("</TestSuite>");
    xml
}

// Also for attributes; what XML 1.0 can not hold at all becomes a question mark.
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
