//! Owns how connections are counted, and which of them are above the limit.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::deadlines::WatchId;
use crate::handover::Rank;
use crate::worker::Worker;

/// How long a peer above the limit may take for its request, and then to close, once others wait for
/// its place. A request follows its handshake within a round trip.
const GRACE: Duration = Duration::from_millis(20);

/// Counts a connection among those of its process and its worker, until it is dropped.
pub(crate) struct Place {
    worker: Rc<Worker>,
    rank: Rank,
    watch: WatchId,
}

impl Place {
    /// The place of a connection that [`rank`] and the worker's inbox have counted. Its socket stays
    /// open as long as the place is kept.
    pub(crate) fn new(worker: &Rc<Worker>, rank: Rank, socket: RawFd) -> Self {
        let watch = worker.deadlines().add(socket);
        if rank == Rank::Above {
            worker.deadlines().may_hurry(watch);
        }
        Self { worker: Rc::clone(worker), rank, watch }
    }

    /// The connection's place in the table of deadlines.
    pub(crate) fn watch(&self) -> WatchId {
        self.watch
    }

    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }
}

/// Counts a connection that has just been accepted.
pub(crate) fn rank(worker: &Worker) -> Rank {
    let shared = worker.shared();
    let before = shared.connections.fetch_add(1, Ordering::Relaxed);
    if before < shared.limits.connections_max && worker.has_memory() {
        return Rank::Within;
    }
    shared.connections.fetch_sub(1, Ordering::Relaxed);
    shared.above_limit.fetch_add(1, Ordering::Relaxed);
    Rank::Above
}

/// Counts a connection of the admin port: it is answered whatever the limit says.
pub(crate) fn rank_operator(worker: &Worker) -> Rank {
    worker.shared().operators.fetch_add(1, Ordering::Relaxed);
    Rank::Operator
}

/// Whether another connection of the admin port can be answered.
pub(crate) fn has_room_for_operator(worker: &Worker) -> bool {
    let shared = worker.shared();
    shared.operators.load(Ordering::Relaxed) < shared.limits.above_limit_max
}

/// Whether another connection above the limit can be answered. If not, those that are being turned
/// down get no more time than [`GRACE`]: the queue of the listener may hold a health check.
pub(crate) fn make_room_above(worker: &Worker) -> bool {
    let shared = worker.shared();
    let has_room = shared.above_limit.load(Ordering::Relaxed) < shared.limits.above_limit_max;
    if !has_room {
        worker.deadlines().hurry(GRACE, worker.clock().now_ms());
    }
    has_room
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Place").field("rank", &self.rank).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.deadlines().remove(self.watch);
        let shared = self.worker.shared();
        let counter = match self.rank {
            Rank::Within => &shared.connections,
            Rank::Above => &shared.above_limit,
            Rank::Operator => &shared.operators,
        };
        counter.fetch_sub(1, Ordering::Relaxed);
        self.worker.inbox().note_close();
    }
}
