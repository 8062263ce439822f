//! The endless run: one schedule per server or per address, which never waits for answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::probe::{Probe, ServerProbes};
use crate::settings::RunLoop;
use crate::stop::Stop;
use crate::web::Readiness;

/// Sends requests to all `servers` on their schedules until `stop`, or until the duration is over.
/// Unanswered requests then have [`RunLoop::last_answers`] to end. `readiness` is true from the
/// first request until the last one is sent.
pub(crate) async fn run(
    run_loop: &RunLoop,
    servers: Vec<ServerProbes>,
    stop: &mut Stop,
    readiness: &Readiness,
) {
    let begin = Instant::now();
    let mut schedules = JoinSet::new();
    let count = servers.len();
    for (number, server) in servers.into_iter().enumerate() {
        let slot = Slot {
            run_loop: run_loop.clone(),
            stop: stop.clone(),
            readiness: readiness.clone(),
            begin,
            part: Part::of_all().split(number, count),
            lookup_interval: LOOKUP_INTERVAL,
        };
        if run_loop.resolve_all {
            schedules.spawn(every_address(server, slot));
        } else {
            schedules.spawn(schedule(Arc::new(server.probe(None)), slot));
        }
    }
    while schedules.join_next().await.is_some() {}
}

/// When a schedule runs.
#[derive(Clone)]
struct Slot {
    run_loop: RunLoop,
    stop: Stop,
    readiness: Readiness,
    begin: Instant,
    part: Part,
    // The time between two look-ups of a name whose addresses are asked separately.
    lookup_interval: Duration,
}

/// A part of the interval, as fractions of it. Schedules begin at parts of their own, so that they
/// do not send at the same instants and measure each other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    start: f64,
    length: f64,
}

impl Part {
    fn of_all() -> Self {
        Self { start: 0.0, length: 1.0 }
    }

    fn split(self, number: usize, count: usize) -> Self {
        let length = self.length / count.max(1) as f64;
        Self { start: self.start + length * number as f64, length }
    }

    // The middle of the largest gap between the starts that are taken, one of which it becomes.
    // Running schedules keep theirs, so a place in a later list of addresses may be taken. After
    // the end of the interval its beginning follows.
    fn free(self, taken: &mut Vec<f64>) -> Self {
        taken.sort_unstable_by(f64::total_cmp);
        let next = taken.iter().skip(1).copied();
        let next = next.chain(taken.first().map(|first| first + self.length));
        let gaps = taken.iter().zip(next).map(|(one, next)| (next - one, *one));
        let largest = gaps.max_by(|(one, _), (other, _)| one.total_cmp(other));
        let start = largest.map_or(self.start, |(gap, one)| one + gap / 2.0);
        let is_beyond = start >= self.start + self.length;
        let start = if is_beyond { start - self.length } else { start };
        taken.push(start);
        Self { start, length: self.length }
    }
}

impl Slot {
    fn end(&self) -> Option<Instant> {
        self.run_loop.duration.map(|duration| self.begin + duration)
    }

    // Computes the first tick of this part of the interval that is not in the past.
    fn pace(&self, now: Instant) -> Pace {
        let interval = self.run_loop.interval;
        let first = self.begin + interval.mul_f64(self.part.start);
        let late = now.saturating_duration_since(first).as_nanos();
        let missed = late.div_ceil(interval.as_nanos().max(1));
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        // A moment has passed since the loop began, but no tick was missed.
        let missed = if now.saturating_duration_since(self.begin) < START_MAX { 0 } else { missed };
        Pace { next: first + interval * missed, interval }
    }
}

/// Runs a schedule for each address of a server. The addresses are looked up again and again: a new
/// one gets a schedule, and the schedule of one that is gone ends.
async fn every_address(server: ServerProbes, slot: Slot) {
    let mut stop = slot.stop.clone();
    let mut schedules = JoinSet::new();
    let mut running: HashMap<Option<SocketAddr>, Running> = HashMap::new();
    let over = async |stop: &mut Stop| match slot.end() {
        Some(end) => stop.or_after(end.saturating_duration_since(Instant::now())).await,
        None => stop.asked().await,
    };
    loop {
        let found = tokio::select! {
            found = server.addresses() => found,
            () = over(&mut stop) => break,
        };
        let wanted = wanted(found.ok(), &running);
        running.retain(|address, schedule| {
            let stays = wanted.contains(address);
            if !stays {
                schedule.handle.abort();
            }
            stays
        });
        let mut taken: Vec<_> = running.values().map(|schedule| schedule.start).collect();
        let is_first = taken.is_empty();
        for (number, address) in wanted.iter().enumerate() {
            if !running.contains_key(address) {
                let part = match is_first {
                    true => slot.part.split(number, wanted.len()),
                    false => slot.part.free(&mut taken),
                };
                let slot = Slot { part, ..slot.clone() };
                let probe = Arc::new(server.probe(*address));
                let handle = schedules.spawn(schedule(probe, slot));
                running.insert(*address, Running { handle, start: part.start });
            }
        }
        tokio::select! {
            () = tokio::time::sleep(slot.lookup_interval) => {}
            () = over(&mut stop) => break,
        }
        while schedules.try_join_next().is_some() {}
    }
    while schedules.join_next().await.is_some() {}
}

/// The schedule of an address, and where in the interval it sends.
struct Running {
    handle: AbortHandle,
    start: f64,
}

// If a look-up fails, the known addresses stay. If none is known, the name itself is asked, so that
// the failure is logged and counted.
fn wanted(
    found: Option<Vec<SocketAddr>>,
    running: &HashMap<Option<SocketAddr>, Running>,
) -> Vec<Option<SocketAddr>> {
    match found {
        Some(found) => found.into_iter().map(Some).collect(),
        None if running.is_empty() => vec![None],
        None => running.keys().copied().collect(),
    }
}

async fn schedule(probe: Arc<Probe>, slot: Slot) {
    let Slot { run_loop, readiness, .. } = &slot;
    let mut stop = slot.stop.clone();
    let mut in_flight = JoinSet::new();
    let mut beside = JoinSet::new();
    let recognized = Arc::clone(&probe);
    beside.spawn(async move { recognized.keep_recognizing().await });
    let mut order = Order { next: 0, length: probe.len(), random: run_loop.random };
    let mut pace = slot.pace(Instant::now());
    let end = slot.end();
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
    let _ = tokio::time::timeout(run_loop.last_answers, ended).await;
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
    // A short delay is made up for, tick by tick. After a long one, such as a suspension of the
    // machine, the missed ticks are left out instead of being sent all at once; returns their
    // number.
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

// Stalls of a busy node are shorter; a longer delay is a suspension.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
// Name services mostly keep their answers for as long as this.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);
// The time from the beginning of the loop until all its schedules run.
const START_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::args::{self, Asked};
    use crate::client::{Resolver, Route};
    use crate::metrics::Metrics;
    use crate::output::{Full, Output};
    use crate::probe::Equipment;
    use crate::settings::Settings;
    use crate::testfile::Case;

    #[test]
    fn makes_up_for_a_short_delay_and_leaves_out_ticks_after_a_long_one() {
        let start = Instant::now();
        let mut pace = Pace { next: start, interval: Duration::from_millis(100) };
        assert_eq!(pace.advance(start + Duration::from_millis(999)), 0);
        assert_eq!(pace.next, start + Duration::from_millis(100));
        assert_eq!(pace.advance(start + Duration::from_millis(10_250)), 100);
        assert_eq!(pace.next, start + Duration::from_millis(10_200));
    }

    #[test]
    fn schedules_share_the_interval_and_a_late_one_keeps_to_its_part() {
        let thirds: Vec<_> = (0..3).map(|number| Part::of_all().split(number, 3).start).collect();
        assert_eq!(thirds, [0.0, 1.0 / 3.0, 2.0 / 3.0]);
        let half_of_last = Part::of_all().split(2, 3).split(1, 2);
        assert!((half_of_last.start - 5.0 / 6.0).abs() < 1e-9);
        let (_, stop) = Stop::new();
        let (run_loop, readiness) = (run_loop(Duration::from_millis(300)), Readiness::default());
        let begin = Instant::now();
        let part = Part { start: 0.5, length: 0.5 };
        let lookup_interval = LOOKUP_INTERVAL;
        let slot = Slot { run_loop, stop, readiness, begin, part, lookup_interval };
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(slot.pace(at(1)).next, at(150));
        assert_eq!(slot.pace(at(140)).next, at(150));
        assert_eq!(slot.pace(at(151)).next, at(450));
        assert_eq!(slot.pace(at(30_000)).next, at(30_150));
    }

    #[test]
    fn a_newcomer_gets_the_middle_of_the_largest_gap() {
        let quarter = Part { start: 0.25, length: 0.25 };
        for (part, taken, expected) in [
            (Part::of_all(), vec![], 0.0),
            (Part::of_all(), vec![0.0], 0.5),
            (Part::of_all(), vec![0.5], 0.0),
            // The first of three addresses has gone: the second place in a list of three is taken.
            (Part::of_all(), vec![0.75, 0.25, 0.5], 0.0),
            (Part::of_all(), vec![0.5, 0.0], 0.75),
            (Part::of_all(), vec![0.0, 0.375, 0.5], 0.75),
            (quarter, vec![0.25], 0.375),
            (quarter, vec![0.375], 0.25),
        ] {
            let mut all = taken.clone();
            let part = part.free(&mut all);
            assert!((part.start - expected).abs() < 1e-9, "{taken:?}: {part:?}");
            assert_eq!(all.len(), taken.len() + 1);
        }
        let mut taken = vec![0.0, 0.5];
        for _ in 0..100 {
            Part::of_all().free(&mut taken);
        }
        taken.sort_by(f64::total_cmp);
        let least = taken.windows(2).map(|two| two[1] - two[0]).fold(1.0, f64::min);
        assert!(least > 0.007 && taken.iter().all(|start| (0.0..1.0).contains(start)), "{least}");
    }

    #[tokio::test]
    async fn a_failed_lookup_keeps_the_known_addresses() {
        let address = |last| Some(SocketAddr::from(([10, 0, 0, last], 80)));
        let found = |all: &[u8]| all.iter().filter_map(|last| address(*last)).collect();
        let mut running = HashMap::new();
        assert_eq!(wanted(None, &running), [None]);
        assert_eq!(wanted(Some(found(&[1, 2])), &running), [address(1), address(2)]);
        let handle = tokio::spawn(async {}).abort_handle();
        running.insert(address(1), Running { handle, start: 0.0 });
        assert_eq!(wanted(None, &running), [address(1)]);
        assert_eq!(wanted(Some(found(&[3])), &running), [address(3)]);
    }

    /// The address of a server that answers 200 to everything.
    async fn answering() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Requests are small and arrive one at a time.
                    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        let _ = stream.write_all(answer).await;
                    }
                });
            }
        });
        address
    }

    /// The probes of every address that `resolver` finds.
    fn probes(resolver: Resolver) -> (ServerProbes, RunLoop, Metrics) {
        let words = "-s http://name.invalid -f t.json -r --resolve-all -l 10 -g None".split(' ');
        let asked = args::parse(words.map(str::to_owned), Vec::new()).unwrap();
        let Asked::Probe(arguments) = asked else { panic!("these are options of the prober") };
        let settings = Settings::new(&arguments).unwrap();
        let run_loop = settings.run_loop.clone().unwrap();
        let case = Case { path: "/".to_owned(), verb: "GET".to_owned(), ..Case::default() };
        let cases = vec![Arc::new(case)];
        let metrics = Metrics::new(&settings, &run_loop, &cases).unwrap();
        let full = Full::Drop(metrics.lines_dropped());
        let output = Output::start(settings.log_format, full).unwrap();
        let target = settings.servers[0].clone();
        let equipment = Equipment { settings, cases, output, metrics: Some(metrics.clone()) };
        let route = Route { resolver, ..Route::default() };
        (ServerProbes::new(Arc::new(equipment), &target, route).unwrap(), run_loop, metrics)
    }

    /// How often an address was asked, by its series; `None` if it has none.
    fn asked(metrics: &Metrics, address: SocketAddr) -> Option<u64> {
        let page = String::from_utf8(metrics.page()).unwrap();
        let label = format!("address=\"{address}\"");
        let mut lines = page.lines().filter(|line| line.contains(&label)).peekable();
        lines.peek()?;
        let count = lines.find(|line| line.starts_with("WebVDuration_count"));
        Some(count.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap()))
    }

    async fn until(metrics: &Metrics, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok(), "{}", String::from_utf8(metrics.page()).unwrap());
    }

    #[tokio::test]
    async fn a_later_lookup_adds_new_addresses_and_ends_those_that_are_gone() {
        let (gone, stays, new) = (answering().await, answering().await, answering().await);
        let found = Arc::new(Mutex::new(vec![gone, stays]));
        let known = Arc::clone(&found);
        let resolver = Resolver::with_lookup(Vec::new(), move |_| {
            let found = known.lock().unwrap().clone();
            Box::pin(async move { Ok(found) })
        });
        let (server, run_loop, metrics) = probes(resolver);
        let (ask, stop) = Stop::new();
        let slot = Slot {
            run_loop,
            stop,
            readiness: Readiness::default(),
            begin: Instant::now(),
            part: Part::of_all(),
            lookup_interval: Duration::from_millis(20),
        };
        let running = tokio::spawn(every_address(server, slot));
        let asked = |address| asked(&metrics, address);
        until(&metrics, || asked(gone) >= Some(1) && asked(stays) >= Some(50)).await;
        assert_eq!(asked(new), None);
        *found.lock().unwrap() = vec![stays, new];
        until(&metrics, || asked(gone).is_none() && asked(new) >= Some(1)).await;
        // Its series goes on; a new one would not have come so far yet.
        assert!(asked(stays) >= Some(50));
        *found.lock().unwrap() = vec![gone, stays];
        until(&metrics, || asked(gone) >= Some(1) && asked(new).is_none()).await;
        ask.send(1).unwrap();
        running.await.unwrap();
    }

    fn run_loop(interval: Duration) -> RunLoop {
        RunLoop {
            interval,
            duration: None,
            random: false,
            port: 1,
            max_concurrent: 1,
            resolve_all: false,
            last_answers: interval,
            metrics: crate::settings::MetricsChoice::All,
            buckets: Vec::new(),
        }
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
