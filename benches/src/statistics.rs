//! Owns what is made of repeated measurements: medians and quartiles.

use serde::{Deserialize, Serialize};

/// The middle of several measurements, and where the middle half of them lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// A quarter of them is smaller.
    pub lower: f64,
    /// Half of them is smaller.
    pub median: f64,
    /// Three quarters of them are smaller.
    pub upper: f64,
}

/// Of several measurements; none where there were none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return None;
    }
    let [lower, median, upper] = [0.25, 0.5, 0.75].map(|part| quantile(&sorted, part));
    Some(Spread { lower, median, upper })
}

/// Interpolates linearly between the two measurements next to it.
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
    fn of_nothing_there_is_no_median() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN, f64::INFINITY]), None);
    }
}
