//! Owns the Server-Timing field: what the server measured for one answer, in the syntax of the
//! W3C. Must not measure: the caller has the clock and the socket.

use crate::decimal::push_decimal;

/// What the server knows about one answer and the connection that carries it.
///
/// Durations are in microseconds. The kernel's TCP_INFO is the source of the path's values
/// (tcp(7)); a value that is `None` is left out of the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTiming {
    /// Time that the server itself spent on the answer.
    pub app_us: u64,
    /// Smoothed round-trip time.
    pub rtt_us: Option<u32>,
    /// Variation of the round-trip time.
    pub rttvar_us: Option<u32>,
    /// Shortest round-trip time of the last minutes.
    pub min_rtt_us: Option<u32>,
    /// Segments retransmitted on this connection so far.
    pub retransmits: Option<u32>,
    /// Segments with data sent on this connection so far, retransmissions included.
    pub segments: Option<u32>,
    /// Maximum segment size for sending, in bytes.
    pub mss: Option<u32>,
    /// Path MTU, in bytes.
    pub path_mtu: Option<u32>,
    /// Delivery rate, in bytes per second.
    pub rate_bytes_per_second: Option<u64>,
    /// After an upload: time from the parsed head to the last byte of the body.
    pub recv_us: Option<u64>,
    /// After an upload: length of the body, in bytes.
    pub recv_bytes: Option<u64>,
}

/// Which measurements the answer to one request reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimingRequest {
    /// The name of the server's own time, which comes first.
    pub(crate) app_name: &'static str,
    /// Whether the values of the path and of the upload follow.
    pub(crate) with_path: bool,
}

impl ServerTiming {
    /// Appends the Server-Timing field line, and the field that lets scripts of every origin read
    /// it (W3C Server Timing, section "Cross-origin").
    pub(crate) fn encode(&self, request: TimingRequest, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Server-Timing: ");
        push_duration(request.app_name, Some(self.app_us), out);
        if request.with_path {
            push_duration(", rtt", self.rtt_us.map(u64::from), out);
            push_duration(", rttvar", self.rttvar_us.map(u64::from), out);
            push_duration(", minrtt", self.min_rtt_us.map(u64::from), out);
            push_description(", retrans", self.retransmits.map(u64::from), out);
            push_description(", segs", self.segments.map(u64::from), out);
            push_description(", mss", self.mss.map(u64::from), out);
            push_description(", pmtu", self.path_mtu.map(u64::from), out);
            push_description(", rate", self.rate_bytes_per_second, out);
            push_duration(", recv", self.recv_us, out);
            push_description(", recv-bytes", self.recv_bytes, out);
        }
        out.extend_from_slice(b"\r\nTiming-Allow-Origin: *\r\n");
    }
}

/// Appends `name;dur=` and `us` in milliseconds with three decimals. Appends nothing if there is no
/// value.
fn push_duration(name: &str, us: Option<u64>, out: &mut Vec<u8>) {
    let Some(us) = us else { return };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b";dur=");
    push_decimal(us / 1000, out);
    let thousandths = (us % 1000) as u32;
    out.push(b'.');
    out.extend([100, 10, 1].map(|place| b'0' + (thousandths / place % 10) as u8));
}

/// Appends `name;desc="number"`. Appends nothing if there is no value.
fn push_description(name: &str, number: Option<u64>, out: &mut Vec<u8>) {
    let Some(number) = number else { return };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b";desc=\"");
    push_decimal(number, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: TimingRequest = TimingRequest { app_name: "app", with_path: true };

    fn encoded(timing: &ServerTiming, request: TimingRequest) -> String {
        let mut out = Vec::new();
        timing.encode(request, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_measurements_are_in_the_order_of_the_contract() {
        let mut timing = ServerTiming {
            app_us: 12,
            rtt_us: Some(251),
            rttvar_us: Some(34),
            min_rtt_us: Some(198),
            retransmits: Some(0),
            segments: Some(31),
            mss: Some(1448),
            path_mtu: Some(1500),
            rate_bytes_per_second: Some(118_000_000),
            ..ServerTiming::default()
        };
        let download = "Server-Timing: app;dur=0.012, rtt;dur=0.251, rttvar;dur=0.034, \
            minrtt;dur=0.198, retrans;desc=\"0\", segs;desc=\"31\", mss;desc=\"1448\", \
            pmtu;desc=\"1500\", rate;desc=\"118000000\"";
        let end = "\r\nTiming-Allow-Origin: *\r\n";
        assert_eq!(encoded(&timing, ALL), format!("{download}{end}"));
        timing.recv_us = Some(1_234_567);
        timing.recv_bytes = Some(1 << 30);
        let upload = format!("{download}, recv;dur=1234.567, recv-bytes;desc=\"1073741824\"{end}");
        assert_eq!(encoded(&timing, ALL), upload);
    }

    #[test]
    fn missing_measurements_are_left_out() {
        let timing = ServerTiming { app_us: 1000, mss: Some(1448), ..ServerTiming::default() };
        assert_eq!(
            encoded(&timing, ALL),
            "Server-Timing: app;dur=1.000, mss;desc=\"1448\"\r\nTiming-Allow-Origin: *\r\n"
        );
    }

    #[test]
    fn a_request_for_the_duration_alone_gets_the_duration_alone() {
        let timing = ServerTiming { app_us: 99, rtt_us: Some(1), ..ServerTiming::default() };
        let request = TimingRequest { app_name: "cfRequestDuration", with_path: false };
        assert_eq!(
            encoded(&timing, request),
            "Server-Timing: cfRequestDuration;dur=0.099\r\nTiming-Allow-Origin: *\r\n"
        );
    }
}
