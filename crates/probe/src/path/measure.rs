//! The order of the measurements, and how much time and how many bytes each may take.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::args::PathArgs;
use super::flow::{self, Outcome, Plan};
use super::latency;
use super::loaded::{self, Loaded};
use super::middle;
use super::mtu;
use super::names;
use super::progress;
use super::report::{Address, Direction, Idle, Report, Segments, TlsFacts, microseconds};
use super::site::{IDENTITY_BYTES_MAX, Site};
use super::trust::Trust;
use super::wire::{Destination, Shape, Wire};
use crate::client::Target;

/// The measurement of one path.
pub(super) struct Measure<'a> {
    args: &'a PathArgs,
    target: Target,
    trust: Option<Trust>,
    used: Arc<AtomicU64>,
    pub(super) report: Report,
}

impl<'a> Measure<'a> {
    pub(super) fn new(args: &'a PathArgs, target: Target, trust: Option<Trust>) -> Self {
        let report = Report { url: target.to_string(), ..Report::default() };
        Self { args, target, trust, used: Arc::default(), report }
    }

    /// Measures everything; what cannot be measured is noted in the report.
    pub(super) async fn all(&mut self) {
        if let Err(error) = self.phases().await {
            self.report.skip("the rest", error);
        }
    }

    /// What is known so far, even if the measurement was interrupted.
    pub(super) fn into_report(self) -> Report {
        Report { bytes_used: self.used.load(Ordering::Relaxed), ..self.report }
    }

    async fn phases(&mut self) -> io::Result<()> {
        progress("names and addresses");
        let Some(to) = self.find().await? else { return Ok(()) };
        let (to, rtt) = self.first_contact(to).await?;
        let (to, site) = self.identify(to).await?;
        self.introduce(&site);
        let idle = self.args.idle.map(|wait| start_idle(&to, &site, wait));
        progress("the largest packet");
        let to = self.packets(to, &site, rtt).await;
        progress("what is between");
        middle::ask(&to, &site, &mut self.report).await;
        progress("latency");
        let latency = self.latency(&to, &site).await?;
        self.calm(&to, &site).await;
        if self.args.quick {
            self.report.skip("throughput, latency under load", "--quick");
        } else {
            self.transfers(&to, &site, latency).await;
            self.bodies(&to, &site).await;
        }
        if let Some(idle) = idle {
            progress("an idle connection");
            match idle.await.map_err(io::Error::other)? {
                Ok(idle) => self.report.beside.idle = Some(idle),
                Err(error) => self.report.skip("idle connection", error),
            }
        }
        Ok(())
    }

    async fn find(&mut self) -> io::Result<Option<Destination>> {
        let found = match names::find(&self.target).await {
            Ok(found) => found,
            Err(error) => {
                let address = self.target.host().to_owned();
                let error = Some(format!("the name has no address: {error}"));
                let connect_us = None;
                self.report.addresses = vec![Address { address, connect_us, error }];
                return Ok(None);
            }
        };
        self.report.addresses = found.addresses;
        self.report.beside.resolve = found.resolve;
        self.report.beside.chosen = found.chosen.map(|address| address.to_string());
        Ok(found.chosen.map(|address| Destination {
            address,
            authority: self.target.authority().to_string(),
            trust: self.trust.clone(),
            shape: Shape::default(),
            used: Arc::clone(&self.used),
            used_max: self.args.max_bytes,
        }))
    }

    /// Opens the first complete connection, and returns the time of a round trip. If the TLS
    /// handshake hangs, its large packets may be the reason, so it is tried again with small ones.
    async fn first_contact(&mut self, to: Destination) -> io::Result<(Destination, Duration)> {
        let small = careful(&to);
        let mut last = None;
        for to in [to, small] {
            match tokio::time::timeout(FIRST_CONTACT_MAX, Wire::open(&to)).await {
                Ok(Ok(wire)) => {
                    self.report.tls = self.trust.as_ref().map(|trust| tls(trust, &wire));
                    return Ok((to, wire.opened.connect));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => last = Some(to),
            }
        }
        let what = if last.is_some_and(|to| to.trust.is_some()) { "TLS" } else { "TCP" };
        let text = format!("{what} does not open a connection in time");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// Identifies the server. If an answer hangs, its large packets may be the reason, too.
    async fn identify(&self, to: Destination) -> io::Result<(Destination, Site)> {
        match Site::identify(&to, &self.target).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && to.shape.mss.is_none() => {
                let to = careful(&to);
                let site = Site::identify(&to, &self.target).await?;
                Ok((to, site))
            }
            other => Ok((to, other?)),
        }
    }

    fn introduce(&mut self, site: &Site) {
        self.report.server.clone_from(&site.server);
        self.report.beside.is_identified = true;
        self.report.beside.is_direct = site.is_direct;
        self.report.beside.rewritten.clone_from(&site.rewritten);
        if !site.is_heartbeat() && !site.is_whole {
            let read = IDENTITY_BYTES_MAX >> 10;
            let why = format!("it is longer than {read} KB, so only its beginning is read");
            self.report.skip("the rest of the page", why);
        }
        if site.is_heartbeat() && !site.tells {
            let why = "the server does not answer ?timing: it is older, or its TCP facts are off";
            self.report.skip("the server's account", why);
        }
    }

    /// Returns the destination of all later measurements, with smaller segments if large ones do
    /// not pass.
    async fn packets(&mut self, to: Destination, site: &Site, rtt: Duration) -> Destination {
        let free = Destination { shape: Shape::default(), ..to.clone() };
        let search = |direction| mtu::search(&free, site, direction, rtt);
        let (down, up) = tokio::join!(search(Direction::Down), search(Direction::Up));
        let mut clamp: Option<u32> = None;
        for (direction, search) in [(Direction::Down, down), (Direction::Up, up)] {
            match search {
                Ok(search) => {
                    *self.report.mtu.of_mut(direction) = search.packets;
                    *self.report.beside.lost_packet.of_mut(direction) = search.lost;
                    if search.lost.is_some() {
                        let largest = search.packets.largest.unwrap_or(MSS_CAREFUL);
                        let mss = largest.saturating_sub(to.header_bytes());
                        clamp = Some(clamp.map_or(mss, |least| least.min(mss)));
                    }
                }
                Err(error) => {
                    let what = match direction {
                        Direction::Down => "packets down",
                        Direction::Up => "packets up",
                    };
                    self.report.skip(what, error);
                }
            }
        }
        if let Some(mss) = clamp {
            self.report.beside.clamped = Some(mss);
            let why = format!("everything else is measured with segments of up to {mss} bytes");
            self.report.skip("large packets", why);
        }
        Destination { shape: Shape { mss: clamp, ..Shape::default() }, ..to }
    }

    /// Returns the median of small requests.
    async fn latency(&mut self, to: &Destination, site: &Site) -> io::Result<Duration> {
        let small = latency::small(to, site, self.share(LATENCY_SHARE)).await?;
        self.report.latency_us = small.latency;
        self.report.beside.requests = small.requests;
        // With one segment at a time, nothing shows which of the server's retransmissions were
        // superfluous.
        self.count(Direction::Down, small.segments.down, false, site);
        self.count(Direction::Up, small.segments.up, true, site);
        match latency::openings(to, site, self.share(OPENINGS_SHARE)).await {
            Ok(opening) => self.report.beside.opening = Some(opening),
            Err(error) => self.report.skip("new connections", error),
        }
        Ok(Duration::from_secs_f64(small.latency.p50.unwrap_or_default() / 1e6))
    }

    /// Measures loss while so few segments are under way that no queue overflows.
    async fn calm(&mut self, to: &Destination, site: &Site) {
        for direction in [Direction::Down, Direction::Up] {
            if let Some(why) = self.unable(site, direction) {
                self.report.skip("loss", why);
                continue;
            }
            let mss = self.report.mtu.of(direction).mss.unwrap_or(MSS_CAREFUL) as usize;
            let bytes = Some((mss * CALM_SEGMENTS).max(CALM_BYTES_MIN));
            let shape = match direction {
                Direction::Down => Shape { receive_buffer: bytes, ..Shape::default() },
                Direction::Up => Shape { send_buffer: bytes, ..Shape::default() },
            };
            let plan = Plan {
                to: to.shaped(shape),
                streams: 1,
                time: self.share(CALM_SHARE),
                size_max: CALM_SIZE_MAX,
                used_max: self.used_max(CALM_BYTES_SHARE),
                site: site.clone(),
                direction,
            };
            let outcome = transfer(plan).await;
            self.count(direction, outcome.segments, true, site);
        }
    }

    async fn transfers(&mut self, to: &Destination, site: &Site, idle: Duration) {
        for direction in [Direction::Down, Direction::Up] {
            let name = match direction {
                Direction::Down => "throughput down",
                Direction::Up => "throughput up",
            };
            if let Some(why) = self.unable(site, direction) {
                self.report.skip(name, why);
                continue;
            }
            progress(name);
            let plan = Plan {
                to: to.clone(),
                streams: 1,
                time: self.share(SINGLE_SHARE),
                size_max: flow::SIZE_MAX,
                used_max: self.used_max(SINGLE_BYTES_SHARE),
                site: site.clone(),
                direction,
            };
            let single = transfer(plan.clone()).await;
            self.count(direction, single.segments, false, site);
            loaded::settle(to, site, idle).await;
            let time = self.share(LOADED_SHARE);
            let used_max = self.used_max(LOADED_BYTES_SHARE);
            let plan = Plan { streams: STREAMS, time, used_max, ..plan };
            // Assumes that eight streams are twice as fast as one.
            let expected = plan.lasts(single.bits_per_second.map(|rate| rate * 2));
            let loaded = match loaded::run(plan, to, expected).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    let outcome = Outcome { error: Some(error.to_string()), ..Outcome::default() };
                    Loaded { outcome, ..Loaded::default() }
                }
            };
            self.count(direction, loaded.outcome.segments, false, site);
            self.enter(direction, &single, &loaded, name);
            loaded::settle(to, site, idle).await;
        }
    }

    fn enter(&mut self, way: Direction, single: &Outcome, loaded: &Loaded, name: &'static str) {
        let rates = &mut self.report.throughput_bps;
        let (one, eight) = match way {
            Direction::Down => (&mut rates.down_1, &mut rates.down_8),
            Direction::Up => (&mut rates.up_1, &mut rates.up_8),
        };
        (*one, *eight) = (single.bits_per_second, loaded.outcome.bits_per_second);
        *self.report.loaded_latency_us.of_mut(way) = loaded.latency;
        *self.report.beside.loaded_connect_us.of_mut(way) = loaded.connect.map(microseconds);
        *self.report.rpm.of_mut(way) = loaded.round_trips_per_minute;
        if single.bits_per_second.is_none() || loaded.outcome.bits_per_second.is_none() {
            let error = single.error.as_ref().or(loaded.outcome.error.as_ref());
            let why = error.map_or("too few bytes are left (--max-bytes)", String::as_str);
            self.report.skip(name, why);
        } else if loaded.latency.p50.is_none() {
            let what = match way {
                Direction::Down => "latency under load down",
                Direction::Up => "latency under load up",
            };
            self.report.skip(what, "the bytes were used up too soon (--max-bytes)");
        }
    }

    /// Sends large bodies: a proxy that accepts their length may still reject them later.
    async fn bodies(&mut self, to: &Destination, site: &Site) {
        let (Some(accepted), Some(rate)) =
            (self.report.middle.body_max, self.report.throughput_bps.up_8)
        else {
            return;
        };
        progress("large bodies");
        let left = self.args.max_bytes.saturating_sub(self.used.load(Ordering::Relaxed));
        match middle::send_bodies(to, site, accepted, left, rate).await {
            Ok(accepted) => self.report.middle.body_max = Some(accepted),
            Err(error) => self.report.skip("large bodies", error),
        }
    }

    /// Counts segments of this path. If a proxy is in between, the server's own counters belong to
    /// another path.
    fn count(&mut self, way: Direction, segments: Segments, calm: bool, site: &Site) {
        if way == Direction::Down && !site.is_direct {
            return;
        }
        self.report.retransmitted.of_mut(way).add(segments);
        if calm {
            self.report.beside.calm.of_mut(way).add(segments);
        }
    }

    /// Why nothing can be transferred in this direction.
    fn unable(&self, site: &Site, direction: Direction) -> Option<&'static str> {
        match direction {
            _ if site.is_heartbeat() => None,
            Direction::Down if site.body_bytes >= FOREIGN_BODY_MIN => None,
            Direction::Down => Some("the server is not a Heartbeat, and its answer is too small"),
            Direction::Up => {
                Some("the server is not a Heartbeat, and only a Heartbeat accepts any body")
            }
        }
    }

    fn share(&self, share: f64) -> Duration {
        self.args.duration.mul_f64(share)
    }

    /// How many bytes may have been sent and received at the end of a phase with this share.
    fn used_max(&self, share: f64) -> u64 {
        let used = self.used.load(Ordering::Relaxed);
        (used + (self.args.max_bytes as f64 * share) as u64).min(self.args.max_bytes)
    }
}

/// The same destination with segments that pass nearly everywhere.
fn careful(to: &Destination) -> Destination {
    to.shaped(Shape { mss: Some(MSS_CAREFUL), ..Shape::default() })
}

async fn transfer(plan: Plan) -> Outcome {
    let failed = |error: String| Outcome { error: Some(error), ..Outcome::default() };
    match flow::start(plan) {
        Ok(told) => told.await.unwrap_or_else(|error| failed(error.to_string())),
        Err(error) => failed(error.to_string()),
    }
}

fn start_idle(to: &Destination, site: &Site, wait: Duration) -> JoinHandle<io::Result<Idle>> {
    let (to, site) = (to.clone(), site.clone());
    tokio::spawn(async move { middle::idle(&to, &site, wait).await })
}

fn tls(trust: &Trust, wire: &Wire) -> TlsFacts {
    let certificate = trust.certificate();
    let expires = certificate.expires.and_then(|at| Timestamp::from_second(at).ok());
    let days = |at: Timestamp| (at.as_second() - Timestamp::now().as_second()).div_euclid(86_400);
    TlsFacts {
        version: wire.tls_version(),
        expires: expires.map(|at| at.to_string()),
        trusted: certificate.refusal.is_none(),
        refusal: certificate.refusal,
        days_left: expires.map(days),
    }
}

// Shares of --duration. Together they are about nine tenths; the rest is for names, packets and
// proxies.
const LATENCY_SHARE: f64 = 0.12;
const OPENINGS_SHARE: f64 = 0.05;
const CALM_SHARE: f64 = 0.07;
const SINGLE_SHARE: f64 = 0.1;
const LOADED_SHARE: f64 = 0.2;
// Shares of --max-bytes; the rest is for large bodies.
const CALM_BYTES_SHARE: f64 = 0.04;
const SINGLE_BYTES_SHARE: f64 = 0.14;
const LOADED_BYTES_SHARE: f64 = 0.26;
/// A few more than a browser opens.
const STREAMS: usize = 8;
/// The size of a buffer in segments. The kernel doubles it (socket(7), SO_RCVBUF), so that up to 15
/// segments are in flight down, and up to 35 up: the queue of every router has room for so few.
const CALM_SEGMENTS: usize = 12;
/// Small, because each answer carries the server's counters.
const CALM_SIZE_MAX: u64 = 32 << 10;
const CALM_BYTES_MIN: usize = 8 << 10;
/// Small enough for every path that carries IPv6.
const MSS_CAREFUL: u32 = 1200;
/// A rate needs more bytes than the first congestion window.
const FOREIGN_BODY_MIN: u64 = 64 << 10;
const FIRST_CONTACT_MAX: Duration = Duration::from_secs(4);
