//! Reads JUnit XML and checks it by the common schema, which is that of Apache Ant's JUnit tasks.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

/// An element. The values of its attributes are as they are written, with their escapes.
#[derive(Debug)]
pub(crate) struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    inside: Vec<Element>,
}

impl Element {
    /// The value of an attribute.
    pub(crate) fn get(&self, attribute: &str) -> &str {
        &self.attributes[attribute]
    }

    /// The elements of this name inside of it.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.inside.iter().filter(move |element| element.name == name)
    }

    /// The names and values of the properties of a suite.
    pub(crate) fn properties(&self) -> BTreeMap<&str, &str> {
        let properties = self.inside[0].inside.iter();
        properties.map(|property| (property.get("name"), property.get("value"))).collect()
    }

    /// The name of each test of a suite, and the type and the message of its failure.
    pub(crate) fn cases(&self) -> Vec<(&str, Option<(&str, &str)>)> {
        let cases = self.all("testcase").map(|case| {
            let failure = case.inside.first();
            (case.get("name"), failure.map(|failure| (failure.get("type"), failure.get("message"))))
        });
        cases.collect()
    }
}

/// The suites of the only document in `xml`.
pub(crate) fn suites(xml: &str) -> Vec<Element> {
    let rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let mut rest = rest.unwrap_or_else(|| panic!("no declaration: {xml}"));
    let root = element(&mut rest);
    assert_eq!(rest.trim(), "", "more than one document: {xml}");
    check(&root, "testsuites", &[], &[]);
    for (id, suite) in root.inside.iter().enumerate() {
        check_suite(suite, id);
    }
    root.inside
}

fn check_suite(suite: &Element, id: usize) {
    let required =
        ["errors", "failures", "hostname", "id", "name", "package", "tests", "time", "timestamp"];
    check(suite, "testsuite", &required, &["skipped"]);
    assert_eq!(suite.get("id"), id.to_string());
    let timestamp = suite.get("timestamp");
    let is_date = timestamp.parse::<jiff::civil::DateTime>().is_ok() && timestamp.len() == 19;
    assert!(is_date, "{timestamp} has another form than 2030-01-31T12:00:00");
    assert!(suite.get("time").parse::<f64>().is_ok_and(|time| time >= 0.0), "{suite:?}");
    let names: Vec<_> = suite.inside.iter().map(|element| element.name.as_str()).collect();
    let tests = suite.all("testcase").count();
    let mut order = vec!["properties"];
    order.extend(std::iter::repeat_n("testcase", tests));
    order.extend(["system-out", "system-err"]);
    assert_eq!(names, order);
    for property in &suite.inside[0].inside {
        check(property, "property", &["name", "value"], &[]);
    }
    for case in suite.all("testcase") {
        check(case, "testcase", &["classname", "name", "time"], &[]);
        assert!(case.get("time").parse::<f64>().is_ok_and(|time| time >= 0.0), "{case:?}");
        assert!(case.inside.len() <= 1, "{case:?}");
        for failure in &case.inside {
            check(failure, "failure", &["type"], &["message"]);
        }
    }
    let count = |attribute| suite.get(attribute).parse::<usize>().unwrap();
    let failures = suite.all("testcase").filter(|case| !case.inside.is_empty()).count();
    assert_eq!((count("failures"), count("errors")), (failures, 0));
    assert_eq!(count("tests"), tests + count("skipped"));
}

/// An element has its name, every required attribute with a value, and no unknown one.
fn check(element: &Element, name: &str, required: &[&str], optional: &[&str]) {
    assert_eq!(element.name, name);
    for attribute in required {
        let value = element.attributes.get(*attribute);
        assert!(value.is_some_and(|value| !value.trim().is_empty()), "{attribute} of {element:?}");
    }
    let is_known = |name: &str| required.contains(&name) || optional.contains(&name);
    assert!(element.attributes.keys().all(|name| is_known(name)), "{element:?}");
}

/// Reads an element. Attributes contain neither `<` nor `>`, and there is no text between elements.
fn element(rest: &mut &str) -> Element {
    let tag = rest.trim_start().strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let (tag, after) = tag.unwrap_or_else(|| panic!("no element: {rest}"));
    *rest = after;
    let is_empty = tag.ends_with('/');
    let tag = tag.trim_end_matches('/').trim_end();
    let (name, mut fields) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut attributes = BTreeMap::new();
    while let Some((attribute, after)) = fields.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        let twice = attributes.insert(attribute.trim().to_owned(), value.to_owned());
        assert_eq!(twice, None, "{attribute} of {tag}");
        fields = after;
    }
    assert_eq!(fields.trim(), "", "{tag}");
    let mut inside = Vec::new();
    if !is_empty {
        let end = format!("</{name}>");
        loop {
            *rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix(end.as_str()) {
                *rest = after;
                break;
            }
            inside.push(element(rest));
        }
    }
    Element { name: name.to_owned(), attributes, inside }
}
