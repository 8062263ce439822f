//! What holds for every answer, whatever the request was: httparse can parse it, and it has only
//! field lines that this server sends.

use heartbeat_protocol::{CloseReason, Content, Next, Status, Version};

use crate::rig::driver::{Answer, FACTS, SITE};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// Checks that `answer` parses, agrees with itself, and reflects nothing.
pub(crate) fn check(answer: &Answer) {
    let mut storage = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut storage);
    let status = parsed.parse(&answer.head).expect("an answer parses");
    assert_eq!(status, httparse::Status::Complete(answer.head.len()));
    assert_eq!((parsed.version, parsed.code), (Some(1), Some(answer.status.code())));
    let values = |name: &str| -> Vec<&str> {
        let named = parsed.headers.iter().filter(|field| field.name == name);
        named.map(|field| std::str::from_utf8(field.value).expect("values are text")).collect()
    };
    let code = answer.status.code();
    assert_eq!(values("Date"), [DATE]);
    check_content(answer, &values);
    check_connection(answer, &values);
    let cache_control: &[&str] = match code {
        200 => &["no-cache, no-transform"],
        301 if values("Location") != [SITE.uri()] => &["no-cache"],
        _ => &[],
    };
    assert_eq!(values("Cache-Control"), cache_control);
    let wants_timing = usize::from(code == 200 && wants_timing(answer));
    assert_eq!(values("Server-Timing").len(), wants_timing);
    assert_eq!(values("Timing-Allow-Origin").len(), wants_timing);
    assert_eq!(values("Allow").len(), usize::from(matches!(code, 204 | 405)));
    assert_eq!(values("Location").len(), usize::from(code == 301));
    for field in &*parsed.headers {
        let value = std::str::from_utf8(field.value).expect("values are text");
        assert!(is_known(field.name, value), "{}: {value}", field.name);
    }
}

/// Whether the request is for a payload below the prefix, and its query has the parameter `timing`.
fn wants_timing(answer: &Answer) -> bool {
    let Some(seen) = &answer.request else { return false };
    let Some((path, query)) = &seen.path else { return false };
    let is_timing = |pair: &[u8]| pair == b"timing" || pair.starts_with(b"timing=");
    let is_payload = path.starts_with(SITE.uri().as_bytes())
        && path.last().is_some_and(|byte| byte.is_ascii_digit());
    is_payload && seen.method != b"OPTIONS" && query.split(|byte| *byte == b'&').any(is_timing)
}

fn check_content<'v>(answer: &Answer, values: &dyn Fn(&str) -> Vec<&'v str>) {
    let code = answer.status.code();
    let lengths = values("Content-Length");
    // RFC 9110 section 8.6: a 204 has no Content-Length.
    assert_eq!(lengths.len(), usize::from(code != 204));
    let length: u64 = lengths.first().map_or(0, |value| value.parse().expect("a length"));
    let head_only = answer.request.as_ref().is_some_and(|request| request.method == b"HEAD");
    if head_only {
        assert_eq!(answer.content, Content::None);
    } else {
        assert_eq!(answer.content.bytes(), length);
    }
    assert!(code == 200 || length == 0);
    assert_eq!(values("Content-Type").len(), usize::from(code == 200));
}

fn check_connection<'v>(answer: &Answer, values: &dyn Fn(&str) -> Vec<&'v str>) {
    let version = answer.request.as_ref().map_or(Version::Http11, |request| request.version);
    let expected: &[&str] = match (answer.next, version) {
        (Next::Close(_), _) => &["close"],
        (Next::KeepAlive, Version::Http10) => &["keep-alive"],
        (Next::KeepAlive, Version::Http11) => &[],
    };
    assert_eq!(values("Connection"), expected);
    let reason = match (answer.rejection, answer.status) {
        (Some(_), _) => CloseReason::Rejected,
        (None, Status::RequestTimeout) => CloseReason::Server,
        (None, _) => return,
    };
    assert_eq!(answer.next, Next::Close(reason));
}

/// Whether this server may send `name: value`. Of a request it never sends back more than a number.
fn is_known(name: &str, value: &str) -> bool {
    let number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match name {
        "Date" => value == DATE,
        "Content-Length" | "X-Heartbeat-Wire-Min" => number,
        "Content-Type" => matches!(value, "text/plain" | "application/json"),
        "Cache-Control" => matches!(value, "no-cache, no-transform" | "no-cache"),
        "Server-Timing" => value == "app;dur=0.012, rtt;dur=0.251, retrans;desc=\"0\"",
        "Timing-Allow-Origin" => value == "*",
        "Connection" => matches!(value, "close" | "keep-alive"),
        "Allow" => matches!(value, "GET, HEAD, OPTIONS" | "GET, HEAD, POST, PUT, OPTIONS"),
        "Location" => value.strip_prefix(SITE.uri()).is_some_and(|rest| matches!(rest, "" | "17")),
        _ => false,
    }
}

/// The whole answer: its head and its content.
pub(crate) fn message(answer: &Answer) -> Vec<u8> {
    let mut message = answer.head.clone();
    match answer.content {
        Content::Payload(payload) => {
            let block = heartbeat_protocol::PATTERN.repeat(256);
            for segment in payload.segments(0, block.len()) {
                message.extend_from_slice(&block[segment.start..][..segment.bytes]);
            }
        }
        Content::Text { text, .. } => {
            assert!([FACTS.version, FACTS.version_json, "Pass\n", "Ready\n"].contains(&text));
            message.extend_from_slice(text.as_bytes());
        }
        Content::None => {}
        Content::Wire { .. } => panic!("the encoder resolves wire sizes"),
    }
    message
}
