//! Sends any bytes as a request-target. The server must accept them if and only if a second,
//! independent reading of the grammar does, and must split them into path and query without loss.

#![no_main]

use std::net::Ipv6Addr;

use heartbeat_protocol::limits::TARGET_BYTES_MAX;
use heartbeat_protocol::{Connection, Event, Rejection, Target};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    // A space would end the target, and the bytes after a line end might be a head of their own.
    if data.iter().any(|byte| matches!(byte, b' ' | b'\n')) {
        return Corpus::Reject;
    }
    for method in ["GET", "OPTIONS"] {
        let head = [method.as_bytes(), b" ", data, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let mut connection = Connection::new();
        let received = connection.receive(&head);
        let valid = is_target(data, method == "OPTIONS");
        match received.event {
            Event::Request(request) => {
                assert!(valid, "accepted: {:?}", String::from_utf8_lossy(data));
                assert_eq!((received.consumed, request.target_bytes), (head.len(), data));
                check_parts(data, request.target);
            }
            Event::Rejected(rejection) => {
                let long = data.len() > TARGET_BYTES_MAX;
                assert!(long || !valid, "{rejection:?}: {:?}", String::from_utf8_lossy(data));
                assert!(rejection != Rejection::TargetTooLong || long);
            }
            other => panic!("{other:?}"),
        }
    }
    Corpus::Keep
});

fn check_parts(data: &[u8], target: Target<'_>) {
    let Target::Path { path, query } = target else { return assert_eq!(data, b"*") };
    assert!(path.starts_with(b"/") && !path.contains(&b'?'));
    if data.starts_with(b"/") {
        let joined = if query.is_empty() { path.to_vec() } else { [path, b"?", query].concat() };
        assert!(data == joined || data == [&joined[..], b"?"].concat());
    } else {
        assert!(data.ends_with(query));
    }
}

fn is_target(data: &[u8], asterisk: bool) -> bool {
    let Ok(text) = str::from_utf8(data) else { return false };
    let known =
        |byte: char| byte.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%[]".contains(byte);
    if !text.chars().all(known) || !text.split('%').skip(1).all(is_encoding) {
        return false;
    }
    let (before, _query) = text.split_once('?').unwrap_or((text, ""));
    let rest = match before.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = &before[7..];
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !is_authority(authority) {
                return false;
            }
            path
        }
        _ if before.starts_with('/') => before,
        _ => return text == "*" && asterisk,
    };
    !hides_control(rest) && !rest.contains(['[', ']'])
}

/// Whether a percent-encoded byte in `part` is a control byte.
fn hides_control(part: &str) -> bool {
    part.split('%').skip(1).any(|encoding| {
        let number = u8::from_str_radix(&encoding[..2], 16);
        number.is_ok_and(|byte| byte.is_ascii_control())
    })
}

fn is_ip_literal(text: &str) -> bool {
    let Some(future) = text.strip_prefix(['v', 'V']) else {
        return text.parse::<Ipv6Addr>().is_ok();
    };
    let Some((version, address)) = future.split_once('.') else { return false };
    let is_version = !version.is_empty() && version.bytes().all(|it| it.is_ascii_hexdigit());
    is_version && !address.is_empty() && !address.contains(['@', '[', ']', '%', '/', '?'])
}

fn is_encoding(rest: &str) -> bool {
    rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(number) => {
            number.bytes().all(|byte| byte.is_ascii_digit())
                && (number.is_empty() || number.parse::<u64>().is_ok_and(|it| it < 65_536))
        }
        None => port.is_empty(),
    };
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(is_ip_literal),
        None => {
            let no_host = ['@', '[', ']', ',', ':', '/'];
            !host.is_empty() && !host.contains(no_host) && !hides_control(host)
        }
    };
    is_host && is_port
}
