//! Reads results: from a file that contains one, or from text with one result per line.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::load::report::Report;

/// A result takes a few kilobytes for each target and each address, so this is thousands of
/// results.
const INPUT_BYTES_MAX: u64 = 256 << 20;
/// The file name that means standard input.
const STANDARD_INPUT: &str = "-";

/// Reads the results of all `files`, or those of standard input if there is no file.
///
/// # Errors
///
/// A message about a file that cannot be read or contains no result.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Report>, String> {
    let standard_input = [PathBuf::from(STANDARD_INPUT)];
    let files = if files.is_empty() { &standard_input[..] } else { files };
    let mut results = Vec::new();
    for file in files {
        let (name, text) = if file == Path::new(STANDARD_INPUT) {
            ("standard input".to_owned(), text_of(io::stdin(), INPUT_BYTES_MAX))
        } else {
            let text = File::open(file)
                .map_err(|error| error.to_string())
                .and_then(|file| text_of(file, INPUT_BYTES_MAX));
            (file.display().to_string(), text)
        };
        let found = text.and_then(|text| results_of(&text));
        results.extend(found.map_err(|why| format!("{name}: {why}"))?);
    }
    Ok(results)
}

fn text_of(source: impl Read, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    source
        .take(bytes_max + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    Ok(text)
}

/// The text is one object with any spacing, or has one object per line. Logs of pods also contain
/// standard error, and perhaps a prefix in each line, so lines without an object are left out.
fn results_of(text: &str) -> Result<Vec<Report>, String> {
    if let Ok(one) = serde_json::from_str(text) {
        return Ok(vec![one]);
    }
    let mut results = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some(object) = object_of(line) else { continue };
        let result = serde_json::from_str(object).map_err(|error| {
            format!("line {} is not a result of `load --json`: {error}", number + 1)
        })?;
        results.push(result);
    }
    if results.is_empty() {
        Err("contains no result of `load --json`".to_owned())
    } else {
        Ok(results)
    }
}

/// The object of a line, after a prefix like `[pod/load-0-abcde/load] `.
fn object_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let object = match line.split_once("] ") {
        Some((prefix, rest)) if prefix.starts_with("[pod/") => rest,
        _ => line,
    };
    object.starts_with('{').then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::tests::report;

    #[test]
    fn a_result_may_have_any_spacing_or_be_a_line_among_others() {
        let one = report(Some(100.0));
        let line = serde_json::to_string(&one).unwrap();
        let pretty = serde_json::to_string_pretty(&one).unwrap();
        assert_eq!(results_of(&pretty).unwrap(), std::slice::from_ref(&one));
        let log = format!(
            "heartbeat-probe load: 10 s  100/s\n{line}\n\n[pod/load-1-x/load] {line}\n\
             [pod/load-1-x/load] heartbeat-probe load: warning\n"
        );
        assert_eq!(results_of(&log).unwrap(), [one.clone(), one]);
    }

    #[test]
    fn text_without_a_result_is_rejected_with_the_line() {
        for text in ["", "\n", "nothing here\n"] {
            assert!(results_of(text).unwrap_err().contains("no result"), "{text}");
        }
        let line = serde_json::to_string(&report(None)).unwrap();
        let why = results_of(&format!("{line}\n{{\"requests\": 1}}\n")).unwrap_err();
        assert!(why.starts_with("line 2 is not a result") && why.contains("version"), "{why}");
        let cut = &line[..line.len() - 5];
        assert!(results_of(cut).unwrap_err().starts_with("line 1 is not a result"));
    }

    #[test]
    fn an_input_is_read_up_to_its_limit_and_rejected_above_it() {
        assert_eq!(text_of("12345".as_bytes(), 5).unwrap(), "12345");
        let why = text_of("123456".as_bytes(), 5).unwrap_err();
        assert!(why.contains("larger than 5 bytes"), "{why}");
        assert!(text_of(&[0xff][..], 5).unwrap_err().contains("cannot be read"));
    }
}
