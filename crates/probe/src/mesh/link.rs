//! One connection to a neighbour, and the facts of both kernels about its path.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use heartbeat_tcp_info::tcp_info;
use tokio::net::TcpStream;

use super::neighbour::PathFacts;
use super::samples::Segments;
use crate::client::{Answer, BodySink, ClientError, Connection, Phases, Request};
use crate::timing::ServerTiming;

/// An open connection.
pub(super) struct Link {
    connection: Connection,
    // A duplicate descriptor of the socket, to ask the kernel about it while HTTP owns the other.
    socket: OwnedFd,
    // Bytes of the IP and TCP headers in front of a segment.
    headers: u32,
    seen_up: Segments,
    seen_down: Segments,
}

impl Link {
    /// Connects. With `close`, the server is asked to close after the first answer.
    pub(super) async fn open(address: SocketAddr, close: bool) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Connect { to: address.to_string(), source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        // Heads are small and written at once: waiting to fill a segment would only add delay.
        let _ = stream.set_nodelay(true);
        let socket = stream.as_fd().try_clone_to_owned().map_err(failed)?;
        let connection = Connection::over(stream, close).await?;
        Ok(Self {
            connection,
            socket,
            headers: if address.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 },
            seen_up: Segments::default(),
            seen_down: Segments::default(),
        })
    }

    /// Whether another request may be sent on the connection.
    pub(super) async fn is_reusable(&mut self) -> bool {
        self.connection.is_reusable().await
    }

    /// Bytes received since the connection was opened.
    pub(super) fn bytes_received(&self) -> u64 {
        self.connection.bytes_received()
    }

    /// Sends a request, and passes the body of the answer to `sink`.
    pub(super) async fn request(
        &mut self,
        request: &Request,
        sink: &mut dyn BodySink,
    ) -> Result<Answer, ClientError> {
        self.connection.request(request, sink, &mut Phases::default()).await
    }

    /// The facts about the path since the last call. `server` is what the neighbour has reported in
    /// its last answer.
    pub(super) fn facts(&mut self, server: ServerTiming) -> PathFacts {
        let mut facts = PathFacts { path_mtu: server.path_mtu, ..PathFacts::default() };
        if let Ok(info) = tcp_info(self.socket.as_fd()) {
            facts.rtt = (info.rtt_us > 0).then(|| Duration::from_micros(info.rtt_us.into()));
            let options = if info.has_timestamps { TIMESTAMPS } else { 0 };
            let own_mtu = own_mtu(info.path_mtu, info.mss, self.headers + options);
            facts.path_mtu = [own_mtu, server.path_mtu].into_iter().flatten().min();
            // A rate needs both numbers, so retransmissions count only if the sent segments are
            // known. Those without payload are acknowledgements, which are never retransmitted.
            if let Some(sent) = info.data_segments_out.or(info.segments_out) {
                let again = info.segments_retransmitted.into();
                facts.up = since(&mut self.seen_up, Segments { sent: sent.into(), again });
            }
        }
        if let (Some(sent), Some(again)) = (server.segments, server.retransmitted) {
            facts.down = since(&mut self.seen_down, Segments { sent, again });
        }
        facts
    }
}

/// The largest packet that this side sends. The kernel assumes the MTU of its own interface for the
/// path; the segment size that the peer has announced shows a smaller one at its end.
fn own_mtu(path_mtu: u32, segment: u32, headers: u32) -> Option<u32> {
    let by_segment = segment.saturating_add(headers);
    // On loopback, the window limits the segments instead.
    let is_told = segment > 0 && path_mtu <= NETWORK_MTU_MAX;
    let mtu = if is_told { path_mtu.min(by_segment) } else { path_mtu };
    (mtu > 0).then_some(mtu)
}

/// The increase since `seen`; if the peer's counters decrease, it is zero.
fn since(seen: &mut Segments, now: Segments) -> Segments {
    let new = Segments {
        sent: now.sent.saturating_sub(seen.sent),
        again: now.again.saturating_sub(seen.again).min(now.sent),
    };
    *seen = now;
    new
}

const HEADERS_V4: u32 = 20 + 20;
const HEADERS_V6: u32 = 40 + 20;
/// More than the jumbo frames of any network.
const NETWORK_MTU_MAX: u32 = 16 * 1024;
/// RFC 7323: the option and its padding.
const TIMESTAMPS: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_mtu_at_the_other_end_shows_in_the_segments() {
        let (v4, v6) = (HEADERS_V4 + TIMESTAMPS, HEADERS_V6 + TIMESTAMPS);
        assert_eq!(own_mtu(1500, 1448, v4), Some(1500));
        assert_eq!(own_mtu(1500, 1460, HEADERS_V4), Some(1500));
        assert_eq!(own_mtu(1500, 1348, v4), Some(1400));
        assert_eq!(own_mtu(1500, 1428, v6), Some(1500));
        assert_eq!(own_mtu(9001, 1448, v4), Some(1500));
        assert_eq!(own_mtu(16_384, 8000, v4), Some(8052));
        assert_eq!(own_mtu(16_385, 8000, v4), Some(16_385));
        assert_eq!(own_mtu(1500, 0, v4), Some(1500));
        assert_eq!(own_mtu(0, 0, v4), None);
    }

    #[test]
    fn counts_only_what_is_new_on_a_connection() {
        let mut seen = Segments::default();
        let first = Segments { sent: 10, again: 1 };
        assert_eq!(since(&mut seen, first), first);
        let next = since(&mut seen, Segments { sent: 25, again: 1 });
        assert_eq!(next, Segments { sent: 15, again: 0 });
        assert_eq!(since(&mut seen, first), Segments::default());
    }
}
