//! What holds for every message, however it is cut. The messages are the vectors and generated
//! ones; the seeds are fixed, and a failure names its seed.

use heartbeat_protocol::{
    CloseReason, Connection, Content, DateLine, Event, Next, Payload, Persistence, Port, Response,
    Site, Status, route,
};

#[allow(dead_code, reason = "every test uses its part of the rig")]
mod rig;

use rig::driver::{Ending, FACTS, Reading, Transcript, site_up_to, transcript, transcript_of};
use rig::messages::{Message, message};
use rig::random::Random;
use rig::vector::{folder, read_all};
use rig::wellformed;

const DATE_SECONDS: u64 = 784_111_777;

/// Cuts `bytes` into up to `pieces` pieces at random points.
fn chop<'b>(mut bytes: &'b [u8], pieces: usize, random: &mut Random) -> Vec<&'b [u8]> {
    let mut chopped = Vec::new();
    for left in (2..=pieces).rev() {
        let longest = (2 * bytes.len() / left).max(1);
        let (piece, rest) = bytes.split_at(random.below(longest + 1).min(bytes.len()));
        chopped.push(piece);
        bytes = rest;
    }
    chopped.push(bytes);
    chopped
}

/// Checks that the transcript is the same in however many pieces `bytes` arrive.
fn assert_split_invariant(bytes: &[u8], whole: &Transcript, seed: u64, random: &mut Random) {
    if bytes.len() <= 400 {
        for at in 1..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(transcript([first, second]), *whole, "seed {seed}, cut at {at}");
        }
    }
    assert_eq!(transcript(bytes.chunks(1)), *whole, "seed {seed}, by byte");
    for pieces in [2, 3, 5, 9, 17, 40] {
        let pieces = chop(bytes, pieces, random);
        assert_eq!(transcript(pieces.iter().copied()), *whole, "seed {seed}, {pieces:?}");
        let skipped = transcript_of(Reading::Skipped, pieces.iter().copied());
        assert_eq!(skipped, *whole, "seed {seed}, skipped, {pieces:?}");
    }
}

/// One to four messages, of which only the last may close the connection.
fn conversation(random: &mut Random) -> Vec<Message> {
    let mut messages = vec![message(random)];
    while messages.last().is_some_and(|last| last.keeps) && messages.len() < 4 && random.one_in(2) {
        messages.push(message(random));
    }
    messages
}

#[test]
fn generated_messages_are_read_as_they_were_meant() {
    for seed in 0..3000 {
        let message = message(&mut Random::new(seed));
        let transcript = transcript([&message.bytes[..]]);
        let answers: Vec<_> = transcript.answers().collect();
        let [answer] = answers[..] else { panic!("seed {seed}: {} answers", answers.len()) };
        let request = answer.request.as_ref().unwrap_or_else(|| panic!("seed {seed}: no request"));
        assert_eq!(request.method, message.method.as_bytes(), "seed {seed}");
        assert_eq!(answer.status.code(), message.status, "seed {seed}");
        assert_eq!(answer.request_content, message.content, "seed {seed}");
        assert_eq!(answer.next == Next::KeepAlive, message.keeps, "seed {seed}");
        let ending = if message.keeps { Ending::Idle } else { Ending::Closed };
        assert_eq!((transcript.ending, transcript.left_over), (ending, 0), "seed {seed}");
    }
}

#[test]
fn cutting_generated_messages_anywhere_changes_nothing() {
    for seed in 0..250 {
        let random = &mut Random::new(seed);
        let messages = conversation(random);
        let bytes: Vec<u8> = messages.iter().flat_map(|message| message.bytes.clone()).collect();
        let whole = transcript([&bytes[..]]);
        assert_eq!(whole.answers().count(), messages.len(), "seed {seed}");
        assert_split_invariant(&bytes, &whole, seed, random);
    }
}

#[test]
fn cutting_vectors_into_many_pieces_changes_nothing() {
    let sections = read_all(folder());
    let cases = sections.iter().flat_map(|section| &section.cases);
    for (seed, case) in cases.filter(|case| case.is_bytes_only()).enumerate() {
        let bytes = case.bytes();
        let whole = transcript([&bytes[..]]);
        let random = &mut Random::new(seed as u64);
        for pieces in [3, 4, 7, 13] {
            let pieces = chop(&bytes, pieces, random);
            assert_eq!(transcript(pieces.iter().copied()), whole, "{}, {pieces:?}", case.name);
            let skipped = transcript_of(Reading::Skipped, pieces.iter().copied());
            assert_eq!(skipped, whole, "{}, skipped, {pieces:?}", case.name);
        }
    }
}

/// Two messages sent together get the same answers as each of them alone.
#[test]
fn pipelining_equals_concatenation() {
    let sections = read_all(folder());
    let cases = sections.iter().flat_map(|section| &section.cases);
    let mut texts: Vec<Vec<u8>> =
        cases.filter(|case| case.is_bytes_only()).map(|case| case.bytes()).collect();
    texts.retain(|bytes| bytes.len() < 2000);
    texts.extend((0..300).map(|seed| message(&mut Random::new(seed)).bytes));
    let alone: Vec<Transcript> = texts.iter().map(|bytes| transcript([&bytes[..]])).collect();
    let keeps =
        |whole: &Transcript| whole.ending == Ending::Idle && whole.fresh && whole.left_over == 0;
    let random = &mut Random::new(1);
    let mut joined = 0;
    for first in (0..texts.len()).filter(|first| keeps(&alone[*first])) {
        for _ in 0..20 {
            let second = random.below(texts.len());
            let bytes = [&texts[first][..], &texts[second][..]].concat();
            let mut expected = alone[second].clone();
            expected.sent.splice(0..0, alone[first].sent.iter().cloned());
            assert_eq!(transcript([&bytes[..]]), expected, "{:?}", String::from_utf8_lossy(&bytes));
            joined += 1;
        }
    }
    assert!(joined > 5000, "{joined}");
}

/// The rig's server asserts after each delivery that the number of calls is linear in the bytes.
#[test]
fn any_bytes_cost_bounded_work() {
    let alphabets: [&[u8]; 4] = [
        b"\r\n",
        b"GET /HTP1.0\r\n:a",
        b"0123456789abcdefABCDEF;=\"\r\n ",
        b"\r\n\t !\"#%*/:;=?@[\\]^_`{|}~\x00\x7f\x80\xff09AZaz",
    ];
    for seed in 0..3000 {
        let random = &mut Random::new(seed);
        let alphabet = random.pick(&alphabets);
        let mut bytes = match seed % 3 {
            0 => b"POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec(),
            1 => b"GET /heartbeat/1 HTTP/1.1\r\nHost: a\r\n".to_vec(),
            _ => Vec::new(),
        };
        for _ in 0..random.below(200) {
            bytes.push(alphabet[random.below(alphabet.len())]);
        }
        let whole = transcript([&bytes[..]]);
        whole.answers().for_each(wellformed::check);
        assert_eq!(transcript(bytes.chunks(1)), whole, "seed {seed}");
    }
}

#[test]
fn answers_parse_back_to_what_they_say() {
    let sections = read_all(folder());
    let cases = sections.iter().flat_map(|section| &section.cases);
    let mut texts: Vec<Vec<u8>> = cases.map(|case| case.bytes()).collect();
    texts.extend((0..1000).map(|seed| message(&mut Random::new(seed)).bytes));
    let mut answers = 0;
    for bytes in texts {
        for answer in transcript([&bytes[..]]).answers() {
            wellformed::check(answer);
            let message = wellformed::message(answer);
            let content = &message[answer.head.len()..];
            assert_eq!(content.len() as u64, answer.content.bytes());
            if let Content::Payload(_) = answer.content {
                let pattern = b"0123456789ABCDEF".iter().cycle();
                assert!(content.iter().eq(pattern.take(content.len())));
            }
            answers += 1;
        }
    }
    assert!(answers > 1500, "{answers}");
}

#[test]
fn every_status_is_a_response_in_every_state() {
    for status in Status::all() {
        for before in ["", "GET / HTTP/1.0\r\n\r\n", "GET /", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let mut connection = Connection::new();
            connection.receive(before.as_bytes());
            let mut out = b"before".to_vec();
            connection.send(&Response::new(status), &DateLine::new(DATE_SECONDS), &mut out);
            let mut storage = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Response::new(&mut storage);
            let parsed_bytes = parsed.parse(&out[6..]).map(|status| status.is_complete());
            assert_eq!((parsed_bytes, parsed.code), (Ok(true), Some(status.code())));
            let lengths = parsed.headers.iter().filter(|field| field.name == "Content-Length");
            assert_eq!(lengths.count(), usize::from(status != Status::NoContent));
        }
    }
}

/// If the connection stayed open, the unread body would be read as the next request.
#[test]
fn an_answer_before_the_end_of_the_request_body_closes_the_connection() {
    for framing in ["Content-Length: 38", "Transfer-Encoding: chunked"] {
        let head = format!("POST /heartbeat/1 HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        let mut connection = Connection::new();
        let received = connection.receive(head.as_bytes());
        assert!(matches!(received.event, Event::Request(_)));
        let mut out = Vec::new();
        let response = Response::new(Status::ServiceUnavailable);
        connection.send(&response, &DateLine::new(DATE_SECONDS), &mut out);
        assert!(String::from_utf8_lossy(&out).contains("\r\nConnection: close\r\n"));
        assert_eq!(connection.finish(), Next::Close(CloseReason::BodyUnread));
        let after = connection.receive(b"GET /heartbeat/2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((after.consumed, after.event), (0, Event::Closed));
    }
}

/// Sends `GET /heartbeat/wire/{bytes}` with the fields that lead to this persistence. Returns the
/// head and the content of the answer.
fn wire(bytes: u64, persistence: Persistence, site: &Site) -> (Vec<u8>, Content<'static>) {
    let (version, option) = match persistence {
        Persistence::Implied => ("1.1", "x"),
        Persistence::KeepAlive => ("1.0", "keep-alive"),
        Persistence::Close => ("1.1", "close"),
    };
    let request = format!(
        "GET /heartbeat/wire/{bytes} HTTP/{version}\r\nHost: a\r\nConnection: {option}\r\n\r\n"
    );
    let mut connection = Connection::new();
    let Event::Request(request) = connection.receive(request.as_bytes()).event else {
        panic!("a wire request is a request")
    };
    let routed = route(&request, Port::Main, site, &FACTS);
    assert_eq!(connection.persistence(), persistence);
    let mut head = Vec::new();
    let content = connection.send(&routed.response(), &DateLine::new(DATE_SECONDS), &mut head).1;
    // A wire size becomes a payload or nothing; neither borrows from the request.
    match content {
        Content::Payload(Payload { bytes }) => (head, Content::Payload(Payload { bytes })),
        Content::None => (head, Content::None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wire_size_is_exactly_that_size() {
    let site = site_up_to(1 << 30);
    for persistence in [Persistence::Implied, Persistence::KeepAlive, Persistence::Close] {
        let (refusal, _) = wire(1, persistence, &site);
        let refusal = String::from_utf8(refusal).expect("a head is text");
        let (_, minimum) = refusal.split_once("\r\nX-Heartbeat-Wire-Min: ").expect("the minimum");
        let (minimum, _) = minimum.split_once("\r\n").expect("a line");
        let minimum: u64 = minimum.parse().expect("a number");
        let powers = (2..=9).map(|exponent| 10_u64.pow(exponent));
        let around = powers.flat_map(|power| power.saturating_sub(300)..=power + 300);
        let last = (1 << 30) - 200..=(1 << 30) + minimum;
        let sizes = (minimum..=20_000).chain(around).chain(last);
        for size in sizes.filter(|size| *size >= minimum) {
            let (head, content) = wire(size, persistence, &site);
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{size} {persistence:?}");
            assert_eq!(head.len() as u64 + content.bytes(), size, "{persistence:?}");
            let length = format!("\r\nContent-Length: {}\r\n", content.bytes());
            assert!(String::from_utf8_lossy(&head).contains(&length), "{size} {persistence:?}");
        }
        for size in [0, 1, minimum - 1] {
            let (head, content) = wire(size, persistence, &site);
            assert!(head.starts_with(b"HTTP/1.1 400 "), "{size} {persistence:?}");
            assert_eq!(content, Content::None);
        }
    }
}

#[test]
fn empty_lines_between_requests_leave_the_connection_idle() {
    let mut connection = Connection::new();
    for input in ["\r\n", "\r", "\r\n"] {
        let received = connection.receive(input.as_bytes());
        assert_eq!(received.event, Event::NeedData);
        assert!(connection.is_idle(), "{input:?}");
    }
    connection.receive(b"G");
    assert!(!connection.is_idle());
}

#[test]
fn only_the_body_of_a_refused_request_is_refused() {
    let mut connection = Connection::new();
    assert!(!connection.is_refused());
    connection.receive(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    assert!(!connection.is_refused());
    connection.refuse();
    assert!(connection.is_refused());
    assert_eq!(connection.receive(b"ab").event, Event::Data(b"ab"));
    assert_eq!(connection.receive(b"").event, Event::EndOfMessage);
    assert!(!connection.is_refused());
}
