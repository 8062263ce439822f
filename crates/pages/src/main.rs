//! Writes the man pages and shell completions of both programs into a folder. The programs do not
//! make them themselves, because every node pulls every byte of the programs.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use clap::Command;
use clap_complete::Shell;

// The server is a program without a library, so its command line is compiled in from its files.
#[allow(dead_code)]
#[path = "../../heartbeat/src/args.rs"]
mod args;
#[allow(dead_code)]
#[path = "../../heartbeat/src/dashes.rs"]
mod dashes;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("heartbeat-pages: expected a folder to write to");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("heartbeat-pages: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for command in programs() {
        for shell in SHELLS {
            let name = command.get_name().to_owned();
            clap_complete::generate_to(shell, &mut command.clone(), name, &completions)?;
        }
        clap_mangen::generate_to(command, &man)?;
    }
    Ok(())
}

/// The command lines of the programs, with all of their commands.
fn programs() -> [Command; 2] {
    [args::command(), heartbeat_probe::command()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All files that are written, by their names below the folder.
    fn written(name: &str) -> BTreeMap<String, String> {
        let folder = env::temp_dir().join(format!("{name}-{}", std::process::id()));
        write(&folder).expect("a folder that can be written");
        let mut files = BTreeMap::new();
        for kind in ["man", "completions"] {
            for entry in fs::read_dir(folder.join(kind)).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                files.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
        fs::remove_dir_all(folder).expect("a folder");
        files
    }

    #[test]
    fn every_program_and_command_has_a_man_page() {
        let files = written("heartbeat-pages-man");
        for command in programs() {
            let name = command.get_name();
            assert!(files.contains_key(&format!("{name}.1")), "{name}");
            for subcommand in command.get_subcommands() {
                let page = format!("{name}-{}.1", subcommand.get_name());
                assert!(files.contains_key(&page), "{page}");
            }
        }
    }

    #[test]
    fn every_option_is_in_the_man_page_and_in_every_completion() {
        let files = written("heartbeat-pages-options");
        for command in programs() {
            let name = command.get_name().to_owned();
            let completions = [format!("{name}.bash"), format!("{name}.fish"), format!("_{name}")];
            for option in command.get_arguments().filter_map(|option| option.get_long()) {
                // roff escapes the dashes.
                let written = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(files[&format!("{name}.1")].contains(&written), "{option} of {name}");
                for file in &completions {
                    assert!(files[file].contains(option), "{option} in {file}");
                }
            }
        }
    }
}
