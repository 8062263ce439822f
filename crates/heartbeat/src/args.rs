//! Owns the command line: its options, and the page of `--help`.
//! Values stay text here; `settings` parses them.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};
use heartbeat_command_line::{Misuse, Stop};

use crate::dashes::double_dashes;

/// The placeholder of the value of a boolean, which is optional and must follow an equals sign.
const SWITCH: &str = "BOOL";

/// The beginning of the environment variables of options.
const VARIABLE_PREFIX: &str = "HB_";

/// The command that checks a running server, and its argument, which is optional.
pub(crate) const HEALTHCHECK: &str = "healthcheck";
pub(crate) const URL: &str = "URL";

const ENVIRONMENT: &str = "\
Each option except the last two may come from an environment variable: HB_ and its name in
capitals, as in HB_PORT. An empty variable counts as unset; the command line comes first.
SIZE is digits and an optional K, M or G (binary), TIME is digits and one of ms, s, m, h.
Options may also begin with one dash, as in -min 1K. If one is repeated, the last counts.
SIGTERM and SIGINT begin the drain, a second one ends it at once, and so does SIGQUIT. SIGHUP,
SIGUSR1 and SIGUSR2 are ignored.";

/// Parses a command line without the name of the program.
///
/// # Errors
/// A page is asked for; or an option is unknown, has no value, or is not expected in its place.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<ArgMatches, Stop> {
    let mut command = command();
    command.build();
    let mut arguments = double_dashes(&command, arguments);
    if arguments.first().is_some_and(|first| first == "help") {
        arguments = vec!["--help".to_owned()];
    }
    let matches = command.try_get_matches_from(arguments)?;
    // clap could refuse this too, but would then report every unknown word as such a conflict.
    let is_typed = |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    if matches.subcommand().is_some()
        && let Some(option) = matches.ids().find(is_typed)
    {
        return Err(Stop::Misuse(Misuse::new(
            format_args!("--{option} with {HEALTHCHECK}"),
            "expected options or a command, not both",
        )));
    }
    Ok(matches)
}

/// The environment variable of an option.
pub(crate) fn variable(name: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Those of `variables` that begin with `HB_` and belong to no option, in alphabetical order.
pub(crate) fn misspelt(variables: impl Iterator<Item = String>) -> Vec<String> {
    let is_option = |text: &str| OPTIONS.iter().any(|(_, name, ..)| variable(name) == text);
    let mut misspelt: Vec<_> =
        variables.filter(|text| text.starts_with(VARIABLE_PREFIX) && !is_option(text)).collect();
    misspelt.sort();
    misspelt
}

/// Whether an option is a boolean.
pub(crate) fn is_switch(name: &str) -> bool {
    OPTIONS.iter().any(|option| option.1 == name && option.2 == SWITCH)
}

/// The command line as clap describes it.
pub(crate) fn command() -> Command {
    let check = Command::new(HEALTHCHECK)
        .about("Ask a running server whether it is well: exit code 0 if it answers 200, else 1")
        .arg(
            Arg::new(URL)
                .help("http://IP[:PORT][/PATH] or tcp://IP:PORT[/PATH]; IP may be localhost"),
        )
        .after_help(
            "Without a URL it asks http://127.0.0.1:$HB_PORT/healthz, port 8080 if that is unset, \
             and then [::1].\nA URL without a path asks for /healthz. tcp:// is for the addresses of \
             Kubernetes services.\nIt waits up to 2 seconds for an answer. Names other than \
             localhost are not resolved.",
        );
    let version = Arg::new("version")
        .short('v')
        .visible_short_alias('V')
        .long("version")
        .action(ArgAction::Version)
        .help("Print version");
    Command::new("heartbeat")
        .about("A tiny HTTP server that answers with exactly as many bytes as the URL asks for")
        .version(env!("CARGO_PKG_VERSION"))
        .bin_name("heartbeat")
        .override_usage("heartbeat [OPTIONS]\n       heartbeat healthcheck [URL]")
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .args(options())
        .arg(version)
        .subcommand(check)
        .after_help(ENVIRONMENT)
}

/// The options that have a value. They are built in one loop over a table, because a chain of calls
/// for each option makes the binary 36 KB larger.
fn options() -> impl Iterator<Item = Arg> {
    OPTIONS.into_iter().map(|(letter, name, value, default, help)| {
        let option = Arg::new(name)
            .short(letter.chars().next())
            .long(name)
            .value_name(value)
            .default_value((!default.is_empty()).then_some(default))
            .help(help);
        if value == SWITCH {
            return option
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide_default_value(true);
        }
        // The next argument is always the value, as in Go: `--min -1` has the value -1.
        option.allow_hyphen_values(true)
    })
}

/// Letter, name, placeholder of the value, default, help. An empty default means the runtime picks
/// one.
#[rustfmt::skip]
const OPTIONS: [(&str, &str, &str, &str, &str); 24] = [
    ("p", "port", "N", "8080", "TCP port; 0 picks a free one and prints it"),
    ("a", "address", "IP", "",
        "Address to listen on [default: ::, or 0.0.0.0 without IPv6]"),
    ("u", "uri", "PATH", "/heartbeat/", "Prefix of the URLs that answer with bytes"),
    ("", "min", "SIZE", "1", "Smallest answer"),
    ("", "max", "SIZE", "1M", "Largest answer, up to 1G"),
    ("l", "log", "BOOL", "false", "Write a line per request to standard output [default: off]"),
    ("", "log-format", "FORMAT", "tsv", "Form of these lines: tsv or json"),
    ("", "log-tcp", "BOOL", "false", "Add the facts about the TCP path to each line [default: off]"),
    ("t", "threads", "N", "auto", "Event loops, a CPU each; auto for all it may use"),
    ("", "io", "DRIVER", "auto", "auto, uring or epoll; auto tries them in this order"),
    ("", "send", "TIER", "auto", "Large answers by copy, splice, registered, zerocopy"),
    ("", "max-connections", "N", "",
        "Above it: 503 [default: by RLIMIT_NOFILE and memory limit]"),
    ("", "admin-port", "N", "",
        "Port of a second listener, which alone has /metrics and /version"),
    ("", "admin-address", "IP", "", "Its address [default: that of --address]"),
    ("", "node", "NAME", "", "Node that this runs on, as /version and /metrics show it"),
    ("", "zone", "NAME", "", "Zone of that node"),
    ("", "tcp-metrics", "on|off", "on", "Metrics of the paths of connections (TCP_INFO)"),
    ("", "responsiveness", "BOOL", "false", "Serve /.well-known/nq [default: off]"),
    ("", "aliases", "BOOL", "false",
        "Serve the paths of other tools, such as /bytes/n [default: off]"),
    ("", "header-timeout", "TIME", "10s", "Longest time for a whole request head"),
    ("", "idle-timeout", "TIME", "620s", "Longest wait for the next request of a connection"),
    ("", "stall-timeout", "TIME", "60s", "Longest time without progress in a body, up or down"),
    ("", "drain-delay", "TIME", "3s", "Time to go on serving after SIGTERM or SIGINT"),
    ("", "drain-timeout", "TIME", "25s", "Longest time for work in flight after that"),
];
