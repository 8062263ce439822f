//! Searches for the largest packet that passes, down and up.
//!
//! TCP makes its segments as large as both ends have announced. TCP_MAXSEG on the prober's own
//! socket limits both directions, so the exact size of a connection's packets is known: the segment
//! with its options, and the headers of TCP and IP. A message is as long on the wire as one segment
//! if the server can send that; otherwise it is longer, so that it contains a segment of full size.
//! If the message arrives, packets of this size pass. If it does not, although shorter ones do,
//! such packets disappear.

use std::io;
use std::time::Duration;

use heartbeat_tcp_info::TcpInfo;
use tokio::task::JoinSet;

use super::report::{Direction, Packets};
use super::site::{SMALL_BYTES, Site};
use super::wire::{Destination, MAXSEG_MAX, Shape, Wire};
use crate::timing::{FIELD, ServerTiming};

/// The result for one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    pub(super) packets: Packets,
    /// The smallest packet that does not pass, if there is a black hole.
    pub(super) lost: Option<u32>,
}

/// The fate of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// It arrived, and its largest packet had this size.
    Passed { packet: u32, mss: u32, path_mtu: Option<u32> },
    /// Nothing came back in time.
    Silent,
}

/// Finds the largest packet that passes in one direction. `rtt` is that of small requests.
///
/// # Errors
///
/// The server does not accept a connection, or its answers are too small to fill a packet.
pub(super) async fn search(
    to: &Destination,
    site: &Site,
    direction: Direction,
    rtt: Duration,
) -> io::Result<Search> {
    let patience = HANG + rtt * 4;
    let mut natural = trial(to, site, direction, None, patience).await?;
    // In the direction up, only the prober's packets may be large. The certificates of a server
    // fill packets, which disappear in a black hole of the other direction. A sender uses at most
    // half of the window for a segment (Linux's tcp_bound_to_half_wnd).
    let keeps_small = natural == Trial::Silent && direction == Direction::Up && to.trust.is_some();
    let receive_buffer = keeps_small.then_some(SMALL_WINDOW_BYTES);
    let to = &Destination { shape: Shape { receive_buffer, ..to.shape }, ..to.clone() };
    // A handshake with a small window takes more round trips.
    let patience = if keeps_small { patience + rtt * SMALL_WINDOW_ROUNDS } else { patience };
    if keeps_small {
        natural = trial(to, site, direction, None, patience).await?;
    }
    if let Trial::Passed { packet, mss, path_mtu } = natural {
        return Ok(Search { packets: passed(packet, mss, path_mtu), lost: None });
    }
    let ceiling = ceiling(to, direction).await?;
    let (largest, lost) = narrow(to, site, direction, patience, ceiling).await?;
    let Some(Trial::Passed { packet, mss, path_mtu }) = largest else {
        let packets = Packets { black_hole: Some(true), ..Packets::default() };
        return Ok(Search { packets, lost: Some(lost.unwrap_or(PACKET_MIN)) });
    };
    let black_hole = lost.is_some();
    let packets = Packets { black_hole: Some(black_hole), ..passed(packet, mss, path_mtu) };
    Ok(Search { packets, lost })
}

fn passed(packet: u32, mss: u32, path_mtu: Option<u32>) -> Packets {
    Packets { mss: Some(mss), path_mtu, largest: Some(packet), black_hole: Some(false) }
}

/// The largest packet that both ends would use without our limit.
async fn ceiling(to: &Destination, direction: Direction) -> io::Result<u32> {
    // This connection has no TLS, because the handshake may be what hangs.
    let plain = Destination { trust: None, ..to.clone() };
    let wire = within(CONNECT_TIME_MAX, Wire::open(&plain)).await?;
    let facts = wire.facts()?;
    let segment = match direction {
        Direction::Down => facts.advertised_mss + option_bytes(&facts),
        Direction::Up => segment_bytes(&facts),
    };
    Ok(segment.min(MAXSEG_MAX) + to.header_bytes())
}

/// Tries many sizes at a time, then those between the largest that passed and the smallest that did
/// not, until these two are adjacent.
async fn narrow(
    to: &Destination,
    site: &Site,
    direction: Direction,
    patience: Duration,
    ceiling: u32,
) -> io::Result<(Option<Trial>, Option<u32>)> {
    let mut largest: Option<Trial> = None;
    let (mut low, mut lost) = (PACKET_MIN, None);
    loop {
        let high = lost.unwrap_or(ceiling + 1);
        let sizes = candidates(low, high, largest.is_none());
        if sizes.is_empty() {
            return Ok((largest, lost));
        }
        let mut trials = JoinSet::new();
        for size in sizes {
            let (to, site) = (to.clone(), site.clone());
            let mss = size - to.header_bytes();
            trials.spawn(
                async move { (size, trial(&to, &site, direction, Some(mss), patience).await) },
            );
        }
        let mut results = trials.join_all().await;
        results.sort_unstable_by_key(|(size, _)| *size);
        let best = results.iter().rev().find_map(|(size, result)| match result {
            Ok(trial @ Trial::Passed { packet, .. }) => Some((*size, *packet, *trial)),
            _ => None,
        });
        // A sender that has learned of a smaller path MTU uses smaller segments than it may.
        let shorter = best.is_some_and(|(size, packet, _)| packet < size);
        if let Some((size, _, trial)) = best {
            (low, largest) = (size, Some(trial));
        }
        // If a larger size passed, this one was lost by chance.
        let is_lost = |size: u32, result: &io::Result<Trial>| {
            (size > low || largest.is_none()) && matches!(result, Ok(Trial::Silent))
        };
        let losses = results.iter().filter(|(size, result)| is_lost(*size, result));
        lost = losses.map(|(size, _)| *size).min().or(lost);
        if shorter || largest.is_none() || low == ceiling {
            return Ok((largest, lost.filter(|lost| *lost > low || largest.is_none())));
        }
    }
}

/// Sizes strictly between `low` and `high`; `with_low` includes `low`, while no size is known to
/// pass.
fn candidates(low: u32, high: u32, with_low: bool) -> Vec<u32> {
    let first = if with_low { low } else { low + 1 };
    if first >= high {
        return Vec::new();
    }
    let last = high - 1;
    let span = last - first;
    let steps = span.clamp(1, TRIALS_AT_A_TIME - 1);
    let mut sizes: Vec<u32> = (0..=steps).map(|step| first + span * step / steps).collect();
    sizes.dedup();
    sizes
}

async fn trial(
    to: &Destination,
    site: &Site,
    direction: Direction,
    mss: Option<u32>,
    patience: Duration,
) -> io::Result<Trial> {
    let to = Destination { shape: Shape { mss, ..to.shape }, ..to.clone() };
    // A lost SYN says nothing about large packets, so connecting has a limit of its own. A TLS
    // handshake has not, because its certificates fill packets.
    let open = if to.trust.is_none() { CONNECT_TIME_MAX } else { HANDSHAKE + patience };
    let mut wire = match within(open, Wire::open(&to)).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut && to.trust.is_some() => {
            return Ok(Trial::Silent);
        }
        other => other?,
    };
    let exchange = async {
        match direction {
            Direction::Down => down(&mut wire, &to, site).await,
            Direction::Up => up(&mut wire, &to, site).await,
        }
    };
    let done = match tokio::time::timeout(patience, exchange).await {
        Err(_) => Ok(Trial::Silent),
        Ok(done) => done,
    };
    // Data that still hangs must not be retransmitted.
    let _ = wire.reset_on_drop();
    done
}

async fn down(wire: &mut Wire, to: &Destination, site: &Site) -> io::Result<Trial> {
    let segment = u64::from(wire.facts()?.advertised_mss);
    let exact = is_exact(to, site).then_some(segment).filter(|bytes| *bytes <= site.sizes.1);
    let enough = segment.min(FULL_MAX) * SEGMENTS_ENOUGH;
    let path = match exact {
        Some(bytes) => format!("{}wire/{bytes}", site.uri),
        None => site.path(enough),
    };
    // Another server's page may have any length.
    let answer = wire.ask_for(&to.get(&path, ""), enough).await?;
    let facts = wire.facts()?;
    let received = facts.bytes_received.unwrap_or(answer.body_bytes);
    if !fills(received, exact, &facts) || facts.rcv_mss <= RCV_MSS_HINT {
        let why = format!("an answer of {received} bytes fills no packet");
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    let told = ServerTiming::of_values(answer.head.all(FIELD)).filter(|_| site.is_direct);
    // The kernel made the segments of the answer before it had learned all about the path, so the
    // server's facts may be out of date. A second request gets the latest.
    let asked_again = match answer.is_whole {
        true => wire.ask(&site.small_request(to)).await.ok(),
        false => None,
    };
    let latest = asked_again
        .and_then(|answer| ServerTiming::of_values(answer.head.all(FIELD)))
        .filter(|_| site.is_direct)
        .or(told);
    let options = option_bytes(&facts);
    Ok(Trial::Passed {
        packet: facts.rcv_mss + options + to.header_bytes(),
        mss: facts.rcv_mss,
        path_mtu: latest.and_then(|told| told.path_mtu),
    })
}

async fn up(wire: &mut Wire, to: &Destination, site: &Site) -> io::Result<Trial> {
    let mss = wire.facts()?.mss;
    if to.trust.is_none() {
        wire.write(&one_segment(to, site, mss as usize)).await?;
    } else {
        // TLS records are longer than their content: two segments' worth contains one of full size.
        wire.write(&one_segment(to, site, mss as usize * 2)).await?;
    }
    // The kernel's acknowledgements count, not the answer: a server may reject uploads.
    loop {
        let facts = wire.facts()?;
        if facts.unacked == 0 && facts.notsent_bytes.unwrap_or(0) == 0 {
            return Ok(Trial::Passed {
                packet: segment_bytes(&facts) + to.header_bytes(),
                mss: facts.mss,
                path_mtu: Some(facts.path_mtu),
            });
        }
        tokio::time::sleep(ACKNOWLEDGEMENT_POLL).await;
    }
}

/// Whether at least one packet was as large as the server may send it, of those that carried
/// `received` bytes. If few bytes came in small packets, they were all that there was to send.
fn fills(received: u64, exact: Option<u64>, facts: &TcpInfo) -> bool {
    let full = u64::from(facts.advertised_mss).min(FULL_MAX);
    match exact {
        Some(bytes) => received >= bytes,
        None => u64::from(facts.rcv_mss) >= full || received >= full * SEGMENTS_ENOUGH,
    }
}

/// Whether the server can send a message of an exact length on the wire.
fn is_exact(to: &Destination, site: &Site) -> bool {
    site.is_direct && to.trust.is_none()
}

/// A request of exactly `bytes` bytes, in one segment: hosts may merge several segments, and the
/// length of the merged one says nothing.
fn one_segment(to: &Destination, site: &Site, bytes: usize) -> Vec<u8> {
    let path = site.path(SMALL_BYTES);
    // A body may have an effect on another server; a long field is harmless.
    let body = if site.is_heartbeat() { bytes.saturating_sub(HEAD_ROOM) } else { 0 };
    let head = |padding: usize| {
        let padding = format!("X-Padding: {}\r\n", "0".repeat(padding));
        match body {
            0 => to.get(&path, &padding),
            body => to.post(&path, body as u64, &padding),
        }
    };
    let mut request = head(bytes.saturating_sub(body + head(0).len())).into_bytes();
    request.resize(request.len() + body, b'0');
    request
}

/// Bytes of the largest segment that this side sends, including its options.
fn segment_bytes(facts: &TcpInfo) -> u32 {
    facts.mss + option_bytes(facts)
}

fn option_bytes(facts: &TcpInfo) -> u32 {
    if facts.has_timestamps { TIMESTAMP_BYTES } else { 0 }
}

async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| Err(late()))
}
/// RFC 7323 appendix A: the option and its padding.
const TIMESTAMP_BYTES: u32 = 12;
/// Linux assumes this segment size until it has received one (TCP_MSS_DEFAULT).
const RCV_MSS_HINT: u32 = 536;
/// Larger segments do not fit into half of the first window (Linux's tcp_bound_to_half_wnd).
const FULL_MAX: u64 = MAXSEG_MAX as u64;
/// So many segments' worth of bytes contains a full one, even if the first and the last are short.
const SEGMENTS_ENOUGH: u64 = 3;
/// RFC 791: every host accepts packets of this size.
const PACKET_MIN: u32 = 576;
/// Limits segments to 1,260 bytes, whatever part of the buffer the kernel announces.
const SMALL_WINDOW_BYTES: usize = 1400;
/// Enough for certificates of six kilobytes in segments of half a window.
const SMALL_WINDOW_ROUNDS: u32 = 10;
/// A lost segment is retransmitted after about 200, 600 and 1,400 ms: three of four may be lost.
const HANG: Duration = Duration::from_millis(1500);
/// Long enough for a second SYN, which is sent after one second, and a third after three.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(3500);
/// The time for the round trips of a handshake, before its certificates count as hanging.
const HANDSHAKE: Duration = Duration::from_millis(500);
/// Connections at a time; with these, two rounds find the exact size for any MTU up to 1500.
const TRIALS_AT_A_TIME: u32 = 32;
/// Room for the head of a request with a body.
const HEAD_ROOM: usize = 480;
const ACKNOWLEDGEMENT_POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_fills_exactly_one_segment() {
        let to = Destination {
            address: ([127, 0, 0, 1], 80).into(),
            authority: "host.example".to_owned(),
            trust: None,
            shape: Shape::default(),
            used: std::sync::Arc::default(),
            used_max: u64::MAX,
        };
        for is_heartbeat in [true, false] {
            let site = Site::of(is_heartbeat);
            for bytes in [536, 1448, 1449, 8948, 65_483] {
                let request = one_segment(&to, &site, bytes);
                assert_eq!(request.len(), bytes);
                assert_eq!(request.starts_with(b"POST"), is_heartbeat);
            }
        }
    }

    #[test]
    fn small_packets_say_nothing_unless_they_carry_much() {
        let of = |received, exact, rcv_mss, advertised_mss| {
            let facts = TcpInfo { rcv_mss, advertised_mss, ..TcpInfo::default() };
            fills(received, exact, &facts)
        };
        // The answers of a TLS handshake, and a short page.
        assert!(!of(1300, None, 836, 1448));
        assert!(!of(4343, None, 836, 1448));
        // A full segment, or a smaller path MTU that the server knows.
        assert!(of(1500, None, 1448, 1448));
        assert!(of(4344, None, 1348, 1448));
        assert!(of(1448, Some(1448), 1348, 1448));
        assert!(!of(1000, Some(1448), 1000, 1448));
        // The first window of the loopback interface limits the segments.
        assert!(of(100_000, None, 32_768, 65_483));
    }

    #[test]
    fn candidates_are_between_what_passes_and_what_does_not() {
        assert_eq!(candidates(576, 1501, true).first(), Some(&576));
        assert_eq!(candidates(576, 1501, true).last(), Some(&1500));
        assert_eq!(candidates(1399, 1401, false), [1400]);
        assert!(candidates(1400, 1401, false).is_empty());
        assert_eq!(candidates(1400, 1403, false), [1401, 1402]);
        for high in [600, 1501, 9001, 65_536] {
            let sizes = candidates(576, high, false);
            assert!(sizes.len() <= TRIALS_AT_A_TIME as usize, "{high}");
            assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{high}");
            assert!(sizes[0] == 577 && sizes.last() == Some(&(high - 1)), "{high}");
        }
    }
}
