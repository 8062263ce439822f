//! Owns a running server as an operator sees it: its banner, its signals, its exit code, its
//! answers, and what the kernel reports of it.

use std::io;
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, ExitStatus};

use crate::waiting::comes_true_within;
use crate::{Client, Head, Launch, PATIENCE, Process, Signal};

/// How the last line of the banner begins.
const LAST_LINE: &str = "\n  send ";

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    launch: Launch,
    address: SocketAddr,
    banner: String,
}

impl Program {
    /// Starts a server, and waits for its whole banner.
    #[track_caller]
    #[must_use]
    pub fn start(command: Command) -> Self {
        Self::try_start(command).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a server, and waits for its whole banner.
    ///
    /// # Errors
    /// As exec(2) reports them. If there is no whole banner, the error holds what the
    /// program wrote.
    pub fn try_start(mut command: Command) -> io::Result<Self> {
        let mut launch = Launch::new(&mut command)?;
        comes_true_within(PATIENCE, || launch.said().contains(LAST_LINE) || launch.is_silent());
        let banner = launch.said();
        match address_in(&banner) {
            Some(address) if banner.contains(LAST_LINE) => Ok(Self { launch, address, banner }),
            _ => {
                let status = launch.ended();
                Err(io::Error::other(format!("no whole banner: {banner:?}, {status:?}")))
            }
        }
    }

    /// The address that the banner names.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin port, which the banner must name.
    #[track_caller]
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        let (_, address) = self.reported("address").split_once(", admin ").expect("an admin port");
        address.parse().expect("an address")
    }

    /// What the program wrote to standard error before it served.
    #[must_use]
    pub fn banner(&self) -> &str {
        &self.banner
    }

    /// The line of the banner about `subject`, without the subject.
    #[track_caller]
    #[must_use]
    pub fn reported(&self, subject: &str) -> &str {
        let mut lines = self.banner.lines();
        let line = lines.find_map(|line| line.strip_prefix("  ")?.strip_prefix(subject));
        line.unwrap_or_else(|| panic!("{subject} in {}", self.banner)).trim_start()
    }

    /// The lines of the banner that contain a warning.
    #[must_use]
    pub fn warnings(&self) -> Vec<&str> {
        self.banner.lines().filter(|line| line.contains("warning")).collect()
    }

    /// What the program has written to standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.launch.said()
    }

    /// The pipe that its standard output was connected to.
    #[track_caller]
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.launch.take_stdout()
    }

    /// What the kernel reports of it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.launch.process()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.launch.signal(signal);
    }

    /// Waits for its end, after which all its output has been read.
    ///
    /// # Errors
    /// `TimedOut` if it does not end within [`PATIENCE`].
    pub fn try_exit(&mut self) -> io::Result<ExitStatus> {
        self.launch.wait(PATIENCE).ok_or_else(|| {
            let text = format!("still there after {PATIENCE:?}: {}", self.said());
            io::Error::new(io::ErrorKind::TimedOut, text)
        })
    }

    /// Waits for its end, and returns its exit code.
    #[track_caller]
    pub fn expect_exit(&mut self) -> Option<i32> {
        self.try_exit().unwrap_or_else(|error| panic!("{error}")).code()
    }

    /// Checks that it has not ended.
    #[track_caller]
    pub fn assert_is_running(&mut self) {
        assert_eq!(self.launch.ended(), None, "{}", self.said());
    }

    /// Connects to it.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Requests `path` on a new connection. The content of the answer must be the pattern.
    #[track_caller]
    pub fn get(&self, path: &str) -> Head {
        self.connect().get(path)
    }

    /// Requests `path` on a new connection. The content of the answer must be a text.
    #[track_caller]
    #[must_use]
    pub fn get_text(&self, path: &str) -> (Head, String) {
        self.connect().get_text(path)
    }

    /// The value of a series: the name of a metric, with its labels if it has any. It is 0 if there
    /// is no such series.
    #[track_caller]
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get_text("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// A value of /proc/PID/status in KiB, such as `VmRSS`.
    #[track_caller]
    #[must_use]
    pub fn status_kib(&self, name: &str) -> u64 {
        self.process().status_kib(name).expect("a value in KiB")
    }

    /// How many descriptors it has open.
    #[track_caller]
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.process().descriptors().expect("procfs")
    }

    /// How many worker threads it has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.process().workers()
    }
}

/// The address of the main listener in a banner; none if its line is not whole yet.
#[must_use]
pub fn address_in(banner: &str) -> Option<SocketAddr> {
    let (line, _) = banner.split_once("\n  address  ")?.1.split_once('\n')?;
    line.split(", ").next()?.parse().ok()
}
