//! Owns the plots: lines where the cases of a scenario grow, bars where there is one.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::figure::{P99, Regime, heading};
use crate::results::{Case, Results, ScenarioResult};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const SIZE: (u32, u32) = (820, 440);
/// Logarithmic axes have no zero: this much of the range is left free at either end.
const MARGIN: f64 = 1.3;

/// A plot of one column of each scenario; their file names by the scenarios' names.
pub(super) fn draw_all(results: &Results, folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for scenario in &results.scenarios {
        let Some(figure) = plotted(scenario) else { continue };
        let Some(regime) = regime_of_most(scenario, figure) else { continue };
        let file = format!("{}.svg", scenario.name);
        let path = folder.join(&file);
        draw(scenario, figure, regime, &path)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        files.insert(scenario.name.clone(), file);
    }
    Ok(files)
}

/// The first column; of latencies the tail, because their rate is given and not measured.
fn plotted(scenario: &ScenarioResult) -> Option<&String> {
    let tail = scenario.columns.iter().find(|column| *column == P99);
    tail.filter(|_| scenario.name.starts_with("latency")).or(scenario.columns.first())
}

/// The regime with the most samples: a plot shows one.
fn regime_of_most(scenario: &ScenarioResult, figure: &str) -> Option<Regime> {
    let count = |regime: Regime| {
        let rows = scenario.cases.iter().flat_map(|case| &case.rows);
        let samples = rows.flat_map(|row| &row.samples);
        samples.filter(|s| s.regime == regime && s.figures.contains_key(figure)).count()
    };
    Regime::ALL.into_iter().filter(|&regime| count(regime) > 0).max_by_key(|&r| count(r))
}

fn draw(scenario: &ScenarioResult, figure: &str, regime: Regime, path: &Path) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{}: {} ({})", scenario.title, heading(figure).0, regime.name());
    let area = area.titled(&title, ("sans-serif", 17))?;
    let numbers: Vec<Option<f64>> =
        scenario.cases.iter().map(|case| leading_number(&case.label)).collect();
    let lines = lines_of(&scenario.cases, &numbers, figure, regime);
    if lines.values().any(|points| points.len() > 1) {
        draw_lines(&area, &lines)?;
    } else {
        draw_bars(&area, &bars_of(&scenario.cases, figure, regime), heading(figure).1)?;
    }
    area.present()?;
    Ok(())
}

/// Medians by server, over the number each case's label begins with.
fn lines_of(
    cases: &[Case],
    numbers: &[Option<f64>],
    figure: &str,
    regime: Regime,
) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (case, number) in cases.iter().zip(numbers) {
        let Some(x) = *number else { continue };
        for row in &case.rows {
            let median = row.figure(figure, regime).map(|spread| spread.median);
            if let Some(y) = median.filter(|&y| y > 0.0) {
                lines.entry(row.server.clone()).or_default().push((x, y));
            }
        }
    }
    lines
}

fn bars_of(cases: &[Case], figure: &str, regime: Regime) -> Vec<(String, f64)> {
    let mut bars = Vec::new();
    for case in cases {
        for row in &case.rows {
            if let Some(spread) = row.figure(figure, regime) {
                let name = format!("{} {}", row.server, case.label);
                bars.push((name.trim_end().to_owned(), spread.median));
            }
        }
    }
    bars
}

fn draw_lines(area: &Area<'_>, lines: &BTreeMap<String, Vec<(f64, f64)>>) -> Drawn {
    let points = || lines.values().flatten();
    let range = |of: fn(&(f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min);
        let most = points().map(of).fold(0.0, f64::max);
        least / MARGIN..most * MARGIN
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(range(|p| p.0).log_scale(), range(|p| p.1).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

/// A number as it is written at an axis: 0.5, 20, 3 k, 40 M.
fn short(number: &f64) -> String {
    match *number {
        n if n >= 1e9 => format!("{} G", n / 1e9),
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => n.to_string(),
    }
}

fn draw_bars(area: &Area<'_>, bars: &[(String, f64)], digits: usize) -> Drawn {
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let rows = bars.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_left(250)
        .x_label_area_size(0)
        .y_label_area_size(0)
        .build_cartesian_2d(0.0..most * 1.2, rows..0.0)?;
    for (index, (name, value)) in bars.iter().enumerate() {
        let (top, bottom) = (index as f64 + 0.15, index as f64 + 0.85);
        let color = Palette99::pick(usize::from(!name.starts_with("heartbeat"))).to_rgba();
        chart.draw_series([Rectangle::new([(0.0, top), (*value, bottom)], color.filled())])?;
        let (x, y) = chart.backend_coord(&(*value, index as f64 + 0.5));
        let (left, _) = chart.backend_coord(&(0.0, 0.0));
        let font = ("sans-serif", 14).into_font();
        area.draw_text(
            &format!("{value:.digits$}"),
            &font.clone().into(),
            (x + 6, y - 7 - area.strip_y()),
        )?;
        area.draw_text(name, &font.into(), (left - 240, y - 7 - area.strip_y()))?;
    }
    Ok(())
}

/// Where this area begins below the top of the picture.
trait StripY {
    fn strip_y(&self) -> i32;
}

impl StripY for Area<'_> {
    fn strip_y(&self) -> i32 {
        self.get_pixel_range().1.start
    }
}

/// The number a label begins with.
fn leading_number(label: &str) -> Option<f64> {
    label.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_an_axis_are_short() {
        let written = [0.5, 20.0, 3e3, 4e7, 1e9].map(|number| short(&number));
        assert_eq!(written, ["0.5", "20", "3 k", "40 M", "1 G"]);
    }

    #[test]
    fn a_label_is_a_point_where_it_begins_with_a_number() {
        assert_eq!(leading_number("64 connections"), Some(64.0));
        assert_eq!(leading_number("idle, 1 worker"), None);
        assert_eq!(leading_number(""), None);
    }
}
