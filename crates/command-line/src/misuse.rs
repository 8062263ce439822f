//! What is wrong with a command line, in one line.

use std::error::Error;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::OneLine;

/// What is wrong with a command line: what was typed, and what is allowed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse(String);

impl Misuse {
    /// `typed` is not allowed; `allowed` says what is.
    pub fn new(typed: impl fmt::Display, allowed: impl fmt::Display) -> Self {
        let typed = typed.to_string();
        let typed = if typed.is_empty() { "\"\"" } else { &typed };
        Self(format!("{typed}: not allowed: {allowed}"))
    }

    /// An argument that must be given is not.
    pub fn missing(argument: impl fmt::Display) -> Self {
        Self(format!("{argument}: missing; see --help"))
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.0).fmt(formatter)
    }
}

/// One line instead of clap's page about a wrong command line.
impl From<&clap::Error> for Misuse {
    fn from(error: &clap::Error) -> Self {
        let argument = first(error, ContextKind::InvalidArg);
        let option = without_value(argument);
        let value = first(error, ContextKind::InvalidValue);
        let hint = |kind| match first(error, kind) {
            "" => "see --help".to_owned(),
            suggestion => format!("did you mean {suggestion}?"),
        };
        match error.kind() {
            ErrorKind::UnknownArgument if argument.starts_with('-') => {
                let hint = hint(ContextKind::SuggestedArg);
                Self::new(argument, format_args!("no such option here; {hint}"))
            }
            ErrorKind::UnknownArgument => {
                Self::new(argument, "no such command or argument here; see --help")
            }
            ErrorKind::InvalidSubcommand => {
                let hint = hint(ContextKind::SuggestedSubcommand);
                let command = first(error, ContextKind::InvalidSubcommand);
                Self::new(command, format_args!("no such command; {hint}"))
            }
            ErrorKind::InvalidValue if value.is_empty() => {
                Self::new(option, "expected a value; see --help")
            }
            ErrorKind::InvalidValue => {
                let allowed = all(error, ContextKind::ValidValue).join(", ");
                Self::new(
                    format_args!("{option} {value}"),
                    format_args!("expected one of {allowed}"),
                )
            }
            ErrorKind::ValueValidation => {
                let allowed = error.source().map_or("see --help".to_owned(), ToString::to_string);
                Self::new(format_args!("{option} {value}"), allowed)
            }
            ErrorKind::TooManyValues => {
                Self::new(format_args!("{option}={value}"), "expected no value")
            }
            ErrorKind::MissingRequiredArgument => Self::missing(argument),
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self::missing("COMMAND")
            }
            ErrorKind::ArgumentConflict => {
                let prior = without_value(first(error, ContextKind::PriorArg));
                Self::new(format_args!("{option} with {prior}"), "expected one of them, not both")
            }
            // What is left depends on how the options are declared. clap's own first line says it.
            _ => {
                let page = error.render().to_string();
                let line = page.lines().next().unwrap_or_default();
                Self::new(line.strip_prefix("error: ").unwrap_or(line), "see --help")
            }
        }
    }
}

/// The option alone: clap names it together with its value's name, as in `--port <N>`.
fn without_value(option: &str) -> &str {
    option.split(' ').next().unwrap_or(option)
}

fn first(error: &clap::Error, kind: ContextKind) -> &str {
    all(error, kind).first().copied().unwrap_or_default()
}

fn all(error: &clap::Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;

    fn line(words: &str) -> String {
        let number = |text: &str| match text.parse::<u8>() {
            Ok(number) => Ok(number),
            Err(_) => Err("expected 0 to 255"),
        };
        let command = Command::new("program")
            .no_binary_name(true)
            .arg(Arg::new("port").long("port").value_name("N").value_parser(number))
            .arg(Arg::new("form").long("form").value_parser(["tsv", "json"]))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue))
            .arg(Arg::new("text").long("text").value_name("FILE").conflicts_with("json"))
            .arg(Arg::new("URL").required(true));
        let words = words.split_whitespace().map(|word| word.replace("LF", "\n"));
        Misuse::from(&command.try_get_matches_from(words).unwrap_err()).to_string()
    }

    #[test]
    fn says_what_was_typed_and_what_is_allowed() {
        for (words, expected) in [
            ("", "<URL>: missing; see --help"),
            ("a --port", "--port: not allowed: expected a value; see --help"),
            ("a --port 256", "--port 256: not allowed: expected 0 to 255"),
            ("a --port 1LF2", "--port 1\\n2: not allowed: expected 0 to 255"),
            ("a --prt 1", "--prt: not allowed: no such option here; did you mean --port?"),
            ("a --xyz", "--xyz: not allowed: no such option here; see --help"),
            ("a b", "b: not allowed: no such command or argument here; see --help"),
            ("a --form x", "--form x: not allowed: expected one of tsv, json"),
            ("a --json=1", "--json=1: not allowed: expected no value"),
            (
                "a --json --text f",
                "--json with --text: not allowed: expected one of them, not both",
            ),
        ] {
            assert_eq!(line(words), expected, "{words}");
        }
    }

    #[test]
    fn says_that_a_command_is_missing() {
        let command = Command::new("program").no_binary_name(true).subcommand_required(true);
        let command = command.subcommand(Command::new("run")).arg_required_else_help(true);
        let error = command.try_get_matches_from([""; 0]).unwrap_err();
        assert_eq!(Misuse::from(&error).to_string(), "COMMAND: missing; see --help");
    }

    #[test]
    fn shows_an_empty_text() {
        assert_eq!(Misuse::new("", "a word").to_string(), "\"\": not allowed: a word");
    }
}
