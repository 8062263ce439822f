//! Reads JSON by hand, so that every error names its place.

use serde_json::{Map, Value};

/// What is wrong and where: `requests[2].validation.length: must be ...`.
pub(super) type Complaint = String;

/// The fields of one object. Names are compared without regard to case, as WebV does for JSON logs.
pub(super) struct Fields<'a> {
    place: String,
    map: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, place: &str) -> Result<Self, Complaint> {
        match value {
            Value::Object(map) => Ok(Self { place: place.to_owned(), map, known: Vec::new() }),
            other => Err(format!("{place}: must be an object, not {}", kind(other))),
        }
    }

    /// A field's value. Null counts as absent; only `raw` returns it.
    pub(super) fn take(&mut self, name: &'static str) -> Option<(&'a Value, String)> {
        self.raw(name).filter(|(value, _)| !value.is_null())
    }

    pub(super) fn raw(&mut self, name: &'static str) -> Option<(&'a Value, String)> {
        self.known.push(name);
        let found = self.map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| (value, self.place_of(name)))
    }

    pub(super) fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Adds a warning for each name that nobody has asked for.
    pub(super) fn unknown(&self, warnings: &mut Vec<String>) {
        for key in self.map.keys() {
            if !self.known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
                warnings.push(format!("{}: unknown key, ignored", self.place_of(key)));
            }
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Complaint> {
        let Some((value, place)) = self.take(name) else { return Ok(None) };
        text(value, &place).map(Some)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Complaint> {
        match self.take(name) {
            None => Ok(false),
            Some((Value::Bool(flag), _)) => Ok(*flag),
            Some((other, place)) => {
                Err(format!("{place}: must be true or false, not {}", kind(other)))
            }
        }
    }

    pub(super) fn whole(&mut self, name: &'static str) -> Result<Option<u64>, Complaint> {
        let Some((value, place)) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().ok_or_else(|| {
            format!("{place}: must be a whole number of at least 0, not {}", kind(value))
        })?;
        Ok(Some(number))
    }

    pub(super) fn each(
        &mut self,
        name: &'static str,
    ) -> Result<Vec<(&'a Value, String)>, Complaint> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some((Value::Array(elements), place)) => {
                let numbered = elements.iter().enumerate();
                Ok(numbered.map(|(i, element)| (element, format!("{place}[{i}]"))).collect())
            }
            Some((other, place)) => Err(format!("{place}: must be an array, not {}", kind(other))),
        }
    }

    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Complaint> {
        let mut texts = Vec::new();
        for (value, place) in self.each(name)? {
            let text = text(value, &place)?;
            if text.is_empty() {
                return Err(format!("{place}: must not be empty"));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

fn text(value: &Value, place: &str) -> Result<String, Complaint> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("{place}: must be text, not {}", kind(other))),
    }
}

/// A value in a few words.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
