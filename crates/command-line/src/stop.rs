//! Why a command line leads to no work, and how the program then ends.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::Misuse;

/// Why a command line leads to no work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It asks for this page: help, or the version.
    Page(String),
    /// It is wrong.
    Misuse(Misuse),
}

impl Stop {
    /// The exit code for a command line that is wrong. Go's flag package and many other programs
    /// use it for that.
    pub const EXIT_MISUSE: u8 = 2;

    /// Prints the page to standard output, or what is wrong to standard error behind the name of
    /// the program, and returns the exit code.
    pub fn end(&self, program: &str) -> ExitCode {
        // A closed descriptor is no reason to panic.
        match self {
            Self::Page(page) => {
                let _ = write!(io::stdout(), "{page}");
                ExitCode::SUCCESS
            }
            Self::Misuse(misuse) => {
                let _ = writeln!(io::stderr(), "{program}: {misuse}");
                ExitCode::from(Self::EXIT_MISUSE)
            }
        }
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Self::Page(error.render().to_string())
            }
            _ => Self::Misuse(Misuse::from(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn help_is_a_page_and_an_unknown_option_is_misuse() {
        let ask = |word| {
            let command = Command::new("program").about("Does something").no_binary_name(true);
            Stop::from(command.try_get_matches_from([word]).unwrap_err())
        };
        assert!(matches!(ask("--help"), Stop::Page(page) if page.starts_with("Does something")));
        assert!(matches!(ask("--no"), Stop::Misuse(_)));
        assert_eq!(ask("--no").end("program"), ExitCode::from(2));
    }
}
