//! Owns how connections are counted, and which of them are above the limit.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use heartbeat_protocol::Port;

use crate::deadlines::WatchId;
use crate::handover::Rank;
use crate::worker::Worker;

/// Counts a connection among those of its process and its worker, until it is dropped.
pub(crate) struct Place {
    pub(crate) worker: Rc<Worker>,
    pub(crate) rank: Rank,
    /// The connection's place in the table of deadlines.
    pub(crate) watch: WatchId,
}

impl Place {
    /// The place of a connection that [`rank`] and the worker's inbox have counted. Its socket
    /// stays open as long as the place is kept.
    pub(crate) fn new(worker: &Rc<Worker>, rank: Rank, socket: RawFd) -> Self {
        let watch = worker.deadlines.add(socket);
        Self { worker: Rc::clone(worker), rank, watch }
    }
}

/// Counts a connection that has just been accepted. The limit does not count those of the admin
/// port, so that operators can look at a server that is full.
pub(crate) fn rank(worker: &Worker, port: Port) -> Rank {
    let shared = &worker.shared;
    if port == Port::Main {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        if before < shared.limits.connections_max && worker.has_memory() {
            return Rank::Within;
        }
        shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
    shared.above_limit.fetch_add(1, Ordering::Relaxed);
    Rank::Above
}

/// Whether another connection above the limit can be answered.
pub(crate) fn can_answer_above(worker: &Worker) -> bool {
    let shared = &worker.shared;
    shared.above_limit.load(Ordering::Relaxed) < shared.limits.above_limit_max
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Place").field("rank", &self.rank).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.deadlines.remove(self.watch);
        let shared = &self.worker.shared;
        let counter = match self.rank {
            Rank::Within => &shared.connections,
            Rank::Above => &shared.above_limit,
        };
        counter.fetch_sub(1, Ordering::Relaxed);
        self.worker.inbox().note_close();
    }
}
