//! Owns what a server says in `Server-Timing` about the path as it sees it. Must not trust it.

use hyper::HeaderMap;

/// The server's side of the connection; none of what it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerSide {
    /// Segments that it has sent since the connection began.
    pub(crate) sent: Option<u64>,
    /// Segments that it has sent again.
    pub(crate) again: Option<u64>,
    /// Bytes of the largest packet that it sends.
    pub(crate) path_mtu: Option<u32>,
}

/// Reads `Server-Timing` (W3C): names with parameters, of which only `desc` matters here.
pub(crate) fn server_side(headers: &HeaderMap) -> ServerSide {
    let mut side = ServerSide::default();
    let values = headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok());
    for metric in values.flat_map(|value| value.split(',')) {
        let mut parts = metric.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let desc = parts.find_map(|part| part.strip_prefix("desc="));
        let Some(number) = desc.and_then(|desc| desc.trim_matches('"').parse::<u64>().ok()) else {
            continue;
        };
        match name {
            "segs" => side.sent = Some(number),
            "retrans" => side.again = Some(number),
            "pmtu" => side.path_mtu = u32::try_from(number).ok().filter(|mtu| *mtu > 0),
            _ => {}
        }
    }
    side
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn of(value: &'static str) -> ServerSide {
        let mut headers = HeaderMap::new();
        headers.insert("server-timing", HeaderValue::from_static(value));
        server_side(&headers)
    }

    #[test]
    fn reads_segments_and_path_mtu_as_the_server_writes_them() {
        let side = of("app;dur=0.012, rtt;dur=0.251, rttvar;dur=0.034, minrtt;dur=0.198, \
             retrans;desc=\"2\", segs;desc=\"31\", mss;desc=\"1448\", pmtu;desc=\"1500\"");
        let wanted = ServerSide { sent: Some(31), again: Some(2), path_mtu: Some(1500) };
        assert_eq!(side, wanted);
    }

    #[test]
    fn takes_nothing_from_what_it_can_not_read() {
        for value in [
            "",
            "segs",
            "segs;desc=",
            "segs;desc=\"-1\"",
            "segs;dur=5",
            "pmtu;desc=\"0\"",
            "pmtu;desc=\"4294967296\"",
            ";;;,,,",
            "retrans;desc=\"99999999999999999999\"",
        ] {
            assert_eq!(of(value), ServerSide::default(), "{value}");
        }
        assert_eq!(server_side(&HeaderMap::new()), ServerSide::default());
    }
}
