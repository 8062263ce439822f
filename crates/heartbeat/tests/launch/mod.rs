//! The built program as a child process that is prepared before it starts: its system calls, its
//! limits, its user. It is asked by the strict client of the runtime's tests.

// Every test file is a program of its own and uses its own part of this.
#![allow(dead_code, unused_imports)]

#[path = "../binary/mod.rs"]
mod binary;
#[path = "../../../runtime/tests/support/client.rs"]
mod client;
mod sandbox;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Client, PATIENCE};
pub(crate) use sandbox::{Sandbox, is_root};

/// A running program; it is killed when this is dropped.
pub(crate) struct Launched {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it has said on standard error once it serves.
    pub(crate) banner: String,
    lines: Receiver<String>,
}

/// The program with an empty environment and these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::path());
    command.env_clear().args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The program on a free port of the loopback, which a signal ends without delay.
pub(crate) fn serving(arguments: &[&str]) -> Command {
    let mut command = program(&["--port", "0", "--address", "127.0.0.1", "--drain-delay", "0s"]);
    command.args(arguments);
    command
}

impl Launched {
    /// Starts a program that is expected to serve.
    #[track_caller]
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let lines = lines_of(&mut child);
        let mut banner = String::new();
        while !banner.contains("\n  send ") {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => banner += &line,
                Err(_) => {
                    let _ = child.kill();
                    panic!("no whole banner: {banner:?}, {:?}", child.wait());
                }
            }
        }
        let address = banner.lines().find_map(|line| line.strip_prefix("  address  "));
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        Self { child, address, banner, lines }
    }

    /// The line of the banner that tells of `subject`, without the subject.
    #[track_caller]
    pub(crate) fn told(&self, subject: &str) -> &str {
        let line =
            self.banner.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(subject));
        line.unwrap_or_else(|| panic!("{subject} in {}", self.banner)).trim_start()
    }

    /// The lines of the banner that warn.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.banner.lines().filter(|line| line.contains("warning")).collect()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// What the server says of itself.
    #[track_caller]
    pub(crate) fn version_json(&self) -> String {
        self.connect().get_text("/version?format=json").1
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: i32) {
        signal_to(self.child.id(), signal);
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A number of kB in /proc/PID/status.
    #[track_caller]
    pub(crate) fn status_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse().ok()).expect("a number of kB")
    }

    /// Waits for its end, and returns its exit code and what it has said since the banner.
    #[track_caller]
    pub(crate) fn expect_exit(mut self, limit: Duration) -> (ExitStatus, String) {
        let status = wait(&mut self.child, limit).expect("an end in time");
        (status, self.lines.iter().collect())
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("failed on a program that said: {}", self.banner);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program that is expected to fail, and returns its exit code and the only line it leaves.
#[track_caller]
pub(crate) fn failing(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().expect("the program starts");
    let lines = lines_of(&mut child);
    let status = wait(&mut child, PATIENCE);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said: Vec<_> = lines.iter().collect();
    let status = status.unwrap_or_else(|| panic!("it serves: {said:?}"));
    assert!(said.len() == 1 && said[0].starts_with("heartbeat: "), "{status}, {said:?}");
    (status.code(), said.concat())
}

#[track_caller]
pub(crate) fn signal_to(process: u32, signal: i32) {
    let process = i32::try_from(process).expect("a process id");
    // SAFETY: kill(2) takes no memory; the process is a child of this one and not waited for yet.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0, "it runs");
}

/// Standard error, line by line as it comes.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let (line, lines) = channel();
    thread::spawn(move || {
        let mut text = String::new();
        while stderr.read_line(&mut text).is_ok_and(|bytes| bytes > 0) {
            if line.send(std::mem::take(&mut text)).is_err() {
                return;
            }
        }
    });
    lines
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait().expect("a child") {
            None if start.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
            status => return status,
        }
    }
}
