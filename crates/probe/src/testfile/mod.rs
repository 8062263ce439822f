//! Test files: which requests are sent, and what their answers must be.

mod fields;
mod load;
mod perf_target;
mod read;
mod request;
mod variables;
mod yaml;

pub(crate) use load::load;
pub(crate) use perf_target::{PerfTarget, PerfTargets};

use serde_json::Value;

/// A request of a test file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Case {
    /// Begins with a slash.
    pub path: String,
    /// The method; `GET` by default.
    pub verb: String,
    /// For grouping in the log.
    pub test_name: Option<String>,
    /// For the log and the metrics, instead of `--tag`.
    pub tag: Option<String>,
    /// Whether every validation error counts as a failure.
    pub fail_on_validation_error: bool,
    /// What is sent.
    pub body: CaseBody,
    /// Sent in addition.
    pub headers: Vec<(String, String)>,
    /// The media type of the body.
    pub content_media_type: Option<String>,
    /// In which quarter an answer's time falls.
    pub perf_target: Option<PerfTarget>,
    /// None for answers that are all good.
    pub validation: Option<Validation>,
}

/// The body of a request of a test file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum CaseBody {
    /// None.
    #[default]
    Empty,
    /// This text.
    Text(String),
    /// So many bytes of the repeating pattern.
    Generated(u64),
}

/// What an answer, or a part of one, must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Validation {
    /// The status.
    pub status_code: u16,
    /// How `Content-Type` begins; none for any.
    pub content_type: Option<String>,
    /// The length, in bytes.
    pub length: Option<u64>,
    /// The least length, in bytes.
    pub min_length: Option<u64>,
    /// The greatest length, in bytes.
    pub max_length: Option<u64>,
    /// The longest time, in whole milliseconds.
    pub max_milliseconds: Option<u64>,
    /// What the body contains.
    pub contains: Vec<String>,
    /// What the body does not contain.
    pub not_contains: Vec<String>,
    /// What the body is.
    pub exact_match: Option<ExactMatch>,
    /// Fields of a JSON object.
    pub json_object: Vec<JsonItem>,
    /// A JSON array.
    pub json_array: Option<Box<JsonArray>>,
    /// Whether the body must be the repeating pattern.
    pub pattern: bool,
}

/// A whole body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExactMatch {
    /// This text.
    Text(String),
    /// This JSON, however it is spaced and ordered.
    Json(Value),
}

/// A field of a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonItem {
    /// Its name.
    pub field: String,
    /// None for any value.
    pub value: Option<Value>,
    /// Of the field's value.
    pub validation: Option<Validation>,
}

/// A JSON array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonArray {
    /// So many elements.
    pub count: Option<u64>,
    /// At least so many.
    pub min_count: Option<u64>,
    /// At most so many.
    pub max_count: Option<u64>,
    /// Each must hold for each element.
    pub for_each: Vec<Validation>,
    /// Each must hold for some element.
    pub for_any: Vec<Validation>,
    /// Of single elements.
    pub by_index: Vec<IndexItem>,
}

/// An element of a JSON array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexItem {
    /// Counted from 0.
    pub index: u64,
    /// None for the element itself.
    pub field: Option<String>,
    /// None for any value.
    pub value: Option<Value>,
    /// Of the field or the element.
    pub validation: Option<Validation>,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            status_code: 200,
            content_type: Some(DEFAULT_CONTENT_TYPE.to_owned()),
            length: None,
            min_length: None,
            max_length: None,
            max_milliseconds: None,
            contains: Vec::new(),
            not_contains: Vec::new(),
            exact_match: None,
            json_object: Vec::new(),
            json_array: None,
            pattern: false,
        }
    }
}

impl Validation {
    /// Whether the text of the body is looked at.
    pub(crate) fn reads_body(&self) -> bool {
        !self.contains.is_empty()
            || !self.not_contains.is_empty()
            || self.exact_match.is_some()
            || self.parses_body()
    }

    /// Whether the body is parsed, so that it has to be kept.
    pub(crate) fn parses_body(&self) -> bool {
        matches!(self.exact_match, Some(ExactMatch::Json(_)))
            || !self.json_object.is_empty()
            || self.json_array.is_some()
    }
}

const DEFAULT_CONTENT_TYPE: &str = "application/json";
