//! The events of a loop that are logged once: its start and its end.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::json;

use crate::log::object;
use crate::settings::{LogFormat, RunLoop, Settings};

/// The message at the start; `None` if nothing is logged.
pub(crate) fn startup(settings: &Settings, run_loop: &RunLoop, now: Timestamp) -> Option<String> {
    let servers: Vec<_> = settings.servers.iter().map(|server| server.as_str()).collect();
    let (host, files) = (servers.join(" "), settings.files.join(" "));
    let milliseconds = run_loop.interval.as_secs_f64() * 1000.0;
    let duration = run_loop.duration.map_or(0, |end| end.as_secs());
    match settings.log_format {
        LogFormat::None => None,
        LogFormat::Json | LogFormat::JsonCamel => {
            let mut event = json!({
                "Date": date(now),
                "EventType": "Startup",
                "Version": env!("CARGO_PKG_VERSION"),
                "Host": host,
                "Files": files,
                "Sleep": whole(milliseconds),
                "Duration": duration,
                "Random": run_loop.random,
                "Verbose": settings.verbose,
            });
            let where_from =
                [("Tag", &settings.tag), ("Region", &settings.region), ("Zone", &settings.zone)];
            for (name, text) in where_from {
                if let Some(text) = text {
                    event[name] = text.clone().into();
                }
            }
            Some(object(settings.log_format, event))
        }
        LogFormat::TsvMin | LogFormat::Tsv => {
            let mut text = format!("{}\tStarting Web Validation Test", date(now));
            let mut put = |name: &str, value: &str| {
                let _ = write!(text, "\n\t\t{name}{value}");
            };
            put("Version: ", env!("CARGO_PKG_VERSION"));
            put("Host: ", &host);
            put("URL Prefix: ", &settings.url_prefix);
            if let Some(tag) = &settings.tag {
                put("Tag: ", tag);
            }
            put("Files: ", &files);
            put("Sleep: ", &milliseconds.to_string());
            if duration > 0 {
                put("Duration: ", &duration.to_string());
            }
            if run_loop.random {
                put("Random", "");
            }
            if settings.verbose {
                put("Verbose", "");
            }
            text.push('\n');
            Some(text)
        }
    }
}

/// The message at the end; the TSV formats have none.
pub(crate) fn shutdown(format: LogFormat, now: Timestamp) -> Option<String> {
    let json = matches!(format, LogFormat::Json | LogFormat::JsonCamel);
    json.then(|| object(format, json!({"Date": date(now), "EventType": "Shutdown"})))
}

/// The message that `lines` are missing from the log; `None` if none is missing or nothing is
/// logged.
pub(crate) fn dropped(format: LogFormat, lines: u64, now: Timestamp) -> Option<String> {
    match format {
        _ if lines == 0 => None,
        LogFormat::None => None,
        LogFormat::Json | LogFormat::JsonCamel => {
            let event = json!({"Date": date(now), "EventType": "Dropped", "Lines": lines});
            Some(object(format, event))
        }
        LogFormat::TsvMin | LogFormat::Tsv => {
            Some(format!("{}\tDropped {lines} lines of this log", date(now)))
        }
    }
}

/// A time as .NET writes it, with seven digits of the second.
pub(crate) fn date(at: Timestamp) -> String {
    format!("{at:.7}")
}

// WebV's Sleep is a whole number; only --rate leads to others.
fn whole(milliseconds: f64) -> serde_json::Value {
    let rounded = milliseconds.round();
    if rounded == milliseconds { (rounded as u64).into() } else { milliseconds.into() }
}
