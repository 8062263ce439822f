//! Which answers are logged, and with which fields.

mod process;
mod stub;

use process::ask;
use stub::{Reply, Stub, answer};

#[test]
fn good_answers_are_logged_only_if_asked_for() {
    let stub = Stub::start(|seen| {
        let status = if seen.path.starts_with("/missing") { 404 } else { 200 };
        Reply::Raw(answer(status, "application/json", "{}"))
    });
    let file = r#"{"requests": [{"path": "/good"}, {"path": "/missing/unchecked"},
        {"path": "/missing/expected", "validation": {"statusCode": 404}},
        {"path": "/missing/unexpected", "validation": {}},
        {"path": "/invalid", "validation": {"length": 1}}]}"#;
    let paths = |more: &[&str]| {
        let outcome = ask(&stub.url(), file, more);
        let path = |line: &str| line.rsplit('\t').next().unwrap().to_owned();
        outcome.out.lines().map(path).collect::<Vec<_>>()
    };
    assert_eq!(paths(&[]), ["/missing/unexpected", "/invalid"]);
    assert_eq!(paths(&["-v"]).len(), 5);
    assert_eq!(paths(&["-g", "None"]), [""; 0]);
}

#[test]
fn the_tag_of_a_request_overrides_the_option() {
    let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")));
    let file = r#"{"requests": [{"path": "/1", "tag": "own"}, {"path": "/2"}]}"#;
    let outcome = ask(&stub.url(), file, &["-v", "-g", "Tsv", "--tag", "all"]);
    let tags: Vec<_> = outcome.out.lines().map(|line| line.split('\t').nth(9).unwrap()).collect();
    assert_eq!(tags, ["own", "all"]);
}
