//! Owns what all workers of a process share: immutable, but for what is touched when a connection
//! opens or closes, and when a drain begins.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::SystemTime;

use crate::config::{Config, Io};
use crate::handover::Inbox;
use crate::observe::log_sink::LogSink;
use crate::observe::metrics::Counters;
use crate::os::cgroup::MemoryGauge;
use crate::report::Report;

/// What all workers of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) max_connections: usize,
    pub(crate) version: String,
    pub(crate) version_json: String,
    /// False once a drain has begun.
    pub(crate) ready: AtomicBool,
    /// Connections at the moment, touched when one opens or closes.
    pub(crate) connections: AtomicUsize,
    /// Each worker's own; the others hand over to it.
    pub(crate) inboxes: Box<[Inbox]>,
    /// Each worker's own; the others read them for a scrape.
    pub(crate) counters: Box<[Counters]>,
    pub(crate) driver: &'static str,
    /// Why that driver, in one word.
    pub(crate) driver_label: &'static str,
    pub(crate) send: &'static str,
    /// RLIMIT_NOFILE.
    pub(crate) descriptors: u64,
    pub(crate) started: SystemTime,
    pub(crate) log_sink: Arc<LogSink>,
    /// The memory limit around this process, where there is one.
    pub(crate) memory: Option<MemoryGauge>,
}

impl Shared {
    pub(crate) fn new(config: Config, report: &Report, descriptors: u64) -> Self {
        let site = &config.site;
        let version_json = format!(
            "{{\"version\":\"{}\",\"revision\":\"{}\",\"driver\":\"{}\",\"send\":\"{}\",\
             \"threads\":{},\"uri\":\"{}\",\"min\":{},\"max\":{}}}\n",
            config.version,
            config.revision,
            report.driver,
            report.send,
            report.threads,
            site.uri(),
            site.min(),
            site.max()
        );
        Self {
            max_connections: report.max_connections,
            version: format!("{}\n", config.version),
            version_json,
            ready: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            inboxes: (0..report.threads).map(|_| Inbox::default()).collect(),
            counters: (0..report.threads).map(|_| Counters::default()).collect(),
            driver: report.driver,
            driver_label: match &report.refusal {
                Some(refusal) => refusal.label(),
                None if config.io == Io::Epoll => "forced",
                None => "ok",
            },
            send: report.send,
            descriptors,
            started: SystemTime::now(),
            log_sink: Arc::new(LogSink::new(io::stdout().as_raw_fd())),
            memory: MemoryGauge::find(Path::new("/")),
            config,
        }
    }
}
