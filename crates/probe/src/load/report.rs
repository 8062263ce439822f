//! Owns what a load found out, in numbers with their units: the one object of `--json`, which the
//! text is made of too.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::Tally;

/// The result of a load. Fields are read by scripts: names change with a major version only.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `open`: at a rate; `closed`: each connection sends when it has its answer.
    pub(crate) mode: &'static str,
    /// Whether a signal ended it early.
    pub(crate) interrupted: bool,
    pub(crate) connections: usize,
    pub(crate) keep_alive: bool,
    /// Requests per second asked for; null in a closed loop.
    pub(crate) rate_wanted: Option<f64>,
    /// Requests per second finished, over `elapsed_s`.
    pub(crate) rate: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) elapsed_s: f64,
    /// Requests finished, whether well or not. Those of the warm-up do not count.
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// Requests that were due and for which no connection was free in time.
    pub(crate) unsent: u64,
    /// Requests on their way when a signal came.
    pub(crate) abandoned: u64,
    /// Answers by status.
    pub(crate) status: BTreeMap<u16, u64>,
    /// Failed requests by reason.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// The first of each, in words.
    pub(crate) error_examples: BTreeMap<&'static str, String>,
    /// Of bodies, heads not counted.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// In the warm-up too.
    pub(crate) connections_opened: u64,
    /// All times are in microseconds.
    pub(crate) latency_us: Latency,
    pub(crate) targets: Vec<TargetReport>,
}

/// Times of requests.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// From when a request was due to the answer's last byte; null in a closed loop.
    pub(crate) corrected: Option<Times>,
    /// From when it was sent to the answer's last byte, a new connection included.
    pub(crate) service: Times,
    /// From the request's last byte to the answer's first.
    pub(crate) first_byte: Times,
    /// Name, connection and TLS, of new connections.
    pub(crate) connect: Times,
}

/// A distribution, in microseconds; all 0 where there is none.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

/// The share of one target.
#[derive(Debug, Serialize)]
pub(crate) struct TargetReport {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Corrected in an open loop, service times in a closed one.
    pub(crate) latency_us: Times,
}

/// What a tally does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) rate: Option<f64>,
    pub(crate) connections: usize,
    pub(crate) keep_alive: bool,
    pub(crate) interrupted: bool,
    pub(crate) warm_up: Duration,
    /// From the end of the warm-up until nothing more was due.
    pub(crate) lasted: Duration,
    pub(crate) unsent: u64,
}

impl Report {
    /// Of a tally; `targets` are methods and URLs.
    pub(crate) fn new(tally: &Tally, facts: Facts, targets: &[(String, String)]) -> Self {
        let elapsed = tally.last_ended.saturating_sub(facts.warm_up).max(facts.lasted);
        let elapsed_s = elapsed.as_secs_f64();
        let rate = if elapsed_s > 0.0 { tally.requests as f64 / elapsed_s } else { 0.0 };
        let names = || tally.faults.iter().map(|(fault, counted)| (fault.name(), counted));
        Self {
            mode: if facts.rate.is_some() { "open" } else { "closed" },
            interrupted: facts.interrupted,
            connections: facts.connections,
            keep_alive: facts.keep_alive,
            rate_wanted: facts.rate,
            rate: hundredths(rate),
            warm_up_s: facts.warm_up.as_secs_f64(),
            elapsed_s: (elapsed_s * 1e6).round() / 1e6,
            requests: tally.requests,
            ok: tally.requests - tally.failed,
            failed: tally.failed,
            unsent: facts.unsent,
            abandoned: tally.abandoned,
            status: tally.statuses.clone(),
            errors: names().map(|(name, (count, _))| (name, *count)).collect(),
            error_examples: names().map(|(name, (_, text))| (name, text.clone())).collect(),
            bytes_sent: tally.sent,
            bytes_received: tally.received,
            connections_opened: tally.connects,
            latency_us: Latency {
                corrected: facts.rate.map(|_| Times::of(&tally.corrected)),
                service: Times::of(&tally.service),
                first_byte: Times::of(&tally.first_byte),
                connect: Times::of(&tally.connect),
            },
            targets: targets
                .iter()
                .zip(&tally.targets)
                .map(|((method, url), sums)| TargetReport {
                    method: method.clone(),
                    url: url.clone(),
                    requests: sums.requests,
                    failed: sums.failed,
                    latency_us: Times::of(&sums.times),
                })
                .collect(),
        }
    }

    /// Whether every request that was due was sent and answered as it should be.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.unsent == 0 && self.requests > 0
    }
}

impl Times {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let us = |quantile| hundredths(histogram.value_at_quantile(quantile) as f64 / 1e3);
        let is_empty = histogram.is_empty();
        Self {
            count: histogram.len(),
            mean: hundredths(histogram.mean() / 1e3),
            min: if is_empty { 0.0 } else { hundredths(histogram.min() as f64 / 1e3) },
            p50: us(0.5),
            p75: us(0.75),
            p90: us(0.9),
            p95: us(0.95),
            p99: us(0.99),
            p99_9: us(0.999),
            p99_99: us(0.9999),
            max: hundredths(histogram.max() as f64 / 1e3),
        }
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::schedule::Ticket;
    use super::super::tally::Sample;
    use super::*;
    use crate::fault::Fault;

    /// A load of 100 requests at 100/s, of 100, 200 ... 10000 us; every tenth fails with a 404.
    pub(in super::super) fn tally() -> Tally {
        let mut tally = Tally::new(1);
        for number in 0..100 {
            let due = Duration::from_millis(number * 10);
            let failed = number % 10 == 9;
            tally.add(Sample {
                ticket: Ticket { number, due, counts: true },
                target: 0,
                began: due + Duration::from_micros(50),
                ended: due + Duration::from_micros((number + 1) * 100),
                first_byte: Some(Duration::from_micros(20)),
                connect: (number == 0).then_some(Duration::from_micros(70)),
                status: Some(if failed { 404 } else { 200 }),
                sent: 1,
                received: 1024,
                fault: failed.then(|| (Fault::Status, "404, expected 2xx".to_owned())),
            });
        }
        tally
    }

    pub(in super::super) fn report(rate: Option<f64>) -> Report {
        let facts = Facts {
            rate,
            connections: 4,
            keep_alive: true,
            interrupted: false,
            warm_up: Duration::ZERO,
            lasted: Duration::from_secs(1),
            unsent: 0,
        };
        let target = ("GET".to_owned(), "http://a/heartbeat/1024".to_owned());
        Report::new(&tally(), facts, &[target])
    }

    #[test]
    fn the_json_has_counts_rates_and_times_with_units() {
        let json = serde_json::to_value(report(Some(100.0))).unwrap();
        assert_eq!(json["rate"], 100.0);
        assert_eq!(json["elapsed_s"], 1.0);
        assert_eq!((&json["requests"], &json["ok"]), (&100.into(), &90.into()));
        assert_eq!(json["status"], serde_json::json!({"200": 90, "404": 10}));
        assert_eq!(json["errors"], serde_json::json!({"status": 10}));
        assert_eq!(json["bytes_received"], 102_400);
        assert_eq!(json["connections_opened"], 1);
        let p50 = json["latency_us"]["corrected"]["p50"].as_f64().unwrap();
        assert!((5000.0..5010.0).contains(&p50), "{p50}");
        let service = json["latency_us"]["service"]["p50"].as_f64().unwrap();
        assert!((4950.0..4960.0).contains(&service), "{service}");
        assert_eq!(json["targets"][0]["failed"], 10);
    }

    #[test]
    fn a_closed_loop_has_no_corrected_times() {
        let json = serde_json::to_value(report(None)).unwrap();
        assert!(json["latency_us"]["corrected"].is_null());
        assert!(json["rate_wanted"].is_null());
        assert_eq!(json["latency_us"]["service"]["count"], 100);
    }

    #[test]
    fn good_is_no_failure_nothing_unsent_and_at_least_one_request() {
        let facts = Facts {
            rate: None,
            connections: 1,
            keep_alive: true,
            interrupted: true,
            warm_up: Duration::ZERO,
            lasted: Duration::ZERO,
            unsent: 0,
        };
        let mut report = Report::new(&Tally::new(1), facts, &[]);
        assert!(!report.is_good());
        assert_eq!(report.rate, 0.0);
        report.requests = 1;
        assert!(report.is_good());
        report.unsent = 1;
        assert!(!report.is_good());
        report.unsent = 0;
        report.failed = 1;
        assert!(!report.is_good());
    }
}
