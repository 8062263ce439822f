//! Owns the single-dash long options of Go's flag package, which manifests in production use:
//! `-log`, `-min 1`, `-max=1024`.

use clap::{Arg, Command};

/// Adds the second dash to every long option that was typed with one.
///
/// Values of options stay as they are, and so does everything after a bare `--`. `command` must
/// have been built, so that it has the options that clap adds.
pub(crate) fn double_dashes(
    command: &Command,
    arguments: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut doubled = Vec::new();
    let mut is_value = false;
    let mut is_past_options = false;
    for argument in arguments {
        let argument = if is_value || is_past_options || !is_single_dash_long(command, &argument) {
            argument
        } else {
            format!("-{argument}")
        };
        is_past_options |= !is_value && argument == "--";
        is_value = !is_value && !is_past_options && wants_value(command, &argument);
        doubled.push(argument);
    }
    doubled
}

fn is_single_dash_long(command: &Command, argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|name| {
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        name.len() > 1 && long(command, name).is_some()
    })
}

/// Whether the argument after this one is the value of an option.
fn wants_value(command: &Command, argument: &str) -> bool {
    if let Some(name) = argument.strip_prefix("--") {
        return long(command, name).is_some_and(takes_next);
    }
    let Some(cluster) = argument.strip_prefix('-') else { return false };
    // In a cluster such as `-lp`, what follows the first option with a value is that value.
    for (index, letter) in cluster.char_indices() {
        let is_last = index + letter.len_utf8() == cluster.len();
        match command.get_arguments().find(|option| option.get_short() == Some(letter)) {
            Some(option) if takes_next(option) => return is_last,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

fn long<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|option| option.get_long() == Some(name))
}

fn takes_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn doubled(line: &str) -> String {
        let mut command = args::command();
        command.build();
        double_dashes(&command, line.split_whitespace().map(str::to_owned)).join(" ")
    }

    #[test]
    fn gives_long_options_their_second_dash() {
        let cases = [
            ("-log", "--log"),
            ("-log=false", "--log=false"),
            ("-min 1 -max=1024", "--min 1 --max=1024"),
            ("-port 80 -uri /a", "--port 80 --uri /a"),
            ("-idle-timeout=5s -io epoll", "--idle-timeout=5s --io epoll"),
            ("-version", "--version"),
            ("healthcheck -help", "healthcheck --help"),
        ];
        for (typed, expected) in cases {
            assert_eq!(doubled(typed), expected);
        }
    }

    #[test]
    fn leaves_everything_else_alone() {
        let cases = [
            "--log",
            "-l -p 80 -p80 -lp80",
            "-",
            "-x -logs -=log -l=true",
            "---log",
            "-- -log",
            "log min",
        ];
        for typed in cases {
            assert_eq!(doubled(typed), typed);
        }
    }

    #[test]
    fn leaves_the_value_of_an_option_alone() {
        let cases = [
            ("-uri -log -log", "--uri -log --log"),
            ("--uri -log", "--uri -log"),
            ("-u -log", "-u -log"),
            ("-lu -log -min", "-lu -log --min"),
            ("-u/a -log", "-u/a --log"),
            ("--uri=/a -log", "--uri=/a --log"),
            ("-log -min", "--log --min"),
            ("-uri -- -log", "--uri -- --log"),
        ];
        for (typed, expected) in cases {
            assert_eq!(doubled(typed), expected);
        }
    }
}
