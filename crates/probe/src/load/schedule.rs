//! Computes when each request of a load is due. The caller passes the time; this code reads no
//! clock.
//!
//! With a rate the times are fixed in advance (an open loop): a slow server makes requests late and
//! never fewer, and latency counts from the time at which a request was due.
//! Without a rate a request is due as soon as a connection is free (a closed loop).

use std::time::Duration;

/// If the product of a rate and a time is this close to a whole number, that number is meant,
/// because floating point rounds.
const ROUNDING: f64 = 1e-6;

/// What a load does and when. Times count from its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Requests per second; `None` for as many as the answers allow.
    pub(crate) rate: Option<f64>,
    /// How long the load runs before its requests count.
    pub(crate) warm_up: Duration,
    /// How long requests that count are sent. This or `requests` is set, or both are.
    pub(crate) duration: Option<Duration>,
    /// How many requests count.
    pub(crate) requests: Option<u64>,
    /// How long after its end an open loop continues to send requests that were due.
    pub(crate) grace: Duration,
}

/// A request to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Its position in the load, from 0; it decides whose turn it is.
    pub(crate) number: u64,
    /// When it is to be sent.
    pub(crate) due: Duration,
    /// Whether it counts; a request of the warm-up does not.
    pub(crate) counts: bool,
}

/// Hands out tickets.
#[derive(Debug)]
pub(crate) struct Schedule {
    plan: Plan,
    warm: u64,
    counted: u64,
    stopped: Option<Duration>,
}

impl Schedule {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, warm: 0, counted: 0, stopped: None }
    }

    /// Returns the next request for an idle connection; `None` if there are no more.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Ticket> {
        if self.stopped.is_some() {
            return None;
        }
        match self.plan.rate {
            Some(rate) => self.take_open(rate, now),
            None => self.take_closed(now),
        }
    }

    /// Ends the schedule: no more requests after this.
    pub(crate) fn stop(&mut self, now: Duration) {
        self.stopped.get_or_insert(now);
    }

    /// How many requests that count were due by `now` and were never taken.
    pub(crate) fn unsent(&self, now: Duration) -> u64 {
        let Some(rate) = self.plan.rate else { return 0 };
        let until = self.stopped.unwrap_or(now).saturating_sub(self.plan.warm_up);
        self.total(rate).min(ticks(rate, until)).saturating_sub(self.counted)
    }

    /// The end of the warm-up.
    pub(crate) fn measured_from(&self) -> Duration {
        self.plan.warm_up
    }

    /// When the last request is due, if that is known.
    fn end(&self) -> Option<Duration> {
        let by_count = match (self.plan.rate, self.plan.requests) {
            // A request stands for the interval that follows it: 100 at 100/s take a second.
            (Some(rate), Some(requests)) => Some(tick(rate, requests)),
            _ => None,
        };
        let duration = match (by_count, self.plan.duration) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        duration.map(|duration| self.plan.warm_up.saturating_add(duration))
    }

    /// Estimates at `now` when the load will end; `None` if nothing allows an estimate.
    pub(crate) fn expected_end(&self, now: Duration) -> Option<Duration> {
        let by_speed = || {
            // The estimate assumes that a closed loop keeps its speed.
            let requests = self.plan.requests.filter(|_| self.plan.rate.is_none())?;
            let spent = now.checked_sub(self.plan.warm_up)?;
            let whole = spent.as_secs_f64() / self.counted as f64 * requests as f64;
            Some(self.plan.warm_up.saturating_add(Duration::try_from_secs_f64(whole).ok()?))
        };
        match (self.end(), by_speed()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// When the last request was due, or the time of the stop if that was earlier; zero if neither
    /// is known.
    pub(crate) fn over(&self) -> Duration {
        let end = self.end().unwrap_or(Duration::MAX);
        match self.stopped {
            Some(stopped) => end.min(stopped),
            None => self.end().unwrap_or_default(),
        }
    }

    fn take_open(&mut self, rate: f64, now: Duration) -> Option<Ticket> {
        if self.end().is_some_and(|end| now > end.saturating_add(self.plan.grace)) {
            return None;
        }
        let number = self.warm + self.counted;
        if self.warm < ticks(rate, self.plan.warm_up) {
            let due = tick(rate, self.warm);
            self.warm += 1;
            return Some(Ticket { number, due, counts: false });
        }
        if self.counted == self.total(rate) {
            return None;
        }
        let due = self.plan.warm_up.saturating_add(tick(rate, self.counted));
        self.counted += 1;
        Some(Ticket { number, due, counts: true })
    }

    fn take_closed(&mut self, now: Duration) -> Option<Ticket> {
        let number = self.warm + self.counted;
        if now < self.plan.warm_up {
            self.warm += 1;
            return Some(Ticket { number, due: now, counts: false });
        }
        if self.end().is_some_and(|end| now >= end) || self.plan.requests == Some(self.counted) {
            return None;
        }
        self.counted += 1;
        Some(Ticket { number, due: now, counts: true })
    }

    /// How many requests of an open loop count.
    fn total(&self, rate: f64) -> u64 {
        let requests = self.plan.requests.unwrap_or(u64::MAX);
        self.plan.duration.map_or(requests, |duration| requests.min(ticks(rate, duration)))
    }
}

/// The time of the `number`-th tick, from 0.
fn tick(rate: f64, number: u64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX)
}

/// How many ticks are in a time that begins with a tick.
fn ticks(rate: f64, time: Duration) -> u64 {
    // Saturates at u64::MAX.
    (time.as_secs_f64() * rate - ROUNDING).ceil().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rate: Option<f64>, warm_up: u64, duration: Option<u64>, requests: Option<u64>) -> Plan {
        let duration = duration.map(Duration::from_millis);
        let grace = Duration::from_secs(1);
        Plan { rate, warm_up: Duration::from_millis(warm_up), duration, requests, grace }
    }

    fn drain(schedule: &mut Schedule, now: Duration) -> Vec<Ticket> {
        std::iter::from_fn(|| schedule.take(now)).collect()
    }

    #[test]
    fn a_rate_gives_exactly_its_requests_at_exactly_their_times() {
        for (rate, duration, expected) in [
            (100.0, 30_000, 3000),
            (1.0, 1_000, 1),
            (3.0, 1_000, 3),
            (0.1, 9_999, 1),
            (0.1, 10_001, 2),
            (333.3, 10_000, 3333),
            (1e6, 1_000, 1_000_000),
        ] {
            let mut schedule = Schedule::new(plan(Some(rate), 0, Some(duration), None));
            let tickets = drain(&mut schedule, Duration::ZERO);
            assert_eq!(tickets.len(), expected, "{rate}/s for {duration} ms");
            for (number, ticket) in tickets.iter().enumerate() {
                assert_eq!(ticket.due, Duration::from_secs_f64(number as f64 / rate));
            }
        }
    }

    #[test]
    fn times_do_not_drift_over_an_hour() {
        let mut schedule = Schedule::new(plan(Some(1000.0), 0, Some(3_600_000), None));
        let last = std::iter::from_fn(|| schedule.take(Duration::ZERO)).last();
        assert_eq!(last.map(|ticket| ticket.due), Some(Duration::from_millis(3_599_999)));
    }

    #[test]
    fn a_late_caller_gets_the_time_that_was_planned() {
        let mut schedule = Schedule::new(plan(Some(1000.0), 0, Some(1000), None));
        for late in [0, 200, 200, 500] {
            let ticket = schedule.take(Duration::from_millis(late)).unwrap();
            assert_eq!(ticket.due, Duration::from_millis(ticket.number));
        }
    }

    #[test]
    fn the_warm_up_does_not_count_and_shifts_the_rest() {
        let mut schedule = Schedule::new(plan(Some(10.0), 500, Some(1000), None));
        let tickets = drain(&mut schedule, Duration::ZERO);
        let (counted, warm): (Vec<_>, Vec<&Ticket>) = tickets.iter().partition(|one| one.counts);
        assert_eq!((warm.len(), counted.len()), (5, 10));
        assert_eq!(counted[0].due, Duration::from_millis(500));
        assert_eq!(schedule.end(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn the_earlier_of_duration_and_requests_ends_it() {
        let count = |duration, requests| {
            let mut schedule = Schedule::new(plan(Some(100.0), 0, duration, requests));
            drain(&mut schedule, Duration::ZERO).len()
        };
        assert_eq!(count(Some(1000), Some(7)), 7);
        assert_eq!(count(Some(1000), Some(700)), 100);
        assert_eq!(count(None, Some(700)), 700);
    }

    #[test]
    fn due_requests_are_sent_within_the_grace_and_reported_after_it() {
        let mut schedule = Schedule::new(plan(Some(10.0), 0, Some(1000), None));
        assert!(schedule.take(Duration::from_millis(2000)).is_some());
        assert_eq!(schedule.take(Duration::from_millis(2001)), None);
        assert_eq!(schedule.unsent(Duration::from_millis(2001)), 9);
    }

    #[test]
    fn a_stop_leaves_unsent_only_what_was_due_before_it() {
        let mut schedule = Schedule::new(plan(Some(10.0), 100, Some(10_000), None));
        for _ in 0..3 {
            schedule.take(Duration::ZERO);
        }
        // Five requests that count were due by then (0 to 400 ms); two were taken.
        schedule.stop(Duration::from_millis(550));
        schedule.stop(Duration::from_millis(9000));
        assert_eq!(schedule.take(Duration::from_millis(550)), None);
        assert_eq!(schedule.unsent(Duration::from_millis(9000)), 3);
        assert_eq!(schedule.over(), Duration::from_millis(550));
    }

    #[test]
    fn a_closed_loop_gives_as_many_as_are_asked_for() {
        let mut schedule = Schedule::new(plan(None, 10, None, Some(5)));
        assert!(!schedule.take(Duration::from_millis(9)).unwrap().counts);
        let counted = drain(&mut schedule, Duration::from_millis(10));
        assert_eq!(counted.len(), 5);
        assert!(counted.iter().all(|ticket| ticket.counts));
        assert_eq!(counted[4].number, 5);

        let mut schedule = Schedule::new(plan(None, 0, Some(1000), None));
        assert!(schedule.take(Duration::from_millis(999)).is_some());
        assert_eq!(schedule.take(Duration::from_millis(1000)), None);
        assert_eq!(schedule.unsent(Duration::from_secs(9)), 0);
    }

    #[test]
    fn the_end_is_known_from_the_plan_or_from_the_speed_so_far() {
        let ms = Duration::from_millis;
        let open = Schedule::new(plan(Some(10.0), 100, Some(1000), None));
        assert_eq!(open.expected_end(ms(300)), Some(ms(1100)));
        let mut closed = Schedule::new(plan(None, 100, None, Some(40)));
        assert_eq!(closed.expected_end(ms(50)), None);
        assert_eq!(closed.expected_end(ms(100)), None);
        for _ in 0..10 {
            closed.take(ms(200));
        }
        assert_eq!(closed.expected_end(ms(200)), Some(ms(500)));
        let mut both = Schedule::new(plan(None, 0, Some(300), Some(40)));
        assert_eq!(both.expected_end(ms(100)), Some(ms(300)));
        both.take(ms(1));
        assert_eq!(both.expected_end(ms(2)), Some(ms(80)));
    }
}
