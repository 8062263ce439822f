//! The command line: which options there are, and where each value was given.
//!
//! Values are text here; [`Settings`](crate::settings::Settings) reads them, by the same rules for
//! the command line and the environment.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use heartbeat_command_line::{Misuse, Stop};

/// One option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    /// The name without its dashes.
    pub long: &'static str,
    short: Option<char>,
    kind: Kind,
    help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List(&'static str),
    Value(&'static str),
    /// `--flag`, `--flag true` or `--flag false`.
    Flag,
    /// The same, but the environment is not read.
    CommandLineFlag,
}

/// Where a value was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// As an option.
    CommandLine,
    /// As an environment variable.
    Environment,
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The words of a list; exactly one word for everything else.
    pub words: Vec<String>,
    /// Where the value was given.
    pub origin: Origin,
    /// The option or the variable, for messages.
    pub name: String,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Print this and exit with 0.
    Print(String),
    /// Run the prober.
    Probe(Arguments),
}

/// The parsed command line, and the environment behind it.
#[derive(Debug)]
pub(crate) struct Arguments {
    matches: ArgMatches,
    environment: Vec<(String, String)>,
}

/// Parses a command line, without the program's own name.
///
/// # Errors
///
/// A message for an unknown option, a missing value or a superfluous word.
pub(crate) fn parse(
    words: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Asked, Misuse> {
    let words = unbundled(words);
    // WebV accepts it at any position, even beside unknown options.
    if words.iter().any(|word| word == "--version" || word == "-V") {
        return Ok(Asked::Print(format!("{}\n", env!("CARGO_PKG_VERSION"))));
    }
    match command().try_get_matches_from(&words) {
        Ok(matches) => {
            let environment = environment.into_iter().collect();
            Ok(Asked::Probe(Arguments { matches, environment }))
        }
        Err(error) => {
            let is_unknown = error.kind() == ErrorKind::UnknownArgument;
            match Stop::from(error) {
                Stop::Page(page) => Ok(Asked::Print(page)),
                Stop::Misuse(misuse) if is_unknown => Err(with_history(misuse, &words)),
                Stop::Misuse(misuse) => Err(misuse),
            }
        }
    }
}

impl Arguments {
    /// What was given for an option; the command line overrides the environment.
    pub(crate) fn given(&self, long: &str) -> Option<Given> {
        let opt = OPTIONS.iter().find(|opt| opt.long == long)?;
        if let Some(values) = self.matches.get_many::<String>(long) {
            let words = values.cloned().collect();
            let name = format!("--{long}");
            return Some(Given { words, origin: Origin::CommandLine, name });
        }
        let name = opt.variable()?;
        let (_, text) = self.environment.iter().find(|(variable, _)| *variable == name)?;
        let words: Vec<String> = match opt.kind {
            Kind::List(_) => text.split_whitespace().map(str::to_owned).collect(),
            _ => vec![text.trim().to_owned()],
        };
        // An empty variable counts as unset.
        let blank = words.iter().all(String::is_empty);
        (!blank).then_some(Given { words, origin: Origin::Environment, name })
    }
}

impl Opt {
    /// The environment variable, named by WebV's rule. Options that WebV lacks get a prefix,
    /// because other programs use names like RATE and KEY, too.
    fn variable(&self) -> Option<String> {
        let prefix = if OF_WEBV.contains(&self.long) { "" } else { "PROBE_" };
        let name = self.long.to_ascii_uppercase().replace('-', "_");
        (self.kind != Kind::CommandLineFlag).then(|| format!("{prefix}{name}"))
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.long)
            .long(self.long)
            .help(self.help)
            .allow_negative_numbers(true)
            .hide_possible_values(true);
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        match self.kind {
            Kind::List(name) => arg.value_name(name).num_args(1..).action(ArgAction::Append),
            Kind::Value(name) => arg.value_name(name).num_args(1),
            Kind::Flag | Kind::CommandLineFlag => {
                arg.value_name("BOOL").num_args(0..=1).default_missing_value("true")
            }
        }
    }
}

/// The command line without the subcommands, which have command lines of their own.
pub(crate) fn command() -> Command {
    Command::new("heartbeat-probe")
        .about("Asks HTTP servers what test files say, and checks, logs and counts the answers")
        .after_help(AFTER_HELP)
        .no_binary_name(true)
        .disable_help_flag(true)
        .args(OPTIONS.iter().map(Opt::arg))
        .arg(
            Arg::new("version")
                .long("version")
                .short('V')
                .help("Print the version")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("help")
                .long("help")
                .short('h')
                .visible_short_alias('?')
                .help("Print this page")
                .action(ArgAction::Help),
        )
}

// `-rv` is two flags to WebV; the parser would take `v` as the value of `-r`.
fn unbundled(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let flag = |letter: char| {
        OPTIONS.iter().any(|opt| {
            opt.short == Some(letter) && matches!(opt.kind, Kind::Flag | Kind::CommandLineFlag)
        })
    };
    let split = |word: String| match word.strip_prefix('-') {
        Some(letters) if letters.len() > 1 && letters.chars().all(flag) => {
            letters.chars().map(|letter| format!("-{letter}")).collect()
        }
        _ => vec![word],
    };
    words.into_iter().flat_map(split).collect()
}

/// Says what became of an option that older releases of WebV had.
fn with_history(misuse: Misuse, words: &[String]) -> Misuse {
    let gone = words.iter().find_map(|word| {
        let word = word.split(['=', ':']).next()?;
        REMOVED.iter().find(|(names, _)| names.contains(&word))
    });
    gone.map_or(misuse, |(names, why)| Misuse::new(names[0], why))
}

const fn opt(long: &'static str, short: Option<char>, kind: Kind, help: &'static str) -> Opt {
    Opt { long, short, kind, help }
}

/// All options, in the order of the help page.
pub(crate) const OPTIONS: &[Opt] = &[
    opt("server", Some('s'), Kind::List("URL"), "Servers to ask (required)"),
    opt("files", Some('f'), Kind::List("FILE"), "Test files (required)"),
    opt("url-prefix", Some('u'), Kind::Value("PATH"), "Prefix of every path"),
    opt("run-loop", Some('r'), Kind::Flag, "Run until stopped, and serve metrics"),
    opt("port", Some('p'), Kind::Value("PORT"), "Port of /metrics, /healthz [default: 8080]"),
    opt("duration", None, Kind::Value("SECONDS"), "End --run-loop after this time [default: 0]"),
    opt(
        "sleep",
        Some('l'),
        Kind::Value("MS"),
        "Between the starts of requests\n[default: 0, 1000 with --run-loop]",
    ),
    opt("rate", None, Kind::Value("N"), "Requests a second to each server"),
    opt("random", None, Kind::Flag, "Pick requests of --run-loop at random"),
    opt(
        "max-concurrent",
        None,
        Kind::Value("N"),
        "Most unanswered requests per server\n[default: 100]",
    ),
    opt("resolve-all", None, Kind::Flag, "Ask every address of a server, with a label"),
    opt("metrics", None, Kind::Value("WHICH"), "webv or all [default: all]"),
    opt(
        "buckets",
        None,
        Kind::List("SECONDS"),
        "Bounds of the finer histogram\n[default: 1 2 3 5 a decade, 10 us to 10 s]",
    ),
    opt("delay-start", None, Kind::Value("SECONDS"), "Wait before starting [default: 0]"),
    opt("timeout", Some('t'), Kind::Value("SECONDS"), "Timeout of a whole request [default: 30]"),
    opt("max-errors", None, Kind::Value("N"), "Errors that end a single run [default: 10]"),
    opt(
        "log-format",
        Some('g'),
        Kind::Value("FORMAT"),
        "TsvMin, Tsv, Json, JsonCamel or None\n[default: TsvMin]",
    ),
    opt("verbose", Some('v'), Kind::Flag, "Log what succeeds, too"),
    opt("verbose-errors", None, Kind::Flag, "Log what the errors are"),
    opt(
        "summary",
        None,
        Kind::Value("FORMAT"),
        "None, Tsv, Json, JsonCamel or Xml\nafter a single run [default: None]",
    ),
    opt("tag", None, Kind::Value("TEXT"), "For the log"),
    opt("region", None, Kind::Value("TEXT"), "For the log and the metrics"),
    opt("zone", None, Kind::Value("TEXT"), "For the log and the metrics"),
    opt("ca-file", None, Kind::Value("FILE"), "Trust these certificates, too (PEM)"),
    opt("insecure", None, Kind::Flag, "Accept every certificate of a server"),
    opt("cert", None, Kind::Value("FILE"), "Certificate of this client (PEM)"),
    opt("key", None, Kind::Value("FILE"), "Its key [default: in the file of --cert]"),
    opt("resolve", None, Kind::List("HOST:PORT:ADDR"), "Use this address instead of the name's"),
    opt(
        "max-body",
        None,
        Kind::Value("BYTES"),
        "Most bytes kept of a JSON body\n[default: 4194304]",
    ),
    opt("cookies", None, Kind::Flag, "Keep cookies and send them back"),
    opt(
        "timing",
        None,
        Kind::Flag,
        "Ask for the server's own time (?timing)\n[default: if it is a Heartbeat]",
    ),
    opt(
        "http",
        None,
        Kind::Value("VERSION"),
        "Version: 1.1, 2, or auto, which lets a\nserver with TLS choose [default: 1.1]",
    ),
    opt("no-keep-alive", None, Kind::Flag, "A new connection for each request"),
    opt("compat", None, Kind::Value("VERSION"), "Defaults of WebV 7 or 8 [default: 7]"),
    opt("dry-run", Some('d'), Kind::CommandLineFlag, "Print the settings and end"),
];

const OF_WEBV: &[&str] = &[
    "server",
    "files",
    "url-prefix",
    "run-loop",
    "port",
    "duration",
    "sleep",
    "random",
    "delay-start",
    "timeout",
    "max-errors",
    "log-format",
    "verbose",
    "verbose-errors",
    "summary",
    "tag",
    "region",
    "zone",
];

const AFTER_HELP: &str = "\
Options are also read from the environment (SERVER, FILES, RUN_LOOP ...; those
that WebV does not have as PROBE_RATE, PROBE_HTTP ...). The command line wins.
Commands, each with --help: `load` generates load, `merge` combines its results,
`path` measures and explains one path, `mesh` watches the paths between nodes.";

/// Options of older releases of WebV, and what became of them.
const REMOVED: &[(&[&str], &str)] = &[
    (&["--prometheus"], "removed in WebV 2.6; metrics are always on with --run-loop"),
    (&["--strict-json", "-j"], "removed in WebV 2.6; comments in test files are always accepted"),
    (&["--base-url"], "removed in WebV 2.6; name the files with their paths"),
    (&["--webv-prefix"], "removed in WebV 2.6; write whole URLs after --server"),
    (&["--webv-suffix"], "removed in WebV 2.6; write whole URLs after --server"),
    (&["--json-log"], "removed; use --log-format Json"),
    (&["--summary-minutes"], "removed; use --summary"),
    (&["--xml-summary"], "removed; use --summary Xml"),
];
