//! Owns how results are written: as JSON, as a page in Markdown, and as plots in SVG.

mod markdown;
mod plot;

use std::fs;
use std::io;
use std::path::Path;

use crate::peer::Peer;
use crate::results::Results;
use crate::scenario::SCENARIOS;
pub use markdown::{page, scenario_table, targets_table};

const JSON: &str = "results.json";

/// The results that an earlier run has written into this folder; none if there are none.
pub fn read(folder: &Path) -> io::Result<Option<Results>> {
    match fs::read(folder.join(JSON)) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes results.json, results.md and a plot for each scenario that has something to plot. Removes
/// all other plots from the folder.
pub fn write(results: &Results, peers: &[Peer], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(results)?;
    fs::write(folder.join(JSON), json + "\n")?;
    let plots = plot::draw_all(results, folder)?;
    fs::write(folder.join("results.md"), page(results, peers, &plots))?;
    for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
        let is_plot = path.extension().is_some_and(|extension| extension == "svg");
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_plot && !plots.values().any(|plot| plot == name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The names of all scenarios, in the order of the page.
pub fn order() -> Vec<&'static str> {
    SCENARIOS.iter().map(|scenario| scenario.name).collect()
}
