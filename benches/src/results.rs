//! Owns what a run found, as it is written to results.json.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::figure::{Regime, Sample};
use crate::machine::Machine;
use crate::statistics::{Spread, spread};

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// The command that repeats it.
    pub command: String,
    /// What each server says its version is.
    pub versions: BTreeMap<String, String>,
    /// What could not be measured, a line each.
    pub missing: Vec<String>,
    /// What was found.
    pub scenarios: Vec<ScenarioResult>,
}

/// What was found in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// What it asks.
    pub title: String,
    /// The figures that matter, in the order of the columns.
    pub columns: Vec<String>,
    /// One entry per case; a case is a size, a number of connections or the like.
    pub cases: Vec<Case>,
}

/// One case of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What makes it this one; empty where there is one only.
    pub label: String,
    /// A server each.
    pub rows: Vec<Row>,
}

/// One server in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The server.
    pub server: String,
    /// One per round.
    pub samples: Vec<Sample>,
    /// Why there are no more.
    pub failure: Option<String>,
}

impl Row {
    /// Median and spread of a figure within a regime.
    pub fn figure(&self, figure: &str, regime: Regime) -> Option<Spread> {
        let samples = self.samples.iter().filter(|sample| sample.regime == regime);
        spread(samples.filter_map(|sample| sample.figures.get(figure).copied()))
    }

    /// The regimes it was measured in.
    pub fn has(&self, regime: Regime) -> bool {
        self.samples.iter().any(|sample| sample.regime == regime)
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
}
