//! Writes figures for people: three digits and a unit.

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

/// A number of bytes in binary units, as the server's options accept it.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
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

/// The key of a size in JSON, for people: `65536-up` is `64K up`.
pub(crate) fn size_key(key: &str) -> String {
    let (digits, up) = key.strip_suffix("-up").map_or((key, ""), |digits| (digits, " up"));
    digits.parse().map_or_else(|_| key.to_owned(), |number| bytes(number) + up)
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
        assert_eq!([17, 1024, 1025, 1 << 20].map(bytes), ["17", "1K", "1025", "1M"]);
        assert_eq!(["65536-up", "17", "<b>"].map(size_key), ["64K up", "17", "<b>"]);
        assert_eq!([5, 90, 7200].map(ago), ["5 s ago", "1 min ago", "2 h ago"]);
        assert_eq!([1, 2].map(|n| count(n, "node", "nodes")), ["1 node", "2 nodes"]);
    }
}
