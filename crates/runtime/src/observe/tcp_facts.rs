//! Owns what is made of the kernel's figures about a connection (TCP_INFO, tcp(7)): additions to
//! the counters, and fields of Server-Timing.

use std::os::fd::RawFd;
use std::time::Duration;

use heartbeat_protocol::ServerTiming;
use heartbeat_tcp_info::TcpInfo;

use crate::deadlines::Counted;
use crate::observe::metrics::{Counters, MTU_BUCKETS, RTT_BUCKETS};
use crate::os::sys;

/// Adds what is new about a connection to the counters. A connection on which nothing has been sent
/// since the last time adds no sample.
pub(crate) fn sample(socket: RawFd, counted: &mut Counted, counters: &Counters) {
    // If the kernel or a seccomp profile refuses the call, the counters stay as they are.
    let Ok(info) = sys::tcp_info(socket) else { return };
    add(&info, counted, counters);
}

fn add(info: &TcpInfo, counted: &mut Counted, counters: &Counters) {
    let segments = info.segments_sent().unwrap_or(0);
    let new_segments = segments.wrapping_sub(counted.segments);
    if new_segments == 0 {
        return;
    }
    let new_retransmitted = info.segments_retransmitted.wrapping_sub(counted.retransmitted);
    *counted = Counted { segments, retransmitted: info.segments_retransmitted };
    let rtt = Duration::from_micros(info.rtt_us.into());
    counters.tcp_segments_sent.add(new_segments.into());
    counters.tcp_segments_retransmitted.add(new_retransmitted.into());
    counters.tcp_rtt.note(rtt.as_nanos() as u64, |bucket| rtt <= RTT_BUCKETS[bucket].0);
    counters.tcp_path_mtu.note(info.path_mtu.into(), |bucket| info.path_mtu <= MTU_BUCKETS[bucket]);
}

/// The fields of Server-Timing for an answer, apart from the times of the server itself.
pub(crate) fn server_timing(socket: RawFd) -> ServerTiming {
    let Ok(info) = sys::tcp_info(socket) else { return ServerTiming::default() };
    ServerTiming {
        rtt_us: Some(info.rtt_us),
        rttvar_us: Some(info.rttvar_us),
        min_rtt_us: info.min_rtt_us,
        retransmits: Some(info.segments_retransmitted),
        segments: info.segments_sent(),
        mss: Some(info.mss),
        path_mtu: Some(info.path_mtu),
        rate_bytes_per_second: info.delivery_rate_bytes_per_second,
        ..ServerTiming::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn nothing_is_counted_twice() {
        let (counters, mut counted) = (Counters::default(), Counted::default());
        let mut info = TcpInfo {
            segments_out: Some(10),
            segments_retransmitted: 2,
            rtt_us: 90,
            path_mtu: 1500,
            ..TcpInfo::default()
        };
        add(&info, &mut counted, &counters);
        add(&info, &mut counted, &counters);
        assert_eq!(counters.tcp_segments_sent.value(), 10);
        assert_eq!(counters.tcp_segments_retransmitted.value(), 2);
        assert_eq!(counters.tcp_rtt.buckets[0].value(), 1);
        info.segments_out = Some(15);
        info.rtt_us = 2_000_000;
        add(&info, &mut counted, &counters);
        assert_eq!(counters.tcp_segments_sent.value(), 15);
        assert_eq!(counters.tcp_segments_retransmitted.value(), 2);
        let above = counters.tcp_rtt.buckets.len() - 1;
        assert_eq!(counters.tcp_rtt.buckets[above].value(), 1);
    }

    #[test]
    fn segments_without_payload_are_not_counted() {
        let (mut near, mut far) = sys::tcp_pair();
        let (counters, mut counted) = (Counters::default(), Counted::default());
        sample(near.as_raw_fd(), &mut counted, &counters);
        assert_eq!(counters.tcp_segments_sent.value(), 0, "a handshake has no payload");
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        sample(near.as_raw_fd(), &mut counted, &counters);
        assert_eq!(counters.tcp_segments_sent.value(), 1);
        let timing = server_timing(near.as_raw_fd());
        assert_eq!(timing.segments, Some(1));
        assert!(timing.path_mtu.is_some_and(|bytes| bytes >= 1280), "{timing:?}");
    }
}
