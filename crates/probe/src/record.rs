//! What is known about one request that was sent: what is logged, counted and summed up.

use std::time::Duration;

use jiff::Timestamp;

use crate::client::{Answer, ClientError, Phases};
use crate::testfile::Case;
use crate::validation::Verdict;

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When it was done.
    pub date: Timestamp,
    /// The method.
    pub verb: String,
    /// The base URL.
    pub server: String,
    /// With `--url-prefix`.
    pub path: String,
    /// The address that was asked, where each is asked for itself.
    pub address: Option<String>,
    /// The status, or 500 where there is none.
    pub status_code: u16,
    /// Whether there was an answer.
    pub answered: bool,
    /// Of the test file.
    pub test_name: Option<String>,
    /// Of the test file, or else of the command line.
    pub tag: Option<String>,
    /// Bytes of the body.
    pub content_length: u64,
    /// Of the performance target.
    pub category: Option<String>,
    /// 1 to 4.
    pub quartile: Option<u8>,
    /// What the validation says.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Took,
    /// Bytes read, head included.
    pub bytes_received: u64,
    /// Bytes written, head included.
    pub bytes_sent: u64,
}

/// Whom a request went to, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    /// The base URL.
    pub server: &'a str,
    /// With `--url-prefix`.
    pub path: &'a str,
    /// The address that was asked, where each is asked for itself.
    pub address: Option<&'a str>,
}

/// How long a request took: as a whole, and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// The opening of a connection included.
    pub duration: Duration,
    /// As far as it came.
    pub phases: Phases,
}

/// A duration in whole milliseconds, rounded as WebV does.
pub(crate) fn whole_milliseconds(duration: Duration) -> u64 {
    // Durations are bounded by the timeout; the sign and the size are sure.
    (duration.as_secs_f64() * 1000.0).round_ties_even() as u64
}

impl Record {
    /// Of a request that was answered.
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

    /// Of a request that was not answered; WebV logs it as a 500 without content.
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
