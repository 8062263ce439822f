//! Expected lines of every log format.

// A failure in a helper function is a failure of the test, too.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::Log;
use crate::client::{PathFacts, Phases};
use crate::fault::Fault;
use crate::record::{Record, Took};
use crate::settings::LogFormat;
use crate::validation::Verdict;

fn record() -> Record {
    Record {
        date: "2026-11-22T10:00:00.1234567Z".parse().unwrap(),
        verb: "GET".to_owned(),
        server: "http://heartbeat:8080".to_owned(),
        path: "/heartbeat/17".to_owned(),
        address: None,
        status_code: 200,
        answered: true,
        test_name: None,
        tag: None,
        content_length: 17,
        category: None,
        quartile: None,
        verdict: Verdict::default(),
        took: Took { duration: Duration::from_micros(12_500), ..Took::default() },
        bytes_received: 140,
        bytes_sent: 88,
    }
}

fn full() -> Record {
    Record {
        test_name: Some("name".to_owned()),
        tag: Some("tag".to_owned()),
        category: Some("Fast".to_owned()),
        quartile: Some(2),
        verdict: Verdict {
            failed: true,
            fault: Some(Fault::Length),
            errors: vec!["Length: 17 Expected: 1".to_owned(), "Contains: \"x\"".to_owned()].into(),
        },
        ..record()
    }
}

fn invalid(error: &str) -> Verdict {
    let fault = Some(Fault::Validation);
    Verdict { failed: false, fault, errors: vec![error.to_owned()].into() }
}

fn log(format: LogFormat, verbose_errors: bool) -> Log {
    Log { format, verbose: true, verbose_errors, region: None, zone: None }
}

fn placed(format: LogFormat, verbose_errors: bool) -> Log {
    let (region, zone) = (Some("dev".to_owned()), Some("z1".to_owned()));
    Log { region, zone, ..log(format, verbose_errors) }
}

fn line(log: &Log, record: &Record) -> String {
    super::line(log, record).unwrap()
}

#[test]
fn tsv_min() {
    let min = |verbose| log(LogFormat::TsvMin, verbose);
    assert_eq!(
        line(&min(true), &record()),
        "2026-11-22T10:00:00\t200\t0\t12\t17\tGET\t/heartbeat/17"
    );
    assert_eq!(
        line(&min(false), &full()),
        "2026-11-22T10:00:00\t200\t2\t12\t17\tGET\t/heartbeat/17"
    );
    assert_eq!(
        line(&min(true), &full()),
        "2026-11-22T10:00:00\t200\t2\t12\t17\tGET\t/heartbeat/17\
         \n  Length: 17 Expected: 1\n  Contains: \"x\""
    );
}

#[test]
fn tsv() {
    assert_eq!(
        line(&log(LogFormat::Tsv, false), &record()),
        "2026-11-22T10:00:00.1234567Z\t\thttp://heartbeat:8080\t200\t0\t12\t17\
         \t-\t-\t-\t-\t-\tGET\t/heartbeat/17"
    );
    assert_eq!(
        line(&placed(LogFormat::Tsv, true), &full()),
        "2026-11-22T10:00:00.1234567Z\tname\thttp://heartbeat:8080\t200\t2\t12\t17\
         \tdev\tz1\ttag\t2\tFast\tGET\t/heartbeat/17\
         \n  Length: 17 Expected: 1\n  Contains: \"x\""
    );
}

#[test]
fn json_leaves_out_what_is_false_or_zero_or_missing() {
    assert_eq!(
        line(&log(LogFormat::Json, false), &record()),
        concat!(
            r#"{"Date":"2026-11-22T10:00:00.1234567Z","Verb":"GET","#,
            r#""Server":"http://heartbeat:8080","StatusCode":200,"Validated":true,"#,
            r#""Duration":12,"ContentLength":17,"Path":"/heartbeat/17"}"#,
        )
    );
    let fast = Record { took: Took::default(), content_length: 0, ..record() };
    assert_eq!(
        line(&log(LogFormat::Json, true), &fast),
        concat!(
            r#"{"Date":"2026-11-22T10:00:00.1234567Z","Verb":"GET","#,
            r#""Server":"http://heartbeat:8080","StatusCode":200,"Validated":true,"#,
            r#""Path":"/heartbeat/17","Errors":[]}"#,
        )
    );
    assert_eq!(
        line(&placed(LogFormat::Json, true), &full()),
        concat!(
            r#"{"Date":"2026-11-22T10:00:00.1234567Z","Verb":"GET","#,
            r#""Server":"http://heartbeat:8080","StatusCode":200,"TestName":"name","#,
            r#""Failed":true,"ErrorCount":2,"Duration":12,"ContentLength":17,"#,
            r#""Category":"Fast","Quartile":2,"Tag":"tag","Path":"/heartbeat/17","#,
            r#""Region":"dev","Zone":"z1","Errors":["Length: 17 Expected: 1","#,
            r#""Contains: \"x\""]}"#,
        )
    );
}

#[test]
fn json_camel() {
    assert_eq!(
        line(&placed(LogFormat::JsonCamel, false), &full()),
        concat!(
            r#"{"date":"2026-11-22T10:00:00.1234567Z","verb":"GET","#,
            r#""server":"http://heartbeat:8080","statusCode":200,"testName":"name","#,
            r#""failed":true,"errorCount":2,"duration":12,"contentLength":17,"#,
            r#""category":"Fast","quartile":2,"tag":"tag","path":"/heartbeat/17","#,
            r#""region":"dev","zone":"z1"}"#,
        )
    );
}

#[test]
fn json_has_what_a_request_has_shown_about_its_path() {
    let path = PathFacts {
        server: Some(Duration::from_micros(12)),
        rtt: Some(Duration::from_micros(251)),
        server_rtt: Some(Duration::from_micros(252)),
        mss: Some(1448),
        retransmitted_up: 1,
        retransmitted_down: 2,
    };
    let phases = Phases {
        first_byte: Some(Duration::from_micros(300)),
        transfer: Some(Duration::from_micros(7)),
        path,
        ..Phases::default()
    };
    let took = Took { phases, ..record().took };
    let shown = |format| line(&log(format, false), &Record { took, ..record() });
    let json = shown(LogFormat::Json);
    let expected = concat!(
        r#","ServerUs":12,"NetworkUs":288,"TransferUs":7,"RttUs":251,"Mss":1448,"#,
        r#""ServerRttUs":252,"RetransmittedUp":1,"RetransmittedDown":2}"#,
    );
    assert!(json.ends_with(expected), "{json}");
    let camel = shown(LogFormat::JsonCamel);
    assert!(camel.contains(r#","rttUs":251,"mss":1448,"serverRttUs":252,"#), "{camel}");
}

#[test]
fn the_address_is_logged_if_each_is_asked_separately() {
    let record = Record { address: Some("10.0.0.1:80".to_owned()), ..record() };
    let json = line(&log(LogFormat::Json, false), &record);
    assert!(json.ends_with(r#""Path":"/heartbeat/17","Address":"10.0.0.1:80"}"#), "{json}");
}

#[test]
fn the_events_of_a_loop_have_the_keys_of_their_format() {
    let now = record().date;
    for (format, dropped, shutdown) in [
        (
            LogFormat::Json,
            r#"{"Date":"2026-11-22T10:00:00.1234567Z","EventType":"Dropped","Lines":2}"#,
            Some(r#"{"Date":"2026-11-22T10:00:00.1234567Z","EventType":"Shutdown"}"#),
        ),
        (
            LogFormat::JsonCamel,
            r#"{"date":"2026-11-22T10:00:00.1234567Z","eventType":"Dropped","lines":2}"#,
            Some(r#"{"date":"2026-11-22T10:00:00.1234567Z","eventType":"Shutdown"}"#),
        ),
        (LogFormat::Tsv, "2026-11-22T10:00:00.1234567Z\tDropped 2 lines of this log", None),
    ] {
        assert_eq!(super::dropped(format, 2, now).as_deref(), Some(dropped));
        assert_eq!(super::shutdown(format, now).as_deref(), shutdown);
    }
    assert_eq!(super::dropped(LogFormat::JsonCamel, 0, now), None);
    assert_eq!(super::dropped(LogFormat::None, 2, now), None);
}

#[test]
fn the_format_none_logs_nothing() {
    assert_eq!(super::line(&log(LogFormat::None, true), &full()), None);
}

#[test]
fn tabs_line_feeds_and_long_errors_do_not_break_a_line() {
    let odd = Record { path: "/a\tb".to_owned(), verdict: invalid("ExactMatch: a\nb"), ..record() };
    assert_eq!(
        line(&log(LogFormat::TsvMin, true), &odd),
        "2026-11-22T10:00:00\t200\t1\t12\t17\tGET\t/a b\n  ExactMatch: a b"
    );
    let long = Record { verdict: invalid(&"x".repeat(5000)), ..record() };
    let text = line(&log(LogFormat::TsvMin, true), &long);
    assert!(text.ends_with(&format!("  {}...", "x".repeat(4096))));
}
