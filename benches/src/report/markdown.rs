//! Owns the page of results and its tables, in Markdown.

use std::collections::BTreeMap;

use crate::figure::heading;
use crate::peer::Peer;
use crate::results::{Case, Results, Row, ScenarioResult};
use crate::statistics::Spread;
use crate::targets::{Bound, Verdict, unjudged, verdicts};

/// All results on one page. `plots` has the files of plots by the names of their scenarios.
pub fn page(results: &Results, peers: &[Peer], plots: &BTreeMap<String, String>) -> String {
    let machine = &results.machine;
    let mut lines = vec![
        "# Measured".to_owned(),
        String::new(),
        format!(
            "{}, {} CPUs ({}), congestion control {}.",
            machine.kernel, machine.cpus, machine.cpu, machine.congestion_control
        ),
    ];
    lines.extend(results.note.clone());
    lines.push(String::new());
    lines.push(
        "A figure is the median of its rounds, with the quartiles behind it. A ratio is taken \
         within each round, whose measurements are neighbours in time; its median decides. \
         *Within noise* means that the bound lies between the quartiles."
            .to_owned(),
    );
    lines.push(String::new());
    let versions = results.versions.iter().map(|(name, version)| format!("- {name}: {version}"));
    lines.extend(versions);
    lines.extend(results.missing.iter().map(|line| format!("- {line}")));
    lines.push(String::new());
    lines.push(targets_table(results, peers));
    let not_measured = unjudged(results, peers);
    if !not_measured.is_empty() {
        let named: Vec<String> =
            not_measured.iter().map(|(what, server)| format!("{what} ({server})")).collect();
        lines.push(format!("Not measured: {}.\n", named.join("; ")));
    }
    for scenario in &results.scenarios {
        lines.push(format!("## {}: {}\n", scenario.name, scenario.title));
        lines.push(format!("`{}`\n", scenario.command));
        if let Some(plot) = plots.get(&scenario.name) {
            lines.push(format!("![{}]({plot})\n", scenario.title));
        }
        lines.push(scenario_table(scenario));
    }
    lines.join("\n")
}

/// Every target and its verdict.
pub fn targets_table(results: &Results, peers: &[Peer]) -> String {
    let mut out = String::from(
        "## Targets\n\n\
         The reference (the Go program) is stood in for by `go`, a net/http server that answers \
         the same way.\n\n\
         | what | server | figure | beside | ratio or difference | target | verdict |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for verdict in verdicts(results, peers) {
        out += &verdict_line(&verdict);
    }
    out
}

fn verdict_line(verdict: &Verdict) -> String {
    let (figure, beside, ratio) = match &verdict.theirs {
        Some((name, theirs)) => (
            short(verdict.ours.median),
            format!("{name} {}", short(theirs.median)),
            range(&verdict.judged, 2),
        ),
        None => (short_range(&verdict.judged), "-".to_owned(), "-".to_owned()),
    };
    let target = match verdict.bound {
        Bound::AtMost(limit) => format!("<= {}", short(limit)),
        Bound::AtLeast(limit) => format!(">= {}", short(limit)),
    };
    let met = if verdict.is_met() { "met" } else { "**not met**" };
    let noise = if verdict.is_within_noise() { ", within noise" } else { "" };
    format!(
        "| {} | {} | {figure} | {beside} | {ratio} | {target} | {met}{noise} |\n",
        verdict.what, verdict.server,
    )
}

/// The figures of one scenario: a line for each server and case. The first figure is also given as
/// a ratio to that of the first server.
pub fn scenario_table(scenario: &ScenarioResult) -> String {
    let with_cases = scenario.cases.iter().any(|case| !case.label.is_empty());
    let mut head = vec!["server".to_owned(), "rounds".to_owned()];
    if with_cases {
        head.insert(0, "case".to_owned());
    }
    for (index, column) in scenario.columns.iter().enumerate() {
        head.push(heading(column).0.to_owned());
        if index == 0 {
            head.push("ratio to first".to_owned());
        }
    }
    let mut out = table_line(&head);
    out += &table_line(&vec!["---".to_owned(); head.len()]);
    let mut failures = String::new();
    for case in &scenario.cases {
        for row in &case.rows {
            if !row.rounds.is_empty() {
                let mut cells = row_cells(case, row, &scenario.columns);
                if with_cases {
                    cells.insert(0, case.label.clone());
                }
                out += &table_line(&cells);
            }
            if let Some(why) = &row.failure {
                failures += &format!("\n{} {}: failed: {why}\n", row.server, case.label);
            }
        }
    }
    out + &failures
}

fn row_cells(case: &Case, row: &Row, columns: &[String]) -> Vec<String> {
    let mut cells = vec![row.server.clone(), row.rounds.len().to_string()];
    for (index, column) in columns.iter().enumerate() {
        let digits = heading(column).1;
        let figure = row.figure(column);
        cells.push(figure.map_or("-".to_owned(), |spread| range(&spread, digits)));
        if index == 0 {
            let first = case.rows.first();
            let ratio =
                first.and_then(|first| row.paired(first, column, |here, there| here / there));
            cells.push(ratio.map_or("-".to_owned(), |spread| range(&spread, 2)));
        }
    }
    cells
}

fn table_line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A median, with its quartiles if they differ. From 1000 on there are no digits after the point.
fn range(spread: &Spread, digits: usize) -> String {
    let digits = if spread.median >= 1000.0 { 0 } else { digits };
    let [lower, median, upper] =
        [spread.lower, spread.median, spread.upper].map(|number| format!("{number:.digits$}"));
    if lower == upper { median } else { format!("{median} ({lower}..{upper})") }
}

/// The same with the digits of [`short`].
fn short_range(spread: &Spread) -> String {
    let [lower, median, upper] = [spread.lower, spread.median, spread.upper].map(short);
    if lower == upper { median } else { format!("{median} ({lower}..{upper})") }
}

/// A number with three digits, or with all digits before the point if there are more.
fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{CPU, Figures};

    fn row(server: &str, values: &[f64]) -> Row {
        let round = |&value: &f64| Figures::from([(CPU.to_owned(), value)]);
        let rounds = values.iter().map(round).collect();
        Row { server: server.to_owned(), rounds, failure: None }
    }

    fn scenario(rows: Vec<Row>) -> ScenarioResult {
        ScenarioResult {
            name: "x".to_owned(),
            title: String::new(),
            axis: String::new(),
            command: String::new(),
            columns: vec![CPU.to_owned()],
            cases: vec![Case { label: String::new(), rows }],
        }
    }

    #[test]
    fn a_table_has_a_line_per_server_with_the_paired_ratio_to_the_first() {
        let rows = vec![row("a", &[2.0, 4.0, 8.0]), row("b", &[6.0, 4.0, 16.0])];
        let text = scenario_table(&scenario(rows));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "| server | rounds | CPU us/request | ratio to first |",
                "| --- | --- | --- | --- |",
                "| a | 3 | 4.00 (3.00..6.00) | 1.00 |",
                "| b | 3 | 6.00 (5.00..11.00) | 2.00 (1.50..2.50) |",
            ]
        );
    }

    #[test]
    fn thousands_have_no_digits_after_the_point() {
        let even = |number| Spread { lower: number, median: number, upper: number };
        assert_eq!(range(&even(999.25), 2), "999.25");
        assert_eq!(range(&even(1000.25), 2), "1000");
    }

    #[test]
    fn failures_are_listed_below_the_table() {
        let mut failed = row("a", &[]);
        failed.failure = Some("it does not listen".to_owned());
        let text = scenario_table(&scenario(vec![failed]));
        assert!(text.ends_with("\na : failed: it does not listen\n"), "{text}");
    }

    #[test]
    fn a_verdict_has_both_figures_the_ratio_and_the_bound() {
        let even = |number| Spread { lower: number, median: number, upper: number };
        let verdict = Verdict {
            what: "w".to_owned(),
            server: "a".to_owned(),
            ours: even(1.8),
            theirs: Some(("nginx".to_owned(), even(3.0))),
            judged: Spread { lower: 0.5, median: 0.6, upper: 0.7 },
            bound: Bound::AtMost(0.7),
        };
        let line = "| w | a | 1.80 | nginx 3.00 | 0.60 (0.50..0.70) | <= 0.70 | met |\n";
        assert_eq!(verdict_line(&verdict), line);
        let near = Verdict { bound: Bound::AtMost(0.65), ..verdict.clone() };
        assert!(verdict_line(&near).ends_with("| <= 0.65 | met, within noise |\n"));
        let missed = Verdict { bound: Bound::AtMost(0.55), ..verdict.clone() };
        assert!(verdict_line(&missed).ends_with("| **not met**, within noise |\n"));
        let clearly = Verdict { bound: Bound::AtLeast(0.71), ..verdict };
        assert!(verdict_line(&clearly).ends_with("| **not met** |\n"));
    }
}
