//! Owns the targets of the contract: each is a figure of Heartbeat, alone or beside another's, and
//! what it has to be.

use crate::figure::{
    CONNECTION_BYTES, CPU, ELAPSED, P999, RATE, RESIDENT, RESIDENT_GROWTH, Regime, START,
};
use crate::peer::LOGGING;
use crate::results::Results;
use Bound::{AtLeast, AtMost};

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// Nothing: the figure itself has its bound.
    Itself,
    /// The same figure of another server: the quotient has its bound.
    Server(&'static str),
    /// The same figure of the same Heartbeat with its access log: that by this has its bound.
    Logging,
    /// The same figure in another case: the difference has its bound.
    Case(&'static str),
}

/// One line of the contract.
pub struct Target {
    /// What is asked.
    pub what: &'static str,
    /// Where it is measured.
    pub scenario: &'static str,
    /// And in which case.
    pub case: &'static str,
    /// Which figure.
    pub figure: &'static str,
    /// Beside what.
    pub against: Against,
    /// What it has to be.
    pub bound: Bound,
}

const MIB: f64 = 1024.0 * 1024.0;

const fn beside(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    server: &'static str,
    bound: Bound,
) -> Target {
    Target { what, scenario, case: "", figure, against: Against::Server(server), bound }
}

const fn alone(
    what: &'static str,
    scenario: &'static str,
    case: &'static str,
    figure: &'static str,
    bound: Bound,
) -> Target {
    Target { what, scenario, case, figure, against: Against::Itself, bound }
}

/// The measured targets, in the contract's order.
pub const TARGETS: &[Target] = &[
    beside("17 B: CPU per request", "17b-c64", CPU, "floor", AtMost(1.05)),
    beside("17 B: CPU per request", "17b-c64", CPU, "nginx", AtMost(0.70)),
    beside("17 B: CPU per request", "17b-c64", CPU, "go", AtMost(0.45)),
    beside("1 KB: CPU per request", "1k-c64", CPU, "floor", AtMost(1.05)),
    beside("1 KB: CPU per request", "1k-c64", CPU, "nginx", AtMost(0.70)),
    beside("1 KB: CPU per request", "1k-c64", CPU, "go", AtMost(0.45)),
    beside("64 KB: CPU per request", "64k-discard", CPU, "nginx", AtMost(0.80)),
    beside("1 MB, read: CPU per request", "1m-read", CPU, "nginx", AtMost(1.0)),
    beside("1 MB, discarded: CPU per request", "1m-discard", CPU, "nginx", AtMost(1.0)),
    alone("1 MB, discarded: answers a second", "1m-discard", "", RATE, AtLeast(10_000.0)),
    alone("1 GB: seconds", "1g", "", ELAPSED, AtMost(0.4)),
    alone("1 GB: growth of resident memory, MiB", "1g", "", RESIDENT_GROWTH, AtMost(0.1)),
    beside(
        "pipelined 16 deep, 17 B: answers a second",
        "pipelined-16",
        RATE,
        "nginx",
        AtLeast(3.0),
    ),
    beside("upload of 1 GB: CPU", "upload-1g", CPU, "nginx", AtMost(0.5)),
    Target {
        what: "access log to a file: answers a second",
        scenario: "log-on",
        case: "",
        figure: RATE,
        against: Against::Logging,
        bound: AtLeast(0.9),
    },
    alone("idle, 1 worker: resident MiB", "memory", "idle, 1 worker", RESIDENT, AtMost(2.0)),
    Target {
        what: "a second worker: resident MiB",
        scenario: "memory",
        case: "idle, 2 workers",
        figure: RESIDENT,
        against: Against::Case("idle, 1 worker"),
        bound: AtMost(256.0 * 1024.0 / MIB),
    },
    alone(
        "idle keep-alive connection at 10,000: bytes",
        "memory",
        "10,000 idle connections",
        CONNECTION_BYTES,
        AtMost(2048.0),
    ),
    alone("start to first answer: ms", "start", "", START, AtMost(10.0)),
];

/// Latency has no bound in the contract; the tables show it beside nginx all the same.
pub const LATENCIES: &[(&str, &str)] = &[
    ("latency", "1 connections"),
    ("latency", "64 connections"),
    ("latency", "1000 connections"),
    ("latency-noise", "beside"),
];
/// The figure of [`LATENCIES`].
pub const LATENCY_FIGURE: &str = P999;

/// A target and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The target's `what`.
    pub what: String,
    /// Which Heartbeat.
    pub server: String,
    /// How far the CPUs lay apart.
    pub regime: Regime,
    /// Its figure.
    pub ours: f64,
    /// What it is compared with, and that one's figure.
    pub theirs: Option<(String, f64)>,
    /// The number that has the bound.
    pub judged: f64,
    /// The bound.
    pub bound: Bound,
}

impl Bound {
    /// Whether a number keeps it.
    pub fn is_met(self, number: f64) -> bool {
        match self {
            AtMost(limit) => number <= limit,
            AtLeast(limit) => number >= limit,
        }
    }
}

/// Every target that was measured, for every Heartbeat and in every regime.
pub fn verdicts(results: &Results, heartbeats: &[String]) -> Vec<Verdict> {
    let mut found = Vec::new();
    for target in TARGETS {
        for server in heartbeats {
            for regime in Regime::ALL {
                found.extend(verdict(results, target, server, regime));
            }
        }
    }
    found
}

fn verdict(results: &Results, target: &Target, server: &str, regime: Regime) -> Option<Verdict> {
    let figure_of = |case: &str, server: &str| {
        let row = results.case(target.scenario, case)?.row(server)?;
        row.figure(target.figure, regime).map(|spread| spread.median)
    };
    let ours = figure_of(target.case, server)?;
    let mut verdict = Verdict {
        what: target.what.to_owned(),
        server: server.to_owned(),
        regime,
        ours,
        theirs: None,
        judged: ours,
        bound: target.bound,
    };
    match target.against {
        Against::Itself => {}
        Against::Server(other) => {
            let theirs = figure_of(target.case, other)?;
            verdict.theirs = Some((other.to_owned(), theirs));
            verdict.judged = ours / theirs;
        }
        Against::Logging => {
            let logging = figure_of(target.case, &format!("{server}{LOGGING}"))?;
            verdict.theirs = Some(("without it".to_owned(), ours));
            verdict.ours = logging;
            verdict.judged = logging / ours;
        }
        Against::Case(other) => {
            let theirs = figure_of(other, server)?;
            verdict.theirs = Some((other.to_owned(), theirs));
            verdict.judged = ours - theirs;
        }
    }
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Figures, Sample};
    use crate::machine::Machine;
    use crate::results::{Case, Row, ScenarioResult};
    use crate::scenario::named;

    fn row(server: &str, figure: &str, regime: Regime, values: &[f64]) -> Row {
        let sample =
            |&value: &f64| Sample { regime, figures: Figures::from([(figure.to_owned(), value)]) };
        Row {
            server: server.to_owned(),
            samples: values.iter().map(sample).collect(),
            failure: None,
        }
    }

    fn results(scenario: &str, label: &str, rows: Vec<Row>) -> Results {
        let case = Case { label: label.to_owned(), rows };
        Results {
            machine: Machine::here(),
            command: String::new(),
            versions: Default::default(),
            missing: Vec::new(),
            scenarios: vec![ScenarioResult {
                name: scenario.to_owned(),
                title: String::new(),
                columns: Vec::new(),
                cases: vec![case],
            }],
        }
    }

    #[test]
    fn every_target_names_a_scenario_and_a_case_that_exist() {
        for target in TARGETS {
            let scenario = named(target.scenario).unwrap();
            let labels: Vec<String> =
                (scenario.cases)(2).into_iter().map(|(label, _)| label).collect();
            assert!(labels.iter().any(|label| label == target.case), "{}", target.what);
            if let Against::Case(other) = target.against {
                assert!(labels.iter().any(|label| label == other), "{}", target.what);
            }
        }
        for (scenario, case) in LATENCIES {
            let cases = (named(scenario).unwrap().cases)(2);
            assert!(cases.iter().any(|(label, _)| label == case), "{scenario} {case}");
        }
    }

    #[test]
    fn a_bound_is_met_where_it_is_reached() {
        assert!(AtMost(0.7).is_met(0.7) && !AtMost(0.7).is_met(0.701));
        assert!(AtLeast(3.0).is_met(3.0) && !AtLeast(3.0).is_met(2.99));
    }

    #[test]
    fn a_quotient_is_of_medians_of_the_same_regime() {
        let rows = vec![
            row("a", CPU, Regime::Near, &[1.0, 2.0, 9.0]),
            row("nginx", CPU, Regime::Near, &[4.0]),
            row("floor", CPU, Regime::Far, &[1.0]),
        ];
        let found = verdicts(&results("17b-c64", "", rows), &["a".to_owned()]);
        assert_eq!(found.len(), 1, "nothing is compared across regimes: {found:?}");
        assert_eq!(found[0].judged, 0.5);
        assert!(found[0].bound.is_met(found[0].judged));
    }

    #[test]
    fn the_log_is_judged_by_what_is_left_of_the_rate() {
        let rows =
            vec![row("a", RATE, Regime::Near, &[100.0]), row("a+log", RATE, Regime::Near, &[80.0])];
        let found = verdicts(&results("log-on", "", rows), &["a".to_owned()]);
        assert_eq!((found[0].ours, found[0].judged), (80.0, 0.8));
        assert!(!found[0].bound.is_met(found[0].judged));
    }
}
