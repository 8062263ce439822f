//! Owns the Prometheus text of a scrape (exposition format 0.0.4): the counters of all workers,
//! summed.

use std::fmt::{Display, Write};
use std::fs;
use std::sync::atomic::Ordering;

use heartbeat_protocol::{Route, Status};

use crate::config::Config;
use crate::observe::end::End;
use crate::observe::metrics::{
    BUCKETS, Counter, Counters, Histogram, MTU_BUCKETS, RTT_BUCKETS, SIZE_CLASSES,
};
use crate::os::sys;
use crate::shared::Shared;

/// The Content-Type of a scrape.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a scrape.
pub(crate) fn render(shared: &Shared) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let workers = &shared.counters;
    info(&mut text, shared);
    requests(&mut text, workers);
    durations(&mut text, workers);
    let mut total = |name: &str, help: &str, of: fn(&Counters) -> &Counter| {
        single(&mut text, name, "counter", help, sum(workers, of));
    };
    total("heartbeat_http_response_body_bytes_total", "Bytes of content sent.", |worker| {
        &worker.response_body_bytes
    });
    total("heartbeat_http_request_body_bytes_total", "Bytes of content received.", |worker| {
        &worker.request_body_bytes
    });
    total("heartbeat_connections_total", "Connections accepted.", |worker| &worker.connections);
    total(
        "heartbeat_log_lines_dropped_total",
        "Access log lines dropped because standard output did not accept them.",
        |worker| &worker.log_lines_dropped,
    );
    if shared.config.tcp_metrics {
        total(
            "heartbeat_tcp_segments_sent_total",
            "TCP segments with payload sent, including retransmissions.",
            |worker| &worker.tcp_segments_sent,
        );
        total(
            "heartbeat_tcp_segments_retransmitted_total",
            "TCP segments retransmitted.",
            |worker| &worker.tcp_segments_retransmitted,
        );
        paths(&mut text, workers);
    }
    ends(&mut text, workers);
    zerocopy(&mut text, workers);
    state(&mut text, shared);
    of_process(&mut text, shared);
    text
}

/// A counter, summed over the workers.
fn sum(workers: &[Counters], of: impl Fn(&Counters) -> &Counter) -> u64 {
    workers.iter().map(|worker| of(worker).value()).sum()
}

/// The gauges of the state at the moment.
fn state(text: &mut String, shared: &Shared) {
    gauge(text, "heartbeat_connections", "Open connections.", shared.all_connections());
    let is_draining = !shared.is_ready.load(Ordering::Relaxed);
    let (name, help) = ("heartbeat_draining", "1 from the moment a drain begins.");
    gauge(text, name, help, u8::from(is_draining));
    gauge(text, "heartbeat_threads", "Worker threads.", shared.counters.len());
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A family with one value, which has no labels.
fn single(text: &mut String, name: &str, kind: &str, help: &str, value: impl Display) {
    family(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: impl Display) {
    single(text, name, "gauge", help, value);
}

fn info(text: &mut String, shared: &Shared) {
    let Config { version, revision, node, zone, .. } = &shared.config;
    let name = "heartbeat_build_info";
    family(text, name, "gauge", "Version and revision of the server.");
    let _ = writeln!(text, "{name}{{version=\"{version}\",revision=\"{revision}\"}} 1");
    let name = "heartbeat_io_info";
    family(text, name, "gauge", "I/O driver and send tier, and the reason for the driver.");
    let (driver, send) = (shared.report.driver.name(), shared.report.send.name());
    let reason = shared.driver_label();
    let _ = writeln!(text, "{name}{{driver=\"{driver}\",send=\"{send}\",reason=\"{reason}\"}} 1");
    if !node.is_empty() || !zone.is_empty() {
        let name = "heartbeat_target_info";
        family(text, name, "gauge", "Node and zone of the server.");
        let _ = writeln!(text, "{name}{{node=\"{node}\",zone=\"{zone}\"}} 1");
    }
}

fn requests(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_http_requests_total";
    family(text, name, "counter", "Requests answered.");
    for route in Route::all() {
        for status in Status::all() {
            let count = sum(workers, |worker| &worker.requests[route.index()][status.index()]);
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
        "Time from the end of a request's head until the kernel has the whole answer.",
    );
    for (class, (_, size)) in SIZE_CLASSES.iter().enumerate() {
        let bounds = BUCKETS.iter().map(|(_, bound)| (*bound).to_string());
        let label = format!("size=\"{size}\"");
        histogram(text, name, &label, bounds, 1e9, workers, |worker| &worker.durations[class]);
    }
}

/// What the kernel knows about the paths of the connections.
fn paths(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_tcp_rtt_seconds";
    family(text, name, "histogram", "Smoothed round-trip times of connections, sampled.");
    let bounds = RTT_BUCKETS.iter().map(|(_, bound)| (*bound).to_string());
    histogram(text, name, "", bounds, 1e9, workers, |worker| &worker.tcp_rtt);
    let name = "heartbeat_tcp_path_mtu_bytes";
    family(text, name, "histogram", "Path MTUs of connections, sampled.");
    let bounds = MTU_BUCKETS.iter().map(u32::to_string);
    histogram(text, name, "", bounds, 1.0, workers, |worker| &worker.tcp_path_mtu);
}

/// Writes a histogram, summed over the workers, if it has counted anything. The sum is divided by
/// `unit`: by 1e9 if it counts nanoseconds and is written in seconds.
fn histogram<const BOUNDS: usize>(
    text: &mut String,
    name: &str,
    label: &str,
    bounds: impl Iterator<Item = String>,
    unit: f64,
    workers: &[Counters],
    of: impl Fn(&Counters) -> &Histogram<BOUNDS>,
) {
    // A worker adds to a bucket first and to the sum second. The sum is read before the buckets, so
    // that they count every value in it.
    let total = sum(workers, |worker| &of(worker).sum) as f64 / unit;
    let comma = if label.is_empty() { "" } else { "," };
    let mut cumulative = 0;
    let mut lines = String::new();
    for (bucket, bound) in bounds.chain(["+Inf".to_string()]).enumerate() {
        cumulative += sum(workers, |worker| &of(worker).buckets[bucket]);
        let _ = writeln!(lines, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {cumulative}");
    }
    if cumulative > 0 {
        let labels = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ =
            write!(text, "{lines}{name}_sum{labels} {total}\n{name}_count{labels} {cumulative}\n");
    }
}

fn ends(text: &mut String, workers: &[Counters]) {
    let name = "heartbeat_connection_ends_total";
    family(text, name, "counter", "Connections that have ended, by reason.");
    for (index, reason) in End::REASONS.iter().enumerate() {
        let count = sum(workers, |worker| &worker.ends[index]);
        if count > 0 {
            let _ = writeln!(text, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }
}

fn zerocopy(text: &mut String, workers: &[Counters]) {
    let copied = sum(workers, |worker| &worker.zerocopy_copied);
    let not_copied = sum(workers, |worker| &worker.zerocopy_not_copied);
    let name = "heartbeat_zerocopy_sends_total";
    family(text, name, "counter", "Zero-copy sends, by whether the kernel had to copy after all.");
    for (label, count) in [("true", copied), ("false", not_copied)] {
        if copied + not_copied > 0 {
            let _ = writeln!(text, "{name}{{copied=\"{label}\"}} {count}");
        }
    }
}

/// The metrics that every Prometheus client library exports, under the names that they have there.
fn of_process(text: &mut String, shared: &Shared) {
    let (name, help) =
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
    single(text, name, "counter", help, sys::time_of(sys::Clock::ProcessCpu).as_secs_f64());
    if let Some((virtual_bytes, resident_bytes)) = memory_bytes() {
        let name = "process_resident_memory_bytes";
        gauge(text, name, "Resident memory size in bytes.", resident_bytes);
        let name = "process_virtual_memory_bytes";
        gauge(text, name, "Virtual memory size in bytes.", virtual_bytes);
    }
    if let Some(descriptors) = open_descriptors() {
        let name = "process_open_fds";
        gauge(text, name, "Number of open file descriptors.", descriptors);
    }
    let name = "process_max_fds";
    gauge(text, name, "Maximum number of open file descriptors.", shared.limits.descriptors);
    let name = "process_start_time_seconds";
    let help = "Start time of the process since unix epoch in seconds.";
    gauge(text, name, help, shared.started.unix_seconds());
}

/// Virtual and resident memory (proc_pid_statm(5)).
fn memory_bytes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').map(str::parse::<u64>);
    let page_bytes = sys::page_bytes();
    Some((pages.next()?.ok()? * page_bytes, pages.next()?.ok()? * page_bytes))
}

/// Open descriptors. Linux 6.2 and later report their number as the size of the directory. Counting
/// its entries would hold up an event loop with ten thousand connections for milliseconds.
fn open_descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use heartbeat_protocol::{Route, Status};

    use super::*;
    use crate::observe::exchange::Exchange;

    #[test]
    fn only_size_classes_that_were_answered_are_written() {
        let counters = Counters::default();
        for (bytes, duration_ns) in [(1025, 10_001), (1 << 30, u64::MAX / 2)] {
            let exchange = Exchange {
                route: Route::Heartbeat,
                status: Status::Ok,
                started: Instant::now(),
                remote: [127, 0, 0, 1].into(),
                payload_bytes: Some(bytes),
                bytes_out: bytes,
                bytes_in: 0,
            };
            counters.note_answer(&exchange, Duration::from_nanos(duration_ns));
        }
        let mut text = String::new();
        durations(&mut text, &[counters]);
        assert!(text.contains("_bucket{size=\"64k\",le=\"1e-05\"} 0\n"), "{text}");
        assert!(text.contains("_bucket{size=\"64k\",le=\"0.0001\"} 1\n"), "{text}");
        assert!(text.contains("_count{size=\"1g\"} 1\n"), "{text}");
        assert!(!text.contains("1m"), "{text}");
    }
}
