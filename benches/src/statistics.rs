//! Owns what is made of repeated measurements: medians and spreads.

use serde::{Deserialize, Serialize};

/// The middle of several measurements, and how far they lay apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Of several measurements; none where there were none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some(Spread { median, min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        let spread = spread([9.0, 1.0, 5.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 5.0, 9.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(spread([4.0, 1.0, 3.0, 100.0]).unwrap().median, 3.5);
    }

    #[test]
    fn of_nothing_there_is_no_median() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN, f64::INFINITY]), None);
    }
}
