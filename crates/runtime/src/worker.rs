//! Owns what the sessions of one core share. Acts on nothing: `serve` runs it, `admission` gives it
//! connections. Nothing here is shared with another worker but the [`Shared`].

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use heartbeat_protocol::{Facts, Site};

use crate::config::Config;
use crate::connection::buffers::{Buffers, VectorLists};
use crate::deadlines::Deadlines;
use crate::handover::{Giver, Inbox};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Counters;
use crate::os::clock::Clock;
use crate::send::arena::{Arena, Slot};
use crate::send::pipe::PayloadPipe;
use crate::send::ring::SendRing;
use crate::send::tier::Means;
use crate::shared::Shared;

/// What the sessions of a worker share.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// Its place among the workers.
    index: usize,
    log: Option<AccessLog>,
    // Before the arena: the ring's registration ends first.
    means: Means,
    arena: Arena,
    buffers: Buffers,
    vector_lists: VectorLists,
    deadlines: Deadlines,
    clock: Clock,
    giver: Giver,
    /// Every answer closes its connection.
    is_draining: Cell<bool>,
}

impl Worker {
    /// A worker that sends large payloads by `means`, which were built for `arena`.
    pub(crate) fn new(shared: Arc<Shared>, index: usize, arena: Arena, means: Means) -> Self {
        let log =
            shared.config.log.map(|format| AccessLog::new(format, Arc::clone(&shared.log_sink)));
        Self {
            shared,
            index,
            log,
            means,
            arena,
            buffers: Buffers::default(),
            vector_lists: VectorLists::default(),
            deadlines: Deadlines::default(),
            clock: Clock::new(),
            giver: Giver::new(index),
            is_draining: Cell::new(false),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// This worker's counters: nobody else writes to them.
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters[self.index]
    }

    /// The access log, where it is on.
    pub(crate) fn log(&self) -> Option<&AccessLog> {
        self.log.as_ref()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn site(&self) -> &Site {
        &self.shared.config.site
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            ready: self.shared.ready.load(Ordering::Relaxed),
            version: &self.shared.version,
            version_json: &self.shared.version_json,
        }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    pub(crate) fn vector_lists(&self) -> &VectorLists {
        &self.vector_lists
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The companion ring, where there is one that works.
    pub(crate) fn send_ring(&self) -> Option<&SendRing> {
        self.means.ring.as_ref().filter(|ring| !ring.is_broken())
    }

    /// The payload to splice, where there is one that works.
    pub(crate) fn payload_pipe(&self) -> Option<&PayloadPipe> {
        self.means.pipe.as_ref().filter(|pipe| !pipe.is_broken())
    }

    /// Whether answers close their connections.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    pub(crate) fn begin_drain(&self) {
        self.is_draining.set(true);
    }

    /// Who hands over what this worker has accepted.
    pub(crate) fn giver(&self) -> &Giver {
        &self.giver
    }

    /// Whether epoll carries the event loop.
    pub(crate) fn is_epoll(&self) -> bool {
        self.shared.driver == "epoll"
    }

    /// Gives a head's slot back, once no operation can refer to it.
    pub(crate) fn release_slot(&self, slot: Slot) {
        match &self.means.ring {
            Some(ring) => ring.release(slot, &self.arena),
            None => self.arena.release(slot),
        }
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.shared.inboxes[self.index]
    }

    /// Whether no connection is left, nor waits in the inbox.
    pub(crate) fn is_done(&self) -> bool {
        self.inbox().connections() == 0
    }
}
