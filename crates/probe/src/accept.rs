//! Which format of the metrics a scraper asks for (`Accept`, RFC 9110 section 12.5.1).

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// Whether the scraper prefers Prometheus' protobuf to its text. Prometheus does so if it collects
/// native histograms, which the text format cannot represent; browsers and curl do not name
/// protobuf.
pub(crate) fn prefers_protobuf(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let (mut protobuf, mut text) = (0.0_f64, 0.0_f64);
    for range in values.flat_map(|value| value.split(',')) {
        let range = Range::parse(range);
        match range.media_type.as_str() {
            PROTOBUF if range.is_prometheus => protobuf = protobuf.max(range.quality),
            "text/plain" | "text/*" | "*/*" => text = text.max(range.quality),
            _ => {}
        }
    }
    protobuf > 0.0 && protobuf >= text
}

struct Range {
    media_type: String,
    quality: f64,
    /// Whether it names the message type and the framing that Prometheus reads.
    is_prometheus: bool,
}

impl Range {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let media_type = parts.next().unwrap_or_default();
        let (mut quality, mut proto, mut encoding) = (1.0, false, false);
        for part in parts {
            match part.split_once('=') {
                // A quality that is not a number counts as 0.
                Some(("q", value)) => quality = value.trim().parse().unwrap_or(0.0),
                Some(("proto", value)) => proto = value == "io.prometheus.client.metricfamily",
                Some(("encoding", value)) => encoding = value == "delimited",
                _ => {}
            }
        }
        Self { media_type, quality, is_prometheus: proto && encoding }
    }
}

const PROTOBUF: &str = "application/vnd.google.protobuf";

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn prefers(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        prefers_protobuf(&headers)
    }

    #[test]
    fn a_prometheus_that_collects_native_histograms_gets_protobuf() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
            encoding=delimited";
        // Prometheus 3 with native histograms, and without.
        let text = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,\
            */*;q=0.1";
        assert!(prefers(&format!("{protobuf};q=0.6,{text}")));
        assert!(!prefers(text));
        assert!(prefers(protobuf));
        assert!(!prefers(&format!("{protobuf};q=0.2,text/plain")));
        assert!(!prefers(&format!("{protobuf};q=0")));
        assert!(!prefers(&format!("{protobuf};q=x")));
    }

    #[test]
    fn everybody_else_gets_text() {
        let other = "application/vnd.google.protobuf;proto=other;encoding=delimited";
        let text_form = "application/vnd.google.protobuf;\
            proto=io.prometheus.client.MetricFamily;encoding=text";
        for accept in ["", "*/*", "text/html,*/*;q=0.8", "text/plain", other, text_form] {
            assert!(!prefers(accept), "{accept}");
        }
        assert!(!prefers_protobuf(&HeaderMap::new()));
    }
}
