//! The latency of small requests while eight streams run (draft-ietf-ippm-responsiveness).
//!
//! The draft sends its probes on new connections and on those that carry the load. The latter
//! requires HTTP/2; instead, open connections that carry nothing else are used. The round trips per
//! minute are 60 seconds divided by the trimmed mean of connect, TLS handshake and request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::flow::{self, Outcome, Plan};
use super::quantiles::{quantile, trimmed_mean};
use super::report::{Quantiles, microseconds};
use super::site::Site;
use super::wire::{Destination, Wire};

/// The result of a transfer with small requests beside it.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) outcome: Outcome,
    pub(super) latency: Quantiles,
    /// The median time to open a connection.
    pub(super) connect: Option<Duration>,
    pub(super) round_trips_per_minute: Option<u64>,
}

#[derive(Default)]
struct Times {
    connects: Vec<Duration>,
    handshakes: Vec<Duration>,
    /// On new connections.
    first_answers: Vec<Duration>,
    /// On open connections.
    answers: Vec<Duration>,
}

type Shared = Arc<Mutex<Times>>;

/// Runs `plan`, which lasts about `expected`, and sends small requests to `to` meanwhile.
///
/// # Errors
///
/// The connections for the small requests cannot be opened.
pub(super) async fn run(plan: Plan, to: &Destination, expected: Duration) -> io::Result<Loaded> {
    let request: Arc<str> = plan.site.small_request(to).into();
    let mut warm = Vec::new();
    for _ in 0..WARM_CONNECTIONS {
        let mut wire = Wire::open(to).await?;
        wire.ask(&request).await?;
        wire.renew(to).await?;
        warm.push(wire);
    }
    let (stop, stopped) = watch::channel(false);
    let times = Shared::default();
    // Fast paths use up their bytes soon, but also fill their queues at once.
    let is_fast = expected < plan.time;
    let start = if is_fast { Duration::ZERO } else { expected.mul_f64(START_SHARE) };
    let open_pause = WARM_PAUSE.min(expected / 4);
    let new_pause = NEW_PAUSE.min(expected / 4);
    let told = flow::start(plan)?;
    let mut probes = JoinSet::new();
    let again = |pause| Again {
        to: to.clone(),
        request: Arc::clone(&request),
        times: Arc::clone(&times),
        stopped: stopped.clone(),
        pause,
    };
    for (index, wire) in warm.into_iter().enumerate() {
        let delay = start + open_pause * u32::try_from(index).unwrap_or(0) / WARM_CONNECTIONS;
        probes.spawn(ask_open(wire, delay, again(open_pause)));
    }
    for index in 0..NEW_CONNECTIONS {
        let delay = start + new_pause * index / NEW_CONNECTIONS;
        probes.spawn(ask_new(delay, again(new_pause)));
    }
    let outcome = told.await.unwrap_or_default();
    stop.send_replace(true);
    // Requests that were sent under load count, although their answers arrive later.
    let _ =
        tokio::time::timeout(LAST_ANSWERS, async { while probes.join_next().await.is_some() {} })
            .await;
    drop(probes);
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(times.loaded(outcome))
}

/// The request that is sent again and again, and when that ends.
struct Again {
    to: Destination,
    request: Arc<str>,
    times: Shared,
    stopped: watch::Receiver<bool>,
    pause: Duration,
}

impl Again {
    fn note(&self, note: impl FnOnce(&mut Times)) {
        note(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }
}

async fn ask_open(wire: Wire, delay: Duration, again: Again) -> io::Result<()> {
    let mut wire = wire;
    tokio::time::sleep(delay).await;
    while !again.is_over() {
        let answer = wire.ask(&again.request).await?;
        again.note(|times| times.answers.push(answer.took));
        wire.renew(&again.to).await?;
        tokio::time::sleep(again.pause).await;
    }
    Ok(())
}

async fn ask_new(delay: Duration, again: Again) -> io::Result<()> {
    tokio::time::sleep(delay).await;
    while !again.is_over() {
        let mut wire = Wire::open(&again.to).await?;
        let opened = wire.opened;
        again.note(|times| {
            times.connects.push(opened.connect);
            times.handshakes.extend(opened.tls);
        });
        let took = wire.ask(&again.request).await?.took;
        again.note(|times| times.first_answers.push(took));
        tokio::time::sleep(again.pause).await;
    }
    Ok(())
}

impl Times {
    fn loaded(&self, outcome: Outcome) -> Loaded {
        // Without load there is no latency under load.
        if outcome.bits_per_second.is_none() {
            return Loaded { outcome, ..Loaded::default() };
        }
        let answers: Vec<_> = self.answers.iter().chain(&self.first_answers).copied().collect();
        let latency = Quantiles {
            p50: quantile(&answers, 0.5).map(microseconds),
            p99: quantile(&answers, 0.99).map(microseconds),
        };
        let connect = quantile(&self.connects, 0.5);
        let round_trips_per_minute = self.round_trips_per_minute(&answers);
        Loaded { outcome, latency, connect, round_trips_per_minute }
    }

    fn round_trips_per_minute(&self, answers: &[Duration]) -> Option<u64> {
        let means = [&self.connects[..], &self.handshakes, answers].map(trimmed_mean);
        let known: Vec<f64> = means.iter().flatten().map(Duration::as_secs_f64).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        (mean > 0.0).then(|| (MINUTE / mean).round() as u64)
    }
}

/// Waits until small requests are as fast as without load, so that a queue that one measurement has
/// filled does not distort the next one.
pub(super) async fn settle(to: &Destination, site: &Site, idle: Duration) {
    let limit = idle * 2 + SETTLED_ABOVE;
    let quiet = async {
        let request = site.small_request(to);
        let mut in_a_row = 0;
        while in_a_row < SETTLED_ANSWERS {
            let start = Instant::now();
            if let Ok(mut wire) = Wire::open(to).await {
                let _ = wire.ask(&request).await;
            }
            // A new connection with TLS takes at most three round trips.
            in_a_row = if start.elapsed() < limit * 3 { in_a_row + 1 } else { 0 };
        }
    };
    let _ = tokio::time::timeout(SETTLE_TIME_MAX, quiet).await;
}

const WARM_CONNECTIONS: u32 = 8;
const WARM_PAUSE: Duration = Duration::from_millis(40);
const NEW_CONNECTIONS: u32 = 4;
const NEW_PAUSE: Duration = Duration::from_millis(100);
/// The share of the time in which queues fill: TCP leaves slow start before they are full.
const START_SHARE: f64 = 0.5;
/// Queues that take longer than this are rare.
const LAST_ANSWERS: Duration = Duration::from_millis(2_500);
const SETTLE_TIME_MAX: Duration = Duration::from_millis(2_500);
const SETTLED_ABOVE: Duration = Duration::from_millis(5);
const SETTLED_ANSWERS: u32 = 2;
/// In seconds.
const MINUTE: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome { bits_per_second: Some(1), ..Outcome::default() }
    }

    #[test]
    fn round_trips_per_minute_are_a_minute_divided_by_the_mean_of_connect_tls_and_request() {
        let ms = |ms| vec![Duration::from_millis(ms)];
        let times = Times {
            connects: ms(10),
            handshakes: ms(20),
            first_answers: ms(30),
            ..Times::default()
        };
        let loaded = times.loaded(outcome());
        assert_eq!(loaded.round_trips_per_minute, Some(3000));
        assert_eq!(loaded.latency.p50, Some(30_000.0));
        let plain = Times { handshakes: Vec::new(), ..times };
        assert_eq!(plain.loaded(outcome()).round_trips_per_minute, Some(3000));
    }

    #[test]
    fn without_load_nothing_is_known() {
        let times = Times { answers: vec![Duration::from_millis(1)], ..Times::default() };
        let loaded = times.loaded(Outcome::default());
        assert_eq!((loaded.latency.p50, loaded.round_trips_per_minute), (None, None));
        assert_eq!(Times::default().loaded(outcome()).round_trips_per_minute, None);
    }
}
