//! Adds results: sums and largest values, and checks what must be the same.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::load::report::{AddressReport, Latency, Part, Report, TargetReport, Times, per_second};
use crate::load::sender::Sender;

/// Loads whose starts are further apart than this share of their time did not run together.
const SPREAD_SHARE: f64 = 0.05;

/// Combines all `results` into one.
///
/// # Errors
///
/// A sentence that says why not: there is no result, only some have a rate, or a histogram is
/// invalid.
pub(super) fn combine(results: &[Report]) -> Result<Report, String> {
    let Some((first, others)) = results.split_first() else {
        return Err("there is no result to merge".to_owned());
    };
    if others.is_empty() {
        return Ok(first.clone());
    }
    if results.iter().any(|one| one.mode != first.mode) {
        return Err("one result has a rate and another has none: they cannot be added".to_owned());
    }
    let sum = |of: fn(&Report) -> u64| results.iter().map(of).sum::<u64>();
    let window = Window::of(results);
    let requests = sum(|one| one.requests);
    let rates: Vec<_> = results.iter().filter_map(|one| one.rate_wanted).collect();
    let saturated = results.iter().filter_map(|one| one.saturated);
    let told = results.iter().filter_map(|one| one.retransmitted_down);
    Ok(Report {
        version: listed(results.iter().map(|one| one.version.as_str())),
        host: listed(results.iter().map(|one| one.host.as_str())),
        start: window.start,
        end: window.end,
        mode: first.mode,
        interrupted: results.iter().any(|one| one.interrupted),
        saturated: saturated.reduce(|one, other| one || other),
        sender: sender(results),
        connections: results.iter().map(|one| one.connections).sum(),
        keep_alive: results.iter().all(|one| one.keep_alive),
        rate_wanted: (!rates.is_empty()).then(|| rates.iter().sum()),
        rate: per_second(requests, window.measured()),
        warm_up_s: seconds(window.measured_from, window.start),
        elapsed_s: window.measured().as_secs_f64(),
        requests,
        ok: sum(|one| one.ok),
        failed: sum(|one| one.failed),
        unsent: sum(|one| one.unsent),
        abandoned: sum(|one| one.abandoned),
        status: counts(results.iter().map(|one| &one.status)),
        errors: counts(results.iter().map(|one| &one.errors)),
        error_examples: examples(results),
        bytes_sent: sum(|one| one.bytes_sent),
        bytes_received: sum(|one| one.bytes_received),
        connections_opened: sum(|one| one.connections_opened),
        retransmitted_up: sum(|one| one.retransmitted_up),
        retransmitted_down: told.reduce(|one, other| one + other),
        latency_us: latency(results)?,
        targets: targets(results)?,
        addresses: addresses(results)?,
        parts: results.iter().flat_map(parts).collect(),
    })
}

/// A warning if the merged loads did not run together: the sum of their rates was never sent at one
/// time.
pub(super) fn spread(merged: &Report) -> Option<String> {
    let first = merged.parts.iter().map(|part| part.start).min()?;
    let last = merged.parts.iter().map(|part| part.start).max()?;
    let apart = seconds(last, first);
    (apart > merged.elapsed_s * SPREAD_SHARE).then(|| {
        format!(
            "the loads began {apart:.3} s apart: the rate is that of the whole time, from the \
             first begin to the last end; --start-at lets them begin together"
        )
    })
}

/// The time that all results cover together.
struct Window {
    start: Timestamp,
    measured_from: Timestamp,
    end: Timestamp,
}

impl Window {
    fn of(results: &[Report]) -> Self {
        let start = results.iter().map(|one| one.start).min().unwrap_or_default();
        let end = results.iter().map(|one| one.end).max().unwrap_or_default();
        let measured_from = results.iter().map(measured_from).min().unwrap_or_default();
        Self { start, measured_from, end }
    }

    fn measured(&self) -> Duration {
        Duration::try_from(self.end.duration_since(self.measured_from)).unwrap_or_default()
    }
}

/// A file may contain any number as its warm-up; one that is no time counts as 0.
fn measured_from(report: &Report) -> Timestamp {
    let warm_up = Duration::try_from_secs_f64(report.warm_up_s).unwrap_or_default();
    report.start.checked_add(warm_up).unwrap_or(report.start)
}

fn seconds(later: Timestamp, earlier: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64()
}

/// Each text once, in the order of their first appearance. A merged result already lists several.
fn listed<'r>(texts: impl Iterator<Item = &'r str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for text in texts.flat_map(|text| text.split(", ")) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all.join(", ")
}

fn sender(results: &[Report]) -> Option<Sender> {
    let senders = results.iter().filter_map(|one| one.sender);
    senders.reduce(|one, other| Sender {
        running_s: one.running_s + other.running_s,
        waiting_s: one.waiting_s + other.waiting_s,
        waiting_share: one.waiting_share.max(other.waiting_share),
        busy_share: one.busy_share.max(other.busy_share),
    })
}

fn counts<'r, K: Clone + Ord + 'r>(
    maps: impl Iterator<Item = &'r BTreeMap<K, u64>>,
) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, count) in maps.flatten() {
        *sums.entry(key.clone()).or_default() += count;
    }
    sums
}

fn examples(results: &[Report]) -> BTreeMap<String, String> {
    let all = results.iter().rev().flat_map(|one| &one.error_examples);
    all.map(|(name, text)| (name.clone(), text.clone())).collect()
}

fn latency(results: &[Report]) -> Result<Latency, String> {
    let all = |of: fn(&Latency) -> &Times| {
        added(results.iter().map(|one| of(&one.latency_us))).map_err(|why| why.to_string())
    };
    let any = |of: fn(&Latency) -> Option<&Times>| {
        let some: Vec<_> = results.iter().filter_map(|one| of(&one.latency_us)).collect();
        if some.is_empty() { Ok(None) } else { added(some.into_iter()).map(Some) }
    };
    Ok(Latency {
        corrected: any(|one| one.corrected.as_ref())?,
        service: all(|one| &one.service)?,
        first_byte: all(|one| &one.first_byte)?,
        server: any(|one| one.server.as_ref())?,
        network: any(|one| one.network.as_ref())?,
        transfer: any(|one| one.transfer.as_ref())?,
        connect: all(|one| &one.connect)?,
        round_trip: all(|one| &one.round_trip)?,
    })
}

fn targets(results: &[Report]) -> Result<Vec<TargetReport>, String> {
    let all = results.iter().flat_map(|one| &one.targets);
    let same = |one: &TargetReport| (one.method.clone(), one.url.clone());
    grouped(all, same)
        .into_iter()
        .map(|group| {
            Ok(TargetReport {
                requests: group.iter().map(|one| one.requests).sum(),
                failed: group.iter().map(|one| one.failed).sum(),
                latency_us: added(group.iter().map(|one| &one.latency_us))?,
                ..group[0].clone()
            })
        })
        .collect()
}

fn addresses(results: &[Report]) -> Result<Vec<AddressReport>, String> {
    let all = results.iter().flat_map(|one| &one.addresses);
    let same = |one: &AddressReport| (one.server.clone(), one.address.clone());
    grouped(all, same)
        .into_iter()
        .map(|group| {
            Ok(AddressReport {
                requests: group.iter().map(|one| one.requests).sum(),
                failed: group.iter().map(|one| one.failed).sum(),
                connections_opened: group.iter().map(|one| one.connections_opened).sum(),
                mss: group.iter().filter_map(|one| one.mss).min(),
                latency_us: added(group.iter().map(|one| &one.latency_us))?,
                ..group[0].clone()
            })
        })
        .collect()
}

/// Groups of items with the same key, in the order of their first appearance; no group is empty.
fn grouped<'r, T, K: PartialEq>(
    items: impl Iterator<Item = &'r T>,
    key: impl Fn(&T) -> K,
) -> Vec<Vec<&'r T>> {
    let mut groups: Vec<(K, Vec<&T>)> = Vec::new();
    for item in items {
        let of_item = key(item);
        match groups.iter_mut().find(|(known, _)| *known == of_item) {
            Some((_, group)) => group.push(item),
            None => groups.push((of_item, vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The distribution of all times together.
fn added<'r>(times: impl Iterator<Item = &'r Times>) -> Result<Times, String> {
    let mut sum = None;
    for one in times {
        let histogram = one.histogram()?;
        match &mut sum {
            None => sum = Some(histogram),
            Some(sum) => sum.add(&histogram).map_err(|error| error.to_string())?,
        }
    }
    sum.map(|sum| Times::of(&sum)).ok_or_else(|| "there are no times to merge".to_owned())
}

fn parts(report: &Report) -> Vec<Part> {
    if !report.parts.is_empty() {
        return report.parts.clone();
    }
    vec![Part {
        host: report.host.clone(),
        version: report.version.clone(),
        start: report.start,
        end: report.end,
        requests: report.requests,
        failed: report.failed,
        unsent: report.unsent,
        rate: report.rate,
        saturated: report.saturated,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::report;

    fn of(host: &str, rate: Option<f64>, delay_ms: i64) -> Report {
        let mut report = report(rate);
        let delay = jiff::SignedDuration::from_millis(delay_ms);
        report.host = host.to_owned();
        report.start += delay;
        report.end += delay;
        report.addresses[0].address = format!("10.0.0.{}:80", host.len());
        report
    }

    #[test]
    fn counts_are_added_and_so_are_rates_over_the_same_time() {
        let merged = combine(&[of("a", Some(100.0), 0), of("b", Some(100.0), 0)]).unwrap();
        assert_eq!((merged.requests, merged.ok, merged.failed), (200, 180, 20));
        assert_eq!((merged.rate, merged.rate_wanted), (200.0, Some(200.0)));
        assert_eq!((merged.connections, merged.connections_opened), (8, 2));
        assert_eq!((merged.retransmitted_up, merged.retransmitted_down), (2, None));
        assert_eq!(merged.latency_us.round_trip.count, 200);
        assert_eq!(merged.latency_us.transfer.as_ref().map(|times| times.count), Some(200));
        assert_eq!(merged.latency_us.server, None);
        assert_eq!(merged.status, BTreeMap::from([(200, 180), (404, 20)]));
        assert_eq!(merged.errors, BTreeMap::from([("status".to_owned(), 20)]));
        assert_eq!(merged.elapsed_s, 1.0);
        assert_eq!((merged.host.as_str(), merged.parts.len()), ("a, b", 2));
        assert_eq!((merged.targets.len(), merged.targets[0].requests), (1, 200));
        assert_eq!(spread(&merged), None);
    }

    #[test]
    fn a_server_that_reports_no_retransmissions_adds_none() {
        let merged = |told: [Option<u64>; 2]| {
            combine(&told.map(|told| Report { retransmitted_down: told, ..of("a", None, 0) }))
        };
        for (told, expected) in
            [([None, None], None), ([Some(2), None], Some(2)), ([Some(2), Some(3)], Some(5))]
        {
            assert_eq!(merged(told).unwrap().retransmitted_down, expected);
        }
    }

    #[test]
    fn the_smallest_segment_size_of_an_address_stays() {
        let merged = |sizes: [Option<u32>; 3]| {
            let one = |mss| {
                let mut one = of("a", None, 0);
                one.addresses[0].mss = mss;
                one
            };
            combine(&sizes.map(one)).unwrap().addresses[0].mss
        };
        assert_eq!(merged([Some(1448), Some(1400), Some(1460)]), Some(1400));
        assert_eq!(merged([None, Some(1448), None]), Some(1448));
        assert_eq!(merged([None; 3]), None);
    }

    #[test]
    fn percentiles_are_those_of_all_times_together() {
        let slow = {
            let mut slow = of("bb", Some(100.0), 0);
            let mut times = slow.latency_us.service.histogram().unwrap();
            times.reset();
            times.record_n(1_000_000_000, 100).unwrap();
            slow.latency_us.corrected = Some(Times::of(&times));
            slow
        };
        // 100 us to 10 ms, and as many of one second.
        let merged = combine(&[of("a", Some(100.0), 0), slow]).unwrap();
        let times = merged.latency_us.corrected.unwrap();
        assert_eq!(times.count, 200);
        assert!((times.p50 / 10_000.0 - 1.0).abs() < 0.001, "{times:?}");
        assert!((times.p75 / 1_000_000.0 - 1.0).abs() < 0.001, "{times:?}");
        assert_eq!(merged.addresses.len(), 2);
    }

    #[test]
    fn the_time_of_a_merged_load_is_from_the_first_start_to_the_last_end() {
        let mut early = of("a", None, 0);
        early.warm_up_s = 0.5;
        early.end += Duration::from_millis(500);
        let merged = combine(&[early, of("b", None, 2000)]).unwrap();
        assert_eq!((merged.warm_up_s, merged.elapsed_s), (0.5, 2.5));
        assert_eq!(merged.rate, 80.0);
        let warning = spread(&merged).unwrap();
        assert!(warning.contains("began 2.000 s apart") && warning.contains("--start-at"));
    }

    #[test]
    fn a_start_within_a_twentieth_of_the_time_counts_as_together() {
        let merged = |delay| combine(&[of("a", None, 0), of("b", None, delay)]).unwrap();
        assert_eq!(spread(&merged(50)), None);
        assert!(spread(&merged(60)).is_some());
    }

    #[test]
    fn merging_a_merged_result_is_the_same_as_merging_its_parts() {
        let all = [of("a", None, 0), of("bb", None, 10), of("ccc", None, 20)];
        let at_once = combine(&all).unwrap();
        let [a, b, c] = all;
        let in_steps = combine(&[combine(&[a, b]).unwrap(), c.clone()]).unwrap();
        assert_eq!(in_steps, at_once);
        assert_eq!(combine(std::slice::from_ref(&c)).unwrap(), c);
    }

    #[test]
    fn one_saturated_machine_makes_the_merged_result_saturated() {
        let mut results = [of("a", None, 0), of("b", None, 0)];
        assert_eq!(combine(&results).unwrap().saturated, None);
        results[0].saturated = Some(false);
        assert_eq!(combine(&results).unwrap().saturated, Some(false));
        results[1].saturated = Some(true);
        results[1].sender =
            Some(Sender { running_s: 1.0, waiting_s: 2.0, waiting_share: 0.6, busy_share: 0.95 });
        let merged = combine(&results).unwrap();
        assert_eq!((merged.saturated, merged.sender), (Some(true), results[1].sender));
    }

    #[test]
    fn results_that_cannot_be_added_are_rejected() {
        assert!(combine(&[]).unwrap_err().contains("no result"));
        let mixed = [of("a", None, 0), of("b", Some(1.0), 0)];
        assert!(combine(&mixed).unwrap_err().contains("cannot be added"));
        let mut broken = [of("a", None, 0), of("b", None, 0)];
        broken[1].latency_us.connect.histogram_ns = "?".to_owned();
        assert!(combine(&broken).unwrap_err().contains("no HdrHistogram"));
    }
}
