//! The small chart of a row: an SVG without axes.

use super::html::add;

/// One point on the time axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// The value of the line; `None` if nothing was measured.
    pub(super) value: Option<f64>,
    /// The largest value that was measured there.
    pub(super) top: f64,
    /// Whether there was an error.
    pub(super) is_error: bool,
}

/// Draws `points` from left to right, from 0 to their largest value. `title` is for screen readers
/// and pointers; it must already be escaped.
pub(super) fn sparkline(page: &mut String, points: &[Point], title: &str) {
    add!(
        page,
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
         role=\"img\"><title>{title}</title>"
    );
    let highest = points.iter().map(|point| point.top.max(point.value.unwrap_or(0.0)));
    let highest = highest.fold(0.0, f64::max);
    let step = WIDTH / points.len().max(1) as f64;
    let height = |value: f64| {
        if highest > 0.0 {
            HEIGHT - MARGIN - value / highest * (HEIGHT - 2.0 * MARGIN)
        } else {
            HEIGHT
        }
    };
    let left = |index: usize| index as f64 * step;
    let mut spread = String::new();
    let mut line = String::new();
    let mut is_drawn = false;
    for (index, point) in points.iter().enumerate() {
        let Some(value) = point.value else {
            is_drawn = false;
            continue;
        };
        let (x, middle) = (left(index), left(index) + step / 2.0);
        add!(spread, "M{x:.1} {HEIGHT}V{:.1}h{step:.1}V{HEIGHT}z", height(point.top));
        let command = if is_drawn { 'L' } else { 'M' };
        // A single point is a short stroke, because a line without length is not drawn.
        add!(line, "{command}{middle:.1} {:.1}h0.1", height(value));
        is_drawn = true;
    }
    add!(page, "<path class=\"spread\" d=\"{spread}\"/>");
    add!(page, "<path class=\"base\" d=\"M0 {HEIGHT}H{WIDTH}\"/>");
    add!(page, "<path class=\"line\" d=\"{line}\"/>");
    for (index, _) in points.iter().enumerate().filter(|(_, point)| point.is_error) {
        let (x, width) = (left(index), step.max(1.5));
        add!(
            page,
            "<rect class=\"errors\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"6\"/>"
        );
    }
    page.push_str("</svg>");
}

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 36.0;
const MARGIN: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: &[Point]) -> String {
        let mut page = String::new();
        sparkline(&mut page, points, "t");
        page
    }

    fn point(value: f64) -> Point {
        Point { value: Some(value), top: value, is_error: false }
    }

    #[test]
    fn the_largest_reaches_the_top_and_gaps_interrupt_the_line() {
        let page = drawn(&[point(1.0), Point::default(), point(2.0)]);
        assert!(page.contains("M30.0 18.0h0.1M150.0 2.0h0.1"), "{page}");
        let page = drawn(&[point(1.0), point(2.0)]);
        assert!(page.contains("M45.0 18.0h0.1L135.0 2.0h0.1"), "{page}");
    }

    #[test]
    fn errors_are_marked_even_without_an_answer() {
        let error = Point { is_error: true, ..Point::default() };
        let page = drawn(&[point(1.0), error]);
        assert_eq!(page.matches("class=\"errors\"").count(), 1);
        assert!(page.contains("x=\"90.0\""), "{page}");
    }

    #[test]
    fn without_points_only_the_base_line_is_drawn() {
        assert!(!drawn(&[]).contains("NaN"));
        assert!(!drawn(&[point(0.0)]).contains("NaN"));
    }
}
