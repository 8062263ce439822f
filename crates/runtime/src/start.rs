//! Owns the start of the workers, and the ends by which they are told to stop.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::config::{Config, Io, SendTier};
use crate::os::driver::{self, Driver, Refusal};
use crate::os::sys;
use crate::report::{Report, StartError};
use crate::send::arena::Arena;
use crate::send::tier::{self, Means, Tiers};
use crate::serve::{self, Sockets};
use crate::shared::Shared;
use crate::shutdown::Order;
use crate::worker::Worker;

/// Stack of a worker thread. Sessions live on the heap; the deepest calls are a few kilobytes.
const STACK_BYTES: usize = 256 * 1024;

/// Descriptors kept back from the connections: rings, listeners, control sockets, standard
/// streams, and a few for the process around.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors that each worker needs for itself.
const DESCRIPTORS_PER_WORKER: u64 = 12;

/// Starts a worker on each of `cpus`, and returns once all of them serve.
pub(crate) fn start(
    config: Config,
    descriptors: u64,
    cpus: &[usize],
    listeners: Vec<std::net::TcpListener>,
) -> Result<Workers, StartError> {
    let starting = Starting::new(&config, cpus)?;
    let report = starting.choose(&config, descriptors)?;
    let shared = Arc::new(Shared::new(config, &report, descriptors));
    starting.serve(shared, report, listeners)
}

/// The workers of a server. Dropping them ends them at once.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) report: Report,
    shared: Arc<Shared>,
    controls: Vec<UnixStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Begins the drain; a second call ends them at once.
    pub(crate) fn stop(&self) {
        let was_ready = self.shared.ready.swap(false, Ordering::Relaxed);
        self.give(if was_ready { Order::Drain } else { Order::Quit });
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    pub(crate) fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A worker that panics ends the process.
            let _ = thread.join();
        }
    }

    /// Makes the control socket of the next worker, which gets the far end.
    fn control(&mut self, listener: std::net::TcpListener) -> io::Result<Sockets> {
        let (near, control) = UnixStream::pair()?;
        let has_others = self.report.threads > 1;
        let bell = if has_others { Some(near.try_clone()?) } else { None };
        self.controls.push(near);
        Ok(Sockets { listener, control, bell })
    }

    fn give(&self, order: Order) {
        for mut control in &self.controls {
            // A worker that has ended has closed its side.
            let _ = control.write_all(&[order.to_byte()]);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.ready.store(false, Ordering::Relaxed);
        self.give(Order::Quit);
        self.join();
    }
}

/// Workers between their threads' start and their first connection: each has built what the
/// kernel lets it have, and waits to hear what is used.
struct Starting {
    threads: Vec<JoinHandle<()>>,
    plans: Vec<Sender<Plan>>,
    builds: Receiver<Build>,
    starts: Receiver<io::Result<()>>,
}

/// What a worker could build: its ring's flags, where io_uring was wanted at all.
struct Build {
    uring: Option<Result<&'static str, Refusal>>,
    tiers: io::Result<Tiers>,
}

/// What a worker is told once the choice has been made.
struct Plan {
    shared: Arc<Shared>,
    use_uring: bool,
    sockets: Sockets,
}

impl Starting {
    fn new(config: &Config, cpus: &[usize]) -> Result<Self, StartError> {
        let (build, builds) = channel();
        let (start, starts) = channel();
        let (ring_built, rings_built) = channel();
        let mut gates = Vec::new();
        let mut starting = Self { threads: Vec::new(), plans: Vec::new(), builds, starts };
        for (index, cpu) in cpus.iter().copied().enumerate() {
            let (plan, plans) = channel();
            let (gate, all_rings_built) = channel();
            gates.push(gate);
            let (build, start) = (build.clone(), start.clone());
            let ring_built = ring_built.clone();
            let lines = Lines { index, ring_built, all_rings_built, build, plans, start };
            let (io, send) = (config.io, config.send);
            let thread = thread::Builder::new()
                .name(format!("worker-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || run_worker(cpu, io, send, &lines))
                .map_err(|error| StartError::System("cannot start a thread", error))?;
            starting.threads.push(thread);
            starting.plans.push(plan);
        }
        for _ in cpus {
            // A worker that is gone is told by its missing build.
            let _ = rings_built.recv();
        }
        // Also where it has failed above: a gate that is dropped is open.
        drop(gates);
        Ok(starting)
    }

    /// One choice for all workers: io_uring where every one of them has built its ring.
    fn choose(&self, config: &Config, descriptors: u64) -> Result<Report, StartError> {
        let workers = self.threads.len();
        let reserved = DESCRIPTORS_RESERVED + DESCRIPTORS_PER_WORKER * workers as u64;
        let room = usize::try_from(descriptors.saturating_sub(reserved)).unwrap_or(usize::MAX);
        let mut report = Report {
            threads: workers,
            driver: "epoll",
            driver_reason: "asked for".to_string(),
            refusal: None,
            send: "copy",
            send_reason: String::new(),
            max_connections: config.max_connections.unwrap_or(room).max(1),
        };
        let mut least: Option<Tiers> = None;
        for _ in 0..workers {
            let build = self
                .builds
                .recv()
                .map_err(|_| StartError::System("cannot set up a worker", gone()))?;
            match build.uring {
                None => {}
                Some(Ok(flags)) if report.refusal.is_none() => {
                    report.driver = "io_uring";
                    report.driver_reason = flags.to_string();
                }
                Some(Ok(_)) => {}
                Some(Err(refusal)) if config.io == Io::Uring => {
                    return Err(StartError::Uring(refusal));
                }
                Some(Err(refusal)) => {
                    report.driver = "epoll";
                    report.driver_reason = refusal.to_string();
                    report.refusal = Some(refusal);
                }
            }
            let tiers = build
                .tiers
                .map_err(|error| StartError::System("cannot map the payload block", error))?;
            // RLIMIT_MEMLOCK may have room for some workers: what all of them have is told.
            least = Some(match least {
                None => tiers,
                Some(least) => tiers.lesser(least),
            });
        }
        if let Some(Tiers { uring, epoll }) = least {
            let tier = if report.driver == "io_uring" { uring } else { epoll };
            report.send = tier.name;
            report.send_reason = tier.reason;
        }
        Ok(report)
    }

    fn serve(
        self,
        shared: Arc<Shared>,
        report: Report,
        listeners: Vec<std::net::TcpListener>,
    ) -> Result<Workers, StartError> {
        let use_uring = report.driver == "io_uring";
        let mut workers = Workers { report, shared, controls: Vec::new(), threads: self.threads };
        for (plan, listener) in self.plans.iter().zip(listeners) {
            let sockets = workers
                .control(listener)
                .map_err(|error| StartError::System("cannot make a socket pair", error))?;
            let shared = Arc::clone(&workers.shared);
            // A worker that is gone is told by its missing start.
            let _ = plan.send(Plan { shared, use_uring, sockets });
        }
        for _ in &workers.threads {
            self.starts
                .recv()
                .unwrap_or_else(|_| Err(gone()))
                .map_err(|error| StartError::System("cannot start a worker", error))?;
        }
        Ok(workers)
    }
}

fn gone() -> io::Error {
    io::Error::other("it ended early")
}

/// How a worker's thread talks to [`Starting`].
struct Lines {
    index: usize,
    ring_built: Sender<()>,
    /// Hears the end of it, and nothing else.
    all_rings_built: Receiver<()>,
    build: Sender<Build>,
    plans: Receiver<Plan>,
    start: Sender<io::Result<()>>,
}

/// The life of a worker's thread.
fn run_worker(cpu: usize, io: Io, send: SendTier, lines: &Lines) {
    // A CPU may have gone offline since; an unpinned loop serves as well.
    let _ = sys::pin_thread(cpu);
    let uring = (io != Io::Epoll).then(driver::build_uring);
    // Event loops first: where RLIMIT_MEMLOCK has not room for everything, it is the registered
    // buffers of some workers that are missing, and not the event loop of one.
    let _ = lines.ring_built.send(());
    let _ = lines.all_rings_built.recv();
    let arena = Arena::new();
    let (mut means, tiers) = match &arena {
        Ok(arena) => {
            let (means, tiers) = tier::build(send, arena, matches!(uring, Some(Ok(_))));
            (means, Ok(tiers))
        }
        Err(error) => (Means::default(), Err(io::Error::from(error.kind()))),
    };
    let told = uring.as_ref().map(|built| built.as_ref().map(|(_, flags)| *flags));
    let told = told.map(|built| built.map_err(|refusal| *refusal));
    let _ = lines.build.send(Build { uring: told, tiers });
    // Where the start is given up, no plan comes.
    let (Ok(arena), Ok(plan)) = (arena, lines.plans.recv()) else { return };
    let driver = match uring {
        Some(Ok((driver, _))) if plan.use_uring => Ok(driver),
        _ => {
            means.ring = None;
            driver::build_epoll()
        }
    };
    let worker = Rc::new(Worker::new(plan.shared, lines.index, arena, means));
    let is_epoll = matches!(driver, Ok(Driver::Epoll(_)));
    let driver = plan.sockets.set_nonblocking(is_epoll).and(driver);
    match driver {
        Ok(driver) => run_loop(driver, worker, plan.sockets, &lines.start),
        Err(error) => drop(lines.start.send(Err(error))),
    }
}

fn run_loop(driver: Driver, worker: Rc<Worker>, sockets: Sockets, start: &Sender<io::Result<()>>) {
    let serving = serve::serve(worker, sockets, start);
    let (all_over, driver) = match driver {
        Driver::Uring(mut runtime) => (runtime.block_on(serving), Driver::Uring(runtime)),
        Driver::Epoll(mut runtime) => (runtime.block_on(serving), Driver::Epoll(runtime)),
    };
    if !all_over {
        // The kernel may still write to the buffers of operations in flight.
        std::mem::forget(driver);
    }
}
