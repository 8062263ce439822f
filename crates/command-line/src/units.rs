//! Parses the sizes and times that command lines have. The callers have the bounds and the error
//! messages, which differ between options.

use std::time::Duration;

/// Reads a number of bytes: digits and an optional binary K, M or G, in either case.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let bytes: u64 = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(bytes)
}

/// Reads a span of time: digits and one of ms, s, m, h.
pub fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = split(text);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

/// The digits at the beginning, and the rest. A sign is no digit, so `parse` never sees one.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are neither a size nor a time.
    const NEVER: [&str; 13] =
        ["", " ", "K", "-1", "+1", "1.5", "1e3", "0x10", "1_000", " 1s", "1s ", "1\n", "\u{fffd}"];

    #[test]
    fn sizes_have_binary_units_in_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("017", 17),
            ("1k", 1 << 10),
            ("1K", 1 << 10),
            ("3m", 3 << 20),
            ("1024M", 1 << 30),
            ("1g", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        let wrong = ["1T", "1KB", "1Ki", "1 K", "1é", "18446744073709551616", "17179869184G"];
        for text in wrong.into_iter().chain(NEVER) {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_exactly_one_unit() {
        for (text, ms) in
            [("0s", 0), ("1ms", 1), ("10s", 10_000), ("2m", 120_000), ("24h", 86_400_000)]
        {
            assert_eq!(time(text), Some(Duration::from_millis(ms)), "{text}");
        }
        let wrong = ["10", "s", "1m30s", "10S", "10us", "1d", "18446744073709551616ms"];
        for text in wrong.into_iter().chain(NEVER) {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(time("18446744073709551615ms"), Some(Duration::from_millis(u64::MAX)));
        assert_eq!(time("5124095576030432h"), None);
    }
}
