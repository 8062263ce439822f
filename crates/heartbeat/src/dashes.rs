//! Owns the single-dash long options of Go's flag package, which manifests in production use:
//! `-log`, `-min 1`, `-max=1024`.

use clap::Command;

/// Adds the second dash to every argument that is a long option typed with one.
///
/// Everything after a bare `--` stays as it is. The value of an option gets a second dash too if it
/// spells a long option: clap still takes it as the value, and only `--node` and `--zone` allow
/// such a value. `command` must have been built, so that it has the options that clap adds.
pub(crate) fn double_dashes(
    command: &Command,
    arguments: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut is_past_options = false;
    let double = |argument: String| {
        is_past_options |= argument == "--";
        if is_past_options || !is_single_dash_long(command, &argument) {
            argument
        } else {
            format!("-{argument}")
        }
    };
    arguments.map(double).collect()
}

fn is_single_dash_long(command: &Command, argument: &str) -> bool {
    argument.strip_prefix('-').is_some_and(|name| {
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        name.len() > 1 && command.get_arguments().any(|option| option.get_long() == Some(name))
    })
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
    fn takes_no_account_of_which_argument_is_a_value() {
        let cases = [
            ("-uri -log -log", "--uri --log --log"),
            ("-u -log", "-u --log"),
            ("-lu /a -min", "-lu /a --min"),
            ("-u/a -log", "-u/a --log"),
            ("--uri=-log -log", "--uri=-log --log"),
            ("-uri -- -log", "--uri -- -log"),
        ];
        for (typed, expected) in cases {
            assert_eq!(doubled(typed), expected);
        }
    }
}
