//! Sends the requests. There is one worker per connection; it waits until its next request is due,
//! sends it, reads the answer, and counts the result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::addresses::{Endpoint, shared_out};
use super::alarm::Alarm;
use super::schedule::{Schedule, Ticket};
use super::tally::{Sample, Tally};
use super::target::Turn;
use super::time_limit::TimeLimit;
use crate::client::{Answer, ClientError, Connection, Phases, Target};
use crate::fault::Fault;

/// The state that all workers share. They run on one thread, so no worker ever waits for a lock.
pub(crate) struct Drive {
    pub(crate) servers: Vec<Target>,
    /// The addresses of all servers.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) turns: Vec<Turn>,
    /// How many connections there are; each has one worker.
    pub(crate) workers: usize,
    pub(crate) keep_alive: bool,
    pub(crate) timeout: Duration,
    /// Whether requests are due at fixed times.
    pub(crate) is_open: bool,
    pub(crate) start: Instant,
    pub(crate) schedule: Mutex<Schedule>,
    pub(crate) tally: Mutex<Tally>,
    /// The worker that holds the lock sends next; the other idle workers queue for it.
    pub(crate) alarm: tokio::sync::Mutex<Alarm>,
    /// How many requests that count have been sent and not been answered.
    pub(crate) under_way: AtomicU64,
    /// True as soon as no more requests will be sent.
    pub(crate) stopped: watch::Sender<bool>,
}

/// The pause after a lost answer in a closed loop. Without it the load would try to connect to an
/// unreachable server as fast as the machine can and fill the socket tables.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Sends requests until the schedule has none left.
///
/// # Errors
///
/// The error of the system timer, if it fails.
pub(crate) async fn work(drive: Arc<Drive>, worker: usize) -> std::io::Result<()> {
    let mut stopped = drive.stopped.subscribe();
    let mut limit = TimeLimit::new(drive.timeout);
    let mut connections: Vec<_> =
        (0..drive.servers.len()).map(|server| drive.connections(server, worker)).collect();
    loop {
        let next = match drive.is_open {
            false => drive.take(),
            true => drive.next(&mut stopped).await?,
        };
        let Some(ticket) = next else { return Ok(()) };
        let lost = drive.perform(ticket, &mut connections, &mut limit).await;
        if lost && !drive.is_open {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }
}

/// The connections of a worker to one server, one for each address that this worker uses.
struct Connections {
    ways: Vec<Way>,
    /// The index of the address that is next.
    next: usize,
}

struct Way {
    /// An index into `Drive::endpoints`.
    endpoint: usize,
    connection: Option<Connection>,
}

impl Connections {
    /// Returns the next address; the addresses take turns.
    fn turn(&mut self) -> &mut Way {
        let at = self.next;
        self.next = (at + 1) % self.ways.len();
        &mut self.ways[at]
    }
}

impl Drive {
    /// Ends the load. An early stop cancels the requests that are not yet due; requests that have
    /// been sent continue.
    pub(crate) fn stop(&self, early: bool) {
        if early {
            locked(&self.schedule).stop(self.start.elapsed());
        }
        self.stopped.send_replace(true);
    }

    fn connections(&self, server: usize, worker: usize) -> Connections {
        let of_server = |at: &usize| self.endpoints[*at].server == server;
        let endpoints: Vec<_> = (0..self.endpoints.len()).filter(of_server).collect();
        let mine = shared_out(worker, self.workers, endpoints.len()).into_iter();
        let way = |at| Way { endpoint: endpoints[at], connection: None };
        Connections { ways: mine.map(way).collect(), next: 0 }
    }

    fn take(&self) -> Option<Ticket> {
        locked(&self.schedule).take(self.start.elapsed())
    }

    /// Waits until the next request is due. Returns `None` if there are no more, or after an early
    /// stop.
    async fn next(&self, stopped: &mut watch::Receiver<bool>) -> std::io::Result<Option<Ticket>> {
        let mut alarm = self.alarm.lock().await;
        let Some(ticket) = self.take() else { return Ok(None) };
        tokio::select! {
            biased;
            rung = alarm.until(self.start + ticket.due) => rung.map(|()| Some(ticket)),
            _ = stopped.wait_for(|stopped| *stopped) => Ok(None),
        }
    }

    /// Sends one request and counts it. Returns whether its answer was lost.
    async fn perform(
        &self,
        ticket: Ticket,
        connections: &mut [Connections],
        limit: &mut TimeLimit,
    ) -> bool {
        let count = self.turns.len() as u64;
        // Less than the number of turns, which is a usize.
        let target = (ticket.number % count) as usize;
        let turn = &self.turns[target];
        let now = Instant::now();
        let began = now - self.start;
        self.under_way.fetch_add(u64::from(ticket.counts), Ordering::Relaxed);
        let mut sink = turn.expected.sink();
        let mut phases = Phases::default();
        let way = connections[turn.server].turn();
        let address = way.endpoint;
        let asking = self.ask(turn, way, &mut sink, &mut phases);
        let answer = limit.keep(now, asking).await;
        let answer = answer.unwrap_or(Err(ClientError::Timeout(self.timeout)));
        let ended = self.start.elapsed();
        self.under_way.fetch_sub(u64::from(ticket.counts), Ordering::Relaxed);
        if answer.is_err() || !self.keep_alive {
            // A connection whose answer is incomplete cannot be reused.
            way.connection = None;
        }
        let lost = answer.is_err();
        let mut sample = Sample {
            ticket,
            target,
            address,
            began,
            ended,
            first_byte: None,
            transfer: None,
            connect: phases.opening.ready,
            path: phases.path,
            status: None,
            sent: 0,
            received: 0,
            fault: None,
        };
        match answer {
            Ok(answer) => {
                sample.fault = turn
                    .expected
                    .judge(&answer, &sink, ended.saturating_sub(began))
                    .map(|(fault, text)| (fault, format!("{text} ({})", turn.url)));
                sample.first_byte = phases.first_byte;
                sample.transfer = phases.transfer;
                sample.status = Some(answer.status.as_u16());
                // A server may answer before it has read the whole body; the rest is not sent then.
                sample.sent = turn.request.body_length().min(answer.bytes_sent);
                sample.received = answer.body_length;
            }
            Err(error) => {
                sample.fault = Some((Fault::from(&error), format!("{error} ({})", turn.url)));
            }
        }
        locked(&self.tally).add(sample);
        lost
    }

    /// Sends the request on the open connection, or on a new one if there is none.
    async fn ask(
        &self,
        turn: &Turn,
        way: &mut Way,
        sink: &mut super::target::Sink,
        phases: &mut Phases,
    ) -> Result<Answer, ClientError> {
        if let Some(open) = &mut way.connection
            && open.is_reusable().await
        {
            match open.request(&turn.request, sink, phases).await {
                // The server has ended the connection, perhaps before the request reached it.
                Err(error)
                    if error.is_go_away()
                        && phases.first_byte.is_none()
                        && turn.request.is_idempotent() => {}
                result => return result,
            }
        }
        let server = &self.servers[turn.server];
        let route = &self.endpoints[way.endpoint].route;
        let opening = &mut phases.opening;
        let new = Connection::dial(server, route, !self.keep_alive, opening).await?;
        way.connection.insert(new).request(&turn.request, sink, phases).await
    }
}

/// Locks a mutex. A panic ends the process, so a poisoned lock cannot be observed.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
