//! Owns the start of the workers, and the orders that end them.
//!
//! One attempt starts every worker on one driver. If io_uring is refused to any of them, the
//! attempt is dropped with all its threads, and the next one uses epoll. A worker waits for the
//! others only on a channel whose sender the attempt owns, so dropping the attempt ends every wait.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use heartbeat_protocol::Port;

use crate::admission::Admission;
use crate::config::Config;
use crate::lane::Lane;
use crate::os::event_loop::{self, Driver, EventLoop};
use crate::os::refusal::Refusal;
use crate::os::sys;
use crate::report::{Report, StartError};
use crate::send::arena::Arena;
use crate::send::tier::{self, Choice};
use crate::serve::{self, Sockets};
use crate::shared::{Limits, Shared};
use crate::shutdown::Order;
use crate::turns::Turns;
use crate::worker::Worker;

/// Stack of a worker thread. Sessions live on the heap; the deepest calls are a few kilobytes.
const STACK_BYTES: usize = 256 * 1024;

/// Descriptors of the process itself: standard streams, the files that a scrape reads, and a few
/// for the program that embeds the server.
const DESCRIPTORS_RESERVED: u64 = 8;

/// Descriptors that each worker needs for itself: listener, control socket, rings, epoll sets and
/// pipes.
const DESCRIPTORS_PER_WORKER: u64 = 18;

/// Bytes of memory that a connection is assumed to cost. An idle one costs the memory cgroup 1.7 to
/// 2.9 KB, of which 1.5 to 2.2 KB are the kernel's (socket, file, inode, dentry); one on which a
/// head has begun costs 4.4 KB.
const CONNECTION_BYTES: u64 = 4 * 1024;

/// Connections may take the memory limit divided by this. The rest is for the program, its buffers,
/// and the answers that the kernel holds.
const CONNECTIONS_SHARE: u64 = 2;

/// Connections above the limit that are answered at a time: at most this many, and at most one in
/// eight of those that the descriptors allow. Further ones wait in the listener's queue.
const ABOVE_LIMIT_MAX: usize = 256;
const ABOVE_LIMIT_SHARE: usize = 8;

/// How often [`Threads::join_for`] checks whether the workers have ended.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// How many connections `descriptors` and a memory limit allow.
///
/// # Errors
/// The descriptors allow no connection. A memory limit always allows at least one.
pub(crate) fn limits(
    config: &Config,
    descriptors: u64,
    memory_bytes: Option<u64>,
    threads: usize,
) -> Result<Limits, StartError> {
    let reserved = DESCRIPTORS_RESERVED + DESCRIPTORS_PER_WORKER * threads as u64;
    // A server needs descriptors for one connection, for one above the limit, which is answered
    // with 503, and for one of the admin port, if there is such a port.
    let ports = if config.admin.is_some() { 2 } else { 1 };
    let needed = reserved + 1 + ports as u64;
    if descriptors < needed {
        return Err(StartError::Descriptors { limit: descriptors, needed, threads });
    }
    let left = usize::try_from(descriptors - reserved).unwrap_or(usize::MAX);
    let above_limit_max = (left / ABOVE_LIMIT_SHARE).clamp(1, ABOVE_LIMIT_MAX);
    let affordable = memory_bytes
        .map_or(u64::MAX, |bytes| (bytes / CONNECTIONS_SHARE / CONNECTION_BYTES).max(1));
    let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
    let left = (left - above_limit_max * ports).min(affordable);
    let connections_max = config.max_connections.map_or(left, |asked| asked.min(left));
    Ok(Limits { descriptors, connections_max, above_limit_max })
}

/// Starts a worker on each of `cpus`, with its listeners, and returns once all of them serve.
pub(crate) fn start(
    config: &Config,
    limits: Limits,
    cpus: &[usize],
    listeners: &[Vec<(TcpListener, Port)>],
) -> Result<(Arc<Shared>, Threads), StartError> {
    let attempt = |driver, refusal| attempt(driver, refusal, config, limits, cpus, listeners);
    if let Some(driver) = config.io {
        return attempt(driver, None);
    }
    match attempt(Driver::IoUring, None) {
        Err(StartError::Uring(refusal)) => attempt(Driver::Epoll, Some(refusal)),
        result => result,
    }
}

/// The threads of workers, and the far ends of their control sockets. Dropping this orders the
/// workers that serve to end at once, and waits for every thread.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    handles: Vec<JoinHandle<()>>,
    controls: Vec<Arc<UnixStream>>,
}

impl Threads {
    /// Gives an order to every worker.
    pub(crate) fn order(&self, order: Order) {
        for control in &self.controls {
            order.send(control);
        }
    }

    /// Whether every thread has ended.
    pub(crate) fn are_finished(&self) -> bool {
        self.handles.iter().all(JoinHandle::is_finished)
    }

    /// Waits until every thread has ended.
    pub(crate) fn join(&mut self) {
        for handle in self.handles.drain(..) {
            // With `panic = "abort"`, as the binary has it, a worker that panics ends the process.
            let _ = handle.join();
        }
    }

    /// Waits up to `timeout` until every thread has ended, and returns whether they have. Those
    /// that have not are detached.
    pub(crate) fn join_for(mut self, timeout: Duration) -> bool {
        let start = Instant::now();
        while !self.are_finished() {
            if start.elapsed() >= timeout {
                self.handles.clear();
                return false;
            }
            thread::sleep(JOIN_POLL);
        }
        true
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.order(Order::Quit);
        self.join();
    }
}

/// Worker threads that do not serve yet.
#[derive(Default)]
struct Attempt {
    /// A worker takes its next step when it receives a message, and ends when its sender is
    /// dropped. Declared before `threads`, so that the senders are dropped before the threads are
    /// joined.
    steps: Vec<Sender<Option<Arc<Shared>>>>,
    threads: Threads,
}

/// What a worker reports after each of its three steps: the event loop and the lane have been built;
/// how it will send large answers; it serves. Only the second report has a choice.
type Progress = Result<Option<Choice>, StartError>;

/// Starts all workers on `driver`. `refusal` is why io_uring was refused, if it was tried before.
fn attempt(
    driver: Driver,
    refusal: Option<Refusal>,
    config: &Config,
    limits: Limits,
    cpus: &[usize],
    listeners: &[Vec<(TcpListener, Port)>],
) -> Result<(Arc<Shared>, Threads), StartError> {
    let (progress, reports) = channel();
    let mut attempt = Attempt::default();
    for (index, (cpu, listeners)) in cpus.iter().copied().zip(listeners).enumerate() {
        let sockets = sockets(driver, listeners)?;
        attempt.threads.controls.push(Arc::clone(&sockets.near));
        let (step, steps) = channel();
        attempt.steps.push(step);
        let (config, progress) = (config.clone(), progress.clone());
        let handle = thread::Builder::new()
            .name(format!("worker-{index}"))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Err(error) =
                    run_worker(driver, cpu, index, &config, sockets, &steps, &progress)
                {
                    let _ = progress.send(Err(error));
                }
            })
            .map_err(Refusal::of(sys::THREAD_CALLS))?;
        attempt.threads.handles.push(handle);
    }
    drop(progress);

    // Every event loop is built before any buffer is registered. So if RLIMIT_MEMLOCK is too low,
    // some workers have no registered buffers, but every worker has an event loop.
    for _ in cpus {
        next(&reports)?;
    }
    attempt.step(None);
    let choices = cpus.iter().map(|_| next(&reports)).collect::<Result<Vec<_>, _>>()?;
    let choice = choices.into_iter().flatten().reduce(Choice::weaker).ok_or(StartError::Worker)?;
    let asked = config.max_connections;
    let report = Report {
        threads: cpus.len(),
        driver,
        driver_reason: match (driver, &refusal) {
            (Driver::IoUring, _) => event_loop::RING_FLAGS,
            (Driver::Epoll, Some(_)) => "io_uring refused",
            (Driver::Epoll, None) => "as configured",
        },
        refusal,
        send: choice.tier,
        send_reason: choice.reason,
        max_connections: limits.connections_max,
        max_connections_refused: asked.filter(|asked| *asked > limits.connections_max),
    };
    let shared = Arc::new(Shared::new(config.clone(), report, limits)?);
    attempt.step(Some(&shared));
    for _ in cpus {
        next(&reports)?;
    }
    Ok((shared, attempt.threads))
}

impl Attempt {
    fn step(&self, shared: Option<&Arc<Shared>>) {
        for step in &self.steps {
            // A worker that has ended has reported why.
            let _ = step.send(shared.cloned());
        }
    }
}

/// The next report of any worker: all workers take the same step.
fn next(reports: &Receiver<Progress>) -> Progress {
    reports.recv().unwrap_or(Err(StartError::Worker))
}

/// The sockets of a worker.
fn sockets(driver: Driver, listeners: &[(TcpListener, Port)]) -> Result<Sockets, Refusal> {
    let (near, control) = UnixStream::pair().map_err(Refusal::of("socketpair"))?;
    let duplicate = |(listener, port): &(TcpListener, Port)| {
        let listener = listener.try_clone().map_err(Refusal::of("fcntl"))?;
        // The accept loop waits for readiness, whatever the driver.
        listener.set_nonblocking(true).map_err(Refusal::of("ioctl"))?;
        Ok((listener, *port))
    };
    let listeners = listeners.iter().map(duplicate).collect::<Result<_, Refusal>>()?;
    // epoll needs a non-blocking socket. With one, io_uring would report EAGAIN instead of waiting.
    control.set_nonblocking(driver == Driver::Epoll).map_err(Refusal::of("ioctl"))?;
    Ok(Sockets { listeners, control, near: Arc::new(near) })
}

/// Runs in the thread of a worker.
fn run_worker(
    driver: Driver,
    cpu: usize,
    index: usize,
    config: &Config,
    sockets: Sockets,
    steps: &Receiver<Option<Arc<Shared>>>,
    progress: &Sender<Progress>,
) -> Result<(), StartError> {
    // The CPU may have gone offline meanwhile. A worker that is not pinned serves as well.
    let _ = sys::pin_thread(cpu);
    let (mut event_loop, lane) = build(driver).map_err(|refusal| match driver {
        Driver::IoUring => StartError::Uring(refusal),
        Driver::Epoll => StartError::System(refusal),
    })?;
    let _ = progress.send(Ok(None));
    let Ok(None) = steps.recv() else { return Ok(()) };

    let arena = Arena::new().map_err(Refusal::of("mmap"))?;
    let (means, choice) = tier::build(config.send, &arena, driver);
    let _ = progress.send(Ok(Some(choice)));
    let Ok(Some(shared)) = steps.recv() else { return Ok(()) };

    let turns = Turns::new(Some(Arc::clone(&sockets.near)));
    let worker = Rc::new(Worker::new(shared, index, arena, means, turns));
    let admission = Rc::new(Admission::new(Rc::clone(&worker), lane));
    let started = || drop(progress.send(Ok(None)));
    let serving = serve::serve(worker, Rc::clone(&admission), sockets, started);
    let is_done = event_loop.block_on(serving)?;
    if !is_done {
        // They are leaked, because the kernel may still write to the buffers of operations in
        // flight.
        std::mem::forget((event_loop, admission));
    }
    Ok(())
}

/// The event loop of a worker, and its lane.
fn build(driver: Driver) -> Result<(EventLoop, Lane), Refusal> {
    let event_loop = match driver {
        Driver::IoUring => event_loop::build_uring()?,
        Driver::Epoll => event_loop::build_epoll()?,
    };
    Ok((event_loop, Lane::new(driver)?))
}

#[cfg(test)]
mod tests {
    use heartbeat_protocol::Site;

    use super::*;
    use crate::config::Admin;

    #[test]
    fn the_smaller_of_descriptors_and_memory_limits_connections() {
        let config = Config::new(Site::new("/heartbeat/", 1, 1).unwrap());
        let max = |asked, descriptors, memory_bytes| {
            let config = Config { max_connections: asked, ..config.clone() };
            limits(&config, descriptors, memory_bytes, 1).unwrap().connections_max
        };
        let by_descriptors = max(None, 20_000, None);
        assert!((19_000..20_000).contains(&by_descriptors));
        assert_eq!(max(None, 20_000, Some(32 << 20)), 4096);
        assert_eq!(max(None, 20_000, Some(1 << 40)), by_descriptors);
        assert_eq!(max(None, 20_000, Some(1)), 1);
        assert_eq!(max(Some(10), 20_000, Some(32 << 20)), 10);
        assert_eq!(max(Some(100_000), 20_000, Some(32 << 20)), 4096);
    }

    #[test]
    fn the_admin_port_has_places_of_its_own() {
        let mut config = Config::new(Site::new("/heartbeat/", 1, 1).unwrap());
        let least = |config: &Config| {
            let is_enough = |descriptors: &u64| limits(config, *descriptors, None, 1).is_ok();
            let least = (0..100).find(is_enough).unwrap();
            (least, limits(config, least, None, 1).unwrap().connections_max)
        };
        let (without, max) = least(&config);
        assert_eq!(max, 1);
        config.admin = Some(Admin { port: 0, address: None });
        assert_eq!(least(&config), (without + 1, 1));
    }
}
