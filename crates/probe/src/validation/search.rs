//! Searches a body for texts and compares it with a text, without keeping it.

use memchr::memmem;

/// Searches for several texts at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    found: Vec<bool>,
    // The end of what has arrived, because a text may begin in it.
    tail: Vec<u8>,
}

impl Search {
    /// Takes the next part of the body; `wanted` are the same texts each time.
    pub(super) fn take<'t>(&mut self, part: &[u8], wanted: impl Iterator<Item = &'t str> + Clone) {
        let overlap = wanted.clone().map(str::len).max().unwrap_or(0).saturating_sub(1);
        self.found.resize(wanted.clone().count(), false);
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&part[..part.len().min(overlap)]);
        for (found, text) in self.found.iter_mut().zip(wanted) {
            let text = text.as_bytes();
            *found =
                *found || memmem::find(&seam, text).is_some() || memmem::find(part, text).is_some();
        }
        let whole = if part.len() >= overlap { part } else { &seam };
        self.tail = whole[whole.len().saturating_sub(overlap)..].to_vec();
    }

    /// Whether the body contains the text `index`.
    pub(super) fn has_found(&self, index: usize) -> bool {
        self.found.get(index).copied().unwrap_or(false)
    }
}

/// Compares a body with a text.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    length: usize,
    differs: bool,
    beginning: String,
}

impl Comparison {
    /// Takes the next part of the body; `expected` is the same text each time.
    pub(super) fn take(&mut self, part: &str, expected: &str) {
        let end = self.length + part.len();
        self.differs |= expected.as_bytes().get(self.length..end) != Some(part.as_bytes());
        self.length = end;
        let room = SHOWN_MAX.saturating_sub(self.beginning.len());
        let shown = (0..=room.min(part.len())).rev().find(|end| part.is_char_boundary(*end));
        self.beginning.push_str(&part[..shown.unwrap_or(0)]);
    }

    /// Whether the body equals the text.
    pub(super) fn is_equal(&self, expected: &str) -> bool {
        !self.differs && self.length == expected.len()
    }

    /// The beginning of the body, for an error.
    pub(super) fn shown(&self) -> String {
        let dots = if self.beginning.len() < self.length { "..." } else { "" };
        format!("{}{dots}", self.beginning)
    }
}

// An error is cut at this length in the log.
const SHOWN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_the_body_is_split() {
        let body = "xxabcabcdyy";
        let wanted = ["abcd", "x", "yy", "abcabcd", "no", "cab", body, "xxabcabcdyyz"];
        for size in 1..=body.len() {
            let mut search = Search::default();
            for part in body.as_bytes().chunks(size) {
                search.take(part, wanted.iter().copied());
            }
            for (index, text) in wanted.iter().enumerate() {
                assert_eq!(search.has_found(index), body.contains(text), "{text} {size}");
            }
        }
    }

    #[test]
    fn at_most_the_length_of_the_longest_text_is_kept_of_a_body() {
        let mut search = Search::default();
        for _ in 0..1000 {
            search.take(&[b'a'; 1000], ["aab"].into_iter());
        }
        assert_eq!(search.tail.len(), 2);
    }

    #[test]
    fn a_comparison_needs_exactly_the_bytes_of_the_text() {
        let equal = |parts: &[&str], expected: &str| {
            let mut comparison = Comparison::default();
            parts.iter().for_each(|part| comparison.take(part, expected));
            comparison.is_equal(expected)
        };
        assert!(equal(&["ab", "", "c"], "abc"));
        assert!(equal(&[], ""));
        for (parts, expected) in
            [(&["ab"][..], "abc"), (&["ab", "cd"], "abc"), (&["ab", "d"], "abc"), (&[], "a")]
        {
            assert!(!equal(parts, expected), "{parts:?}");
        }
    }

    #[test]
    fn the_quoted_beginning_of_a_body_is_limited() {
        let mut comparison = Comparison::default();
        comparison.take(&"ä".repeat(SHOWN_MAX / 2), "x");
        assert_eq!(comparison.shown().len(), SHOWN_MAX);
        comparison.take("b", "x");
        assert!(comparison.shown().ends_with("ä..."));
    }
}
