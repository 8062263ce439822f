//! Formats one request as a line.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::log::Log;
use crate::record::Record;
use crate::settings::LogFormat;

/// The line of a request without the last line feed; `None` if the format of `log` is `None`.
pub(crate) fn line(log: &Log, record: &Record) -> Option<String> {
    match log.format {
        LogFormat::TsvMin => Some(tsv(log, record, &short_columns(record))),
        LogFormat::Tsv => Some(tsv(log, record, &all_columns(log, record))),
        LogFormat::Json => Some(json(log, record, str::to_owned)),
        LogFormat::JsonCamel => Some(json(log, record, camel)),
        LogFormat::None => None,
    }
}

fn short_columns(record: &Record) -> Vec<String> {
    // "2026-11-22T10:00:00", without a fraction and a zone.
    let date: String = record.date.to_string().chars().take(19).collect();
    vec![
        date,
        record.status_code.to_string(),
        record.verdict.errors.count().to_string(),
        record.milliseconds().to_string(),
        record.content_length.to_string(),
        record.verb.clone(),
        record.path.clone(),
    ]
}

fn all_columns(log: &Log, record: &Record) -> Vec<String> {
    let or_dash = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        text.unwrap_or("-").to_owned()
    };
    vec![
        date(record),
        record.test_name.clone().unwrap_or_default(),
        record.server.clone(),
        record.status_code.to_string(),
        record.verdict.errors.count().to_string(),
        record.milliseconds().to_string(),
        record.content_length.to_string(),
        or_dash(&log.region),
        or_dash(&log.zone),
        or_dash(&record.tag),
        record.quartile.map_or("-".to_owned(), |quartile| quartile.to_string()),
        or_dash(&record.category),
        record.verb.clone(),
        record.path.clone(),
    ]
}

fn tsv(log: &Log, record: &Record, columns: &[String]) -> String {
    // A tab or a line feed from a test file would split a column or a line.
    let clean = |text: &String| text.replace(['\t', '\n', '\r'], " ");
    let mut line = columns.iter().map(clean).collect::<Vec<_>>().join("\t");
    if log.verbose_errors {
        for error in record.verdict.errors.lines() {
            let _ = write!(line, "\n  {}", shown(&error).replace(['\n', '\r'], " "));
        }
    }
    line
}

fn json(log: &Log, record: &Record, key: fn(&str) -> String) -> String {
    let mut fields = Map::new();
    // Values that are false, 0 or missing are left out, as in WebV.
    let mut put = |name: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_u64() == Some(0),
            _ => false,
        };
        if !empty {
            fields.insert(key(name), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    put("Date", date(record).into());
    put("Verb", record.verb.clone().into());
    put("Server", record.server.clone().into());
    put("StatusCode", record.status_code.into());
    put("TestName", text(&record.test_name));
    put("Failed", record.verdict.failed.into());
    put("Validated", record.verdict.is_valid().into());
    put("ErrorCount", record.verdict.errors.count().into());
    put("Duration", record.milliseconds().into());
    put("ContentLength", record.content_length.into());
    put("Category", text(&record.category));
    put("Quartile", record.quartile.map_or(Value::Null, Value::from));
    put("Tag", text(&record.tag));
    put("Path", record.path.clone().into());
    put("Address", text(&record.address));
    put("Region", text(&log.region));
    put("Zone", text(&log.zone));
    let phases = &record.took.phases;
    let path = &phases.path;
    let network = phases.first_byte.zip(path.server);
    put("ServerUs", microseconds(path.server));
    put("NetworkUs", microseconds(network.map(|(all, server)| all.saturating_sub(server))));
    put("TransferUs", microseconds(phases.transfer));
    put("RttUs", microseconds(path.rtt));
    put("Mss", path.mss.map_or(Value::Null, Value::from));
    put("ServerRttUs", microseconds(path.server_rtt));
    put("RetransmittedUp", path.retransmitted_up.into());
    put("RetransmittedDown", path.retransmitted_down.into());
    if log.verbose_errors {
        let errors = record.verdict.errors.lines().map(|error| shown(&error).into_owned());
        put("Errors", errors.collect::<Vec<_>>().into());
    }
    Value::Object(fields).to_string()
}

// The date as .NET writes it, with seven digits of the second.
fn date(record: &Record) -> String {
    super::events::date(record.date)
}

// An error may quote a whole body, but a log line must stay short enough for log shippers.
fn shown(error: &str) -> std::borrow::Cow<'_, str> {
    if error.len() <= ERROR_BYTES_MAX {
        return error.into();
    }
    let end = (0..=ERROR_BYTES_MAX).rev().find(|end| error.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &error[..end]).into()
}

fn microseconds(time: Option<Duration>) -> Value {
    let us = time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    us.map_or(Value::Null, Value::from)
}

pub(super) fn camel(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

// Log shippers cut lines at 16 KiB; a few errors of this size fit.
const ERROR_BYTES_MAX: usize = 4096;
