//! Histograms of times: their bounds, how a time is recorded, and their form in a result.
//!
//! The form is HdrHistogram's own (V2, compressed, base64), which its libraries in other languages
//! read too. All values are nanoseconds.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Shorter times than this, in nanoseconds, are recorded as this: a clock call takes about as long.
const TIME_MIN_NS: u64 = 64;
/// Longer times than this, in nanoseconds, are recorded as this: an hour exceeds every useful
/// `--timeout`.
const TIME_MAX_NS: u64 = 3_600_000_000_000;
/// A full histogram of [`DIGITS_MAX`] digits takes less than this; longer text is not one of ours.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// More significant digits than this need more memory than a result is worth.
const DIGITS_MAX: u8 = 3;

/// An empty histogram whose percentiles are exact to `digits` significant digits.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(TIME_MIN_NS, TIME_MAX_NS, digits)
        .expect("the bounds are constants that a histogram takes")
}

/// Counts a time.
pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(TIME_MAX_NS));
}

/// The text form of a histogram.
pub(crate) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a vector takes every byte, and the counts fit the format");
    STANDARD.encode(bytes)
}

/// Reads the text form.
///
/// # Errors
///
/// Text that is no histogram, or a larger one than [`encode`] writes.
pub(crate) fn decode(text: &str) -> Result<Histogram<u64>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("a histogram has at most {TEXT_BYTES_MAX} characters"));
    }
    let refuse = |why: String| format!("no HdrHistogram (V2, base64): {why}");
    let bytes = STANDARD.decode(text).map_err(|error| refuse(error.to_string()))?;
    let decoded: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| refuse(error.to_string()))?;
    if decoded.sigfig() > DIGITS_MAX {
        return Err(refuse(format!("more than {DIGITS_MAX} significant digits")));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_its_text_form() {
        for digits in [2, 3] {
            let mut times = histogram(digits);
            for us in [1, 17, 900, 5_000, 2_000_000] {
                record(&mut times, Duration::from_micros(us));
            }
            let text = encode(&times);
            // Other libraries recognize a compressed V2 histogram by these first characters.
            assert!(text.starts_with("HISTFAAA"), "{text}");
            assert_eq!(decode(&text), Ok(times));
        }
        assert_eq!(decode(&encode(&histogram(3))), Ok(histogram(3)));
    }

    #[test]
    fn times_beyond_the_bounds_are_recorded_as_the_bounds() {
        let mut times = histogram(3);
        record(&mut times, Duration::ZERO);
        record(&mut times, Duration::from_secs(2 * 3600));
        record(&mut times, Duration::MAX);
        assert_eq!(times.len(), 3);
        assert!((times.max() as f64 / TIME_MAX_NS as f64 - 1.0).abs() < 0.001);
    }

    #[test]
    fn text_that_is_no_histogram_is_rejected() {
        let cut = encode(&histogram(2));
        for wrong in ["", "?", "AAAA", "SElTVA==", &cut[..12]] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
        let fine = |length| decode(&"A".repeat(length)).unwrap_err();
        assert!(fine(TEXT_BYTES_MAX).contains("no HdrHistogram"));
        assert!(fine(TEXT_BYTES_MAX + 1).contains("at most 1048576"));
    }

    #[test]
    fn a_histogram_of_too_many_digits_is_rejected() {
        assert!(decode(&encode(&histogram(DIGITS_MAX))).is_ok());
        let finer = Histogram::new_with_bounds(64, 1 << 20, DIGITS_MAX + 1).unwrap();
        assert!(decode(&encode(&finer)).unwrap_err().contains("more than 3"));
    }
}
