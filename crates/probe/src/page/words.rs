//! Writes figures for people: three digits and a unit.

use jiff::Timestamp;

use crate::mesh::report::read_key;

/// A time that is given in microseconds.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{} ms", three_digits(micros as f64 / 1e3)),
        _ => format!("{} s", three_digits(micros as f64 / 1e6)),
    }
}

/// A rate that is given in bits per second.
pub(crate) fn bits_per_second(bits: u64) -> String {
    match bits {
        0..1000 => format!("{bits} bit/s"),
        1000..1_000_000 => format!("{} kbit/s", three_digits(bits as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} Mbit/s", three_digits(bits as f64 / 1e6)),
        _ => format!("{} Gbit/s", three_digits(bits as f64 / 1e9)),
    }
}

/// A share of 1, in percent.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.1 {
        "<0.1 %".to_owned()
    } else if percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A number of bytes in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

/// How long ago something was, in a suitable unit.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

/// A number of things, in the singular or the plural.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// The key of a size in JSON, for people: `65536-up` is `64 KB up`.
pub(crate) fn size_key(key: &str) -> String {
    match read_key(key) {
        (false, Some(size)) => bytes(size),
        (true, Some(size)) => format!("{} up", bytes(size)),
        (_, None) => key.to_owned(),
    }
}

/// What is requested with the key of a size: `65536-up` is `upload of 64 KB`.
pub(crate) fn request_of(key: &str) -> String {
    match read_key(key) {
        (false, Some(size)) => format!("download of {}", bytes(size)),
        (true, Some(size)) => format!("upload of {}", bytes(size)),
        (_, None) => key.to_owned(),
    }
}

/// The throughput of a download with this key, as a heading.
pub(crate) fn throughput_of(key: Option<&str>) -> String {
    let at = key.and_then(|key| read_key(key).1).map(|size| format!(" at {}", bytes(size)));
    format!("throughput{}", at.unwrap_or_default())
}

/// An error that has its time in front, with the time of the day behind it: no error is old enough
/// to need the date.
pub(crate) fn error(text: &str) -> String {
    let dated = text.split_once(": ").and_then(|(date, what)| {
        let date: Timestamp = date.parse().ok()?;
        Some(format!("{what}, at {}", clock(date)))
    });
    dated.unwrap_or_else(|| text.to_owned())
}

/// The time of the day.
pub(crate) fn clock(date: Timestamp) -> String {
    date.strftime("%H:%M:%S UTC").to_string()
}

fn three_digits(number: f64) -> String {
    if number < 9.995 {
        format!("{number:.2}")
    } else if number < 99.95 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_time_of_the_day_behind_it() {
        let text = error("2026-11-28T04:52:50Z: GET 17: no connection within 5s");
        assert_eq!(text, "GET 17: no connection within 5s, at 04:52:50 UTC");
        for other in ["is leaving: its /readyz says 503", "2026: x", ""] {
            assert_eq!(error(other), other);
        }
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (value, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (123_456, "123 ms"),
            (1_500_000, "1.50 s"),
        ] {
            assert_eq!(micros(value), text);
        }
    }

    #[test]
    fn rates_shares_and_sizes() {
        assert_eq!(bits_per_second(940_000_000), "940 Mbit/s");
        assert_eq!(bits_per_second(9_400_000_000), "9.40 Gbit/s");
        assert_eq!([0.0, 0.0004, 0.05, 0.5].map(share), ["0 %", "<0.1 %", "5.0 %", "50 %"]);
        assert_eq!([17, 1024, 1025, 1 << 20].map(bytes), ["17 B", "1 KB", "1025 B", "1 MB"]);
        let keys = ["65536-up", "17", "<b>", "x-up"];
        assert_eq!(keys.map(size_key), ["64 KB up", "17 B", "<b>", "x-up"]);
        assert_eq!(keys.map(request_of), ["upload of 64 KB", "download of 17 B", "<b>", "x-up"]);
        assert_eq!([5, 90, 7200].map(ago), ["5 s ago", "1 min ago", "2 h ago"]);
        assert_eq!([1, 2].map(|n| count(n, "node", "nodes")), ["1 node", "2 nodes"]);
    }
}
