//! Owns the way of a connection through its worker: the connection is accepted, handed over or
//! kept, moves between the lane and sessions, and is counted until it closes.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use heartbeat_protocol::Port;

use crate::connection::dialogue::Dialogue;
use crate::connection::session::{Session, Start};
use crate::connection::socket::{Socket, Stream};
use crate::handover::Accepted;
use crate::lane::{Client, Departure, Lane};
use crate::place::{self, Place};
use crate::shutdown::Stage;
use crate::turns::Turn;
use crate::worker::Worker;

/// The most tasks without a connection that are kept for later sessions, so that a session
/// allocates no task.
const SPARE_TASKS_MAX: usize = 64;

/// The connections of one worker.
pub(crate) struct Admission {
    worker: Rc<Worker>,
    lane: Lane,
    spare_tasks: RefCell<Vec<Rc<SpareTask>>>,
}

/// A task that waits for its next session.
#[derive(Default)]
struct SpareTask {
    departure: RefCell<Option<Departure>>,
    waker: RefCell<Option<Waker>>,
}

impl Admission {
    pub(crate) fn new(worker: Rc<Worker>, lane: Lane) -> Self {
        Self { worker, lane, spare_tasks: RefCell::default() }
    }

    /// Hands an accepted connection over to a worker that has fewer connections, or keeps it. A
    /// connection of the admin port always stays, because only one worker has that port.
    pub(crate) fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, port: Port) {
        let worker = &self.worker;
        let rank = place::rank(worker, port);
        let accepted = Accepted { stream, peer, rank };
        let stays = match port {
            Port::Main => worker.balance.hand_over(&worker.shared.inboxes, &worker.clock, accepted),
            Port::Admin => Some(accepted),
        };
        if let Some(accepted) = stays {
            worker.inbox().note_open();
            self.begin(accepted, port);
        }
    }

    /// Takes over the connections that other workers have accepted for this one.
    pub(crate) fn take_over(self: &Rc<Self>, handed_over: Vec<Accepted>) {
        for accepted in handed_over {
            self.begin(accepted, Port::Main);
        }
    }

    fn begin(self: &Rc<Self>, accepted: Accepted, port: Port) {
        let Accepted { stream, peer, rank } = accepted;
        self.worker.counters().connections.add(1);
        let place = Place::new(&self.worker, rank, stream.as_raw_fd());
        let (remote, registration) = (peer.ip(), None);
        let client = Client { place, registration, stream, remote, port, is_fresh: true };
        if client.is_restricted() {
            self.start(Departure { client, start: Start::default() });
        } else {
            self.lane.insert(&self.worker, client);
        }
    }

    /// Runs the lane until [`Admission::end`]. `ready` becomes readable with it.
    pub(crate) async fn run_lane(self: Rc<Self>, ready: monoio::net::UnixStream) {
        let lane = &self.lane;
        let mut turn = Turn::default();
        while !self.is_over() {
            let mut readable = pin!(ready.readable(false));
            let mut is_readable = false;
            while !is_readable && !self.is_over() {
                if lane.turn(&self.worker, &mut turn, &mut |departure| self.start(departure)) {
                    let mut has_waited = false;
                    is_readable = poll_fn(|context| {
                        if lane.poll_dirty(context.waker()).is_ready() || self.is_over() {
                            return Poll::Ready(false);
                        }
                        // A wake-up is enough, because the next turn asks the lane itself. On
                        // epoll, monoio would ask the kernel once more, by a poll(2).
                        if has_waited {
                            return Poll::Ready(true);
                        }
                        has_waited = true;
                        let polled = readable.as_mut().poll(context).map(|_| true);
                        if polled.is_pending() {
                            turn.restart();
                        }
                        polled
                    })
                    .await;
                }
                if turn.is_over() {
                    self.worker.turns.give_way().await;
                    turn.restart();
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.worker.life.has_reached(Stage::Over)
    }

    /// Wakes the tasks that wait for a connection, so that they end: the worker is over.
    pub(crate) fn end(&self) {
        self.lane.wake();
        for task in self.spare_tasks.borrow_mut().drain(..) {
            task.wake();
        }
    }

    /// The descriptor that is readable when the lane has something to do.
    pub(crate) fn lane_descriptor(&self) -> RawFd {
        self.lane.descriptor()
    }

    /// Serves a connection in a spare task, or in a new one if there is none.
    fn start(self: &Rc<Self>, departure: Departure) {
        if let Some(task) = self.spare_tasks.borrow_mut().pop() {
            *task.departure.borrow_mut() = Some(departure);
            return task.wake();
        }
        monoio::spawn(Rc::clone(self).run_task(departure));
    }

    /// Runs a task: it serves one connection after the other.
    async fn run_task(self: Rc<Self>, first: Departure) {
        let task = Rc::new(SpareTask::default());
        let mut next = Some(first);
        while let Some(departure) = next.take() {
            if let Some(client) = serve(departure).await {
                self.lane.insert(&self.worker, client);
            }
            if self.is_over() || self.spare_tasks.borrow().len() >= SPARE_TASKS_MAX {
                return;
            }
            self.spare_tasks.borrow_mut().push(Rc::clone(&task));
            next = poll_fn(|context| {
                let departure = task.departure.borrow_mut().take();
                if departure.is_some() || self.is_over() {
                    return Poll::Ready(departure);
                }
                *task.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            })
            .await;
        }
    }
}

impl SpareTask {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Serves a connection in a session. Returns Some if the connection is idle afterwards.
async fn serve(departure: Departure) -> Option<Client> {
    let Departure { client, start } = departure;
    let is_restricted = client.is_restricted();
    let Client { place, registration, stream, remote, port, is_fresh } = client;
    let worker = Rc::clone(&place.worker);
    let socket = Socket::new(stream, registration, Rc::clone(&worker));
    let dialogue = Dialogue::new(&worker, remote, port, is_fresh);
    let mut session = Session::new(&worker, place.watch, dialogue, socket);
    let result = match is_restricted {
        true => Err(session.turn_down().await),
        false => session.run(start).await,
    };
    let socket = session.into_stream();
    let Err(end) = result else {
        let (stream, registration) = socket.into_stream()?;
        return Some(Client { place, registration, stream, remote, port, is_fresh: false });
    };
    // The number of a socket that the event loop has refused may already be another's.
    match socket.fd() {
        Some(_) => worker.note_end(place.watch, end),
        None => worker.counters().note_end(end),
    }
    // The place names the socket by number, so it is dropped before the socket is closed.
    drop(place);
    None
}
