//! Writes the verdict on a result as JUnit XML, with one test case for each rule and condition.

use super::report::Report;
use super::verdict::Verdict;
use crate::junit::{Case, Suite, document};

/// The name of the suite, and the group of its tests.
const SUITE: &str = "heartbeat-probe load";

/// The whole file.
pub(crate) fn page(report: &Report, verdicts: &[Verdict]) -> String {
    let case = |verdict: &Verdict| Case {
        class: SUITE.to_owned(),
        name: verdict.name.clone(),
        seconds: report.elapsed_s,
        failure: verdict.failure.clone().map(|why| ("load", why)),
    };
    let suite = Suite {
        name: SUITE.to_owned(),
        host: report.host.clone(),
        start: report.start,
        seconds: report.elapsed_s,
        tests: verdicts.len(),
        properties: figures(report),
        cases: verdicts.iter().map(case).collect(),
    };
    document(&[suite]) + "\n"
}

fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let times = report.latency_us.main();
    vec![
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
            "name=\"heartbeat-probe load\" package=\"heartbeat-probe\" hostname=\"a&lt;b\"",
            "timestamp=\"2030-01-31T12:00:00\" tests=\"5\" failures=\"2\" errors=\"0\"",
            "skipped=\"0\" time=\"1.000000\">",
            "<property name=\"requests\" value=\"100\" />",
            "<testcase classname=\"heartbeat-probe load\" name=\"--fail-if rate&lt;50\"",
            "<failure type=\"load\" message=\"10 of 100 failed (status: 10)\" />",
            "<failure type=\"load\" message=\"p99 is ",
        ] {
            assert!(xml.contains(part), "{part} is not in\n{xml}");
        }
        assert_eq!(xml.matches("<testcase ").count(), 5);
        assert_eq!(xml.matches("<failure ").count(), xml.matches("</testcase>").count());
        assert!(xml.ends_with("</testsuites>\n"), "{xml}");
    }
}
