//! Asks what is between prober and server: whether it compresses, limits or buffers bodies, changes
//! their framing, handles `Expect`, or closes idle connections.

use std::io;
use std::time::{Duration, Instant};

use super::head::Head;
use super::report::{Idle, Report};
use super::site::{SMALL_BYTES, Site};
use super::wire::{self, Destination, Wire};
use crate::timing::{FIELD, ServerTiming};

/// Asks all questions that need few bytes, and writes the answers into `report`.
pub(super) async fn ask(to: &Destination, site: &Site, report: &mut Report) {
    report.middle.via = via(site);
    report.beside.lowered = lowered(site);
    report.http_version = Some(format!("HTTP/1.{}", site.head.minor_version));
    if site.is_heartbeat() {
        // A Heartbeat never sends chunks.
        report.middle.chunks = Some(site.head.is_chunked());
    } else {
        report.skip("chunks", "only a Heartbeat is known to send a length always");
    }
    match within(compresses(to, site)).await {
        Ok(compresses) => report.middle.compresses = Some(compresses),
        Err(error) => report.skip("compression", error),
    }
    if !site.is_heartbeat() {
        report.skip(
            "uploads",
            "the server is not a Heartbeat, and only a Heartbeat accepts any body",
        );
        return;
    }
    match within(expect(to, site)).await {
        Ok(handled) => report.middle.expect = Some(handled),
        Err(error) => report.skip("Expect", error),
    }
    match within(buffers_uploads(to, site)).await {
        Ok(Some(buffers)) => report.middle.buffers_uploads = Some(buffers),
        Ok(None) => {
            report.skip("upload buffering", "the server does not report when a body arrived")
        }
        Err(error) => report.skip("upload buffering", error),
    }
    match body_max(to, site).await {
        Ok(bytes) => report.middle.body_max = Some(bytes),
        Err(error) => report.skip("body cap", error),
    }
}

/// Sends bodies up to the size `accepted`, because some proxies check a length only when the bytes
/// arrive. Returns the largest size that was not rejected. `bytes_left` limits what is sent.
pub(super) async fn send_bodies(
    to: &Destination,
    site: &Site,
    accepted: u64,
    bytes_left: u64,
    bits_per_second: u64,
) -> io::Result<u64> {
    let (mut largest, mut bytes_left) = (0, bytes_left);
    for body in BODIES.into_iter().filter(|body| *body <= accepted) {
        let seconds = body as f64 * 8.0 / bits_per_second.max(1) as f64;
        if body > bytes_left || seconds > BODY_SECONDS_MAX {
            return Ok(accepted);
        }
        bytes_left -= body;
        let mut wire = Wire::open(to).await?;
        let sent = async {
            wire.write(to.post(&site.path(SMALL_BYTES), body, "").as_bytes()).await?;
            wire.write_pattern(body).await
        };
        // A server that rejects the body closes the connection before all is sent; its answer can
        // still be read.
        let written = within(sent).await;
        match within(wire.final_head()).await {
            Ok(head) if head.status == TOO_LARGE => return Ok(largest),
            Ok(_) => largest = body,
            Err(_) if written.is_err() => return Ok(largest),
            Err(error) => return Err(error),
        }
    }
    Ok(accepted)
}

/// Leaves a connection idle, and reports whether it was closed meanwhile or is dead afterwards.
pub(super) async fn idle(to: &Destination, site: &Site, wait: Duration) -> io::Result<Idle> {
    let mut wire = Wire::open(to).await?;
    let request = site.small_request(to);
    if within(wire.ask(&request)).await?.head.closes() {
        return Ok(Idle { waited: wait, closed: Some(Duration::ZERO) });
    }
    let start = Instant::now();
    if tokio::time::timeout(wait, wire.closed()).await.is_ok() {
        return Ok(Idle { waited: wait, closed: Some(start.elapsed()) });
    }
    let answer = within(wire.ask(&request)).await;
    Ok(Idle { waited: wait, closed: answer.is_err().then_some(wait) })
}

fn via(site: &Site) -> Option<String> {
    let named: Vec<_> = site.head.all("via").collect();
    match (named.is_empty(), site.is_heartbeat()) {
        (false, _) => Some(named.join(", ")),
        // A Heartbeat sends no `Server` field: a proxy in front of it has added it.
        (true, true) => site.head.field("server").map(str::to_owned),
        (true, false) => None,
    }
}

/// Where HTTP/1.0 was used: in the answer, or on the way as a proxy reports it (RFC 9110 section
/// 7.6.3).
fn lowered(site: &Site) -> Option<String> {
    // Another server may speak only HTTP/1.0.
    if site.head.minor_version == 0 && site.is_heartbeat() {
        return Some("the answer is HTTP/1.0".to_owned());
    }
    let old = site.head.all("via").flat_map(|via| via.split(',')).map(str::trim).find(|hop| {
        let protocol = hop.split_whitespace().next().unwrap_or_default();
        protocol == "1.0" || protocol.eq_ignore_ascii_case("HTTP/1.0")
    })?;
    Some(format!("a proxy got HTTP/1.0: Via: {old}"))
}

async fn compresses(to: &Destination, site: &Site) -> io::Result<bool> {
    let mut wire = Wire::open(to).await?;
    let accept = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
    // The head is enough of another server's answer.
    let expected = COMPRESSIBLE_BYTES.clamp(site.sizes.0, site.sizes.1);
    let request = to.get(&site.path(COMPRESSIBLE_BYTES), accept);
    let answer = wire.ask_for(&request, expected).await?;
    let coded = answer.head.field("content-encoding").is_some_and(|coding| coding != "identity");
    let fewer = site.is_heartbeat() && answer.head.status == 200 && answer.body_bytes < expected;
    Ok(coded || fewer)
}

/// Whether the server or a proxy asks for the body with 100. The body is sent in any case (RFC 9110
/// section 10.1.1): some proxies written in Go have ended or crashed when a client left between the
/// two answers.
async fn expect(to: &Destination, site: &Site) -> io::Result<bool> {
    let (mut wire, first) = announce(to, site, SMALL_BYTES, EXPECT).await?;
    let handled = first.as_ref().is_some_and(|head| head.status == 100);
    if first.is_none_or(|head| head.is_interim()) {
        wire.write_pattern(SMALL_BYTES).await?;
        wire.final_head().await?;
    }
    Ok(handled)
}

/// Sends a body with a pause in the middle, and compares the pause with the time in which the
/// server received the body; `None` if the server does not report it.
async fn buffers_uploads(to: &Destination, site: &Site) -> io::Result<Option<bool>> {
    let mut wire = Wire::open(to).await?;
    wire.write(to.post(&site.path(SMALL_BYTES), UPLOAD_BYTES, "").as_bytes()).await?;
    wire.write_pattern(UPLOAD_BYTES / 2).await?;
    let start = Instant::now();
    tokio::time::sleep(UPLOAD_PAUSE).await;
    let paused = start.elapsed();
    wire.write_pattern(UPLOAD_BYTES - UPLOAD_BYTES / 2).await?;
    let head = wire.final_head().await?;
    let told = ServerTiming::of_values(head.all(FIELD)).and_then(|timing| timing.receive);
    Ok(told.map(|received| received < paused / 2))
}

/// The largest body, of 1, 10 and 100 MB, that is not rejected for its length alone.
async fn body_max(to: &Destination, site: &Site) -> io::Result<u64> {
    let [small, medium, large] = BODIES.map(|body| refuses(to, site, body));
    let refusals = tokio::try_join!(small, medium, large)?;
    let refusals: [bool; BODIES.len()] = refusals.into();
    let taken = BODIES.into_iter().zip(refusals).take_while(|(_, refuses)| !refuses);
    Ok(taken.last().map_or(0, |(body, _)| body))
}

/// Announces a body without `Expect`, for the reason that [`expect`] gives, and sends none of it. A
/// server that accepts the length waits for the body and does not answer.
async fn refuses(to: &Destination, site: &Site, body: u64) -> io::Result<bool> {
    let (wire, answer) = announce(to, site, body, "").await?;
    wire.reset_on_drop()?;
    Ok(answer.is_some_and(|head| head.status == TOO_LARGE))
}

/// Sends the head of a request with a body of `body` bytes on a new connection, and waits for what
/// is answered to that head alone; `None` if that is nothing.
async fn announce(
    to: &Destination,
    site: &Site,
    body: u64,
    fields: &str,
) -> io::Result<(Wire, Option<Head>)> {
    let mut wire = Wire::open(to).await?;
    wire.write(to.post(&site.path(SMALL_BYTES), body, fields).as_bytes()).await?;
    let answer = tokio::time::timeout(REFUSAL_TIME_MAX, wire.head()).await;
    let answer = answer.ok().transpose()?;
    Ok((wire, answer))
}

async fn within<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    wire::within(QUESTION_TIME_MAX, future).await
}

const EXPECT: &str = "Expect: 100-continue\r\n";
const TOO_LARGE: u16 = 413;
/// Large enough for proxies to compress it; they send small bodies as they are.
const COMPRESSIBLE_BYTES: u64 = 16 << 10;
const UPLOAD_BYTES: u64 = 32 << 10;
/// Far longer than a round trip.
const UPLOAD_PAUSE: Duration = Duration::from_millis(400);
/// Common limits are between these sizes: nginx's is 1 MB.
pub(super) const BODIES: [u64; 3] = [1 << 20, 10 << 20, 100 << 20];
/// A body is not sent if that would take longer.
const BODY_SECONDS_MAX: f64 = 0.7;
/// How long to wait for an answer to the head alone.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(700);
const QUESTION_TIME_MAX: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::head::Head;

    fn site(text: &str, is_heartbeat: bool) -> Site {
        let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
        Site { head, ..Site::of(is_heartbeat) }
    }

    #[test]
    fn a_server_field_names_a_proxy_only_before_a_heartbeat() {
        let text = "HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n";
        assert_eq!(via(&site(text, true)).as_deref(), Some("nginx"));
        assert_eq!(via(&site(text, false)), None);
        let text = "HTTP/1.1 200 OK\r\nServer: nginx\r\nVia: 1.1 a\r\nVia: 1.0 b\r\n\r\n";
        assert_eq!(via(&site(text, false)).as_deref(), Some("1.1 a, 1.0 b"));
    }

    #[test]
    fn finds_a_lower_version_in_the_answer_and_on_the_way() {
        assert!(lowered(&site("HTTP/1.0 200 OK\r\n\r\n", false)).is_none());
        let lowered = |text: &str| lowered(&site(text, true)).is_some();
        assert!(lowered("HTTP/1.0 200 OK\r\n\r\n"));
        assert!(lowered("HTTP/1.1 200 OK\r\nVia: 1.1 a, 1.0 b\r\n\r\n"));
        assert!(!lowered("HTTP/1.1 200 OK\r\nVia: 1.1 a, HTTP/1.1 b\r\n\r\n"));
        assert!(!lowered("HTTP/1.1 200 OK\r\n\r\n"));
    }
}
