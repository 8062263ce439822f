//! Owns the command line of `load`, and what is wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::schedule::Plan;

/// Sends requests at a constant rate, or as many as the answers let it, and shows how long they
/// took.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// What to ask for, in turns; with --files the servers, without a path
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// WebV test file whose requests are sent in turns; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) files: Vec<String>,

    /// Requests per second; without it each connection sends as soon as it has its answer
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Connections, and so the requests under way at a time
    #[arg(long, short, value_name = "N", default_value = "16", value_parser = connections)]
    pub(crate) connections: usize,

    /// How long; 10s where there is no --requests either
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,

    /// How many requests; with --duration too, what comes first
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,

    /// Time at the beginning that does not count
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time_or_zero)]
    pub(crate) warm_up: Duration,

    /// Method of the requests; GET, or POST with --body-size
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    pub(crate) method: Option<String>,

    /// Bytes of the body of each request, of the same pattern as the answers
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "files")]
    pub(crate) body_size: Option<u64>,

    /// Header of each request, as in 'Host: example.com'; may be repeated
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,

    /// Whether answers must be 0123456789ABCDEF repeated: where the path ends in a number, and then
    /// so many bytes (auto); always (on); never (off)
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, require_equals = true,
        num_args = 0..=1, default_missing_value = "on")]
    pub(crate) check: Check,

    /// A new connection for each request
    #[arg(long)]
    pub(crate) no_keep_alive: bool,

    /// Longest time for a request, from connecting to the last byte
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) timeout: Duration,

    /// PEM file of certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// When bodies are compared with the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// Where the path ends in a number, which is the length then.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl LoadArgs {
    /// What is to be sent when.
    pub(crate) fn plan(&self) -> Plan {
        let unlimited = self.duration.is_none() && self.requests.is_none();
        Plan {
            rate: self.rate,
            warm_up: self.warm_up,
            duration: if unlimited { Some(DURATION) } else { self.duration },
            requests: self.requests,
            grace: self.timeout,
        }
    }
}

/// Enough for a first look.
const DURATION: Duration = Duration::from_secs(10);
/// Ten times of what one thread can send; more is a slip of the finger.
const RATE_MAX: f64 = 1e6;
/// One address has 28,000 ports to call from by default.
const CONNECTIONS_MAX: usize = 20_000;
/// A day and longer is what the run loop is for; a sum of two still is far from overflow.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// More takes hours even on a fast network: a slip of the finger.
const SIZE_MAX: u64 = 1 << 40;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("expected a number above 0, at most {RATE_MAX}")),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=CONNECTIONS_MAX) => Ok(number),
        _ => Err(format!("expected 1 to {CONNECTIONS_MAX}")),
    }
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_zero(text)? {
        Duration::ZERO => Err("expected more than nothing".to_owned()),
        time => Ok(time),
    }
}

fn time_or_zero(text: &str) -> Result<Duration, String> {
    let expected = || "expected digits and one of ms, s, m, h, as in 30s, up to 168h".to_owned();
    let (digits, unit) = split(text);
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let unit_ms = match unit {
        "ms" => 1,
        // WebV's times have no unit and are seconds.
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let time = number.checked_mul(unit_ms).map(Duration::from_millis);
    time.filter(|time| *time <= TIME_MAX).ok_or_else(expected)
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected digits and an optional K, M or G".to_owned();
    let (digits, unit) = split(text);
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let unit: u64 = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return Err(expected()),
    };
    let size = number.checked_mul(unit).filter(|size| *size <= SIZE_MAX);
    size.ok_or_else(|| "expected at most 1024G".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("expected a name, a colon and a value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(line: &str) -> Result<LoadArgs, clap::Error> {
        Ok(Line::try_parse_from(std::iter::once("load").chain(line.split_whitespace()))?.load)
    }

    #[test]
    fn reads_every_option() {
        let args = parse(
            "http://a/1 http://a/2 --rate 100.5 -c 64 --duration 30s -n 7 --warm-up 500ms \
             --body-size 1M --check=off --no-keep-alive --timeout 2m --ca-file ca.pem --json \
             --header Host:b",
        )
        .unwrap();
        assert_eq!(args.urls, ["http://a/1", "http://a/2"]);
        assert_eq!((args.rate, args.connections, args.requests), (Some(100.5), 64, Some(7)));
        assert_eq!(args.duration, Some(Duration::from_secs(30)));
        assert_eq!(args.warm_up, Duration::from_millis(500));
        assert_eq!((args.body_size, args.timeout), (Some(1 << 20), Duration::from_secs(120)));
        assert!(args.no_keep_alive && args.json && args.check == Check::Off);
        assert_eq!(args.header, [("Host".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn check_takes_its_value_behind_an_equals_sign_only() {
        let args = parse("--check http://a/1").unwrap();
        assert_eq!((args.check, args.urls.len()), (Check::On, 1));
        assert_eq!(parse("http://a/1").unwrap().check, Check::Auto);
        assert_eq!(parse("--check=auto http://a/1").unwrap().check, Check::Auto);
    }

    #[test]
    fn ends_after_ten_seconds_where_nothing_else_is_said() {
        assert_eq!(parse("http://a").unwrap().plan().duration, Some(DURATION));
        let plan = parse("http://a -n 5").unwrap().plan();
        assert_eq!((plan.duration, plan.requests), (None, Some(5)));
    }

    #[test]
    fn takes_a_time_without_unit_for_seconds_as_webv_does() {
        assert_eq!(time("30"), Ok(Duration::from_secs(30)));
        assert_eq!(time("168h"), Ok(TIME_MAX));
        assert_eq!(time_or_zero("0"), Ok(Duration::ZERO));
        for wrong in ["", "s", "0s", "1d", "-1s", "1.5s", "169h", "99999999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn refuses_values_on_the_far_side_of_each_limit() {
        for wrong in [
            "",
            "http://a --rate 0",
            "http://a --rate -1",
            "http://a --rate nan",
            "http://a --rate inf",
            "http://a --rate 1000001",
            "http://a -c 0",
            "http://a -c 20001",
            "http://a -n 0",
            "http://a --body-size 1025G",
            "http://a --body-size 1T",
            "http://a --body-size 1M --files a.json",
            "http://a --header nocolon",
            "http://a --check=maybe",
            "http://a --unknown",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for right in ["http://a --rate 1000000", "http://a -c 20000", "http://a --body-size 1024G"]
        {
            assert!(parse(right).is_ok(), "{right}");
        }
    }
}
