//! Owns the statistics of repeated measurements: medians and quartiles.

use serde::{Deserialize, Serialize};

/// The median and the quartiles of several measurements.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The lower quartile.
    pub lower: f64,
    /// The median.
    pub median: f64,
    /// The upper quartile.
    pub upper: f64,
}

/// The spread of the finite ones of these values; none if there are none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return None;
    }
    let [lower, median, upper] = [0.25, 0.5, 0.75].map(|part| quantile(&sorted, part));
    Some(Spread { lower, median, upper })
}

/// The quantile `part` of sorted values. Interpolates linearly between the two nearest of them.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * part;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_number_of_measurements_has_a_middle_one_and_two_quartiles() {
        let spread = spread([9.0, 1.0, 5.0, 100.0, 3.0]).unwrap();
        assert_eq!((spread.lower, spread.median, spread.upper), (3.0, 5.0, 9.0));
    }

    #[test]
    fn between_two_measurements_it_interpolates() {
        let spread = spread([4.0, 1.0, 3.0, 100.0]).unwrap();
        assert_eq!((spread.lower, spread.median, spread.upper), (2.5, 3.5, 28.0));
    }

    #[test]
    fn one_measurement_is_its_own_median_and_quartiles() {
        let spread = spread([7.0]).unwrap();
        assert_eq!((spread.lower, spread.median, spread.upper), (7.0, 7.0, 7.0));
    }

    #[test]
    fn no_measurements_have_no_median() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN, f64::INFINITY]), None);
    }
}
