//! Owns the counters of each worker and their Prometheus text (exposition format 0.0.4).
//!
//! A worker writes its own counters and nobody else's: plain loads and stores, no contended cache
//! line. A scrape sums them, on whichever worker it arrives.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use heartbeat_protocol::{Route, Status};

use crate::send_ring::ZeroCopyCounts;
use crate::session::End;
use crate::sys;
use crate::worker::Process;

/// The Content-Type of a scrape.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the duration buckets: one per decade, because every bucket of every size class
/// is a series on every node.
const BUCKETS: [(Duration, &str); 7] = [
    (Duration::from_micros(10), "1e-05"),
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(10), "10"),
];

/// Size classes of answers: a payload belongs to the first one that holds it.
const SIZE_CLASSES: [(u64, &str); 5] =
    [(1 << 10, "1k"), (64 << 10, "64k"), (1 << 20, "1m"), (64 << 20, "64m"), (1 << 30, "1g")];

/// A number that one worker writes and any may read.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, amount: u64) {
        // Only the owner writes: no read-modify-write is needed.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations of one size class.
#[derive(Debug, Default)]
struct Histogram {
    /// Not cumulative; the last one is above every bound.
    buckets: [Counter; BUCKETS.len() + 1],
    sum_ns: Counter,
}

/// The counters of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    requests: [[Counter; Status::ALL.len()]; Route::ALL.len()],
    durations: [Histogram; SIZE_CLASSES.len()],
    response_body_bytes: Counter,
    request_body_bytes: Counter,
    connections: Counter,
    ends: [Counter; End::REASONS.len()],
    log_lines_dropped: Counter,
    zerocopy_copied: Counter,
    zerocopy_not_copied: Counter,
}

/// An answered request, as metrics see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) route: Route,
    pub(crate) status: Status,
    /// The payload that was sent, where the answer was one.
    pub(crate) payload_bytes: Option<u64>,
    pub(crate) response_body_bytes: u64,
    pub(crate) request_body_bytes: u64,
    pub(crate) duration_ns: u64,
}

impl Counters {
    pub(crate) fn note_answer(&self, answered: &Answered) {
        self.requests[answered.route.index()][answered.status.index()].add(1);
        self.response_body_bytes.add(answered.response_body_bytes);
        self.request_body_bytes.add(answered.request_body_bytes);
        let Some(bytes) = answered.payload_bytes else { return };
        let class = SIZE_CLASSES.iter().position(|(bound, _)| bytes <= *bound);
        let histogram = &self.durations[class.unwrap_or(SIZE_CLASSES.len() - 1)];
        let within = |(bound, _): &(Duration, _)| answered.duration_ns <= bound.as_nanos() as u64;
        let bucket = BUCKETS.iter().position(within).unwrap_or(BUCKETS.len());
        histogram.buckets[bucket].add(1);
        histogram.sum_ns.add(answered.duration_ns);
    }

    pub(crate) fn note_connection(&self) {
        self.connections.add(1);
    }

    pub(crate) fn note_end(&self, end: End) {
        self.ends[end.reason_index()].add(1);
    }

    pub(crate) fn note_dropped_log_lines(&self, lines: u64) {
        self.log_lines_dropped.add(lines);
    }

    pub(crate) fn set_zerocopy(&self, counts: ZeroCopyCounts) {
        self.zerocopy_copied.set(counts.copied);
        self.zerocopy_not_copied.set(counts.not_copied);
    }
}

#[cfg(test)]
impl Counters {
    /// Requests answered, of all routes and codes.
    pub(crate) fn answers(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::value).sum()
    }
}

/// The text of a scrape.
pub(crate) fn render(process: &Process) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let workers = &process.counters;
    let sum = |counter: &dyn Fn(&Counters) -> &Counter| {
        workers.iter().map(|worker| counter(worker).value()).sum::<u64>()
    };
    info(&mut text, process);
    requests(&mut text, workers);
    durations(&mut text, workers);
    let mut total = |name: &str, help: &str, value: u64| {
        family(&mut text, name, "counter", help);
        let _ = writeln!(text, "{name} {value}");
    };
    total(
        "heartbeat_http_response_body_bytes_total",
        "Bytes of content sent.",
        sum(&|worker| &worker.response_body_bytes),
    );
    total(
        "heartbeat_http_request_body_bytes_total",
        "Bytes of content received.",
        sum(&|worker| &worker.request_body_bytes),
    );
    total(
        "heartbeat_connections_total",
        "Connections accepted.",
        sum(&|worker| &worker.connections),
    );
    total(
        "heartbeat_log_lines_dropped_total",
        "Access log lines that standard output did not take.",
        sum(&|worker| &worker.log_lines_dropped),
    );
    ends(&mut text, workers);
    zerocopy(
        &mut text,
        sum(&|worker| &worker.zerocopy_copied),
        sum(&|worker| &worker.zerocopy_not_copied),
    );
    gauge(
        &mut text,
        "heartbeat_connections",
        "Connections at the moment.",
        process.connections.load(Ordering::Relaxed) as f64,
    );
    let is_draining = !process.ready.load(Ordering::Relaxed);
    gauge(
        &mut text,
        "heartbeat_draining",
        "1 from the moment a drain begins.",
        f64::from(u8::from(is_draining)),
    );
    gauge(&mut text, "heartbeat_threads", "Worker threads.", workers.len() as f64);
    of_process(&mut text, process);
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: f64) {
    family(text, name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

fn info(text: &mut String, process: &Process) {
    let config = &process.config;
    family(text, "heartbeat_build_info", "gauge", "What is running.");
    let _ = writeln!(
        text,
        "heartbeat_build_info{{version=\"{}\",revision=\"{}\"}} 1",
        config.version, config.revision
    );
    family(text, "heartbeat_io_info", "gauge", "What it runs on, and why.");
    let _ = writeln!(
        text,
        "heartbeat_io_info{{driver=\"{}\",send=\"{}\",reason=\"{}\"}} 1",
        process.driver, process.send, process.driver_label
    );
}

fn requests(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_http_requests_total";
    family(text, name, "counter", "Requests answered.");
    for route in Route::ALL {
        for status in Status::ALL {
            let count: u64 = workers
                .iter()
                .map(|worker| worker.requests[route.index()][status.index()].value())
                .sum();
            if count > 0 {
                let (route, code) = (route.name(), status.code());
                let _ = writeln!(text, "{name}{{route=\"{route}\",code=\"{code}\"}} {count}");
            }
        }
    }
}

fn durations(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_http_request_duration_seconds";
    family(
        text,
        name,
        "histogram",
        "From a request's head to the last byte of its payload handed to the kernel.",
    );
    for (class, (_, size)) in SIZE_CLASSES.iter().enumerate() {
        let sum = |counter: &dyn Fn(&Histogram) -> &Counter| {
            workers.iter().map(|worker| counter(&worker.durations[class]).value()).sum::<u64>()
        };
        // Read before the buckets, so that +Inf is no less than they are.
        let sum_ns = sum(&|histogram| &histogram.sum_ns);
        let mut cumulative = 0;
        let mut lines = String::new();
        let bounds = BUCKETS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        for (bucket, bound) in bounds.enumerate() {
            cumulative += sum(&|histogram| &histogram.buckets[bucket]);
            let _ = writeln!(lines, "{name}_bucket{{size=\"{size}\",le=\"{bound}\"}} {cumulative}");
        }
        if cumulative > 0 {
            let seconds = sum_ns as f64 / 1e9;
            let _ = write!(
                text,
                "{lines}{name}_sum{{size=\"{size}\"}} {seconds}\n\
                 {name}_count{{size=\"{size}\"}} {cumulative}\n"
            );
        }
    }
}

fn ends(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_connection_ends_total";
    family(text, name, "counter", "Connections that are over, by what ended them.");
    for (index, reason) in End::REASONS.iter().enumerate() {
        let count: u64 = workers.iter().map(|worker| worker.ends[index].value()).sum();
        if count > 0 {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }
}

fn zerocopy(text: &mut String, copied: u64, not_copied: u64) {
    let name = "heartbeat_zerocopy_sends_total";
    family(text, name, "counter", "Zero-copy sends, by whether the kernel had to copy after all.");
    for (label, count) in [("true", copied), ("false", not_copied)] {
        if copied + not_copied > 0 {
            let _ = writeln!(text, "{name}{{copied=\"{label}\"}} {count}");
        }
    }
}

/// The metrics that every Prometheus client library gives, by their names.
fn of_process(text: &mut String, process: &Process) {
    let name = "process_cpu_seconds_total";
    family(text, name, "counter", "Total user and system CPU time spent in seconds.");
    let _ = writeln!(text, "{name} {}", sys::process_cpu_time().as_secs_f64());
    if let Some((virtual_bytes, resident_bytes)) = memory_bytes() {
        let name = "process_resident_memory_bytes";
        gauge(text, name, "Resident memory size in bytes.", resident_bytes as f64);
        let name = "process_virtual_memory_bytes";
        gauge(text, name, "Virtual memory size in bytes.", virtual_bytes as f64);
    }
    if let Some(descriptors) = open_descriptors() {
        let name = "process_open_fds";
        gauge(text, name, "Number of open file descriptors.", descriptors as f64);
    }
    let name = "process_max_fds";
    gauge(text, name, "Maximum number of open file descriptors.", process.descriptors as f64);
    let name = "process_start_time_seconds";
    gauge(
        text,
        name,
        "Start time of the process since unix epoch in seconds.",
        process.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
    );
}

/// Virtual and resident memory (proc_pid_statm(5)).
fn memory_bytes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').map(str::parse::<u64>);
    let page_bytes = sys::page_bytes();
    Some((pages.next()?.ok()? * page_bytes, pages.next()?.ok()? * page_bytes))
}

/// Open descriptors: Linux 6.2 tells their number as the size of the directory. Counting its
/// entries would hold up a loop with ten thousand connections for milliseconds.
fn open_descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_they_are() {
        for (bound, label) in BUCKETS {
            assert_eq!(label.parse::<f64>().unwrap(), bound.as_secs_f64());
        }
    }

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let counters = Counters::default();
        let answered = |payload_bytes, duration_ns| Answered {
            route: Route::Heartbeat,
            status: Status::Ok,
            payload_bytes: Some(payload_bytes),
            response_body_bytes: payload_bytes,
            request_body_bytes: 0,
            duration_ns,
        };
        counters.note_answer(&answered(1024, 10_000));
        counters.note_answer(&answered(1025, 10_001));
        counters.note_answer(&answered(1 << 30, u64::MAX / 2));
        assert_eq!(counters.durations[0].buckets[0].value(), 1);
        assert_eq!(counters.durations[1].buckets[1].value(), 1);
        assert_eq!(counters.durations[4].buckets[BUCKETS.len()].value(), 1);
        let mut text = String::new();
        durations(&mut text, &[counters]);
        assert!(text.contains("_bucket{size=\"64k\",le=\"1e-05\"} 0\n"), "{text}");
        assert!(text.contains("_bucket{size=\"64k\",le=\"0.0001\"} 1\n"), "{text}");
        assert!(text.contains("_count{size=\"1g\"} 1\n"), "{text}");
        assert!(!text.contains("1m"), "{text}");
    }
}
