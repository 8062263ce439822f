//! The metrics in Prometheus' protobuf (`io.prometheus.client.MetricFamily`, each after its
//! length), which can represent native histograms. The field numbers are those of client_model's
//! metrics.proto.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary};

use super::native::NativeHistogram;

/// The media type that Prometheus expects.
pub(crate) const PROTOBUF_TYPE: &str = "application/vnd.google.protobuf; \
    proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The native histogram of each series of one family. The key is the values of its labels, in the
/// order of the labels' names.
pub(super) type NativeSeries = HashMap<Vec<String>, Arc<Mutex<NativeHistogram>>>;

/// Writes all `families`; the one with the name `native_family` also has native histograms.
pub(super) fn page(
    families: &[MetricFamily],
    native_family: &str,
    native: &NativeSeries,
) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        let series = (family.name() == native_family).then_some(native);
        let mut message = Message::default();
        message.text(1, family.name());
        message.text(2, family.help());
        message.number(3, type_number(family.get_field_type()));
        for metric in family.get_metric() {
            message.message(4, one(metric, family.get_field_type(), series));
        }
        varint(&mut page, message.0.len() as u64);
        page.extend_from_slice(&message.0);
    }
    page
}

fn one(metric: &Metric, kind: MetricType, native: Option<&NativeSeries>) -> Message {
    let mut message = Message::default();
    for label in metric.get_label() {
        let mut pair = Message::default();
        pair.text(1, label.name());
        pair.text(2, label.value());
        message.message(1, pair);
    }
    let of_value = |value: f64| {
        let mut inner = Message::default();
        inner.double(1, value);
        inner
    };
    match kind {
        MetricType::GAUGE => message.message(2, of_value(metric.get_gauge().get_value())),
        MetricType::COUNTER => message.message(3, of_value(metric.get_counter().get_value())),
        MetricType::SUMMARY => message.message(4, summary(metric.get_summary())),
        MetricType::UNTYPED => {}
        MetricType::HISTOGRAM => {
            let values = metric.get_label().iter().map(LabelPair::value);
            let key: Vec<String> = values.map(str::to_owned).collect();
            let native = native.and_then(|series| series.get(&key));
            let native = native.map(|native| native.lock().unwrap_or_else(PoisonError::into_inner));
            message.message(7, histogram(metric.get_histogram(), native.as_deref()));
        }
    }
    message
}

fn summary(summary: &Summary) -> Message {
    let mut message = Message::default();
    message.number(1, summary.sample_count());
    message.double(2, summary.sample_sum());
    for quantile in summary.get_quantile() {
        let mut inner = Message::default();
        inner.double(1, quantile.quantile());
        inner.double(2, quantile.value());
        message.message(3, inner);
    }
    message
}

fn histogram(histogram: &Histogram, native: Option<&NativeHistogram>) -> Message {
    let mut message = Message::default();
    message.number(1, histogram.get_sample_count());
    message.double(2, histogram.get_sample_sum());
    for bucket in histogram.get_bucket() {
        let mut inner = Message::default();
        inner.number(1, bucket.cumulative_count());
        inner.double(2, bucket.upper_bound());
        message.message(3, inner);
    }
    if let Some(native) = native {
        message.number(5, zigzag(i64::from(NativeHistogram::SCHEMA)));
        message.double(6, NativeHistogram::ZERO_THRESHOLD);
        message.number(7, native.zero_count());
        for (offset, length) in native.spans() {
            let mut span = Message::default();
            span.number(1, zigzag(i64::from(offset)));
            span.number(2, u64::from(length));
            message.message(12, span);
        }
        for delta in native.deltas() {
            message.number(13, zigzag(delta));
        }
    }
    message
}

/// The fields of one message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u64, value: u64) {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, value);
    }

    fn double(&mut self, field: u64, value: f64) {
        varint(&mut self.0, field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: Self) {
        self.bytes(field, &message.0);
    }
}

fn varint(out: &mut Vec<u8>, value: u64) {
    let mut left = value;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// The encoding of signed numbers, in which small numbers are short even if they are negative.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn type_number(kind: MetricType) -> u64 {
    match kind {
        MetricType::COUNTER => 0,
        MetricType::GAUGE => 1,
        MetricType::SUMMARY => 2,
        MetricType::UNTYPED => 3,
        MetricType::HISTOGRAM => 4,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector;
    use prometheus::{HistogramOpts, HistogramVec};

    use super::*;

    #[test]
    fn numbers_are_encoded_as_in_protobuf() {
        for (value, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
        let signed = [0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag);
        assert_eq!(signed, [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn a_family_is_written_with_its_classic_and_its_native_buckets() {
        let opts = HistogramOpts::new("d", "h").buckets(vec![1.0]);
        let classic = HistogramVec::new(opts, &["l"]).unwrap();
        classic.with_label_values(&["v"]).observe(1.0);
        let mut native = NativeHistogram::default();
        native.observe(1.0);
        let series = NativeSeries::from([(vec!["v".to_owned()], Arc::new(Mutex::new(native)))]);
        let page = page(&classic.collect(), "d", &series);
        let one = 1.0_f64.to_le_bytes();
        let bucket = [&[0x1a, 11, 8, 1, 0x11][..], &one].concat();
        let threshold = NativeHistogram::ZERO_THRESHOLD.to_le_bytes();
        let native = [&[0x28, 6, 0x31][..], &threshold, &[0x38, 0, 0x62, 4, 8, 0, 16, 1]].concat();
        let histogram = [&[8, 1, 0x11][..], &one, &bucket, &native, &[0x68, 2]].concat();
        let length = u8::try_from(histogram.len()).unwrap();
        let label = [10, 6, 10, 1, b'l', 18, 1, b'v'];
        let metric = [&label[..], &[0x3a, length], &histogram].concat();
        let length = u8::try_from(metric.len()).unwrap();
        let family = [&[10, 1, b'd', 18, 1, b'h', 24, 4, 0x22, length][..], &metric].concat();
        let length = u8::try_from(family.len()).unwrap();
        assert_eq!(page, [&[length][..], &family].concat());
    }
}
