//! Writes a result as Markdown, for the summary of a step in CI.

use std::fmt::Write;

use super::figures::micros;
use super::report::{Report, Times};
use super::verdict::{self, Verdict};

/// The whole file.
pub(crate) fn page(report: &Report, verdicts: &[Verdict]) -> String {
    let is_good = verdicts.iter().all(|verdict| verdict.failure.is_none());
    let mut page = format!("### Load: {}\n\n", if is_good { "passed" } else { "failed" });
    let wanted = report.rate_wanted.map(|rate| format!(" of {rate}/s wanted")).unwrap_or_default();
    let _ = writeln!(
        page,
        "{} requests in {:.2} s ({}/s{wanted}), {} failed, {} unsent, {} connections, from `{}`, \
         {}\n",
        report.requests,
        report.elapsed_s,
        report.rate,
        report.failed,
        report.unsent,
        report.connections,
        cell(&report.host),
        report.start.strftime("%Y-%m-%d %H:%M:%S UTC"),
    );
    if let Some(warning) = verdict::saturation(report) {
        let _ = writeln!(page, "**Warning:** {warning}\n");
    }
    let _ = writeln!(page, "| | verdict | |\n| --- | --- | --- |");
    for verdict in verdicts {
        let sign = if verdict.failure.is_none() { "passed" } else { "**failed**" };
        let why = verdict.failure.as_deref().unwrap_or_default();
        let _ = writeln!(page, "| `{}` | {sign} | {} |", cell(&verdict.name), cell(why));
    }
    let _ = writeln!(page, "\n| | p50 | p90 | p99 | p99.9 | max | mean | count |");
    let _ = writeln!(page, "| --- |{}", " ---: |".repeat(7));
    let latency = &report.latency_us;
    if let Some(corrected) = &latency.corrected {
        times_row(&mut page, "latency", corrected);
    }
    times_row(&mut page, "service time", &latency.service);
    times_row(&mut page, "first byte", &latency.first_byte);
    times_row(&mut page, "connect", &latency.connect);
    shares(&mut page, report);
    page
}

fn times_row(page: &mut String, name: &str, times: &Times) {
    if times.count == 0 {
        return;
    }
    let _ = write!(page, "| {name} |");
    for time in [times.p50, times.p90, times.p99, times.p99_9, times.max, times.mean] {
        let _ = write!(page, " {} |", micros(time));
    }
    let _ = writeln!(page, " {} |", times.count);
}

/// Writes a table of the targets and one of the addresses, if there are several.
fn shares(page: &mut String, report: &Report) {
    let targets = report.targets.iter().map(|target| {
        let name = format!("{} {}", target.method, target.url);
        (name, target.requests, target.failed, &target.latency_us)
    });
    let addresses = report.addresses.iter().map(|address| {
        let name = format!("{} {}", address.server, address.address);
        (name, address.requests, address.failed, &address.latency_us)
    });
    for (title, rows) in [("target", targets.collect::<Vec<_>>()), ("address", addresses.collect())]
    {
        if rows.len() < 2 {
            continue;
        }
        let _ = writeln!(page, "\n| {title} | requests | failed | p50 | p99 | max |");
        let _ = writeln!(page, "| --- |{}", " ---: |".repeat(5));
        for (name, requests, failed, times) in rows {
            let (p50, p99, max) = (micros(times.p50), micros(times.p99), micros(times.max));
            let name = cell(&name);
            let _ = writeln!(page, "| `{name}` | {requests} | {failed} | {p50} | {p99} | {max} |");
        }
    }
}

/// Replaces the characters that would end a cell, a row or the code format.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::super::condition::Condition;
    use super::super::report::tests::report;
    use super::super::verdict::verdicts;
    use super::*;

    #[test]
    fn the_page_shows_the_verdict_the_reason_and_the_times() {
        let mut report = report(Some(100.0));
        report.targets.push(report.targets[0].clone());
        report.targets[1].url = "http://a/x|y`z".to_owned();
        let condition = Condition::parse("p99>5ms").unwrap();
        let text = page(&report, &verdicts(&report, &[condition]));
        for part in [
            "### Load: failed",
            "100 requests in 1.00 s (100/s of 100/s wanted), 10 failed, 0 unsent",
            "| `--fail-if p99>5ms` | **failed** | p99 is ",
            "| `every request was sent` | passed |  |",
            "| latency | 5.00 ms |",
            "| `GET http://a/x\\|y'z` | 100 | 10 |",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        report.failed = 0;
        assert!(page(&report, &verdicts(&report, &[])).starts_with("### Load: passed"));
    }
}
