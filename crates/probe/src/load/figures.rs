//! Writes times and sizes with the unit that suits them.

/// A time that is given in microseconds, in the unit that suits it.
pub(crate) fn micros(us: f64) -> String {
    let (value, unit) = match us {
        0.0..1e3 => (us, "us"),
        1e3..1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    match value {
        0.0..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A size in binary units.
pub(crate) fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_the_unit_that_suits() {
        for (us, expected) in [
            (0.0, "0.00 us"),
            (9.5, "9.50 us"),
            (87.25, "87.2 us"),
            (999.0, "999 us"),
            (1000.0, "1.00 ms"),
            (204_800.0, "205 ms"),
            (1_500_000.0, "1.50 s"),
            (3.6e9, "3600 s"),
        ] {
            assert_eq!(micros(us), expected);
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (count, expected) in [
            (17.0, "17 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KB"),
            (1_048_576.0, "1.0 MB"),
            (157_286_400.0, "150 MB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
