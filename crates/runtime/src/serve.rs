//! Owns the life of a worker inside its event loop: accepting, housekeeping, drain, end.

use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_protocol::Port;
use monoio::io::AsyncReadRent;

use crate::admission::Admission;
use crate::listener::Acceptor;
use crate::observe::access_log::AccessLog;
use crate::os::event_loop;
use crate::os::refusal::Refusal;
use crate::place;
use crate::shutdown::{Order, Stage};
use crate::worker::Worker;

/// How long connections may take to end after all of them have been shut down.
const QUIT_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest that an access log line waits while standard output accepts everything.
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// How long the last lines may take to be written.
const LOG_TIMEOUT: Duration = Duration::from_millis(300);

/// How often a drain checks what it waits for.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// Once no new handshake may begin, those that have begun are expected to end within this time.
const SETTLE: Duration = Duration::from_millis(200);

/// The longest that a listener which closes waits for queued connections.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Longest and shortest pause between two sweeps over the deadlines.
const SWEEP_MAX: Duration = Duration::from_millis(500);
const SWEEP_MIN: Duration = Duration::from_millis(5);

/// How often a connection that stays open is sampled.
const SAMPLE_PERIOD: Duration = Duration::from_secs(15);

/// The sockets that a worker starts with.
pub(crate) struct Sockets {
    /// The listener of the main port; the first worker also has that of the admin port, if any.
    pub(crate) listeners: Vec<(TcpListener, Port)>,
    /// The socket on which the worker receives its orders.
    pub(crate) control: UnixStream,
    /// The far end of `control`. Other workers announce on it that they have handed connections
    /// over, and the tasks of this worker that they have given way.
    pub(crate) near: Arc<UnixStream>,
}

/// Runs a worker inside its event loop, until the worker has been ordered to end and has ended.
///
/// Calls `started` once it serves. Returns whether every connection is over: if not, the event
/// loop must not be dropped, because the kernel may still write to the buffers of operations.
///
/// # Errors
/// The system call whose refusal keeps the worker from serving.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    admission: Rc<Admission>,
    sockets: Sockets,
    started: impl FnOnce(),
) -> Result<bool, Refusal> {
    let Sockets { listeners, control, near } = sockets;
    let acceptor = |(listener, port)| Ok((Rc::new(Acceptor::new(listener)?), port));
    let acceptors = listeners.into_iter().map(acceptor).collect::<Result<Vec<_>, Refusal>>()?;
    let mut control =
        monoio::net::UnixStream::from_std(control).map_err(Refusal::of("epoll_ctl"))?;
    let ready = event_loop::watch(admission.lane_descriptor())?;
    let lane = monoio::spawn(Rc::clone(&admission).run_lane(ready));
    let accept_at = |(acceptor, port): &(Rc<Acceptor>, Port)| {
        let (worker, admission) = (Rc::clone(&worker), Rc::clone(&admission));
        monoio::spawn(accept(worker, admission, Rc::clone(acceptor), *port))
    };
    let accepting: Vec<_> = acceptors.iter().map(accept_at).collect();
    let acceptors: Vec<_> = acceptors.into_iter().map(|(acceptor, _)| acceptor).collect();
    let sweeping = monoio::spawn(sweep(Rc::clone(&worker)));
    let logging = monoio::spawn(write_log(Rc::clone(&worker)));
    worker.inbox().open(Arc::clone(&near));
    started();

    let order = next_order(&mut control, &worker, &admission).await;
    // From now on no other worker hands connections over to this one.
    admission.take_over(worker.inbox().close());
    worker.life.reach(Stage::Draining);
    if order != Some(Order::Drain) {
        worker.life.reach(Stage::Quitting);
    }
    let orders = monoio::spawn(obey(control, Rc::clone(&worker), Rc::clone(&admission)));
    drain(&worker, &acceptors).await;
    for accepting in accepting {
        accepting.await;
    }
    drop(acceptors);
    pause(QUIT_TIMEOUT, || worker.is_done()).await;
    pause(LOG_TIMEOUT, || worker.log().is_none_or(AccessLog::flush)).await;
    // This ends the read of the next order, which must not outlive its buffer.
    let _ = near.shutdown(Shutdown::Both);
    orders.await;
    worker.life.reach(Stage::Over);
    admission.end();
    lane.await;
    sweeping.await;
    logging.await;
    Ok(worker.is_done())
}

/// Serves new connections for the drain delay, closes the listeners, and lets work in flight finish
/// within the drain timeout.
async fn drain(worker: &Worker, acceptors: &[Rc<Acceptor>]) {
    let has_quit = || worker.life.has_reached(Stage::Quitting);
    pause(worker.config().drain_delay, has_quit).await;
    let closing = Instant::now();
    empty_queues(acceptors, has_quit).await;
    worker.life.reach(Stage::Closed);
    acceptors.iter().for_each(|acceptor| acceptor.close());
    // The time in which the queues were emptied counts too: their connections were in flight.
    let drain_timeout = worker.config().drain_timeout.saturating_sub(closing.elapsed());
    pause(drain_timeout, || {
        // This repeats, because a connection may have become idle only now.
        worker.deadlines.end_idle();
        worker.is_done() || has_quit()
    })
    .await;
    worker.life.reach(Stage::Quitting);
    worker.deadlines.end_all();
}

/// Keeps new handshakes out, and waits until every queued connection has been accepted, until
/// [`SETTLE_MAX`] has passed, or until `has_quit`.
async fn empty_queues(acceptors: &[Rc<Acceptor>], has_quit: impl Fn() -> bool + Copy) {
    acceptors.iter().for_each(|acceptor| acceptor.keep_handshakes_out());
    let accepted = || acceptors.iter().map(|acceptor| acceptor.accepted()).sum::<u64>();
    let begin = Instant::now();
    while begin.elapsed() < SETTLE_MAX && !has_quit() {
        let before = accepted();
        pause(SETTLE, has_quit).await;
        if accepted() == before {
            return;
        }
    }
}

/// Accepts connections at one of the listeners until it is closed.
async fn accept(worker: Rc<Worker>, admission: Rc<Admission>, acceptor: Rc<Acceptor>, port: Port) {
    let is_closed = || worker.life.has_reached(Stage::Closed);
    let can_accept = || place::can_answer_another(&worker, port);
    let admit = |stream, peer| admission.admit(stream, peer, port);
    let is_blocking = worker.has_blocking_sockets();
    acceptor.run(is_blocking, is_closed, can_accept, admit, &worker.turns).await;
}

/// Waits until `done` or until `limit` has passed.
async fn pause(limit: Duration, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        monoio::time::sleep(DRAIN_TICK.min(left)).await;
    }
}

/// Waits for an order that ends the worker, and carries out the others. Returns None at the end of
/// the control socket.
async fn next_order(
    control: &mut monoio::net::UnixStream,
    worker: &Worker,
    admission: &Rc<Admission>,
) -> Option<Order> {
    let mut byte = vec![0; 1];
    loop {
        let (result, buffer) = control.read(byte).await;
        byte = buffer;
        match result {
            Ok(1) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => return None,
        }
        match Order::from_byte(byte[0]) {
            Order::TakeOver => admission.take_over(worker.inbox().take()),
            Order::Resume => worker.turns.resume(),
            order => return Some(order),
        }
    }
}

/// Carries out the orders that come once the drain has begun, up to the end of the control socket.
async fn obey(mut control: monoio::net::UnixStream, worker: Rc<Worker>, admission: Rc<Admission>) {
    while next_order(&mut control, &worker, &admission).await.is_some() {
        worker.life.reach(Stage::Quitting);
    }
    // From now on no order resumes a task that gives way.
    worker.turns.close();
}

/// Flushes the access log, if there is one, every [`LOG_PAUSE`] until the worker is over.
async fn write_log(worker: Rc<Worker>) {
    let Some(log) = worker.log() else { return };
    while !worker.life.sleep(LOG_PAUSE).await {
        log.flush();
        worker.counters().log_lines_dropped.add(log.take_dropped());
    }
}

/// Sweeps until the worker is over, several times within the shortest time limit of the
/// configuration. Sleeps while there is no connection.
async fn sweep(worker: Rc<Worker>) {
    let (config, deadlines, life) = (worker.config(), &worker.deadlines, &worker.life);
    let shortest = config.header_timeout.min(config.idle_timeout).min(config.stall_timeout);
    let pause = (shortest / 8).clamp(SWEEP_MIN, SWEEP_MAX);
    let share = pause.as_secs_f64() / SAMPLE_PERIOD.as_secs_f64();
    while !life.or_ready(|context| deadlines.poll_connections(context)).await
        && !life.sleep(pause).await
    {
        deadlines.expire(worker.clock.now_ms());
        worker.sample(share);
    }
}
