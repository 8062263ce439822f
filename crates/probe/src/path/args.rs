//! The command line of `path`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::load::{size, time};

/// Measures one path in about ten seconds, and explains what it finds: names,
/// latency, the largest packet, loss, throughput, latency under load, and what
/// proxies on the way do
#[derive(Args, Clone, Debug)]
#[command(verbatim_doc_comment, after_help = AFTER_HELP)]
pub(crate) struct PathArgs {
    /// The server, best a Heartbeat; a path before the size is its prefix
    #[arg(value_name = "URL")]
    pub(super) url: String,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// Exit with 1 for a warning, too
    #[arg(long)]
    pub(super) strict: bool,

    /// Leave out throughput, latency under load and large bodies: about two
    /// seconds
    #[arg(verbatim_doc_comment, long)]
    pub(super) quick: bool,

    /// About how long it takes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) duration: Duration,

    /// Leave a connection idle for this time, and see if it is still open
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) idle: Option<Duration>,

    /// Bytes that may be sent and received, all together
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = bytes)]
    pub(super) max_bytes: u64,

    /// PEM file of certificates to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = time(text)?;
    let allowed = DURATION_MIN..=DURATION_MAX;
    if allowed.contains(&duration) { Ok(duration) } else { Err("expected 5s to 10m".to_owned()) }
}

fn bytes(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes >= MAX_BYTES_MIN => Ok(bytes),
        _ => Err("expected at least 1M".to_owned()),
    }
}

/// In a shorter time, TCP does not reach its rate in the phases that measure it.
const DURATION_MIN: Duration = Duration::from_secs(5);
/// Longer measurements are what `load` is for.
const DURATION_MAX: Duration = Duration::from_secs(600);
/// The small requests and the packets of the search for the MTU need less.
const MAX_BYTES_MIN: u64 = 1 << 20;

const AFTER_HELP: &str = "\
The exit code is 0 if nothing is wrong, 1 if something is (with --strict: also
for a warning), or if nothing answers, and 2 if the command line cannot be used.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        path: PathArgs,
    }

    fn parse(line: &str) -> Result<PathArgs, clap::Error> {
        Ok(Line::try_parse_from(std::iter::once("path").chain(line.split_whitespace()))?.path)
    }

    #[test]
    fn reads_every_option() {
        let args = parse(
            "https://a/heartbeat/ --json --strict --quick --duration 20s --idle 90s \
             --max-bytes 1G --ca-file ca.pem",
        )
        .unwrap();
        assert!(args.json && args.strict && args.quick && args.ca_file.is_some());
        assert_eq!((args.duration.as_secs(), args.max_bytes), (20, 1 << 30));
        assert_eq!(args.idle, Some(Duration::from_secs(90)));
        let plain = parse("localhost").unwrap();
        assert_eq!((plain.duration.as_secs(), plain.max_bytes), (10, 256 << 20));
    }

    #[test]
    fn rejects_values_beyond_each_limit() {
        for wrong in
            ["", "a b", "a --duration 4999ms", "a --duration 601s", "a --max-bytes 1048575"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for right in ["a --duration 5s", "a --duration 10m", "a --max-bytes 1M"] {
            assert!(parse(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn the_help_page_fits_80_columns() {
        let help = crate::path::command().render_help().to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
