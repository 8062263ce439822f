//! Owns the syntax of the values of options. Every parser is a pure function: text in, value out.
//!
//! A parser that refuses a text returns what it expected. The caller adds the option and the value.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use heartbeat_protocol::limits::PAYLOAD_BYTES_MAX;
use heartbeat_runtime::THREADS_MAX;

/// Longest timeout or delay. Nobody needs more than a day, and a sum of such times cannot
/// overflow.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest name of a node or a zone, in bytes: that of a DNS name, which Kubernetes allows.
const NAME_BYTES_MAX: usize = 253;

/// A value, or what was expected instead of it.
pub(crate) type Parsed<T> = Result<T, String>;

/// Bytes: digits and an optional binary K, M or G, in either case.
pub(crate) fn size_bytes(text: &str) -> Parsed<u64> {
    heartbeat_command_line::size(text)
        .filter(|bytes| (1..=PAYLOAD_BYTES_MAX).contains(bytes))
        .ok_or_else(|| "expected digits with an optional K, M or G, from 1 to 1G".to_owned())
}

/// A duration above zero.
pub(crate) fn timeout(text: &str) -> Parsed<Duration> {
    duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected digits and one of ms, s, m, h, from 1ms to 24h".to_owned())
}

/// A duration, zero included.
pub(crate) fn delay(text: &str) -> Parsed<Duration> {
    duration(text)
        .ok_or_else(|| "expected digits and one of ms, s, m, h, from 0s to 24h".to_owned())
}

/// A TCP port; 0 is any free one.
pub(crate) fn port(text: &str) -> Parsed<u16> {
    decimal(text).ok_or_else(|| "expected a number from 0 to 65535".to_owned())
}

/// An address to listen on. An IPv6 address may have the brackets that it has in a URL. A
/// link-local one would need an interface (RFC 4007 section 11); who needs it listens on `::`.
pub(crate) fn address(text: &str) -> Parsed<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse().ok().filter(|ip: &IpAddr| bare.is_none() || ip.is_ipv6());
    let ip = ip.ok_or_else(|| "expected an IPv4 or IPv6 address".to_owned())?;
    let canonical = ip.to_canonical();
    if canonical.is_multicast() || canonical == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err("expected a unicast address".to_owned());
    }
    if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Err("expected an address that is not link-local; :: includes those".to_owned());
    }
    Ok(ip)
}

/// A number of threads; None is `auto`.
pub(crate) fn threads(text: &str) -> Parsed<Option<usize>> {
    if text == "auto" {
        return Ok(None);
    }
    count(text, THREADS_MAX)
        .map(Some)
        .ok_or_else(|| format!("expected auto or a number from 1 to {THREADS_MAX}"))
}

/// A number of connections. The server lowers it to what the limits of the process allow.
pub(crate) fn connections(text: &str) -> Parsed<usize> {
    count(text, usize::MAX).ok_or_else(|| "expected a number from 1".to_string())
}

/// The name of a node or a zone. An allowed name needs no escaping in a metric's label or in JSON.
pub(crate) fn name(text: &str) -> Parsed<String> {
    let is_allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if text.len() > NAME_BYTES_MAX || !text.bytes().all(is_allowed) {
        return Err(format!(
            "expected up to {NAME_BYTES_MAX} printable ASCII characters without \" and \\"
        ));
    }
    Ok(text.to_owned())
}

/// A boolean as Go's flag package writes it: manifests in production have `-log=true`.
pub(crate) fn switch(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// The value of one of the words in `choices`.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Parsed<T> {
    let words = || choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    choices
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("expected one of {}", words()))
}

fn duration(text: &str) -> Option<Duration> {
    heartbeat_command_line::time(text).filter(|duration| *duration <= DURATION_MAX)
}

fn count(text: &str, max: usize) -> Option<usize> {
    decimal(text).filter(|count| (1..=max).contains(count))
}

/// A number of digits and nothing else. `str::parse` alone would accept a plus sign.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No parser may accept these, except that of names.
    const NEVER: [&str; 12] =
        ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "1_000", " 1", "1 ", "1\n", "\u{fffd}"];

    #[test]
    fn reads_sizes_in_binary_units() {
        let allowed = [
            ("1", 1),
            ("017", 17),
            ("1k", 1 << 10),
            ("1K", 1 << 10),
            ("3m", 3 << 20),
            ("1024M", 1 << 30),
            ("1g", 1 << 30),
            ("1073741824", 1 << 30),
        ];
        for (text, bytes) in allowed {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_sizes_out_of_bounds_or_of_another_form() {
        let refused = [
            "0",
            "0K",
            "1073741825",
            "2G",
            "1025M",
            "2T",
            "K",
            "1KB",
            "1Ki",
            "1 K",
            "1é",
            "18014398509481984K",
            "17179869185G",
            "18446744073709551616",
        ];
        for text in refused.into_iter().chain(NEVER) {
            let expected = "expected digits with an optional K, M or G, from 1 to 1G";
            assert_eq!(size_bytes(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn reads_durations_in_one_unit() {
        let allowed =
            [("1ms", 1), ("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("24h", 86_400_000)];
        for (text, ms) in allowed {
            assert_eq!(timeout(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(delay(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(delay("0s"), Ok(Duration::ZERO));
        assert_eq!(delay("0ms"), Ok(Duration::ZERO));
    }

    #[test]
    fn refuses_durations_out_of_bounds_or_of_another_form() {
        let refused = [
            "10",
            "0",
            "s",
            "1.5s",
            "1m30s",
            "10S",
            "10us",
            "1d",
            "25h",
            "1441m",
            "86400001ms",
            "18446744073709551616ms",
            "5124095576030431h",
        ];
        for text in refused.into_iter().chain(NEVER) {
            assert!(timeout(text).is_err(), "{text}");
            assert!(delay(text).is_err(), "{text}");
        }
        assert!(timeout("0s").is_err());
    }

    #[test]
    fn reads_ports_and_counts_to_their_bounds() {
        assert_eq!((port("0"), port("65535"), port("08080")), (Ok(0), Ok(65_535), Ok(8080)));
        assert_eq!((threads("auto"), threads("1")), (Ok(None), Ok(Some(1))));
        assert_eq!(threads("1024"), Ok(Some(THREADS_MAX)));
        assert_eq!((connections("1"), connections("0").is_err()), (Ok(1), true));
        assert_eq!(connections("18446744073709551615"), Ok(usize::MAX));
        assert!(connections("18446744073709551616").is_err());
        for text in ["65536", "99999999999999999999", "http"].into_iter().chain(NEVER) {
            assert!(port(text).is_err(), "{text}");
        }
        for text in ["0", "1025", "AUTO", "all"].into_iter().chain(NEVER) {
            assert!(threads(text).is_err(), "{text}");
        }
        for text in ["0", "auto", "99999999999999999999"].into_iter().chain(NEVER) {
            assert!(connections(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_addresses_with_and_without_brackets() {
        for text in ["0.0.0.0", "127.0.0.1", "223.255.255.255", "::", "::1", "fd00::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(address(text), Ok(ip), "{text}");
        }
        assert_eq!(address("[::1]"), address("::1"));
        let refused = ["localhost", "[127.0.0.1]", "[::1", "::1]", "[]", "[[::1]]", "1.2.3"];
        for text in refused.into_iter().chain(NEVER) {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_addresses_of_many_machines() {
        for text in ["224.0.0.1", "239.1.2.3", "255.255.255.255", "ff02::1", "::ffff:224.0.0.1"] {
            assert!(address(text).unwrap_err().contains("unicast"), "{text}");
        }
    }

    #[test]
    fn refuses_addresses_that_need_an_interface() {
        for text in ["fe80::1", "[fe80::1]", "febf::1"] {
            assert!(address(text).unwrap_err().contains(":: includes those"), "{text}");
        }
        for text in ["fe80::1%eth0", "::1%lo", "fe80::1%2"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_names_that_need_no_escaping() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for text in ["", "edge-17.example.com", "eu/fra 1", "~", longest.as_str()] {
            assert_eq!(name(text), Ok(text.to_owned()));
        }
        let too_long = "x".repeat(NAME_BYTES_MAX + 1);
        for text in ["a\"b", "a\\b", "a\nb", "a\u{7f}", "\u{e9}", too_long.as_str()] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_booleans_as_go_writes_them() {
        for (text, value) in [("true", true), ("TRUE", true), ("T", true), ("1", true)] {
            assert_eq!(switch(text), Ok(value), "{text}");
        }
        for text in ["false", "False", "f", "0"] {
            assert_eq!(switch(text), Ok(false), "{text}");
        }
        for text in ["yes", "on", "2", "truee"].into_iter().chain(NEVER) {
            assert!(switch(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_the_choices_if_none_fits() {
        let choices = [("tsv", 1), ("json", 2)];
        assert_eq!(choice("json", &choices), Ok(2));
        assert_eq!(choice("JSON", &choices), Err("expected one of tsv, json".to_owned()));
    }
}
