//! Fits text into a number of columns: tables leave out the least important figures, and lines are
//! broken between words.

use std::fmt::Write;

/// Spaces between two columns.
const GAP: usize = 2;
/// Spaces before every line.
const INDENT: usize = 2;
/// A last column of free text is not cut shorter than this; other columns are left out first.
const TAIL_MIN: usize = 20;

/// A column of figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// The columns of the highest rank are left out first, those of rank 0 never.
    pub(crate) rank: u8,
}

/// A row: the cells of the columns, of which the first is aligned left, and a text behind them.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) tail: Option<String>,
}

/// Writes a table that is at most `width` columns wide, if the columns of rank 0 fit into that.
pub(crate) fn table(text: &mut String, width: usize, columns: &[Column], rows: &[Row]) {
    let tail = rows.iter().filter_map(|row| row.tail.as_ref().map(|tail| tail.chars().count()));
    let tail = tail.max().map_or(0, |longest| GAP + longest.min(TAIL_MIN));
    let widths: Vec<_> = (0..columns.len()).map(|at| column_width(at, columns, rows)).collect();
    let mut shown: Vec<_> = (0..columns.len()).collect();
    let total = |shown: &[usize]| {
        let cells: usize = shown.iter().map(|at| widths[*at]).sum();
        INDENT + cells + GAP * shown.len().saturating_sub(1) + tail
    };
    while total(&shown) > width {
        let Some(last) = shown.iter().copied().max_by_key(|at| columns[*at].rank) else { break };
        if columns[last].rank == 0 {
            break;
        }
        shown.retain(|at| *at != last);
    }
    let room = width.saturating_sub(total(&shown) - tail + GAP).max(TAIL_MIN);
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let titles = Row { cells: titles, tail: None };
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = " ".repeat(INDENT);
        for (place, at) in shown.iter().copied().enumerate() {
            let (cell, width) = (&row.cells[at], widths[at]);
            let _ = match place {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "{:GAP$}{cell:>width$}", ""),
            };
        }
        if let Some(tail) = &row.tail {
            let _ = write!(line, "{:GAP$}{}", "", end_of(tail, room));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn column_width(at: usize, columns: &[Column], rows: &[Row]) -> usize {
    let cells = rows.iter().map(|row| row.cells[at].chars().count());
    cells.chain([columns[at].title.chars().count()]).max().unwrap_or(0)
}

/// A text of at most `most` characters. The beginning is cut, because the end of a URL says more.
pub(crate) fn end_of(text: &str, most: usize) -> String {
    let chars = text.chars().count();
    if chars <= most {
        return text.to_owned();
    }
    let end: String = text.chars().skip(chars + 3 - most).collect();
    format!("...{end}")
}

/// Writes `words` in lines of at most `width` columns, each after `indent` spaces; the first line
/// already has them.
pub(crate) fn wrapped(text: &mut String, width: usize, indent: usize, words: &str) {
    let room = width.saturating_sub(indent).max(TAIL_MIN);
    let mut used = 0;
    for word in words.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > room {
            let _ = write!(text, "\n{:indent$}", "");
            used = 0;
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        // A word that is longer than a line, such as a URL, is cut.
        while rest.len() > room - used {
            let next = rest.split_off(room - used);
            text.extend(rest);
            let _ = write!(text, "\n{:indent$}", "");
            rest = next;
            used = 0;
        }
        used += rest.len();
        text.extend(rest);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "", rank: 0 },
        Column { title: "p50", rank: 0 },
        Column { title: "mean", rank: 2 },
        Column { title: "max", rank: 1 },
    ];

    fn draw(width: usize, tail: Option<&str>) -> String {
        let cells = ["latency", "1.00 ms", "2.00 ms", "3.00 ms"].map(str::to_owned).to_vec();
        let mut text = String::new();
        table(&mut text, width, &COLUMNS, &[Row { cells, tail: tail.map(str::to_owned) }]);
        text
    }

    #[test]
    fn columns_are_left_out_by_rank_until_the_table_fits() {
        let all = "               p50     mean      max\n  latency  1.00 ms  2.00 ms  3.00 ms\n";
        assert_eq!(draw(36, None), all);
        assert!(!draw(35, None).contains("mean"));
        assert!(draw(27, None).contains("max") && !draw(26, None).contains("max"));
        assert!(draw(1, None).contains("latency  1.00 ms"));
    }

    #[test]
    fn a_long_tail_is_cut_at_its_beginning_but_not_too_short() {
        let url = format!("http://{}/heartbeat/17", "a".repeat(80));
        for width in 40..=100 {
            let text = draw(width, Some(&url));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
            assert!(text.ends_with("/heartbeat/17\n"), "{text}");
        }
        assert!(draw(60, Some("http://a/1")).ends_with("  http://a/1\n"));
        assert_eq!(end_of("http://a/1", 10), "http://a/1");
        assert_eq!(end_of("http://a/12", 10), "...://a/12");
    }

    #[test]
    fn lines_break_between_words_and_inside_words_that_are_too_long() {
        let words = "one two three four five six seven ".repeat(5) + &"x".repeat(70) + " end";
        let mut text = "    ".to_owned();
        wrapped(&mut text, 30, 4, &words);
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.lines().all(|line| line.starts_with("    ")), "{text}");
        let joined: String = text.split_whitespace().collect();
        assert_eq!(joined, words.split_whitespace().collect::<String>());
    }
}
