//! The body: what is kept of it as it arrives, and the checks of its text.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::HeaderMap;

use crate::client::BodySink;
use crate::pattern::PatternCheck;
use crate::testfile::{ExactMatch, Validation};
use crate::validation::errors::Errors;
use crate::validation::json;
use crate::validation::search::{Comparison, Search};
use crate::validation::text::Decoder;

/// How much of bodies is kept. Only JSON that is parsed is kept; a body that is searched, compared
/// or counted needs no memory.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    body_max: usize,
    all_max: usize,
    used: Arc<AtomicUsize>,
}

impl BodyLimits {
    /// Keeps up to `body_max` bytes of each body. All bodies of the process share a limit, which is
    /// [`KEPT_MAX`] or, if that is larger, one body.
    pub(crate) fn new(body_max: usize) -> Self {
        static USED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);
        Self { body_max, all_max: KEPT_MAX.max(body_max), used: Arc::clone(&USED) }
    }

    // Reserves memory; returns whether the limit allows it.
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.all_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self::new(BODY_MAX)
    }
}

/// Receives a body and checks it as its validation demands, which mostly is nothing.
#[derive(Debug)]
pub(crate) struct BodyCheck {
    pattern: Option<PatternCheck>,
    text: Option<Box<TextCheck>>,
}

#[derive(Debug)]
struct TextCheck {
    // A copy, because a request that is under way must not borrow it.
    validation: Validation,
    decoder: Result<Decoder, String>,
    // The text of the part that has just arrived.
    part: String,
    contains: Search,
    not_contains: Search,
    comparison: Comparison,
    kept: Option<Kept>,
}

/// Text that counts against the limits until it is dropped.
#[derive(Debug)]
struct Kept {
    text: String,
    limits: BodyLimits,
    refused: Option<String>,
}

impl BodyCheck {
    /// A check of one answer with the default limits.
    pub(crate) fn new(validation: Option<&Validation>) -> Self {
        Self::within(&BodyLimits::default(), validation)
    }

    /// A check of one answer.
    pub(crate) fn within(limits: &BodyLimits, validation: Option<&Validation>) -> Self {
        let pattern = validation.is_some_and(|v| v.pattern).then(PatternCheck::default);
        let text = validation.filter(|validation| validation.reads_body());
        let text = text.map(|validation| Box::new(TextCheck::new(limits, validation)));
        Self { pattern, text }
    }

    /// The position of the first byte that differs from the pattern.
    pub(crate) fn mismatch(&self) -> Option<u64> {
        self.pattern.as_ref().and_then(PatternCheck::mismatch)
    }

    /// The errors in the text of the body; `Err` if the text cannot be read at all.
    pub(super) fn errors(&self) -> Result<Errors, String> {
        self.text.as_ref().map_or(Ok(Errors::default()), |text| text.errors())
    }
}

impl BodySink for BodyCheck {
    fn begin(&mut self, headers: &HeaderMap) {
        if let Some(text) = &mut self.text {
            text.decoder = Decoder::for_headers(headers);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(pattern) = &mut self.pattern {
            pattern.take(bytes);
        }
        if let Some(text) = &mut self.text {
            text.take(bytes);
        }
    }
}

impl TextCheck {
    fn new(limits: &BodyLimits, validation: &Validation) -> Self {
        let kept = validation.parses_body().then(|| Kept {
            text: String::new(),
            limits: limits.clone(),
            refused: None,
        });
        Self {
            validation: validation.clone(),
            decoder: Ok(Decoder::default()),
            part: String::new(),
            contains: Search::default(),
            not_contains: Search::default(),
            comparison: Comparison::default(),
            kept,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Ok(decoder) = &mut self.decoder else { return };
        let mut part = std::mem::take(&mut self.part);
        decoder.decode(bytes, &mut part);
        self.look_at(&part);
        part.clear();
        self.part = part;
    }

    fn look_at(&mut self, part: &str) {
        let validation = &self.validation;
        if !validation.contains.is_empty() {
            self.contains.take(part.as_bytes(), validation.contains.iter().map(String::as_str));
        }
        if !validation.not_contains.is_empty() {
            let wanted = validation.not_contains.iter().map(String::as_str);
            self.not_contains.take(part.as_bytes(), wanted);
        }
        if let Some(ExactMatch::Text(expected)) = &validation.exact_match {
            self.comparison.take(part, expected);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(part);
        }
    }

    fn errors(&self) -> Result<Errors, String> {
        let rest = self.decoder.as_ref().map_err(Clone::clone)?.rest();
        if !rest.is_empty() {
            return self.with_rest(&rest).errors();
        }
        let mut errors = Errors::default();
        for (index, text) in self.validation.contains.iter().enumerate() {
            if !self.contains.has_found(index) {
                errors.push(format!("Contains: {text}"));
            }
        }
        for (index, text) in self.validation.not_contains.iter().enumerate() {
            if self.not_contains.has_found(index) {
                errors.push(format!("NotContains: {text}"));
            }
        }
        if let Some(ExactMatch::Text(expected)) = &self.validation.exact_match
            && !self.comparison.is_equal(expected)
        {
            let shown = self.comparison.shown();
            errors.push(format!("ExactMatch: {shown} : Expected: {expected}"));
        }
        if let Some(kept) = &self.kept {
            match &kept.refused {
                None => json::parsed(&self.validation, &kept.text, &mut errors),
                Some(why) => errors.push(format!("Exception: {why}")),
            }
        }
        Ok(errors)
    }

    // The check of a body that ends within a character, or that is shorter than a byte order mark.
    fn with_rest(&self, rest: &str) -> Self {
        let kept = self.kept.as_ref().map(|kept| {
            let mut copy = Kept { text: String::new(), limits: kept.limits.clone(), refused: None };
            copy.push(&kept.text);
            if kept.refused.is_some() {
                copy.refused.clone_from(&kept.refused);
            }
            copy
        });
        let mut whole = Self {
            validation: self.validation.clone(),
            decoder: Ok(Decoder::default()),
            part: String::new(),
            contains: self.contains.clone(),
            not_contains: self.not_contains.clone(),
            comparison: self.comparison.clone(),
            kept,
        };
        whole.look_at(rest);
        whole
    }
}

impl Kept {
    fn push(&mut self, part: &str) {
        if self.refused.is_some() {
            return;
        }
        let (limits, length) = (&self.limits, self.text.len() + part.len());
        if length > limits.body_max {
            let most = limits.body_max;
            self.refuse(format!("the body is longer than the {most} bytes of --max-body"));
        } else if !limits.take(part.len()) {
            let most = limits.all_max;
            self.refuse(format!("all bodies together are longer than {most} bytes"));
        } else {
            // Grows by what is needed or by a quarter, because doubling would waste memory.
            self.text.reserve_exact(part.len().max(self.text.len() / 4));
            self.text.push_str(part);
        }
    }

    fn refuse(&mut self, why: String) {
        self.limits.give_back(self.text.len());
        self.text = String::new();
        self.refused = Some(why);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.limits.give_back(self.text.len());
    }
}

/// The default limit of one body, which is far more than an API returns to a prober.
pub(crate) const BODY_MAX: usize = 4 * 1024 * 1024;
/// The limit of all bodies under way: a quarter of what a pod of 64 MiB may use.
pub(crate) const KEPT_MAX: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn limits(body_max: usize, all_max: usize) -> BodyLimits {
        BodyLimits { body_max, all_max, used: Arc::default() }
    }

    fn parsing() -> Validation {
        Validation { exact_match: Some(ExactMatch::Json(Value::Null)), ..Validation::default() }
    }

    fn refused(check: &BodyCheck) -> Option<String> {
        let errors = check.errors().unwrap();
        errors.lines().find_map(|error| error.strip_prefix("Exception: ").map(str::to_owned))
    }

    #[test]
    fn keeps_a_body_up_to_the_limit_and_reports_an_error_above_it() {
        let validation = parsing();
        let mut check = BodyCheck::within(&limits(8, 100), Some(&validation));
        check.take(b"12345678");
        assert_eq!(refused(&check), None);
        check.take(b"9");
        assert_eq!(refused(&check).unwrap(), "the body is longer than the 8 bytes of --max-body");
    }

    #[test]
    fn all_bodies_share_one_limit_and_release_their_part() {
        let (validation, limits) = (parsing(), limits(8, 12));
        let mut one = BodyCheck::within(&limits, Some(&validation));
        one.take(b"12345678");
        let mut two = BodyCheck::within(&limits, Some(&validation));
        two.take(b"1234");
        assert_eq!((refused(&one), refused(&two)), (None, None));
        two.take(b"5");
        assert_eq!(refused(&two).unwrap(), "all bodies together are longer than 12 bytes");
        drop(one);
        let mut three = BodyCheck::within(&limits, Some(&validation));
        three.take(b"12345678");
        assert_eq!(refused(&three), None);
        drop((two, three));
        assert_eq!(limits.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn keeps_nothing_of_a_body_that_is_searched_compared_or_counted() {
        let validation = Validation {
            pattern: true,
            contains: vec!["789AB".to_owned(), "xyz".to_owned()],
            not_contains: vec!["F01".to_owned()],
            exact_match: Some(ExactMatch::Text("no".to_owned())),
            ..Validation::default()
        };
        let mut check = BodyCheck::within(&limits(0, 0), Some(&validation));
        for _ in 0..4 {
            check.take(b"01234567");
            check.take(b"89ABCDEF");
        }
        assert_eq!(check.mismatch(), None);
        let errors: Vec<_> = check.errors().unwrap().lines().collect();
        assert_eq!(errors[..2], ["Contains: xyz", "NotContains: F01"]);
        assert!(errors[2].starts_with("ExactMatch: 0123456789ABCDEF0"), "{errors:?}");
    }
}
