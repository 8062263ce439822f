//! The errors of one answer: the first ones, and how many there are.

/// Errors in the order in which they were found. An array of a million elements may have as many
/// errors; only the first [`KEPT_MAX`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors {
    kept: Vec<String>,
    more: u64,
}

impl Errors {
    /// Adds an error.
    pub(crate) fn push(&mut self, error: String) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(error);
        } else {
            self.more += 1;
        }
    }

    /// Adds all of `others`, each changed by `change`.
    pub(super) fn extend(&mut self, others: &Self, change: impl Fn(&str) -> String) {
        others.kept.iter().for_each(|error| self.push(change(error)));
        self.more += others.more;
    }

    /// Whether there is no error.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many errors there are, with those that are not kept.
    pub(crate) fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }

    /// The first error.
    pub(crate) fn first(&self) -> Option<&str> {
        self.kept.first().map(String::as_str)
    }

    /// The lines to show: the first errors, and how many more there are.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("{} more errors are not shown", self.more));
        self.kept.iter().cloned().chain(more)
    }
}

impl From<Vec<String>> for Errors {
    fn from(errors: Vec<String>) -> Self {
        let mut all = Self::default();
        errors.into_iter().for_each(|error| all.push(error));
        all
    }
}

/// The most errors of one answer that are kept, which is far more than a reader needs.
const KEPT_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_are_kept_and_the_others_counted() {
        let all =
            |count: usize| Errors::from((0..count).map(|n| n.to_string()).collect::<Vec<_>>());
        let lines = |errors: &Errors| errors.lines().collect::<Vec<_>>();
        assert!(all(0).is_empty() && lines(&all(0)).is_empty());
        assert_eq!((all(KEPT_MAX).count(), lines(&all(KEPT_MAX)).len()), (100, 100));
        let mut many = all(KEPT_MAX + 2);
        assert_eq!((many.count(), many.first()), (102, Some("0")));
        assert_eq!(lines(&many)[99..], ["99", "2 more errors are not shown"]);
        many.extend(&all(KEPT_MAX + 1), str::to_owned);
        assert_eq!((many.count(), lines(&many).len()), (203, 101));
    }
}
