//! Owns the one encoder of every head: the status line and its fields. Callers choose the answer;
//! the rules for Date, Content-Length, Connection and Cache-Control are here.

use std::io::Write;

use crate::decimal::{decimal_digits, push_decimal};
use crate::limits::RESPONSE_HEAD_BYTES_MAX;
use crate::timing::TimingRequest;
use crate::{DateLine, Payload, Rejection, ServerTiming, Status};

/// The interim response for which a peer waits before it sends its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content<'a> {
    /// Nothing.
    #[default]
    None,
    /// The repeated pattern.
    Payload(Payload),
    /// A payload of the size that makes the whole message `message_bytes` long. The encoder
    /// computes that size, or turns the answer into a refusal.
    Wire {
        /// Length of status line, field lines, empty line and payload together.
        message_bytes: u64,
        /// Longest payload allowed.
        payload_bytes_max: u64,
    },
    /// A short text.
    Text {
        /// The Content-Type.
        media_type: &'static str,
        /// The text.
        text: &'a str,
    },
}

impl Content<'_> {
    /// Length in bytes; 0 for [`Content::Wire`], whose length is not known yet.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::None | Self::Wire { .. } => 0,
            Self::Payload(payload) => payload.bytes,
            Self::Text { text, .. } => text.len() as u64,
        }
    }
}

/// An answer, before the connection adds Date and Connection. By default it is an empty 200.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Response<'a> {
    /// The status code.
    pub status: Status,
    /// What follows the head.
    pub content: Content<'a>,
    /// Location, for redirects.
    pub location: Option<Location<'a>>,
    /// Allow, for 405 and OPTIONS.
    pub allow: Option<&'static str>,
    /// X-Heartbeat-Wire-Min, if a wire size was too small.
    pub(crate) wire_bytes_min: Option<u64>,
    /// Whether one colon is followed by a second space: see [`Response::resolve`].
    pub(crate) padded: bool,
    /// Whether scripts of pages of other origins may read the answer (CORS).
    pub(crate) cross_origin: bool,
    /// The measurements that the request asks for.
    pub(crate) timing_request: Option<TimingRequest>,
    /// The measurements, once they are known.
    pub(crate) timing: Option<&'a ServerTiming>,
}

/// A path below the prefix, made of two parts, so that no redirect allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The configured prefix.
    pub prefix: &'a str,
    /// The size that follows the prefix. Such a redirect tells caches to ask again, because the
    /// size depends on the configuration.
    pub size: Option<u64>,
}

/// Whether the connection stays open after an answer, and how the answer says so (RFC 9112
/// section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1 and kept open: no Connection field.
    Implied,
    /// HTTP/1.0 and kept open: `Connection: keep-alive`.
    KeepAlive,
    /// Closed: `Connection: close`.
    Close,
}

impl<'a> Response<'a> {
    /// An answer without content.
    pub fn new(status: Status) -> Self {
        Self { status, ..Self::default() }
    }

    /// A 200 with content.
    pub fn with_content(content: Content<'a>) -> Self {
        Self { content, ..Self::default() }
    }

    /// Adds the measurements of this answer. They are left out if the request did not ask for them.
    pub fn with_timing(self, timing: &'a ServerTiming) -> Self {
        Self { timing: Some(timing), ..self }
    }

    /// The answer to a rejected message.
    pub fn rejection(rejection: Rejection) -> Self {
        Self::new(rejection.status())
    }

    /// Turns [`Content::Wire`] into the payload that makes the message exactly as long as
    /// requested, or into a refusal. The length of the head depends on `persistence`. Other answers
    /// stay as they are.
    ///
    /// At each power of ten Content-Length grows by one digit, so that there is one message length
    /// which no payload leads to. A second space after a colon then adds the missing byte; it is
    /// not part of the value (RFC 9110 section 5.5).
    ///
    /// To measure the shortest head, it is appended to `scratch` and removed again.
    pub(crate) fn resolve(self, persistence: Persistence, scratch: &mut Vec<u8>) -> Self {
        let Content::Wire { message_bytes, payload_bytes_max } = self.content else { return self };
        let mut response = Self { content: Content::Payload(Payload { bytes: 0 }), ..self };
        let start = scratch.len();
        response.encode(&DateLine::BLANK, persistence, scratch);
        let head_bytes_min = (scratch.len() - start) as u64;
        scratch.truncate(start);
        if message_bytes < head_bytes_min {
            let wire_bytes_min = Some(head_bytes_min);
            return Self { wire_bytes_min, ..Self::new(Status::BadRequest) };
        }
        // What is left for the payload and for the digits of its length. The largest payload that
        // fits is looked for.
        let rest = message_bytes - (head_bytes_min - 1);
        let with_digits = |bytes: u64| bytes + decimal_digits(bytes);
        let mut bytes = rest - decimal_digits(rest);
        if with_digits(bytes + 1) <= rest {
            bytes += 1;
        }
        if bytes > payload_bytes_max {
            return Self::new(Status::BadRequest);
        }
        response.content = Content::Payload(Payload { bytes });
        response.padded = with_digits(bytes) < rest;
        response
    }

    /// Appends the head to `out`: at most [`RESPONSE_HEAD_BYTES_MAX`] bytes.
    pub(crate) fn encode(&self, date: &DateLine, persistence: Persistence, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.status.line().as_bytes());
        if self.status == Status::Ok {
            // `no-transform` asks intermediaries not to compress the payload (RFC 9111 section
            // 5.2.2.6).
            out.extend_from_slice(b"Cache-Control: no-cache, no-transform\r\nContent-Type: ");
            if self.padded {
                out.push(b' ');
            }
            out.extend_from_slice(match self.content {
                Content::Text { media_type, .. } => media_type.as_bytes(),
                _ => b"text/plain",
            });
            out.extend_from_slice(b"\r\n");
            if let (Some(request), Some(timing)) = (self.timing_request, self.timing) {
                timing.encode(request, out);
            }
        }
        if self.cross_origin {
            self.encode_cross_origin(out);
        }
        // Rare fields, which a vector accepts whatever their length is.
        if let Some(Location { prefix, size }) = &self.location {
            let _ = match size {
                Some(size) => {
                    write!(out, "Location: {prefix}{size}\r\nCache-Control: no-cache\r\n")
                }
                None => write!(out, "Location: {prefix}\r\n"),
            };
        }
        if let Some(allow) = &self.allow {
            let _ = write!(out, "Allow: {allow}\r\n");
        }
        if let Some(bytes) = &self.wire_bytes_min {
            let _ = write!(out, "X-Heartbeat-Wire-Min: {bytes}\r\n");
        }
        // A 204 must not have Content-Length (RFC 9110 section 8.6).
        if self.status != Status::NoContent {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(self.content.bytes(), out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(&date.bytes);
        out.extend_from_slice(match persistence {
            Persistence::Implied => b"\r\n",
            Persistence::KeepAlive => b"Connection: keep-alive\r\n\r\n",
            Persistence::Close => b"Connection: close\r\n\r\n",
        });
        debug_assert!(out.len() - start <= RESPONSE_HEAD_BYTES_MAX);
    }

    /// Appends the CORS fields of the Fetch standard. They allow every script to read the answer,
    /// and to upload with the two request fields that LibreSpeed sets.
    fn encode_cross_origin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\n");
        if self.status == Status::NoContent {
            out.extend_from_slice(
                b"Access-Control-Allow-Headers: Content-Encoding, Content-Type\r\n",
            );
        }
        if self.timing_request.is_some() {
            out.extend_from_slice(b"Access-Control-Expose-Headers: Server-Timing\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMUMS: [(Persistence, u64); 3] =
        [(Persistence::Implied, 140), (Persistence::KeepAlive, 164), (Persistence::Close, 159)];

    fn encoded(response: &Response<'_>, persistence: Persistence) -> String {
        let mut out = Vec::new();
        response.encode(&DateLine::new(0), persistence, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn payload(bytes: u64) -> Response<'static> {
        Response::with_content(Content::Payload(Payload { bytes }))
    }

    #[test]
    fn the_head_of_17_bytes_has_at_most_142_bytes() {
        let head = encoded(&payload(17), Persistence::Implied);
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\n\
             Cache-Control: no-cache, no-transform\r\n\
             Content-Type: text/plain\r\n\
             Content-Length: 17\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
             \r\n"
        );
        assert!(head.len() <= 142, "{}", head.len());
    }

    #[test]
    fn refusals_have_no_content_type_and_a_length_of_0() {
        let head = encoded(&Response::rejection(Rejection::Host), Persistence::Close);
        assert_eq!(
            head,
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_204_has_no_content_length() {
        let response = Response { allow: Some("GET"), ..Response::new(Status::NoContent) };
        let head = encoded(&response, Persistence::KeepAlive);
        assert_eq!(
            head,
            "HTTP/1.1 204 No Content\r\nAllow: GET\r\n\
             Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn wire_sizes_are_exact() {
        let powers = (1..=9).map(|exponent| 10_u64.pow(exponent));
        let around = powers.flat_map(|power| power.saturating_sub(40)..power + 400);
        let sizes: Vec<u64> = (0..20_000).chain(around).chain([1 << 30]).collect();
        for (persistence, minimum) in MINIMUMS {
            for message_bytes in &sizes {
                let content =
                    Content::Wire { message_bytes: *message_bytes, payload_bytes_max: 1 << 30 };
                let response =
                    Response::with_content(content).resolve(persistence, &mut Vec::new());
                if *message_bytes < minimum {
                    assert_eq!(response.status, Status::BadRequest, "{message_bytes}");
                    let head = encoded(&response, persistence);
                    assert!(head.contains(&format!("\r\nX-Heartbeat-Wire-Min: {minimum}\r\n")));
                    continue;
                }
                assert_eq!(response.status, Status::Ok, "{message_bytes}");
                let head_bytes = encoded(&response, persistence).len() as u64;
                assert_eq!(head_bytes + response.content.bytes(), *message_bytes);
            }
        }
    }

    #[test]
    fn wire_payloads_stay_within_the_maximum() {
        let minimum = MINIMUMS[0].1;
        let resolve = |message_bytes| {
            Response::with_content(Content::Wire { message_bytes, payload_bytes_max: 9 })
                .resolve(Persistence::Implied, &mut Vec::new())
        };
        assert_eq!(resolve(minimum + 9).content, Content::Payload(Payload { bytes: 9 }));
        assert_eq!(resolve(minimum + 10).content, Content::Payload(Payload { bytes: 9 }));
        assert_eq!(resolve(minimum + 11).status, Status::BadRequest);
        assert_eq!(resolve(u64::MAX).status, Status::BadRequest);
    }
}
