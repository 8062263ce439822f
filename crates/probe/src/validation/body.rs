//! The body: how much of it is kept, and what its text must be.

use serde_json::Value;

use crate::client::BodySink;
use crate::pattern::PatternCheck;
use crate::testfile::{ExactMatch, Validation};
use crate::validation::json;

/// Takes a body and keeps what its validation will look at, which mostly is nothing.
#[derive(Clone, Debug, Default)]
pub struct BodyCheck {
    pattern: Option<PatternCheck>,
    kept: Option<Vec<u8>>,
    cut: bool,
}

impl BodyCheck {
    /// For one answer.
    pub fn new(validation: Option<&Validation>) -> Self {
        let pattern = validation.is_some_and(|v| v.pattern).then(PatternCheck::default);
        let kept = validation.is_some_and(Validation::reads_body).then(Vec::new);
        Self { pattern, kept, cut: false }
    }

    /// The first byte that is not the pattern's.
    pub fn mismatch(&self) -> Option<u64> {
        self.pattern.as_ref().and_then(PatternCheck::mismatch)
    }

    /// The text of the body, as far as it was kept.
    pub(super) fn text(&self) -> Result<String, String> {
        if self.cut {
            return Err(format!("the body is longer than the {KEPT_MAX} bytes that are kept"));
        }
        Ok(String::from_utf8_lossy(self.kept.as_deref().unwrap_or_default()).into_owned())
    }
}

impl BodySink for BodyCheck {
    fn take(&mut self, bytes: &[u8]) {
        if let Some(pattern) = &mut self.pattern {
            pattern.take(bytes);
        }
        if let Some(kept) = &mut self.kept {
            let room = KEPT_MAX - kept.len();
            self.cut |= bytes.len() > room;
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}

/// The checks of a body, or of a part of one.
pub(super) fn content(validation: &Validation, text: &str, errors: &mut Vec<String>) {
    for part in &validation.contains {
        if !text.contains(part.as_str()) {
            errors.push(format!("Contains: {part}"));
        }
    }
    for part in &validation.not_contains {
        if text.contains(part.as_str()) {
            errors.push(format!("NotContains: {part}"));
        }
    }
    match &validation.exact_match {
        Some(ExactMatch::Text(expected)) if text != expected => {
            errors.push(format!("ExactMatch: {text} : Expected: {expected}"));
        }
        Some(ExactMatch::Json(expected)) if !is_json(text, expected) => {
            errors.push(format!("ExactMatch: {text} : Expected: {expected}"));
        }
        _ => {}
    }
    json::object(&validation.json_object, text, errors);
    if let Some(array) = &validation.json_array {
        json::array(array, text, errors);
    }
}

fn is_json(text: &str, expected: &Value) -> bool {
    serde_json::from_str(text).is_ok_and(|actual| json::same(&actual, expected))
}

// A body that is searched or parsed is kept whole; what is longer is a download to be counted or
// compared with the pattern, which needs no memory.
const KEPT_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_body_up_to_the_limit_and_says_so_above_it() {
        let validation = Validation { contains: vec!["x".to_owned()], ..Validation::default() };
        let mut check = BodyCheck::new(Some(&validation));
        let block = vec![b'x'; KEPT_MAX / 4];
        for _ in 0..4 {
            check.take(&block);
        }
        assert_eq!(check.text().unwrap().len(), KEPT_MAX);
        check.take(b"x");
        assert!(check.text().unwrap_err().contains("67108864"));
    }

    #[test]
    fn keeps_nothing_that_nobody_looks_at() {
        let validation = Validation { pattern: true, ..Validation::default() };
        let mut check = BodyCheck::new(Some(&validation));
        check.take(b"0123456789");
        assert_eq!((check.text().unwrap().as_str(), check.mismatch()), ("", None));
    }
}
