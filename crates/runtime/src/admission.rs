//! Owns the way of a connection through its worker: it is accepted, handed over or kept, moves into
//! the lane, into a session and back, and is counted until it closes.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use heartbeat_protocol::Door;

use crate::connection::dialogue::Dialogue;
use crate::connection::session::{Outcome, Session, Start};
use crate::connection::socket::Socket;
use crate::handover::{Accepted, Rank};
use crate::lane::{Client, Departure, Lane};
use crate::os::sys;
use crate::place::{self, Place};
use crate::shutdown::Stage;
use crate::turns::Turn;
use crate::worker::Worker;

/// Tasks without a connection that are kept for the next session, so that a session allocates no
/// task of its own.
const SPARE_TASKS_MAX: usize = 64;

/// The connections of one worker.
pub(crate) struct Admission {
    worker: Rc<Worker>,
    lane: Option<Lane>,
    spare_tasks: RefCell<Vec<Rc<SpareTask>>>,
}

/// A task that waits for its next session.
#[derive(Default)]
struct SpareTask {
    departure: RefCell<Option<Departure>>,
    waker: RefCell<Option<Waker>>,
}

impl Admission {
    /// The connections of `worker`, without a lane if there is none: then each has a task.
    pub(crate) fn new(worker: Rc<Worker>, lane: Option<Lane>) -> Self {
        Self { worker, lane, spare_tasks: RefCell::default() }
    }

    /// Hands a connection that has been accepted over to a worker that has fewer, or keeps it.
    pub(crate) fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let worker = &self.worker;
        let rank = place::rank(worker);
        match worker.balance().find_vacancy(&worker.shared().inboxes, worker.clock()) {
            Some(vacancy) => vacancy.fill(Accepted { stream, peer, rank }),
            None => {
                worker.inbox().note_open();
                self.begin(stream, peer, Door::Main, rank);
            }
        }
    }

    /// Keeps a connection that has been accepted on the admin port. It is not among those that the
    /// limit counts, so that operators can look at a server that is full.
    pub(crate) fn admit_operator(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        self.worker.inbox().note_open();
        self.begin(stream, peer, Door::Admin, place::rank_operator(&self.worker));
    }

    /// Whether another connection can be accepted: if it were above the limit, it could be told so.
    /// If not, those that are being told so are hurried.
    pub(crate) fn make_room(&self) -> bool {
        place::make_room_above(&self.worker)
    }

    /// Whether another connection can be accepted on the admin port.
    pub(crate) fn has_room_for_operator(&self) -> bool {
        place::has_room_for_operator(&self.worker)
    }

    /// Takes over the connections that other workers have accepted for this one.
    pub(crate) fn take_over(self: &Rc<Self>, handed_over: Vec<Accepted>) {
        for Accepted { stream, peer, rank } in handed_over {
            self.begin(stream, peer, Door::Main, rank);
        }
    }

    fn begin(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, door: Door, rank: Rank) {
        self.worker.counters().note_connection();
        let place = Place::new(&self.worker, rank, stream.as_raw_fd());
        let client = Client { stream, remote: peer.ip(), door, is_fresh: true, place };
        match &self.lane {
            Some(lane) if !client.is_restricted() => lane.insert(&self.worker, client),
            _ => self.start(Departure::Serve(client, Start::default())),
        }
    }

    /// Runs the lane until [`Admission::end`]. `ready` becomes readable with it.
    pub(crate) async fn run_lane(self: Rc<Self>, ready: monoio::net::UnixStream) {
        let Some(lane) = &self.lane else { return };
        let mut turn = Turn::default();
        while !self.is_over() {
            let mut readable = pin!(ready.readable(false));
            let mut is_readable = false;
            while !is_readable && !self.is_over() {
                while !lane.turn(&self.worker, &mut |departure| self.start(departure)) {
                    if turn.is_over() {
                        self.worker.turns().give_way().await;
                        turn.restart();
                    }
                }
                is_readable = poll_fn(|context| {
                    if lane.poll_dirty(context.waker()).is_ready() || self.is_over() {
                        return Poll::Ready(false);
                    }
                    let polled = readable.as_mut().poll(context).map(|_| true);
                    if polled.is_pending() {
                        turn.restart();
                    }
                    polled
                })
                .await;
                if turn.is_over() {
                    self.worker.turns().give_way().await;
                    turn.restart();
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.worker.life().has_reached(Stage::Over)
    }

    /// Ends the tasks that wait for a connection: the worker is over.
    pub(crate) fn end(&self) {
        if let Some(lane) = &self.lane {
            lane.wake();
        }
        for task in self.spare_tasks.borrow_mut().drain(..) {
            task.wake();
        }
    }

    /// The descriptor that is readable when the lane has something to do.
    pub(crate) fn lane_descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.lane.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Gives a connection a task.
    fn start(self: &Rc<Self>, departure: Departure) {
        if let Some(task) = self.spare_tasks.borrow_mut().pop() {
            *task.departure.borrow_mut() = Some(departure);
            return task.wake();
        }
        monoio::spawn(Rc::clone(self).run_task(departure));
    }

    /// Serves one connection after the other.
    async fn run_task(self: Rc<Self>, first: Departure) {
        let task = Rc::new(SpareTask::default());
        let mut next = Some(first);
        while let Some(departure) = next.take() {
            if let Some(client) = serve(departure).await
                && let Some(lane) = &self.lane
            {
                lane.insert(&self.worker, client);
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

/// Serves a connection in a session. Some if it is idle afterwards.
async fn serve(departure: Departure) -> Option<Client> {
    let (client, start, closing) = match departure {
        Departure::Serve(client, start) => (client, start, None),
        Departure::Close(client, end) => (client, Start::default(), Some(end)),
    };
    let is_restricted = client.is_restricted();
    let Client { stream, remote, door, is_fresh, place } = client;
    let worker = Rc::clone(place.worker());
    let socket = Socket::new(stream, Rc::clone(&worker));
    let dialogue = Dialogue::new(&worker, remote, door, is_fresh);
    let watch = worker.deadlines().watch(place.watch());
    let mut session = Session::new(&worker, watch, dialogue, socket);
    let outcome = match closing {
        Some(end) => Outcome::Over(session.close(end).await),
        None if is_restricted => Outcome::Over(session.turn_down().await),
        None => session.run(start).await,
    };
    let socket = session.into_stream();
    match outcome {
        Outcome::Idle => {
            let stream = socket.into_stream()?;
            Some(Client { stream, remote, door, is_fresh: false, place })
        }
        Outcome::Over(end) => {
            worker.note_end(place.watch(), end);
            // The place names the socket, so it goes first.
            drop(place);
            None
        }
    }
}

/// Makes an event loop watch a descriptor that is not its own.
///
/// # Errors
/// Those of fcntl(2) and epoll_ctl(2).
pub(crate) fn watch(descriptor: std::os::fd::RawFd) -> std::io::Result<monoio::net::UnixStream> {
    monoio::net::UnixStream::from_std(sys::duplicate(descriptor)?)
}
