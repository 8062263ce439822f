//! Owns the life of the server: start, banner, signals, drain, exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use heartbeat_runtime::{Config, Report, Server, Signals};

use crate::failure::Failure;

/// How often a drain is asked whether it is over.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Serves until a signal ends it: the first begins the drain, a second one ends it at once.
pub(crate) fn serve(config: Config) -> Result<ExitCode, Failure> {
    let signals = Signals::take_over().map_err(|error| Failure::fault("signals", error))?;
    let server = Server::start(config.clone()).map_err(|error| Failure::fault("start", error))?;
    tell(&banner(&config, &server));
    server.trim();
    signals.wait();
    tell(&format!(
        "heartbeat: draining: serving for {:?}, then up to {:?} for what is in flight\n",
        config.drain_delay, config.drain_timeout
    ));
    server.stop();
    while !server.is_finished() {
        if signals.wait_for(DRAIN_POLL) {
            tell("heartbeat: second signal: ending at once\n");
            server.stop();
            break;
        }
    }
    server.wait();
    Ok(ExitCode::SUCCESS)
}

/// What runs, on what, and why.
fn banner(config: &Config, server: &Server) -> String {
    let Report { threads, driver, driver_reason, send, send_reason, max_connections, .. } =
        server.report();
    let site = &config.site;
    let log = config.log.map_or("off".to_string(), |format| format!("{format:?}").to_lowercase());
    let warning = match &server.report().refusal {
        Some(refusal) => format!("heartbeat: warning: io_uring is not used: {refusal}\n"),
        None => String::new(),
    };
    let reason = if warning.is_empty() { driver_reason.as_str() } else { "io_uring refused" };
    format!(
        "{warning}\
         heartbeat {} ({})\n  \
         address  {}\n  \
         uri      {}{{n}}, {} to {} bytes\n  \
         log      {log}\n  \
         threads  {threads}, at most {max_connections} connections\n  \
         driver   {driver} ({reason})\n  \
         send     {send} ({send_reason})\n",
        config.version,
        config.revision,
        server.address(),
        site.uri(),
        site.min(),
        site.max(),
    )
}

/// One write to standard error; where it is closed, nobody wanted to know.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
