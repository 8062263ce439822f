//! Owns what all workers of a process share. It does not change, except for counts of connections,
//! which change when one opens or closes, and for readiness, which ends with the first drain.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{Config, Io};
use crate::handover::Inbox;
use crate::observe::log_sink::LogSink;
use crate::observe::metrics::Counters;
use crate::os::cgroup::MemoryGauge;
use crate::os::sys;
use crate::report::Report;

/// What all workers of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) report: Report,
    pub(crate) limits: Limits,
    pub(crate) version: String,
    pub(crate) version_json: String,
    /// False once a drain has begun.
    pub(crate) is_ready: AtomicBool,
    /// Connections at the moment, within the limit and above it.
    pub(crate) connections: AtomicUsize,
    pub(crate) above_limit: AtomicUsize,
    /// Those of the admin port, which neither limit counts.
    pub(crate) operators: AtomicUsize,
    /// One for each worker, through which the others hand connections over.
    pub(crate) inboxes: Box<[Inbox]>,
    /// Those of each worker; other workers only read them, for a scrape.
    pub(crate) counters: Box<[Counters]>,
    pub(crate) started: Started,
    /// Standard output if there is an access log.
    pub(crate) log_sink: Option<Arc<LogSink>>,
    /// The memory limit around this process if there is one.
    pub(crate) memory: Option<MemoryGauge>,
}

/// When the process started, by two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// The time since 1970, as the clock was set then.
    unix: Duration,
    /// The time since the machine started.
    boot: Duration,
}

impl Started {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix, boot: sys::time_of(sys::Clock::Boot) }
    }

    /// Seconds since 1970 by the clock as it is set now. A machine without a battery starts in 1970
    /// and sets its clock later. The value moves only by the whole seconds of such a step, so that
    /// `changes()` counts no restarts that there were not.
    pub(crate) fn unix_seconds(&self) -> f64 {
        self.seconds_at(&Self::now())
    }

    fn seconds_at(&self, now: &Self) -> f64 {
        let uptime = now.boot.as_secs_f64() - self.boot.as_secs_f64();
        let started = self.unix.as_secs_f64();
        started + (now.unix.as_secs_f64() - uptime - started).round()
    }
}

/// How many connections a process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// RLIMIT_NOFILE.
    pub(crate) descriptors: u64,
    pub(crate) connections_max: usize,
    /// Connections above `connections_max` that can be answered with 503 at a time, and as many of
    /// the admin port.
    pub(crate) above_limit_max: usize,
}

/// A member of a JSON object, none if it has no value. The server has refused values that would need
/// an escape.
fn named(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(",\"{name}\":\"{value}\"") }
}

impl Shared {
    /// # Errors
    /// The thread that writes the access log can not be started.
    pub(crate) fn new(config: Config, report: Report, limits: Limits) -> io::Result<Self> {
        let site = &config.site;
        let version_json = format!(
            "{{\"version\":\"{}\",\"revision\":\"{}\",\"driver\":\"{}\",\"send\":\"{}\",\
             \"threads\":{},\"uri\":\"{}\",\"min\":{},\"max\":{}{}{}}}\n",
            config.version,
            config.revision,
            report.driver.name(),
            report.send.name(),
            report.threads,
            site.uri(),
            site.min(),
            site.max(),
            named("node", &config.node),
            named("zone", &config.zone)
        );
        let log_sink = config.log.map(|_| LogSink::new(io::stdout().as_fd())).transpose()?;
        Ok(Self {
            limits,
            version: format!("{}\n", config.version),
            version_json,
            is_ready: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            above_limit: AtomicUsize::new(0),
            operators: AtomicUsize::new(0),
            inboxes: (0..report.threads).map(|_| Inbox::default()).collect(),
            counters: (0..report.threads).map(|_| Counters::default()).collect(),
            started: Started::now(),
            log_sink: log_sink.map(Arc::new),
            memory: MemoryGauge::find(Path::new("/")),
            report,
            config,
        })
    }

    /// Why the driver is what it is, in one word.
    pub(crate) fn driver_label(&self) -> &'static str {
        match &self.report.refusal {
            Some(refusal) => refusal.label(),
            None if self.config.io == Io::Epoll => "forced",
            None => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_follows_a_step_of_the_clock_and_nothing_less() {
        let at = |unix_ms, boot_ms| Started {
            unix: Duration::from_millis(unix_ms),
            boot: Duration::from_millis(boot_ms),
        };
        let started = at(10_250, 5_000);
        for (now, expected) in [
            (at(10_250, 5_000), 10.25),
            (at(20_250, 15_000), 10.25),
            // Two readings are never of the same moment.
            (at(20_251, 15_000), 10.25),
            (at(20_250, 15_499), 10.25),
            (at(1_000_020_250, 15_000), 1_000_010.25),
            (at(1_250, 6_000), 0.25),
        ] {
            assert_eq!(started.seconds_at(&now), expected, "{now:?}");
        }
    }
}
