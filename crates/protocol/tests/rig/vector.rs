//! Reads and plays vector files; `tests/vectors/README.md` describes their format.

use std::fs;
use std::path::Path;

use heartbeat_protocol::{CloseReason, Framing, Next, Status};

use crate::rig::driver::{Answer, Ending, Sent, Server, Transcript};

/// The vectors of one section.
pub(crate) struct Section {
    /// The first line of the file: `RFC 9112 section 2.2: message parsing`.
    pub(crate) title: String,
    pub(crate) cases: Vec<Case>,
}

/// One rule and the exchange that proves it.
pub(crate) struct Case {
    pub(crate) name: String,
    /// `9112 2.2`, or several sections.
    pub(crate) section: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
}

pub(crate) enum Step {
    Bytes(Vec<u8>),
    TimeOut,
    Drain,
    Expect(Expected),
    Wait(Ending),
}

/// An answer as a vector describes it: `200 keep none`, the field lines that it must have, and the
/// fields that it must not have.
#[derive(Default)]
pub(crate) struct Expected {
    summary: String,
    fields: Vec<String>,
    absent: Vec<String>,
}

impl Case {
    /// All bytes that the peer sends.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let pieces = self.steps.iter().filter_map(|step| match step {
            Step::Bytes(bytes) => Some(&bytes[..]),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// Whether only the peer acts: no timeout and no drain.
    pub(crate) fn is_bytes_only(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::TimeOut | Step::Drain))
    }

    /// Plays the case as it is written. The error names the first difference from what is expected.
    pub(crate) fn play(&self) -> Result<Transcript, String> {
        let mut server = Server::new();
        let mut checked = 0;
        for step in &self.steps {
            match step {
                Step::Bytes(bytes) => server.deliver(bytes),
                Step::TimeOut => server.time_out(),
                Step::Drain => server.drain(),
                Step::Expect(expected) => {
                    let sent = server.transcript().sent.get(checked);
                    expected.check(sent.ok_or(format!("no answer, expected {expected}"))?)?;
                    checked += 1;
                }
                Step::Wait(ending) => {
                    let found = server.transcript().ending;
                    if found != *ending {
                        return Err(format!("is {found:?}, expected {ending:?}"));
                    }
                }
            }
        }
        let transcript = server.into_transcript();
        if let Some(more) = transcript.sent.get(checked) {
            return Err(format!("an answer too many: {}", summary(more)));
        }
        if transcript.ending != self.ending {
            return Err(format!("ends {:?}, expected {:?}", transcript.ending, self.ending));
        }
        Ok(transcript)
    }

    /// Plays the case with its bytes joined and cut only at `cuts`, which must be ascending.
    pub(crate) fn play_cut(&self, cuts: &[usize]) -> Transcript {
        let mut server = Server::new();
        let mut cuts = cuts.iter().copied().peekable();
        let mut position = 0;
        let mut held = Vec::new();
        for step in &self.steps {
            match step {
                Step::Expect(_) | Step::Wait(_) => {}
                Step::TimeOut | Step::Drain => {
                    server.deliver(&std::mem::take(&mut held));
                    match step {
                        Step::TimeOut => server.time_out(),
                        _ => server.drain(),
                    }
                }
                Step::Bytes(bytes) => {
                    let mut bytes = &bytes[..];
                    while let Some(cut) = cuts.next_if(|cut| *cut <= position + bytes.len()) {
                        let (before, after) = bytes.split_at(cut - position);
                        held.extend_from_slice(before);
                        server.deliver(&std::mem::take(&mut held));
                        position = cut;
                        bytes = after;
                    }
                    held.extend_from_slice(bytes);
                    position += bytes.len();
                }
            }
        }
        server.deliver(&held);
        server.into_transcript().without_interim()
    }
}

impl Expected {
    fn check(&self, sent: &Sent) -> Result<(), String> {
        let found = summary(sent);
        if found != self.summary {
            return Err(format!("answers {found}, expected {self}"));
        }
        let head = match sent {
            Sent::Continue => "",
            Sent::Answer(answer) => {
                std::str::from_utf8(&answer.head).map_err(|_| "the head is no text")?
            }
        };
        for line in &self.fields {
            if !head.contains(&format!("\r\n{line}\r\n")) {
                return Err(format!("has no {line:?}: {head}"));
            }
        }
        for name in &self.absent {
            if head.contains(&format!("\r\n{name}:")) {
                return Err(format!("has {name:?}: {head}"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.summary)
    }
}

/// The answer in the notation of the vectors.
pub(crate) fn summary(sent: &Sent) -> String {
    match sent {
        Sent::Continue => "100".to_string(),
        Sent::Answer(answer) => answer_summary(answer),
    }
}

fn answer_summary(answer: &Answer) -> String {
    let next = match answer.next {
        Next::KeepAlive => "keep",
        Next::Close(_) => "close",
    };
    let received = answer.request_content.len() as u64;
    let unread = matches!(answer.next, Next::Close(CloseReason::BodyUnread));
    let message = match (answer.rejection, &answer.request) {
        _ if answer.status == Status::RequestTimeout => "timeout".to_string(),
        (Some(rejection), _) => format!("{rejection:?}"),
        (None, None) => "nothing".to_string(),
        (None, Some(request)) => match request.framing {
            Framing::Length(0) => "none".to_string(),
            Framing::Length(bytes) if unread => format!("length {bytes} unread"),
            Framing::Length(bytes) if bytes == received => format!("length {bytes}"),
            Framing::Length(bytes) => format!("length {bytes} but {received}"),
            Framing::Chunked if unread => "chunked unread".to_string(),
            Framing::Chunked => format!("chunked {received}"),
        },
    };
    let content = match answer.content.bytes() {
        0 => String::new(),
        bytes => format!(", sends {bytes}"),
    };
    format!("{} {next} {message}{content}", answer.status.code())
}

/// Reads every section below `folder`, in the order of their file names.
pub(crate) fn read_all(folder: &Path) -> Vec<Section> {
    let entries = fs::read_dir(folder).expect("the folder of the vectors can be read");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry of the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let read = |path: &Path| {
        let text = fs::read_to_string(path).expect("a vector file is text");
        section(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let sections: Vec<Section> = paths.iter().map(|path| read(path)).collect();
    let mut names: Vec<&str> =
        sections.iter().flat_map(|section| &section.cases).map(|case| &*case.name).collect();
    names.sort_unstable();
    let repeated = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(repeated.is_none(), "a name is given twice: {repeated:?}");
    sections
}

/// The folder of this crate's vectors.
pub(crate) fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"))
}

fn section(text: &str) -> Result<Section, String> {
    let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
    let title = title.ok_or("the first line is no title")?.to_string();
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let case = match cases.last_mut() {
            Some(case) if !line.starts_with(|first: char| first.is_ascii_alphanumeric()) => case,
            _ => {
                cases.push(case(line).map_err(|error| format!("line {}: {error}", index + 1))?);
                continue;
            }
        };
        read_line(case, line).map_err(|error| format!("line {}: {error}", index + 1))?;
    }
    Ok(Section { title, cases })
}

/// `name (section)`.
fn case(line: &str) -> Result<Case, String> {
    let (name, section) = line
        .strip_suffix(')')
        .and_then(|line| line.split_once(" ("))
        .ok_or(format!("not `name (section)`: {line}"))?;
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return Err(format!("not in snake_case: {name}"));
    }
    Ok(Case {
        name: name.to_string(),
        section: section.to_string(),
        steps: Vec::new(),
        ending: Ending::Idle,
    })
}

fn read_line(case: &mut Case, line: &str) -> Result<(), String> {
    if let Some(text) = line.strip_prefix("| ") {
        if text.ends_with(' ') {
            return Err("write a last space as \\x20".to_string());
        }
        let mut bytes = unescape(text)?;
        match case.steps.last_mut() {
            Some(Step::Bytes(before)) => before.append(&mut bytes),
            _ => case.steps.push(Step::Bytes(bytes)),
        }
        return Ok(());
    }
    if let Some(summary) = line.strip_prefix("> ") {
        let closes = summary.contains(" close ");
        case.ending = if closes { Ending::Closed } else { Ending::Idle };
        let expected = Expected { summary: summary.to_string(), ..Expected::default() };
        case.steps.push(Step::Expect(expected));
        return Ok(());
    }
    if let Some(waiting) = line.strip_prefix("= ") {
        case.ending = match waiting {
            "waits" => Ending::Idle,
            "waits in the head" => Ending::InHead,
            "waits in the body" => Ending::InBody,
            _ => return Err(format!("unknown line: {line}")),
        };
        case.steps.push(Step::Wait(case.ending));
        return Ok(());
    }
    match (line, case.steps.last_mut()) {
        ("* times out", _) => case.steps.push(Step::TimeOut),
        ("* drains", _) => case.steps.push(Step::Drain),
        (line, Some(Step::Expect(expected))) => {
            if let Some(field) = line.strip_prefix("  has ") {
                expected.fields.push(field.to_string());
            } else if let Some(name) = line.strip_prefix("  no ") {
                expected.absent.push(name.to_string());
            } else {
                return Err(format!("unknown line: {line}"));
            }
        }
        _ => return Err(format!("unknown line: {line}")),
    }
    Ok(())
}

/// The bytes of a line: `\r \n \t \0 \\ \xHH`, and `\{N text}` for N times the text.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !(first == ' ' || first.is_ascii_graphic()) {
            return Err(format!("write {first:?} as an escape"));
        }
        let Some(escape) = rest.strip_prefix('\\') else {
            bytes.push(first as u8);
            rest = &rest[1..];
            continue;
        };
        let (byte, length) = match escape.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', _, _, ..] => {
                let digits = escape.get(1..3).ok_or("not \\xHH")?;
                (u8::from_str_radix(digits, 16).map_err(|_| "not \\xHH")?, 3)
            }
            [b'{', ..] => {
                let (inside, after) = escape[1..].split_once('}').ok_or("no end of \\{")?;
                let (times, text) = inside.split_once(' ').ok_or("not \\{N text}")?;
                let times: usize = times.parse().map_err(|_| "not \\{N text}")?;
                bytes.extend(unescape(text)?.repeat(times));
                rest = after;
                continue;
            }
            _ => return Err(format!("no such escape: {rest}")),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    Ok(bytes)
}
