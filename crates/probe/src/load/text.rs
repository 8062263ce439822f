//! Owns how the result of a load reads: the table, the histogram, and the progress line.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::chart;
use super::report::{Report, Times};

/// Columns of the table of times.
const COLUMNS: [&str; 7] = ["p50", "p90", "p99", "p99.9", "max", "mean", "count"];
/// A longer URL is cut: the table stays a table.
const URL_CHARS_MAX: usize = 60;

/// The whole result, with the distribution that its histogram is drawn of.
pub(crate) fn render(report: &Report, times: &Histogram<u64>) -> String {
    let mut text = String::new();
    counts(&mut text, report);
    times_table(&mut text, report);
    if report.targets.len() > 1 {
        targets_table(&mut text, report);
    }
    if !times.is_empty() {
        let of = if report.rate_wanted.is_some() { "latency" } else { "service time" };
        let _ = write!(text, "\n  histogram of the {of}\n{}", chart::draw(times));
    }
    text
}

/// What the last second was like.
pub(crate) fn progress(elapsed_s: f64, rate: f64, times: &Times, failed: u64, all: u64) -> String {
    let (p50, p99) = (micros(times.p50), micros(times.p99));
    format!("{elapsed_s:6.1} s  {rate:9.1}/s  p50 {p50:>8}  p99 {p99:>8}  errors {failed} of {all}")
}

/// A time that is given in microseconds, in the unit that suits it.
pub(crate) fn micros(us: f64) -> String {
    let (value, unit) = match us {
        0.0..1e3 => (us, "us"),
        1e3..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    match value {
        0.0..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A size in binary units.
pub(crate) fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

fn counts(text: &mut String, report: &Report) {
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<13}{value}");
    };
    if report.interrupted {
        line("interrupted", "ended by a signal; what was measured until then:".to_owned());
    }
    let wanted = match report.rate_wanted {
        Some(rate) => format!(", wanted {rate}/s"),
        None => " as fast as the answers came".to_owned(),
    };
    line(
        "requests",
        format!("{} in {:.2} s: {:.1}/s{wanted}", report.requests, report.elapsed_s, report.rate),
    );
    let status = report.status.iter().map(|(status, count)| format!("{status}: {count}"));
    line("status", list(status, "no answers"));
    let errors = report.errors.iter().map(|(name, count)| format!("{name}: {count}"));
    line("errors", list(errors, "none"));
    for (name, example) in &report.error_examples {
        line("", format!("{name}: {example}"));
    }
    if report.unsent > 0 {
        let unsent = format!(
            "{}: they were due and no connection came free in time; the latency below lacks them",
            report.unsent
        );
        line("unsent", unsent);
    }
    if report.abandoned > 0 {
        line("abandoned", format!("{}: on their way when the signal came", report.abandoned));
    }
    let elapsed = report.elapsed_s.max(f64::MIN_POSITIVE);
    let flow =
        |count: u64| format!("{} ({}/s)", bytes(count as f64), bytes(count as f64 / elapsed));
    line("received", flow(report.bytes_received));
    if report.bytes_sent > 0 {
        line("sent", flow(report.bytes_sent));
    }
    let reused = if report.keep_alive { "" } else { ", a new one for each request" };
    let (at_once, opened) = (report.connections, report.connections_opened);
    line("connections", format!("{at_once} at a time, {opened} opened{reused}"));
}

fn times_table(text: &mut String, report: &Report) {
    let latency = &report.latency_us;
    let _ = write!(text, "\n  {:<13}", "");
    for column in COLUMNS {
        let _ = write!(text, "{column:>10}");
    }
    text.push('\n');
    if let Some(corrected) = &latency.corrected {
        times_row(text, "latency", corrected);
    }
    times_row(text, "service time", &latency.service);
    times_row(text, "first byte", &latency.first_byte);
    times_row(text, "connect", &latency.connect);
    if latency.corrected.is_some() {
        text.push_str(
            "  latency counts from when a request was due, service time from when it was sent\n",
        );
    }
}

fn times_row(text: &mut String, name: &str, times: &Times) {
    if times.count == 0 {
        return;
    }
    let _ = write!(text, "  {name:<13}");
    for time in [times.p50, times.p90, times.p99, times.p99_9, times.max, times.mean] {
        let _ = write!(text, "{:>10}", micros(time));
    }
    let _ = writeln!(text, "{:>10}", times.count);
}

fn targets_table(text: &mut String, report: &Report) {
    let columns = ["requests", "failed", "p50", "p99", "max"];
    text.push_str("\n  ");
    for column in columns {
        let _ = write!(text, "{column:>10}");
    }
    text.push('\n');
    for target in &report.targets {
        let times = &target.latency_us;
        let _ = write!(text, "  {:>10}{:>10}", target.requests, target.failed);
        for time in [times.p50, times.p99, times.max] {
            let _ = write!(text, "{:>10}", micros(time));
        }
        let _ = writeln!(text, "  {} {}", target.method, cut(&target.url));
    }
}

fn list(items: impl Iterator<Item = String>, nothing: &str) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { nothing.to_owned() } else { items.join(", ") }
}

/// The end of a URL tells more than its begin.
fn cut(url: &str) -> String {
    let chars = url.chars().count();
    if chars <= URL_CHARS_MAX {
        return url.to_owned();
    }
    let end: String = url.chars().skip(chars - URL_CHARS_MAX + 3).collect();
    format!("...{end}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{report, tally};
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_suits() {
        for (us, expected) in [
            (0.0, "0.00 us"),
            (9.5, "9.50 us"),
            (87.25, "87.2 us"),
            (999.0, "999 us"),
            (1000.0, "1.00 ms"),
            (204_800.0, "205 ms"),
            (1_500_000.0, "1.50 s"),
            (3.6e9, "3600 s"),
        ] {
            assert_eq!(micros(us), expected);
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (count, expected) in [
            (17.0, "17 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KB"),
            (1_048_576.0, "1.0 MB"),
            (157_286_400.0, "150 MB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn an_open_loop_shows_both_times_and_says_what_they_are() {
        let text = render(&report(Some(100.0)), &tally().corrected);
        for part in [
            "requests     100 in 1.00 s: 100.0/s, wanted 100/s",
            "status       200: 90, 404: 10",
            "errors       status: 10",
            "status: 404, expected 2xx",
            "received     100 KB (100 KB/s)",
            "connections  4 at a time, 1 opened",
            "latency         5.00 ms",
            "service time    4.95 ms",
            "histogram of the latency",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn a_closed_loop_shows_service_times_alone() {
        let text = render(&report(None), &tally().service);
        assert!(text.contains("as fast as the answers came"), "{text}");
        assert!(!text.contains("  latency  "), "{text}");
        assert!(text.contains("histogram of the service time"), "{text}");
    }

    #[test]
    fn a_load_without_answers_still_has_a_result() {
        let mut report = report(None);
        report.status.clear();
        report.interrupted = true;
        report.unsent = 5;
        report.abandoned = 2;
        let empty = Histogram::new(1).unwrap();
        let text = render(&report, &empty);
        for part in ["no answers", "ended by a signal", "unsent       5", "abandoned    2"] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("histogram"));
    }

    #[test]
    fn a_long_url_keeps_its_end() {
        let url = format!("http://{}/heartbeat/17", "a".repeat(80));
        assert_eq!(cut(&url).chars().count(), URL_CHARS_MAX);
        assert!(cut(&url).ends_with("/heartbeat/17"));
        assert_eq!(cut("http://a/1"), "http://a/1");
    }
}
