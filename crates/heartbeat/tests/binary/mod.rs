//! The built program as a command, for the process harness of the testkit.

// Every test file is a program of its own and uses its own part of this.
#![allow(dead_code)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use heartbeat_testkit::{Program, command};

/// The program that Cargo has built for these tests, or the one that `HEARTBEAT_PROGRAM` names,
/// which may have been built for another C library or another processor.
pub(crate) fn path() -> String {
    let named = std::env::var("HEARTBEAT_PROGRAM");
    named.unwrap_or_else(|_| env!("CARGO_BIN_EXE_heartbeat").to_string())
}

/// The program with an empty environment and these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    command(path(), arguments)
}

/// The program on a free port of the loopback, with a drain that has no delay. The arguments may
/// give these options again, and then replace them.
pub(crate) fn serving(arguments: &[&str]) -> Command {
    let mut command = program(&["--port", "0", "--address", "127.0.0.1", "--drain-delay", "0s"]);
    command.args(arguments);
    command
}

/// Starts the program with a driver.
#[track_caller]
pub(crate) fn start(driver: &str, options: &[&str]) -> Program {
    Program::start(serving(&[&["--io", driver], options].concat()))
}

/// Starts the program with a driver and this standard output.
#[track_caller]
pub(crate) fn start_with(driver: &str, options: &[&str], stdout: Stdio) -> Program {
    let mut command = serving(&[&["--io", driver], options].concat());
    command.stdout(stdout);
    Program::start(command)
}

/// The drivers that this machine has. A warning, which is not captured, names the missing one.
pub(crate) fn drivers() -> &'static [&'static str] {
    static HAS_URING: OnceLock<bool> = OnceLock::new();
    let has_uring = HAS_URING.get_or_init(|| {
        let has = start("auto", &[]).reported("driver").starts_with("io_uring");
        if !has {
            not_tested("io_uring, which this machine refuses");
        }
        has
    });
    if *has_uring { &["uring", "epoll"] } else { &["epoll"] }
}

/// Whether the program runs under an emulator of its processor: resident memory is that of the
/// emulator then, and QEMU's user mode does not pass TCP_INFO on.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("HEARTBEAT_EMULATED").is_some_and(|it| !it.is_empty())
}

/// Warns that something cannot be tested here. Writes to standard error directly, because the test
/// harness would capture `eprintln!`.
pub(crate) fn not_tested(what: &str) {
    let line = format!("\nWARNING: NOT TESTED on this machine: {what}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
