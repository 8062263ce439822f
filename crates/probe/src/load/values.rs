//! Reads the values of options: numbers, times, sizes, headers, moments.

use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;

/// Ten times what one thread can send; a larger number is a typing error.
pub(super) const RATE_MAX: f64 = 1e6;
/// An address has 28,000 local ports by default (`ip_local_port_range`).
pub(super) const CONNECTIONS_MAX: usize = 20_000;
/// A week: longer tests are what the run loop is for, and the sum of two times cannot overflow.
pub(super) const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// A larger body takes hours even on a fast network; it is a typing error.
const SIZE_MAX: u64 = 1 << 40;

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0, at most {RATE_MAX}")),
    }
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=CONNECTIONS_MAX) => Ok(number),
        _ => Err(format!("expected 1 to {CONNECTIONS_MAX}")),
    }
}

pub(super) fn requests(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number from 1".to_owned()),
    }
}

pub(super) fn method(text: &str) -> Result<String, String> {
    let method = Method::from_bytes(text.as_bytes());
    method.map(|_| text.to_owned()).map_err(|_| "expected a method, as in GET".to_owned())
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_zero(text)? {
        Duration::ZERO => Err("expected more than 0".to_owned()),
        time => Ok(time),
    }
}

pub(super) fn time_or_zero(text: &str) -> Result<Duration, String> {
    let expected = || "expected digits and one of ms, s, m, h, as in 30s, up to 168h".to_owned();
    // WebV's times have no unit and are seconds.
    let time = heartbeat_command_line::time(text)
        .or_else(|| heartbeat_command_line::time(&format!("{text}s")));
    time.filter(|time| *time <= TIME_MAX).ok_or_else(expected)
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    heartbeat_command_line::size(text)
        .filter(|size| *size <= SIZE_MAX)
        .ok_or_else(|| "expected digits and an optional K, M or G, at most 1024G".to_owned())
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("expected a name, a colon and a value".to_owned()),
    }
}

/// A moment: RFC 3339, or the seconds since 1970 that `date +%s` prints.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let seconds: Option<i64> = text.parse().ok();
    let moment = match seconds {
        Some(seconds) => Timestamp::from_second(seconds).ok(),
        None => text.parse().ok(),
    };
    moment.ok_or_else(|| {
        "expected a time with its zone, as in 2030-01-31T12:00:00Z, or seconds since 1970"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_unit_is_in_seconds_as_in_webv() {
        assert_eq!(time("30"), Ok(Duration::from_secs(30)));
        assert_eq!(time("168h"), Ok(TIME_MAX));
        assert_eq!(time_or_zero("0"), Ok(Duration::ZERO));
        for wrong in ["", "s", "0s", "1d", "-1s", "+1", "1.5s", "169h", "99999999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_rfc_3339_or_seconds_since_1970() {
        let expected = Timestamp::from_second(1_900_000_000).unwrap();
        for right in ["1900000000", "2030-03-17T17:46:40Z", "2030-03-17T18:46:40+01:00"] {
            assert_eq!(moment(right), Ok(expected), "{right}");
        }
        for wrong in ["", "12:00", "2030-03-17", "2030-03-17T17:46:40", "999999999999999999"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
