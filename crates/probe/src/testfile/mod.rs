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
    /// The path, which begins with a slash.
    pub path: String,
    /// The method; `GET` by default.
    pub verb: String,
    /// A name for grouping in the log.
    pub test_name: Option<String>,
    /// A tag for the log and the metrics, instead of `--tag`.
    pub tag: Option<String>,
    /// Whether every validation error counts as a failure.
    pub fail_on_validation_error: bool,
    /// What is sent.
    pub body: CaseBody,
    /// Header fields that are sent in addition.
    pub headers: Vec<(String, String)>,
    /// The media type of the body.
    pub content_media_type: Option<String>,
    /// The target that decides in which quarter the time of an answer falls.
    pub perf_target: Option<PerfTarget>,
    /// `None` if every answer is good.
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
    /// This many bytes of the repeating pattern.
    Generated(u64),
}

/// The checks of an answer, or of a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Validation {
    /// The status.
    pub status_code: u16,
    /// The beginning of `Content-Type`; `None` if any is good.
    pub content_type: Option<String>,
    /// The length, in bytes.
    pub length: Option<u64>,
    /// The least length, in bytes.
    pub min_length: Option<u64>,
    /// The greatest length, in bytes.
    pub max_length: Option<u64>,
    /// The longest time, in whole milliseconds.
    pub max_milliseconds: Option<u64>,
    /// Texts that the body must contain.
    pub contains: Vec<String>,
    /// Texts that the body must not contain.
    pub not_contains: Vec<String>,
    /// The whole body.
    pub exact_match: Option<ExactMatch>,
    /// Fields of a JSON object.
    pub json_object: Vec<JsonItem>,
    /// The checks of a JSON array.
    pub json_array: Option<Box<JsonArray>>,
    /// Whether the body must be the repeating pattern.
    pub pattern: bool,
}

/// The expected content of a whole body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExactMatch {
    /// This text.
    Text(String),
    /// This JSON, with any spacing and order of fields.
    Json(Value),
}

/// The check of a field of a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonItem {
    /// Its name.
    pub field: String,
    /// `None` if any value is good.
    pub value: Option<Value>,
    /// The checks of the field's value.
    pub validation: Option<Validation>,
}

/// The checks of a JSON array.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonArray {
    /// The exact number of elements.
    pub count: Option<u64>,
    /// The least number of elements.
    pub min_count: Option<u64>,
    /// The greatest number of elements.
    pub max_count: Option<u64>,
    /// Checks that every element must pass.
    pub for_each: Vec<Validation>,
    /// Checks that at least one element must pass.
    pub for_any: Vec<Validation>,
    /// Checks of single elements.
    pub by_index: Vec<IndexItem>,
}

/// The check of an element of a JSON array.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexItem {
    /// The position, counted from 0.
    pub index: u64,
    /// `None` if the element itself is checked.
    pub field: Option<String>,
    /// `None` if any value is good.
    pub value: Option<Value>,
    /// The checks of the field or of the element.
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
    /// Whether the text of the body is needed.
    pub(crate) fn reads_body(&self) -> bool {
        !self.contains.is_empty()
            || !self.not_contains.is_empty()
            || self.exact_match.is_some()
            || self.parses_body()
    }

    /// Whether the body is parsed, and so must be kept.
    pub(crate) fn parses_body(&self) -> bool {
        matches!(self.exact_match, Some(ExactMatch::Json(_)))
            || !self.json_object.is_empty()
            || self.json_array.is_some()
    }
}

const DEFAULT_CONTENT_TYPE: &str = "application/json";
