//! The conditions of `--fail-if`: reads them, and checks a result against them.

use std::fmt;

use super::figures::micros;
use super::report::{Report, Times};

/// A condition under which a result fails, such as `p99>5ms`, `errors>0.1%` or `rate<990`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    subject: Subject,
    operator: Operator,
    limit: f64,
    text: String,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Subject {
    /// Microseconds.
    Time(Kind, Statistic),
    /// Failed requests.
    Errors,
    /// Failed requests, in percent.
    ErrorShare,
    /// Requests per second.
    Rate,
    /// Requests that were due and never sent.
    Unsent,
    /// Requests that finished.
    Requests,
}

/// Which times of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Corrected in an open loop, service times in a closed one.
    Latency,
    Service,
    FirstByte,
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    /// 0 to 1.
    Quantile(f64),
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Condition {
    /// Parses one; spaces are ignored.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text: String = text.split_whitespace().collect();
        let at = text.find(['<', '>']).ok_or("expected < or >, as in p99>5ms")?;
        let (name, rest) = text.split_at(at);
        let (operator, value) = match rest {
            _ if rest.starts_with(">=") => (Operator::AtLeast, &rest[2..]),
            _ if rest.starts_with("<=") => (Operator::AtMost, &rest[2..]),
            _ if rest.starts_with('>') => (Operator::Above, &rest[1..]),
            _ => (Operator::Below, &rest[1..]),
        };
        let (subject, limit) = match (name, value.strip_suffix('%')) {
            ("errors", Some(share)) => (Subject::ErrorShare, share_limit(share)?),
            ("errors", None) => (Subject::Errors, number(value, "as in errors>0 or errors>0.1%")?),
            ("rate", None) => (Subject::Rate, number(value, "requests per second")?),
            ("unsent", None) => (Subject::Unsent, number(value, "of requests")?),
            ("requests", None) => (Subject::Requests, number(value, "of requests")?),
            (_, Some(_)) => return Err("only errors are compared with a share".to_owned()),
            _ => (time_subject(name)?, time_limit(value)?),
        };
        Ok(Self { subject, operator, limit, text })
    }

    /// The figure that it compares.
    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    /// Why `report` fails by this condition; `None` if it does not.
    pub(crate) fn failure(&self, report: &Report) -> Option<String> {
        let (name, _) = self.text.split_at(self.text.find(['<', '>'])?);
        let Some(value) = self.subject.of(report) else {
            return Some(format!("there is no {name}: no request was answered"));
        };
        let met = match self.operator {
            Operator::Above => value > self.limit,
            Operator::AtLeast => value >= self.limit,
            Operator::Below => value < self.limit,
            Operator::AtMost => value <= self.limit,
        };
        met.then(|| match self.subject {
            Subject::Time(..) => format!("{name} is {}", micros(value)),
            Subject::ErrorShare => {
                format!("{} of {} requests failed: {value:.4} %", report.failed, report.requests)
            }
            _ => format!("{name} is {value}"),
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Subject {
    /// Its value; `None` if nothing was measured.
    fn of(self, report: &Report) -> Option<f64> {
        match self {
            Self::Time(kind, statistic) => statistic.of(kind.of(report)?),
            Self::ErrorShare if report.requests == 0 => None,
            Self::ErrorShare => Some(report.failed as f64 / report.requests as f64 * 100.0),
            Self::Errors => Some(report.failed as f64),
            Self::Rate => Some(report.rate),
            Self::Unsent => Some(report.unsent as f64),
            Self::Requests => Some(report.requests as f64),
        }
    }
}

impl Kind {
    fn of(self, report: &Report) -> Option<&Times> {
        let latency = &report.latency_us;
        let times = match self {
            Self::Latency => latency.main(),
            Self::Service => &latency.service,
            Self::FirstByte => &latency.first_byte,
            Self::Connect => &latency.connect,
        };
        (times.count > 0).then_some(times)
    }
}

impl Statistic {
    fn of(self, times: &Times) -> Option<f64> {
        match self {
            Self::Mean => Some(times.mean),
            Self::Quantile(quantile) => {
                Some(times.histogram().ok()?.value_at_quantile(quantile) as f64 / 1e3)
            }
        }
    }
}

fn time_subject(name: &str) -> Result<Subject, String> {
    let (kind, statistic) = match name.split_once('.') {
        Some(("service", statistic)) => (Kind::Service, statistic),
        Some(("first_byte", statistic)) => (Kind::FirstByte, statistic),
        Some(("connect", statistic)) => (Kind::Connect, statistic),
        _ => (Kind::Latency, name),
    };
    let statistic = match statistic {
        "mean" => Statistic::Mean,
        "min" => Statistic::Quantile(0.0),
        "max" => Statistic::Quantile(1.0),
        _ => Statistic::Quantile(percentile(statistic).ok_or_else(|| {
            format!(
                "'{name}' is not known; expected p50, p99.9, min, mean, max, service.p99, \
                 first_byte.p99, connect.p99, errors, rate, unsent or requests"
            )
        })?),
    };
    Ok(Subject::Time(kind, statistic))
}

fn percentile(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn time_limit(text: &str) -> Result<f64, String> {
    let expected = || "expected a time with its unit, as in 500us, 5ms, 1.5s".to_owned();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(expected)?;
    let (digits, unit) = text.split_at(end);
    let unit_us = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return Err(expected()),
    };
    number(digits, "and a unit").map(|value| value * unit_us).map_err(|_| expected())
}

fn share_limit(text: &str) -> Result<f64, String> {
    let share = number(text, "of percent")?;
    if share > 100.0 { Err("expected 0% to 100%".to_owned()) } else { Ok(share) }
}

fn number(text: &str, what: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..f64::INFINITY).contains(&value) => Ok(value),
        _ => Err(format!("expected a number {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    fn failure(text: &str) -> Option<String> {
        // 100 requests at 100/s, latencies 100 us to 10 ms, ten of them failed.
        Condition::parse(text).unwrap().failure(&report(Some(100.0)))
    }

    #[test]
    fn each_condition_is_met_on_only_one_side_of_its_limit() {
        for (met, not) in [
            ("p99>9ms", "p99>11ms"),
            ("p50>4900us", "p50>5.1ms"),
            ("p99.9<1s", "p99.9<1ms"),
            ("max>=0.01s", "max>=1m"),
            ("mean<6ms", "mean<5ms"),
            ("min<=101us", "min<=99us"),
            ("service.p50<5ms", "service.p50>5ms"),
            ("first_byte.p99>10us", "first_byte.p99>30us"),
            ("connect.max>50us", "connect.max>90us"),
            ("errors>9", "errors>10"),
            ("errors>=10%", "errors>10%"),
            ("rate<101", "rate<100"),
            ("unsent>=0", "unsent>0"),
            ("requests<101", "requests<100"),
            (" p99 > 5 ms ", "p99 < 5 ms"),
        ] {
            assert!(failure(met).is_some(), "{met}");
            assert_eq!(failure(not), None, "{not}");
        }
    }

    #[test]
    fn the_reason_names_what_was_found() {
        assert_eq!(failure("errors>0.1%").unwrap(), "10 of 100 requests failed: 10.0000 %");
        assert_eq!(failure("rate<990").unwrap(), "rate is 100");
        assert!(failure("p50>1ms").unwrap().starts_with("p50 is 5.00 ms"));
    }

    #[test]
    fn without_an_answer_a_condition_about_times_fails() {
        let mut report = report(None);
        report.requests = 0;
        report.latency_us.service.count = 0;
        for text in ["p99>5ms", "p99<5ms", "errors>1%"] {
            let why = Condition::parse(text).unwrap().failure(&report).unwrap();
            assert!(why.contains("no request was answered"), "{why}");
        }
    }

    #[test]
    fn an_invalid_condition_is_rejected_with_the_reason() {
        for (wrong, why) in [
            ("p99", "< or >"),
            ("p99>5", "unit"),
            ("p99>5h", "unit"),
            ("p101>5ms", "not known"),
            ("latency>5ms", "not known"),
            ("errors>101%", "0% to 100%"),
            ("errors>many", "number"),
            ("rate<1%", "share"),
            ("rate<-1", "number"),
            ("rate<nan", "number"),
            ("rate<inf", "number"),
            ("p99>>5ms", "unit"),
            ("", "< or >"),
        ] {
            let refused = Condition::parse(wrong).unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
        for right in ["p0>1us", "p100>1us", "errors>0%", "errors>100%"] {
            assert!(Condition::parse(right).is_ok(), "{right}");
        }
    }
}
