//! Owns what all workers of a server share. The configuration and the limits never change. The
//! counts of connections and the inboxes change when a connection opens or closes, the readiness
//! ends when the drain begins, and each worker changes only its own counters.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::handover::{Inbox, Rank};
use crate::observe::log_sink::LogSink;
use crate::observe::metrics::Counters;
use crate::os::cgroup::MemoryGauge;
use crate::os::event_loop::Driver;
use crate::os::refusal::Refusal;
use crate::os::sys;
use crate::report::Report;

/// What all workers of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) report: Report,
    pub(crate) limits: Limits,
    pub(crate) version: String,
    pub(crate) version_json: String,
    /// False once a drain has begun.
    pub(crate) is_ready: AtomicBool,
    /// Open connections, by [`Rank`].
    pub(crate) connections: [AtomicUsize; Rank::COUNT],
    /// One for each worker, through which the others hand connections over.
    pub(crate) inboxes: Box<[Inbox]>,
    /// One set for each worker; other workers only read it, for a scrape.
    pub(crate) counters: Box<[Counters]>,
    pub(crate) started: Started,
    /// Standard output, if there is an access log.
    pub(crate) log_sink: Option<Arc<LogSink>>,
    /// The memory limit of the cgroups around this process, if there is one.
    pub(crate) memory: Option<MemoryGauge>,
}

/// When the server started, by two clocks.
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

    /// The start in seconds since 1970, by the clock as it is set now: a machine whose clock has no
    /// battery boots in 1970 and sets its clock later. The value moves only by whole seconds, so
    /// small corrections of the clock do not look like restarts to `changes()` of Prometheus.
    pub(crate) fn unix_seconds(&self) -> f64 {
        self.seconds_at(&Self::now())
    }

    fn seconds_at(&self, now: &Self) -> f64 {
        let uptime = now.boot.as_secs_f64() - self.boot.as_secs_f64();
        let started = self.unix.as_secs_f64();
        started + (now.unix.as_secs_f64() - uptime - started).round()
    }
}

/// How many connections a server can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// RLIMIT_NOFILE.
    pub(crate) descriptors: u64,
    pub(crate) connections_max: usize,
    /// The most connections above `connections_max` that are answered at a time, and the most
    /// connections of the admin port.
    pub(crate) above_limit_max: usize,
}

/// A member of a JSON object, or nothing if the value is empty. `Server::start` has refused values
/// that would need an escape.
fn named(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(",\"{name}\":\"{value}\"") }
}

impl Shared {
    /// # Errors
    /// Standard output cannot be duplicated, or the thread that writes the access log cannot be
    /// started.
    pub(crate) fn new(config: Config, report: Report, limits: Limits) -> Result<Self, Refusal> {
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
            connections: Default::default(),
            inboxes: (0..report.threads).map(|_| Inbox::default()).collect(),
            counters: (0..report.threads).map(|_| Counters::default()).collect(),
            started: Started::now(),
            log_sink: log_sink.map(Arc::new),
            memory: MemoryGauge::find(Path::new("/")),
            report,
            config,
        })
    }

    /// The number of open connections of a rank.
    pub(crate) fn connections(&self, rank: Rank) -> &AtomicUsize {
        &self.connections[rank as usize]
    }

    /// The number of all open connections.
    pub(crate) fn all_connections(&self) -> usize {
        self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Why the server has its driver, in one word.
    pub(crate) fn driver_label(&self) -> &'static str {
        match &self.report.refusal {
            Some(refusal) => refusal.label(),
            None if self.config.io == Some(Driver::Epoll) => "forced",
            None => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_moves_only_by_whole_seconds_of_a_clock_step() {
        let at = |unix_ms, boot_ms| Started {
            unix: Duration::from_millis(unix_ms),
            boot: Duration::from_millis(boot_ms),
        };
        let started = at(10_250, 5_000);
        for (now, expected) in [
            (at(10_250, 5_000), 10.25),
            (at(20_250, 15_000), 10.25),
            // The two clocks cannot be read at exactly the same moment.
            (at(20_251, 15_000), 10.25),
            (at(20_250, 15_499), 10.25),
            (at(1_000_020_250, 15_000), 1_000_010.25),
            (at(1_250, 6_000), 0.25),
        ] {
            assert_eq!(started.seconds_at(&now), expected, "{now:?}");
        }
    }
}
