//! Valid requests of every shape, with the result that each must have. The generator knows the
//! result, so that no second parser is needed to check it.

use crate::rig::random::Random;

/// A valid request.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) method: &'static str,
    pub(crate) content: Vec<u8>,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Whether the connection stays open.
    pub(crate) keeps: bool,
}

const TOKEN_BYTES: &[u8] =
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What the head says about the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Length,
    Chunked,
}

pub(crate) fn message(random: &mut Random) -> Message {
    let method = random.pick(&["GET", "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS", "DELETE"]);
    let old = random.one_in(6);
    let body = match random.below(4) {
        0 => Body::Length,
        1 if !old => Body::Chunked,
        2 if random.one_in(4) => Body::Length,
        _ => Body::None,
    };
    let content = if body == Body::None { Vec::new() } else { content(random) };
    let mut fields = Vec::new();
    if !old || random.one_in(2) {
        fields.push(host(random));
    }
    let kept = connection(&mut fields, old, random);
    let waits = random.one_in(12);
    if waits {
        fields.push(named("expect", random) + ": 100-continue");
    }
    let unknown_expectation = random.one_in(30);
    if unknown_expectation {
        fields.push("Expect: something-else".to_string());
    }
    match body {
        Body::None => {}
        Body::Length => {
            fields.push(format!("{}: {}", named("content-length", random), content.len()))
        }
        Body::Chunked => {
            fields.push(
                named("transfer-encoding", random) + random.pick(&[": chunked", ":Chunked ,"]),
            );
        }
    }
    let (target, found) = target(method, random);
    let status = match (found, method) {
        _ if unknown_expectation => 417,
        (false, _) => 404,
        (true, "OPTIONS") => 204,
        (true, "DELETE") => 405,
        (true, _) => 200,
    };
    let mut bytes = b"\r\n".repeat(if random.one_in(8) { 1 + random.below(2) } else { 0 });
    let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
    bytes.extend_from_slice(format!("{method} {target} {version}\r\n").as_bytes());
    put_fields(fields, &mut bytes, random);
    bytes.extend_from_slice(b"\r\n");
    match body {
        Body::None => {}
        Body::Length => bytes.extend_from_slice(&content),
        Body::Chunked => put_chunks(&content, &mut bytes, random),
    }
    // If a request that waits for 100 is refused, its body is never read.
    let has_body = body == Body::Chunked || !content.is_empty();
    let unread = waits && !old && has_body && status >= 400;
    Message {
        bytes,
        method,
        content: if unread { Vec::new() } else { content },
        status,
        keeps: kept && !unread,
    }
}

/// A target, and whether it names a payload.
fn target(method: &str, random: &mut Random) -> (String, bool) {
    if method == "OPTIONS" && random.one_in(3) {
        return ("*".to_string(), true);
    }
    let found = !random.one_in(5);
    let path =
        if found { format!("/heartbeat/{}", 1 + random.below(2000)) } else { "/a/%41;b".into() };
    let authority = if random.one_in(6) {
        random.pick(&["http://a", "HTTP://www.example.org:80", "http://[::1]:8080"])
    } else {
        ""
    };
    let query = if random.one_in(4) {
        random.pick(&["?", "?a=b&c", "?/?:@[]%0a", "?timing", "?a&timing=1"])
    } else {
        ""
    };
    (format!("{authority}{path}{query}"), found)
}

fn host(random: &mut Random) -> String {
    let value = random.pick(&["a", "www.example.org:8080", "127.0.0.1", "[::1]:80", "a:"]);
    format!("{}:{}{value}", named("host", random), random.pick(&["", " ", "\t "]))
}

/// Adds Connection field lines. Returns whether the connection stays open.
fn connection(fields: &mut Vec<String>, old: bool, random: &mut Random) -> bool {
    let (options, close, keep): (&[&str], bool, bool) = match random.below(8) {
        0 => (&["close"], true, false),
        1 => (&["keep-alive"], false, true),
        2 => (&["x, Keep-Alive , y"], false, true),
        3 => (&["keep-alive", ",CLOSE,"], true, true),
        4 => (&["upgrade"], false, false),
        _ => (&[], false, false),
    };
    for option in options {
        fields.push(format!("{}: {option}", named("connection", random)));
    }
    if old { keep && !close } else { !close }
}

/// `name` in lower, upper or mixed case.
fn named(name: &str, random: &mut Random) -> String {
    let any_case = |byte: u8, random: &mut Random| {
        if random.one_in(3) { byte.to_ascii_uppercase() } else { byte }
    };
    name.bytes().map(|byte| any_case(byte, random) as char).collect()
}

/// Writes `fields` in any order, among others that have no meaning here.
fn put_fields(mut fields: Vec<String>, out: &mut Vec<u8>, random: &mut Random) {
    while !fields.is_empty() {
        while random.one_in(2) {
            put_other_field(out, random);
        }
        let field = fields.swap_remove(random.below(fields.len()));
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn put_other_field(out: &mut Vec<u8>, random: &mut Random) {
    // The only field that the server reads and that begins with `X-` is X-Forwarded-Proto. Its name
    // is longer than any that is made here.
    out.extend_from_slice(b"X-");
    put_token(out, random);
    out.push(b':');
    for _ in 0..random.below(20) {
        out.push(match random.below(8) {
            0 => b'\t',
            1 => 0x80 + random.below(0x80) as u8,
            2 => b' ',
            _ => b'!' + random.below(0x5e) as u8,
        });
    }
    out.extend_from_slice(b"\r\n");
}

fn put_token(out: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        out.push(TOKEN_BYTES[random.below(TOKEN_BYTES.len())]);
    }
}

/// Random content, much of which looks like framing.
fn content(random: &mut Random) -> Vec<u8> {
    let length = if random.one_in(10) { random.below(4000) } else { random.below(40) };
    let pieces: &[&[u8]] =
        &[b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n", b"a", b"\0", b"\xff\xfe"];
    let mut content = Vec::new();
    while content.len() < length {
        content.extend_from_slice(random.pick(pieces));
    }
    content.truncate(length);
    content
}

fn put_chunks(content: &[u8], out: &mut Vec<u8>, random: &mut Random) {
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
        put_size(chunk.len(), out, random);
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    put_size(0, out, random);
    while random.one_in(4) {
        put_other_field(out, random);
    }
    if random.one_in(10) {
        out.extend_from_slice(b"Content-Length: 5\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// A chunk-size line.
fn put_size(size: usize, out: &mut Vec<u8>, random: &mut Random) {
    let width = random.below(5);
    let size =
        if random.one_in(2) { format!("{size:0width$x}") } else { format!("{size:0width$X}") };
    out.extend_from_slice(size.as_bytes());
    while random.one_in(6) {
        out.extend_from_slice(random.pick::<[u8]>(&[b";", b" ;", b"; ", b"\t;\t"]));
        put_token(out, random);
        match random.below(4) {
            0 => {
                out.extend_from_slice(random.pick::<[u8]>(&[b"=", b" = "]));
                put_token(out, random);
            }
            1 => out.extend_from_slice(b"=\"q\\\"; \xe9\""),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}
