//! Owns the tables.

use std::collections::BTreeMap;

use crate::figure::{CROSSING, P50, Regime, heading};
use crate::results::{Case, Results, Row, ScenarioResult};
use crate::statistics::{Spread, spread};
use crate::targets::{Bound, LATENCIES, LATENCY_FIGURE, Verdict, verdicts};

/// All results on one page; `plots` by the names of their scenarios.
pub fn page(results: &Results, heartbeats: &[String], plots: &BTreeMap<String, String>) -> String {
    let machine = &results.machine;
    let mut lines = vec![
        "# Measured".to_owned(),
        String::new(),
        format!(
            "{}, {} CPUs ({}), congestion control {}.",
            machine.kernel, machine.cpus, machine.cpu, machine.congestion_control
        ),
        String::new(),
        "```".to_owned(),
        results.command.clone(),
        "```".to_owned(),
        String::new(),
        regimes_found(results),
        String::new(),
    ];
    let versions = results.versions.iter().map(|(name, version)| format!("- {name}: {version}"));
    lines.extend(versions);
    lines.extend(results.missing.iter().map(|line| format!("- not measured: {line}")));
    lines.push(String::new());
    lines.push(targets_table(results, heartbeats));
    for scenario in &results.scenarios {
        lines.push(format!("## {}: {}\n", scenario.name, scenario.title));
        if let Some(plot) = plots.get(&scenario.name) {
            lines.push(format!("![{}]({plot})\n", scenario.title));
        }
        lines.push(scenario_table(scenario));
    }
    lines.join("\n")
}

fn regimes_found(results: &Results) -> String {
    let rows = || results.scenarios.iter().flat_map(|s| &s.cases).flat_map(|case| &case.rows);
    let told: Vec<String> = Regime::ALL
        .into_iter()
        .filter_map(|regime| {
            let samples = rows().flat_map(|row| &row.samples).filter(|s| s.regime == regime);
            let spread = spread(samples.filter_map(|s| s.figures.get(CROSSING).copied()))?;
            let name = regime.name();
            Some(format!("{name}: {} ns", range(&spread, 0)))
        })
        .collect();
    format!(
        "A cache line to the client's CPU and back took, {}. Medians are of one regime, with \
         what they lie between.",
        told.join("; ")
    )
}

/// Every target and its verdict.
pub fn targets_table(results: &Results, heartbeats: &[String]) -> String {
    let mut out = String::from(
        "## Targets\n\n\
         The reference (the Go program) is stood in for by `go`, a net/http server that answers \
         the same way.\n\n\
         | what | server | CPUs | figure | beside | ratio | target | verdict |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for verdict in verdicts(results, heartbeats) {
        out += &verdict_line(&verdict);
    }
    for (scenario, label) in LATENCIES {
        let Some(case) = results.case(scenario, label) else { continue };
        for server in heartbeats {
            out += &latency_lines(scenario, case, server);
        }
    }
    out
}

fn verdict_line(verdict: &Verdict) -> String {
    let (beside, ratio) = match &verdict.theirs {
        Some((name, figure)) => (format!("{name} {}", short(*figure)), short(verdict.judged)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let target = match verdict.bound {
        Bound::AtMost(limit) => format!("<= {}", short(limit)),
        Bound::AtLeast(limit) => format!(">= {}", short(limit)),
    };
    format!(
        "| {} | {} | {} | {} | {beside} | {ratio} | {target} | {} |\n",
        verdict.what,
        verdict.server,
        verdict.regime.name(),
        short(verdict.ours),
        if verdict.bound.is_met(verdict.judged) { "met" } else { "**not met**" },
    )
}

/// Latency, which has no target, beside nginx.
fn latency_lines(scenario: &str, case: &Case, server: &str) -> String {
    let mut out = String::new();
    for regime in Regime::ALL {
        for figure in [P50, LATENCY_FIGURE] {
            let of = |name: &str| case.row(name)?.figure(figure, regime).map(|s| s.median);
            if let (Some(ours), Some(theirs)) = (of(server), of("nginx")) {
                out += &format!(
                    "| {scenario}, {}: {} | {server} | {} | {} | nginx {} | {} | - | - |\n",
                    case.label,
                    heading(figure).0,
                    regime.name(),
                    short(ours),
                    short(theirs),
                    short(ours / theirs),
                );
            }
        }
    }
    out
}

/// The figures of one scenario: a line for each server, case and regime; the first column also as
/// a ratio to the first server.
pub fn scenario_table(scenario: &ScenarioResult) -> String {
    let with_cases = scenario.cases.iter().any(|case| !case.label.is_empty());
    let regimes: Vec<Regime> = Regime::ALL
        .into_iter()
        .filter(|&regime| scenario.cases.iter().flat_map(|c| &c.rows).any(|row| row.has(regime)))
        .collect();
    let mut head = vec!["server".to_owned(), "CPUs".to_owned(), "rounds".to_owned()];
    if with_cases {
        head.insert(0, "case".to_owned());
    }
    for (index, column) in scenario.columns.iter().enumerate() {
        head.push(heading(column).0.to_owned());
        if index == 0 {
            head.push("by first".to_owned());
        }
    }
    let mut out = table_line(&head);
    out += &table_line(&vec!["---".to_owned(); head.len()]);
    for case in &scenario.cases {
        for &regime in &regimes {
            for row in case.rows.iter().filter(|row| row.has(regime)) {
                let mut cells = row_cells(case, row, regime, &scenario.columns);
                if with_cases {
                    cells.insert(0, case.label.clone());
                }
                out += &table_line(&cells);
            }
        }
        for row in &case.rows {
            if let Some(why) = &row.failure {
                out += &format!("\n{} {}: failed: {why}\n", row.server, case.label);
            }
        }
    }
    out
}

fn row_cells(case: &Case, row: &Row, regime: Regime, columns: &[String]) -> Vec<String> {
    let samples = row.samples.iter().filter(|sample| sample.regime == regime).count();
    let mut cells = vec![row.server.clone(), regime.name().to_owned(), samples.to_string()];
    for (index, column) in columns.iter().enumerate() {
        let (_, digits) = heading(column);
        let figure = row.figure(column, regime);
        cells.push(figure.map_or("-".to_owned(), |spread| range(&spread, digits)));
        if index == 0 {
            let first = case.rows.first().and_then(|first| first.figure(column, regime));
            cells.push(match (figure, first) {
                (Some(figure), Some(first)) if first.median > 0.0 => {
                    format!("{:.2}", figure.median / first.median)
                }
                _ => "-".to_owned(),
            });
        }
    }
    cells
}

fn table_line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A median with what it lies between, where that is more than one number.
fn range(spread: &Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
}

/// Three digits, or all of a larger number.
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
    use crate::figure::{CPU, Figures, Sample};

    fn row(server: &str, regime: Regime, values: &[f64]) -> Row {
        let sample =
            |&value: &f64| Sample { regime, figures: Figures::from([(CPU.to_owned(), value)]) };
        let samples = values.iter().map(sample).collect();
        Row { server: server.to_owned(), samples, failure: None }
    }

    fn scenario(rows: Vec<Row>) -> ScenarioResult {
        ScenarioResult {
            name: "x".to_owned(),
            title: String::new(),
            columns: vec![CPU.to_owned()],
            cases: vec![Case { label: String::new(), rows }],
        }
    }

    #[test]
    fn a_table_has_a_line_per_server_and_regime_with_the_ratio_to_the_first() {
        let rows = vec![
            row("a", Regime::Near, &[2.0, 4.0, 3.0]),
            row("b", Regime::Near, &[6.0]),
            row("c", Regime::Far, &[9.0]),
        ];
        let text = scenario_table(&scenario(rows));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "| server | CPUs | rounds | CPU us/request | by first |",
                "| --- | --- | --- | --- | --- |",
                "| a | near | 3 | 3.00 (2.00..4.00) | 1.00 |",
                "| b | near | 1 | 6.00 | 2.00 |",
                "| c | far | 1 | 9.00 | - |",
            ]
        );
    }

    #[test]
    fn what_failed_is_told_below() {
        let mut failed = row("a", Regime::Near, &[]);
        failed.failure = Some("it does not listen".to_owned());
        assert!(scenario_table(&scenario(vec![failed])).contains("a : failed: it does not listen"));
    }

    #[test]
    fn a_verdict_tells_both_figures_the_ratio_and_the_bound() {
        let verdict = Verdict {
            what: "w".to_owned(),
            server: "a".to_owned(),
            regime: Regime::Near,
            ours: 1.8,
            theirs: Some(("nginx".to_owned(), 3.0)),
            judged: 0.6,
            bound: Bound::AtMost(0.7),
        };
        let line = "| w | a | near | 1.80 | nginx 3.00 | 0.60 | <= 0.70 | met |\n";
        assert_eq!(verdict_line(&verdict), line);
        let missed = Verdict { judged: 0.71, ..verdict };
        assert!(verdict_line(&missed).ends_with("| **not met** |\n"));
    }
}
