//! Converts JSON into requests, and reports all errors in it.

use serde_json::Value;

use crate::testfile::fields::{Complaint, Fields, kind};
use crate::testfile::{
    Case, CaseBody, ExactMatch, IndexItem, JsonArray, JsonItem, PerfTarget, Validation,
};

/// Reads one element of `requests`.
pub(super) fn case(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<Case, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let path = fields.text("path")?.unwrap_or_default();
    if path.trim().is_empty() {
        return Err(format!("{place}.path: is required"));
    }
    if !path.starts_with('/') {
        return Err(format!("{place}.path: must begin with /"));
    }
    let perf_target = match fields.take("perfTarget") {
        Some((value, place)) => Some(self::perf_target(value, &place, warnings)?),
        None => None,
    };
    let content_media_type = fields.text("contentMediaType")?;
    let (body, content_media_type) = body(&mut fields, content_media_type)?;
    let case = Case {
        path,
        verb: verb(&mut fields)?,
        test_name: fields.text("testName")?,
        tag: fields.text("tag")?.filter(|tag| !tag.trim().is_empty()),
        fail_on_validation_error: fields.flag("failOnValidationError")?,
        body,
        headers: headers(&mut fields)?,
        content_media_type,
        perf_target,
        validation: optional_validation(&mut fields, warnings)?,
    };
    fields.unknown(warnings);
    Ok(case)
}

pub(super) fn perf_target(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<PerfTarget, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let category = fields.text("category")?.unwrap_or_default().trim().to_owned();
    if category.is_empty() {
        return Err(format!("{place}.category: must not be empty"));
    }
    let bounds = fields.each("quartiles")?;
    let quartiles: Vec<f64> = bounds.iter().filter_map(|(bound, _)| bound.as_f64()).collect();
    let quartiles = match (bounds.len(), <[f64; 3]>::try_from(quartiles)) {
        (0, _) => None,
        (3, Ok(three)) => Some(three),
        _ => return Err(format!("{place}.quartiles: must have 3 numbers")),
    };
    fields.unknown(warnings);
    Ok(PerfTarget { category, quartiles })
}

fn verb(fields: &mut Fields<'_>) -> Result<String, Complaint> {
    let verb = fields.text("verb")?.unwrap_or_else(|| "GET".to_owned());
    let verb = verb.trim();
    let upper = verb.to_ascii_uppercase();
    if verb.is_empty() || hyper::Method::from_bytes(verb.as_bytes()).is_err() {
        return Err(format!("{}: '{verb}' is not an HTTP method", fields.place_of("verb")));
    }
    Ok(if KNOWN_VERBS.contains(&upper.as_str()) { upper } else { verb.to_owned() })
}

fn body(
    fields: &mut Fields<'_>,
    media_type: Option<String>,
) -> Result<(CaseBody, Option<String>), Complaint> {
    let generated = fields.whole("bodyLength")?;
    match (fields.take("body"), generated) {
        (None, None) => Ok((CaseBody::Empty, media_type)),
        (None, Some(length)) => Ok((CaseBody::Generated(length), media_type)),
        (Some((_, place)), Some(_)) => Err(format!("{place}: conflicts with bodyLength")),
        (Some((Value::String(text), _)), None) if text.trim().is_empty() => {
            Ok((CaseBody::Empty, media_type))
        }
        (Some((Value::String(text), _)), None) => Ok((CaseBody::Text(text.clone()), media_type)),
        (Some((json @ (Value::Object(_) | Value::Array(_)), place)), None) => {
            let media_type = media_type.unwrap_or_else(|| "application/json".to_owned());
            if !media_type.to_ascii_lowercase().contains("json") {
                return Err(format!("{place}: must be text if contentMediaType is {media_type}"));
            }
            Ok((CaseBody::Text(json.to_string()), Some(media_type)))
        }
        (Some((other, place)), None) => {
            Err(format!("{place}: must be text, an object or an array, not {}", kind(other)))
        }
    }
}

fn headers(fields: &mut Fields<'_>) -> Result<Vec<(String, String)>, Complaint> {
    let Some((value, place)) = fields.take("headers") else { return Ok(Vec::new()) };
    let Value::Object(map) = value else {
        return Err(format!("{place}: must be an object, not {}", kind(value)));
    };
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map {
        let Value::String(text) = value else {
            return Err(format!("{place}.{name}: must be text, not {}", kind(value)));
        };
        headers.push((name.clone(), text.clone()));
    }
    Ok(headers)
}

fn optional_validation(
    fields: &mut Fields<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Validation>, Complaint> {
    match fields.take("validation") {
        Some((value, place)) => validation(value, &place, warnings).map(Some),
        None => Ok(None),
    }
}

fn validation(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<Validation, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let mut validation = Validation::default();
    if let Some(status) = fields.whole("statusCode")? {
        let known = u16::try_from(status).ok().filter(|status| (100..=599).contains(status));
        validation.status_code =
            known.ok_or_else(|| format!("{place}.statusCode: must be 100 to 599, not {status}"))?;
    }
    // Null accepts any type and a missing key means the default; they differ for no other field.
    if fields.raw("contentType").is_some() {
        validation.content_type = fields.text("contentType")?;
    }
    if validation.content_type.as_ref().is_some_and(String::is_empty) {
        return Err(format!("{place}.contentType: must not be empty"));
    }
    lengths(&mut fields, &mut validation)?;
    validation.max_milliseconds = fields.whole("maxMilliSeconds")?;
    if validation.max_milliseconds == Some(0) {
        return Err(format!("{place}.maxMilliSeconds: must be at least 1"));
    }
    validation.contains = fields.texts("contains")?;
    validation.not_contains = fields.texts("notContains")?;
    validation.exact_match = exact_match(&mut fields)?;
    for (value, place) in fields.each("jsonObject")? {
        validation.json_object.push(json_item(value, &place, warnings)?);
    }
    if let Some((value, place)) = fields.take("jsonArray") {
        validation.json_array = Some(Box::new(json_array(value, &place, warnings)?));
    }
    validation.pattern = fields.flag("pattern")?;
    if let Some((value, place)) = fields.take("perfTarget")
        && perf_target(value, &place, warnings)?.quartiles.is_none()
    {
        return Err(format!("{place}.quartiles: must have 3 numbers"));
    }
    fields.unknown(warnings);
    Ok(validation)
}

fn lengths(fields: &mut Fields<'_>, validation: &mut Validation) -> Result<(), Complaint> {
    validation.length = fields.whole("length")?;
    validation.min_length = fields.whole("minLength")?;
    validation.max_length = fields.whole("maxLength")?;
    match (validation.min_length, validation.max_length) {
        (Some(least), Some(most)) if most < least => {
            Err(format!("{}: must not be less than minLength", fields.place_of("maxLength")))
        }
        _ => Ok(()),
    }
}

fn exact_match(fields: &mut Fields<'_>) -> Result<Option<ExactMatch>, Complaint> {
    match fields.take("exactMatch") {
        None => Ok(None),
        Some((Value::String(text), place)) if text.is_empty() => {
            Err(format!("{place}: must not be empty"))
        }
        Some((Value::String(text), _)) => Ok(Some(ExactMatch::Text(text.clone()))),
        Some((json @ (Value::Object(_) | Value::Array(_)), _)) => {
            Ok(Some(ExactMatch::Json(json.clone())))
        }
        Some((other, place)) => {
            Err(format!("{place}: must be text, an object or an array, not {}", kind(other)))
        }
    }
}

fn json_item(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<JsonItem, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let field = fields.text("field")?.unwrap_or_default();
    if field.trim().is_empty() {
        return Err(format!("{place}.field: must not be empty"));
    }
    let item = JsonItem {
        field,
        value: fields.take("value").map(|(value, _)| value.clone()),
        validation: optional_validation(&mut fields, warnings)?,
    };
    fields.unknown(warnings);
    Ok(item)
}

fn json_array(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<JsonArray, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let mut array = JsonArray {
        count: fields.whole("count")?,
        min_count: fields.whole("minCount")?,
        max_count: fields.whole("maxCount")?,
        ..JsonArray::default()
    };
    let bounded = array.min_count.is_some() || array.max_count.is_some();
    if array.count.is_some() && bounded {
        return Err(format!("{place}.count: conflicts with minCount and maxCount"));
    }
    if let (Some(least), Some(most)) = (array.min_count, array.max_count)
        && most <= least
    {
        return Err(format!("{place}.maxCount: must be greater than minCount"));
    }
    for (value, place) in fields.each("forEach")? {
        array.for_each.push(validation(value, &place, warnings)?);
    }
    for (value, place) in fields.each("forAny")? {
        array.for_any.push(validation(value, &place, warnings)?);
    }
    for (value, place) in fields.each("byIndex")? {
        array.by_index.push(index_item(value, &place, warnings)?);
    }
    fields.unknown(warnings);
    Ok(array)
}

fn index_item(
    value: &Value,
    place: &str,
    warnings: &mut Vec<String>,
) -> Result<IndexItem, Complaint> {
    let mut fields = Fields::of(value, place)?;
    let item = IndexItem {
        index: fields.whole("index")?.unwrap_or(0),
        field: fields.text("field")?.filter(|field| !field.is_empty()),
        value: fields.take("value").map(|(value, _)| value.clone()),
        validation: optional_validation(&mut fields, warnings)?,
    };
    if item.field.is_none() && item.value.is_none() && item.validation.is_none() {
        return Err(format!("{place}: needs a field, a value or a validation"));
    }
    fields.unknown(warnings);
    Ok(item)
}

const KNOWN_VERBS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"];
