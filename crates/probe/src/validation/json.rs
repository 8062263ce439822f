//! JSON bodies: fields of objects and elements of arrays, each with its own checks.

use serde_json::Value;

use crate::testfile::{ExactMatch, IndexItem, JsonArray, JsonItem, Validation};

/// Checks a whole body that is parsed.
pub(super) fn parsed(validation: &Validation, text: &str, errors: &mut Vec<String>) {
    if let Some(ExactMatch::Json(expected)) = &validation.exact_match
        && !is_json(text, expected)
    {
        errors.push(format!("ExactMatch: {text} : Expected: {expected}"));
    }
    object(&validation.json_object, text, errors);
    if let Some(expected) = &validation.json_array {
        array(expected, text, errors);
    }
}

/// Checks a part of a body.
fn content(validation: &Validation, text: &str, errors: &mut Vec<String>) {
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
    parsed(validation, text, errors);
}

fn is_json(text: &str, expected: &Value) -> bool {
    serde_json::from_str(text).is_ok_and(|actual| same(&actual, expected))
}

fn object(items: &[JsonItem], text: &str, errors: &mut Vec<String>) {
    if items.is_empty() {
        return;
    }
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return errors.push(format!("Exception: {error}")),
    };
    let Value::Object(map) = document else {
        return errors.push("Exception: the body is no JSON object".to_owned());
    };
    for item in items {
        let Some(element) = map.get(&item.field) else {
            errors.push(format!("json: Field Not Found: {}", item.field));
            continue;
        };
        match &item.validation {
            Some(_) if element.is_null() => {
                errors.push(format!("json: Field is null: {}", item.field));
            }
            Some(validation) => content(validation, &element.to_string(), errors),
            None => {}
        }
        compare(&item.field, element, item.value.as_ref(), errors);
    }
}

fn array(expected: &JsonArray, text: &str, errors: &mut Vec<String>) {
    let elements: Vec<Value> = match serde_json::from_str(text) {
        Ok(elements) => elements,
        Err(error) => return errors.push(format!("Exception: {error}")),
    };
    count(expected, elements.len() as u64, errors);
    for element in &elements {
        for validation in &expected.for_each {
            content(validation, &element.to_string(), errors);
        }
    }
    for validation in &expected.for_any {
        any(validation, &elements, errors);
    }
    for item in &expected.by_index {
        let index = usize::try_from(item.index).unwrap_or(usize::MAX);
        let Some(element) = elements.get(index) else {
            // As in WebV, the elements after it are not checked.
            return errors.push(format!("byIndex: Index out of bounds: {}", item.index));
        };
        by_index(item, element, errors);
    }
}

fn count(expected: &JsonArray, actual: u64, errors: &mut Vec<String>) {
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
fn any(validation: &Validation, elements: &[Value], errors: &mut Vec<String>) {
    let mut last = vec!["json: the array is empty".to_owned()];
    for element in elements {
        last.clear();
        content(validation, &element.to_string(), &mut last);
        if last.is_empty() {
            return;
        }
    }
    errors.extend(last.iter().map(|error| {
        let parts: Vec<_> = error.split(':').map(str::trim).collect();
        match parts.as_slice() {
            [_, field, _, _, expected, ..] => format!("forAny: {field}: Expected: {expected}"),
            _ => error.replace("json:", "forAny:"),
        }
    }));
}

fn by_index(item: &IndexItem, element: &Value, errors: &mut Vec<String>) {
    let field = item.field.as_deref();
    let part = match field {
        None => element,
        Some(field) => match element.get(field) {
            Some(part) => part,
            None => return errors.push(format!("json: Field Not Found: {field}")),
        },
    };
    match &item.validation {
        Some(validation) => content(validation, &part.to_string(), errors),
        None => compare(field.unwrap_or_default(), part, item.value.as_ref(), errors),
    }
}

/// Whether two values are the same, whatever the order of their fields; 10 equals 10.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value)| other.get(name).is_some_and(|found| same(value, found));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

// Compares as text and then as numbers, so that 10 equals 10.0.
fn compare(field: &str, actual: &Value, expected: Option<&Value>, errors: &mut Vec<String>) {
    let Some(expected) = expected else { return };
    let (actual, expected) = (plain(actual), plain(expected));
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let equal = actual == expected
        || number(&actual).zip(number(&expected)).is_some_and(|(one, other)| one == other);
    if !equal {
        errors.push(format!("json: {field}: {actual} : Expected: {expected}"));
    }
}

// A value as .NET prints it: text without quotes, booleans with a capital letter, null as empty
// text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
