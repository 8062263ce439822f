//! Writes the verdict on a result as JUnit XML, with one test case for each rule and condition.

use std::fmt::Write;

use super::report::Report;
use super::verdict::Verdict;
use crate::summary::escaped;

/// The name of the suite.
const SUITE: &str = "heartbeat-probe load";

/// The whole file.
pub(crate) fn page(report: &Report, verdicts: &[Verdict]) -> String {
    let failures = verdicts.iter().filter(|verdict| verdict.failure.is_some()).count();
    let tests = verdicts.len();
    let time = report.elapsed_s;
    // The schema allows no fraction of a second and no zone.
    let timestamp = report.start.strftime("%Y-%m-%dT%H:%M:%S");
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\"");
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let _ = writeln!(xml, "<testsuites>");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{SUITE}\" {counts} time=\"{time:.6}\" timestamp=\"{timestamp}\" \
         hostname=\"{}\">",
        escaped(&report.host)
    );
    let _ = writeln!(xml, "    <properties>");
    for (name, value) in figures(report) {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    let _ = writeln!(xml, "    </properties>");
    for verdict in verdicts {
        let name = escaped(&verdict.name);
        let case =
            format!("    <testcase name=\"{name}\" classname=\"{SUITE}\" time=\"{time:.6}\"");
        let _ = match &verdict.failure {
            None => writeln!(xml, "{case}/>"),
            Some(why) => writeln!(
                xml,
                "{case}>\n      <failure message=\"{}\" type=\"load\"/>\n    </testcase>",
                escaped(why)
            ),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn figures(report: &Report) -> [(&'static str, String); 8] {
    let times = report.latency_us.main();
    [
        ("requests", report.requests.to_string()),
        ("failed", report.failed.to_string()),
        ("unsent", report.unsent.to_string()),
        ("rate", report.rate.to_string()),
        ("p50_us", times.p50.to_string()),
        ("p99_us", times.p99.to_string()),
        ("p99_9_us", times.p99_9.to_string()),
        ("max_us", times.max.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::condition::Condition;
    use super::super::report::tests::report;
    use super::super::verdict::verdicts;
    use super::*;

    #[test]
    fn every_verdict_is_a_test_case_and_every_failure_has_its_reason() {
        let mut report = report(Some(100.0));
        report.host = "a<b".to_owned();
        let conditions: Vec<_> =
            ["p99>5ms", "rate<50"].map(|text| Condition::parse(text).unwrap()).into();
        let xml = page(&report, &verdicts(&report, &conditions));
        for part in [
            "tests=\"5\" failures=\"2\" errors=\"0\" skipped=\"0\" time=\"1.000000\"",
            "timestamp=\"2030-01-31T12:00:00\" hostname=\"a&lt;b\"",
            "<property name=\"requests\" value=\"100\"/>",
            "<testcase name=\"--fail-if rate&lt;50\" classname=\"heartbeat-probe load\"",
            "<failure message=\"10 of 100 failed (status: 10)\" type=\"load\"/>",
            "<failure message=\"p99 is ",
        ] {
            assert!(xml.contains(part), "{part} is not in\n{xml}");
        }
        assert_eq!(xml.matches("<testcase ").count(), 5);
        assert_eq!(xml.matches("<failure ").count(), xml.matches("</testcase>").count());
    }
}
