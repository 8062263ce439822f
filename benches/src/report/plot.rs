//! Owns the plots: lines if the cases of a scenario are numbers on an axis, else a panel of bars
//! for each case. Heartbeat is blue, the other servers are gray.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::BindKeyPoints;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figure::heading;
use crate::results::{Case, Results, ScenarioResult};
use crate::scenario::{number_of, size_label};
use crate::statistics::Spread;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 880;
const FONT: &str = "sans-serif";
const TEXT_SIZE: i32 = 14;
const TITLE_SIZE: i32 = 17;
/// Height of a panel without its bars: its label, its axis and the name of the axis.
const PANEL_EXTRA: u32 = 84;
const BAR_HEIGHT: u32 = 24;
const TITLE_HEIGHT: u32 = 34;
/// Width of the names, which are to the left of bars and to the right of lines.
const NAMES_WIDTH: u32 = 190;
const LINES_HEIGHT: u32 = 440;
/// The vertical axis is logarithmic if the largest value is at least this many times the smallest.
const LOGARITHMIC_FROM: f64 = 20.0;
/// Factor by which a logarithmic axis is extended at either end.
const MARGIN: f64 = 1.3;
const OURS: [RGBColor; 3] = [RGBColor(0, 90, 181), RGBColor(92, 163, 233), RGBColor(20, 50, 110)];
const THEIRS: [RGBColor; 4] = [
    RGBColor(60, 60, 60),
    RGBColor(165, 165, 165),
    RGBColor(115, 115, 115),
    RGBColor(195, 195, 195),
];

/// The line of one server: its medians by the numbers of the cases.
struct Line {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws the first column of each scenario. Returns the files of the plots by the names of the
/// scenarios.
pub(super) fn draw_all(results: &Results, folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for scenario in &results.scenarios {
        let Some(figure) = scenario.columns.first() else { continue };
        let file = format!("{}.svg", scenario.name);
        let path = folder.join(&file);
        let lines = lines_of(scenario, figure);
        let drawn = if lines.iter().any(|line| line.points.len() > 1) {
            draw_lines(scenario, figure, &lines, &path)
        } else if scenario.cases.iter().any(|case| !bars_of(case, figure).is_empty()) {
            draw_panels(scenario, figure, &path)
        } else {
            continue;
        };
        drawn.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        files.insert(scenario.name.clone(), file);
    }
    Ok(files)
}

fn is_ours(server: &str) -> bool {
    server.starts_with("heartbeat")
}

fn lines_of(scenario: &ScenarioResult, figure: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for case in scenario.cases.iter().filter(|_| !scenario.axis.is_empty()) {
        let Some(x) = number_of(&case.label) else { continue };
        for row in &case.rows {
            let median = row.figure(figure).map(|spread| spread.median);
            let Some(y) = median.filter(|&y| y > 0.0) else { continue };
            match lines.iter_mut().find(|line| line.name == row.server) {
                Some(line) => line.points.push((x, y)),
                None => {
                    let colors: &[RGBColor] = if is_ours(&row.server) { &OURS } else { &THEIRS };
                    let alike = |line: &&Line| is_ours(&line.name) == is_ours(&row.server);
                    let color = colors[lines.iter().filter(alike).count() % colors.len()];
                    lines.push(Line { name: row.server.clone(), color, points: vec![(x, y)] });
                }
            }
        }
    }
    lines
}

fn bars_of<'a>(case: &'a Case, figure: &str) -> Vec<(&'a str, Spread)> {
    let bars = case.rows.iter().map(|row| (row.server.as_str(), row.figure(figure)));
    bars.filter_map(|(name, spread)| Some((name, spread?))).collect()
}

fn draw_lines(scenario: &ScenarioResult, figure: &str, lines: &[Line], path: &Path) -> Drawn {
    let root = SVGBackend::new(path, (WIDTH, LINES_HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let area = root.titled(&scenario.title, (FONT, TITLE_SIZE))?;
    let (area, names) = area.split_horizontally(WIDTH - NAMES_WIDTH);
    let ys = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let (least, most) = (ys().fold(f64::INFINITY, f64::min), ys().fold(0.0, f64::max));
    if most / least >= LOGARITHMIC_FROM {
        let y = (least / MARGIN..most * MARGIN).log_scale();
        draw_chart(&area, scenario, figure, lines, y)?;
    } else {
        draw_chart(&area, scenario, figure, lines, 0.0..most * 1.1)?;
    }
    for (index, line) in lines.iter().enumerate() {
        let y = 40 + 24 * index as i32;
        names.draw(&PathElement::new([(4, y), (28, y)], line.color.stroke_width(3)))?;
        names.draw(&Circle::new((16, y), 4, line.color.filled()))?;
        names.draw(&Text::new(line.name.clone(), (36, y), text(HPos::Left)))?;
    }
    root.present()?;
    Ok(())
}

fn draw_chart<Y>(
    area: &Area<'_>,
    scenario: &ScenarioResult,
    figure: &str,
    lines: &[Line],
    y_axis: Y,
) -> Drawn
where
    Y: plotters::coord::ranged1d::AsRangedCoord<Value = f64>,
    Y::CoordDescType: plotters::coord::ranged1d::ValueFormatter<f64>,
{
    let numbers: Vec<f64> =
        scenario.cases.iter().filter_map(|case| number_of(&case.label)).collect();
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let most = numbers.iter().copied().fold(0.0, f64::max);
    let x_axis = (least / MARGIN..most * MARGIN).log_scale().with_key_points(numbers);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(78)
        .build_cartesian_2d(x_axis, y_axis)?;
    let is_size = scenario.axis.starts_with("bytes");
    let x_label = |x: &f64| if is_size { size_label(x.round() as u64) } else { short(x) };
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_label_formatter(&x_label)
        .y_label_formatter(&short)
        .x_desc(&scenario.axis)
        .y_desc(heading(figure).2)
        .x_label_style((FONT, 11))
        .y_label_style((FONT, 13))
        .axis_desc_style((FONT, TEXT_SIZE))
        .draw()?;
    // The first server is drawn last, so that its line lies above the others.
    for line in lines.iter().rev() {
        let points = line.points.iter().copied();
        chart.draw_series(LineSeries::new(points.clone(), line.color.stroke_width(3)))?;
        chart.draw_series(points.map(|point| Circle::new(point, 4, line.color.filled())))?;
    }
    Ok(())
}

fn draw_panels(scenario: &ScenarioResult, figure: &str, path: &Path) -> Drawn {
    let panels: Vec<(&str, Vec<(&str, Spread)>)> = scenario
        .cases
        .iter()
        .map(|case| (case.label.as_str(), bars_of(case, figure)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let height = |bars: usize| PANEL_EXTRA + BAR_HEIGHT * bars as u32;
    let total: u32 = panels.iter().map(|(_, bars)| height(bars.len())).sum();
    let root = SVGBackend::new(path, (WIDTH, TITLE_HEIGHT + total)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut rest = root.titled(&scenario.title, (FONT, TITLE_SIZE))?;
    for (label, bars) in &panels {
        let (panel, below) = rest.split_vertically(height(bars.len()));
        draw_bars(&panel, label, bars, figure)?;
        rest = below;
    }
    root.present()?;
    Ok(())
}

/// Draws a bar for each median, with a line from quartile to quartile.
fn draw_bars(area: &Area<'_>, label: &str, bars: &[(&str, Spread)], figure: &str) -> Drawn {
    let (_, digits, axis) = heading(figure);
    let most = bars.iter().map(|(_, spread)| spread.upper).fold(0.0, f64::max);
    let rows = bars.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_left(NAMES_WIDTH)
        .caption(label, (FONT, TEXT_SIZE))
        .x_label_area_size(44)
        .build_cartesian_2d(0.0..most.max(f64::MIN_POSITIVE) * 1.15, rows..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_label_formatter(&short)
        .x_desc(axis)
        .label_style((FONT, 13))
        .axis_desc_style((FONT, TEXT_SIZE))
        .draw()?;
    for (index, (name, spread)) in bars.iter().enumerate() {
        let (top, bottom) = (index as f64 + 0.15, index as f64 + 0.85);
        let middle = index as f64 + 0.5;
        let color = if is_ours(name) { OURS[0] } else { THEIRS[1] };
        let corners = [(0.0, top), (spread.median, bottom)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let quartiles = [(spread.lower, middle), (spread.upper, middle)];
        chart.draw_series([PathElement::new(quartiles, BLACK.stroke_width(1))])?;
        let value = format!("{:.digits$}", spread.median);
        let end = spread.median.max(spread.upper);
        chart.draw_series([
            EmptyElement::at((end, middle)) + Text::new(value, (6, 0), text(HPos::Left))
        ])?;
        chart.draw_series([EmptyElement::at((0.0, middle))
            + Text::new((*name).to_owned(), (-8, 0), text(HPos::Right))])?;
    }
    Ok(())
}

fn text(side: HPos) -> TextStyle<'static> {
    (FONT, TEXT_SIZE).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center))
}

/// A number in the form of an axis: 0.5, 20, 4096, 30 k, 40 M.
fn short(number: &f64) -> String {
    let rounded = |n: f64| (n * 1e3).round() / 1e3;
    match *number {
        n if n >= 1e9 => format!("{} G", rounded(n / 1e9)),
        n if n >= 1e6 => format!("{} M", rounded(n / 1e6)),
        n if n >= 1e4 => format!("{} k", rounded(n / 1e3)),
        n => rounded(n).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figures;
    use crate::results::Row;

    #[test]
    fn numbers_at_an_axis_are_short() {
        let written = [0.5, 0.1 + 0.2, 4096.0, 3e4, 4e7, 1e9].map(|number| short(&number));
        assert_eq!(written, ["0.5", "0.3", "4096", "30 k", "40 M", "1 G"]);
    }

    #[test]
    fn no_two_lines_have_the_same_color_and_ours_are_blue() {
        let row = |server: &str| Row {
            server: server.to_owned(),
            rounds: vec![Figures::from([("x".to_owned(), 1.0)])],
            failure: None,
        };
        let rows = ["heartbeat-uring", "heartbeat-epoll", "nginx", "floor"].map(row).to_vec();
        let scenario = ScenarioResult {
            name: String::new(),
            title: String::new(),
            axis: "connections".to_owned(),
            command: String::new(),
            columns: vec!["x".to_owned()],
            cases: vec![Case { label: "1 connections".to_owned(), rows }],
        };
        let lines = lines_of(&scenario, "x");
        for (index, line) in lines.iter().enumerate() {
            let RGBColor(red, _, blue) = line.color;
            assert_eq!(is_ours(&line.name), blue > red, "{}", line.name);
            assert!(lines[..index].iter().all(|other| other.color != line.color));
        }
        assert_eq!(lines.len(), 4);
    }
}
