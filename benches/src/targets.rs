//! Owns the targets of the contract: each is a bound for a figure of Heartbeat, or for its ratio to
//! another figure or difference from one.

use crate::figure::{CONNECTION_BYTES, CPU, ELAPSED, P99, RATE, RESIDENT, RESIDENT_GROWTH, START};
use crate::peer::{COPYING, Driver, LOGGING, Peer};
use crate::results::Results;
use crate::statistics::Spread;
use Bound::{AtLeast, AtMost};
use Driver::{Epoll, Uring};

/// The bound of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// What a figure is compared with, round by round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// With nothing: the figure itself has the bound.
    Itself,
    /// With the same figure of another server: the ratio has the bound.
    Server(&'static str),
    /// With the same figure of the Heartbeat whose name has this ending: the ratio has the bound.
    Ending(&'static str),
    /// With the same figure in another case: the difference has the bound.
    Case(&'static str),
}

/// One line of the contract.
pub struct Target {
    /// What is measured, for the tables.
    pub what: &'static str,
    /// The drivers that have this target.
    pub drivers: &'static [Driver],
    /// The scenario that measures it.
    pub scenario: &'static str,
    /// The case of the scenario.
    pub case: &'static str,
    /// The figure.
    pub figure: &'static str,
    /// The ending of the name of the Heartbeat that is judged.
    pub ending: &'static str,
    /// What the figure is compared with.
    pub against: Against,
    /// The bound.
    pub bound: Bound,
}

const BOTH: &[Driver] = &[Uring, Epoll];
const MIB: f64 = 1024.0 * 1024.0;

const fn beside(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    server: &'static str,
    bound: Bound,
) -> Target {
    Target { against: Against::Server(server), ..alone(what, scenario, figure, bound) }
}

const fn alone(
    what: &'static str,
    scenario: &'static str,
    figure: &'static str,
    bound: Bound,
) -> Target {
    let against = Against::Itself;
    Target { what, drivers: BOTH, scenario, case: "", figure, ending: "", against, bound }
}

const fn only(drivers: &'static [Driver], target: Target) -> Target {
    Target { drivers, ..target }
}

const fn within(case: &'static str, target: Target) -> Target {
    Target { case, ..target }
}

/// The measured targets, in the contract's order.
pub const TARGETS: &[Target] = &[
    only(&[Uring], beside("17 B: CPU per request", "17b-c64", CPU, "floor", AtMost(1.05))),
    only(&[Epoll], beside("17 B: CPU per request", "17b-c64", CPU, "floor", AtMost(1.08))),
    only(&[Uring], beside("17 B: CPU per request", "17b-c64", CPU, "nginx", AtMost(0.72))),
    beside("17 B: CPU per request", "17b-c64", CPU, "go", AtMost(0.45)),
    only(&[Uring], beside("1 KB: CPU per request", "1k-c64", CPU, "floor", AtMost(1.05))),
    only(&[Epoll], beside("1 KB: CPU per request", "1k-c64", CPU, "floor", AtMost(1.08))),
    only(&[Uring], beside("1 KB: CPU per request", "1k-c64", CPU, "nginx", AtMost(0.72))),
    beside("1 KB: CPU per request", "1k-c64", CPU, "go", AtMost(0.45)),
    beside("17 B, 8 connections: CPU per request", "17b-c8", CPU, "floor", AtMost(1.15)),
    beside("17 B, 1,000 connections: CPU per request", "17b-c1000", CPU, "floor", AtMost(1.15)),
    alone("one connection, client on the same CPU: p99 us", "alone", P99, AtMost(100.0)),
    beside("pipelined 16 deep: answers a second", "pipelined-16", RATE, "nginx", AtLeast(3.0)),
    beside("pipelined 50,000: answers a second", "pipelined-50000", RATE, "nginx", AtLeast(3.0)),
    beside("16 KB: CPU per request", "16k-discard", CPU, "nginx", AtMost(0.80)),
    beside("64 KB: CPU per request", "64k-discard", CPU, "nginx", AtMost(0.80)),
    beside("1 MB, read: CPU per request", "1m-read", CPU, "nginx", AtMost(0.80)),
    beside("1 MB, discarded: CPU per request", "1m-discard", CPU, "nginx", AtMost(0.80)),
    Target {
        against: Against::Ending(COPYING),
        ..within("1 MB", alone("1 MB over veth: CPU per request", "veth", CPU, AtMost(0.60)))
    },
    alone("1 MB, discarded: answers a second", "1m-discard", RATE, AtLeast(10_000.0)),
    alone("1 GB: seconds", "1g", ELAPSED, AtMost(0.2)),
    alone("1 GB: growth of resident memory, MiB", "1g", RESIDENT_GROWTH, AtMost(0.1)),
    beside("upload of 1 GB, Content-Length: CPU", "upload-1g", CPU, "nginx", AtMost(0.5)),
    beside("upload of 1 GB, chunked: CPU", "upload-1g-chunked", CPU, "nginx", AtMost(0.5)),
    Target {
        ending: LOGGING,
        against: Against::Ending(""),
        ..alone("access log to a file: answers a second", "log-on", RATE, AtLeast(0.9))
    },
    within(
        "idle, 1 worker",
        alone("idle, 1 worker: resident MiB", "memory", RESIDENT, AtMost(1.5)),
    ),
    Target {
        against: Against::Case("idle, 1 worker"),
        ..within(
            "idle, 2 workers",
            alone("a second worker: MiB", "memory", RESIDENT, AtMost(256.0 * 1024.0 / MIB)),
        )
    },
    within(
        "10,000 idle connections",
        alone("idle connection at 10,000: bytes", "memory", CONNECTION_BYTES, AtMost(700.0)),
    ),
    alone("a minute after 6,000 heads of 16 KB: MiB", "long-heads", RESIDENT, AtMost(8.0)),
    alone("start to first answer: ms", "start", START, AtMost(10.0)),
];

/// A target and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The target's `what`.
    pub what: String,
    /// The Heartbeat that is judged.
    pub server: String,
    /// Its figure.
    pub ours: Spread,
    /// The name and the figure of what it is compared with.
    pub theirs: Option<(String, Spread)>,
    /// The number that has the bound: one per round.
    pub judged: Spread,
    /// The bound.
    pub bound: Bound,
}

impl Bound {
    /// Whether a number keeps the bound.
    pub fn is_met(self, number: f64) -> bool {
        match self {
            AtMost(limit) => number <= limit,
            AtLeast(limit) => number >= limit,
        }
    }
}

impl Verdict {
    /// Whether the median keeps the bound.
    pub fn is_met(&self) -> bool {
        self.bound.is_met(self.judged.median)
    }

    /// Whether the bound lies between the quartiles, so that another run may decide otherwise.
    pub fn is_within_noise(&self) -> bool {
        self.bound.is_met(self.judged.lower) != self.bound.is_met(self.judged.upper)
    }
}

/// Every target that was measured, for every Heartbeat.
pub fn verdicts(results: &Results, peers: &[Peer]) -> Vec<Verdict> {
    judged(peers).filter_map(|(target, server)| verdict(results, target, server)).collect()
}

/// The targets that were not measured: their `what`, and the server.
pub fn unjudged(results: &Results, peers: &[Peer]) -> Vec<(&'static str, String)> {
    let without =
        judged(peers).filter(|(target, server)| verdict(results, target, server).is_none());
    without.map(|(target, server)| (target.what, server.to_owned())).collect()
}

fn judged(peers: &[Peer]) -> impl Iterator<Item = (&'static Target, &str)> {
    TARGETS.iter().flat_map(move |target| {
        let asked = |peer: &&Peer| peer.driver().is_some_and(|d| target.drivers.contains(&d));
        peers.iter().filter(asked).map(move |peer| (target, peer.name.as_str()))
    })
}

fn verdict(results: &Results, target: &Target, server: &str) -> Option<Verdict> {
    let case = results.case(target.scenario, target.case)?;
    let ours = case.row(&format!("{server}{}", target.ending))?;
    let quotient = |ours: f64, theirs: f64| ours / theirs;
    let difference = |ours: f64, theirs: f64| ours - theirs;
    let (name, theirs, combine): (String, _, fn(f64, f64) -> f64) = match target.against {
        Against::Itself => {
            let judged = ours.figure(target.figure)?;
            return Some(Verdict::new(target, server, judged, None, judged));
        }
        Against::Server(other) => (other.to_owned(), case.row(other)?, quotient),
        Against::Ending(ending) => {
            let other = format!("{server}{ending}");
            let theirs = case.row(&other)?;
            (other, theirs, quotient)
        }
        Against::Case(label) => {
            let theirs = results.case(target.scenario, label)?.row(server)?;
            (label.to_owned(), theirs, difference)
        }
    };
    let judged = ours.paired(theirs, target.figure, combine)?;
    let beside = theirs.figure(target.figure).map(|spread| (name, spread));
    Some(Verdict::new(target, server, ours.figure(target.figure)?, beside, judged))
}

impl Verdict {
    fn new(
        target: &Target,
        server: &str,
        ours: Spread,
        theirs: Option<(String, Spread)>,
        judged: Spread,
    ) -> Self {
        let (what, server) = (target.what.to_owned(), server.to_owned());
        Self { what, server, ours, theirs, judged, bound: target.bound }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::figure::Figures;
    use crate::machine::Machine;
    use crate::results::{Case, Row, ScenarioResult};
    use crate::scenario::named;

    fn row(server: &str, figure: &str, values: &[f64]) -> Row {
        let round = |&value: &f64| Figures::from([(figure.to_owned(), value)]);
        let rounds = values.iter().map(round).collect();
        Row { server: server.to_owned(), rounds, failure: None }
    }

    fn results(scenario: &str, cases: Vec<(&str, Vec<Row>)>) -> Results {
        let case = |(label, rows): (&str, Vec<Row>)| Case { label: label.to_owned(), rows };
        Results {
            machine: Machine::here(),
            note: None,
            versions: Default::default(),
            missing: Vec::new(),
            scenarios: vec![ScenarioResult {
                name: scenario.to_owned(),
                title: String::new(),
                axis: String::new(),
                command: String::new(),
                columns: Vec::new(),
                cases: cases.into_iter().map(case).collect(),
            }],
        }
    }

    fn peers() -> Vec<Peer> {
        let program = Path::new("heartbeat");
        ["heartbeat-uring", "heartbeat-epoll", "nginx"]
            .map(|word| Peer::parse(word, program).unwrap())
            .to_vec()
    }

    #[test]
    fn every_target_names_a_scenario_and_a_case_that_exist() {
        for target in TARGETS {
            let scenario = named(target.scenario).unwrap();
            let labels: Vec<String> =
                (scenario.cases)(2).into_iter().map(|(label, _)| label).collect();
            assert!(labels.iter().any(|label| label == target.case), "{}", target.what);
            assert!(scenario.columns.contains(&target.figure), "{}", target.what);
            if let Against::Case(other) = target.against {
                assert!(labels.iter().any(|label| label == other), "{}", target.what);
            }
        }
    }

    #[test]
    fn a_bound_is_met_by_a_number_that_equals_it() {
        assert!(AtMost(0.7).is_met(0.7) && !AtMost(0.7).is_met(0.701));
        assert!(AtLeast(3.0).is_met(3.0) && !AtLeast(3.0).is_met(2.99));
    }

    #[test]
    fn a_verdict_is_of_the_ratios_of_the_rounds() {
        // The ratio of the medians would be 3 / 3, but the median of the ratios is 0.5.
        let rows = vec![
            row("heartbeat-uring", CPU, &[1.0, 3.0, 6.0]),
            row("nginx", CPU, &[2.0, 3.0, 40.0]),
        ];
        let found = verdicts(&results("17b-c64", vec![("", rows)]), &peers());
        assert_eq!(found.len(), 1, "neither floor nor go were measured: {found:?}");
        assert_eq!(found[0].judged.median, 0.5);
        assert!(found[0].is_met() && found[0].is_within_noise());
    }

    #[test]
    fn each_driver_has_the_bound_that_names_it() {
        let rows = ["heartbeat-uring", "heartbeat-epoll", "floor"].map(|s| row(s, CPU, &[1.0]));
        let found = verdicts(&results("17b-c64", vec![("", rows.to_vec())]), &peers());
        let bounds: Vec<_> = found.iter().map(|v| (v.server.as_str(), v.bound)).collect();
        assert_eq!(bounds, [("heartbeat-uring", AtMost(1.05)), ("heartbeat-epoll", AtMost(1.08))]);
    }

    #[test]
    fn the_log_is_judged_by_what_is_left_of_the_rate() {
        let rows =
            vec![row("heartbeat-uring", RATE, &[100.0]), row("heartbeat-uring+log", RATE, &[80.0])];
        let found = verdicts(&results("log-on", vec![("", rows)]), &peers());
        assert_eq!((found[0].ours.median, found[0].judged.median), (80.0, 0.8));
        assert!(!found[0].is_met() && !found[0].is_within_noise());
    }

    #[test]
    fn splicing_is_judged_beside_copying() {
        let rows =
            vec![row("heartbeat-epoll", CPU, &[60.0]), row("heartbeat-epoll+copy", CPU, &[120.0])];
        let found = verdicts(&results("veth", vec![("1 MB", rows)]), &peers());
        assert_eq!(found[0].judged.median, 0.5);
    }

    #[test]
    fn a_second_worker_is_judged_by_the_difference() {
        let idle = |label, mib| (label, vec![row("heartbeat-uring", RESIDENT, &[mib])]);
        let cases = vec![idle("idle, 1 worker", 1.25), idle("idle, 2 workers", 1.5)];
        let found = verdicts(&results("memory", cases), &peers());
        let second = found.iter().find(|verdict| verdict.what.starts_with("a second")).unwrap();
        assert_eq!(second.judged.median, 0.25);
        assert!(second.is_met());
    }

    #[test]
    fn a_target_that_was_not_measured_is_named() {
        let empty = unjudged(&results("17b-c64", Vec::new()), &peers());
        assert!(empty.contains(&("start to first answer: ms", "heartbeat-epoll".to_owned())));
        assert!(empty.iter().all(|(_, server)| server != "nginx"));
    }
}
