//! Reads test files.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use jsonc_parser::{JsonValue, ParseOptions};
use serde_json::Value;

use crate::client::Target;
use crate::testfile::fields::Fields;
use crate::testfile::{Case, PerfTargets, read, variables, yaml};

/// The content of the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Loaded {
    /// All requests, in the order of the files; never empty.
    pub cases: Vec<Case>,
    /// What is unusual, but no error.
    pub warnings: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileError {
    file: String,
    why: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

impl std::error::Error for FileError {}

/// Reads `files`, the environment for their variables, and `perfTargets.txt` in the working
/// directory if it exists.
///
/// # Errors
///
/// The first error, with its file and its place in the file.
pub(crate) fn load(files: &[String]) -> Result<Loaded, FileError> {
    let mut loaded = Loaded::default();
    let targets = perf_targets(Path::new(PERF_TARGETS), &mut loaded.warnings)?;
    for file in files {
        let refuse = |why| FileError { file: file.clone(), why };
        let text = text_of(Path::new(file)).map_err(|error| refuse(error.to_string()))?;
        let mut warnings = Vec::new();
        let parsed = if is_yaml(file) { yaml::value(&text) } else { json(&text) };
        let cases = parsed.and_then(|value| cases(value, &mut warnings)).map_err(refuse)?;
        loaded.cases.extend(cases);
        loaded.warnings.extend(warnings.iter().map(|warning| format!("{file}: {warning}")));
    }
    for case in &mut loaded.cases {
        if let Some(target) = &mut case.perf_target
            && target.quartiles.is_none()
        {
            target.quartiles = targets.get(&target.category).and_then(|known| known.quartiles);
        }
    }
    Ok(loaded)
}

fn is_yaml(file: &str) -> bool {
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|name| ["yaml", "yml"].iter().any(|yaml| name.eq_ignore_ascii_case(yaml)))
}

/// Reads one test file; errors name the place, but not the file.
fn cases(value: Value, warnings: &mut Vec<String>) -> Result<Vec<Case>, String> {
    let mut value = value;
    if value.is_array() {
        return Err("must be an object with requests; the arrays of WebV 1 are not read".to_owned());
    }
    let names = Fields::of(&value, "the file")?.texts("variables")?;
    let environment =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if let Some(name) = names.iter().find(|name| environment(name).is_none()) {
        return Err(format!("variables: {name} is not set in the environment"));
    }
    variables::replace(&mut value, &names, &environment);
    let mut fields = Fields::of(&value, "")?;
    fields.raw("variables");
    let mut cases = Vec::new();
    // What cannot be written in HTTP is an error of the file, whatever the server.
    let sample = Target::parse("http://localhost").map_err(|error| error.to_string())?;
    for (request, place) in fields.each("requests")? {
        let case = read::case(request, &place, warnings)?;
        case.request(&sample, "").map_err(|error| format!("{place}: {error}"))?;
        cases.push(case);
    }
    fields.unknown(warnings);
    if cases.is_empty() { Err("has no requests".to_owned()) } else { Ok(cases) }
}

fn perf_targets(path: &Path, warnings: &mut Vec<String>) -> Result<PerfTargets, FileError> {
    let refuse = |why| FileError { file: path.display().to_string(), why };
    let text = match text_of(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PerfTargets::new()),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let value = json(&text).map_err(refuse)?;
    let Value::Object(map) = value else { return Err(refuse("must be an object".to_owned())) };
    let mut targets = PerfTargets::new();
    for (category, value) in &map {
        let target = read::perf_target(value, category, warnings).map_err(refuse)?;
        targets.insert(category.clone(), target);
    }
    Ok(targets)
}

// A test file is written by hand; a larger file was named by mistake.
fn text_of(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

// What WebV's parser accepts beyond JSON: comments, trailing commas, single quotes.
fn json(text: &str) -> Result<Value, String> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_single_quoted_strings: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = jsonc_parser::parse_to_value(text, &options).map_err(|error| error.to_string())?;
    written(parsed.unwrap_or(JsonValue::Null))
}

// The parser's own conversion would change some numbers: 10.00 would become 10.0.
fn written(value: JsonValue<'_>) -> Result<Value, String> {
    Ok(match value {
        JsonValue::Null => Value::Null,
        JsonValue::Boolean(flag) => Value::Bool(flag),
        JsonValue::String(text) => Value::String(text.into_owned()),
        JsonValue::Number(digits) => {
            let number = digits.parse().map_err(|_| format!("{digits} is no number"))?;
            Value::Number(number)
        }
        JsonValue::Array(elements) => {
            Value::Array(elements.into_iter().map(written).collect::<Result<_, _>>()?)
        }
        JsonValue::Object(fields) => {
            let fields =
                fields.into_iter().map(|(name, value)| Ok((name.into_owned(), written(value)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
    })
}

const PERF_TARGETS: &str = "perfTargets.txt";
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
