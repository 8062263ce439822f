//! The log on standard output, in WebV's formats.

mod events;
mod line;

pub(crate) use events::date;
pub use events::{dropped, shutdown, startup};
pub use line::line;

use crate::record::Record;
use crate::settings::{LogFormat, Settings};

/// Which requests are logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// Of the lines.
    pub format: LogFormat,
    /// Whether successes are logged.
    pub verbose: bool,
    /// Whether the texts of errors are logged.
    pub verbose_errors: bool,
    /// For every line.
    pub region: Option<String>,
    /// For every line.
    pub zone: Option<String>,
}

impl Log {
    /// As the settings say.
    pub fn new(settings: &Settings) -> Self {
        Self {
            format: settings.log_format,
            verbose: settings.verbose,
            verbose_errors: settings.verbose_errors,
            region: settings.region.clone(),
            zone: settings.zone.clone(),
        }
    }

    /// The line of a request, if it is one to be logged.
    pub fn line(&self, record: &Record) -> Option<String> {
        if self.wants(record) { line(self, record) } else { None }
    }

    // Statuses from 400 on are logged even where they are expected, as WebV does.
    fn wants(&self, record: &Record) -> bool {
        self.verbose || record.status_code >= 400 || !record.verdict.is_valid()
    }
}
