//! Plays every vector: as written, in one piece, cut in two at every point, byte by byte, and with
//! its content skipped. The test has its own harness, which prints one line of counts per section.

use std::process::ExitCode;
use std::time::Instant;

#[allow(dead_code, reason = "every test uses its part of the rig")]
mod rig;

use rig::driver::{Ending, Reading, Server, Transcript, transcript_of};
use rig::vector::{Case, Section, folder, read_all, summary};
use rig::wellformed;

/// Longest case that is cut at every point. A longer one is cut near both ends and at some points
/// in between.
const EVERY_CUT_BYTES_MAX: usize = 1024;

/// The request that follows a case. It shows whether the connection is ready for it, or closed.
const NEXT: &[u8] = b"GET /heartbeat/7 HTTP/1.1\r\nHost: a\r\n\r\n";

fn main() -> ExitCode {
    let started = Instant::now();
    // As in the standard harness, an argument that is not an option selects by name.
    let filter: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let mut passed = 0;
    let mut cases = 0;
    let mut failures = Vec::new();
    for section in read_all(folder()) {
        cases += section.cases.len();
        let tally = run_section(&section, &filter, &mut failures);
        passed += tally.passed;
        if tally.passed > 0 {
            println!(
                "vectors of {}: {} hold, delivered in {} ways",
                section.title, tally.passed, tally.deliveries
            );
        }
    }
    for failure in &failures {
        println!("{failure}");
    }
    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; \
         {} filtered out; finished in {:.2}s\n",
        failures.len(),
        cases - passed - failures.len(),
        started.elapsed().as_secs_f64()
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    deliveries: usize,
}

fn run_section(section: &Section, filter: &[String], failures: &mut Vec<String>) -> Tally {
    let mut tally = Tally::default();
    for case in &section.cases {
        let selected = |word: &String| case.name.contains(word) || section.title.contains(word);
        if !filter.is_empty() && !filter.iter().any(selected) {
            continue;
        }
        match run(case) {
            Ok(deliveries) => {
                tally.passed += 1;
                tally.deliveries += deliveries;
            }
            Err(error) => failures
                .push(format!("{}: {} ({}): {error}", section.title, case.name, case.section)),
        }
    }
    tally
}

/// Plays one case. Returns in how many ways its bytes were delivered.
fn run(case: &Case) -> Result<usize, String> {
    let written = case.play()?.without_interim();
    written.answers().for_each(wellformed::check);
    let bytes = case.bytes();
    let mut deliveries = 1;
    let mut same = |cuts: &[usize]| {
        deliveries += 1;
        compare(&written, &case.play_cut(cuts)).map_err(|error| format!("cut at {cuts:?}: {error}"))
    };
    same(&[])?;
    for cut in cuts(bytes.len()) {
        same(&[cut])?;
    }
    let every_byte: Vec<usize> = (1..bytes.len()).collect();
    deliveries += 1;
    compare(&written, &case.play_cut(&every_byte)).map_err(|error| format!("by byte: {error}"))?;
    if case.is_bytes_only() {
        deliveries += 2;
        let skipped = transcript_of(Reading::Skipped, [&bytes[..]]);
        compare(&written, &skipped).map_err(|error| format!("skipped: {error}"))?;
        check_what_follows(&bytes, &written)?;
    }
    Ok(deliveries)
}

fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let every = length <= EVERY_CUT_BYTES_MAX;
    let is_chosen = move |at: usize| at < 256 || at + 128 > length || at.is_multiple_of(509);
    (1..length).filter(move |at| every || is_chosen(*at))
}

/// Checks that one more request is answered if the connection is open, and is not read if it is
/// closed.
fn check_what_follows(bytes: &[u8], written: &Transcript) -> Result<(), String> {
    if !matches!(written.ending, Ending::Idle | Ending::Closed) || written.left_over > 0 {
        return Ok(());
    }
    let mut server = Server::new();
    server.deliver(bytes);
    server.deliver(NEXT);
    let after = server.into_transcript().without_interim();
    if written.ending == Ending::Closed {
        return compare(written, &after).map_err(|error| format!("read on after close: {error}"));
    }
    let last = after.sent.get(written.sent.len()).map(summary);
    if last.as_deref() != Some("200 keep none, sends 7") {
        return Err(format!("the next request is answered {last:?}"));
    }
    Ok(())
}

fn compare(expected: &Transcript, found: &Transcript) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let words =
        |transcript: &Transcript| -> Vec<String> { transcript.sent.iter().map(summary).collect() };
    Err(format!(
        "{:?} {:?} {}, expected {:?} {:?} {}",
        words(found),
        found.ending,
        found.left_over,
        words(expected),
        expected.ending,
        expected.left_over
    ))
}
