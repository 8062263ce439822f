//! Owns how results are written: JSON for programs, Markdown for people, SVG for the eye.

mod markdown;
mod plot;

use std::fs;
use std::io;
use std::path::Path;

use crate::results::Results;
pub use markdown::{page, scenario_table, targets_table};

/// Writes results.json, results.md and a plot for each scenario that has something to plot.
pub fn write(results: &Results, heartbeats: &[String], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(results)?;
    fs::write(folder.join("results.json"), json + "\n")?;
    let plots = plot::draw_all(results, folder)?;
    fs::write(folder.join("results.md"), page(results, heartbeats, &plots))
}
