//! Draws the histogram as text.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::figures::micros;

/// With fewer bars than this the shape would be hidden, so closer bounds are used.
const BARS_MIN: usize = 8;
/// The largest number of rows that closer bounds may lead to.
const ROWS_MAX: usize = 20;
/// The longest bar, and the shortest that the longest may be on a narrow terminal.
const BAR_CHARS: usize = 40;
const BAR_CHARS_MIN: usize = 6;
/// The characters of a row without its bar.
const ROW_CHARS: usize = 44;
/// The same without the percentage.
const SHORT_ROW_CHARS: usize = 34;
/// The bounds within a decade, from coarse to fine: 1-2-5, then the E6, E12 and E24 series.
const SERIES: [&[f64]; 4] = [
    &[1.0, 2.0, 5.0],
    &[1.0, 1.5, 2.2, 3.3, 4.7, 6.8],
    &[1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2],
    &[
        1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1,
        5.6, 6.2, 6.8, 7.5, 8.2, 9.1,
    ],
];

/// Draws one row per class of times, from the shortest to the longest; `times` are nanoseconds and
/// rows have at most `width` characters.
pub(crate) fn draw(times: &Histogram<u64>, width: usize) -> String {
    let has_share = width >= ROW_CHARS + BAR_CHARS_MIN;
    let beside = if has_share { ROW_CHARS } else { SHORT_ROW_CHARS };
    let bar_chars = width.saturating_sub(beside).clamp(BAR_CHARS_MIN, BAR_CHARS);
    let rows = SERIES
        .iter()
        .map(|series| rows(times, series))
        .reduce(|coarse, fine| {
            let bars = coarse.iter().filter(|row| row.count > 0).count();
            if bars < BARS_MIN && fine.len() <= ROWS_MAX { fine } else { coarse }
        })
        .unwrap_or_default();
    let all = times.len().max(1) as f64;
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0).max(1) as f64;
    let mut text = String::new();
    for row in rows {
        let bar = (row.count as f64 / most * bar_chars as f64).round() as usize;
        // A few slow requests among many must stay visible.
        let bar = if row.count > 0 { "#".repeat(bar.max(1)) } else { String::new() };
        let (from, to) = (micros(row.from / 1e3), micros(row.to / 1e3));
        let _ = write!(text, "  {from:>8} .. {to:>8} |{bar:<bar_chars$} {:>9}", row.count);
        if has_share {
            let _ = write!(text, " {:7.3} %", row.count as f64 / all * 100.0);
        }
        text.push('\n');
    }
    text
}

/// A class of times: `from <= time < to`, in nanoseconds.
struct Row {
    from: f64,
    to: f64,
    count: u64,
}

fn rows(times: &Histogram<u64>, series: &[f64]) -> Vec<Row> {
    let mut bounds = bounds(series);
    let mut rows: Vec<Row> = Vec::new();
    let (mut from, mut to) = (0.0, bounds.next().unwrap_or(f64::MAX));
    for value in times.iter_recorded() {
        while value.value_iterated_to() as f64 >= to {
            // Rows before the first sample and after the last are left out.
            if !rows.is_empty() {
                rows.push(Row { from: to, to, count: 0 });
            }
            from = to;
            to = bounds.next().unwrap_or(f64::MAX);
            if let Some(row) = rows.last_mut() {
                row.to = to;
            }
        }
        match rows.last_mut() {
            Some(row) => row.count += value.count_since_last_iteration(),
            None => rows.push(Row { from, to, count: value.count_since_last_iteration() }),
        }
    }
    rows
}

/// The bounds in ascending order, from one nanosecond.
fn bounds(series: &[f64]) -> impl Iterator<Item = f64> + '_ {
    (0..15).flat_map(move |decade| series.iter().map(move |step| step * 10f64.powi(decade)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut times = Histogram::new(3).unwrap();
        for value in values {
            times.record(value).unwrap();
        }
        times
    }

    #[test]
    fn rows_begin_with_the_first_sample_end_with_the_last_and_lose_none() {
        let times = times([1_000_000, 1_500_000, 9_000_000, 70_000_000]);
        for series in SERIES {
            let rows = rows(&times, series);
            assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 4);
            assert!(rows[0].count > 0 && rows[rows.len() - 1].count > 0);
            assert!(rows.windows(2).all(|pair| pair[0].to == pair[1].from));
            assert!(rows.iter().all(|row| row.from < row.to));
        }
    }

    #[test]
    fn a_narrow_distribution_gets_finer_rows() {
        let wide = draw(&times((1..=100).map(|number| number * number * number * 100)), 80);
        assert!(wide.contains("1.00 ms .."), "{wide}");
        let narrow = draw(&times((100..=250).map(|number| number * 1000)), 80);
        assert!(narrow.lines().count() >= BARS_MIN, "{narrow}");
    }

    #[test]
    fn two_distant_samples_do_not_make_a_long_chart() {
        let distant = draw(&times([1_000, 1_000_000_000]), 80);
        assert!(distant.lines().count() <= ROWS_MAX, "{distant}");
        let near = draw(&times([1_000_000, 2_000_000]), 80);
        assert!(near.lines().count() <= ROWS_MAX, "{near}");
    }

    #[test]
    fn one_sample_among_a_million_is_seen() {
        let mut times = times([]);
        times.record_n(50_000, 1_000_000).unwrap();
        times.record(200_000_000).unwrap();
        let chart = draw(&times, 80);
        let last = chart.lines().last().unwrap();
        assert!(last.contains("|# ") && last.contains(" 1   0.000 %"), "{chart}");
        for width in [40, 49, 50, 79, 80, 100] {
            let chart = draw(&times, width);
            assert!(chart.lines().all(|line| line.chars().count() <= width), "{chart}");
        }
    }

    #[test]
    fn no_sample_is_no_row() {
        assert_eq!(draw(&times([]), 80), "");
    }
}
