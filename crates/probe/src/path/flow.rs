//! Bulk transfer in one direction. Its streams send request after request on a separate thread, so
//! that they do not delay what is measured at the same time.
//!
//! The kernel's counters say how much has arrived: received bytes down, acknowledged bytes up.
//! Bytes that wait in a send buffer have not been transferred.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use heartbeat_tcp_info::{TcpInfo, tcp_info};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::report::{Direction, Segments};
use super::site::{SMALL_BYTES, Site};
use super::wire::{Destination, Wire, is_used_up};
use crate::timing::{FIELD, ServerTiming};

/// What to transfer.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) to: Destination,
    pub(super) site: Site,
    pub(super) direction: Direction,
    pub(super) streams: usize,
    pub(super) time: Duration,
    /// Bytes of the largest body.
    pub(super) size_max: u64,
    /// The limit of `to.used`.
    pub(super) used_max: u64,
}

impl Plan {
    /// About how long the transfer takes at this rate.
    pub(super) fn lasts(&self, bits_per_second: Option<u64>) -> Duration {
        let bytes = self.used_max.saturating_sub(self.to.used.load(Ordering::Relaxed));
        let seconds = bytes as f64 * 8.0 / bits_per_second.unwrap_or(1).max(1) as f64;
        self.time.min(Duration::try_from_secs_f64(seconds).unwrap_or(self.time))
    }
}

/// The result of a transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) bits_per_second: Option<u64>,
    pub(super) segments: Segments,
    /// Why a stream ended early, if one did.
    pub(super) error: Option<String>,
}

/// Starts the transfer; the receiver gets the outcome when it ends.
///
/// # Errors
///
/// The system cannot create the thread.
pub(super) fn start(plan: Plan) -> io::Result<oneshot::Receiver<Outcome>> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("flow".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(transfer(&plan)),
            Err(error) => Outcome { error: Some(error.to_string()), ..Outcome::default() },
        };
        // If the receiver is gone, nobody needs the outcome.
        let _ = tell.send(outcome);
    })?;
    Ok(told)
}

/// One socket of a transfer, and what the server has reported about it.
struct Socket {
    descriptor: OwnedFd,
    told: Arc<Mutex<Option<ServerTiming>>>,
}

type Sockets = Arc<Mutex<Vec<Socket>>>;

async fn transfer(plan: &Plan) -> Outcome {
    let sockets = Sockets::default();
    let mut streams = JoinSet::new();
    for _ in 0..plan.streams {
        streams.spawn(stream(plan.clone(), Arc::clone(&sockets)));
    }
    let begin = Instant::now();
    let mut samples = vec![(Duration::ZERO, 0)];
    let mut error = None;
    loop {
        let pause =
            if begin.elapsed() < SAMPLE_PAUSE * 10 { SAMPLE_PAUSE / 10 } else { SAMPLE_PAUSE };
        let ended = tokio::time::timeout(pause, streams.join_next()).await;
        samples.push((begin.elapsed(), transferred(&sockets, plan.direction)));
        match ended {
            // All streams have ended: the bytes are used up, or nothing works.
            Ok(None) => break,
            Ok(Some(Ok(Err(failure)))) => error = error.or(Some(failure.to_string())),
            Ok(Some(_)) | Err(_) => {}
        }
        if begin.elapsed() >= plan.time {
            break;
        }
    }
    let segments = segments(&sockets, plan.direction);
    streams.shutdown().await;
    Outcome { bits_per_second: rate(&samples), segments, error }
}

/// Opens a connection and transfers on it until it is aborted or the bytes are used up. A
/// connection that cannot be opened ends the stream, and so does the third failed transfer.
async fn stream(plan: Plan, sockets: Sockets) -> io::Result<()> {
    let mut to = plan.to.clone();
    if !plan.site.is_heartbeat() {
        // Another server may send more than it has sent before, even without an end.
        to.used_max = plan.used_max;
    }
    let mut depth = DEPTH;
    let mut failures = 0;
    loop {
        let told = Arc::default();
        let mut wire = Wire::open(&to).await?;
        // When a transfer ends, its buffers must not go on loading the path.
        wire.reset_on_drop()?;
        let socket = Socket { descriptor: wire.watch()?, told: Arc::clone(&told) };
        sockets.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        let size = first_size(&plan);
        let mut turns = Turns { plan: &plan, wire: &mut wire, told, depth, size };
        match turns.run().await {
            Ok(End::Used) => return Ok(()),
            Ok(End::Closed) => depth = 1,
            Err(error) if is_used_up(&error) => return Ok(()),
            Err(error) => {
                failures += 1;
                depth = 1;
                if failures == FAILURES_MAX {
                    return Err(error);
                }
            }
        }
    }
}

/// The size of the first body, which is smaller than usual if few bytes are left.
fn first_size(plan: &Plan) -> u64 {
    let left = plan.used_max.saturating_sub(plan.to.used.load(Ordering::Relaxed));
    (left / plan.streams as u64 / 4).clamp(SIZE_MIN, SIZE_FIRST.min(plan.size_max))
}

enum End {
    /// No more bytes may be sent or received.
    Used,
    /// The server closes the connection, perhaps after each answer.
    Closed,
}

/// Requests on one connection; the next one is sent before the answer to the last one ends.
struct Turns<'a> {
    plan: &'a Plan,
    wire: &'a mut Wire,
    told: Arc<Mutex<Option<ServerTiming>>>,
    depth: usize,
    /// Bytes of the next body.
    size: u64,
}

impl Turns<'_> {
    async fn run(&mut self) -> io::Result<End> {
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        loop {
            while waiting.len() < self.depth && self.has_room(waiting.len()) {
                waiting.push_back(Instant::now());
                self.send().await?;
            }
            let Some(sent) = waiting.pop_front() else { return Ok(End::Used) };
            if self.receive(sent).await? {
                return Ok(End::Closed);
            }
        }
    }

    /// Whether one more body fits into the limit, in addition to the bodies under way on all
    /// streams.
    fn has_room(&self, under_way: usize) -> bool {
        let used = self.plan.to.used.load(Ordering::Relaxed);
        let site = &self.plan.site;
        // The answer of another server always has the same length.
        let size = if site.is_heartbeat() { self.size } else { site.body_bytes };
        let expected = size * (under_way as u64 + 1) * self.plan.streams as u64;
        used + expected <= self.plan.used_max
    }

    async fn send(&mut self) -> io::Result<()> {
        let Plan { to, site, direction, .. } = self.plan;
        match direction {
            Direction::Down => self.wire.write(to.get(&site.path(self.size), "").as_bytes()).await,
            Direction::Up => {
                let path = site.path(SMALL_BYTES);
                self.wire.write(to.post(&path, self.size, "").as_bytes()).await?;
                self.wire.write_pattern(self.size).await
            }
        }
    }

    /// Reads one answer. Returns whether the server closes the connection after it.
    async fn receive(&mut self, sent: Instant) -> io::Result<bool> {
        let head = self.wire.final_head().await?;
        if let Some(timing) = ServerTiming::of_values(head.all(FIELD)) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(timing);
        }
        if !head.is_success() {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        self.wire.body(&head, u64::MAX, |_| {}).await?;
        self.adapt(sent.elapsed() / self.depth as u32);
        Ok(head.closes())
    }

    /// Adapts the size so that a body takes a tenth of a second: long enough to fill the path,
    /// short enough to get the server's counters often.
    fn adapt(&mut self, took: Duration) {
        if took < TURN / 2 {
            self.size = (self.size * 2).min(self.plan.size_max);
        } else if took > TURN * 2 {
            self.size = (self.size / 2).max(SIZE_MIN);
        }
    }
}

fn facts(sockets: &Sockets) -> Vec<(TcpInfo, Option<ServerTiming>)> {
    let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
    let facts = sockets.iter().filter_map(|socket| {
        let told = *socket.told.lock().unwrap_or_else(PoisonError::into_inner);
        Some((tcp_info(socket.descriptor.as_fd()).ok()?, told))
    });
    facts.collect()
}

fn transferred(sockets: &Sockets, direction: Direction) -> u64 {
    let bytes = |facts: &TcpInfo| match direction {
        Direction::Down => facts.bytes_received,
        Direction::Up => facts.bytes_acked,
    };
    facts(sockets).iter().filter_map(|(facts, _)| bytes(facts)).sum()
}

fn segments(sockets: &Sockets, direction: Direction) -> Segments {
    let mut sum = Segments::default();
    for (facts, told) in facts(sockets) {
        sum.add(match (direction, told) {
            (Direction::Up, _) => Segments::sent(&facts),
            (Direction::Down, Some(told)) => received(&facts, &told),
            (Direction::Down, None) => Segments::default(),
        });
    }
    sum
}

/// What the server has sent on a busy connection. Behind a lost segment, others arrive out of
/// order. A retransmission without that was superfluous: a timer was too fast.
fn received(facts: &TcpInfo, told: &ServerTiming) -> Segments {
    let most = facts.out_of_order_segments.map_or(u64::MAX, u64::from);
    Segments { segments: told.retransmitted.map(|again| again.min(most)), sent: told.segments }
}

/// Bits per second, without the time in which TCP finds its rate.
fn rate(samples: &[(Duration, u64)]) -> Option<u64> {
    let (end, total) = *samples.last()?;
    let start = end.mul_f64(START_SHARE);
    let (from, before) = *samples.iter().rev().find(|(time, _)| *time <= start)?;
    let time = (end - from).as_secs_f64();
    let bits = total.saturating_sub(before) as f64 * 8.0;
    (total > 0 && time > 0.0).then(|| (bits / time).round() as u64)
}

/// With two requests under way, the path stays busy between two answers.
const DEPTH: usize = 2;
const FAILURES_MAX: u32 = 3;
const SIZE_FIRST: u64 = 64 << 10;
const SIZE_MIN: u64 = 16 << 10;
/// The largest payload of a Heartbeat by default, and the largest upload that many proxies accept.
pub(super) const SIZE_MAX: u64 = 1 << 20;
const TURN: Duration = Duration::from_millis(100);
const SAMPLE_PAUSE: Duration = Duration::from_millis(10);
/// Slow start ends within a few round trips.
const START_SHARE: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(points: &[(u64, u64)]) -> Vec<(Duration, u64)> {
        points.iter().map(|(ms, bytes)| (Duration::from_millis(*ms), *bytes)).collect()
    }

    #[test]
    fn the_rate_leaves_out_the_start() {
        let steady = samples(&[(0, 0), (300, 10), (400, 1010), (1000, 7010)]);
        assert_eq!(rate(&steady), Some(80_000));
    }

    #[test]
    fn retransmissions_count_only_if_segments_came_out_of_order() {
        let told = ServerTiming {
            retransmitted: Some(9),
            segments: Some(1000),
            ..ServerTiming::default()
        };
        let lost = |out_of_order_segments| {
            let facts = TcpInfo { out_of_order_segments, ..TcpInfo::default() };
            received(&facts, &told).segments
        };
        assert_eq!((lost(Some(0)), lost(Some(100)), lost(None)), (Some(0), Some(9), Some(9)));
    }

    #[test]
    fn there_is_no_rate_without_bytes_or_time() {
        assert_eq!(rate(&samples(&[])), None);
        assert_eq!(rate(&samples(&[(0, 0), (1000, 0)])), None);
        assert_eq!(rate(&samples(&[(0, 100)])), None);
    }
}
