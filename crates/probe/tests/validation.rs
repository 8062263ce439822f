//! Makes each check of a validation fail once, with WebV's words.

mod process;
mod stub;

use process::{ask, errors_of};
use stub::{Reply, Stub, answer};

const OBJECT: &str = r#"{"id":10,"name":"Ann","none":null,"on":true,"sub":{"a":"b"},"list":[1,2]}"#;
const ARRAY: &str = r#"[{"id":1,"k":"a"},{"id":2,"k":"b"},{"id":3,"k":"c"}]"#;

fn documents() -> Stub {
    Stub::start(|seen| {
        Reply::Raw(match seen.path.as_str() {
            "/object" => answer(200, "application/json; charset=utf-8", OBJECT),
            "/array" => answer(200, "application/json", ARRAY),
            "/empty-array" => answer(200, "application/json", "[]"),
            "/simple" => answer(200, "application/json", "[1,\"x\",true]"),
            "/text" => answer(200, "text/plain", "0123456789ABCDEF0"),
            "/bare" => answer(200, "", "whatever"),
            "/moved" => answer(301, "text/html", "elsewhere"),
            "/invalid" => answer(200, "application/json", "{nonsense"),
            _ => answer(404, "", ""),
        })
    })
}

fn check(path: &str, validation: &str, expected: &[&str]) {
    let stub = documents();
    let request = format!(r#"{{"path": "{path}", "validation": {validation}}}"#);
    assert_eq!(errors_of(&stub.url(), &request), expected, "{request}");
}

#[test]
fn status_code() {
    check("/missing", "{}", &["StatusCode: 404 Expected: 200"]);
    check("/missing", r#"{"statusCode": 404}"#, &[]);
    check("/text", r#"{"statusCode": 201, "length": 1}"#, &["StatusCode: 200 Expected: 201"]);
}

#[test]
fn content_type_has_a_default_and_is_a_prefix() {
    check("/object", "{}", &[]);
    check("/text", "{}", &["ContentType: text/plain Expected: application/json"]);
    check("/object", r#"{"contentType": "APPLICATION/JSON"}"#, &[]);
    let wrong = "ContentType: application/json; charset=utf-8 Expected: text/html";
    check("/object", r#"{"contentType": "text/html", "length": 1}"#, &[wrong]);
    check("/text", r#"{"contentType": null}"#, &[]);
}

#[test]
fn a_content_type_is_normalized_and_an_invalid_one_ends_the_validation() {
    for (field, expected, errors) in [
        ("a/b;c=d", "a/b; c=d", &[][..]),
        ("a/b;c=d", "a/b;c=d", &["ContentType: a/b; c=d Expected: a/b;c=d"]),
        ("a/b ; c=d", "a/b", &[]),
        ("text", "a/b", &[]),
        ("a/b; c", "a/x", &["ContentType: a/b; c Expected: a/x"]),
    ] {
        let stub = Stub::start(move |_| Reply::Raw(answer(200, field, "body")));
        // With an invalid Content-Type, the length is not checked.
        let length = if field == "text" { 99 } else { 4 };
        let request = format!(
            r#"{{"path": "/", "validation": {{"contentType": "{expected}", "length": {length}}}}}"#
        );
        assert_eq!(errors_of(&stub.url(), &request), errors, "{field} {expected}");
    }
}

#[test]
fn a_body_is_decoded_by_its_mark_and_its_charset() {
    let latin = [
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b; charset=iso-8859-1\r\n\
        Content-Length: 4\r\n\r\n"
            .as_slice(),
        b"caf\xE9",
    ]
    .concat();
    let marked = answer(200, "a/b", "\u{feff}caf\u{e9}");
    for bytes in [latin, marked] {
        let stub = Stub::start(move |_| Reply::Raw(bytes.clone()));
        let request = r#"{"path": "/", "validation": {"contentType": "a/b",
            "contains": ["f\u00e9"], "exactMatch": "caf\u00e9"}}"#;
        assert_eq!(errors_of(&stub.url(), request), [""; 0]);
    }
    let stub = Stub::start(|_| Reply::Raw(answer(200, "a/b; charset=klingon", "x")));
    let request = r#"{"path": "/", "validation": {"contentType": "a/b", "contains": ["x"]}}"#;
    let told = "Exception: the charset klingon of the body is not known";
    assert_eq!(errors_of(&stub.url(), request), [told]);
}

#[test]
fn lengths() {
    let plain = |rest: &str| format!(r#"{{"contentType": "text/plain", {rest}}}"#);
    check("/text", &plain(r#""length": 17"#), &[]);
    check("/text", &plain(r#""length": 18"#), &["Length: 17 Expected: 18"]);
    check("/text", &plain(r#""minLength": 17, "maxLength": 17"#), &[]);
    check("/text", &plain(r#""minLength": 18"#), &["MinContentLength: 17 Expected: 18"]);
    check("/text", &plain(r#""maxLength": 16"#), &["MaxContentLength: 17 Expected: 16"]);
}

#[test]
fn contains_and_not_contains() {
    check("/object", r#"{"contains": ["Ann"], "notContains": ["Bob"]}"#, &[]);
    check("/object", r#"{"contains": ["Ann", "ann"]}"#, &["Contains: ann"]);
    check("/object", r#"{"notContains": ["Bob", "Ann"]}"#, &["NotContains: Ann"]);
}

#[test]
fn exact_match_of_text_and_of_json() {
    let text = |text: &str| format!(r#"{{"contentType": "text/plain", "exactMatch": "{text}"}}"#);
    check("/text", &text("0123456789ABCDEF0"), &[]);
    check("/text", &text("0"), &["ExactMatch: 0123456789ABCDEF0 : Expected: 0"]);
    check("/simple", r#"{"exactMatch": [1, "x", true]}"#, &[]);
    check("/simple", r#"{"exactMatch": [1.0, "x", true]}"#, &[]);
    check(
        "/object",
        r#"{"exactMatch": {"list": [1.0, 2], "sub": {"a": "b"}, "on": true, "none": null,
            "name": "Ann", "id": 1e1}}"#,
        &[],
    );
    check("/simple", r#"{"exactMatch": [2]}"#, &["ExactMatch: [1,\"x\",true] : Expected: [2]"]);
}

#[test]
fn json_object() {
    let object = |item: &str| format!(r#"{{"jsonObject": [{item}]}}"#);
    check("/object", &object(r#"{"field": "id"}, {"field": "none"}"#), &[]);
    check("/object", &object(r#"{"field": "id", "value": 10.0}"#), &[]);
    check("/object", &object(r#"{"field": "id", "value": "10"}"#), &[]);
    check("/object", &object(r#"{"field": "on", "value": true}"#), &[]);
    check("/object", &object(r#"{"field": "id", "value": 11}"#), &["json: id: 10 : Expected: 11"]);
    let wrong = "json: on: True : Expected: False";
    check("/object", &object(r#"{"field": "on", "value": false}"#), &[wrong]);
    check("/object", &object(r#"{"field": "no"}"#), &["json: Field Not Found: no"]);
    let wrong = "json: none:  : Expected: null";
    check("/object", &object(r#"{"field": "none", "value": "null"}"#), &[wrong]);
    let nested =
        r#"{"field": "sub", "validation": {"jsonObject": [{"field": "a", "value": "c"}]}}"#;
    check("/object", &object(nested), &["json: a: b : Expected: c"]);
    let null = r#"{"field": "none", "validation": {"contains": ["x"]}}"#;
    check("/object", &object(null), &["json: Field is null: none"]);
    check("/array", &object(r#"{"field": "a"}"#), &["Exception: the body is no JSON object"]);
}

#[test]
fn json_array_counts() {
    let array = |rule: &str| format!(r#"{{"jsonArray": {{{rule}}}}}"#);
    check("/array", &array(r#""count": 3"#), &[]);
    check("/array", &array(r#""minCount": 3, "maxCount": 4"#), &[]);
    check("/array", &array(r#""count": 2"#), &["JsonArrayCount: 3 Expected: 2"]);
    check("/array", &array(r#""minCount": 4"#), &["MinJsonCount: 3 Expected: 4"]);
    check("/array", &array(r#""maxCount": 2"#), &["MaxJsonCount: 3 Expected: 2"]);
}

#[test]
fn json_array_for_each_and_for_any() {
    let array = |rule: &str, field: &str, value: &str| {
        let item = format!(r#"{{"jsonObject": [{{"field": "{field}", "value": {value}}}]}}"#);
        format!(r#"{{"jsonArray": {{"{rule}": [{item}]}}}}"#)
    };
    let each = ["json: id: 1 : Expected: 2", "json: id: 3 : Expected: 2"];
    check("/array", &array("forEach", "id", "2"), &each);
    check("/array", &array("forAny", "id", "2"), &[]);
    check("/array", &array("forAny", "id", "9"), &["forAny: id: Expected: 9"]);
    check("/array", &array("forAny", "no", "9"), &["forAny: Field Not Found: no"]);
    check("/empty-array", &array("forAny", "id", "9"), &["forAny: the array is empty"]);
    check("/empty-array", &array("forEach", "id", "9"), &[]);
}

#[test]
fn json_array_by_index() {
    let array = |item: &str| format!(r#"{{"jsonArray": {{"byIndex": [{item}]}}}}"#);
    check("/array", &array(r#"{"index": 1, "field": "k", "value": "b"}"#), &[]);
    let wrong = "json: k: b : Expected: x";
    check("/array", &array(r#"{"index": 1, "field": "k", "value": "x"}"#), &[wrong]);
    check("/simple", &array(r#"{"index": 0, "value": 2}"#), &["json: : 1 : Expected: 2"]);
    let bounds = "byIndex: Index out of bounds: 3";
    check("/array", &array(r#"{"index": 3, "value": 1}"#), &[bounds]);
    check("/array", &array(r#"{"index": 0, "field": "no"}"#), &["json: Field Not Found: no"]);
    let nested = r#"{"index": 0, "field": "k", "validation": {"contains": ["z"]}}"#;
    check("/array", &array(nested), &["Contains: z"]);
    let whole = r#"{"index": 2, "validation": {"exactMatch": "{\"id\":3,\"k\":\"c\"}"}}"#;
    check("/array", &array(whole), &[]);
}

#[test]
fn a_body_that_is_not_json_is_an_exception() {
    let stub = documents();
    let request = r#"{"path": "/invalid", "validation": {"jsonArray": {"count": 1}}}"#;
    let errors = errors_of(&stub.url(), request);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("Exception: "), "{errors:?}");
}

#[test]
fn the_pattern_reports_the_first_wrong_byte() {
    let pattern = r#"{"contentType": null, "pattern": true}"#;
    check("/text", pattern, &[]);
    check("/object", pattern, &["Pattern: byte 0 of 73 is not the pattern's"]);
    // Without a Content-Type, WebV checks nothing more; the pattern, which WebV lacks, is checked.
    check("/bare", pattern, &["Pattern: byte 0 of 8 is not the pattern's"]);
}

#[test]
fn a_redirect_and_an_answer_without_content_type_are_not_checked_further() {
    check("/moved", r#"{"statusCode": 301, "length": 1, "contains": ["x"]}"#, &[]);
    check("/bare", r#"{"length": 1, "contains": ["x"], "exactMatch": "y"}"#, &[]);
    check("/missing", r#"{"statusCode": 404, "length": 1}"#, &[]);
}

#[test]
fn several_errors_are_in_webvs_order() {
    check(
        "/text",
        r#"{"contentType": "text", "length": 1, "minLength": 18, "contains": ["x"],
            "notContains": ["0"], "exactMatch": "y", "pattern": true}"#,
        &[
            "Length: 17 Expected: 1",
            "MinContentLength: 17 Expected: 18",
            "Contains: x",
            "NotContains: 0",
            "ExactMatch: 0123456789ABCDEF0 : Expected: y",
        ],
    );
}

#[test]
fn max_milliseconds() {
    let pause = std::time::Duration::from_millis(200);
    let stub = Stub::start(move |_| Reply::Late(answer(200, "application/json", "{}"), pause));
    let request = |most| format!(r#"{{"path": "/", "validation": {{"maxMilliSeconds": {most}}}}}"#);
    let errors = errors_of(&stub.url(), &request(100));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let told = errors[0].strip_prefix("duration: ").unwrap();
    let milliseconds = told.strip_suffix("ms exceeded max value 100ms").unwrap();
    assert!(milliseconds.parse::<u64>().unwrap() >= 200);
    assert_eq!(errors_of(&stub.url(), &request(60_000)), [""; 0]);
}

#[test]
fn without_validation_everything_is_valid() {
    let stub = documents();
    assert_eq!(errors_of(&stub.url(), r#"{"path": "/missing"}"#), [""; 0]);
}

#[test]
fn fail_on_validation_error_makes_it_a_failure() {
    let stub = documents();
    let file = |fail: &str| {
        format!(r#"{{"requests": [{{"path": "/object", {fail} "validation": {{"length": 1}}}}]}}"#)
    };
    let soft = ask(&stub.url(), &file(""), &["-g", "Json"]);
    assert_eq!(soft.code, 0);
    assert!(!soft.out.contains("Failed"), "{}", soft.out);
    let hard = ask(&stub.url(), &file("\"failOnValidationError\": true,"), &["-g", "Json"]);
    assert_eq!(hard.code, 1);
    assert!(hard.out.contains("\"Failed\":true"), "{}", hard.out);
}

#[test]
fn head_has_a_length_without_a_body() {
    let stub = Stub::start(|_| {
        Reply::Raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\n".to_vec(),
        )
    });
    let request = r#"{"path": "/", "verb": "head",
        "validation": {"contentType": "text/plain", "length": 99}}"#;
    assert_eq!(errors_of(&stub.url(), request), [""; 0]);
    assert_eq!(stub.seen()[0].method, "HEAD");
}
