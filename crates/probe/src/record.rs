//! What is known about one request: this is what is logged, counted and summed up.

use std::time::Duration;

use jiff::Timestamp;

use crate::client::{Answer, ClientError, Phases};
use crate::testfile::Case;
use crate::validation::Verdict;

/// One request and its result.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When it ended; with `--compat 8`, when it started.
    pub date: Timestamp,
    /// The method.
    pub verb: String,
    /// The base URL.
    pub server: String,
    /// The path with `--url-prefix`.
    pub path: String,
    /// The address that was asked, if each address is asked separately.
    pub address: Option<String>,
    /// The status, or 500 if there is none.
    pub status_code: u16,
    /// Whether there was an answer.
    pub answered: bool,
    /// From the test file.
    pub test_name: Option<String>,
    /// From the test file, or else from the command line.
    pub tag: Option<String>,
    /// The `Content-Length` of the answer, or else the bytes of its body.
    pub content_length: u64,
    /// From the performance target.
    pub category: Option<String>,
    /// From 1 to 4, by the performance target.
    pub quartile: Option<u8>,
    /// The result of the validation.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Took,
    /// Bytes read, head included.
    pub bytes_received: u64,
    /// Bytes written, head included.
    pub bytes_sent: u64,
}

/// Where a request went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The base URL.
    pub server: &'a str,
    /// The path with `--url-prefix`.
    pub path: &'a str,
    /// The address that was asked, if each address is asked separately.
    pub address: Option<&'a str>,
}

/// How long a request and its parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// The whole time, which includes opening a connection.
    pub duration: Duration,
    /// The phases that were reached.
    pub phases: Phases,
}

/// A duration in whole milliseconds, rounded as WebV does.
pub(crate) fn whole_milliseconds(duration: Duration) -> u64 {
    // The timeout bounds durations, so the value is neither negative nor too large.
    (duration.as_secs_f64() * 1000.0).round_ties_even() as u64
}

impl Record {
    /// The record of a request that was answered.
    pub(crate) fn answered(
        case: &Case,
        origin: Origin<'_>,
        took: Took,
        answer: &Answer,
        verdict: Verdict,
    ) -> Self {
        Self {
            status_code: answer.status.as_u16(),
            answered: true,
            content_length: answer.content_length.unwrap_or(answer.body_length),
            bytes_received: answer.bytes_received,
            bytes_sent: answer.bytes_sent,
            ..Self::new(case, origin, took, verdict)
        }
    }

    /// The record of a request that was not answered; WebV logs it as a 500 without content.
    pub(crate) fn lost(case: &Case, origin: Origin<'_>, took: Took, error: &ClientError) -> Self {
        Self::new(case, origin, took, Verdict::exception(error))
    }

    /// The duration in whole milliseconds.
    pub(crate) fn milliseconds(&self) -> u64 {
        whole_milliseconds(self.took.duration)
    }

    fn new(case: &Case, origin: Origin<'_>, took: Took, verdict: Verdict) -> Self {
        let milliseconds = whole_milliseconds(took.duration) as f64;
        let target = case.perf_target.as_ref();
        Self {
            date: Timestamp::now(),
            verb: case.verb.clone(),
            server: origin.server.to_owned(),
            path: origin.path.to_owned(),
            address: origin.address.map(str::to_owned),
            status_code: STATUS_WITHOUT_ANSWER,
            answered: false,
            test_name: case.test_name.clone(),
            tag: case.tag.clone(),
            content_length: 0,
            category: target.map(|target| target.category.clone()),
            quartile: target.and_then(|target| target.quartile(milliseconds)),
            verdict,
            took,
            bytes_received: 0,
            bytes_sent: 0,
        }
    }
}

const STATUS_WITHOUT_ANSWER: u16 = 500;
