//! Writes JUnit XML as the schema of Apache Ant's JUnit tasks demands: in a `testsuites`, each
//! `testsuite` has all attributes, and its elements stand in a fixed order.

use std::fmt::Write;

use jiff::Timestamp;

/// The tests of one server, or the verdict on one load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Suite {
    /// Its name, which is not empty.
    pub name: String,
    /// The machine that ran it.
    pub host: String,
    /// When it began.
    pub start: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// How many tests it has; those without a case were skipped.
    pub tests: usize,
    /// Figures and settings by name.
    pub properties: Vec<(&'static str, String)>,
    /// The tests that ran.
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// Its group.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// The kind of the failure and its text; `None` for a success.
    pub failure: Option<(&'static str, String)>,
}

/// The whole document, without the last line feed.
pub(crate) fn document(suites: &[Suite]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n");
    for (id, suite) in suites.iter().enumerate() {
        add_suite(&mut xml, id, suite);
    }
    xml.push_str("</testsuites>");
    xml
}

fn add_suite(xml: &mut String, id: usize, suite: &Suite) {
    let Suite { tests, seconds, .. } = suite;
    let failures = suite.cases.iter().filter(|case| case.failure.is_some()).count();
    let skipped = tests.saturating_sub(suite.cases.len());
    let host = if suite.host.trim().is_empty() { UNKNOWN_HOST } else { &suite.host };
    let _ = writeln!(
        xml,
        "  <testsuite id=\"{id}\" name=\"{}\" package=\"{PACKAGE}\" hostname=\"{}\" \
         timestamp=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"{skipped}\" time=\"{seconds:.6}\">",
        escaped(&suite.name),
        escaped(host),
        // The schema allows no fraction of a second and no zone.
        suite.start.strftime("%Y-%m-%dT%H:%M:%S"),
    );
    xml.push_str("    <properties>\n");
    for (name, value) in &suite.properties {
        let value = escaped(value);
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{value}\" />");
    }
    xml.push_str("    </properties>\n");
    for case in &suite.cases {
        add_case(xml, case);
    }
    xml.push_str("    <system-out />\n    <system-err />\n  </testsuite>\n");
}

fn add_case(xml: &mut String, case: &Case) {
    let (class, name, seconds) = (escaped(&case.class), escaped(&case.name), case.seconds);
    let _ =
        write!(xml, "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.6}\"");
    let _ = match &case.failure {
        None => writeln!(xml, " />"),
        Some((kind, text)) => writeln!(
            xml,
            ">\n      <failure type=\"{kind}\" message=\"{}\" />\n    </testcase>",
            escaped(text)
        ),
    };
}

/// Fit for an attribute; a character that XML 1.0 cannot represent becomes a question mark.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#xA;"),
            '\r' => escaped.push_str("&#xD;"),
            '\t' => escaped.push_str("&#x9;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            other => escaped.push(other),
        }
    }
    escaped
}

const PACKAGE: &str = "heartbeat-probe";
/// The schema names this for a machine whose name is not known.
const UNKNOWN_HOST: &str = "localhost";

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str, host: &str) -> Suite {
        Suite {
            name: name.to_owned(),
            host: host.to_owned(),
            start: "2030-01-31T12:00:00.987Z".parse().unwrap(),
            seconds: 1.5,
            tests: 3,
            properties: vec![("server", "http://a?b&c".to_owned())],
            cases: vec![
                Case { class: "c".to_owned(), name: "<1>".to_owned(), seconds: 0.5, failure: None },
                Case {
                    class: "c".to_owned(),
                    name: "2".to_owned(),
                    seconds: 1.0,
                    failure: Some(("status", "\"404\"\nnot 200\u{1}".to_owned())),
                },
            ],
        }
    }

    #[test]
    fn suites_are_numbered_and_have_all_attributes_and_elements() {
        let xml = document(&[suite("one", "host"), suite("a & b", " ")]);
        let expected = |id, name, host| {
            [
                &format!("  <testsuite id=\"{id}\" name=\"{name}\" package=\"heartbeat-probe\""),
                &format!(" hostname=\"{host}\" timestamp=\"2030-01-31T12:00:00\" tests=\"3\""),
                " failures=\"1\" errors=\"0\" skipped=\"1\" time=\"1.500000\">\n",
                "    <properties>\n",
                "      <property name=\"server\" value=\"http://a?b&amp;c\" />\n",
                "    </properties>\n",
                "    <testcase classname=\"c\" name=\"&lt;1&gt;\" time=\"0.500000\" />\n",
                "    <testcase classname=\"c\" name=\"2\" time=\"1.000000\">\n",
                "      <failure type=\"status\" message=\"&quot;404&quot;&#xA;not 200?\" />\n",
                "    </testcase>\n",
                "    <system-out />\n",
                "    <system-err />\n",
                "  </testsuite>\n",
            ]
            .concat()
        };
        let head = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites>\n";
        let (one, two) = (expected(0, "one", "host"), expected(1, "a &amp; b", "localhost"));
        assert_eq!(xml, format!("{head}{one}{two}</testsuites>"));
    }
}
