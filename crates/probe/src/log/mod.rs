//! The log on standard output, in WebV's formats.

mod events;
#[cfg(test)]
mod formats;
mod line;

pub(crate) use events::date;
pub(crate) use events::{dropped, shutdown, startup};
pub(crate) use line::line;

use serde_json::{Map, Value};

use crate::record::Record;
use crate::settings::{LogFormat, Settings};

/// Which requests are logged, and how.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The format of the lines.
    pub format: LogFormat,
    /// Whether successes are logged.
    pub verbose: bool,
    /// Whether the texts of errors are logged.
    pub verbose_errors: bool,
    /// The region, which is in every line.
    pub region: Option<String>,
    /// The zone, which is in every line.
    pub zone: Option<String>,
}

impl Log {
    /// The log that the settings ask for.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            format: settings.log_format,
            verbose: settings.verbose,
            verbose_errors: settings.verbose_errors,
            region: settings.region.clone(),
            zone: settings.zone.clone(),
        }
    }

    /// The line of a request, if it is to be logged.
    pub(crate) fn line(&self, record: &Record) -> Option<String> {
        if self.wants(record) { line(self, record) } else { None }
    }

    // An answer that is as expected is logged only with --verbose, even if its status is an error.
    fn wants(&self, record: &Record) -> bool {
        self.verbose || !record.verdict.is_valid()
    }
}

/// An object as a line of `format`; JsonCamel has other keys than Json.
pub(crate) fn object(format: LogFormat, value: Value) -> String {
    match (format, value) {
        (LogFormat::JsonCamel, Value::Object(fields)) => {
            let fields = fields.into_iter().map(|(name, value)| (line::camel(&name), value));
            Value::Object(fields.collect::<Map<_, _>>()).to_string()
        }
        (_, value) => value.to_string(),
    }
}
