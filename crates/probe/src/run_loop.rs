//! The run without end: a schedule per server that never waits for answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::probe::Probe;
use crate::settings::RunLoop;
use crate::stop::Stop;
use crate::web::Readiness;

/// Asks all `probes` on their schedules until `stop`, or until the duration is over. Requests that
/// are unanswered then have a moment to end. `readiness` is true from the first request until then.
pub async fn run(run_loop: &RunLoop, probes: Vec<Probe>, stop: &mut Stop, readiness: &Readiness) {
    let mut schedules = JoinSet::new();
    for probe in probes {
        let (probe, readiness) = (Arc::new(probe), readiness.clone());
        schedules.spawn(schedule(probe, run_loop.clone(), stop.clone(), readiness));
    }
    while schedules.join_next().await.is_some() {}
}

async fn schedule(probe: Arc<Probe>, run_loop: RunLoop, stop: Stop, readiness: Readiness) {
    let mut stop = stop;
    let mut in_flight = JoinSet::new();
    let mut order = Order { next: 0, length: probe.len(), random: run_loop.random };
    let mut pace = Pace { next: Instant::now(), interval: run_loop.interval };
    let end = run_loop.duration.map(|duration| Instant::now() + duration);
    loop {
        if end.is_some_and(|end| pace.next >= end) {
            if let Some(end) = end {
                stop.or_after(end.saturating_duration_since(Instant::now())).await;
            }
            break;
        }
        tokio::select! {
            biased;
            () = stop.asked() => break,
            () = tokio::time::sleep_until(pace.next) => {}
        }
        while in_flight.try_join_next().is_some() {}
        let index = order.next();
        if in_flight.len() < run_loop.max_concurrent {
            let probe = Arc::clone(&probe);
            readiness.set(true);
            in_flight.spawn(async move { counted(&probe, index).await });
        } else {
            dropped(&probe, 1);
        }
        dropped(&probe, pace.advance(Instant::now()));
    }
    readiness.set(false);
    let ended = async { while in_flight.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS_MAX, ended).await;
}

async fn counted(probe: &Probe, index: usize) {
    let in_flight = probe.metrics().map(|metrics| metrics.in_flight());
    probe.ask(index).await;
    drop(in_flight);
}

fn dropped(probe: &Probe, ticks: u64) {
    if let Some(metrics) = probe.metrics() {
        metrics.dropped(ticks);
    }
}

struct Order {
    next: usize,
    length: usize,
    random: bool,
}

impl Order {
    fn next(&mut self) -> usize {
        if self.random {
            return fastrand::usize(..self.length);
        }
        let index = self.next;
        self.next = (index + 1) % self.length;
        index
    }
}

struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    // A little lateness is made up for, tick by tick. After a long one, as of a machine that
    // slept, the missed ticks are left out instead of sent all at once; returns how many.
    fn advance(&mut self, now: Instant) -> u64 {
        self.next += self.interval;
        let late = now.saturating_duration_since(self.next);
        if late < CATCH_UP_MAX {
            return 0;
        }
        let missed = late.as_nanos() / self.interval.as_nanos().max(1);
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        self.next += self.interval * missed;
        u64::from(missed)
    }
}

// Stalls of a busy node are shorter; what is longer is a suspension.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
// Enough for an answer that is under way, and well within the grace period of an orchestrator.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_up_for_little_lateness_and_leaves_out_much() {
        let start = Instant::now();
        let mut pace = Pace { next: start, interval: Duration::from_millis(100) };
        assert_eq!(pace.advance(start + Duration::from_millis(999)), 0);
        assert_eq!(pace.next, start + Duration::from_millis(100));
        assert_eq!(pace.advance(start + Duration::from_millis(10_250)), 100);
        assert_eq!(pace.next, start + Duration::from_millis(10_200));
    }

    #[test]
    fn goes_through_the_requests_in_turn() {
        let mut order = Order { next: 0, length: 3, random: false };
        let turns: Vec<_> = (0..5).map(|_| order.next()).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn picks_every_request_at_random() {
        let mut order = Order { next: 0, length: 3, random: true };
        let mut seen = [0; 3];
        for _ in 0..300 {
            seen[order.next()] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
