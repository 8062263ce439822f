//! Plays the protocol's test vectors over real sockets, on both drivers: the bytes that come back
//! are those that the protocol alone would send, and no request after a close is answered.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use heartbeat_protocol::{Content, PATTERN};

#[allow(dead_code, reason = "the rig is the protocol's; this test needs its part of it")]
#[path = "../../protocol/tests/rig/mod.rs"]
mod rig;
mod support;

use rig::driver::{Ending, Reading, Sent, Transcript, transcript_of};
use rig::vector::{Case, read_all};
use support::{Client, each_driver};

/// The request after a case: it is answered if the connection is kept, and only then.
const NEXT: &[u8] = b"GET /heartbeat/7 HTTP/1.1\r\nHost: a\r\n\r\n";

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/vectors");

#[test]
fn vectors_hold_on_both_drivers() {
    let sections = read_all(VECTORS.as_ref());
    for server in each_driver() {
        let mut played = 0;
        for section in &sections {
            for case in section.cases.iter().filter(|case| is_playable(case)) {
                play(server.address(), case);
                played += 1;
            }
        }
        assert!(played > 900, "{played} cases");
        println!("{played} vectors hold on {}", server.report().driver.name());
    }
}

/// Whether only the peer acts in this case, and no answer has a text that depends on the runtime.
fn is_playable(case: &Case) -> bool {
    let bytes = case.bytes();
    let names = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    case.is_bytes_only() && !names(b"format=json") && !names(b"/metrics")
}

fn play(address: SocketAddr, case: &Case) {
    let mut bytes = case.bytes();
    let alone = transcript_of(Reading::Received, [&bytes[..]]);
    if matches!(alone.ending, Ending::Idle | Ending::Closed) && alone.left_over == 0 {
        bytes.extend_from_slice(NEXT);
    }
    let expected = what_is_sent(&transcript_of(Reading::Received, [&bytes[..]]));
    for begins_in in [BeginsIn::Lane, BeginsIn::Session] {
        let found = without_what_varies(&exchange(address, &bytes, begins_in));
        assert!(
            found == expected,
            "{} ({}, begins in the {begins_in:?}):\n{}\nexpected\n{}",
            case.name,
            case.section,
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(&expected)
        );
    }
}

/// Which part of the runtime reads the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BeginsIn {
    /// The lane, if the request is one for it: the bytes arrive together.
    Lane,
    /// A session: the lane keeps no part of a head, so one that arrives alone moves the connection.
    Session,
}

/// Long enough for a byte to arrive alone.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends everything, half-closes, and reads to the end.
fn exchange(address: SocketAddr, bytes: &[u8], begins_in: BeginsIn) -> Vec<u8> {
    let mut client = Client::connect(address);
    let (first, rest) = match begins_in {
        BeginsIn::Lane => (&[][..], bytes),
        BeginsIn::Session => bytes.split_at(bytes.len().min(1)),
    };
    if !first.is_empty() {
        client.send(first);
        thread::sleep(PAUSE);
    }
    client.send(rest);
    client.end_sending();
    client.read_to_end()
}

fn what_is_sent(transcript: &Transcript) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sent in &transcript.sent {
        let Sent::Answer(answer) = sent else { continue };
        bytes.extend_from_slice(&answer.head);
        match answer.content {
            Content::Payload(payload) => {
                bytes.extend(PATTERN.iter().cycle().take(payload.bytes as usize));
            }
            Content::Text { text, .. } => bytes.extend_from_slice(text.as_bytes()),
            Content::None | Content::Wire { .. } => {}
        }
    }
    without_what_varies(&bytes)
}

/// Removes the date, and the interim answers, which depend on when bytes arrive.
fn without_what_varies(bytes: &[u8]) -> Vec<u8> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const DATE: &[u8] = b"\r\nDate: ";
    const DATE_BYTES: usize = 29;
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(CONTINUE) {
            rest = after;
        } else if rest.starts_with(DATE) {
            kept.extend_from_slice(DATE);
            rest = &rest[rest.len().min(DATE.len() + DATE_BYTES)..];
        } else {
            kept.push(*first);
            rest = &rest[1..];
        }
    }
    kept
}
