//! Parses a Content-Type into the form in which .NET compares it.

use std::fmt;

use hyper::header::HeaderValue;

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    essence: String,
    parameters: Vec<(String, Option<String>)>,
}

impl MediaType {
    /// `None` if the value is empty or no media type: such a field counts as missing.
    pub(super) fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        let mut parts = split(text, ';').into_iter().map(str::trim);
        let essence = parts.next()?;
        let (kind, subkind) = essence.split_once('/')?;
        let (kind, subkind) = (kind.trim(), subkind.trim());
        if !is_token(kind) || !is_token(subkind) {
            return None;
        }
        let mut parameters = Vec::new();
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (part, None),
            };
            if !is_token(name) || value.is_some_and(|value| !is_token(value) && !is_quoted(value)) {
                return None;
            }
            parameters.push((name.to_owned(), value.map(str::to_owned)));
        }
        Some(Self { essence: format!("{kind}/{subkind}"), parameters })
    }

    /// The charset without its quotes.
    pub(super) fn charset(&self) -> Option<String> {
        let (_, value) =
            self.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("charset"))?;
        value.as_ref().map(|value| value.trim_matches('"').to_owned())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.essence)?;
        for (name, value) in &self.parameters {
            match value {
                Some(value) => write!(f, "; {name}={value}")?,
                None => write!(f, "; {name}")?,
            }
        }
        Ok(())
    }
}

// A separator inside quotes does not separate.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|letter: char| {
        let was_escaped = escaped;
        escaped = quoted && !was_escaped && letter == '\\';
        quoted ^= letter == '"' && !was_escaped;
        letter == separator && !quoted
    })
    .collect()
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2 && text.starts_with('"') && text.ends_with('"')
}

// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_normalized_and_an_invalid_one_counts_as_missing() {
        for (field, expected) in [
            ("text/plain", Some("text/plain")),
            (" text/plain ", Some("text/plain")),
            ("a/b;c=d", Some("a/b; c=d")),
            ("a/b ;  c = d;e", Some("a/b; c=d; e")),
            ("a/b;", Some("a/b")),
            ("A/B; charset=\"x;y\"", Some("A/B; charset=\"x;y\"")),
            ("", None),
            ("text", None),
            ("text/", None),
            ("/plain", None),
            ("text plain/x", None),
            ("a/b; c=d e", None),
            ("a/b; =d", None),
            ("a/b, c/d", None),
        ] {
            let value = HeaderValue::from_str(field).unwrap();
            let found = MediaType::parse(&value).map(|media_type| media_type.to_string());
            assert_eq!(found.as_deref(), expected, "{field}");
        }
    }

    #[test]
    fn the_charset_has_no_quotes() {
        let value = HeaderValue::from_static("a/b; Charset=\"utf-8\"; x=y");
        assert_eq!(MediaType::parse(&value).unwrap().charset().unwrap(), "utf-8");
    }
}
