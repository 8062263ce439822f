//! Writes one line for each message: its bytes, and how this crate reads them. `conformance/run.py`
//! compares these lines with the verdicts of other implementations.
//!
//! ```text
//! verdicts MUTANTS    every vector, generated messages, and MUTANTS mutants of each of them
//! ```
//!
//! The columns, separated by tabs:
//!
//! 1. `vector`, `generated` or `mutant`
//! 2. the name
//! 3. the title of the file
//! 4. the sections of the RFCs that the message is based on
//! 5. the lengths of the bodies of the requests that were read whole
//! 6. how the connection ended: `idle`, `waits`, `close`, `unread`, or the name of the rejection
//! 7. the statuses
//! 8. the bytes in hexadecimal digits

use std::io::{self, BufWriter, Write};

use heartbeat_protocol::{CloseReason, Next};

#[allow(dead_code, reason = "the rig is shared with the tests")]
#[path = "../tests/rig/mod.rs"]
mod rig;

use rig::driver::{Ending, Transcript, transcript};
use rig::messages::message;
use rig::mutation::mutate;
use rig::random::Random;
use rig::vector::{Case, folder, read_all};

/// How many messages are generated.
const GENERATED: u64 = 400;

/// Longest text that is mutated. Longer ones would test the limits of other implementations, and
/// not how they read a message.
const MUTANT_BYTES_MAX: usize = 2000;

struct Text {
    kind: &'static str,
    name: String,
    title: String,
    section: String,
    bytes: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mutants: usize = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut texts = vectors();
    texts.extend((0..GENERATED).map(|seed| Text {
        kind: "generated",
        name: format!("seed {seed}"),
        title: "generated requests".to_string(),
        section: "9112 2.1".to_string(),
        bytes: message(&mut Random::new(seed)).bytes,
    }));
    for text in &texts {
        write_line(text, &mut out)?;
    }
    texts.retain(|text| text.bytes.len() <= MUTANT_BYTES_MAX);
    let others: Vec<&[u8]> = texts.iter().map(|text| &text.bytes[..]).collect();
    let mut random = Random::new(GENERATED);
    for text in &texts {
        for _ in 0..mutants {
            let bytes = mutate(&text.bytes, &others, &mut random);
            let title = "mutants".to_string();
            let (name, section) = (text.name.clone(), text.section.clone());
            write_line(&Text { kind: "mutant", name, title, section, bytes }, &mut out)?;
        }
    }
    out.flush()
}

fn vectors() -> Vec<Text> {
    let mut texts = Vec::new();
    for section in read_all(folder()) {
        for case in section.cases.into_iter().filter(Case::is_bytes_only) {
            let (title, bytes) = (section.title.clone(), case.bytes());
            let (name, section) = (case.name, case.section);
            texts.push(Text { kind: "vector", name, title, section, bytes });
        }
    }
    texts
}

fn write_line(text: &Text, out: &mut impl Write) -> io::Result<()> {
    let transcript = transcript([&text.bytes[..]]);
    let whole = transcript.answers().filter(|answer| {
        answer.rejection.is_none() && answer.next != Next::Close(CloseReason::BodyUnread)
    });
    let lengths: Vec<String> =
        whole.map(|answer| answer.request_content.len().to_string()).collect();
    let statuses: Vec<String> =
        transcript.answers().map(|answer| answer.status.code().to_string()).collect();
    let Text { kind, name, title, section, .. } = text;
    let (lengths, statuses) = (lengths.join(","), statuses.join(","));
    let ending = ending(&transcript);
    write!(out, "{kind}\t{name}\t{title}\t{section}\t{lengths}\t{ending}\t{statuses}\t")?;
    for byte in &text.bytes {
        write!(out, "{byte:02x}")?;
    }
    writeln!(out)
}

fn ending(transcript: &Transcript) -> String {
    match (transcript.ending, transcript.answers().last()) {
        (Ending::Closed, Some(last)) => match (last.rejection, last.next) {
            (Some(rejection), _) => format!("{rejection:?}"),
            (None, Next::Close(CloseReason::BodyUnread)) => "unread".to_string(),
            (None, _) => "close".to_string(),
        },
        (Ending::Idle, _) if transcript.left_over == 0 => "idle".to_string(),
        _ => "waits".to_string(),
    }
}
