//! Performance targets: which quarter an answer's time falls in.

use std::collections::HashMap;

/// The target of a category of requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PerfTarget {
    /// For the log.
    pub category: String,
    /// The bounds of the first three quarters, in milliseconds; none if they are not given.
    pub quartiles: Option<[f64; 3]>,
}

/// Targets by category, out of `perfTargets.txt`.
pub(crate) type PerfTargets = HashMap<String, PerfTarget>;

impl PerfTarget {
    /// 1 to 4 for a duration in milliseconds.
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
