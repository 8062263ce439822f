//! Replaces `${NAME}` in test files.

use serde_json::Value;

/// Replaces `${NAME}` in every text of `value`, including the names of fields, but only for
/// `names`. This happens after the file was parsed, so that a value needs no escaping.
pub(super) fn replace(
    value: &mut Value,
    names: &[String],
    environment: &dyn Fn(&str) -> Option<String>,
) {
    match value {
        Value::String(text) => replace_in(text, names, environment),
        Value::Array(elements) => {
            for element in elements {
                replace(element, names, environment);
            }
        }
        Value::Object(fields) => {
            let pairs = std::mem::take(fields).into_iter().map(|(name, value)| {
                let (mut name, mut value) = (name, value);
                replace_in(&mut name, names, environment);
                replace(&mut value, names, environment);
                (name, value)
            });
            *fields = pairs.collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn replace_in(text: &mut String, names: &[String], environment: &dyn Fn(&str) -> Option<String>) {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // Each place is looked at once: a value that holds `${NAME}` itself stays as it is.
    while let Some(start) = rest.find("${") {
        let (before, place) = rest.split_at(start);
        replaced.push_str(before);
        let name = names.iter().find(|name| {
            let inner = place[2..].strip_prefix(name.as_str());
            inner.is_some_and(|after| after.starts_with('}'))
        });
        let length = match name {
            Some(name) => {
                replaced.push_str(&environment(name).unwrap_or_default());
                name.len() + "${}".len()
            }
            None => {
                replaced.push_str("${");
                "${".len()
            }
        };
        rest = &place[length..];
    }
    replaced.push_str(rest);
    *text = replaced;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replaces_only_declared_names_and_unset_ones_by_nothing() {
        let environment = |name: &str| (name == "SET").then(|| "a\"b".to_owned());
        let mut value =
            json!({"x": ["${SET}-${UNSET}-${OTHER}", 1], "y${SET}": {"z": "${SET}${SET}"}});
        replace(&mut value, &["SET".to_owned(), "UNSET".to_owned()], &environment);
        assert_eq!(value, json!({"x": ["a\"b--${OTHER}", 1], "ya\"b": {"z": "a\"ba\"b"}}));
    }

    #[test]
    fn a_value_is_not_searched_again() {
        let environment = |name: &str| (name == "A").then(|| "${B}$".to_owned());
        let mut value = json!("${A}{B}${B}");
        replace(&mut value, &["A".to_owned(), "B".to_owned()], &environment);
        assert_eq!(value, json!("${B}${B}"));
    }
}
