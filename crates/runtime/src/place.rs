//! Owns how connections are counted, and which of them are above the limit.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heartbeat_protocol::Port;

use crate::deadlines::WatchId;
use crate::handover::Rank;
use crate::worker::Worker;

/// How long a peer above the limit may take to send its request, and then to close, once all such
/// places are taken. A request follows its handshake within a round trip.
const GRACE: Duration = Duration::from_millis(20);

/// How long a peer of the admin port may wait once all its places are taken: long enough for a
/// scrape over a slow path.
const OPERATOR_GRACE: Duration = Duration::from_millis(500);

/// Counts a connection among those of its server and its worker, until it is dropped.
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
        match rank {
            Rank::Within => {}
            Rank::Above => worker.deadlines.may_hurry(watch, Port::Main),
            Rank::Operator => worker.deadlines.may_hurry(watch, Port::Admin),
        }
        Self { worker: Rc::clone(worker), rank, watch }
    }
}

/// Counts a connection that has just been accepted. The limit does not count those of the admin
/// port, so that operators can look at a server that is full.
pub(crate) fn rank(worker: &Worker, port: Port) -> Rank {
    let shared = &worker.shared;
    if port == Port::Admin {
        shared.connections(Rank::Operator).fetch_add(1, Ordering::Relaxed);
        return Rank::Operator;
    }
    let within = shared.connections(Rank::Within);
    let before = within.fetch_add(1, Ordering::Relaxed);
    if before < shared.limits.connections_max && worker.has_memory() {
        return Rank::Within;
    }
    within.fetch_sub(1, Ordering::Relaxed);
    shared.connections(Rank::Above).fetch_add(1, Ordering::Relaxed);
    Rank::Above
}

/// Whether another connection can be answered at a port even if it is above the limit. If not, the
/// connections that are being turned down, or those of the admin port, have to end soon, because
/// the queue of the listener may hold a health check.
pub(crate) fn can_answer_another(worker: &Worker, port: Port) -> bool {
    let shared = &worker.shared;
    let (rank, grace) = match port {
        Port::Main => (Rank::Above, GRACE),
        Port::Admin => (Rank::Operator, OPERATOR_GRACE),
    };
    let can = shared.connections(rank).load(Ordering::Relaxed) < shared.limits.above_limit_max;
    if !can {
        worker.deadlines.hurry(port, grace, worker.clock.now_ms());
    }
    can
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.deadlines.remove(self.watch);
        self.worker.shared.connections(self.rank).fetch_sub(1, Ordering::Relaxed);
        self.worker.inbox().note_close();
    }
}
