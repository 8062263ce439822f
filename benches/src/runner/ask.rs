//! Owns one measurement: starts a fresh server, puts a load on it, and takes the figures.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Bench, LoadProcess, beside, idle, long_heads, start, wrk};
use crate::client::Outcome;
use crate::figure::{
    BUSIEST, CLIENT_BUSY, CPU, ELAPSED, Figures, P50, P99, P999, RATE, RESIDENT, RESIDENT_GROWTH,
    SERVER_BUSY, SERVER_WAITED, START,
};
use crate::peer::{Peer, Work};
use crate::process::ThreadTime;
use crate::scenario::{Ask, Shape};

/// How long a server may still work after its last answer has arrived.
const SETTLE: Duration = Duration::from_millis(5);
/// The same for uploads: a server may answer before it has read all of an upload.
const UPLOAD_SETTLE: Duration = Duration::from_millis(300);
const MIB: f64 = (1 << 20) as f64;

/// What happens in a measurement besides the load.
#[derive(Clone, Copy, Default)]
struct Circumstances {
    /// Requests per second; 0 means as many as the server answers.
    rate: f64,
    /// Whether long answers and scrapes run beside the load.
    noise: bool,
    /// Whether the client runs on the server's CPU.
    same_cpu: bool,
}

/// Takes one measurement. `rate` is used by [`Ask::Paced`] alone.
pub fn take_sample(peer: &Peer, ask: &Ask, rate: f64, bench: &Bench) -> io::Result<Figures> {
    let usual = Circumstances::default();
    match ask {
        Ask::Load(shape) | Ask::Balance(shape) => load(peer, shape, usual, bench),
        Ask::SameCpu(shape) => load(peer, shape, Circumstances { same_cpu: true, ..usual }, bench),
        Ask::Paced { shape, beside, .. } => {
            load(peer, shape, Circumstances { rate, noise: *beside, ..usual }, bench)
        }
        Ask::Wrk(shape) => wrk::load(peer, shape, bench),
        Ask::Start => {
            let (_running, time) = start(peer, &Work::answers(17), bench)?;
            Ok(Figures::from([(START.to_owned(), time.as_secs_f64() * 1e3)]))
        }
        Ask::Idle(threads) => idle::memory(peer, *threads, bench),
        Ask::IdleConnections(connections) => idle::connections(peer, *connections, bench),
        Ask::LongHeads(connections) => long_heads::memory(peer, *connections, bench),
    }
}

/// Measures a load. One wrong or missing answer fails the whole measurement.
fn load(
    peer: &Peer,
    shape: &Shape,
    circumstances: Circumstances,
    bench: &Bench,
) -> io::Result<Figures> {
    let (running, start_time) = start(peer, &shape.work, bench)?;
    let cpus = if circumstances.same_cpu { &bench.server_cpus } else { &bench.client_cpus };
    let mut load = LoadProcess::start(&running, shape, circumstances.rate, cpus, bench)?;
    let group = &running.group;
    let settle = if shape.work.upload > 0 { UPLOAD_SETTLE } else { SETTLE };
    thread::sleep(settle);
    let resident_before = group.resident_bytes() as f64 / MIB;
    let noise = circumstances.noise.then(|| beside::Noise::start(peer, &running, bench));
    let noise = noise.transpose()?;
    let threads_before = group.thread_times();
    let cpu_before = group.cpu_time();
    let outcome = load.go()?;
    drop(noise);
    thread::sleep(settle);
    let cpu = group.cpu_time().saturating_sub(cpu_before).as_secs_f64();
    let resident = group.resident_bytes() as f64 / MIB;
    let threads = spent(&threads_before, &group.thread_times());
    let waited: Duration = threads.iter().map(|thread| thread.waited).sum();
    let mut figures = figures_of(&outcome, cpu)?;
    figures.extend([
        (RESIDENT.to_owned(), resident),
        (RESIDENT_GROWTH.to_owned(), resident - resident_before),
        (START.to_owned(), start_time.as_secs_f64() * 1e3),
        (BUSIEST.to_owned(), busiest_share(&threads)),
        (SERVER_WAITED.to_owned(), waited.as_secs_f64() / outcome.elapsed_s),
    ]);
    Ok(figures)
}

fn figures_of(outcome: &Outcome, cpu_s: f64) -> io::Result<Figures> {
    if outcome.errors > 0 || outcome.answers == 0 {
        let reason = outcome.first_error.as_deref().unwrap_or("no answers");
        return Err(io::Error::other(format!("{} errors: {reason}", outcome.errors)));
    }
    let answers = outcome.answers as f64;
    let latency = outcome.latency;
    let figures = [
        (RATE, answers / outcome.elapsed_s),
        (CPU, cpu_s * 1e6 / answers),
        (SERVER_BUSY, cpu_s / outcome.elapsed_s),
        (CLIENT_BUSY, outcome.client_cpu_s / outcome.elapsed_s),
        (ELAPSED, outcome.elapsed_s),
        (P50, latency.p50_us),
        (P99, latency.p99_us),
        (P999, latency.p999_us),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), value)).into())
}

/// The CPU time of each thread between two readings. A new thread has none in the first.
fn spent(before: &[ThreadTime], after: &[ThreadTime]) -> Vec<ThreadTime> {
    let before = before.iter().copied().chain(std::iter::repeat(ThreadTime::default()));
    let since = |(after, before): (&ThreadTime, ThreadTime)| ThreadTime {
        ran: after.ran.saturating_sub(before.ran),
        waited: after.waited.saturating_sub(before.waited),
    };
    after.iter().zip(before).map(since).collect()
}

/// The busiest thread's share of the CPU time of all threads.
fn busiest_share(spent: &[ThreadTime]) -> f64 {
    let total: Duration = spent.iter().map(|thread| thread.ran).sum();
    let busiest = spent.iter().map(|thread| thread.ran).max().unwrap_or_default();
    if total.is_zero() { 1.0 } else { busiest.as_secs_f64() / total.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_fails_a_measurement() {
        let right = Outcome { answers: 9, elapsed_s: 1.0, ..Outcome::default() };
        assert_eq!(figures_of(&right, 1.0).unwrap()[RATE], 9.0);
        assert!(figures_of(&Outcome { errors: 1, ..right.clone() }, 1.0).is_err());
        assert!(figures_of(&Outcome { answers: 0, ..right }, 1.0).is_err());
    }

    #[test]
    fn the_busiest_thread_is_found_by_its_time_between_the_readings() {
        let ran = |ms| ThreadTime { ran: Duration::from_millis(ms), waited: Duration::ZERO };
        let share = |before: &[_], after: &[_]| busiest_share(&spent(before, after));
        assert_eq!(share(&[ran(100), ran(1)], &[ran(101), ran(4)]), 0.75);
        assert_eq!(share(&[], &[ran(2), ran(2)]), 0.5);
        assert_eq!(share(&[ran(5)], &[ran(5)]), 1.0);
    }
}
