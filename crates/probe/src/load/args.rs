//! The command line of `load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::outcome::OutcomeArgs;
use super::schedule::Plan;
use super::values::{
    connections, header, method, moment, rate, requests, size, time, time_or_zero,
};
use crate::client::{FixedAddress, HttpVersion, TlsSettings, url_prefix};

/// Sends requests at a rate, or as fast as possible, and shows how long they took
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// What to ask for, in turns; with --files the servers, without a path
    #[arg(value_name = "URL", required = true)]
    pub(crate) urls: Vec<String>,

    /// WebV test file whose requests are sent in turns; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) files: Vec<String>,

    /// Prefix of every path
    #[arg(long, short, value_name = "PATH", default_value = "", hide_default_value = true,
        value_parser = url_prefix)]
    pub(crate) url_prefix: String,

    /// Requests per second of all connections together; without it each
    /// connection sends as soon as it has its answer
    #[arg(verbatim_doc_comment, long, short = 'q', visible_short_alias = 'R', value_name = "N",
        value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// Connections, and so the requests under way at a time
    #[arg(long, short, value_name = "N", default_value = "16", value_parser = connections)]
    pub(crate) connections: usize,

    /// How long; 10s if there is no --requests either
    #[arg(long, short = 'z', value_name = "TIME", value_parser = time)]
    pub(crate) duration: Option<Duration>,

    /// How many requests; with --duration too, what comes first
    #[arg(long, short = 'n', value_name = "N", value_parser = requests)]
    pub(crate) requests: Option<u64>,

    /// Time at the beginning that does not count
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time_or_zero)]
    pub(crate) warm_up: Duration,

    /// Begin at this moment (2030-01-31T12:00:00Z, or seconds since 1970),
    /// so that several processes begin together
    #[arg(verbatim_doc_comment, long, value_name = "MOMENT", value_parser = moment)]
    pub(crate) start_at: Option<Timestamp>,

    /// Method of the requests; GET, or POST with --body-size
    #[arg(long, short, value_name = "NAME", conflicts_with = "files", value_parser = method)]
    pub(crate) method: Option<String>,

    /// Bytes of the body of each request, of the same pattern as the answers
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "files")]
    pub(crate) body_size: Option<u64>,

    /// Header of each request, as in 'Host: example.com'; may be repeated
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,

    /// Whether answers must be 0123456789ABCDEF repeated: if the path ends
    /// in a number, and then so many bytes (auto, the default); always (on);
    /// never (off)
    #[arg(verbatim_doc_comment, long, value_name = "WHEN", value_enum, default_value_t,
        require_equals = true, num_args = 0..=1, default_missing_value = "on",
        hide_possible_values = true, hide_default_value = true)]
    pub(crate) check: Check,

    /// Ask a Heartbeat for its own time with each request (?timing), which
    /// costs it some time, and makes each answer some 200 bytes longer
    #[arg(verbatim_doc_comment, long)]
    pub(crate) timing: bool,

    /// Version of HTTP: 1.1, 2, or auto, which lets a server with TLS
    /// choose
    #[arg(verbatim_doc_comment, long, value_name = "VERSION", default_value = "1.1",
        value_parser = HttpVersion::parse)]
    pub(crate) http: HttpVersion,

    /// A new connection for each request
    #[arg(long, visible_alias = "disable-keepalive")]
    pub(crate) no_keep_alive: bool,

    /// Longest time for a request, a new connection included
    #[arg(long, short, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) timeout: Duration,

    /// Use these addresses instead of the name's; several are separated by
    /// commas; may be repeated
    #[arg(verbatim_doc_comment, long, value_name = "HOST:PORT:ADDR",
        value_parser = FixedAddress::parse)]
    pub(crate) resolve: Vec<FixedAddress>,

    /// PEM file of certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Accept every certificate of a server
    #[arg(long)]
    pub(crate) insecure: bool,

    /// PEM file with the certificate of this client
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,

    /// PEM file with its key, if that is not in the file of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Between two lines of progress if standard error is no terminal; 0s for
    /// none
    #[arg(verbatim_doc_comment, long, value_name = "TIME", default_value = "10s",
        value_parser = time_or_zero)]
    pub(crate) progress: Duration,

    #[command(flatten)]
    pub(crate) outcome: OutcomeArgs,
}

/// When bodies are compared with the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// If the path ends in a number, which is the length then.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl LoadArgs {
    /// Which certificates are trusted and which is presented.
    pub(crate) fn tls(&self) -> TlsSettings {
        TlsSettings {
            ca_file: self.ca_file.clone(),
            insecure: self.insecure,
            cert: self.cert.clone(),
            key: self.key.clone(),
        }
    }

    /// How many requests are sent, and when.
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

/// Long enough for a first look.
const DURATION: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use clap::Parser;
    use heartbeat_command_line::Misuse;

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
        assert!(args.no_keep_alive && args.outcome.json && args.check == Check::Off);
        assert_eq!(args.header, [("Host".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn check_takes_its_value_only_behind_an_equals_sign() {
        let args = parse("--check http://a/1").unwrap();
        assert_eq!((args.check, args.urls.len()), (Check::On, 1));
        assert_eq!(parse("http://a/1").unwrap().check, Check::Auto);
        assert_eq!(parse("--check=auto http://a/1").unwrap().check, Check::Auto);
    }

    #[test]
    fn ends_after_ten_seconds_by_default() {
        assert_eq!(parse("http://a").unwrap().plan().duration, Some(DURATION));
        let plan = parse("http://a -n 5").unwrap().plan();
        assert_eq!((plan.duration, plan.requests), (None, Some(5)));
    }

    #[test]
    fn the_short_names_of_hey_oha_and_wrk_mean_the_same() {
        let args = parse("http://a/1 -z 30s -q 5 -c 2 -n 7 -m HEAD -t 3s -u /p -H Host:b").unwrap();
        assert_eq!((args.duration, args.rate), (Some(Duration::from_secs(30)), Some(5.0)));
        assert_eq!((args.connections, args.requests), (2, Some(7)));
        assert_eq!((args.method.as_deref(), args.timeout), (Some("HEAD"), Duration::from_secs(3)));
        assert_eq!((args.url_prefix.as_str(), args.header.len()), ("/p", 1));
        assert_eq!(parse("http://a/1 -R 5").unwrap().rate, Some(5.0));
        assert!(parse("http://a/1 --disable-keepalive").unwrap().no_keep_alive);
    }

    #[test]
    fn the_help_page_fits_80_columns() {
        let help = crate::load::command().render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for name in ["-z", "-q", "-H", "-m", "--start-at", "--fail-if", "--junit", "--markdown"] {
            assert!(help.contains(name), "{name} is not in {help}");
        }
    }

    #[test]
    fn rejects_values_beyond_each_limit() {
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

    #[test]
    fn a_refusal_says_what_is_allowed() {
        for (line, refusal) in [
            ("http://a -n x", "--requests x: not allowed: expected a number from 1"),
            ("http://a -n 0", "--requests 0: not allowed: expected a number from 1"),
            ("http://a -m A,B", "--method A,B: not allowed: expected a method, as in GET"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(Misuse::from(&error).to_string(), refusal);
        }
    }
}
