//! Owns the state that the connections of one core share. It does nothing by itself: `serve` runs
//! a worker, and `admission` gives it connections. Workers share only [`Shared`].

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use heartbeat_protocol::Facts;
use heartbeat_tcp_info::TcpInfo;

use crate::config::Config;
use crate::connection::buffers::Buffers;
use crate::deadlines::{Deadlines, WatchId};
use crate::handover::{Balance, Inbox};
use crate::observe::access_log::AccessLog;
use crate::observe::end::End;
use crate::observe::metrics::Counters;
use crate::observe::tcp_facts;
use crate::os::cgroup::Memory;
use crate::os::clock::Clock;
use crate::os::event_loop::Driver;
use crate::os::sys;
use crate::send::arena::Arena;
use crate::send::tier::Means;
use crate::shared::Shared;
use crate::shutdown::{Life, Stage};
use crate::turns::Turns;

/// Bytes of short answers that are sent between two checks of the memory limit. That makes one
/// check in a few hundred answers, and the bytes are few compared with what the limit keeps free.
const LOOK_BYTES: usize = 128 * 1024;

/// How long memory that is used up counts as used up without another check, in milliseconds.
/// Without this, a thousand answers that wait for memory would read the statistics of the cgroup
/// 50,000 times a second, and the kernel adds them up for each read.
const USED_UP_MS: u64 = 10;

/// What the connections of a worker share.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// The position of this worker among the workers.
    index: usize,
    log: Option<AccessLog>,
    /// How large answers are sent.
    pub(crate) means: Means,
    pub(crate) arena: Arena,
    pub(crate) buffers: Buffers,
    pub(crate) deadlines: Deadlines,
    pub(crate) clock: Clock,
    /// Decides whether an accepted connection is handed over.
    pub(crate) balance: Balance,
    /// How a task gives way to others.
    pub(crate) turns: Turns,
    /// The stage of its end that the worker has reached.
    pub(crate) life: Life,
    /// Bytes of short answers that may be sent before the memory limit is checked again; 0 while
    /// memory is used up.
    sent_bytes_left: Cell<usize>,
    /// Until then, memory counts as used up without another check.
    used_up_until_ms: Cell<u64>,
}

impl Worker {
    /// The worker number `index`. `means` have been built for `arena`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: usize,
        arena: Arena,
        means: Means,
        turns: Turns,
    ) -> Self {
        let log = shared.config.log.zip(shared.log_sink.as_ref());
        let has_tcp = shared.config.log_tcp;
        let log = log.map(|(format, sink)| AccessLog::new(format, has_tcp, Arc::clone(sink)));
        Self {
            shared,
            index,
            log,
            means,
            arena,
            buffers: Buffers::default(),
            deadlines: Deadlines::default(),
            clock: Clock::new(),
            balance: Balance::new(index),
            turns,
            life: Life::default(),
            sent_bytes_left: Cell::new(0),
            used_up_until_ms: Cell::new(0),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// This worker's counters: no other thread writes to them.
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters[self.index]
    }

    /// The connections that other workers have handed over to this one, and the number of all
    /// connections that it has.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.shared.inboxes[self.index]
    }

    /// The access log if it is on.
    pub(crate) fn log(&self) -> Option<&AccessLog> {
        self.log.as_ref()
    }

    /// Whether there is memory for another connection or a longer head.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory() != Memory::UsedUp
    }

    /// What is left of the memory limit.
    pub(crate) fn memory(&self) -> Memory {
        let Some(gauge) = &self.shared.memory else { return Memory::Ample };
        let now_ms = self.clock.now_ms();
        if now_ms < self.used_up_until_ms.get() {
            return Memory::UsedUp;
        }
        let memory = gauge.read();
        if memory == Memory::UsedUp {
            self.used_up_until_ms.set(now_ms + USED_UP_MS);
        }
        memory
    }

    /// Whether there is memory for short answers that nobody reads: the kernel buffers up to
    /// megabytes of them for each connection.
    pub(crate) fn has_memory_for_unread(&self) -> bool {
        if self.sent_bytes_left.get() == 0 && self.has_memory() {
            self.sent_bytes_left.set(LOOK_BYTES);
        }
        self.sent_bytes_left.get() > 0
    }

    /// Notes that this many bytes of short answers are about to be sent.
    pub(crate) fn note_sending(&self, bytes: usize) {
        self.sent_bytes_left.set(self.sent_bytes_left.get().saturating_sub(bytes));
    }

    /// What the answers to requests depend on.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            ready: self.shared.is_ready.load(Ordering::Relaxed),
            version: &self.shared.version,
            version_json: &self.shared.version_json,
        }
    }

    /// Whether sockets block. epoll needs non-blocking sockets. With such a socket, io_uring would
    /// report EAGAIN instead of waiting.
    pub(crate) fn has_blocking_sockets(&self) -> bool {
        self.shared.report.driver == Driver::IoUring
    }

    /// Whether answers close their connections.
    pub(crate) fn is_draining(&self) -> bool {
        self.life.has_reached(Stage::Draining)
    }

    /// Whether the worker has no connection left, and none waits in its inbox.
    pub(crate) fn is_done(&self) -> bool {
        self.inbox().connections() == 0
    }

    /// Counts the end of a connection, whose socket is still open.
    pub(crate) fn note_end(&self, watch: WatchId, end: End) {
        if self.config().tcp_metrics {
            self.deadlines.sample_one(watch, |socket, counted| {
                tcp_facts::sample(socket, counted, self.counters());
            });
        }
        self.counters().note_end(end);
    }

    /// The TCP figures that the access log adds to the line of an answer on `socket`, if they are
    /// configured.
    pub(crate) fn tcp_for_log(&self, socket: RawFd) -> Option<TcpInfo> {
        let is_asked = self.config().log_tcp && self.log.is_some();
        is_asked.then(|| sys::tcp_info(socket).unwrap_or_default())
    }

    /// Adds what is new about the next connections to the counters, which are a `share` of all.
    pub(crate) fn sample(&self, share: f64) {
        if self.config().tcp_metrics {
            self.deadlines.sample(share, |socket, counted| {
                tcp_facts::sample(socket, counted, self.counters());
            });
        }
    }
}
