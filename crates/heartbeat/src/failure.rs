//! Owns how the program fails: one line on standard error and an exit code.

use std::fmt;
use std::process::ExitCode;

use heartbeat_command_line::{Misuse, OneLine, Stop};

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
        Misuse::new(subject, allowed).into()
    }

    /// Work that failed: `subject` names it.
    pub(crate) fn fault(subject: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { line: format!("{subject}: {cause}"), code: FAULT }
    }

    /// The same, but with the exit code of work that failed.
    pub(crate) fn into_fault(self) -> Self {
        Self { code: FAULT, ..self }
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl From<Misuse> for Failure {
    fn from(misuse: Misuse) -> Self {
        Self { line: misuse.to_string(), code: Stop::EXIT_MISUSE }
    }
}

/// Always a single line, whatever was typed.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.line).fmt(formatter)
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
