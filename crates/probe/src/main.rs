//! The program. All of it is in the library, so that other tools can read its command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat_probe::main()
}
