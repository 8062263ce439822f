//! Owns how the program fails: one line on standard error and an exit code.

use std::fmt::{self, Write};
use std::process::ExitCode;

/// The command line is wrong. Go's flag package and many other programs use this code for that.
const USAGE: u8 = 2;
/// The command line is right, but the work failed.
const FAULT: u8 = 1;

/// Why the program failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// A wrong command line: `subject` names what is wrong, `allowed` says what is allowed instead.
    pub(crate) fn usage(subject: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self { line: format!("{subject}: not allowed: {allowed}"), code: USAGE }
    }

    /// Work that failed: `subject` names it.
    pub(crate) fn fault(subject: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { line: format!("{subject}: {cause}"), code: FAULT }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Always a single line, whatever was typed.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.line.chars() {
            if character.is_control() {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                formatter.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// `text`, or two quotation marks if it is empty, so that the reader sees it.
pub(crate) fn quoted(text: &str) -> &str {
    if text.is_empty() { "\"\"" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_whatever_was_typed() {
        let failure = Failure::usage("--uri /a\nheartbeat: fine\r\t\x1b[31m\u{85}é", "a path");
        assert_eq!(
            failure.to_string(),
            "--uri /a\\nheartbeat: fine\\r\\t\\u{1b}[31m\\u{85}é: not allowed: a path"
        );
    }

    #[test]
    fn a_wrong_command_line_exits_with_2_and_failed_work_with_1() {
        assert_eq!(Failure::usage("a", "b").exit_code(), ExitCode::from(2));
        assert_eq!(Failure::fault("a", "b").exit_code(), ExitCode::from(1));
    }
}
