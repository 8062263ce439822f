//! Owns one core: its thread, its event loop, and what its sessions share. Nothing here is shared
//! with another worker but the process's configuration, and the counters and inboxes that are
//! touched when a connection opens or closes.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use heartbeat_protocol::{Facts, Site};
use monoio::io::AsyncReadRent;
use monoio::net::{TcpListener, TcpStream};

use crate::access_log::AccessLog;
use crate::arena::{Arena, Slot};
use crate::buffers::Buffers;
use crate::cgroup::MemoryGauge;
use crate::clock::Clock;
use crate::config::{Config, Io};
use crate::deadlines::Deadlines;
use crate::handover::{Accepted, Giver, Inbox};
use crate::listener;
use crate::log_sink::LogSink;
use crate::metrics::Counters;
use crate::payload_pipe::PayloadPipe;
use crate::send_ring::SendRing;
use crate::server::Report;
use crate::session::{End, Session};
use crate::shutdown::{Ending, Order, Phase};
use crate::socket::{Socket, VectorLists};
use crate::sys;
use crate::tier::Means;

/// Connections above the maximum that still get an answer; more are closed without one, because
/// the answer costs the descriptor that there is none of.
const TURNED_DOWN_MAX: usize = 64;

/// How long sessions that have been ended may take to notice.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an access log line waits at most, as long as standard output takes what it gets.
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// How long the last lines may take to be written.
const LOG_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a drain looks at what it waits for.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// What all workers of a process share.
#[derive(Debug)]
pub(crate) struct Process {
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

/// The address of a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote(pub(crate) IpAddr);

/// What the sessions of a worker share.
pub(crate) struct Worker {
    process: Arc<Process>,
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
    phase: Cell<Phase>,
    accepted: Cell<u64>,
    giver: Giver,
    /// A second order has come: no more waiting.
    quit: Cell<bool>,
    ending: Ending,
}

impl Process {
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

impl Worker {
    /// A worker that sends large payloads by `means`, which were built for `arena`.
    pub(crate) fn new(process: Arc<Process>, index: usize, arena: Arena, means: Means) -> Self {
        let log =
            process.config.log.map(|format| AccessLog::new(format, Arc::clone(&process.log_sink)));
        Self {
            process,
            index,
            log,
            means,
            arena,
            buffers: Buffers::default(),
            vector_lists: VectorLists::default(),
            deadlines: Deadlines::default(),
            clock: Clock::new(),
            phase: Cell::new(Phase::Serving),
            accepted: Cell::new(0),
            giver: Giver::new(index),
            quit: Cell::new(false),
            ending: Ending::default(),
        }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// This worker's counters: nobody else writes to them.
    pub(crate) fn counters(&self) -> &Counters {
        &self.process.counters[self.index]
    }

    /// The access log, where it is on.
    pub(crate) fn log(&self) -> Option<&AccessLog> {
        self.log.as_ref()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.process.config
    }

    pub(crate) fn site(&self) -> &Site {
        &self.process.config.site
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            ready: self.process.ready.load(Ordering::Relaxed),
            version: &self.process.version,
            version_json: &self.process.version_json,
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

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn set_closed(&self) {
        self.phase.set(Phase::Closed);
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Whether epoll carries the event loop.
    pub(crate) fn is_epoll(&self) -> bool {
        self.process.driver == "epoll"
    }

    /// Gives a head's slot back, once no operation can refer to it.
    pub(crate) fn release_slot(&self, slot: Slot) {
        match &self.means.ring {
            Some(ring) => ring.release(slot, &self.arena),
            None => self.arena.release(slot),
        }
    }

    fn inbox(&self) -> &Inbox {
        &self.process.inboxes[self.index]
    }

    /// Whether no connection is left, nor waits in the inbox.
    fn is_done(&self) -> bool {
        self.inbox().connections() == 0
    }

    /// Hands a connection that has been accepted to a worker that has fewer, or serves it, or
    /// turns it down where there are too many.
    pub(crate) fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.accepted.set(self.accepted.get() + 1);
        let number = self.process.connections.fetch_add(1, Ordering::Relaxed) + 1;
        match self.giver.find_room(&self.process.inboxes, &self.clock) {
            Some(room) => room.fill(Accepted { stream: sys::leave_loop(stream), peer, number }),
            None => {
                self.inbox().note_open();
                let place = Place { worker: Rc::clone(self), number };
                self.begin(stream, peer, place);
            }
        }
    }

    /// Takes over what others have accepted for this worker.
    fn adopt(self: &Rc<Self>, handed_over: Vec<Accepted>) {
        for Accepted { stream, peer, number } in handed_over {
            let place = Place { worker: Rc::clone(self), number };
            // Where epoll takes no more, the connection is closed, as one just accepted is.
            if let Ok(stream) = TcpStream::from_std(stream) {
                self.begin(stream, peer, place);
            }
        }
    }

    fn begin(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        self.counters().note_connection();
        let socket = Socket::new(stream, Rc::clone(self));
        let remote = Remote(peer.ip());
        monoio::spawn(async move {
            let worker = &*place.worker;
            let watch = worker.deadlines().watch(socket.fd());
            let excess = place.number.saturating_sub(worker.process.max_connections);
            let mut session = Session::new(worker, &watch, remote, socket);
            let end = match excess {
                0 => session.run().await,
                1..=TURNED_DOWN_MAX => session.turn_down().await,
                _ => End::TurnedDown,
            };
            worker.counters().note_end(end);
        });
    }
}

/// A connection's place among those of the process and of its worker, where it has been counted;
/// given back when it is dropped.
struct Place {
    worker: Rc<Worker>,
    /// Connections of the process when it was accepted, itself included.
    number: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.process.connections.fetch_sub(1, Ordering::Relaxed);
        self.worker.inbox().note_close();
    }
}

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
    let Adopted { accepting, listener, mut control, control_end, bell } = match adopt(sockets) {
        Ok(adopted) => adopted,
        Err(error) => {
            let _ = start.send(Err(error));
            return true;
        }
    };
    let accept_loop = monoio::spawn(listener::accept(accepting, Rc::clone(&worker)));
    let sweeping = monoio::spawn(sweep(Rc::clone(&worker)));
    let logging = monoio::spawn(write_log(Rc::clone(&worker)));
    if let Some(bell) = bell {
        worker.inbox().open(bell);
    }
    let _ = start.send(Ok(()));

    let order = next_order_but_adopt(&mut control, &worker).await;
    // From now on whoever accepts a connection keeps it.
    worker.adopt(worker.inbox().close());
    if order == Order::Quit {
        worker.quit.set(true);
    }
    worker.phase.set(Phase::Draining);
    let orders = monoio::spawn(quit_on_order(control, Rc::clone(&worker)));
    pause(worker.config().drain_delay, || worker.quit.get()).await;
    let closing = Instant::now();
    if worker.quit.get() {
        listener::close_at_once(&listener, &worker);
    } else {
        listener::close(&listener, &worker).await;
    }
    accept_loop.await;
    drop(listener);

    // The queue of the listener was work in flight too.
    let drain_timeout = worker.config().drain_timeout.saturating_sub(closing.elapsed());
    pause(drain_timeout, || {
        // Again and again: a session may only now have come to its wait.
        worker.deadlines.end_idle();
        worker.is_done() || worker.quit.get()
    })
    .await;
    worker.deadlines.end_all();
    pause(QUIT_TIMEOUT, || worker.is_done()).await;
    pause(LOG_TIMEOUT, || worker.log().is_none_or(AccessLog::flush)).await;
    // The read of the next order would outlive its buffer.
    let _ = control_end.shutdown(Shutdown::Both);
    orders.await;
    worker.ending.announce();
    sweeping.await;
    logging.await;
    worker.is_done()
}

/// The sockets in the hands of the event loop, and a second hand on each.
struct Adopted {
    accepting: TcpListener,
    listener: std::net::TcpListener,
    control: monoio::net::UnixStream,
    control_end: UnixStream,
    bell: Option<UnixStream>,
}

fn adopt(sockets: Sockets) -> io::Result<Adopted> {
    Ok(Adopted {
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
async fn next_order_but_adopt(control: &mut monoio::net::UnixStream, worker: &Rc<Worker>) -> Order {
    loop {
        match next_order(control).await {
            Order::Adopt => worker.adopt(worker.inbox().take()),
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

async fn quit_on_order(mut control: monoio::net::UnixStream, worker: Rc<Worker>) {
    next_order_but_adopt(&mut control, &worker).await;
    worker.quit.set(true);
}

/// Flushes the access log now and then, as long as there is one.
async fn write_log(worker: Rc<Worker>) {
    let Some(log) = worker.log() else { return };
    while !worker.ending.sleep(LOG_PAUSE).await {
        log.flush();
        worker.counters().note_dropped_log_lines(log.take_dropped());
    }
}

async fn sweep(worker: Rc<Worker>) {
    let config = worker.config();
    let shortest = config.header_timeout.min(config.idle_timeout).min(config.stall_timeout);
    worker.deadlines.sweep(&worker.clock, shortest, &worker.ending).await;
}
