//! Converts YAML test files into the values of JSON ones.

use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// The only document of `text`.
///
/// # Errors
///
/// Text that is no YAML, or that cannot be represented in JSON.
pub(super) fn value(text: &str) -> Result<Value, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    match <[Yaml; 1]>::try_from(documents) {
        Ok([document]) => converted(document),
        Err(documents) => Err(format!("must be one YAML document, not {}", documents.len())),
    }
}

fn converted(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(flag) => Value::Bool(flag),
        Yaml::Integer(number) => Value::from(number),
        Yaml::Real(text) => real(&text)?,
        Yaml::String(text) => Value::String(text),
        Yaml::Array(elements) => {
            Value::Array(elements.into_iter().map(converted).collect::<Result<_, _>>()?)
        }
        Yaml::Hash(fields) => {
            let mut map = Map::new();
            let mut merged = Vec::new();
            for (key, value) in fields {
                match key_text(key)? {
                    key if key == MERGE => merged.push(converted(value)?),
                    key => drop(map.insert(key, converted(value)?)),
                }
            }
            merged.into_iter().try_for_each(|value| merge(&mut map, value))?;
            Value::Object(map)
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err("has a value that is none".to_owned()),
    })
}

// Keeps the number as it was written, if JSON allows that form.
fn real(text: &str) -> Result<Value, String> {
    if let Ok(number) = text.parse::<Number>() {
        return Ok(Value::Number(number));
    }
    let number = text.parse().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or_else(|| format!("{text} is not a JSON number"))
}

fn key_text(key: Yaml) -> Result<String, String> {
    match key {
        Yaml::String(text) | Yaml::Real(text) => Ok(text),
        Yaml::Integer(number) => Ok(number.to_string()),
        Yaml::Boolean(flag) => Ok(flag.to_string()),
        _ => Err("has a key that is not text".to_owned()),
    }
}

// A key of the mapping itself overrides merged ones, and the first of several merged ones counts.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(all) => all.into_iter().try_for_each(|value| merge(map, value)),
        _ => Err(format!("{MERGE} must name a mapping")),
    }
}

const MERGE: &str = "<<";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_with_its_comments_anchors_and_merges() {
        let text = "
# a comment
base: &base {statusCode: 200, contentType: text/plain}
requests:
- path: /1   # another
  validation:
    <<: *base
    length: 1
    contentType: null
- {path: '/2', on: yes, off: false, ratio: 1.50, empty: ~}
";
        let expected = json!({
            "base": {"statusCode": 200, "contentType": "text/plain"},
            "requests": [
                {"path": "/1",
                 "validation": {"length": 1, "contentType": null, "statusCode": 200}},
                {"path": "/2", "on": "yes", "off": false, "ratio": null, "empty": null},
            ],
        });
        let mut found = value(text).unwrap();
        assert_eq!(found["requests"][1]["ratio"].take().to_string(), "1.50");
        assert_eq!(found, expected);
    }

    #[test]
    fn text_that_is_not_one_document_is_an_error() {
        for (text, told) in [
            ("", "one YAML document, not 0"),
            ("a: 1\n---\nb: 2", "one YAML document, not 2"),
            ("a: [", ""),
            ("a: 1\na: 2", "duplicated key"),
            ("a: .inf", "not a JSON number"),
            ("<<: 1", "must name a mapping"),
        ] {
            let error = value(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
