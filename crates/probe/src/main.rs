//! The program. All of it is in the library, so that other tools can read its command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

// The allocator of musl is slow: a request of a loop took 1.4 times the CPU with it.
use heartbeat_allocator as _;

fn main() -> ExitCode {
    heartbeat_probe::main()
}
