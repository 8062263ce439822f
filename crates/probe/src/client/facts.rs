//! What one request has shown about its path: the facts of the server and those of this kernel.

use std::time::Duration;

use heartbeat_tcp_info::TcpInfo;

use crate::timing::ServerTiming;

/// What a request has shown about its path, besides its duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathFacts {
    /// The server's own time, as its `Server-Timing` reports it.
    pub server: Option<Duration>,
    /// The round-trip time that this end's kernel measures.
    pub rtt: Option<Duration>,
    /// The round-trip time that the server's kernel measures.
    pub server_rtt: Option<Duration>,
    /// Payload bytes of the largest segment that this end sends.
    pub mss: Option<u32>,
    /// Segments that this end has retransmitted since the previous request on the connection.
    pub retransmitted_up: u64,
    /// Segments that the server has retransmitted since the previous answer on the connection.
    pub retransmitted_down: u64,
}

/// The counters of one connection after its last request, so that nothing is counted twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    up: u64,
    down: u64,
}

impl Counters {
    /// The facts of a request; segments are counted if they were added since the previous request.
    pub(super) fn facts(
        &mut self,
        told: Option<ServerTiming>,
        kernel: Option<TcpInfo>,
    ) -> PathFacts {
        let told = told.unwrap_or_default();
        let again = kernel.map_or(0, |info| u64::from(info.segments_retransmitted));
        let rtt = kernel.map(|info| info.rtt_us).filter(|us| *us > 0);
        PathFacts {
            server: told.app,
            rtt: rtt.map(|us| Duration::from_micros(u64::from(us))),
            server_rtt: told.rtt,
            mss: kernel.map(|info| info.mss).filter(|mss| *mss > 0),
            retransmitted_up: added(&mut self.up, again),
            retransmitted_down: added(&mut self.down, told.retransmitted.unwrap_or(0)),
        }
    }
}

/// How much a counter has grown. If it is not reported this time it has not changed; behind a proxy
/// it may be the counter of another connection, and smaller.
fn added(last: &mut u64, now: u64) -> u64 {
    let more = now.saturating_sub(*last);
    if now > 0 {
        *last = now;
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(retransmitted: u64) -> Option<ServerTiming> {
        Some(ServerTiming { retransmitted: Some(retransmitted), ..ServerTiming::default() })
    }

    fn kernel(segments_retransmitted: u32) -> Option<TcpInfo> {
        Some(TcpInfo { segments_retransmitted, rtt_us: 250, ..TcpInfo::default() })
    }

    #[test]
    fn counts_each_segment_once() {
        let mut counters = Counters::default();
        let mut both = |told, kernel| {
            let facts = counters.facts(told, kernel);
            (facts.retransmitted_down, facts.retransmitted_up)
        };
        assert_eq!(both(told(2), kernel(3)), (2, 3));
        assert_eq!(both(told(2), kernel(4)), (0, 1));
        assert_eq!(both(None, None), (0, 0));
        assert_eq!(both(told(5), kernel(4)), (3, 0));
        assert_eq!(both(told(1), kernel(4)), (0, 0));
        assert_eq!(both(told(2), kernel(4)), (1, 0));
    }

    #[test]
    fn has_no_round_trip_time_before_the_kernel_has_one() {
        let mut counters = Counters::default();
        let early = Some(TcpInfo::default());
        assert_eq!(counters.facts(None, early).rtt, None);
        assert_eq!(counters.facts(None, kernel(0)).rtt, Some(Duration::from_micros(250)));
    }

    #[test]
    fn has_the_segment_size_of_this_kernel_only() {
        let mut counters = Counters::default();
        let told = Some(ServerTiming { mss: Some(1400), ..ServerTiming::default() });
        let kernel = Some(TcpInfo { mss: 1448, ..TcpInfo::default() });
        assert_eq!(counters.facts(told, kernel).mss, Some(1448));
        assert_eq!(counters.facts(told, None).mss, None);
        assert_eq!(counters.facts(told, Some(TcpInfo::default())).mss, None);
    }
}
