//! The settings of a run: checks the values and which of them go together.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_command_line::Misuse;

use crate::args::{Arguments, Given, Origin};
use crate::client::{FixedAddress, HttpVersion, Target, TlsSettings, url_prefix};
use crate::validation::BODY_MAX;

/// Everything a run needs to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// In the order given; a server that is named twice gets two schedules.
    pub servers: Vec<Target>,
    /// Test files.
    pub files: Vec<String>,
    /// Empty, or a path that begins with a slash and ends without one.
    pub url_prefix: String,
    /// `None` for a single run.
    pub run_loop: Option<RunLoop>,
    /// Time between the starts of two requests of a single run.
    pub sleep: Duration,
    /// Time to wait before anything is sent.
    pub delay_start: Duration,
    /// Limit for a whole request.
    pub timeout: Duration,
    /// The number of errors that ends a single run.
    pub max_errors: u64,
    /// Format of the log on standard output.
    pub log_format: LogFormat,
    /// Whether successes are logged.
    pub verbose: bool,
    /// Whether the texts of errors are logged.
    pub verbose_errors: bool,
    /// Format of the summary after a single run.
    pub summary: SummaryFormat,
    /// Tag of requests that have none of their own.
    pub tag: Option<String>,
    /// Where the prober runs.
    pub region: Option<String>,
    /// Where in the region the prober runs.
    pub zone: Option<String>,
    /// Which certificates are trusted and which is presented.
    pub tls: TlsSettings,
    /// Addresses that override those of the name service.
    pub resolve: Vec<FixedAddress>,
    /// How many bytes of a body are kept.
    pub max_body: usize,
    /// Whether cookies are kept and sent back.
    pub cookies: bool,
    /// Which servers are asked for their own time and for their kernel's facts about the path.
    pub timing: Timing,
    /// Whether connections are reused.
    pub keep_alive: bool,
    /// The versions of HTTP that are accepted.
    pub http: HttpVersion,
    /// Whether WebV 8 decides the defaults in which it and WebV 7 differ.
    pub is_compat_8: bool,
    /// Whether the program only prints the settings.
    pub dry_run: bool,
}

/// The settings of an endless run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunLoop {
    /// Time between the starts of two requests to one server.
    pub interval: Duration,
    /// `None` for no end.
    pub duration: Option<Duration>,
    /// Whether requests are picked at random.
    pub random: bool,
    /// Port of the web page with the metrics.
    pub port: u16,
    /// Limit of unanswered requests per server.
    pub max_concurrent: usize,
    /// Whether each address of a server is asked separately.
    pub resolve_all: bool,
    /// Time that unanswered requests have at the end.
    pub last_answers: Duration,
    /// Which metrics are served.
    pub metrics: MetricsChoice,
    /// Bounds of the histograms of whole requests, in seconds.
    pub buckets: Vec<f64>,
}

macro_rules! formats {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident),* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_meta])* $variant),* }

        impl $name {
            const NAMES: &[(&str, Self)] = &[$((stringify!($variant), Self::$variant)),*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

formats! {
    /// How requests are logged.
    LogFormat {
        /// Seven columns.
        TsvMin,
        /// Fourteen columns.
        Tsv,
        /// One object per line, keys in PascalCase.
        Json,
        /// One object per line, keys in camelCase.
        JsonCamel,
        /// Requests are not logged.
        None
    }
}

formats! {
    /// How a single run is summed up.
    SummaryFormat {
        /// No summary.
        None,
        /// One line of columns.
        Tsv,
        /// One object.
        Json,
        /// One object, keys in camelCase.
        JsonCamel,
        /// JUnit.
        Xml
    }
}

formats! {
    /// Which metrics are served.
    MetricsChoice {
        /// Those of WebV and those of the process, no others.
        Webv,
        /// The finer ones, too.
        All
    }
}

/// Which servers are asked for their timing (`?timing`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Servers that say that they are a Heartbeat.
    Heartbeat,
    /// All servers; none is asked whether it is a Heartbeat.
    Always,
    /// No server.
    Never,
}

impl Settings {
    /// Whether facts about the path from an answer are logged or counted.
    pub(crate) fn shows_timing(&self) -> bool {
        let is_json = matches!(self.log_format, LogFormat::Json | LogFormat::JsonCamel);
        let is_counted =
            self.run_loop.as_ref().is_some_and(|run_loop| run_loop.metrics == MetricsChoice::All);
        is_json || is_counted
    }

    /// Reads and checks what was given.
    ///
    /// # Errors
    ///
    /// A line for each invalid value and for each pair of options that conflict.
    pub(crate) fn new(arguments: &Arguments) -> Result<Self, Vec<Misuse>> {
        let mut reader = Reader { arguments, errors: Vec::new() };
        let settings = reader.settings();
        if reader.errors.is_empty() { Ok(settings) } else { Err(reader.errors) }
    }
}

struct Reader<'a> {
    arguments: &'a Arguments,
    errors: Vec<Misuse>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let looping = self.flag("run-loop");
        let run_loop = self.run_loop(looping);
        let is_compat_8 = self.number("compat", 7..=8) == Some(8);
        let log_format = match (is_compat_8, looping) {
            (false, _) => LogFormat::TsvMin,
            (true, false) => LogFormat::Tsv,
            (true, true) => LogFormat::JsonCamel,
        };
        let sleep = self.number("sleep", 0..=MILLISECONDS_MAX).unwrap_or(0);
        let settings = Settings {
            servers: self.servers(),
            files: self.list("files"),
            url_prefix: self.url_prefix(),
            run_loop,
            sleep: Duration::from_millis(sleep),
            delay_start: self.seconds("delay-start", 0, 0),
            timeout: self.seconds("timeout", 1, 30),
            max_errors: self.number("max-errors", 0..=u64::from(u32::MAX)).unwrap_or(10),
            log_format: self.format("log-format", LogFormat::NAMES).unwrap_or(log_format),
            is_compat_8,
            verbose: self.flag("verbose"),
            verbose_errors: self.flag("verbose-errors"),
            summary: self.format("summary", SummaryFormat::NAMES).unwrap_or(SummaryFormat::None),
            tag: self.text("tag"),
            region: self.text("region"),
            zone: self.text("zone"),
            tls: self.tls(),
            resolve: self.resolve(),
            max_body: self.max_body(),
            cookies: self.flag("cookies"),
            timing: self.timing(),
            keep_alive: !self.flag("no-keep-alive"),
            http: self.http(is_compat_8),
            dry_run: self.flag("dry-run"),
        };
        self.check(&settings);
        settings
    }

    fn run_loop(&mut self, looping: bool) -> Option<RunLoop> {
        let duration = self.seconds("duration", 0, 0);
        let random = self.flag("random");
        let port = self.number("port", 1..=65_535).unwrap_or(8080);
        let max_concurrent = self.number("max-concurrent", 1..=CONCURRENT_MAX).unwrap_or(100);
        let resolve_all = self.flag("resolve-all");
        let metrics = self.format("metrics", MetricsChoice::NAMES).unwrap_or(MetricsChoice::All);
        let buckets = self.buckets();
        let timeout = self.given("timeout").and_then(|given| given.words[0].parse().ok());
        let timeout = timeout.map_or(LAST_ANSWERS_MAX, Duration::from_secs);
        let interval = self.interval();
        if looping {
            return Some(RunLoop {
                interval,
                duration: (!duration.is_zero()).then_some(duration),
                random,
                port: u16::try_from(port).unwrap_or(8080),
                max_concurrent: usize::try_from(max_concurrent).unwrap_or(100),
                resolve_all,
                last_answers: timeout.min(LAST_ANSWERS_MAX),
                metrics,
                buckets,
            });
        }
        let from_command_line = |reader: &Self, long: &str| {
            reader.given(long).is_some_and(|given| given.origin == Origin::CommandLine)
        };
        // A port in the environment is ignored: platforms set PORT for every program.
        for (long, used) in [
            ("port", from_command_line(self, "port")),
            ("max-concurrent", from_command_line(self, "max-concurrent")),
            ("resolve-all", resolve_all),
            ("metrics", self.given("metrics").is_some()),
            ("buckets", self.given("buckets").is_some()),
            ("rate", self.given("rate").is_some()),
            ("duration", !duration.is_zero()),
            ("random", random),
        ] {
            if used {
                self.refuse_typed(format_args!("--{long}"), "expected with --run-loop only");
            }
        }
        None
    }

    fn timing(&mut self) -> Timing {
        match self.given("timing") {
            None => Timing::Heartbeat,
            Some(_) if self.flag("timing") => Timing::Always,
            Some(_) => Timing::Never,
        }
    }

    // At least a millisecond; of --sleep and --rate the one on the command line wins.
    fn interval(&mut self) -> Duration {
        let (sleep, rate) = (self.given("sleep"), self.given("rate"));
        let origin = |given: &Option<Given>| given.as_ref().map(|given| given.origin);
        if rate.is_some() && origin(&rate) == origin(&sleep) {
            self.refuse_typed("--rate with --sleep", ONE_OF_THEM);
        }
        if rate.is_some() && origin(&sleep) != Some(Origin::CommandLine) {
            let rate = self.rate(rate);
            return Duration::from_secs_f64(1.0 / rate);
        }
        // An invalid value is ignored here: `settings` reads it for single runs and reports it.
        // As in WebV, 0 in the environment counts as unset.
        let sleep = sleep.filter(|given| {
            given.origin == Origin::CommandLine || given.words[0].parse() != Ok(0_u64)
        });
        let sleep = sleep.and_then(|given| given.words[0].parse().ok()).unwrap_or(1000);
        Duration::from_millis(sleep).max(INTERVAL_MIN)
    }

    fn rate(&mut self, given: Option<Given>) -> f64 {
        let Some(given) = given else { return 1.0 };
        match given.words[0].parse::<f64>() {
            Ok(rate) if RATES.contains(&rate) => rate,
            _ => {
                let (least, most) = (RATES.start(), RATES.end());
                self.refuse(&given, &format!("expected a number from {least} to {most}"));
                1.0
            }
        }
    }

    fn servers(&mut self) -> Vec<Target> {
        let texts = self.list("server");
        let mut servers = Vec::with_capacity(texts.len());
        for text in texts {
            match Target::parse(&text) {
                Ok(target) => servers.push(target),
                Err(error) => self.refuse_typed(format_args!("--server {text}"), error.expected()),
            }
        }
        servers
    }

    fn tls(&mut self) -> TlsSettings {
        let path = |reader: &Self, long| reader.text(long).map(PathBuf::from);
        let settings = TlsSettings {
            ca_file: path(self, "ca-file"),
            insecure: self.flag("insecure"),
            cert: path(self, "cert"),
            key: path(self, "key"),
        };
        if settings.key.is_some() && settings.cert.is_none() {
            self.refuse_typed("--key", "expected with --cert only");
        }
        settings
    }

    fn buckets(&mut self) -> Vec<f64> {
        let Some(given) = self.given("buckets") else { return default_buckets() };
        let words = given.words.iter().flat_map(|word| word.split(','));
        let bounds: Vec<f64> = words.filter_map(|word| word.trim().parse().ok()).collect();
        let count: usize = given.words.iter().map(|word| word.split(',').count()).sum();
        let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        let positive = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        if bounds.len() != count || count > BUCKETS_MAX || !rising || !positive {
            let why = format!("expected at most {BUCKETS_MAX} rising numbers of seconds above 0");
            self.refuse(&given, &why);
        }
        bounds
    }

    fn max_body(&mut self) -> usize {
        let default = BODY_MAX as u64;
        let bytes = self.number("max-body", 0..=MAX_BODY_MAX).unwrap_or(default);
        usize::try_from(bytes).unwrap_or(BODY_MAX)
    }

    fn resolve(&mut self) -> Vec<FixedAddress> {
        let Some(given) = self.given("resolve") else { return Vec::new() };
        let mut fixed = Vec::with_capacity(given.words.len());
        for text in &given.words {
            match FixedAddress::parse(text) {
                Ok(address) => fixed.push(address),
                Err(error) => self.refuse_typed(format_args!("--resolve {text}"), error),
            }
        }
        fixed
    }

    fn http(&mut self, is_compat_8: bool) -> HttpVersion {
        let default = if is_compat_8 { HttpVersion::Negotiated } else { HttpVersion::One };
        let Some(given) = self.given("http") else { return default };
        HttpVersion::parse(&given.words[0]).unwrap_or_else(|expected| {
            self.refuse(&given, expected);
            default
        })
    }

    fn url_prefix(&mut self) -> String {
        let text = self.text("url-prefix").unwrap_or_default();
        url_prefix(&text).unwrap_or_else(|expected| {
            self.refuse_typed(format_args!("--url-prefix {text}"), expected);
            String::new()
        })
    }

    fn check(&mut self, settings: &Settings) {
        if settings.verbose && settings.log_format == LogFormat::None {
            self.refuse_typed("--verbose with --log-format None", ONE_OF_THEM);
        }
        if settings.summary != SummaryFormat::None && settings.run_loop.is_some() {
            self.refuse_typed("--summary with --run-loop", ONE_OF_THEM);
        }
    }

    fn list(&mut self, long: &str) -> Vec<String> {
        let words = self.given(long).map(|given| given.words).unwrap_or_default();
        if words.is_empty() {
            self.errors.push(Misuse::missing(format_args!("--{long}")));
        }
        words
    }

    fn text(&self, long: &str) -> Option<String> {
        let text = self.given(long)?.words.swap_remove(0);
        (!text.trim().is_empty()).then_some(text)
    }

    fn flag(&mut self, long: &str) -> bool {
        let Some(given) = self.given(long) else { return false };
        match given.words[0].to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                self.refuse(&given, "expected true or false");
                false
            }
        }
    }

    fn number(&mut self, long: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let given = self.given(long)?;
        let number = given.words[0].parse().ok().filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            self.refuse(&given, &format!("expected a whole number from {least} to {most}"));
        }
        number
    }

    fn seconds(&mut self, long: &str, least: u64, default: u64) -> Duration {
        Duration::from_secs(self.number(long, least..=SECONDS_MAX).unwrap_or(default))
    }

    fn format<T: Copy>(&mut self, long: &str, names: &[(&str, T)]) -> Option<T> {
        let given = self.given(long)?;
        let word = &given.words[0];
        let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        if found.is_none() {
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            self.refuse(&given, &format!("expected one of {}", names.join(", ")));
        }
        found.map(|(_, format)| *format)
    }

    fn given(&self, long: &str) -> Option<Given> {
        self.arguments.given(long)
    }

    fn refuse(&mut self, given: &Given, allowed: &str) {
        let (name, value) = (&given.name, given.words.join(" "));
        match given.origin {
            Origin::CommandLine => self.refuse_typed(format_args!("{name} {value}"), allowed),
            Origin::Environment => self.refuse_typed(format_args!("{name}={value}"), allowed),
        }
    }

    fn refuse_typed(&mut self, typed: impl Display, allowed: impl Display) {
        self.errors.push(Misuse::new(typed, allowed));
    }
}

const ONE_OF_THEM: &str = "expected one of them, not both";
// What 32-bit milliseconds hold, as WebV counts them: 24 days.
const MILLISECONDS_MAX: u64 = i32::MAX as u64;
// What 32-bit seconds hold, as WebV counts them.
const SECONDS_MAX: u64 = i32::MAX as u64;
// Each bound is a series for each path and status.
const BUCKETS_MAX: usize = 100;
// Well-known steps, which are also the usual limits of alerts: four per decade, 10 us to 10 s.
fn default_buckets() -> Vec<f64> {
    let decades = (-5..1).flat_map(|decade| [1, 2, 3, 5].map(|step| (step, decade)));
    let bounds = decades.chain([(1, 1)]).map(|(step, decade)| format!("{step}e{decade}").parse());
    bounds.map(|bound| bound.unwrap_or(f64::MAX)).collect()
}
// The grace period that an orchestrator gives by default.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(30);
// A body of this size takes several times as much memory while it is parsed.
const MAX_BODY_MAX: u64 = 1 << 30;
// Each may hold a socket and a read buffer. Above this a default limit of descriptors is used up,
// and the load generator is the better tool.
const CONCURRENT_MAX: u64 = 10_000;
const INTERVAL_MIN: Duration = Duration::from_millis(1);
// From one request a day to a rate that a single thread surely keeps up with.
const RATES: RangeInclusive<f64> = 0.00001..=10_000.0;
