//! Owns the results of a run, as they are written to results.json, and the ratios between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figure::Figures;
use crate::machine::Machine;
use crate::statistics::{Spread, spread};

/// The results of one run, or of several runs that wrote to the same folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The machine of the run.
    pub machine: Machine,
    /// A sentence about the circumstances, for the page of results.
    pub note: Option<String>,
    /// The version that each server reports.
    pub versions: BTreeMap<String, String>,
    /// What was left out of all scenarios, a line each.
    pub missing: Vec<String>,
    /// The results of each scenario.
    pub scenarios: Vec<ScenarioResult>,
}

/// The results of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// What it measures.
    pub title: String,
    /// The number that differs between its cases; empty if there is no such number.
    pub axis: String,
    /// The command that repeats it.
    pub command: String,
    /// The figures that matter, in the order of the columns.
    pub columns: Vec<String>,
    /// One entry per case; a case is a size, a number of connections or the like.
    pub cases: Vec<Case>,
}

/// One case of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What distinguishes it from the other cases; empty if it is the only one.
    pub label: String,
    /// One row per server.
    pub rows: Vec<Row>,
}

/// One server in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The server.
    pub server: String,
    /// The figures of each round, from the first on.
    pub rounds: Vec<Figures>,
    /// Why the rounds ended early, if they did.
    pub failure: Option<String>,
}

impl Row {
    /// Median and quartiles of a figure.
    pub fn figure(&self, figure: &str) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(|round| round.get(figure).copied()))
    }

    /// Median and quartiles of `combine(a, b)`, where `a` is a figure of this row and `b` the same
    /// figure of the other row in the same round.
    pub fn paired(
        &self,
        other: &Self,
        figure: &str,
        combine: fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        spread(
            pairs
                .filter_map(|(here, there)| Some(combine(*here.get(figure)?, *there.get(figure)?))),
        )
    }
}

impl Case {
    /// The row of a server.
    pub fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }
}

impl Results {
    /// A case by the name of its scenario and its label.
    pub fn case(&self, scenario: &str, label: &str) -> Option<&Case> {
        let scenario = self.scenarios.iter().find(|found| found.name == scenario)?;
        scenario.cases.iter().find(|case| case.label == label)
    }

    /// Adds these results to earlier ones. Scenarios of these results replace earlier ones of the
    /// same name. `order` names the scenarios in the order of the page.
    #[must_use]
    pub fn added_to(mut self, earlier: Self, order: &[&str]) -> Self {
        let is_new = |name: &str| self.scenarios.iter().any(|scenario| scenario.name == name);
        let kept: Vec<ScenarioResult> =
            earlier.scenarios.into_iter().filter(|scenario| !is_new(&scenario.name)).collect();
        self.scenarios.extend(kept);
        let place = |name: &str| order.iter().position(|&known| known == name);
        self.scenarios.sort_by_key(|scenario| place(&scenario.name));
        for (server, version) in earlier.versions {
            self.versions.entry(server).or_insert(version);
        }
        self.missing.extend(earlier.missing);
        self.missing.sort();
        self.missing.dedup();
        // What one of the runs has left out is not missing if another one has measured it.
        let is_here = |name: &str| {
            self.versions.contains_key(name) || self.scenarios.iter().any(|s| s.name == name)
        };
        let of_nobody = |line: &String| !is_here(line.split(' ').next().unwrap_or_default());
        self.missing = self.missing.iter().filter(|line| of_nobody(line)).cloned().collect();
        self.note = self.note.or(earlier.note);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> Row {
        let round = |&value: &f64| Figures::from([("x".to_owned(), value)]);
        Row { server: String::new(), rounds: values.iter().map(round).collect(), failure: None }
    }

    fn results(names: &[&str], note: Option<&str>) -> Results {
        let scenario = |name: &&str| ScenarioResult {
            name: (*name).to_owned(),
            title: note.unwrap_or_default().to_owned(),
            axis: String::new(),
            command: String::new(),
            columns: Vec::new(),
            cases: Vec::new(),
        };
        Results {
            machine: Machine::here(),
            note: note.map(str::to_owned),
            versions: BTreeMap::new(),
            missing: Vec::new(),
            scenarios: names.iter().map(scenario).collect(),
        }
    }

    #[test]
    fn a_ratio_is_of_figures_of_the_same_round() {
        // The machine is four times slower in the second round, and the ratios do not change.
        let ratio = row(&[1.0, 4.0, 2.0]).paired(&row(&[2.0, 8.0, 4.0]), "x", |a, b| a / b);
        assert_eq!(ratio, Some(Spread { lower: 0.5, median: 0.5, upper: 0.5 }));
    }

    #[test]
    fn a_round_that_only_one_of_them_has_makes_no_ratio() {
        let ratio = row(&[1.0, 9.0]).paired(&row(&[2.0]), "x", |a, b| a / b);
        assert_eq!(ratio.map(|spread| spread.median), Some(0.5));
        assert_eq!(row(&[1.0]).paired(&row(&[]), "x", |a, b| a / b), None);
    }

    #[test]
    fn new_scenarios_replace_earlier_ones_of_their_name_and_keep_the_others() {
        let both =
            results(&["b"], Some("new")).added_to(results(&["b", "a"], Some("old")), &["a", "b"]);
        let found: Vec<_> =
            both.scenarios.iter().map(|s| (s.name.as_str(), s.title.as_str())).collect();
        assert_eq!(found, [("a", "old"), ("b", "new")]);
        assert_eq!(both.note.as_deref(), Some("new"));
    }

    #[test]
    fn what_only_one_of_two_runs_left_out_is_not_missing() {
        let line = |name: &str| format!("{name} is left out: it does not run here");
        let mut earlier = results(&["start"], None);
        earlier.missing = vec![line("wrk"), line("h2o"), line("fortio")];
        let mut later = results(&["wrk"], None);
        later.versions.insert("h2o".to_owned(), "h2o 2.2.5".to_owned());
        later.missing = vec![line("fortio")];
        assert_eq!(later.added_to(earlier, &["start", "wrk"]).missing, [line("fortio")]);
    }
}
