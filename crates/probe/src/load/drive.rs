//! Owns the sending: as many workers as connections, each waits for its next request to be due,
//! sends it, takes the answer in, and counts what became of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::alarm::Alarm;
use super::schedule::{Schedule, Ticket};
use super::tally::{Sample, Tally};
use super::target::Turn;
use crate::client::{Answer, ClientError, Connection, Phases, Target, Tls};
use crate::fault::Fault;

/// What all workers share; they run on one thread.
pub(crate) struct Drive {
    pub(crate) servers: Vec<Target>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) tls: Option<Tls>,
    pub(crate) keep_alive: bool,
    pub(crate) timeout: Duration,
    /// Whether requests are due at times of their own.
    pub(crate) is_open: bool,
    pub(crate) start: Instant,
    pub(crate) schedule: RefCell<Schedule>,
    pub(crate) tally: RefCell<Tally>,
    /// Requests that count and are under way.
    pub(crate) under_way: Cell<u64>,
    /// True from the moment that nothing more is to be sent.
    pub(crate) stopped: watch::Sender<bool>,
}

/// In a closed loop a server that can not be reached would be called as fast as the machine can;
/// its socket tables would suffer, and the numbers say nothing.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Sends until there is nothing more to be sent.
///
/// # Errors
///
/// Where the process has no descriptor left for a timer.
pub(crate) async fn work(drive: Rc<Drive>) -> std::io::Result<()> {
    let alarm = Alarm::new()?;
    let mut stopped = drive.stopped.subscribe();
    let mut connections: Vec<Option<Connection>> = drive.servers.iter().map(|_| None).collect();
    while let Some(ticket) = drive.take() {
        let due = drive.start + ticket.due;
        if due > Instant::now() {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                rung = alarm.until(due) => rung?,
            }
        }
        let lost = drive.perform(ticket, &mut connections).await;
        if lost && !drive.is_open {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }
    Ok(())
}

impl Drive {
    /// Tells everybody that it is over; early, where requests that are not due yet are called off.
    /// Those under way go on.
    pub(crate) fn stop(&self, early: bool) {
        if early {
            self.schedule.borrow_mut().stop(self.start.elapsed());
        }
        self.stopped.send_replace(true);
    }

    fn take(&self) -> Option<Ticket> {
        self.schedule.borrow_mut().take(self.start.elapsed())
    }

    /// Sends one request and counts it. Whether its answer was lost.
    async fn perform(&self, ticket: Ticket, connections: &mut [Option<Connection>]) -> bool {
        let count = self.turns.len() as u64;
        // Less than the number of turns, which is a usize.
        let target = (ticket.number % count) as usize;
        let turn = &self.turns[target];
        let began = self.start.elapsed();
        self.under_way.set(self.under_way.get() + u64::from(ticket.counts));
        let mut sink = turn.expected.sink();
        let mut phases = Phases::default();
        let asking = self.ask(turn, &mut connections[turn.server], &mut sink, &mut phases);
        let answer = tokio::time::timeout(self.timeout, asking)
            .await
            .unwrap_or(Err(ClientError::Timeout(self.timeout)));
        let ended = self.start.elapsed();
        self.under_way.set(self.under_way.get() - u64::from(ticket.counts));
        if answer.is_err() || !self.keep_alive {
            // A connection on which an answer was given up is of no use.
            connections[turn.server] = None;
        }
        let lost = answer.is_err();
        let mut sample = Sample {
            ticket,
            target,
            began,
            ended,
            first_byte: None,
            connect: phases.opening.ready,
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
                sample.status = Some(answer.status.as_u16());
                // A server may answer before it has all, and then does not get the rest.
                sample.sent = turn.request.body_length().min(answer.bytes_sent);
                sample.received = answer.body_length;
            }
            Err(error) => {
                sample.fault = Some((Fault::from(&error), format!("{error} ({})", turn.url)));
            }
        }
        self.tally.borrow_mut().add(sample);
        lost
    }

    /// On the connection that is there, or a new one.
    async fn ask(
        &self,
        turn: &Turn,
        connection: &mut Option<Connection>,
        sink: &mut super::target::Sink,
        phases: &mut Phases,
    ) -> Result<Answer, ClientError> {
        if let Some(open) = connection
            && open.is_reusable().await
        {
            return open.request(&turn.request, sink, phases).await;
        }
        let server = &self.servers[turn.server];
        let opening = &mut phases.opening;
        let new = Connection::open(server, self.tls.as_ref(), !self.keep_alive, opening).await?;
        connection.insert(new).request(&turn.request, sink, phases).await
    }
}
