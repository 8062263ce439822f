//! The latency of small requests while the path carries nothing else: on an open connection, and on
//! new ones.

use std::io;
use std::time::{Duration, Instant};

use heartbeat_tcp_info::TcpInfo;

use super::quantiles::{jitter, quantile};
use super::report::{Both, Latency, Opening, Segments, microseconds};
use super::site::Site;
use super::wire::{Destination, Wire, within};
use crate::timing::{FIELD, ServerTiming};

/// The result of many small requests on one connection.
#[derive(Default)]
pub(super) struct Small {
    pub(super) requests: usize,
    pub(super) latency: Latency,
    pub(super) segments: Both<Segments>,
}

/// Sends up to [`REQUESTS`] small requests one after the other on an open connection.
///
/// # Errors
///
/// The connection cannot be opened, its first request is not answered in time, or it breaks before
/// [`REQUESTS_MIN`] requests. Later, a request without an answer only ends the series.
pub(super) async fn small(to: &Destination, site: &Site, limit: Duration) -> io::Result<Small> {
    let request = site.small_request(to);
    let begin = Instant::now();
    let (mut times, mut servers) = (Vec::new(), Vec::new());
    let (mut near, mut far) = (Vec::new(), Vec::new());
    let mut told = None;
    let mut facts = None;
    let mut segments = Both::default();
    let mut wire = Wire::open(to).await?;
    // The first request is not counted, because it opens TCP's windows.
    within(REQUEST_TIME_MAX, wire.ask(&request)).await?;
    while times.len() < REQUESTS && (begin.elapsed() < limit || times.len() < REQUESTS_MIN) {
        if wire.renew(to).await? {
            count(&mut segments, facts.take(), told.take());
        }
        let answer = match tokio::time::timeout(REQUEST_TIME_MAX, wire.ask(&request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if times.len() < REQUESTS_MIN => return Err(error),
            Ok(Err(_)) | Err(_) => break,
        };
        times.push(answer.took);
        facts = wire.facts().ok();
        near.extend(facts.map(|facts| Duration::from_micros(u64::from(facts.rtt_us))));
        if let Some(timing) = ServerTiming::of_values(answer.head.all(FIELD)) {
            servers.extend(timing.app);
            far.extend(timing.rtt);
            told = Some(timing);
        }
        if begin.elapsed() > limit * 3 {
            break;
        }
    }
    count(&mut segments, facts, told);
    let median = |times: &[Duration]| quantile(times, 0.5).map(microseconds);
    let latency = Latency {
        p50: median(&times),
        p99: quantile(&times, 0.99).map(microseconds),
        jitter: jitter(&times).map(microseconds),
        server: median(&servers),
        // The kernel's value is a moving average; one outlier affects it for a while.
        rtt_client: median(&near),
        rtt_server: median(&far),
    };
    Ok(Small { requests: times.len(), latency, segments })
}

/// Opens new connections one after the other, with a request on each; returns the medians of the
/// phases.
///
/// # Errors
///
/// A connection or its request fails.
pub(super) async fn openings(
    to: &Destination,
    site: &Site,
    limit: Duration,
) -> io::Result<Opening> {
    let request = site.small_request(to);
    let begin = Instant::now();
    let (mut connects, mut handshakes, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    while answers.len() < OPENINGS && (answers.is_empty() || begin.elapsed() < limit) {
        let mut wire = Wire::open(to).await?;
        connects.push(wire.opened.connect);
        handshakes.extend(wire.opened.tls);
        answers.push(wire.ask(&request).await?.took);
    }
    let median = |times: &[Duration]| quantile(times, 0.5);
    Ok(Opening {
        connect: median(&connects).unwrap_or_default(),
        tls: median(&handshakes),
        answer: median(&answers).unwrap_or_default(),
    })
}

fn count(segments: &mut Both<Segments>, facts: Option<TcpInfo>, told: Option<ServerTiming>) {
    if let Some(facts) = facts {
        segments.up.add(Segments::sent(&facts));
    }
    if let Some(told) = told {
        segments.down.add(Segments { segments: told.retransmitted, sent: told.segments });
    }
}

/// Enough for a p99.
const REQUESTS: usize = 200;
/// This many are sent even if the time is over, unless they take three times as long.
const REQUESTS_MIN: usize = 5;
const OPENINGS: usize = 10;
/// A request whose segment was lost twice is answered within this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(3);
