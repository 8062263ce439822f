//! Decides whether a result is good, says why not, and chooses the exit code.

use super::condition::{Condition, Subject};
use super::report::{Mode, Report};
use super::sender::is_missed;

/// The exit code of a load in which a request failed or was not sent, no request finished, or this
/// machine was the reason for a missed rate.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The exit code of a result that meets a condition of `--fail-if`, even if something else is
/// wrong, too.
pub(crate) const EXIT_CONDITION: u8 = 3;

/// A rule or a condition, and whether a result satisfies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The rule that must hold, or the condition that must not.
    pub(crate) name: String,
    /// Why it failed; `None` if it did not.
    pub(crate) failure: Option<String>,
    code: u8,
}

impl Verdict {
    /// Whether it is a condition of the user.
    pub(crate) fn is_condition(&self) -> bool {
        self.code == EXIT_CONDITION
    }
}

/// Judges `report` by all rules and conditions. A condition about errors replaces the rule that no
/// request may fail; one about the rate or unsent requests replaces the rule that all must be sent.
pub(crate) fn verdicts(report: &Report, conditions: &[Condition]) -> Vec<Verdict> {
    let has = |subjects: &[Subject]| {
        conditions.iter().any(|condition| subjects.contains(&condition.subject()))
    };
    let rule = |name: &str, failure: Option<String>| Verdict {
        name: name.to_owned(),
        failure,
        code: EXIT_FAILED,
    };
    let mut verdicts = vec![rule(
        "at least one request finished",
        (report.requests == 0).then(|| "none did".to_owned()),
    )];
    if !has(&[Subject::Errors, Subject::ErrorShare]) {
        let why = || {
            let errors = report.errors.iter().map(|(name, count)| format!("{name}: {count}"));
            let errors = errors.collect::<Vec<_>>().join(", ");
            format!("{} of {} failed ({errors})", report.failed, report.requests)
        };
        verdicts.push(rule("no request failed", (report.failed > 0).then(why)));
    }
    if report.mode == Mode::Open {
        if !has(&[Subject::Rate, Subject::Unsent]) {
            let why = || format!("{} were due and never sent", report.unsent);
            verdicts.push(rule("every request was sent", (report.unsent > 0).then(why)));
        }
        let is_limit = report.saturated == Some(true) && missed_its_rate(report);
        let why = || saturation(report).unwrap_or_default();
        verdicts.push(rule("this machine kept up with the rate", is_limit.then(why)));
    }
    verdicts.extend(conditions.iter().map(|condition| Verdict {
        name: format!("--fail-if {condition}"),
        failure: condition.failure(report),
        code: EXIT_CONDITION,
    }));
    verdicts
}

/// The exit code; 0 if nothing failed.
pub(crate) fn exit_code(verdicts: &[Verdict]) -> u8 {
    let failed = verdicts.iter().filter(|verdict| verdict.failure.is_some());
    failed.map(|verdict| verdict.code).max().unwrap_or(0)
}

/// The warning if the machine that sent was the limit.
pub(crate) fn saturation(report: &Report) -> Option<String> {
    if report.saturated != Some(true) {
        return None;
    }
    let spent = report.sender.map_or(String::new(), |sender| {
        format!(
            ": the thread that sends was busy for {:.0} % of the time; it ran for {:.1} s and \
             waited for a CPU for {:.1} s",
            sender.busy_share * 100.0,
            sender.running_s,
            sender.waiting_s
        )
    });
    let missed = match report.rate_wanted {
        Some(wanted) if missed_its_rate(report) => {
            format!("; {} of {wanted} requests a second were sent", report.rate)
        }
        _ => String::new(),
    };
    Some(format!(
        "this machine is the limit, not the server{spent}{missed}; use a lower rate, a machine \
         with more CPU time to spare, or several processes and `heartbeat-probe merge`"
    ))
}

fn missed_its_rate(report: &Report) -> bool {
    is_missed(report.rate_wanted, report.requests, report.elapsed_s, report.unsent)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::super::sender::Sender;
    use super::*;

    fn code(report: &Report, conditions: &[&str]) -> u8 {
        let conditions: Vec<_> =
            conditions.iter().map(|text| Condition::parse(text).unwrap()).collect();
        exit_code(&verdicts(report, &conditions))
    }

    fn good(rate: Option<f64>) -> Report {
        Report { failed: 0, ..report(rate) }
    }

    #[test]
    fn a_good_result_has_no_failed_or_unsent_request_and_at_least_one_finished() {
        for rate in [None, Some(100.0)] {
            assert_eq!(code(&good(rate), &[]), 0);
            assert_eq!(code(&Report { interrupted: true, ..good(rate) }, &[]), 0);
            assert_eq!(code(&Report { requests: 0, ..good(rate) }, &[]), EXIT_FAILED);
            assert_eq!(code(&Report { failed: 1, ..good(rate) }, &[]), EXIT_FAILED);
        }
        assert_eq!(code(&Report { unsent: 1, ..good(Some(100.0)) }, &[]), EXIT_FAILED);
    }

    #[test]
    fn a_condition_that_holds_gives_exit_code_3_whatever_else_is_wrong() {
        assert_eq!(code(&good(Some(100.0)), &["p99>5ms"]), EXIT_CONDITION);
        assert_eq!(code(&good(Some(100.0)), &["p99>5s", "rate<101"]), EXIT_CONDITION);
        assert_eq!(code(&report(Some(100.0)), &["p99>5ms"]), EXIT_CONDITION);
        assert_eq!(code(&good(Some(100.0)), &["p99>5s", "rate<99"]), 0);
    }

    #[test]
    fn a_condition_replaces_the_rule_about_the_same_thing() {
        let failed = report(Some(100.0));
        assert_eq!(code(&failed, &["p99>5s"]), EXIT_FAILED);
        assert_eq!(code(&failed, &["errors>10%"]), 0);
        assert_eq!(code(&failed, &["errors>10"]), 0);
        let unsent = Report { unsent: 1, ..good(Some(100.0)) };
        assert_eq!(code(&unsent, &["errors>0"]), EXIT_FAILED);
        assert_eq!(code(&unsent, &["unsent>1"]), 0);
        assert_eq!(code(&unsent, &["rate<99"]), 0);
    }

    #[test]
    fn a_rate_that_this_machine_missed_is_a_failure_even_without_errors() {
        let sender =
            Some(Sender { running_s: 1.0, waiting_s: 16.0, waiting_share: 0.94, busy_share: 1.0 });
        let slow = |rate| Report {
            saturated: Some(true),
            sender,
            rate,
            elapsed_s: 100.0 / rate,
            ..good(Some(100.0))
        };
        assert_eq!(code(&slow(50.0), &[]), EXIT_FAILED);
        assert_eq!(code(&slow(50.0), &["errors>0"]), EXIT_FAILED);
        assert_eq!(code(&slow(100.0), &[]), 0);
        let idle = Report { saturated: Some(false), ..slow(50.0) };
        assert_eq!(code(&idle, &[]), 0);
        let closed = Report { saturated: Some(true), ..good(None) };
        assert_eq!(code(&closed, &[]), 0);

        let warning = saturation(&slow(50.0)).unwrap();
        for part in ["this machine is the limit, not the server", "16.0 s", "50 of 100"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert!(!saturation(&slow(100.0)).unwrap().contains("were sent"));
        assert!(saturation(&closed).is_some());
        assert_eq!(saturation(&idle), None);
    }
}
