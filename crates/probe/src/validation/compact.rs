//! The text of JSON without white space, and its parts, which are slices of it. Values in a tree
//! would need up to fifty times as much memory as their text.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr2;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Any value, which is parsed and not kept. A list of them needs no memory.
pub(super) struct Skim;

impl<'de> Deserialize<'de> for Skim {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self, A::Error> {
        while all.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// `text`, which must be valid JSON, as the library writes the value that it parses: without white
/// space and needless escapes, and each name of an object once, with its last value.
pub(super) fn compact(text: &str) -> String {
    let mut writer = Writer { rest: text, written: String::with_capacity(text.len()) };
    writer.value();
    writer.written
}

struct Writer<'a> {
    rest: &'a str,
    written: String,
}

/// A field in the written text.
struct Field {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Writer<'_> {
    fn value(&mut self) {
        match self.peek() {
            Some(b'"') => self.text(),
            Some(b'[') => {
                self.mark();
                while !self.is_end(b']') {
                    self.value();
                }
                self.mark();
            }
            Some(b'{') => self.object(),
            Some(_) => {
                let length = scalar_length(self.rest);
                let scalar = self.take(length);
                write_scalar(scalar, &mut self.written);
            }
            None => {}
        }
    }

    fn object(&mut self) {
        self.mark();
        let first = self.written.len();
        let mut fields = Vec::new();
        while !self.is_end(b'}') {
            let start = self.written.len();
            self.text();
            let name_end = self.written.len();
            self.peek();
            self.mark();
            self.value();
            fields.push(Field { start, name_end, end: self.written.len() });
        }
        self.unite(first, &fields);
        self.mark();
    }

    // Keeps the place of the first field of a name and the value of the last one.
    fn unite(&mut self, first: usize, fields: &[Field]) {
        let written = &self.written;
        let name = |index: &usize| &written[fields[*index].start..fields[*index].name_end];
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_unstable_by(|one, other| name(one).cmp(name(other)).then(one.cmp(other)));
        if order.windows(2).all(|two| name(&two[0]) != name(&two[1])) {
            return;
        }
        let mut kept: Vec<_> = order
            .chunk_by(|one, other| name(one) == name(other))
            .filter_map(|same| Some((*same.first()?, *same.last()?)))
            .collect();
        kept.sort_unstable();
        let texts =
            kept.into_iter().map(|(_, last)| &written[fields[last].start..fields[last].end]);
        let united = texts.collect::<Vec<_>>().join(",");
        self.written.truncate(first);
        self.written.push_str(&united);
    }

    fn text(&mut self) {
        self.peek();
        let length = string_length(self.rest);
        let quoted = self.take(length);
        // Without an escape, the library writes a string as it stands.
        let plain = if quoted.contains('\\') {
            let text = serde_json::from_str::<String>(quoted).ok();
            text.and_then(|text| serde_json::to_string(&text).ok()).map_or(quoted.into(), Cow::from)
        } else {
            Cow::from(quoted)
        };
        self.written.push_str(&plain);
    }

    /// Whether `bracket` comes next; if not, writes the comma that comes first.
    fn is_end(&mut self, bracket: u8) -> bool {
        match self.peek() {
            Some(b',') => self.mark(),
            Some(next) => return next == bracket,
            None => return true,
        }
        self.peek();
        false
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches(WHITE_SPACE);
        self.rest.bytes().next()
    }

    /// Copies one mark, such as a bracket.
    fn mark(&mut self) {
        let mark = self.take(1);
        self.written.push_str(mark);
    }
}

impl<'a> Writer<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

// The library writes the sign of every exponent.
fn write_scalar(scalar: &str, written: &mut String) {
    let is_number = scalar.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match scalar.split_once(['e', 'E']).filter(|_| is_number) {
        Some((digits, exponent)) => {
            written.push_str(digits);
            written.push('e');
            if !exponent.starts_with(['+', '-']) {
                written.push('+');
            }
            written.push_str(exponent);
        }
        None => written.push_str(scalar),
    }
}

/// The elements of an array, which is compact.
pub(super) fn elements(array: &str) -> impl Iterator<Item = &str> {
    parts(array).map(|part| &array[part])
}

/// The names and values of an object, which is compact; none if it is no object.
pub(super) fn fields(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let object = if object.starts_with('{') { object } else { "{}" };
    parts(object).map(|part| {
        let field = &object[part];
        let (name, value) = field.split_at(string_length(field));
        (unquoted(name), &value[1..])
    })
}

/// The text of a string, which is compact.
pub(super) fn unquoted(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    match inner.contains('\\') {
        true => serde_json::from_str(quoted).map_or(Cow::from(inner), Cow::Owned),
        false => Cow::from(inner),
    }
}

/// Whether a compact value is `expected`, whatever the order of fields; 10 equals 10.0.
pub(super) fn is_same(actual: &str, expected: &Value) -> bool {
    match expected {
        Value::Array(expected) => {
            let mut all = expected.iter();
            actual.starts_with('[')
                && elements(actual)
                    .all(|one| all.next().is_some_and(|expected| is_same(one, expected)))
                && all.next().is_none()
        }
        Value::Object(expected) => {
            let mut count = 0;
            let mut is_known = |(name, value): (Cow<'_, str>, &str)| {
                count += 1;
                expected.get(&*name).is_some_and(|expected| is_same(value, expected))
            };
            actual.starts_with('{') && fields(actual).all(&mut is_known) && count == expected.len()
        }
        _ if actual.starts_with(['[', '{']) => false,
        Value::Number(expected) => match serde_json::from_str(actual) {
            Ok(Value::Number(actual)) => {
                actual == *expected || actual.as_f64() == expected.as_f64()
            }
            _ => false,
        },
        Value::String(expected) => actual.starts_with('"') && unquoted(actual) == *expected,
        Value::Bool(true) => actual == "true",
        Value::Bool(false) => actual == "false",
        Value::Null => actual == "null",
    }
}

// The places between the commas of the outermost array or object.
fn parts(whole: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 1;
    std::iter::from_fn(move || {
        let end = (start + 1 < whole.len()).then(|| start + part_length(&whole[start..]))?;
        let part = start..end;
        start = end + 1;
        Some(part)
    })
}

fn part_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string_length(&text[at..]) - 1,
            b'[' | b'{' => depth += 1,
            b',' | b']' | b'}' if depth == 0 => break,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}

fn scalar_length(text: &str) -> usize {
    let is_end = |letter: char| ",]}".contains(letter) || WHITE_SPACE.contains(&letter);
    // A mark that is no value is taken as well, so that reading always goes on.
    text.find(is_end).unwrap_or(text.len()).max(1)
}

/// The length of the string that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut at = 1;
    while let Some(found) = text.as_bytes().get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text.as_bytes()[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    text.len()
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [&str; 22] = [
        "1",
        " -0.10E5 ",
        "2e-3",
        "[]",
        "{}",
        " [ ] ",
        "[1,2 , [ 3,{}],\n\t\"a\"]",
        r#""""#,
        r#"" a,]}\" ""#,
        r#""\u0041\/\u00e9\\\n\u001f\ud83d\ude00 \u007f""#,
        r#"{ "a" : 1 , "b" : [ {"c":null} , true,false ] }"#,
        r#"{"a":1,"b":2,"\u0061":{"x":[1, 2]},"c":3,"b":"4,5"}"#,
        r#"[{"a":1,"a":{"b":1,"c":2,"b":3}},"\\"]"#,
        r#"{"":{"":""}}"#,
        "[[[[[]]]],[[]]]",
        "null",
        "true",
        "\"ä€😀\"",
        r#"["]","}",",","\\\""]"#,
        r#"{"a]":"}","{":"["}"#,
        "123456789012345678901234567890.5",
        "[1E+2,1e2,100]",
    ];

    #[test]
    fn compact_text_is_what_the_library_writes() {
        for text in VALUES {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(compact(text), value.to_string(), "{text}");
            assert!(is_same(&compact(text), &value), "{text}");
        }
    }

    #[test]
    fn the_parts_of_a_value_are_those_of_the_parsed_value() {
        for text in VALUES {
            let whole = compact(text);
            match serde_json::from_str(text).unwrap() {
                Value::Array(all) => {
                    let expected: Vec<_> = all.iter().map(Value::to_string).collect();
                    assert_eq!(elements(&whole).collect::<Vec<_>>(), expected, "{text}");
                }
                Value::Object(map) => {
                    let found = fields(&whole).map(|(name, value)| (name.into(), value.into()));
                    let expected =
                        map.iter().map(|(name, value)| (name.clone(), value.to_string()));
                    let expected: Vec<(String, String)> = expected.collect();
                    assert_eq!(found.collect::<Vec<(String, String)>>(), expected, "{text}");
                }
                _ => assert_eq!(fields(&whole).count(), 0),
            }
        }
    }

    #[test]
    fn what_is_not_valid_fails_with_the_same_words_as_a_parsed_value() {
        let deep = "[".repeat(200);
        for text in [
            "",
            "[1,",
            "{\"a\" 1}",
            "[1] x",
            "\"\\ud800\"",
            "[\"\u{1}\"]",
            "01",
            "1e",
            "nul",
            "{\"a\":1,}",
            "[1,]",
            "{1:2}",
            &deep,
            "[\"\\x\"]",
        ] {
            let expected = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            let found = serde_json::from_str::<Skim>(text).err().unwrap().to_string();
            assert_eq!(found, expected, "{text}");
        }
        for text in ["", "[1,", "{}", " 5", "\"a\"", "null", "[1] x", "[{]", &deep] {
            let expected = serde_json::from_str::<Vec<Value>>(text).unwrap_err().to_string();
            let found = serde_json::from_str::<Vec<Skim>>(text).err().unwrap().to_string();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn values_are_the_same_whatever_the_order_of_their_fields() {
        for (actual, expected, is_equal) in [
            ("10", "10.0", true),
            ("[1,2]", "[1]", false),
            ("[1]", "[1,2]", false),
            ("[1]", "{}", false),
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
            (r#"{"a\"":"\n"}"#, r#"{"a\u0022":"\u000a"}"#, true),
            ("null", "false", false),
            ("\"1\"", "1", false),
            ("1", "\"1\"", false),
        ] {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(is_same(&compact(actual), &expected), is_equal, "{actual}");
        }
    }
}
