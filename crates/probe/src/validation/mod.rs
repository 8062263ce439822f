//! Validates answers against the test file, in WebV's order and with its words.

mod body;
mod compact;
mod errors;
mod json;
mod media_type;
mod search;
mod text;

pub(crate) use body::{BODY_MAX, BodyCheck, BodyLimits};
pub(crate) use errors::Errors;

use hyper::header::CONTENT_TYPE;

use crate::client::{Answer, ClientError};
use crate::fault::Fault;
use crate::testfile::{Case, Validation};
use media_type::MediaType;

/// The result of a validation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the request counts as failed, and not only as invalid.
    pub failed: bool,
    /// The kind of the first error; `None` if there is no error.
    pub fault: Option<Fault>,
    /// The errors in the order in which they were found.
    pub errors: Errors,
}

impl Verdict {
    /// The result of a request without an answer.
    pub(crate) fn exception(error: &ClientError) -> Self {
        let fault = Some(Fault::from(error));
        Self { failed: true, fault, errors: vec![format!("Exception: {error}")].into() }
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_valid(&self) -> bool {
        !self.failed && self.errors.is_empty()
    }

    fn add(&mut self, fault: Fault, error: String) {
        self.fault.get_or_insert(fault);
        self.errors.push(error);
    }

    fn fail(&mut self, fault: Fault, error: String) {
        self.failed = true;
        self.add(fault, error);
    }
}

/// Validates an answer that took `milliseconds` and whose body went through `body`.
pub(crate) fn validate(
    case: &Case,
    answer: &Answer,
    body: &BodyCheck,
    milliseconds: u64,
) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(validation) = &case.validation {
        response(validation, answer, body, milliseconds, &mut verdict);
        verdict.failed |= case.fail_on_validation_error && !verdict.errors.is_empty();
    }
    verdict
}

fn response(
    validation: &Validation,
    answer: &Answer,
    body: &BodyCheck,
    milliseconds: u64,
    verdict: &mut Verdict,
) {
    let status = answer.status.as_u16();
    let expected = validation.status_code;
    if status != expected {
        let error = format!("StatusCode: {status} Expected: {expected}");
        return verdict.fail(Fault::Status, error);
    }
    if let Some(most) = validation.max_milliseconds
        && milliseconds > most
    {
        let error = format!("duration: {milliseconds}ms exceeded max value {most}ms");
        verdict.add(Fault::Validation, error);
    }
    if answer.status.is_redirection() {
        return;
    }
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(MediaType::parse);
    // Without a Content-Type, WebV checks nothing more. WebV has no pattern; this is checked
    // anyway.
    if let Some(actual) = content_type.as_ref().map(MediaType::to_string) {
        if let Some(expected) = &validation.content_type
            && !starts_with(&actual, expected)
        {
            let error = format!("ContentType: {actual} Expected: {expected}");
            return verdict.fail(Fault::ContentType, error);
        }
        lengths(validation, answer, verdict);
    }
    pattern(validation, answer, body, verdict);
    if content_type.is_some() {
        match body.errors() {
            Ok(errors) => {
                if !errors.is_empty() {
                    verdict.fault.get_or_insert(Fault::Validation);
                }
                verdict.errors.extend(&errors, str::to_owned);
            }
            Err(why) => verdict.fail(Fault::Validation, format!("Exception: {why}")),
        }
    }
}

fn lengths(validation: &Validation, answer: &Answer, verdict: &mut Verdict) {
    // The answer to HEAD has a length, but no body.
    let actual = answer.content_length.unwrap_or(answer.body_length);
    let mut expect = |wrong: bool, name: &str, bound: Option<u64>| {
        if let Some(bound) = bound.filter(|_| wrong) {
            verdict.add(Fault::Length, format!("{name}: {actual} Expected: {bound}"));
        }
    };
    let Validation { length, min_length, max_length, .. } = *validation;
    expect(length.is_some_and(|length| actual != length), "Length", length);
    expect(min_length.is_some_and(|least| actual < least), "MinContentLength", min_length);
    expect(max_length.is_some_and(|most| actual > most), "MaxContentLength", max_length);
}

fn pattern(validation: &Validation, answer: &Answer, body: &BodyCheck, verdict: &mut Verdict) {
    if let Some(at) = body.mismatch().filter(|_| validation.pattern) {
        let length = answer.body_length;
        let error = format!("Pattern: byte {at} of {length} is not the pattern's");
        verdict.add(Fault::Pattern, error);
    }
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}
