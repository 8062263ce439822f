//! Owns what is measured: the names of the figures, and how each is written.

use std::collections::BTreeMap;

/// Answers a second.
pub const RATE: &str = "requests_per_second";
/// User and system time of all of the server's processes per answer, microseconds.
pub const CPU: &str = "cpu_us_per_request";
/// The server's CPU time divided by the elapsed time. Near 1, the server was the limit.
pub const SERVER_BUSY: &str = "server_busy";
/// The time that the server's threads waited for a CPU divided by the elapsed time. It is above 0
/// if other threads had the CPU.
pub const SERVER_WAITED: &str = "server_waited";
/// The client's CPU time divided by the elapsed time.
pub const CLIENT_BUSY: &str = "client_busy";
/// From the first request to the last answer, seconds.
pub const ELAPSED: &str = "seconds";
/// Median latency, microseconds.
pub const P50: &str = "latency_p50_us";
/// The latency that one answer in a hundred exceeds, microseconds.
pub const P99: &str = "latency_p99_us";
/// The latency that one answer in a thousand exceeds, microseconds.
pub const P999: &str = "latency_p999_us";
/// Resident memory of all of the server's processes, mebibytes.
pub const RESIDENT: &str = "resident_mib";
/// How much resident memory has grown by a load, mebibytes.
pub const RESIDENT_GROWTH: &str = "resident_growth_mib";
/// Resident memory at the peak of a load, mebibytes.
pub const RESIDENT_PEAK: &str = "resident_peak_mib";
/// Resident memory per idle connection, bytes.
pub const CONNECTION_BYTES: &str = "bytes_per_connection";
/// From the start of the process to the first answer, milliseconds.
pub const START: &str = "start_ms";
/// The busiest thread's share of the CPU time of all threads.
pub const BUSIEST: &str = "busiest_share";

/// The figures of one measurement, by their names.
pub type Figures = BTreeMap<String, f64>;

/// How a figure is written: its heading in a table, its digits after the point, and its name at an
/// axis.
pub fn heading(figure: &str) -> (&'static str, usize, &'static str) {
    match figure {
        RATE => ("requests/s", 0, "answers per second"),
        CPU => ("CPU us/request", 2, "server CPU time per request (us)"),
        SERVER_BUSY => ("server busy", 2, "server CPU time by elapsed time"),
        SERVER_WAITED => ("server waited", 2, "server's wait for a CPU by elapsed time"),
        CLIENT_BUSY => ("client busy", 2, "client CPU time by elapsed time"),
        ELAPSED => ("seconds", 3, "elapsed time (s)"),
        P50 => ("p50 us", 1, "median latency (us)"),
        P99 => ("p99 us", 1, "99th percentile of latency (us)"),
        P999 => ("p99.9 us", 1, "99.9th percentile of latency (us)"),
        RESIDENT => ("resident MiB", 2, "resident memory (MiB)"),
        RESIDENT_GROWTH => ("growth MiB", 2, "growth of resident memory (MiB)"),
        RESIDENT_PEAK => ("peak MiB", 2, "resident memory at the peak (MiB)"),
        CONNECTION_BYTES => ("bytes/connection", 0, "resident memory per connection (bytes)"),
        START => ("start ms", 2, "start to first answer (ms)"),
        BUSIEST => ("busiest thread", 2, "share of CPU time of the busiest thread"),
        _ => ("other", 2, "other"),
    }
}
