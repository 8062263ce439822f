//! JSON bodies: fields of objects and elements of arrays, each with its own checks.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::testfile::{ExactMatch, IndexItem, JsonArray, JsonItem, Validation};
use crate::validation::compact::{Skim, compact, elements, fields, is_same, unquoted};
use crate::validation::errors::Errors;

/// Checks a whole body that is parsed.
pub(super) fn parsed(validation: &Validation, text: &str, errors: &mut Errors) {
    checked(validation, Text { text, is_compact: false }, errors);
}

/// The text of one value. What is below a body is cut out of its compact text.
#[derive(Clone, Copy)]
struct Text<'a> {
    text: &'a str,
    is_compact: bool,
}

impl<'a> Text<'a> {
    // Only text that has been parsed without an error may be made compact.
    fn compact(self) -> Cow<'a, str> {
        match self.is_compact {
            true => self.text.into(),
            false => compact(self.text).into(),
        }
    }
}

fn checked(validation: &Validation, text: Text<'_>, errors: &mut Errors) {
    if let Some(ExactMatch::Json(expected)) = &validation.exact_match
        && !(serde_json::from_str::<Skim>(text.text).is_ok() && is_same(&text.compact(), expected))
    {
        errors.push(format!("ExactMatch: {} : Expected: {expected}", text.text));
    }
    object(&validation.json_object, text, errors);
    if let Some(expected) = &validation.json_array {
        array(expected, text, errors);
    }
}

/// Checks a part of a body, which is compact.
fn content(validation: &Validation, text: &str, errors: &mut Errors) {
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
    if let Some(ExactMatch::Text(expected)) = &validation.exact_match
        && text != expected
    {
        errors.push(format!("ExactMatch: {text} : Expected: {expected}"));
    }
    checked(validation, Text { text, is_compact: true }, errors);
}

fn object(items: &[JsonItem], text: Text<'_>, errors: &mut Errors) {
    if items.is_empty() {
        return;
    }
    if let Err(error) = serde_json::from_str::<Skim>(text.text) {
        return errors.push(format!("Exception: {error}"));
    }
    let whole = text.compact();
    if !whole.starts_with('{') {
        return errors.push("Exception: the body is no JSON object".to_owned());
    }
    let named: HashSet<&str> = items.iter().map(|item| item.field.as_str()).collect();
    let found: HashMap<_, _> = fields(&whole).filter(|(name, _)| named.contains(&**name)).collect();
    for item in items {
        let Some(element) = found.get(item.field.as_str()) else {
            errors.push(format!("json: Field Not Found: {}", item.field));
            continue;
        };
        match &item.validation {
            Some(_) if *element == NULL => {
                errors.push(format!("json: Field is null: {}", item.field));
            }
            Some(validation) => content(validation, element, errors),
            None => {}
        }
        compare(&item.field, element, item.value.as_ref(), errors);
    }
}

fn array(expected: &JsonArray, text: Text<'_>, errors: &mut Errors) {
    let actual = match serde_json::from_str::<Vec<Skim>>(text.text) {
        Ok(elements) => elements.len() as u64,
        Err(error) => return errors.push(format!("Exception: {error}")),
    };
    let whole = text.compact();
    count(expected, actual, errors);
    if !expected.for_each.is_empty() {
        for element in elements(&whole) {
            expected.for_each.iter().for_each(|check| content(check, element, errors));
        }
    }
    for validation in &expected.for_any {
        any(validation, &whole, errors);
    }
    let wanted: HashSet<u64> = expected.by_index.iter().map(|item| item.index).collect();
    let last = wanted.iter().max().map_or(0, |last| last.saturating_add(1));
    let found: HashMap<u64, &str> =
        (0..last).zip(elements(&whole)).filter(|(index, _)| wanted.contains(index)).collect();
    for item in &expected.by_index {
        let Some(element) = found.get(&item.index) else {
            // As in WebV, the elements after it are not checked.
            return errors.push(format!("byIndex: Index out of bounds: {}", item.index));
        };
        by_index(item, element, errors);
    }
}

fn count(expected: &JsonArray, actual: u64, errors: &mut Errors) {
    let JsonArray { count, min_count, max_count, .. } = *expected;
    if let Some(count) = count.filter(|count| actual != *count) {
        errors.push(format!("JsonArrayCount: {actual} Expected: {count}"));
    }
    if let Some(least) = min_count.filter(|least| actual < *least) {
        errors.push(format!("MinJsonCount: {actual} Expected: {least}"));
    }
    if let Some(most) = max_count.filter(|most| actual > *most) {
        errors.push(format!("MaxJsonCount: {actual} Expected: {most}"));
    }
}

// Reports the errors of the last element, as WebV does.
fn any(validation: &Validation, array: &str, errors: &mut Errors) {
    let mut last = Errors::from(vec!["json: the array is empty".to_owned()]);
    for element in elements(array) {
        last = Errors::default();
        content(validation, element, &mut last);
        if last.is_empty() {
            return;
        }
    }
    errors.extend(&last, |error| {
        let parts: Vec<_> = error.split(':').map(str::trim).collect();
        match parts.as_slice() {
            [_, field, _, _, expected, ..] => format!("forAny: {field}: Expected: {expected}"),
            _ => error.replace("json:", "forAny:"),
        }
    });
}

fn by_index(item: &IndexItem, element: &str, errors: &mut Errors) {
    let field = item.field.as_deref();
    let part = match field {
        None => element,
        Some(field) => match fields(element).find(|(name, _)| name == field) {
            Some((_, part)) => part,
            None => return errors.push(format!("json: Field Not Found: {field}")),
        },
    };
    match &item.validation {
        Some(validation) => content(validation, part, errors),
        None => compare(field.unwrap_or_default(), part, item.value.as_ref(), errors),
    }
}

// Compares as text and then as numbers, so that 10 equals 10.0.
fn compare(field: &str, actual: &str, expected: Option<&Value>, errors: &mut Errors) {
    let Some(expected) = expected.map(Value::to_string) else { return };
    let (actual, expected) = (plain(actual), plain(&expected));
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let equal = actual == expected
        || number(&actual).zip(number(&expected)).is_some_and(|(one, other)| one == other);
    if !equal {
        errors.push(format!("json: {field}: {actual} : Expected: {expected}"));
    }
}

// A compact value as .NET prints it: text without quotes, booleans with a capital letter, null as
// empty text.
fn plain(value: &str) -> Cow<'_, str> {
    match value {
        "true" => "True".into(),
        "false" => "False".into(),
        NULL => "".into(),
        text if text.starts_with('"') => unquoted(text),
        other => other.into(),
    }
}

const NULL: &str = "null";
