//! Owns the life of the server: limits, start, banner, signals, drain, exit code.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use heartbeat_runtime::{Config, Report, Server, Signals, StartError};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::Failure;
use crate::notice;

/// How often the end of a drain is checked.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How long the workers may take to end after the drain, before the process ends without them.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// How long and how often the start is repeated while the port is in use. The kernel frees the
/// rings of a killed process after the process itself, and its listeners stay open until then.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
const PORT_POLL: Duration = Duration::from_millis(20);

/// Serves until a signal ends it: the first begins the drain, a second one ends it at once.
pub(crate) fn serve(config: Config) -> Result<ExitCode, Failure> {
    let signals = Signals::take_over().map_err(|error| {
        let cause = "likely a seccomp profile without rt_sigprocmask or rt_sigtimedwait";
        Failure::fault("start", format_args!("cannot wait for signals: {error}: {cause}"))
    })?;
    raise_descriptor_limit();
    let Some(server) = start(&config, &signals)? else { return Ok(ExitCode::SUCCESS) };
    notice::print(&banner(&config, &server));
    heartbeat_allocator::give_back();
    signals.wait();
    server.stop();
    notice::print(&drain_notice(config.drain_delay, config.drain_timeout));
    let deadline = Instant::now() + config.drain_delay + config.drain_timeout;
    while !server.is_finished() && Instant::now() < deadline {
        // If the wait for signals fails, end the drain as well: no signal could end it later.
        if signals.wait_for(DRAIN_POLL).unwrap_or(true) {
            server.stop();
            notice::print("heartbeat: second signal: ending at once\n");
            break;
        }
    }
    if !server.wait_for(END_TIMEOUT) {
        notice::print("heartbeat: a worker hangs in a system call: ending without it\n");
    }
    // The process exits here, so that a thread that hangs cannot hold it up.
    std::process::exit(0)
}

/// The line that announces the drain.
fn drain_notice(delay: Duration, timeout: Duration) -> String {
    let serving = match delay {
        Duration::ZERO => String::new(),
        delay => format!("new connections are served for {delay:?}, then "),
    };
    format!(
        "heartbeat: draining: {serving}requests in flight have up to {timeout:?}; a second signal \
         ends the server at once\n"
    )
}

/// Starts the server. Tries again while the port is in use, because it may belong to a process that
/// has just been killed. None if a signal ends the start.
fn start(config: &Config, signals: &Signals) -> Result<Option<Server>, Failure> {
    let begun = Instant::now();
    loop {
        match Server::start(config.clone()) {
            Ok(server) => return Ok(Some(server)),
            Err(StartError::Bind { refusal, .. })
                if refusal.error().kind() == io::ErrorKind::AddrInUse
                    && begun.elapsed() < PORT_PATIENCE => {}
            Err(StartError::Uring(refusal)) => {
                let text = format_args!("--io uring: {refusal}; or start with --io auto");
                return Err(Failure::fault("start", text));
            }
            Err(error) => return Err(Failure::fault("start", error)),
        }
        if signals.wait_for(PORT_POLL).unwrap_or(true) {
            return Ok(None);
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one, which proc_pid_limits(5) shows. If
/// the kernel refuses this, the server allows fewer connections.
fn raise_descriptor_limit() {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    if hard.is_some() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    }
}

/// The lines that a start prints: what runs, on what, and why.
fn banner(config: &Config, server: &Server) -> String {
    let Report { threads, driver, driver_reason, send, send_reason, max_connections, .. } =
        server.report();
    let Config { version, revision, site, log, .. } = config;
    let log = log.map_or("off".to_string(), |format| format!("{format:?}").to_lowercase());
    let mut warnings = String::new();
    if let Some(refusal) = &server.report().refusal {
        warnings += &format!("heartbeat: warning: io_uring is not used: {refusal}\n");
    }
    if let Some(asked) = server.report().max_connections_refused {
        warnings += &format!(
            "heartbeat: warning: --max-connections {asked} is lowered to {max_connections}, \
             which is what the limits of this process allow (ulimit -n, memory limit)\n"
        );
    }
    let admin = server.admin_address().map(|address| format!(", admin {address}"));
    format!(
        "{warnings}\
         heartbeat {version} ({revision})\n  \
         address  {}{}\n  \
         uri      {}{{n}}, {} to {} bytes\n  \
         log      {log}\n  \
         threads  {threads}, at most {max_connections} connections\n  \
         driver   {} ({driver_reason})\n  \
         send     {} ({send_reason})\n",
        server.address(),
        admin.unwrap_or_default(),
        site.uri(),
        site.min(),
        site.max(),
        driver.name(),
        send.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_without_a_delay_does_not_mention_one() {
        let timeout = Duration::from_secs(25);
        assert_eq!(
            drain_notice(Duration::ZERO, timeout),
            "heartbeat: draining: requests in flight have up to 25s; a second signal ends the \
             server at once\n"
        );
        assert_eq!(
            drain_notice(Duration::from_millis(1500), timeout),
            "heartbeat: draining: new connections are served for 1.5s, then requests in flight \
             have up to 25s; a second signal ends the server at once\n"
        );
    }
}
