//! Performance targets: decide in which quarter the time of an answer falls.

use std::collections::HashMap;

/// The target of a category of requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PerfTarget {
    /// The name in the log.
    pub category: String,
    /// The bounds of the first three quarters, in milliseconds; `None` if they are not given.
    pub quartiles: Option<[f64; 3]>,
}

/// Targets by category, from `perfTargets.txt`.
pub(crate) type PerfTargets = HashMap<String, PerfTarget>;

impl PerfTarget {
    /// The quarter of a duration in milliseconds, from 1 to 4.
    pub(crate) fn quartile(&self, milliseconds: f64) -> Option<u8> {
        let bounds = self.quartiles?;
        let quartile = (1..).zip(bounds).find(|(_, bound)| milliseconds <= *bound);
        Some(quartile.map_or(4, |(quartile, _)| quartile))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_quarter_below_it() {
        let target = PerfTarget { category: "c".to_owned(), quartiles: Some([10.0, 20.0, 30.0]) };
        let found: Vec<_> =
            [0.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0].map(|ms| target.quartile(ms)).to_vec();
        assert_eq!(found, [1, 1, 2, 2, 3, 3, 4].map(Some));
        assert_eq!(PerfTarget { quartiles: None, ..target }.quartile(1.0), None);
    }
}
