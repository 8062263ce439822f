//! The page of `--dry-run`.

use std::fmt::Write;
use std::path::PathBuf;

use crate::settings::{Settings, Timing};

/// What a run would do, as WebV prints it.
pub(crate) fn page(settings: &Settings) -> String {
    let servers: Vec<_> = settings.servers.iter().map(|server| server.as_str()).collect();
    let mut rows = vec![
        ("Server", servers.join(" ")),
        ("Files", settings.files.join(" ")),
        ("URL Prefix", settings.url_prefix.clone()),
        ("Delay Start", settings.delay_start.as_secs().to_string()),
        ("Run Loop", word(settings.run_loop.is_some()).to_owned()),
    ];
    match &settings.run_loop {
        None => rows.extend([
            ("Sleep", settings.sleep.as_millis().to_string()),
            ("Max Errors", settings.max_errors.to_string()),
            ("Summary", settings.summary.to_string()),
        ]),
        Some(run_loop) => rows.extend([
            ("Sleep", (run_loop.interval.as_secs_f64() * 1000.0).to_string()),
            ("Duration", run_loop.duration.map_or(0, |end| end.as_secs()).to_string()),
            ("Random", word(run_loop.random).to_owned()),
            ("Port", run_loop.port.to_string()),
            ("Max Concurrent", run_loop.max_concurrent.to_string()),
            ("Resolve All", word(run_loop.resolve_all).to_owned()),
            ("Metrics", run_loop.metrics.to_string()),
        ]),
    }
    rows.extend([
        ("Timeout", settings.timeout.as_secs().to_string()),
        ("Timing", timing(settings.timing).to_owned()),
        ("Keep Alive", word(settings.keep_alive).to_owned()),
        ("HTTP", settings.http.name().to_owned()),
        ("Max Body", settings.max_body.to_string()),
        ("Cookies", word(settings.cookies).to_owned()),
        ("Log Format", settings.log_format.to_string()),
        ("Verbose", word(settings.verbose).to_owned()),
        ("Verbose Errors", word(settings.verbose_errors).to_owned()),
    ]);
    let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let tls = &settings.tls;
    let (ca_file, cert, key) = (shown(&tls.ca_file), shown(&tls.cert), shown(&tls.key));
    let optional = [
        ("CA File", &ca_file),
        ("Insecure", &tls.insecure.then(|| word(true).to_owned())),
        ("Cert", &cert),
        ("Key", &key),
        ("Tag", &settings.tag),
        ("Region", &settings.region),
        ("Zone", &settings.zone),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            rows.push((name, value.clone()));
        }
    }
    let mut page = String::from("dry run\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(page, "   {name:<16}{value}");
    }
    page
}

fn timing(timing: Timing) -> &'static str {
    match timing {
        Timing::Heartbeat => "Heartbeat",
        Timing::Always => word(true),
        Timing::Never => word(false),
    }
}

// Booleans as .NET writes them.
fn word(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
