//! Servers that break: each is one failed request with a reason, and nothing worse.

mod process;
mod stub;

use std::time::Duration;

use process::{ask, errors_of, free_port};
use stub::{Reply, Seen, Stub, answer};

fn error_of(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> String {
    let stub = Stub::start(script);
    let request = r#"{"path": "/", "validation": {"contentType": "text/plain"}}"#;
    let errors = errors_of(&stub.url(), request);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].clone()
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_short_body_is_reported_with_its_length() {
    let error = error_of(|_| Reply::RawClose(format!("{}01234", head(10)).into_bytes()));
    assert_eq!(error, "Exception: the connection closed after 5 bytes of the body");
}

#[test]
fn a_close_instead_of_an_answer_is_reported() {
    let error = error_of(|_| Reply::RawClose(Vec::new()));
    assert_eq!(error, "Exception: the connection closed before a complete answer");
}

#[test]
fn a_close_in_the_head_is_reported() {
    let error = error_of(|_| Reply::RawClose(b"HTTP/1.1 200 OK\r\nContent-".to_vec()));
    assert_eq!(error, "Exception: the connection closed before a complete answer");
}

#[test]
fn a_reset_is_reported() {
    let error = error_of(|_| Reply::Reset(Vec::new()));
    assert!(error.starts_with("Exception: "), "{error}");
    assert!(error.contains("reset"), "{error}");
}

#[test]
fn an_answer_that_is_not_http_is_reported() {
    let error = error_of(|_| Reply::RawClose(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()));
    assert!(error.starts_with("Exception: invalid HTTP"), "{error}");
}

#[test]
fn invalid_chunks_are_reported() {
    let error = error_of(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n";
        Reply::RawClose(format!("{head}\r\nxyz\r\n").into_bytes())
    });
    assert!(error.starts_with("Exception: "), "{error}");
}

#[test]
fn a_server_that_hangs_is_ended_by_the_timeout() {
    for bytes in [Vec::new(), head(5).into_bytes(), format!("{}012", head(5)).into_bytes()] {
        let stub = Stub::start(move |_| Reply::Hang(bytes.clone()));
        let file = r#"{"requests": [{"path": "/"}]}"#;
        let outcome = ask(&stub.url(), file, &["-t", "1", "-g", "Json", "--verbose-errors"]);
        assert_eq!(outcome.code, 1);
        assert!(outcome.out.contains("Exception: no complete answer within 1s"), "{outcome:?}");
        assert!(outcome.out.contains("\"StatusCode\":500"), "{outcome:?}");
        assert!(!outcome.out.contains("ContentLength"), "{outcome:?}");
    }
}

#[test]
fn the_timeout_is_for_the_whole_request() {
    let slow = format!("{}{}", head(100), "x".repeat(100)).into_bytes();
    let stub = Stub::start(move |_| Reply::Slow(slow.clone(), Duration::from_millis(20)));
    let outcome = ask(&stub.url(), r#"{"requests": [{"path": "/"}]}"#, &["-t", "1"]);
    assert_eq!(outcome.code, 1);
}

#[test]
fn a_slow_answer_is_waited_for() {
    let slow = format!("{}01234", head(5)).into_bytes();
    let stub = Stub::start(move |_| Reply::Slow(slow.clone(), Duration::from_millis(5)));
    let request = r#"{"path": "/", "validation": {"contentType": "text/plain", "pattern": true}}"#;
    assert_eq!(errors_of(&stub.url(), request), [""; 0]);
}

#[test]
fn chunks_and_an_end_by_close_also_have_a_length() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\n012\r\n2\r\n34\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n01234",
    ] {
        let stub = Stub::start(|_| Reply::RawClose(reply.as_bytes().to_vec()));
        let request = r#"{"path": "/", "validation": {"contentType": "text/plain", "length": 5,
            "pattern": true, "exactMatch": "01234"}}"#;
        assert_eq!(errors_of(&stub.url(), request), [""; 0]);
    }
}

#[test]
fn a_folded_field_is_read_and_a_length_beside_chunks_is_not() {
    let reply = "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Type: text/plain\r\n\
        Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n0\r\n\r\n";
    let stub = Stub::start(|_| Reply::RawClose(reply.as_bytes().to_vec()));
    let request = r#"{"path": "/", "validation": {"contentType": "text/plain", "length": 3}}"#;
    assert_eq!(errors_of(&stub.url(), request), [""; 0]);
}

#[test]
fn a_head_with_too_many_fields_is_explained() {
    let fields = |count: usize| "X-A: b\r\n".repeat(count);
    let reply = move |count| {
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", fields(count)).into_bytes()
    };
    let stub = Stub::start(move |_| Reply::Raw(reply(999)));
    assert_eq!(errors_of(&stub.url(), r#"{"path": "/"}"#), [""; 0]);
    let stub = Stub::start(move |_| Reply::Raw(reply(1000)));
    let told = "Exception: the head of the answer has more than 64 KiB or 1000 fields \
        (100 in a load)";
    assert_eq!(errors_of(&stub.url(), r#"{"path": "/"}"#), [told]);
}

#[test]
fn a_redirect_is_not_followed() {
    let stub = Stub::start(|seen| match seen.path.as_str() {
        "/" => Reply::Raw(b"HTTP/1.1 301 X\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n".to_vec()),
        _ => Reply::Raw(answer(200, "text/plain", "")),
    });
    let request = r#"{"path": "/", "validation": {"statusCode": 301}}"#;
    assert_eq!(errors_of(&stub.url(), request), [""; 0]);
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn a_name_that_does_not_exist_is_reported() {
    // RFC 6761 section 6.4: it never has an address. Without a network, a resolver may take half a
    // minute to find out.
    let more = ["-t", "300", "--verbose-errors"];
    let file = r#"{"requests": [{"path": "/"}]}"#;
    let outcome = ask("http://no-such-host.invalid", file, &more);
    assert_eq!(outcome.code, 1);
    let told = "Exception: no-such-host.invalid cannot be resolved: ";
    assert!(outcome.out.contains(told), "{outcome:?}");
}

#[test]
fn a_port_without_listener_is_reported() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let errors = errors_of(&url, r#"{"path": "/"}"#);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("cannot be reached: Connection refused"), "{errors:?}");
}

fn three(verb: &str) -> String {
    let request = format!(r#"{{"path": "/", "verb": "{verb}", "validation": {{}}}}"#);
    format!(r#"{{"requests": [{request}, {request}, {request}]}}"#)
}

#[test]
fn a_connection_is_reused_only_with_keep_alive() {
    let connections = |more: &[&str]| {
        let stub = Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")));
        let outcome = ask(&stub.url(), &three("GET"), more);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let seen = stub.seen();
        let close = seen.iter().filter(|seen| seen.headers.contains_key("connection")).count();
        (seen.iter().map(|seen| seen.connection).collect::<Vec<_>>(), close)
    };
    assert_eq!(connections(&[]), (vec![0, 0, 0], 0));
    assert_eq!(connections(&["--no-keep-alive"]), (vec![0, 1, 2], 3));
}

#[test]
fn an_idle_connection_that_breaks_fails_no_idempotent_request() {
    // The second request finds its connection closed, as if an idle timeout had crossed it.
    let script = |first: &'static std::sync::atomic::AtomicUsize| {
        move |seen: &Seen| {
            let before = first.swap(seen.connection + 1, std::sync::atomic::Ordering::SeqCst);
            if before == seen.connection + 1 {
                Reply::RawClose(Vec::new())
            } else {
                Reply::Raw(answer(200, "application/json", "{}"))
            }
        }
    };
    static GET: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::start(script(&GET));
    let outcome = ask(&stub.url(), &three("GET"), &[]);
    assert_eq!((outcome.code, stub.seen().len()), (0, 5), "{outcome:?}");

    static POST: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::start(script(&POST));
    let outcome = ask(&stub.url(), &three("POST"), &[]);
    assert_eq!((outcome.code, stub.seen().len()), (1, 3), "{outcome:?}");
}

#[test]
fn a_server_that_closes_after_each_answer_gets_new_connections() {
    let stub = Stub::start(|_| Reply::RawClose(answer(200, "application/json", "{}")));
    let outcome = ask(&stub.url(), &three("GET"), &[]);
    let connections: Vec<_> = stub.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!((outcome.code, connections), (0, vec![0, 1, 2]), "{outcome:?}");
}
