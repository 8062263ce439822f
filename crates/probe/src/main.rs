//! The program; the library has all of it, so that its command line can be read by other tools.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    heartbeat_probe::main()
}
