//! Owns how the program fails: one line on standard error and an exit code.

use std::fmt::{self, Write};
use std::process::ExitCode;

/// It was asked for something that can not be, as Go's flag package and many others have it.
const USAGE: u8 = 2;
/// It was asked for something sensible and could not do it.
const FAULT: u8 = 1;

/// Why the program ends without having done what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// A refusal of what was typed: `subject` names it, `allowed` says what is possible instead.
    pub(crate) fn usage(subject: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        Self { line: format!("{subject}: not allowed: {allowed}"), code: USAGE }
    }

    /// Something that was asked for and did not work.
    pub(crate) fn fault(subject: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { line: format!("{subject}: {cause}"), code: FAULT }
    }

    /// What the process exits with.
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

/// Makes an empty text visible.
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
    fn tells_misuse_from_misfortune() {
        assert_eq!(Failure::usage("a", "b").exit_code(), ExitCode::from(2));
        assert_eq!(Failure::fault("a", "b").exit_code(), ExitCode::from(1));
    }
}
