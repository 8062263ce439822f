//! Owns the life of a worker inside its event loop: accept, keep house, drain, end.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use monoio::io::AsyncReadRent;
use monoio::net::TcpListener;

use crate::admission;
use crate::listener::{self, Door};
use crate::observe::access_log::AccessLog;
use crate::shutdown::{Ending, Order};
use crate::worker::Worker;

/// How long sessions that have been ended may take to notice.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an access log line waits at most, as long as standard output takes what it gets.
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// How long the last lines may take to be written.
const LOG_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a drain looks at what it waits for.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// What a worker needs besides its own state.
pub(crate) struct Sockets {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) control: UnixStream,
    /// The far end of `control`, by which other workers announce what they hand over. None where
    /// there are no others.
    pub(crate) bell: Option<UnixStream>,
}

impl Sockets {
    /// Readies them for a driver: epoll needs sockets that do not block, and io_uring would only
    /// hand their EAGAIN on.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.listener.set_nonblocking(nonblocking)?;
        self.control.set_nonblocking(nonblocking)
    }
}

/// Runs inside the worker's event loop until it is told to end and has ended.
///
/// Tells `start` once it serves, or why it does not. Returns whether every session is over: if
/// not, the loop must not be dropped, because the kernel may still write to the buffers of their
/// operations.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    sockets: Sockets,
    start: &Sender<io::Result<()>>,
) -> bool {
    let InLoop { accepting, listener, mut control, control_end, bell } = match into_loop(sockets) {
        Ok(sockets) => sockets,
        Err(error) => {
            let _ = start.send(Err(error));
            return true;
        }
    };
    let (door, ending) = (Rc::new(Door::default()), Rc::new(Ending::default()));
    // A second order has come: no more waiting.
    let quit = Rc::new(Cell::new(false));
    let admit = {
        let worker = Rc::clone(&worker);
        move |stream, peer| admission::admit(&worker, stream, peer)
    };
    let accept_loop = monoio::spawn(listener::accept(accepting, Rc::clone(&door), admit));
    let sweeping = monoio::spawn(sweep(Rc::clone(&worker), Rc::clone(&ending)));
    let logging = monoio::spawn(write_log(Rc::clone(&worker), Rc::clone(&ending)));
    if let Some(bell) = bell {
        worker.inbox().open(bell);
    }
    let _ = start.send(Ok(()));

    let order = order_beside_adoptions(&mut control, &worker).await;
    // From now on whoever accepts a connection keeps it.
    admission::adopt(&worker, worker.inbox().close());
    if order == Order::Quit {
        quit.set(true);
    }
    worker.begin_drain();
    let orders = monoio::spawn(quit_on_order(control, Rc::clone(&worker), Rc::clone(&quit)));
    pause(worker.config().drain_delay, || quit.get()).await;
    let closing = Instant::now();
    if quit.get() {
        listener::close_at_once(&listener, &door);
    } else {
        listener::close(&listener, &door).await;
    }
    accept_loop.await;
    drop(listener);

    // The queue of the listener was work in flight too.
    let drain_timeout = worker.config().drain_timeout.saturating_sub(closing.elapsed());
    pause(drain_timeout, || {
        // Again and again: a session may only now have come to its wait.
        worker.deadlines().end_idle();
        worker.is_done() || quit.get()
    })
    .await;
    worker.deadlines().end_all();
    pause(QUIT_TIMEOUT, || worker.is_done()).await;
    pause(LOG_TIMEOUT, || worker.log().is_none_or(AccessLog::flush)).await;
    // The read of the next order would outlive its buffer.
    let _ = control_end.shutdown(Shutdown::Both);
    orders.await;
    ending.announce();
    sweeping.await;
    logging.await;
    worker.is_done()
}

/// The sockets in the hands of the event loop, and a second hand on each.
struct InLoop {
    accepting: TcpListener,
    listener: std::net::TcpListener,
    control: monoio::net::UnixStream,
    control_end: UnixStream,
    bell: Option<UnixStream>,
}

fn into_loop(sockets: Sockets) -> io::Result<InLoop> {
    Ok(InLoop {
        listener: sockets.listener.try_clone()?,
        accepting: TcpListener::from_std(sockets.listener)?,
        control_end: sockets.control.try_clone()?,
        control: monoio::net::UnixStream::from_std(sockets.control)?,
        bell: sockets.bell,
    })
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

/// Takes over what is handed over until another order comes.
async fn order_beside_adoptions(
    control: &mut monoio::net::UnixStream,
    worker: &Rc<Worker>,
) -> Order {
    loop {
        match next_order(control).await {
            Order::Adopt => admission::adopt(worker, worker.inbox().take()),
            order => return order,
        }
    }
}

/// The next order, or to quit where whoever gave them is gone.
async fn next_order(control: &mut monoio::net::UnixStream) -> Order {
    let (result, byte) = control.read(vec![0; 1]).await;
    match result {
        Ok(1) => Order::from_byte(byte[0]),
        _ => Order::Quit,
    }
}

async fn quit_on_order(
    mut control: monoio::net::UnixStream,
    worker: Rc<Worker>,
    quit: Rc<Cell<bool>>,
) {
    order_beside_adoptions(&mut control, &worker).await;
    quit.set(true);
}

/// Flushes the access log now and then, as long as there is one.
async fn write_log(worker: Rc<Worker>, ending: Rc<Ending>) {
    let Some(log) = worker.log() else { return };
    while !ending.sleep(LOG_PAUSE).await {
        log.flush();
        worker.counters().note_dropped_log_lines(log.take_dropped());
    }
}

async fn sweep(worker: Rc<Worker>, ending: Rc<Ending>) {
    let config = worker.config();
    let shortest = config.header_timeout.min(config.idle_timeout).min(config.stall_timeout);
    worker.deadlines().sweep(worker.clock(), shortest, &ending).await;
}
