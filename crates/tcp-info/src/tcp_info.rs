//! Owns the one system call and the layout of its answer. Must not interpret the figures.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The state of one TCP connection, in the units that the names say.
///
/// Fields that are not optional exist since Linux 2.6. `None` means that this kernel does not
/// report the field, or that it has no value for it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The state of the connection as `include/net/tcp_states.h` numbers it: 1 is ESTABLISHED, and
    /// 7 is CLOSE.
    pub state: u8,
    /// Whether segments carry timestamps, which take 12 bytes of each (RFC 7323).
    pub has_timestamps: bool,
    /// How many times in a row the retransmission timer has expired without progress.
    pub retransmit_timeouts: u8,
    /// The smoothed round-trip time; 0 before the first sample.
    pub rtt_us: u32,
    /// The mean deviation of the round-trip time.
    pub rttvar_us: u32,
    /// The smallest round-trip time of the last minutes (Linux 4.6).
    pub min_rtt_us: Option<u32>,
    /// The receiver's estimate of the round-trip time; 0 before the first one.
    pub rcv_rtt_us: u32,
    /// Payload bytes of the largest segment that this side sends (`snd_mss`).
    pub mss: u32,
    /// The kernel's estimate of the largest segment that this side receives.
    pub rcv_mss: u32,
    /// The MSS that this side has announced to its peer, minus 12 bytes if segments carry
    /// timestamps: payload bytes of the largest segment that this side can receive.
    pub advertised_mss: u32,
    /// The kernel's path MTU: bytes of the largest IP packet that this side sends.
    pub path_mtu: u32,
    /// Segments that the peer has not acknowledged yet.
    pub unacked: u32,
    /// The congestion window in segments.
    pub congestion_window: u32,
    /// Segments retransmitted since the connection began (`total_retrans`).
    pub segments_retransmitted: u32,
    /// Segments sent, retransmissions and those without payload included (Linux 4.2).
    pub segments_out: Option<u32>,
    /// Segments received, those without payload included (Linux 4.2).
    pub segments_in: Option<u32>,
    /// Segments with payload sent, retransmissions included (Linux 4.6).
    pub data_segments_out: Option<u32>,
    /// Segments with payload received (Linux 4.6).
    pub data_segments_in: Option<u32>,
    /// Payload bytes that the peer has acknowledged (Linux 4.1).
    pub bytes_acked: Option<u64>,
    /// Payload bytes received in order (Linux 4.1).
    pub bytes_received: Option<u64>,
    /// Payload bytes sent, retransmissions included (Linux 4.19).
    pub bytes_sent: Option<u64>,
    /// Payload bytes retransmitted (Linux 4.19).
    pub bytes_retransmitted: Option<u64>,
    /// Segments that the peer has received twice, as it reports with D-SACK: retransmissions that
    /// were not necessary (Linux 4.19).
    pub duplicates_reported: Option<u32>,
    /// Segments received out of order (Linux 5.4).
    pub out_of_order_segments: Option<u32>,
    /// Payload bytes that wait in the socket and have never been sent (Linux 4.6).
    pub notsent_bytes: Option<u32>,
    /// The most recent measurement of the rate at which the peer receives (Linux 4.9).
    pub delivery_rate_bytes_per_second: Option<u64>,
    /// Segments with payload that the peer has acknowledged (Linux 4.18).
    pub delivered: Option<u32>,
    /// Time in which there was something to send (Linux 4.10).
    pub busy_time_us: Option<u64>,
    /// Part of the busy time in which the peer's receive window was the limit (Linux 4.10).
    pub receive_window_limited_us: Option<u64>,
    /// Part of the busy time in which this side's send buffer was the limit (Linux 4.10).
    pub send_buffer_limited_us: Option<u64>,
}

impl TcpInfo {
    /// Whether the connection is over in both directions, by a reset for example.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == CLOSE
    }

    /// The segments that [`TcpInfo::segments_retransmitted`] is a part of: those with payload,
    /// because only they are retransmitted. Before Linux 4.6: all segments, acknowledgments
    /// included.
    #[must_use]
    pub fn segments_sent(&self) -> Option<u32> {
        self.data_segments_out.or(self.segments_out)
    }
}

/// TCP_CLOSE of `include/net/tcp_states.h`.
const CLOSE: u8 = 7;

/// Reads the state of a TCP socket (tcp(7), TCP_INFO).
///
/// # Errors
///
/// That of getsockopt(2): a descriptor that is not a TCP socket, a kernel without TCP_INFO.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let (raw, length) = read(socket)?;
    Ok(facts(&raw, length))
}

/// Reads the fields from the first `length` bytes of `raw`, which the kernel has written.
fn facts(raw: &Raw, length: usize) -> TcpInfo {
    macro_rules! known {
        ($field:ident) => {
            (length >= offset_of!(Raw, $field) + size_of_val(&raw.$field)).then_some(raw.$field)
        };
    }
    TcpInfo {
        state: raw.state,
        has_timestamps: raw.options & OPTION_TIMESTAMPS != 0,
        retransmit_timeouts: raw.retransmits,
        rtt_us: raw.rtt,
        rttvar_us: raw.rttvar,
        min_rtt_us: known!(min_rtt).filter(|rtt| *rtt != MIN_RTT_UNKNOWN),
        rcv_rtt_us: raw.rcv_rtt,
        mss: raw.snd_mss,
        rcv_mss: raw.rcv_mss,
        advertised_mss: raw.advmss,
        path_mtu: raw.pmtu,
        unacked: raw.unacked,
        congestion_window: raw.snd_cwnd,
        segments_retransmitted: raw.total_retrans,
        segments_out: known!(segs_out),
        segments_in: known!(segs_in),
        data_segments_out: known!(data_segs_out),
        data_segments_in: known!(data_segs_in),
        bytes_acked: known!(bytes_acked),
        bytes_received: known!(bytes_received),
        bytes_sent: known!(bytes_sent),
        bytes_retransmitted: known!(bytes_retrans),
        duplicates_reported: known!(dsack_dups),
        out_of_order_segments: known!(rcv_ooopack),
        notsent_bytes: known!(notsent_bytes),
        delivery_rate_bytes_per_second: known!(delivery_rate),
        delivered: known!(delivered),
        busy_time_us: known!(busy_time),
        receive_window_limited_us: known!(rwnd_limited),
        send_buffer_limited_us: known!(sndbuf_limited),
    }
}

/// The structure, and how many bytes of it the kernel has written.
fn read(socket: BorrowedFd<'_>) -> io::Result<(Raw, usize)> {
    let mut raw = Raw::default();
    let mut length = size_of::<Raw>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `raw`. Every bit
    // pattern is a valid `Raw`, which holds integers only, and both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut raw).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((raw, length as usize))
}

/// The beginning of `struct tcp_info` in `include/uapi/linux/tcp.h`, with the kernel's names, up to
/// the last field that is used here.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Raw {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    wscale: u8,
    rate_flags: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
}

/// TCPI_OPT_TIMESTAMPS.
const OPTION_TIMESTAMPS: u8 = 1;
/// What the kernel reports before the first sample.
const MIN_RTT_UNKNOWN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    // getsockopt(2) returns this length on Linux 3.2 to 3.14.
    const LENGTH_OLD: usize = 104;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn reports_what_has_been_sent_and_received() {
        let (mut near, mut far) = pair();
        near.write_all(&[7; 1000]).unwrap();
        far.read_exact(&mut [0; 1000]).unwrap();
        far.write_all(&[7; 10]).unwrap();
        near.read_exact(&mut [0; 10]).unwrap();
        let info = tcp_info(near.as_fd()).unwrap();
        assert_eq!(info.state, 1);
        assert_eq!(info.bytes_sent.unwrap_or(1000), 1000);
        assert_eq!(info.bytes_received.unwrap_or(10), 10);
        assert_eq!(info.segments_retransmitted, 0);
        assert_eq!(info.data_segments_out.unwrap_or(1), 1);
        assert!(info.segments_out.unwrap_or(3) >= 3, "{info:?}");
        assert!(info.rtt_us > 0 && info.min_rtt_us.unwrap_or(1) > 0, "{info:?}");
        assert!(info.mss > 500 && info.path_mtu > info.mss, "{info:?}");
    }

    #[test]
    fn leaves_out_what_an_older_kernel_does_not_report() {
        let raw = Raw { pmtu: 1500, total_retrans: 3, min_rtt: 9, ..Raw::default() };
        let info = facts(&raw, LENGTH_OLD);
        assert_eq!((info.path_mtu, info.segments_retransmitted), (1500, 3));
        assert_eq!((info.bytes_acked, info.min_rtt_us, info.bytes_sent), (None, None, None));
        assert_eq!(info.segments_sent(), None);
    }

    #[test]
    fn counts_segments_with_payload_or_all_of_them_before_linux_4_6() {
        let raw = Raw { segs_out: 9, data_segs_out: 4, ..Raw::default() };
        let end = offset_of!(Raw, data_segs_out);
        assert_eq!(facts(&raw, end).segments_sent(), Some(9));
        assert_eq!(facts(&raw, end + 4).segments_sent(), Some(4));
    }

    #[test]
    fn takes_a_field_only_when_all_of_it_was_written() {
        let raw = Raw { segs_out: 5, segs_in: 6, ..Raw::default() };
        let end = offset_of!(Raw, segs_in);
        assert_eq!(facts(&raw, end).segments_out, Some(5));
        assert_eq!(facts(&raw, end + 3).segments_in, None);
        assert_eq!(facts(&raw, end + 4).segments_in, Some(6));
    }

    #[test]
    fn has_the_layout_of_the_kernel() {
        // The offsets in linux/tcp.h never change, because they are part of the kernel's API.
        assert_eq!(offset_of!(Raw, total_retrans) + 4, LENGTH_OLD);
        assert_eq!(offset_of!(Raw, delivery_rate), 160);
        assert_eq!(offset_of!(Raw, bytes_retrans), 208);
        assert_eq!(size_of::<Raw>(), 232);
    }

    #[test]
    fn has_no_smallest_round_trip_time_before_the_first_sample() {
        let raw = Raw { min_rtt: MIN_RTT_UNKNOWN, ..Raw::default() };
        assert_eq!(facts(&raw, size_of::<Raw>()).min_rtt_us, None);
    }

    #[test]
    fn refuses_a_socket_that_is_not_tcp() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_info(socket.as_fd()).is_err());
    }
}
