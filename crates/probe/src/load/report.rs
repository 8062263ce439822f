//! The result of a load, in numbers with their units: the object that `--json` prints, that the
//! text is made from, and that `merge` reads.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::histogram;
use super::sender::Sender;
use super::tally::{Share, Tally};

/// The result of a load. Scripts read its fields: names change only with a major version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The version of this program.
    pub(crate) version: String,
    /// The name of the machine or pod that sent; several are separated by commas.
    pub(crate) host: String,
    /// When the load began, including its warm-up, and when it ended (RFC 3339, UTC).
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) mode: Mode,
    /// Whether a signal ended it early.
    pub(crate) interrupted: bool,
    /// Whether the machine that sent was the limit; null if the kernel does not count its CPU time,
    /// or if the load was too short for an answer.
    pub(crate) saturated: Option<bool>,
    /// How the thread that sent spent its time.
    pub(crate) sender: Option<Sender>,
    pub(crate) connections: usize,
    pub(crate) keep_alive: bool,
    /// Requests per second asked for; null in a closed loop.
    pub(crate) rate_wanted: Option<f64>,
    /// Requests per second finished, over `elapsed_s`.
    pub(crate) rate: f64,
    pub(crate) warm_up_s: f64,
    /// The time since the end of the warm-up.
    pub(crate) elapsed_s: f64,
    /// Requests that finished, with or without an error. Those of the warm-up do not count.
    pub(crate) requests: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    /// Requests that were due but found no free connection in time.
    pub(crate) unsent: u64,
    /// Requests under way when a signal came.
    pub(crate) abandoned: u64,
    /// Answers by status.
    pub(crate) status: BTreeMap<u16, u64>,
    /// Failed requests by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first error of each reason, in words.
    pub(crate) error_examples: BTreeMap<String, String>,
    /// Bytes of bodies, without heads.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Including those of the warm-up.
    pub(crate) connections_opened: u64,
    /// TCP segments retransmitted on connections whose requests were answered: by this end, and by
    /// the servers, as their `Server-Timing` reports; null if none reports it.
    pub(crate) retransmitted_up: u64,
    pub(crate) retransmitted_down: Option<u64>,
    /// All times are in microseconds.
    pub(crate) latency_us: Latency,
    pub(crate) targets: Vec<TargetReport>,
    pub(crate) addresses: Vec<AddressReport>,
    /// The results that this one was merged from; empty for a result that was not merged.
    pub(crate) parts: Vec<Part>,
}

/// Who decides when a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// The rate decides.
    Open,
    /// A connection sends as soon as it has its answer.
    Closed,
}

/// Times of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// From when a request was due to the answer's last byte; null in a closed loop.
    pub(crate) corrected: Option<Times>,
    /// From when it was sent to the answer's last byte, including a new connection.
    pub(crate) service: Times,
    /// From when the request was passed to the open connection to the end of the answer's head.
    pub(crate) first_byte: Times,
    /// The servers' own part of that, as their `Server-Timing` reports; null if none reports it.
    #[serde(default)]
    pub(crate) server: Option<Times>,
    /// The rest of it: the way there and back; null as above.
    #[serde(default)]
    pub(crate) network: Option<Times>,
    /// From the end of the answer's head to its last byte; null in results of older releases.
    #[serde(default)]
    pub(crate) transfer: Option<Times>,
    /// The look-up of the name, the connection and TLS, for new connections.
    pub(crate) connect: Times,
    /// The smoothed round-trip time that this machine's kernel measures, once for each answer.
    pub(crate) round_trip: Times,
}

/// A distribution, in microseconds; all numbers are 0 if it is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The whole distribution, in nanoseconds: an HdrHistogram (V2, compressed, base64).
    pub(crate) histogram_ns: String,
}

/// The share of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetReport {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Corrected in an open loop, service times in a closed one.
    pub(crate) latency_us: Times,
}

/// The share of one address of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddressReport {
    pub(crate) server: String,
    /// With its port.
    pub(crate) address: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Including those of the warm-up.
    pub(crate) connections_opened: u64,
    /// Payload bytes of the largest segment that this end sends to it: the smallest that was seen;
    /// null if no request was answered, and in results of older releases.
    #[serde(default)]
    pub(crate) mss: Option<u32>,
    /// Corrected in an open loop, service times in a closed one.
    pub(crate) latency_us: Times,
}

/// One of the results that were merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) host: String,
    pub(crate) version: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) unsent: u64,
    pub(crate) rate: f64,
    pub(crate) saturated: Option<bool>,
}

/// The facts about a load that are not in a tally.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) start: Timestamp,
    pub(crate) rate: Option<f64>,
    pub(crate) connections: usize,
    pub(crate) keep_alive: bool,
    pub(crate) interrupted: bool,
    pub(crate) sender: Option<Sender>,
    pub(crate) warm_up: Duration,
    /// From the end of the warm-up until nothing more was due.
    pub(crate) lasted: Duration,
    pub(crate) unsent: u64,
}

/// What the shares of a tally belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Methods and URLs.
    pub(crate) targets: Vec<(String, String)>,
    /// Servers and addresses.
    pub(crate) addresses: Vec<(String, String)>,
}

impl Report {
    /// Creates the result from a tally.
    pub(crate) fn new(tally: &Tally, facts: Facts, names: &Names) -> Self {
        let elapsed = tally.last_ended.saturating_sub(facts.warm_up).max(facts.lasted);
        let errors = || tally.faults.iter().map(|(fault, found)| (fault.name().to_owned(), found));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            start: facts.start,
            end: facts.start.saturating_add(facts.warm_up + elapsed).unwrap_or(facts.start),
            mode: if facts.rate.is_some() { Mode::Open } else { Mode::Closed },
            interrupted: facts.interrupted,
            saturated: facts.sender.map(|sender| sender.is_saturated()),
            sender: facts.sender,
            connections: facts.connections,
            keep_alive: facts.keep_alive,
            rate_wanted: facts.rate,
            rate: per_second(tally.requests, elapsed),
            warm_up_s: facts.warm_up.as_secs_f64(),
            elapsed_s: (elapsed.as_secs_f64() * 1e6).round() / 1e6,
            requests: tally.requests,
            ok: tally.requests - tally.failed,
            failed: tally.failed,
            unsent: facts.unsent,
            abandoned: tally.abandoned,
            status: tally.statuses.clone(),
            errors: errors().map(|(name, (count, _))| (name, *count)).collect(),
            error_examples: errors().map(|(name, (_, text))| (name, text.clone())).collect(),
            bytes_sent: tally.sent,
            bytes_received: tally.received,
            connections_opened: tally.connects,
            retransmitted_up: tally.retransmitted_up,
            retransmitted_down: tally.retransmitted_down,
            latency_us: Latency {
                corrected: facts.rate.map(|_| Times::of(&tally.corrected)),
                service: Times::of(&tally.service),
                first_byte: Times::of(&tally.first_byte),
                server: Times::of_any(&tally.server),
                network: Times::of_any(&tally.network),
                transfer: Some(Times::of(&tally.transfer)),
                connect: Times::of(&tally.connect),
                round_trip: Times::of(&tally.round_trip),
            },
            targets: shares(&names.targets, &tally.targets, TargetReport::of),
            addresses: shares(&names.addresses, &tally.addresses, AddressReport::of),
            parts: Vec::new(),
        }
    }
}

impl Latency {
    /// The corrected times of an open loop, the service times of a closed one.
    pub(crate) fn main(&self) -> &Times {
        self.corrected.as_ref().unwrap_or(&self.service)
    }
}

impl Times {
    pub(crate) fn of(times: &Histogram<u64>) -> Self {
        let us = |quantile| hundredths(times.value_at_quantile(quantile) as f64 / 1e3);
        Self {
            count: times.len(),
            mean: hundredths(times.mean() / 1e3),
            min: if times.is_empty() { 0.0 } else { hundredths(times.min() as f64 / 1e3) },
            p50: us(0.5),
            p75: us(0.75),
            p90: us(0.9),
            p95: us(0.95),
            p99: us(0.99),
            p99_9: us(0.999),
            p99_99: us(0.9999),
            max: hundredths(times.max() as f64 / 1e3),
            histogram_ns: histogram::encode(times),
        }
    }

    /// `None` if there are no times.
    fn of_any(times: &Histogram<u64>) -> Option<Self> {
        (!times.is_empty()).then(|| Self::of(times))
    }

    /// The whole distribution.
    ///
    /// # Errors
    ///
    /// A message, if the text is no histogram.
    pub(crate) fn histogram(&self) -> Result<Histogram<u64>, String> {
        histogram::decode(&self.histogram_ns)
    }
}

impl TargetReport {
    fn of((method, url): &(String, String), share: &Share) -> Self {
        Self {
            method: method.clone(),
            url: url.clone(),
            requests: share.requests,
            failed: share.failed,
            latency_us: Times::of(&share.times),
        }
    }
}

impl AddressReport {
    fn of((server, address): &(String, String), share: &Share) -> Self {
        Self {
            server: server.clone(),
            address: address.clone(),
            requests: share.requests,
            failed: share.failed,
            connections_opened: share.connects,
            mss: share.mss,
            latency_us: Times::of(&share.times),
        }
    }
}

/// Requests per second, rounded to hundredths.
pub(crate) fn per_second(requests: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { hundredths(requests as f64 / elapsed.as_secs_f64()) }
}

fn shares<N, R>(names: &[N], shares: &[Share], of: impl Fn(&N, &Share) -> R) -> Vec<R> {
    names.iter().zip(shares).map(|(name, share)| of(name, share)).collect()
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::schedule::Ticket;
    use super::super::tally::Sample;
    use super::*;
    use crate::client::PathFacts;
    use crate::fault::Fault;

    /// A load of 100 requests at 100/s, of 100, 200 ... 10000 us; every tenth fails with a 404.
    pub(crate) fn tally() -> Tally {
        let mut tally = Tally::new(1, 1);
        for number in 0..100 {
            let due = Duration::from_millis(number * 10);
            let failed = number % 10 == 9;
            tally.add(Sample {
                ticket: Ticket { number, due, counts: true },
                target: 0,
                address: 0,
                began: due + Duration::from_micros(50),
                ended: due + Duration::from_micros((number + 1) * 100),
                first_byte: Some(Duration::from_micros(20)),
                transfer: Some(Duration::from_micros(5)),
                connect: (number == 0).then_some(Duration::from_micros(70)),
                path: PathFacts {
                    rtt: Some(Duration::from_micros(15)),
                    mss: Some(if number == 50 { 1400 } else { 1448 }),
                    retransmitted_up: u64::from(number == 0),
                    ..PathFacts::default()
                },
                status: Some(if failed { 404 } else { 200 }),
                sent: 1,
                received: 1024,
                fault: failed.then(|| (Fault::Status, "404, expected 2xx".to_owned())),
            });
        }
        tally
    }

    pub(crate) fn report(rate: Option<f64>) -> Report {
        let facts = Facts {
            start: "2030-01-31T12:00:00Z".parse().unwrap(),
            rate,
            sender: None,
            connections: 4,
            keep_alive: true,
            interrupted: false,
            warm_up: Duration::ZERO,
            lasted: Duration::from_secs(1),
            unsent: 0,
        };
        let names = Names {
            targets: vec![("GET".to_owned(), "http://a/heartbeat/1024".to_owned())],
            addresses: vec![("http://a".to_owned(), "10.0.0.1:80".to_owned())],
        };
        Report::new(&tally(), facts, &names)
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
        assert_eq!(json["retransmitted_up"], 1);
        assert!(json["retransmitted_down"].is_null());
        assert_eq!(json["latency_us"]["round_trip"]["count"], 100);
        assert_eq!(json["latency_us"]["transfer"]["count"], 100);
        assert!(json["latency_us"]["server"].is_null() && json["latency_us"]["network"].is_null());
        let p50 = json["latency_us"]["corrected"]["p50"].as_f64().unwrap();
        assert!((5000.0..5010.0).contains(&p50), "{p50}");
        let service = json["latency_us"]["service"]["p50"].as_f64().unwrap();
        assert!((4950.0..4960.0).contains(&service), "{service}");
        assert_eq!(json["targets"][0]["failed"], 10);
        assert_eq!(json["addresses"][0]["mss"], 1400);
    }

    #[test]
    fn a_closed_loop_has_no_corrected_times() {
        let json = serde_json::to_value(report(None)).unwrap();
        assert!(json["latency_us"]["corrected"].is_null());
        assert!(json["rate_wanted"].is_null());
        assert_eq!(json["latency_us"]["service"]["count"], 100);
    }

    #[test]
    fn a_result_says_who_sent_when_and_how_the_times_were_distributed() {
        let json = serde_json::to_value(report(Some(100.0))).unwrap();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert!(!json["host"].as_str().unwrap().is_empty());
        assert_eq!(json["start"], "2030-01-31T12:00:00Z");
        assert_eq!(json["end"], "2030-01-31T12:00:01Z");
        for times in [
            &json["latency_us"]["corrected"],
            &json["latency_us"]["service"],
            &json["targets"][0]["latency_us"],
            &json["addresses"][0]["latency_us"],
        ] {
            let text = times["histogram_ns"].as_str().unwrap();
            assert_eq!(histogram::decode(text).unwrap().len(), 100);
        }
        assert!(json["saturated"].is_null() && json["sender"].is_null());
    }

    #[test]
    fn a_result_survives_its_text_form() {
        for rate in [None, Some(100.0)] {
            let report = report(rate);
            let text = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        }
    }

    #[test]
    fn a_result_of_an_older_release_has_no_segment_size() {
        let mut json = serde_json::to_value(report(None)).unwrap();
        json["addresses"][0].as_object_mut().unwrap().remove("mss");
        assert_eq!(serde_json::from_value::<Report>(json).unwrap().addresses[0].mss, None);
    }

    #[test]
    fn without_time_the_rate_is_zero() {
        assert_eq!(per_second(5, Duration::ZERO), 0.0);
        assert_eq!(per_second(5, Duration::from_secs(2)), 2.5);
    }
}
