//! What a Heartbeat reports about an answer in `Server-Timing` (W3C Server Timing).
//!
//! `app;dur=0.012, rtt;dur=0.251, retrans;desc="0", mss;desc="1448"`: durations are milliseconds,
//! everything else is a number in a description. Entries that proxies add are ignored, and so are
//! values that are not numbers, because the answer can be used without them.

use std::time::Duration;

use hyper::HeaderMap;

/// The name of the field.
pub(crate) const FIELD: &str = "server-timing";

/// The server's own time and what its kernel knows about the connection that it answers on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerTiming {
    /// Time from the parsed head to the answer.
    pub app: Option<Duration>,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Its mean deviation.
    pub rttvar: Option<Duration>,
    /// The smallest round-trip time.
    pub min_rtt: Option<Duration>,
    /// Segments retransmitted on the connection so far.
    pub retransmitted: Option<u64>,
    /// Segments sent on the connection so far.
    pub segments: Option<u64>,
    /// The server's maximum segment size: payload bytes.
    pub mss: Option<u32>,
    /// Bytes of the largest IP packet that the server sends.
    pub path_mtu: Option<u32>,
    /// The rate at which the prober receives, as the server's kernel measures it.
    pub rate_bytes_per_second: Option<u64>,
    /// Time from the parsed head to the last byte of an upload.
    pub receive: Option<Duration>,
    /// Bytes of the upload.
    pub received_bytes: Option<u64>,
}

impl ServerTiming {
    /// Reads the field from the header of an answer; `None` if no entry of a Heartbeat is in it.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(FIELD).into_iter().filter_map(|value| value.to_str().ok());
        Self::of_values(values)
    }

    /// Reads the values of all fields of this name.
    pub(crate) fn of_values<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut timing = Self::default();
        for value in values {
            for entry in split_outside_quotes(value, ',') {
                timing.take(entry);
            }
        }
        (timing != Self::default()).then_some(timing)
    }

    fn take(&mut self, entry: &str) {
        let mut parts = split_outside_quotes(entry, ';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (mut duration, mut text) = (None, None);
        for part in parts {
            let Some((key, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "dur" => duration = duration.or_else(|| milliseconds(value)),
                "desc" => text = text.or(Some(value)),
                _ => {}
            }
        }
        let number = || text.and_then(|text| text.parse::<u64>().ok());
        let small = || number().and_then(|number| u32::try_from(number).ok());
        match name {
            "app" => self.app = self.app.or(duration),
            "rtt" => self.rtt = self.rtt.or(duration),
            "rttvar" => self.rttvar = self.rttvar.or(duration),
            "minrtt" => self.min_rtt = self.min_rtt.or(duration),
            "recv" => self.receive = self.receive.or(duration),
            "retrans" => self.retransmitted = self.retransmitted.or_else(number),
            "segs" => self.segments = self.segments.or_else(number),
            "mss" => self.mss = self.mss.or_else(small),
            "pmtu" => self.path_mtu = self.path_mtu.or_else(small),
            "rate" => self.rate_bytes_per_second = self.rate_bytes_per_second.or_else(number),
            "recv-bytes" => self.received_bytes = self.received_bytes.or_else(number),
            _ => {}
        }
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    let number: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(number / 1000.0).ok()
}

/// Commas and semicolons inside a quoted string separate nothing (RFC 9110 5.6.4).
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |letter: char| {
        let was_escaped = escaped;
        escaped = quoted && !was_escaped && letter == '\\';
        if letter == '"' && !was_escaped {
            quoted = !quoted;
        }
        letter == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<ServerTiming> {
        ServerTiming::of_values([value])
    }

    #[test]
    fn reads_all_entries_of_a_heartbeat() {
        let timing = read(
            "app;dur=0.012, rtt;dur=0.251, rttvar;dur=0.034, minrtt;dur=0.198, \
             retrans;desc=\"3\", segs;desc=\"31\", mss;desc=\"1448\", pmtu;desc=\"1500\", \
             rate;desc=\"118000000\", recv;dur=400.5, recv-bytes;desc=\"1024\"",
        )
        .unwrap();
        assert_eq!(timing.app, Some(Duration::from_micros(12)));
        assert_eq!(timing.rtt, Some(Duration::from_micros(251)));
        assert_eq!(timing.rttvar, Some(Duration::from_micros(34)));
        assert_eq!(timing.min_rtt, Some(Duration::from_micros(198)));
        assert_eq!((timing.retransmitted, timing.segments), (Some(3), Some(31)));
        assert_eq!((timing.mss, timing.path_mtu), (Some(1448), Some(1500)));
        assert_eq!(timing.rate_bytes_per_second, Some(118_000_000));
        assert_eq!(timing.receive, Some(Duration::from_micros(400_500)));
        assert_eq!(timing.received_bytes, Some(1024));
    }

    #[test]
    fn ignores_what_proxies_add() {
        let values = ["cdn-cache; desc=\"HIT, app;dur=9\"", "edge; dur=1", "app;DUR=2.5;desc=x"];
        let timing = ServerTiming::of_values(values).unwrap();
        assert_eq!(timing, ServerTiming { app: Some(Duration::from_micros(2500)), ..timing });
        assert_eq!(timing.rtt, None);
        assert_eq!(read("edge; dur=1"), None);
    }

    #[test]
    fn leaves_out_what_is_no_number() {
        for value in ["", "app", "app;dur", "app;dur=", "app;dur=x", "app;dur=-1", "app;dur=nan"] {
            assert_eq!(read(value), None, "{value}");
        }
        assert_eq!(read("segs;desc=\"\\\",mss;desc=1\""), None);
        assert_eq!(read("mss;desc=\"4294967296\""), None);
        assert_eq!(read("mss;desc=4294967295").unwrap().mss, Some(u32::MAX));
    }

    #[test]
    fn the_first_of_two_equal_entries_counts() {
        let timing = read("rtt;dur=1, rtt;dur=2").unwrap();
        assert_eq!(timing.rtt, Some(Duration::from_millis(1)));
    }
}
