//! Writes the result of a load as text: the counts, the tables, the histogram.

use std::fmt::Write;
use std::os::fd::AsFd;

use super::chart;
use super::figures::{bytes, micros};
use super::report::{AddressReport, Report, TargetReport, Times};
use super::table::{Column, Row, table, wrapped};

/// Columns of a page or a pipe, and of a terminal whose width is unknown.
pub(crate) const WIDTH: usize = 80;
/// A narrower terminal gets lines of this length.
const WIDTH_MIN: usize = 40;
/// A wider terminal does not get longer lines, because they are hard to read.
const WIDTH_MAX: usize = 100;
/// The width of the names before the values of the counts.
const NAME_WIDTH: usize = 15;

/// Columns of the table of times; those with the highest rank are left out first.
const TIMES: [Column; 8] = [
    Column { title: "", rank: 0 },
    Column { title: "p50", rank: 0 },
    Column { title: "p90", rank: 3 },
    Column { title: "p99", rank: 0 },
    Column { title: "p99.9", rank: 2 },
    Column { title: "max", rank: 1 },
    Column { title: "mean", rank: 4 },
    Column { title: "count", rank: 5 },
];
/// The same for the tables of targets, addresses and parts.
const SHARES: [Column; 5] = [
    Column { title: "requests", rank: 0 },
    Column { title: "failed", rank: 0 },
    Column { title: "p50", rank: 2 },
    Column { title: "p99", rank: 1 },
    Column { title: "max", rank: 3 },
];
const PARTS: [Column; 5] = [
    Column { title: "requests", rank: 0 },
    Column { title: "failed", rank: 0 },
    Column { title: "rate", rank: 1 },
    Column { title: "started", rank: 2 },
    Column { title: "saturated", rank: 3 },
];

/// The whole result, in lines of at most `width` characters.
pub(crate) fn render(report: &Report, width: usize) -> String {
    let mut text = String::new();
    counts(&mut text, width, report);
    times_table(&mut text, width, report);
    if report.targets.len() > 1 {
        let rows: Vec<_> = report.targets.iter().map(target_row).collect();
        text.push('\n');
        table(&mut text, width, &SHARES, &rows);
    }
    if report.addresses.len() > 1 {
        let rows: Vec<_> = report.addresses.iter().map(address_row).collect();
        text.push('\n');
        table(&mut text, width, &SHARES, &rows);
    }
    if report.parts.len() > 1 {
        parts_table(&mut text, width, report);
    }
    let times = report.latency_us.main().histogram();
    if let Some(times) = times.ok().filter(|times| !times.is_empty()) {
        let of = if report.latency_us.corrected.is_some() { "latency" } else { "service time" };
        let _ = write!(text, "\n  histogram of the {of}\n{}", chart::draw(&times, width));
    }
    text
}

/// The columns of a terminal, limited to a readable width; [`WIDTH`] for everything else.
pub(crate) fn width(output: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(output);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { WIDTH } else { columns.clamp(WIDTH_MIN, WIDTH_MAX) }
}

fn counts(text: &mut String, width: usize, report: &Report) {
    let mut line = |name: &str, value: String| {
        let _ = write!(text, "  {name:<13}");
        wrapped(text, width, NAME_WIDTH, &value);
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
        line("abandoned", format!("{}: under way when the signal came", report.abandoned));
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
    let (up, down) = (report.retransmitted_up, report.retransmitted_down);
    if up + down.unwrap_or(0) > 0 {
        let down = down.map(|count| format!(", {count} by the servers")).unwrap_or_default();
        line("sent again", format!("{up} TCP segments by this end{down}"));
    }
    if report.parts.len() > 1 {
        line("merged", format!("{} results of {}", report.parts.len(), report.host));
    }
}

fn times_table(text: &mut String, width: usize, report: &Report) {
    let latency = &report.latency_us;
    let rows = [
        ("latency", latency.corrected.as_ref()),
        ("service time", Some(&latency.service)),
        ("first byte", Some(&latency.first_byte)),
        ("= server", latency.server.as_ref()),
        ("+ network", latency.network.as_ref()),
        ("connect", Some(&latency.connect)),
    ];
    let rows = rows.into_iter().filter_map(|(name, times)| times_row(name, times?));
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    text.push('\n');
    table(text, width, &TIMES, &rows);
    if latency.corrected.is_some() {
        text.push_str("  ");
        let words =
            "latency counts from when a request was due, service time from when it was sent";
        wrapped(text, width, 2, words);
    }
}

fn times_row(name: &str, times: &Times) -> Option<Row> {
    let mut cells = vec![name.to_owned()];
    let all = [times.p50, times.p90, times.p99, times.p99_9, times.max, times.mean];
    cells.extend(all.map(micros));
    cells.push(times.count.to_string());
    (times.count > 0).then_some(Row { cells, tail: None })
}

fn target_row(target: &TargetReport) -> Row {
    let name = format!("{} {}", target.method, target.url);
    share_row(target.requests, target.failed, &target.latency_us, name)
}

fn address_row(address: &AddressReport) -> Row {
    let name = format!("{} at {}", address.server, address.address);
    share_row(address.requests, address.failed, &address.latency_us, name)
}

fn share_row(requests: u64, failed: u64, times: &Times, name: String) -> Row {
    let mut cells = vec![requests.to_string(), failed.to_string()];
    cells.extend([times.p50, times.p99, times.max].map(micros));
    Row { cells, tail: Some(name) }
}

fn parts_table(text: &mut String, width: usize, report: &Report) {
    let row = |part: &super::report::Part| {
        let later = part.start.duration_since(report.start).as_secs_f64();
        let saturated = match part.saturated {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let cells = vec![
            part.requests.to_string(),
            part.failed.to_string(),
            format!("{:.1}/s", part.rate),
            format!("+{later:.3} s"),
            saturated.to_owned(),
        ];
        Row { cells, tail: Some(part.host.clone()) }
    };
    text.push('\n');
    table(text, width, &PARTS, &report.parts.iter().map(row).collect::<Vec<_>>());
}

fn list(items: impl Iterator<Item = String>, nothing: &str) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { nothing.to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::super::report::Part;
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn an_open_loop_shows_both_times_and_explains_them() {
        let text = render(&report(Some(100.0)), WIDTH);
        for part in [
            "requests     100 in 1.00 s: 100.0/s, wanted 100/s",
            "status       200: 90, 404: 10",
            "errors       status: 10",
            "status: 404, expected 2xx",
            "received     100 KB (100 KB/s)",
            "connections  4 at a time, 1 opened",
            "sent again   1 TCP segments by this end\n",
            "latency       5.00 ms",
            "service time  4.95 ms",
            "histogram of the latency",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn retransmitted_segments_are_shown_only_if_there_are_any() {
        let mut report = report(None);
        report.retransmitted_down = Some(2);
        let text = render(&report, WIDTH);
        assert!(text.contains("1 TCP segments by this end, 2 by the servers\n"), "{text}");
        report.retransmitted_up = 0;
        assert!(render(&report, WIDTH).contains("0 TCP segments by this end, 2 by"));
        report.retransmitted_down = Some(0);
        assert!(!render(&report, WIDTH).contains("sent again"));
    }

    #[test]
    fn a_closed_loop_shows_only_service_times() {
        let text = render(&report(None), WIDTH);
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
        let nothing = Times::of(&Histogram::new(1).unwrap());
        report.latency_us.service = nothing.clone();
        report.latency_us.first_byte = nothing.clone();
        report.latency_us.connect = nothing;
        let text = render(&report, WIDTH);
        for part in ["no answers", "ended by a signal", "unsent       5", "abandoned    2"] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("histogram") && !text.contains("p99"));
    }

    #[test]
    fn no_line_is_longer_than_80_columns_or_than_a_narrow_terminal() {
        let mut report = report(Some(100.0));
        report.unsent = 1_000_000;
        let url = format!("http://{}/heartbeat/17", "a".repeat(90));
        report.error_examples.insert("connect".to_owned(), format!("({url}) refused"));
        report.targets.push(report.targets[0].clone());
        report.targets[1].url = url.clone();
        report.addresses.push(report.addresses[0].clone());
        report.addresses[1].server = url;
        let part = |host: &str| Part {
            host: host.to_owned(),
            version: report.version.clone(),
            start: report.start,
            end: report.end,
            requests: 100,
            failed: 0,
            unsent: 0,
            rate: 100.0,
            saturated: Some(false),
        };
        report.parts = vec![part("load-0"), part(&"b".repeat(63))];
        report.host = format!("load-0, {}", "b".repeat(63));
        for width in WIDTH_MIN..=WIDTH_MAX {
            let text = render(&report, width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}\n{text}");
            }
            assert!(text.contains("p99") && text.contains("load-0"), "{text}");
        }
    }

    #[test]
    fn an_output_that_is_no_terminal_has_80_columns() {
        assert_eq!(width(std::fs::File::open("/dev/null").unwrap()), WIDTH);
    }
}
