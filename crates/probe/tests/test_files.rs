//! Test files: their content, the requests that are sent for it, and their errors.

mod process;
mod stub;

use process::{Folder, ask, errors_of, finish, program, run};
use stub::{Reply, Seen, Stub, answer};

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

fn seen_of(request: &str, more: &[&str]) -> Seen {
    let stub = ok();
    let outcome = ask(&stub.url(), &format!(r#"{{"requests": [{request}]}}"#), more);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{request}");
    stub.seen().remove(0)
}

fn refused(text: &str, message: &str) {
    let outcome = ask("localhost:1", text, &[]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{text}: {outcome:?}");
    assert!(outcome.err.contains("test.json: "), "{}", outcome.err);
    assert!(outcome.err.contains(message), "{message} in {}", outcome.err);
}

fn refused_request(request: &str, message: &str) {
    let text = format!(r#"{{"requests": [{{"path": "/"}}, {request}]}}"#);
    refused(&text, &format!("requests[1]{message}"));
}

fn refused_validation(validation: &str, message: &str) {
    let request = format!(r#"{{"path": "/", "validation": {validation}}}"#);
    refused_request(&request, &format!(".validation{message}"));
}

#[test]
fn a_get_is_sent_by_default() {
    let seen = seen_of(r#"{"path": "/a/b?c=d"}"#, &[]);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/a/b?c=d"));
    let agent = concat!("heartbeat-probe/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.headers["user-agent"], agent);
    assert!(seen.headers["host"].starts_with("127.0.0.1:"));
    assert!(!seen.headers.contains_key("content-length"));
    assert!(!seen.headers.contains_key("accept-encoding"));
}

#[test]
fn the_prefix_goes_before_every_path_in_the_log_too() {
    for prefix in ["pre", "/pre", "/pre/"] {
        let seen = seen_of(r#"{"path": "/a"}"#, &["-u", prefix]);
        assert_eq!(seen.path, "/pre/a");
    }
    let stub = ok();
    let outcome =
        ask(&stub.url(), r#"{"requests": [{"path": "/a"}]}"#, &["-v", "--url-prefix", "pre"]);
    assert!(outcome.out.trim_end().ends_with("\tGET\t/pre/a"), "{outcome:?}");
}

#[test]
fn verb_headers_and_body_are_sent() {
    let seen = seen_of(
        r#"{"path": "/", "verb": "put", "body": "text", "headers": {"X-One": "1", "Host": "h"}}"#,
        &[],
    );
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PUT", &b"text"[..]));
    assert_eq!((seen.headers["x-one"].as_str(), seen.headers["host"].as_str()), ("1", "h"));
    assert_eq!(seen.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(seen.headers["content-length"], "4");
}

#[test]
fn a_json_body_is_sent_as_text_in_its_order() {
    let seen = seen_of(
        r#"{"path": "/", "verb": "POST", "contentMediaType": "application/json",
            "body": {"z": 1, "a": [true, null, "x"]}}"#,
        &[],
    );
    assert_eq!(seen.body, br#"{"z":1,"a":[true,null,"x"]}"#);
    assert_eq!(seen.headers["content-type"], "application/json; charset=utf-8");
}

#[test]
fn a_generated_body_is_the_pattern() {
    let seen = seen_of(r#"{"path": "/", "verb": "POST", "bodyLength": 100001}"#, &[]);
    assert_eq!(seen.body_length, 100_001);
    assert!(seen.body.iter().zip(b"0123456789ABCDEF".iter().cycle()).all(|(a, b)| a == b));
    assert_eq!(seen.headers["content-length"], "100001");
    let seen = seen_of(r#"{"path": "/", "verb": "POST", "bodyLength": 0}"#, &[]);
    assert_eq!(seen.headers["content-length"], "0");
}

#[test]
fn requests_are_sent_in_the_order_of_the_files() {
    let stub = ok();
    let folder = Folder::new();
    let one = folder.file("1.json", r#"{"requests": [{"path": "/1"}, {"path": "/2"}]}"#);
    let two = folder.file("2.json", r#"{"requests": [{"path": "/3"}]}"#);
    assert_eq!(run(&folder, &["-s", &stub.url(), "-f", &one, &two]).code, 0);
    let paths: Vec<_> = stub.seen().iter().map(|seen| seen.path.clone()).collect();
    assert_eq!(paths, ["/1", "/2", "/3"]);
}

#[test]
fn comments_trailing_commas_and_a_byte_order_mark_are_accepted() {
    let stub = ok();
    let text = "\u{feff}/* one */ {\n// two\n \"requests\": [ { \"path\": \"/a//b\" }, ], }";
    let outcome = ask(&stub.url(), text, &[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    assert_eq!(stub.seen()[0].path, "/a//b");
}

#[test]
fn keys_are_recognized_in_any_case_and_unknown_ones_cause_a_warning() {
    let stub = ok();
    let text = r#"{"Requests": [{"PATH": "/", "validation": {"StatusCode": 200, "lenght": 1}}]}"#;
    let outcome = ask(&stub.url(), text, &[]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.err.contains("requests[0].validation.lenght: unknown key"), "{}", outcome.err);
    assert_eq!(outcome.err.lines().count(), 1, "{}", outcome.err);
}

#[test]
fn variables_come_from_the_environment_even_with_json_bodies() {
    let stub = ok();
    let folder = Folder::new();
    let file = folder.file(
        "t.json",
        r#"{"variables": ["WHO", "EMPTY"], "requests": [{"path": "/${WHO}/${EMPTY}x/${OTHER}",
            "verb": "POST", "contentMediaType": "application/json", "body": {"${WHO}": "${WHO}"},
            "headers": {"X-${WHO}": "a${WHO}"}}]}"#,
    );
    let mut command = program(&folder);
    command.args(["-s", &stub.url(), "-f", &file]).env("WHO", "ann").env("OTHER", "no");
    command.env("EMPTY", "");
    let outcome = finish(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = stub.seen().remove(0);
    assert_eq!(seen.path, "/ann/x/$%7BOTHER%7D");
    assert_eq!(seen.body, br#"{"ann":"ann"}"#);
    assert_eq!(seen.headers["x-ann"], "aann");
}

#[test]
fn a_variable_that_is_declared_and_not_set_is_an_error() {
    let file = r#"{"variables": ["NO_SUCH_VARIABLE"], "requests": [{"path": "/"}]}"#;
    refused(file, "variables: NO_SUCH_VARIABLE is not set in the environment");
}

#[test]
fn a_yaml_file_is_read_like_a_json_one() {
    let stub = ok();
    let folder = Folder::new();
    let text = "requests: # two\n- &a {path: /1, validation: {statusCode: 200}}\n\
                - {<<: *a, Path: /2, verb: POST, body: {n: 1.0}}\n";
    for name in ["t.yaml", "t.YML"] {
        let file = folder.file(name, text);
        let outcome = run(&folder, &["-s", &stub.url(), "-f", &file]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    }
    let file = folder.file("bad.yaml", "requests: [{path: a}]");
    let outcome = run(&folder, &["-s", &stub.url(), "-f", &file]);
    assert!(outcome.err.contains("bad.yaml: requests[0].path: must begin with /"), "{outcome:?}");
}

#[test]
fn a_text_body_is_json_with_compat_8() {
    let request = r#"{"path": "/", "verb": "POST", "body": "1"}"#;
    assert_eq!(seen_of(request, &[]).headers["content-type"], "text/plain; charset=utf-8");
    let seen = seen_of(request, &["--compat", "8"]);
    assert_eq!(seen.headers["content-type"], "application/json; charset=utf-8");
}

#[test]
fn numbers_of_a_body_are_sent_as_they_were_written() {
    let seen = seen_of(
        r#"{"path": "/", "verb": "POST", "contentMediaType": "application/json",
            "body": {"a": 10.00, "b": 12345678901234567890123}}"#,
        &[],
    );
    assert_eq!(seen.body, br#"{"a":10.00,"b":12345678901234567890123}"#);
}

#[test]
fn exact_match_of_json_works_with_variables() {
    let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", r#"{ "b":1,"a":"x" }"#)));
    let folder = Folder::new();
    let file = folder.file(
        "t.json",
        r#"{"variables": ["A"], "requests": [{"path": "/", "failOnValidationError": true,
            "validation": {"exactMatch": {"a": "${A}", "b": 1}}}]}"#,
    );
    let arguments = ["-s", &stub.url(), "-f", &file];
    assert_eq!(finish(program(&folder).args(arguments).env("A", "x")).code, 0);
    assert_eq!(finish(program(&folder).args(arguments).env("A", "y")).code, 1);
}

#[test]
fn performance_targets_come_from_the_request_or_from_their_own_file() {
    let stub = ok();
    let folder = Folder::new();
    folder.file(
        "perfTargets.txt",
        r#"{"Fast": {"category": "Fast", "quartiles": [60000, 60001, 60002]}}"#,
    );
    let file = folder.file(
        "t.json",
        r#"{"requests": [
            {"path": "/1", "perfTarget": {"category": "Fast"}},
            {"path": "/2", "perfTarget": {"category": "Own", "quartiles": [-3, -2, -1]}},
            {"path": "/3", "perfTarget": {"category": "Unknown"}}]}"#,
    );
    let outcome = run(&folder, &["-s", &stub.url(), "-f", &file, "-v", "-g", "Tsv"]);
    let columns = |line: &str| {
        let columns: Vec<_> = line.split('\t').collect();
        (columns[10].to_owned(), columns[11].to_owned())
    };
    let found: Vec<_> = outcome.out.lines().map(columns).collect();
    let expected = [("1", "Fast"), ("4", "Own"), ("-", "Unknown")];
    assert_eq!(found, expected.map(|(one, two)| (one.to_owned(), two.to_owned())));
}

#[test]
fn invalid_files_are_rejected_by_name() {
    let outcome = run(&Folder::new(), &["-s", "localhost", "-f", "missing.json"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("missing.json: No such file"), "{}", outcome.err);
    refused("", "");
    refused("{\"requests\": [{\"path\": \"/\"}", "");
    refused("{}", "has no requests");
    refused(r#"{"requests": []}"#, "has no requests");
    refused(r#"[{"path": "/"}]"#, "the arrays of WebV 1 are not read");
    refused(r#"{"requests": {}}"#, "requests: must be an array, not an object");
    refused(r#"{"requests": ["/"]}"#, "requests[0]: must be an object, not text");
}

#[test]
fn one_invalid_file_of_several_is_enough() {
    let folder = Folder::new();
    let good = folder.file("good.json", r#"{"requests": [{"path": "/"}]}"#);
    let outcome = run(&folder, &["-s", "localhost:1", "-f", &good, "missing.json"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
}

#[test]
fn invalid_requests_are_rejected_with_their_place() {
    refused_request("{}", ".path: is required");
    refused_request(r#"{"path": "a"}"#, ".path: must begin with /");
    refused_request(r#"{"path": 1}"#, ".path: must be text, not 1");
    refused_request(r#"{"path": "/", "verb": "G T"}"#, ".verb: 'G T' is not an HTTP method");
    refused_request(r#"{"path": "/", "headers": {"a b": "c"}}"#, ": \"a b\" is no valid header");
    refused_request(r#"{"path": "/", "headers": {"a": 1}}"#, ".headers.a: must be text");
    refused_request(r#"{"path": "/", "body": 5}"#, ".body: must be text, an object");
    refused_request(
        r#"{"path": "/", "body": {}, "contentMediaType": "text/xml"}"#,
        ".body: must be text if contentMediaType is text/xml",
    );
    refused_request(
        r#"{"path": "/", "body": "x", "bodyLength": 1}"#,
        ".body: conflicts with bodyLength",
    );
    refused_request(r#"{"path": "/", "bodyLength": -1}"#, ".bodyLength: must be a whole number");
    refused_request(
        r#"{"path": "/", "failOnValidationError": "yes"}"#,
        ".failOnValidationError: must be true or false",
    );
    refused_request(
        r#"{"path": "/", "perfTarget": {"category": "x", "quartiles": [1, 2]}}"#,
        ".perfTarget.quartiles: must have 3 numbers",
    );
    refused_request(r#"{"path": "/", "perfTarget": {}}"#, ".perfTarget.category: must not be");
}

#[test]
fn invalid_validations_are_rejected_with_their_place() {
    for (validation, message) in [
        (r#"{"statusCode": 99}"#, ".statusCode: must be 100 to 599, not 99"),
        (r#"{"statusCode": 600}"#, ".statusCode: must be 100 to 599, not 600"),
        (r#"{"contentType": ""}"#, ".contentType: must not be empty"),
        (r#"{"exactMatch": ""}"#, ".exactMatch: must not be empty"),
        (r#"{"length": -1}"#, ".length: must be a whole number of at least 0, not -1"),
        (r#"{"minLength": 1.5}"#, ".minLength: must be a whole number"),
        (r#"{"minLength": 2, "maxLength": 1}"#, ".maxLength: must not be less than minLength"),
        (r#"{"maxMilliSeconds": 0}"#, ".maxMilliSeconds: must be at least 1"),
        (r#"{"contains": "x"}"#, ".contains: must be an array"),
        (r#"{"contains": [{"value": "x"}]}"#, ".contains[0]: must be text, not an object"),
        (r#"{"contains": ["x", ""]}"#, ".contains[1]: must not be empty"),
        (r#"{"notContains": [""]}"#, ".notContains[0]: must not be empty"),
        (r#"{"jsonObject": [{"value": 1}]}"#, ".jsonObject[0].field: must not be empty"),
        (r#"{"jsonArray": {"count": -1}}"#, ".jsonArray.count: must be a whole number"),
        (
            r#"{"jsonArray": {"count": 1, "minCount": 1}}"#,
            ".jsonArray.count: conflicts with minCount",
        ),
        (
            r#"{"jsonArray": {"minCount": 2, "maxCount": 2}}"#,
            ".jsonArray.maxCount: must be greater than minCount",
        ),
        (r#"{"jsonArray": {"byIndex": [{"index": 0}]}}"#, ".jsonArray.byIndex[0]: needs a field"),
        (
            r#"{"jsonArray": {"forEach": [{"statusCode": 1}]}}"#,
            ".jsonArray.forEach[0].statusCode: must be 100 to 599",
        ),
        (r#"{"perfTarget": {"category": "x"}}"#, ".perfTarget.quartiles: must have 3 numbers"),
        (r#"{"pattern": 1}"#, ".pattern: must be true or false"),
    ] {
        refused_validation(validation, message);
    }
}

#[test]
fn status_codes_at_their_limits_are_accepted() {
    for status in [100, 599] {
        let request = format!(r#"{{"path": "/", "validation": {{"statusCode": {status}}}}}"#);
        let errors = errors_of(&ok().url(), &request);
        assert_eq!(errors, [format!("StatusCode: 200 Expected: {status}")]);
    }
}
