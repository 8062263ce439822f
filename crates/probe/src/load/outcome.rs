//! Prints a result, writes its files, and returns the exit code.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::condition::Condition;
use super::report::Report;
use super::verdict::{self, Verdict};
use super::{junit, markdown, text};
use crate::output::complain;

/// Options about the result, of `load` and of `merge`.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutcomeArgs {
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with 3 if this is so, as in 'p99>5ms', 'errors>0.1%' or
    /// 'rate<990'; may be repeated
    #[arg(verbatim_doc_comment, long, value_name = "CONDITION", value_parser = Condition::parse)]
    pub(crate) fail_if: Vec<Condition>,

    /// Write the verdict as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Write the result as a table in Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// The files of a result. They are opened before the load begins, so that a file that cannot be
/// written is reported before time is spent.
#[derive(Debug)]
pub(crate) struct Outcome {
    json: bool,
    conditions: Vec<Condition>,
    junit: Option<(PathBuf, File)>,
    markdown: Option<(PathBuf, File)>,
}

impl Outcome {
    /// Opens the files.
    ///
    /// # Errors
    ///
    /// A sentence that says which file cannot be written.
    pub(crate) fn open(args: &OutcomeArgs) -> Result<Self, String> {
        Ok(Self {
            json: args.json,
            conditions: args.fail_if.clone(),
            junit: args.junit.as_deref().map(create).transpose()?,
            markdown: args.markdown.as_deref().map(create).transpose()?,
        })
    }

    /// Prints and writes `report`, reports the conditions that it fails on standard error in the
    /// name of `program`, and returns the exit code.
    pub(crate) fn conclude(self, report: &Report, program: &str) -> ExitCode {
        let verdicts = verdict::verdicts(report, &self.conditions);
        let page = if self.json {
            // Keys are text and numbers are finite, so JSON can represent them all.
            serde_json::to_string(report).unwrap_or_default() + "\n"
        } else {
            text::render(report, text::width(std::io::stdout()))
        };
        // A reader that has closed the pipe does not want the rest.
        let _ = std::io::stdout().write_all(page.as_bytes());
        if let Some(warning) = verdict::saturation(report) {
            complain(program, format!("warning: {warning}"));
        }
        for verdict in verdicts.iter().filter(|verdict| verdict.is_condition()) {
            if let Some(why) = &verdict.failure {
                complain(program, format!("{}: {why}", verdict.name));
            }
        }
        let mut code = verdict::exit_code(&verdicts);
        for (file, page) in [
            (self.junit, junit::page as fn(&Report, &[Verdict]) -> String),
            (self.markdown, markdown::page),
        ] {
            let Some((path, mut file)) = file else { continue };
            if let Err(error) = file.write_all(page(report, &verdicts).as_bytes()) {
                complain(program, format!("{}: cannot be written: {error}", path.display()));
                code = code.max(verdict::EXIT_FAILED);
            }
        }
        ExitCode::from(code)
    }
}

fn create(path: &Path) -> Result<(PathBuf, File), String> {
    match File::create(path) {
        Ok(file) => Ok((path.to_owned(), file)),
        Err(error) => Err(format!("{}: cannot be written: {error}", path.display())),
    }
}

/// Whether standard error is a terminal, on which a line can be overwritten.
pub(crate) fn has_terminal() -> bool {
    std::io::stderr().is_terminal()
}
